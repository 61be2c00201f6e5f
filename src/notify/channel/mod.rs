//! The kinds of channels: one file each, with a `SPEC`, what can be wrong with its settings, and how it sends.
//!
//! A sender sends one notification once and says what came of it; grouping, repeats and receipts are not its business. Its words about
//! a failure go into logs and the store: never a person's name, a secret, or text that the other side chose.

use async_trait::async_trait;

use super::render::{Body, Notification, Told};
use super::routing::Hears;
use super::settings::{ChannelSettings, Detail};

pub mod email;
pub mod file;
pub mod kafka;
pub mod stdout;
pub mod syslog;
pub mod webhook;

/// What is known about a kind of channel.
#[derive(Debug)]
pub struct Spec {
    /// As it is written in the settings.
    pub kind: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// What it hears of.
    pub hears: Hears,
    /// How much its notifications say where the settings do not.
    pub detail: Detail,
}

/// Every kind.
pub const ALL: &[&Spec] = &[&file::SPEC, &stdout::SPEC, &kafka::SPEC, &email::SPEC, &webhook::SPEC, &syslog::SPEC];

/// Sends notifications through one channel.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Sends one notification. It returns within a minute, also where the other side is silent.
    async fn send(&mut self, notification: &Notification) -> Sent;
}

/// What came of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// So many of the listed alerts, from the first, have arrived; for a notification without alerts it is 0.
    pub done: usize,
    /// What the other side said to those, such as a status.
    pub note: Option<String>,
    /// What kept the next one from arriving; `None` where all have.
    pub failure: Option<Failure>,
}

/// Why a notification did not arrive, and so what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may work by itself later.
    Later {
        /// Microseconds that the other side asked to wait.
        asked: Option<i64>,
        /// What happened.
        what: String,
    },
    /// A person has to mend something: a password, an address, a certificate. It waits, and the operator is told.
    Held(String),
    /// This notification will never be taken. It is given up; its alerts stay on record.
    Dead(String),
}

impl Sent {
    /// All listed alerts have arrived.
    pub fn all(notification: &Notification, note: impl Into<Option<String>>) -> Sent {
        Sent { done: notification.alerts().len(), note: note.into(), failure: None }
    }

    /// Nothing has arrived.
    pub fn none(failure: Failure) -> Sent {
        Sent { done: 0, note: None, failure: Some(failure) }
    }
}

impl Failure {
    /// It may work by itself later; the other side asked for nothing.
    pub fn later(what: impl Into<String>) -> Failure {
        Failure::Later { asked: None, what: what.into() }
    }

    /// What happened.
    pub fn what(&self) -> &str {
        match self {
            Failure::Later { what, .. } | Failure::Held(what) | Failure::Dead(what) => what,
        }
    }
}

impl Notification {
    /// The alerts it reads out.
    pub fn alerts(&self) -> &[Told] {
        match &self.body {
            Body::Alerts { listed, .. } => listed,
            Body::Heartbeat(_) | Body::Test => &[],
        }
    }
}

/// Makes the sender of a channel.
///
/// # Errors
/// In words, where a secret, a certificate or an address cannot be used.
pub fn build(settings: &ChannelSettings) -> Result<Box<dyn Sender>, String> {
    let detail = settings.detail();
    Ok(match settings {
        ChannelSettings::File(own) => Box::new(file::Appender::new(own, detail)),
        ChannelSettings::Stdout(_) => Box::new(stdout::Printer::new(detail)),
        ChannelSettings::Kafka(own) => Box::new(kafka::Producer::new(own, detail)?),
        ChannelSettings::Email(own) => Box::new(email::Mailer::new(own, detail)?),
        ChannelSettings::Webhook(own) => Box::new(webhook::Caller::new(own, detail)?),
        ChannelSettings::Syslog(own) => Box::new(syslog::Logger::new(own, detail)?),
    })
}

/// Tries whether the other side of a channel would take something, and sends nothing: `check --online`.
///
/// # Errors
/// In words, what would keep an alert from arriving.
pub async fn greet(settings: &ChannelSettings) -> Result<(), String> {
    let detail = settings.detail();
    match settings {
        ChannelSettings::File(own) => file::greet(own),
        ChannelSettings::Stdout(_) => Ok(()),
        ChannelSettings::Kafka(own) => kafka::greet(own.clone()).await,
        ChannelSettings::Email(own) => email::Mailer::new(own, detail)?.greet().await.map_err(in_words),
        ChannelSettings::Webhook(own) => webhook::Caller::new(own, detail)?.greet().await.map_err(in_words),
        ChannelSettings::Syslog(own) => syslog::Logger::new(own, detail)?.greet().await.map_err(in_words),
    }
}

fn in_words(failure: Failure) -> String {
    failure.what().to_owned()
}

/// The lines of a notification for a channel that carries alerts and nothing else; a test is an alert that says so.
fn lines(notification: &Notification, detail: Detail) -> Vec<(String, String)> {
    let line = |told: &Told| (told.alert.alert_id.clone(), super::render::line(told, detail));
    match &notification.body {
        Body::Alerts { listed, .. } => listed.iter().map(line).collect(),
        Body::Heartbeat(_) => Vec::new(),
        Body::Test => {
            let alert = super::render::test_alert(notification.at);
            vec![line(&Told { alert, pseudonym: "system-test".to_owned() })]
        }
    }
}

/// Whether a `host:port` or a host names this machine itself.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
