//! A call to an HTTPS address with the notification as JSON, signed with HMAC-SHA-256.
//!
//! The signature stands over `timestamp.id.body`, so that a receiver can refuse what was altered, what is old and what it has had.
//! The address is resolved once per call and checked, and the call goes to exactly the addresses that passed: a name that turns to
//! an inner address between check and call gains nothing. Redirects are not followed, and no proxy is taken from the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, Url};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Failure, Sender, Sent, Spec, is_loopback};
use crate::event::time::SECOND;
use crate::notify::addresses::{self, Network};
use crate::notify::render::{self, Notification};
use crate::notify::routing::Hears;
use crate::notify::settings::{Detail, Plaintext, WebhookSettings};

/// The kind.
pub const SPEC: Spec = Spec {
    kind: "webhook",
    about: "what people hear of, as a signed JSON call to an HTTPS address",
    hears: Hears::Interruptions,
    detail: Detail::Minimal,
};

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest time for a call, from the connection to the answer.
const WHOLE: Duration = Duration::from_secs(30);

/// The name of the notification: the same in every repeat.
pub const ID: &str = "x-phiwatch-id";
/// When the call was made, seconds since 1970.
pub const TIMESTAMP: &str = "x-phiwatch-timestamp";
/// `sha256=` and the hexadecimal HMAC-SHA-256 over `timestamp.id.body`.
pub const SIGNATURE: &str = "x-phiwatch-signature";

/// What is wrong with the settings.
pub fn wrongs(settings: &WebhookSettings) -> Vec<String> {
    let mut wrongs = Vec::new();
    if let Err(wrong) = target(settings) {
        wrongs.push(format!("url: {wrong}"));
    }
    wrongs.extend(
        settings
            .allow_addresses
            .iter()
            .filter_map(|text| Network::parse(text).err())
            .map(|wrong| format!("allow_addresses: {wrong}")),
    );
    let secret = settings.secret.read();
    if let Err(wrong) = &secret {
        wrongs.push(format!("secret: {wrong}"));
    } else if secret.is_ok_and(|secret| secret.len() < 16) {
        wrongs.push("secret: a key shorter than 16 characters can be guessed".to_owned());
    }
    if let Some(Err(wrong)) = settings.bearer.as_ref().map(|bearer| bearer.read()) {
        wrongs.push(format!("bearer: {wrong}"));
    }
    if let Err(wrong) = roots(settings.ca_file.as_deref()) {
        wrongs.push(format!("ca_file: {wrong}"));
    }
    if settings.per_hour == Some(0) {
        wrongs.push("per_hour: 0 would send nothing; leave the channel out instead".to_owned());
    }
    wrongs
}

/// Makes the calls.
pub struct Caller {
    url: Url,
    secret: Zeroizing<String>,
    bearer: Option<HeaderValue>,
    roots: Vec<Certificate>,
    allowed: Vec<Network>,
    detail: Detail,
    /// The longest time for a whole call.
    whole: Duration,
}

