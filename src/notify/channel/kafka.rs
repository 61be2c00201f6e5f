//! A Kafka topic: every revision of a notified alert as a record with `alert_id` as its key, so that a partition keeps their order.
//!
//! The producer is idempotent and waits for all replicas; a record counts as delivered only by a good delivery report.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, ClientContext};

use super::{Failure, Sender, Sent, Spec, is_loopback, lines};
use crate::notify::render::Notification;
use crate::notify::routing::Hears;
use crate::notify::settings::{ClientValue, Detail, KafkaSettings, Plaintext};

/// The kind.
pub const SPEC: Spec = Spec {
    kind: "kafka",
    about: "every revision of a notified alert, as records of a Kafka topic",
    hears: Hears::Everything,
    detail: Detail::Minimal,
};

/// The longest wait for the delivery report of a batch.
const WHOLE: Duration = Duration::from_secs(45);
/// How long the brokers have for the answer to a greeting.
const GREETING: Duration = Duration::from_secs(10);

/// Names of librdkafka that are ours to set: with others the promise of this channel would not hold.
const OURS: &[&str] = &[
    "acks",
    "request.required.acks",
    "bootstrap.servers",
    "metadata.broker.list",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "message.timeout.ms",
    "plugin.library.paths",
    "transactional.id",
];

/// What is wrong with the settings.
pub fn wrongs(settings: &KafkaSettings) -> Vec<String> {
    let mut wrongs = Vec::new();
    if settings.brokers.is_empty() || settings.brokers.iter().any(String::is_empty) {
        wrongs.push("brokers: name at least one as host:port".to_owned());
    }
    if settings.topic.is_empty() {
        wrongs.push("topic: name the topic".to_owned());
    }
    for (name, value) in &settings.client {
        if OURS.contains(&name.as_str()) {
            wrongs.push(format!("client: `{name}` is set by phiwatch"));
        }
        let secret =
            name.ends_with("password") || name.ends_with(".pem") && name.contains("key") || name.ends_with(".secret");
        match value {
            ClientValue::Secret(file) => {
                wrongs.extend(file.read().err().map(|wrong| format!("client: `{name}`: {wrong}")))
            }
            _ if secret => wrongs.push(format!("client: `{name}` is a secret; write {{ file = \"...\" }}")),
            _ => {}
        }
    }
    let text = |name: &str| settings.client.get(name).and_then(|value| value_text(value).ok());
    let unchecked =
        |name: &str, values: &[&str]| text(name).is_some_and(|v| values.contains(&v.to_lowercase().as_str()));
    if unchecked("enable.ssl.certificate.verification", &["false", "f", "0"]) {
        wrongs.push(
            "client: the broker's certificate is always checked; give its authority in `ssl.ca.location`".to_owned(),
        );
    }
    if unchecked("ssl.endpoint.identification.algorithm", &["none"]) {
        wrongs.push("client: the broker's name is always checked against its certificate".to_owned());
    }
    let protocol = text("security.protocol").unwrap_or_else(|| "plaintext".to_owned()).to_lowercase();
    if matches!(protocol.as_str(), "plaintext" | "sasl_plaintext") {
        let here =
            settings.brokers.iter().all(|broker| is_loopback(broker.rsplit_once(':').map_or(broker, |(host, _)| host)));
        if !here {
            wrongs.push(
                "client: set \"security.protocol\" to SSL or SASL_SSL; clear text leaves this machine".to_owned(),
            );
        } else if settings.allow_plaintext != Some(Plaintext::Loopback) {
            wrongs.push("clear text to this machine itself needs allow_plaintext = \"loopback\"".to_owned());
        }
    }
    if wrongs.is_empty()
        && let Err(wrong) = producer(settings)
    {
        wrongs.push(wrong);
    }
    wrongs
}

/// Asks the brokers for the topic, within a few seconds.
///
/// # Errors
/// In words, where they do not answer or have no such topic for us.
pub async fn greet(settings: KafkaSettings) -> Result<(), String> {
    let asked = tokio::task::spawn_blocking(move || {
        let producer = producer(&settings)?;
        let found = producer.client().fetch_metadata(Some(&settings.topic), GREETING);
        let found = found.map_err(|error| judge(&error).what().to_owned())?;
        match found.topics().first().and_then(|topic| topic.error()) {
            Some(error) => Err(format!("topic {}: {}", settings.topic, RDKafkaErrorCode::from(error))),
            None => Ok(()),
        }
    });
    asked.await.unwrap_or_else(|_| Err("the program is stopping".to_owned()))
}

/// What librdkafka says by itself: it tries again many times a second and says so each time; what came of a send is told by its report.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }

    fn error(&self, _: KafkaError, reason: &str) {
        tracing::debug!(reason, "librdkafka");
    }
}

/// Produces records.
pub struct Producer {
    settings: KafkaSettings,
    /// Made anew after every failure: a fatal error of an idempotent producer ends only with it.
    producer: Option<FutureProducer<Quiet>>,
    detail: Detail,
}

impl Producer {
    /// Reads the secrets; librdkafka begins to connect in the background.
    ///
    /// # Errors
    /// In words, where librdkafka refuses a setting.
    pub fn new(settings: &KafkaSettings, detail: Detail) -> Result<Producer, String> {
        Ok(Producer { settings: settings.clone(), producer: Some(producer(settings)?), detail })
    }

