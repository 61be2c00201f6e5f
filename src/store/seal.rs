//! Sealing of what can name a person before it reaches the disk: AES-256-GCM for values, a keyed hash for look-ups and pseudonyms.
//!
//! The store sees only [`Seal`]; where the key comes from is the business of `keys`. Nothing here may print a key or a plain value.

use aes_gcm::aead::{Aead, KeyInit, OsRng, Payload};
use aes_gcm::{AeadCore, Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

/// Bytes of the nonce in front of a sealed value.
const NONCE: usize = 12;

/// Seals values under a key that the store never sees.
pub trait Seal: Send + Sync {
    /// Encrypts `plain`; `aad` says where the value stands, so that a value moved elsewhere does not open.
    fn seal(&self, aad: &str, plain: &[u8]) -> Vec<u8>;

    /// Decrypts what [`Seal::seal`] made with the same `aad`.
    ///
    /// # Errors
    /// Where the value was made under another key or for another place, or was altered.
    fn open(&self, aad: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError>;

    /// A keyed hash: the same text under the same `label` always gives the same value, and without the key no text can be tried.
    fn hash(&self, label: &str, text: &str) -> [u8; 32];
}

/// A sealed value did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open: the key is another one, or the value was altered")]
pub struct SealError;

/// [`Seal`] with AES-256-GCM and HMAC-SHA-256 under two keys derived from one.
pub struct AesSeal {
    cipher: Aes256Gcm,
    hash_key: [u8; 32],
}

impl AesSeal {
    /// Seals under `key`; the key itself is used for nothing else than deriving.
    pub fn new(key: &[u8; 32]) -> AesSeal {
        let mut cipher_key = derive(key, "phiwatch store seal 1");
        let cipher = Aes256Gcm::new(&cipher_key.into());
        cipher_key.zeroize();
        AesSeal { cipher, hash_key: derive(key, "phiwatch store hash 1") }
    }
}

impl Seal for AesSeal {
    fn seal(&self, aad: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let payload = Payload { msg: plain, aad: aad.as_bytes() };
        let sealed = self.cipher.encrypt(&nonce, payload).expect("a value in memory is shorter than 64 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    fn open(&self, aad: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, body) = sealed.split_at_checked(NONCE).ok_or(SealError)?;
        let payload = Payload { msg: body, aad: aad.as_bytes() };
        self.cipher.decrypt(Nonce::from_slice(nonce), payload).map_err(|_| SealError)
    }

    fn hash(&self, label: &str, text: &str) -> [u8; 32] {
        let mut mac = keyed(&self.hash_key);
        mac.update(&(label.len() as u64).to_le_bytes());
        mac.update(label.as_bytes());
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl Drop for AesSeal {
    fn drop(&mut self) {
        self.hash_key.zeroize();
    }
}

impl std::fmt::Debug for AesSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AesSeal")
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// One key per purpose: HMAC-SHA-256 of the purpose under the key.
fn derive(key: &[u8; 32], purpose: &str) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_unaltered_in_its_place_under_its_key() {
        let seal = AesSeal::new(&[7; 32]);
        let sealed = seal.seal("alerts/a-1", b"Jane Roe");
        assert_eq!(seal.open("alerts/a-1", &sealed).unwrap(), b"Jane Roe");
        assert_ne!(sealed, seal.seal("alerts/a-1", b"Jane Roe"), "a nonce is used once");
        assert_eq!(seal.open("alerts/a-2", &sealed), Err(SealError));
        assert_eq!(AesSeal::new(&[8; 32]).open("alerts/a-1", &sealed), Err(SealError));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(seal.open("alerts/a-1", &altered), Err(SealError), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(seal.open("alerts/a-1", &sealed[..length]), Err(SealError), "cut to {length}");
        }
    }

    #[test]
    fn hashes_by_key_label_and_text() {
        let hash = |key: u8, label: &str, text: &str| AesSeal::new(&[key; 32]).hash(label, text);
        assert_eq!(hash(1, "user", "u1"), hash(1, "user", "u1"));
        for other in [hash(2, "user", "u1"), hash(1, "host", "u1"), hash(1, "user", "u2"), hash(1, "useru", "1")] {
            assert_ne!(other, hash(1, "user", "u1"));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", AesSeal::new(&[7; 32])), "AesSeal");
    }
}
