//! Records for a syslog collector (RFC 5424): over TLS with a checked certificate (RFC 5425), or in clear text where a site asks for it.
//!
//! What is said is the JSON line of the other channels for programs, in ASCII, so that every collector can cut it out. Syslog has no
//! answers: over TCP a connection is made for each notification, closed behind it, and the other side's own close is awaited, which
//! tells that it has read everything. Over UDP nothing tells it, and what is lost on the way is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

use super::{Failure, Sender, Sent, Spec, lines};
use crate::event::{Severity, Time};
use crate::notify::render::{self, Body, Notification};
use crate::notify::routing::Hears;
use crate::notify::settings::{Detail, SyslogSettings, Transport};

/// The kind.
pub const SPEC: Spec = Spec {
    kind: "syslog",
    about: "what people hear of, as RFC 5424 records over TLS",
    hears: Hears::Interruptions,
    detail: Detail::Minimal,
};

/// The longest wait for a connection, and for the other side to close it.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest time for everything.
const WHOLE: Duration = Duration::from_secs(50);
/// Log audit.
const FACILITY: u8 = 13;
/// Bytes of a record that every UDP collector takes (RFC 5426, section 3.2).
const DATAGRAM_MAX: usize = 2_048;

/// What is wrong with the settings.
pub fn wrongs(settings: &SyslogSettings) -> Vec<String> {
    let mut wrongs = Vec::new();
    if let Err(wrong) = address(settings) {
        wrongs.push(format!("address: {wrong}"));
    }
    if settings.transport == Transport::Tls {
        if let Err(wrong) = trust(settings) {
            wrongs.push(wrong);
        }
    } else {
        for (field, given) in [
            ("ca_file", settings.ca_file.is_some()),
            ("certificate", settings.certificate.is_some()),
            ("key", settings.key.is_some()),
        ] {
            if given {
                wrongs.push(format!("{field}: belongs to transport = \"tls\""));
            }
        }
        if settings.detail == Some(Detail::Full) {
            wrongs.push(
                "detail: \"full\" names persons, and this transport is clear text; use transport = \"tls\"".to_owned(),
            );
        }
    }
    if settings.facility.is_some_and(|facility| facility > 23) {
        wrongs.push("facility: a number from 0 to 23".to_owned());
    }
    if settings.hostname.as_deref().is_some_and(|name| !is_word(name)) {
        wrongs.push("hostname: letters, digits and signs without spaces, at most 255".to_owned());
    }
    wrongs
}

/// Sends records.
pub struct Logger {
    host: String,
    port: u16,
    transport: Transport,
    /// `None` for clear text.
    tls: Option<Arc<ClientConfig>>,
    facility: u8,
    hostname: String,
    detail: Detail,
}

impl Logger {
    /// Reads the certificates and the key; connects to nothing.
    ///
    /// # Errors
    /// In words, where one of them cannot be used.
    pub fn new(settings: &SyslogSettings, detail: Detail) -> Result<Logger, String> {
        let (host, port) = address(settings)?;
        let tls = match settings.transport {
            Transport::Tls => Some(Arc::new(trust(settings)?)),
            Transport::Tcp | Transport::Udp => None,
        };
        let own = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
        let hostname = settings.hostname.clone().or_else(|| own().ok()).filter(|name| is_word(name));
        Ok(Logger {
            host,
            port,
            transport: settings.transport,
            tls,
            facility: settings.facility.unwrap_or(FACILITY),
            hostname: hostname.unwrap_or_else(|| "-".to_owned()),
            detail,
        })
    }

    /// Connects, agrees on keys, and takes leave without a record.
    ///
    /// # Errors
    /// What would keep a record from arriving.
    pub async fn greet(&self) -> Result<(), Failure> {
        self.hand_over(&[]).await
    }

    /// The records of a notification.
    fn records(&self, notification: &Notification) -> Vec<String> {
        let severity =
            |alert: usize| notification.alerts().get(alert).map_or(Severity::Informational, |told| told.alert.severity);
        let name = match notification.body {
            Body::Alerts { .. } => "alert",
            Body::Heartbeat(_) => "heartbeat",
            Body::Test => "test",
        };
        let told = lines(notification, self.detail).into_iter().enumerate();
        let mut records: Vec<String> =
            told.map(|(alert, (_, line))| self.record(notification.at, severity(alert), name, &line)).collect();
        if let Body::Alerts { more, .. } = notification.body
            && more > 0
        {
            let rest = serde_json::json!({"schema": "phiwatch.notification/1", "more": more, "text": render::subject(notification)});
            records.push(self.record(notification.at, severity(0), "more", &rest.to_string()));
        }
        records
    }

    fn record(&self, at: Time, severity: Severity, name: &str, line: &str) -> String {
        let level = match severity {
            Severity::Critical => 2,
            Severity::High => 3,
            Severity::Medium => 4,
            Severity::Low => 5,
            Severity::Informational => 6,
        };
        let priority = u16::from(self.facility) * 8 + level;
        format!("<{priority}>1 {at} {} phiwatch - {name} - {}", self.hostname, ascii(line))
    }