    /// Sends lines of (key, value) in their order; returns how many of the first have arrived, what the broker said to the last of
    /// them, and what kept the next from arriving.
    async fn produce(
        &self,
        producer: &FutureProducer<Quiet>,
        lines: &[(String, String)],
    ) -> (usize, Option<String>, Option<Failure>) {
        let mut waiting = Vec::new();
        let mut failure = None;
        for (key, line) in lines {
            match producer.send_result(FutureRecord::to(&self.settings.topic).key(key).payload(line)) {
                Ok(report) => waiting.push(report),
                Err((error, _)) => {
                    failure = Some(judge(&error));
                    break;
                }
            }
        }
        let (mut done, mut note) = (0, None);
        for report in waiting {
            let refused = match tokio::time::timeout(WHOLE, report).await {
                Ok(Ok(Ok(delivery))) => {
                    done += 1;
                    note = Some(format!("partition {} offset {}", delivery.partition, delivery.offset));
                    continue;
                }
                Ok(Ok(Err((error, _)))) => judge(&error),
                Ok(Err(_)) => Failure::later("the producer was closed"),
                Err(_) => Failure::later("the broker does not answer in time"),
            };
            // Those after it may have arrived: they are sent again, which readers see by alert_id and revision.
            failure = Some(refused);
            break;
        }
        (done, note, failure)
    }
}

#[async_trait]
impl Sender for Producer {
    async fn send(&mut self, notification: &Notification) -> Sent {
        let lines = lines(notification, self.detail);
        let producer = match self.producer.take().map_or_else(|| producer(&self.settings), Ok) {
            Ok(producer) => producer,
            Err(what) => return Sent::none(Failure::Held(what)),
        };
        let (done, note, failure) = self.produce(&producer, &lines).await;
        if failure.is_none() {
            self.producer = Some(producer);
        }
        // A test has one line and no alert.
        Sent { done: done.min(notification.alerts().len()), note, failure }
    }
}

fn producer(settings: &KafkaSettings) -> Result<FutureProducer<Quiet>, String> {
    let mut config = ClientConfig::new();
    for (name, value) in &settings.client {
        config.set(name, value_text(value)?);
    }
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "40000");
    config.create_with_context(Quiet).map_err(|error| match error {
        KafkaError::ClientConfig(_, why, name, _) => format!("client: `{name}`: {why}"),
        _ => "client: librdkafka refuses these settings".to_owned(),
    })
}

fn value_text(value: &ClientValue) -> Result<String, String> {
    Ok(match value {
        ClientValue::Text(text) => text.clone(),
        ClientValue::Number(number) => number.to_string(),
        ClientValue::Switch(switch) => switch.to_string(),
        ClientValue::Secret(file) => file.read()?.to_string(),
    })
}

/// What an error of the producer means.
fn judge(error: &KafkaError) -> Failure {
    use RDKafkaErrorCode::*;
    let Some(code) = error.rdkafka_error_code() else {
        return Failure::later("the producer failed");
    };
    let what = format!("the broker says: {code}");
    match code {
        MessageSizeTooLarge | InvalidMessageSize | InvalidRecord => Failure::Dead(what),
        TopicAuthorizationFailed
        | ClusterAuthorizationFailed
        | SaslAuthenticationFailed
        | Authentication
        | UnknownTopicOrPartition
        | UnknownTopic
        | InvalidTopic
        | PolicyViolation
        | SSL => Failure::Held(what),
        _ => Failure::later(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Time;
    use crate::notify::render::{Body, Told};
    use crate::store::fixture::raised;

    /// A producer at librdkafka's own mock of a cluster.
    fn producer(client: &str) -> Producer {
        let text = format!(
            "brokers = [\"127.0.0.1:1\"]\ntopic = \"alerts\"\nallow_plaintext = \"loopback\"\n\
             client = {{ \"test.mock.num.brokers\" = 1{client} }}\n"
        );
        let settings: KafkaSettings = toml::from_str(&text).unwrap();
        assert_eq!(wrongs(&settings), Vec::<String>::new());
        Producer::new(&settings, Detail::Full).unwrap()
    }

    fn notification(reasons: &[usize]) -> Notification {
        let told = |(place, length): (usize, &usize)| {
            let mut alert = raised(&format!("u{place}"), 1).alert;
            alert.reason = "x".repeat(*length);
            Told { alert, pseudonym: String::new() }
        };
        let listed = reasons.iter().enumerate().map(told).collect();
        Notification { id: "n-1".into(), at: Time(0), body: Body::Alerts { listed, more: 0, escalated: false } }
    }

    #[tokio::test]
    async fn a_row_is_done_only_by_a_delivery_report() {
        let sent = producer("").send(&notification(&[10, 10, 10])).await;
        assert_eq!((sent.done, &sent.failure), (3, &None));
        assert!(sent.note.unwrap().starts_with("partition "));
        let mut test = notification(&[]);
        test.body = Body::Test;
        assert_eq!(producer("").send(&test).await.failure, None);
    }

    #[tokio::test]
    async fn what_is_too_large_is_given_up_alone() {
        let sent = producer(", \"message.max.bytes\" = 5000").send(&notification(&[10, 9_000, 10])).await;
        assert!(sent.done == 1 && matches!(sent.failure, Some(Failure::Dead(_))), "{sent:?}");
    }
}
