//! Mail over SMTP, encrypted from the first byte or by a required STARTTLS; the server's certificate is always checked.
//!
//! A reply that is lost after the mail was taken means that it is sent twice: both have the same Message-ID. Nothing is ever sent
//! in clear text, and no setting can bring that about.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters, TlsVersion};

use super::{Failure, Sender, Sent, Spec};
use crate::notify::render::{self, Body, Notification};
use crate::notify::routing::Hears;
use crate::notify::settings::{Detail, EmailSettings, Tls};
use crate::notify::smtp::Server;

/// The kind.
pub const SPEC: Spec = Spec {
    kind: "email",
    about: "what people hear of, by mail over TLS",
    hears: Hears::Interruptions,
    detail: Detail::Minimal,
};

/// What is wrong with the settings.
pub fn wrongs(settings: &EmailSettings) -> Vec<String> {
    let mut wrongs = Vec::new();
    match settings.tls {
        Tls::Implicit | Tls::Starttls => {}
        Tls::Opportunistic => wrongs.push(
            "tls = \"opportunistic\" is refused: anybody on the way can strip it; use \"implicit\" or \"starttls\""
                .to_owned(),
        ),
        Tls::None => wrongs.push("tls = \"none\" is refused; use \"implicit\" or \"starttls\"".to_owned()),
    }
    if settings.host.is_empty() || settings.host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace()) {
        wrongs.push("host: write the server's name alone; the port has its own field".to_owned());
    }
    if let Err(wrong) = roots(settings.ca_file.as_deref()) {
        wrongs.push(format!("ca_file: {wrong}"));
    }
    if let Some(Err(wrong)) = settings.password.as_ref().map(|password| password.read()) {
        wrongs.push(format!("password: {wrong}"));
    }
    if settings.username.is_some() != settings.password.is_some() {
        wrongs.push("username and password belong together: give both or none".to_owned());
    }
    if settings.from.parse::<Mailbox>().is_err() {
        wrongs.push("from: not a mail address".to_owned());
    }
    if settings.to.is_empty() {
        wrongs.push("to: name at least one address".to_owned());
    }
    for (field, addresses) in [("to", &settings.to), ("escalate_to", &settings.escalate_to)] {
        for (index, address) in addresses.iter().enumerate() {
            if address.parse::<Mailbox>().is_err() {
                wrongs.push(format!("{field}: number {} is not a mail address", index + 1));
            }
        }
    }
    if settings.escalate_after.is_some() == settings.escalate_to.is_empty() {
        wrongs.push("escalate_after and escalate_to belong together: give both or none".to_owned());
    }
    if settings.escalate_after.is_some_and(|after| after.0 == 0) {
        wrongs.push("escalate_after: 0 would leave nobody the time to give a verdict; write 1h or the like".to_owned());
    }
    if settings.per_hour == Some(0) {
        wrongs.push("per_hour: 0 would send nothing; leave the channel out instead".to_owned());
    }
    wrongs
}

/// Sends mails.
pub struct Mailer {
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    escalate_to: Vec<Mailbox>,
    detail: Detail,
}

impl Mailer {
    /// Reads the password and the certificates; connects to nothing.
    ///
    /// # Errors
    /// In words, where one of them cannot be used.
    pub fn new(settings: &EmailSettings, detail: Detail) -> Result<Mailer, String> {
        let mut tls = TlsParameters::builder(settings.host.clone()).set_min_tls_version(TlsVersion::Tlsv12);
        if let Some(roots) = roots(settings.ca_file.as_deref())? {
            tls = tls.certificate_store(CertificateStore::None).add_root_certificate(roots);
        }
        let tls = tls.build().map_err(|error| format!("certificates: {error}"))?;
        let (implicit, port) = match settings.tls {
            Tls::Implicit => (true, 465),
            Tls::Starttls => (false, 587),
            Tls::Opportunistic | Tls::None => return Err("mail is never sent in clear text".to_owned()),
        };
        let credentials = match (&settings.username, &settings.password) {
            (Some(username), Some(password)) => Some(Credentials::new(username.clone(), password.read()?.to_string())),
            _ => None,
        };
        let port = settings.port.unwrap_or(port);
        let parse = |text: &String| text.parse::<Mailbox>().map_err(|_| "an address cannot be read".to_owned());
        Ok(Mailer {
            server: Server { host: settings.host.clone(), port, implicit, tls, credentials },
            from: parse(&settings.from)?,
            to: settings.to.iter().map(parse).collect::<Result<_, _>>()?,
            escalate_to: settings.escalate_to.iter().map(parse).collect::<Result<_, _>>()?,
            detail,
        })
    }

    /// Connects, agrees on keys, says hello and logs in where that is asked for; no mail is sent.
    ///
    /// # Errors
    /// What would keep a mail from being taken.
    pub async fn greet(&self) -> Result<(), Failure> {
        self.server.greet().await
    }

    fn receivers(&self, notification: &Notification) -> &[Mailbox] {
        let escalated = matches!(notification.body, Body::Alerts { escalated: true, .. });
        if escalated { &self.escalate_to } else { &self.to }
    }

    fn mail(&self, notification: &Notification) -> Result<Message, String> {
        let domain = self.from.email.domain().to_owned();
        let mut mail = Message::builder()
            .from(self.from.clone())
            .subject(render::subject(notification))
            .message_id(Some(format!("<{}@{domain}>", notification.id)))
            .date(date(notification))
            // So that no absence note answers, and no answer goes back and forth between machines.
            .header(AutoSubmitted);
        for receiver in self.receivers(notification) {
            mail = mail.to(receiver.clone());
        }
        let parts = MultiPart::alternative_plain_html(
            render::text(notification, self.detail),
            render::html(notification, self.detail),
        );
        mail.multipart(parts).map_err(|error| format!("the mail cannot be made: {error}"))
    }
}

#[async_trait]
impl Sender for Mailer {
    async fn send(&mut self, notification: &Notification) -> Sent {
        let mail = match self.mail(notification) {
            Ok(mail) => mail,
            Err(what) => return Sent::none(Failure::Held(what)),
        };
        let receivers: Vec<_> = self.receivers(notification).iter().map(|mailbox| mailbox.email.clone()).collect();
        match self.server.hand_over(&self.from.email, &receivers, &mail.formatted()).await {
            Ok(taken) if taken.refused > 0 => {
                let (refused, of) = (taken.refused, receivers.len());
                tracing::error!(
                    refused,
                    of,
                    "the mail server refuses some of the receivers' addresses; the others have the mail"
                );
                Sent::all(notification, format!("{}, {refused} of {of} addresses refused", taken.code))
            }
            Ok(taken) => Sent::all(notification, taken.code.to_string()),
            Err(failure) => Sent::none(failure),
        }
    }
}

/// The certificates to trust; `None` leaves it to the system.
fn roots(file: Option<&Path>) -> Result<Option<Certificate>, String> {
    let Some(file) = file else {
        return Ok(None);
    };
    let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let missing = || format!("{} holds no certificate in PEM form", file.display());
    if !pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
        return Err(missing());
    }
    Certificate::from_pem(&pem).map(Some).map_err(|_| missing())
}

fn date(notification: &Notification) -> std::time::SystemTime {
    let micros = u64::try_from(notification.at.0).unwrap_or(0);
    std::time::UNIX_EPOCH + Duration::from_micros(micros)
}

/// `Auto-Submitted: auto-generated` (RFC 3834).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