    async fn hand_over(&self, records: &[String]) -> Result<(), Failure> {
        let sent = async {
            match self.transport {
                Transport::Udp => self.datagrams(records).await,
                Transport::Tcp => deliver(self.connect().await?, records).await.map_err(|error| broken(&error)),
                Transport::Tls => {
                    let config =
                        self.tls.clone().ok_or_else(|| Failure::Held("no certificates to trust".to_owned()))?;
                    let name = ServerName::try_from(self.host.clone())
                        .map_err(|_| Failure::Held("the collector's name cannot stand in a certificate".to_owned()))?;
                    let stream = TlsConnector::from(config).connect(name, self.connect().await?).await;
                    deliver(stream.map_err(|error| broken(&error))?, records).await.map_err(|error| broken(&error))
                }
            }
        };
        let in_time = tokio::time::timeout(WHOLE, sent).await;
        in_time.unwrap_or_else(|_| Err(Failure::later("the collector does not take the records in time")))
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let address = (self.host.as_str(), self.port);
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::later(format!("the collector cannot be reached: {}", error.kind()))),
            Err(_) => Err(Failure::later("the collector cannot be reached in time")),
        }
    }

    async fn datagrams(&self, records: &[String]) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::later(format!("the datagram cannot be sent: {}", error.kind()));
        let mut found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(failed)?;
        let to = found.next().ok_or_else(|| Failure::later("the name of the collector does not resolve"))?;
        let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(from).await.map_err(failed)?;
        for record in records {
            if record.len() > DATAGRAM_MAX {
                return Err(Failure::Dead(format!("a record of {} bytes does not go into a datagram", record.len())));
            }
            socket.send_to(record.as_bytes(), to).await.map_err(failed)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sender for Logger {
    async fn send(&mut self, notification: &Notification) -> Sent {
        match self.hand_over(&self.records(notification)).await {
            Ok(()) => Sent::all(notification, None),
            Err(failure) => Sent::none(failure),
        }
    }
}

/// Writes the records, each behind its length in bytes, closes, and waits for the other side to close as well.
async fn deliver<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, records: &[String]) -> std::io::Result<()> {
    for record in records {
        stream.write_all(format!("{} {record}", record.len()).as_bytes()).await?;
    }
    stream.flush().await?;
    stream.shutdown().await?;
    // A collector says nothing; one that refuses our certificate says so here. Some keep the connection open: they have the records.
    let mut said = [0; 256];
    let closed = async {
        while stream.read(&mut said).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    match tokio::time::timeout(CONNECT, closed).await {
        // To leave without a farewell is a habit of many programs.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(closed) => closed,
        Err(_) => Ok(()),
    }
}

/// What a connection that broke means: a certificate does not mend itself, a network does.
fn broken(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(distrust) => Failure::Held(format!("no trust between us and the collector: {distrust}")),
        None => Failure::later(format!("the connection to the collector broke: {}", error.kind())),
    }
}

/// Host and port.
fn address(settings: &SyslogSettings) -> Result<(String, u16), String> {
    let default = if settings.transport == Transport::Tls { 6514 } else { 514 };
    let text = settings.address.trim();
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("write it as [::1]:6514")?)),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default), str::parse::<u16>).map_err(|_| "the port is a number".to_owned())?;
    if host.is_empty() || host.contains('/') || host.contains(char::is_whitespace) {
        return Err("write it as host:port".to_owned());
    }
    Ok((host.to_owned(), port))
}

/// Which certificates are trusted, and ours where one is asked for.
fn trust(settings: &SyslogSettings) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            for root in certificates(file).map_err(|wrong| format!("ca_file: {wrong}"))? {
                roots
                    .add(root)
                    .map_err(|_| format!("ca_file: {} holds no certificate that can be trusted", file.display()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    match (&settings.certificate, &settings.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate).map_err(|wrong| format!("certificate: {wrong}"))?;
            let pem = key.read().map_err(|wrong| format!("key: {wrong}"))?;
            let key =
                PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "key: the file holds no key in PEM form")?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| "key: it does not belong to the certificate".to_owned())
        }
        _ => Err("certificate and key belong together: give both or none".to_owned()),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let read = read.unwrap_or_default();
    if read.is_empty() { Err(format!("{} holds no certificate in PEM form", file.display())) } else { Ok(read) }
}

/// A name without spaces, in visible ASCII (RFC 5424, section 6.2.4).
fn is_word(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic())
}

