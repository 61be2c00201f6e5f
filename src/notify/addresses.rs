//! Which network addresses a webhook may call: public ones, and inner ones only where they are listed. Pure.
//!
//! Whoever can write a webhook's address could otherwise make phiwatch knock on doors inside the hospital, or ask a cloud's
//! metadata address for keys.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network in the notation `10.1.0.0/16`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count.
    bits: u8,
}

impl Network {
    /// Reads `10.1.2.3`, `10.1.0.0/16` or the same for IPv6.
    ///
    /// # Errors
    /// In words, where it is neither.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong = || format!("`{text}` is no network; write it as 10.1.2.3 or 10.1.0.0/16");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Network { address, bits }) }
    }

    /// This machine itself.
    pub fn loopback() -> [Network; 2] {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), IpAddr::V6(Ipv6Addr::LOCALHOST));
        [Network { address: v4, bits: 8 }, Network { address: v6, bits: 128 }]
    }

    /// Whether the address lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u8| (a ^ b).checked_shr(u32::from(width - self.bits)).unwrap_or(0) == 0;
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// Whether a webhook may call `address`.
pub fn may_call(address: IpAddr, allowed: &[Network]) -> bool {
    let address = address.to_canonical();
    allowed.iter().any(|network| network.holds(address)) || is_public(address)
}

/// Whether an address lies on the open Internet (the special-purpose registries of IANA, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            let segments = address.segments();
            // Only 2000::/3 is given out for the open Internet.
            let global = segments[0] & 0xe000 == 0x2000;
            let documentation = segments[0] == 0x2001 && segments[1] == 0x0db8 || segments[0] == 0x3fff;
            let protocol = segments[0] == 0x2001 && segments[1] < 0x0200;
            // 6to4 carries an IPv4 address, which may be an inner one.
            let six_to_four = segments[0] == 0x2002;
            global && !documentation && !protocol && !six_to_four
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    let relay = a == 192 && b == 88 && c == 99;
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || a >= 224
        || shared
        || protocol
        || relay
        || benchmark
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, allowed: &[&str], expected: bool) {
        let allowed: Vec<Network> = allowed.iter().map(|text| Network::parse(text).unwrap()).collect();
        assert_eq!(may_call(address.parse().unwrap(), &allowed), expected, "{address} {allowed:?}");
    }

    #[test]
    fn inner_addresses_only_where_listed() {
        for public in ["1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.0", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            check(public, &[], true);
        }
        let inner = "0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 \
                     192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 \
                     ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::a00:1 fc00::1 fd00:ec2::254 fe80::1 ff02::1 2001:db8::1 \
                     2002:a00:1::1 2001::1";
        for address in inner.split_whitespace() {
            check(address, &[], false);
        }
        check("10.1.2.3", &["10.1.0.0/16"], true);
        check("10.2.2.3", &["10.1.0.0/16"], false);
        check("10.1.2.3", &["10.1.2.3"], true);
        check("10.1.2.4", &["10.1.2.3"], false);
        check("::ffff:10.1.2.3", &["10.1.2.0/24"], true);
        check("fd00::5", &["fd00::/8"], true);
        check("10.1.2.3", &["0.0.0.0/0"], true);
        check("fe80::1", &["0.0.0.0/0"], false);
        check("fe80::1", &["::/0"], true);
    }

    #[test]
    fn networks_that_are_none_are_refused() {
        for wrong in ["", "10.1.2", "10.1.2.3/33", "10.1.2.3/", "10.1.2.3/-1", "fd00::/129", "host", "10.1.2.3/8/8"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