impl Caller {
    /// Reads the secrets and certificates; calls nobody.
    ///
    /// # Errors
    /// In words, where one of them or the address cannot be used.
    pub fn new(settings: &WebhookSettings, detail: Detail) -> Result<Caller, String> {
        let mut allowed: Vec<Network> =
            settings.allow_addresses.iter().map(|a| Network::parse(a)).collect::<Result<_, _>>()?;
        if settings.allow_plaintext == Some(Plaintext::Loopback) {
            allowed.extend(Network::loopback());
        }
        let bearer = settings.bearer.as_ref().map(|file| {
            let token = file.read()?;
            let mut value = HeaderValue::try_from(Zeroizing::new(format!("Bearer {}", *token)).as_str())
                .map_err(|_| "bearer: the token has characters that a header cannot carry".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Caller {
            url: target(settings)?,
            secret: settings.secret.read()?,
            bearer: bearer.transpose()?,
            roots: roots(settings.ca_file.as_deref())?,
            allowed,
            detail,
            whole: WHOLE,
        })
    }

    /// A client that can reach `addresses` and nothing else.
    fn client(&self, host: &str, addresses: &[SocketAddr]) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .user_agent(concat!("phiwatch/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(self.url.scheme() == "https")
            .min_tls_version(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(CONNECT)
            .timeout(self.whole)
            .resolve_to_addrs(host, addresses);
        if !self.roots.is_empty() {
            builder = builder.tls_built_in_root_certs(false);
            for root in &self.roots {
                builder = builder.add_root_certificate(root.clone());
            }
        }
        builder.build().map_err(|_| Failure::Held("the certificates to trust cannot be used".to_owned()))
    }

    /// The addresses of the host that may be called.
    async fn resolve(&self, host: &str) -> Result<Vec<SocketAddr>, Failure> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => match tokio::time::timeout(CONNECT, tokio::net::lookup_host((bare, port))).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) | Err(_) => return Err(Failure::later(format!("the name {bare} does not resolve"))),
            },
        };
        let passed: Vec<SocketAddr> =
            found.into_iter().filter(|address| addresses::may_call(address.ip(), &self.allowed)).collect();
        if passed.is_empty() {
            let what = format!("{bare} is an inner address; list it in allow_addresses if it is meant");
            return Err(Failure::Held(what));
        }
        Ok(passed)
    }

    /// Asks for the head of the address over the same connection that a call takes; whatever the answer is, it was reached.
    ///
    /// # Errors
    /// What would keep a call from arriving.
    pub async fn greet(&self) -> Result<(), Failure> {
        let host = self.url.host_str().unwrap_or_default();
        let client = self.client(host, &self.resolve(host).await?)?;
        client.head(self.url.clone()).send().await.map(drop).map_err(|error| unreached(&error))
    }

    fn headers(&self, notification: &Notification, body: &str) -> HeaderMap {
        let timestamp = notification.at.0.div_euclid(SECOND).to_string();
        let signature = sign(&self.secret, &timestamp, &notification.id, body);
        let value = |text: &str| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ID, value(&notification.id));
        headers.insert(TIMESTAMP, value(&timestamp));
        headers.insert(SIGNATURE, value(&signature));
        if let Some(bearer) = &self.bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        headers
    }

    async fn call(&self, notification: &Notification) -> Result<StatusCode, Failure> {
        let host = self.url.host_str().unwrap_or_default();
        let client = self.client(host, &self.resolve(host).await?)?;
        let body = render::call(notification, self.detail);
        let headers = self.headers(notification, &body);
        let answer =
            client.post(self.url.clone()).headers(headers).body(body).send().await.map_err(|e| unreached(&e))?;
        judge(answer.status(), answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()), notification)
    }
}

#[async_trait]
impl Sender for Caller {
    async fn send(&mut self, notification: &Notification) -> Sent {
        match self.call(notification).await {
            Ok(status) => Sent::all(notification, status.as_u16().to_string()),
            Err(failure) => Sent::none(failure),
        }
    }
}

/// The signature of a call: `sha256=` and the hexadecimal HMAC-SHA-256 over `timestamp.id.body`.
pub fn sign(secret: &str, timestamp: &str, id: &str, body: &str) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [timestamp, ".", id, ".", body] {
        mac.update(part.as_bytes());
    }
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// What an answer means (a receiver that says no must never count as one that has taken it).
fn judge(status: StatusCode, retry_after: Option<&str>, notification: &Notification) -> Result<StatusCode, Failure> {
    let number = status.as_u16();
    match number {
        200..300 => Ok(status),
        400 | 413 | 422 => {
            Err(Failure::Dead(format!("the receiver says {number}: it will not take this notification")))
        }
        408 | 425 | 429 | 500.. => Err(Failure::Later {
            asked: retry_after.and_then(|text| asked(text, notification)),
            what: format!("the receiver says {number}"),
        }),
        300..400 => {
            Err(Failure::Held(format!("the receiver says {number}: redirects are not followed; set the final url")))
        }
        _ => Err(Failure::Held(format!("the receiver says {number}: see to the url, the key and the token"))),
    }
}