/// JSON in ASCII: whatever is beyond is written as JSON's own escapes.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter.is_ascii() {
            true => text.push(letter),
            false => letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::notify::render::Told;
    use crate::store::fixture::raised;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");

    fn settings(more: &str) -> SyslogSettings {
        toml::from_str(&format!("hostname = \"phi-1\"\n{more}")).unwrap()
    }

    fn notification(users: &[&str], more: usize) -> Notification {
        let told = |user: &&str| Told { alert: raised(user, 1).alert, pseudonym: "user-1a2b".into() };
        let body = Body::Alerts { listed: users.iter().map(told).collect(), more, escalated: false };
        Notification { id: "n-1".into(), at: Time::parse("2026-11-22T19:00:00.25Z").unwrap(), body }
    }

    /// A collector on the loopback that takes one connection and tells what came: over TLS as localhost, or in clear text.
    async fn collector(tls: bool) -> (u16, oneshot::Receiver<String>) {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, told) = oneshot::channel();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                certificates(&Path::new(FOLDER).join("localhost.pem")).unwrap(),
                PrivateKeyDer::from_pem_file(Path::new(FOLDER).join("localhost.key")).unwrap(),
            )
            .unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            if tls {
                let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
                stream.read_to_string(&mut text).await.unwrap();
                stream.shutdown().await.unwrap();
            } else {
                let mut stream = stream;
                stream.read_to_string(&mut text).await.unwrap();
            }
            let _ = tell.send(text);
        });
        (port, told)
    }

    /// Cuts a stream by its octet counts (RFC 6587, section 3.4.1).
    fn frames(mut text: &str) -> Vec<&str> {
        let mut frames = Vec::new();
        while let Some((length, rest)) = text.split_once(' ') {
            let (frame, after) = rest.split_at(length.parse().unwrap());
            frames.push(frame);
            text = after;
        }
        frames
    }

    #[tokio::test]
    async fn records_arrive_over_tls_by_their_length() {
        let (port, told) = collector(true).await;
        let settings = settings(&format!("address = \"localhost:{port}\"\nca_file = \"{FOLDER}/ca.pem\"\n"));
        assert_eq!(wrongs(&settings), Vec::<String>::new());
        let mut logger = Logger::new(&settings, Detail::Minimal).unwrap();
        let sent = logger.send(&notification(&["u1", "müller"], 3)).await;
        assert_eq!((sent.done, &sent.failure), (2, &None));
        let text = told.await.unwrap();
        let frames = frames(&text);
        assert_eq!(frames.len(), 3, "{text}");
        let severity = raised("u1", 1).alert.severity;
        let level = [6, 5, 4, 3, 2][Severity::ALL.iter().position(|s| *s == severity).unwrap()];
        let head = format!("<{}>1 2026-11-22T19:00:00.250000Z phi-1 phiwatch - alert - {{", 13 * 8 + level);
        assert!(frames[0].starts_with(&head), "{text}");
        let line: serde_json::Value = serde_json::from_str(&frames[0][head.len() - 1..]).unwrap();
        assert_eq!(line["subject"], "user-1a2b");
        assert!(frames[2].contains(" more - {") && frames[2].contains("\"more\":3"), "{text}");
        assert!(!text.contains("u1\"") && !text.contains("ller"), "nothing names a person: {text}");
    }

    #[tokio::test]
    async fn whoever_cannot_prove_its_name_gets_nothing() {
        // Trusted by an authority that signed nothing here; and reached under a name that its certificate does not bear.
        for (ca_file, host) in [("localhost.pem", "localhost"), ("ca.pem", "127.0.0.2")] {
            let (port, told) = collector(true).await;
            let settings = settings(&format!("address = \"{host}:{port}\"\nca_file = \"{FOLDER}/{ca_file}\"\n"));
            let sent = Logger::new(&settings, Detail::Minimal).unwrap().send(&notification(&["u1"], 0)).await;
            assert!(sent.done == 0 && matches!(sent.failure, Some(Failure::Held(_))), "{host}: {sent:?}");
            assert!(told.await.is_err(), "{host}: nothing was said");
        }
    }

    #[tokio::test]
    async fn clear_text_goes_where_it_is_asked_for() {
        let (port, told) = collector(false).await;
        let tcp = settings(&format!("address = \"127.0.0.1:{port}\"\ntransport = \"tcp\"\n"));
        let sent = Logger::new(&tcp, Detail::Minimal).unwrap().send(&notification(&["u1"], 0)).await;
        assert_eq!((sent.done, sent.failure), (1, None));
        assert_eq!(frames(&told.await.unwrap()).len(), 1);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let udp = settings(&format!("address = \"127.0.0.1:{port}\"\ntransport = \"udp\"\n"));
        let mut test = notification(&[], 0);
        test.body = Body::Test;
        assert_eq!(Logger::new(&udp, Detail::Minimal).unwrap().send(&test).await.failure, None);
        let mut bytes = [0; DATAGRAM_MAX];
        let length = socket.recv(&mut bytes).await.unwrap();
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        assert!(text.starts_with("<110>1 ") && text.contains(" test - {"), "{text}");
    }

    #[tokio::test]
    async fn a_collector_that_is_away_is_tried_again() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let settings = settings(&format!("address = \"127.0.0.1:{port}\"\ntransport = \"tcp\"\n"));
        let logger = Logger::new(&settings, Detail::Minimal).unwrap();
        assert!(matches!(logger.greet().await, Err(Failure::Later { .. })));
    }

    #[test]
    fn ascii_is_the_same_json() {
        let json = serde_json::json!({"name": "Müller 😀 \u{2028}"}).to_string();
        let plain = ascii(&json);
        assert!(plain.is_ascii());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&plain).unwrap(),
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        );
    }
}