/// `Retry-After`, seconds or a date, as microseconds from the notification on.
fn asked(text: &str, notification: &Notification) -> Option<i64> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(i64::from(seconds) * SECOND);
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some((date.timestamp().as_microsecond() - notification.at.0).max(0))
}

/// What a call that got no answer means. The error's own text is left out where it would hold the address, which may hold a token.
fn unreached(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::later("the receiver does not answer in time");
    }
    if let Some(why) = distrust(error) {
        return Failure::Held(format!("no trust in the receiver: {why}"));
    }
    Failure::later(if error.is_connect() { "the receiver cannot be reached" } else { "the call broke off" })
}

/// Why a TLS handshake failed, where it did for another reason than the network: it comes as invalid data, wrapped more than once.
fn distrust(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(io) = cause.downcast_ref::<std::io::Error>() {
        if io.kind() == std::io::ErrorKind::InvalidData {
            return Some(io.to_string());
        }
        // What an I/O error wraps is not its source: its source is the source of that.
        if let Some(inner) = io.get_ref() {
            return distrust(inner);
        }
    }
    cause.source().and_then(distrust)
}

/// The address to call.
fn target(settings: &WebhookSettings) -> Result<Url, String> {
    let url = Url::parse(&settings.url).map_err(|error| format!("not an address: {error}"))?;
    let host = url.host_str().ok_or("the host is missing")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a password in the address ends up in logs; use `bearer`".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if settings.allow_plaintext == Some(Plaintext::Loopback) && is_loopback(host) => Ok(url),
        "http" if is_loopback(host) => {
            Err("http is clear text; for this machine itself set allow_plaintext = \"loopback\"".to_owned())
        }
        _ => Err("only https:// is accepted".to_owned()),
    }
}

/// The certificates to trust; none leaves it to the built-in ones.
fn roots(file: Option<&Path>) -> Result<Vec<Certificate>, String> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let roots = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if roots.is_empty() { Err(format!("{} holds no certificate in PEM form", file.display())) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::HeaderMap as Headers;
    use axum::response::IntoResponse;

    use super::*;
    use crate::event::Time;
    use crate::notify::render::{Body, Told};
    use crate::store::fixture::raised;

    const KEY: &str = "0123456789abcdef";

    /// What a receiver was sent.
    type Seen = Arc<Mutex<Vec<(Headers, String)>>>;

    /// A receiver on the loopback that answers every call with `status` and `header`, or not at all where the status is 0.
    async fn receiver(status: u16, header: Option<(&'static str, &'static str)>) -> (SocketAddr, Seen) {
        let seen = Seen::default();
        let keep = seen.clone();
        let answer = move |headers: Headers, body: Bytes| async move {
            keep.lock().unwrap().push((headers, String::from_utf8(body.to_vec()).unwrap()));
            if status == 0 {
                std::future::pending::<()>().await;
            }
            let status = axum::http::StatusCode::from_u16(status.max(200)).unwrap();
            header.map_or_else(|| status.into_response(), |header| (status, [header]).into_response())
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        (address, seen)
    }

    fn caller(url: &str, allow: &[&str], plaintext: bool) -> Result<Caller, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, KEY).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let secret = crate::notify::secret::SecretFile { file };
        let settings = WebhookSettings {
            name: None,
            detail: None,
            min_severity: None,
            detections: vec![],
            routing: vec![],
            classes: vec![],
            url: url.to_owned(),
            bearer: Some(secret.clone()),
            secret,
            ca_file: None,
            allow_addresses: allow.iter().map(|&text| text.to_owned()).collect(),
            allow_plaintext: plaintext.then_some(Plaintext::Loopback),
            group_wait: None,
            per_hour: None,
            heartbeat: None,
        };
        Caller::new(&settings, Detail::Minimal).map(|caller| Caller { whole: Duration::from_millis(500), ..caller })
    }

    fn notification() -> Notification {
        let told = Told { alert: raised("canary", 1).alert, pseudonym: "user-1".into() };
        let body = Body::Alerts { listed: vec![told], more: 0, escalated: false };
        Notification { id: "n-1".into(), at: Time::parse("2026-11-22T20:00:00Z").unwrap(), body }
    }

    async fn check(status: u16, header: Option<(&'static str, &'static str)>, expected: Result<&str, Failure>) {
        let (address, seen) = receiver(status, header).await;
        let sent = caller(&format!("http://{address}/hook"), &[], true).unwrap().send(&notification()).await;
        let expected = match expected {
            Ok(note) => Sent { done: 1, note: Some(note.into()), failure: None },
            Err(failure) => Sent::none(failure),
        };
        assert_eq!(sent, expected, "{status}");
        assert_eq!(seen.lock().unwrap().len(), 1, "{status}: one call, whatever the answer");
    }

    fn later(asked: Option<i64>, what: &str) -> Failure {
        Failure::Later { asked: asked.map(|seconds| seconds * SECOND), what: what.into() }
    }

    #[tokio::test]
    async fn answers_mean_what_they_say() {
        for status in [200, 202, 204] {
            check(status, None, Ok(&status.to_string())).await;
        }
        for status in [400, 413, 422] {
            let what = format!("the receiver says {status}: it will not take this notification");
            check(status, None, Err(Failure::Dead(what))).await;
        }
        for status in [401, 403, 404, 405, 410] {
            let what = format!("the receiver says {status}: see to the url, the key and the token");
            check(status, None, Err(Failure::Held(what))).await;
        }
        for status in [408, 429, 500, 502, 503] {
            check(status, None, Err(later(None, &format!("the receiver says {status}")))).await;
        }
        check(429, Some(("retry-after", "120")), Err(later(Some(120), "the receiver says 429"))).await;
        let date = "Sun, 22 Nov 2026 20:05:00 GMT";
        check(503, Some(("retry-after", date)), Err(later(Some(300), "the receiver says 503"))).await;
        check(503, Some(("retry-after", "soon")), Err(later(None, "the receiver says 503"))).await;
        check(0, None, Err(later(None, "the receiver does not answer in time"))).await;
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let (other, seen) = receiver(200, None).await;
        let to: &'static str = Box::leak(format!("http://{other}/").into_boxed_str());
        for status in [301, 302, 307, 308] {
            let what = format!("the receiver says {status}: redirects are not followed; set the final url");
            check(status, Some(("location", to)), Err(Failure::Held(what))).await;
        }
        assert!(seen.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_receiver_can_check_the_signature() {
        let (address, seen) = receiver(200, None).await;
        let mut caller = caller(&format!("http://{address}/hook"), &[], true).unwrap();
        caller.send(&notification()).await;
        let (headers, body) = seen.lock().unwrap().pop().unwrap();
        let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!((header(ID), header(TIMESTAMP)), ("n-1".into(), "1795377600".into()));
        assert_eq!(header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(header(SIGNATURE), sign(KEY, "1795377600", "n-1", &body));
        assert!(!body.contains("canary"), "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["kind"], &body["id"], &body["more"]), (&"alerts".into(), &"n-1".into(), &0.into()));
        // The same by hand.
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want.for.nothing?");
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sign("Jefe", "what do ya want", "for", "nothing?"), format!("sha256={digits}"));
    }

    #[tokio::test]
    async fn inner_addresses_are_not_called() {
        let (address, seen) = receiver(200, None).await;
        let port = address.port();
        for url in [
            format!("https://127.0.0.1:{port}/"),
            format!("https://localhost:{port}/"),
            format!("https://[::1]:{port}/"),
            format!("https://[::ffff:127.0.0.1]:{port}/"),
            format!("https://2130706433:{port}/"),
            "https://169.254.169.254/latest/meta-data/".to_owned(),
            "https://10.0.0.1/".to_owned(),
        ] {
            let sent = caller(&url, &["192.168.0.0/16"], false).unwrap().send(&notification()).await;
            let Some(Failure::Held(what)) = sent.failure else {
                panic!("{url}: {sent:?}");
            };
            assert!(what.contains("is an inner address"), "{what}");
        }
        assert!(seen.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_listening_is_for_later() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let sent = caller(&format!("http://{address}/"), &[], true).unwrap().send(&notification()).await;
        assert_eq!(sent.failure, Some(later(None, "the receiver cannot be reached")));
    }
}
