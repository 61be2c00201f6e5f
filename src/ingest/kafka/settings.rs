//! Section `[kafka]` of the settings: what a person may say, and the checked plan that the reader runs by.
//!
//! librdkafka's own options are passed through, except those on which the promise of DESIGN section 4.1 rests: they are ours. All
//! problems are found at once and without the network. Secrets come from files only and are never shown, not even by `Debug`.

mod options;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Ear, consumer};
use crate::event::{Day, Problem, Time, Zone};
use options::{OURS, PREFERRED, is_secret, refused};

/// Section `[kafka]` as written; [`Settings::check`] makes a [`Plan`] of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the cluster is found, each `host:port`.
    pub brokers: Vec<String>,
    /// The topics to read; all their partitions are read.
    pub topics: Vec<String>,
    /// The consumer group under which progress is shown on the Kafka side. Nothing depends on it.
    #[serde(default = "defaults::group")]
    pub group: String,
    /// Where to begin with a topic that the history does not know: `earliest`, `latest`, or a time (RFC 3339, or a date in UTC).
    #[serde(default = "defaults::start")]
    pub start: String,
    /// librdkafka's options by its own names; secrets as `{ file = "..." }`.
    #[serde(default)]
    pub client: BTreeMap<String, ClientValue>,
    /// Allows a connection without TLS to brokers on other machines: everybody on the way can then read and alter the records.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// How records are cut into batches.
    #[serde(default)]
    pub batch: Batching,
    /// Every how many seconds topics are looked at for new partitions and for having been made again.
    #[serde(default = "defaults::metadata_seconds")]
    pub metadata_seconds: u64,
    /// Every how many milliseconds the ends of the logs are asked for.
    #[serde(default = "defaults::ends_millis")]
    pub ends_millis: u64,
    /// How many milliseconds the broker has for an answer before it counts as away.
    #[serde(default = "defaults::answer_millis")]
    pub answer_millis: u64,
}

/// A batch is closed by whichever of these is reached first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Records in a batch.
    pub rows: usize,
    /// Bytes of record values in a batch; one record may be larger.
    pub bytes: usize,
    /// Milliseconds between the first record of a batch and its hand-over.
    pub millis: u64,
    /// Batches that may wait for the pipeline before reading is paused.
    pub waiting: usize,
}

impl Default for Batching {
    fn default() -> Batching {
        Batching { rows: 8_192, bytes: 8 << 20, millis: 50, waiting: 8 }
    }
}

/// The value of one of librdkafka's options.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClientValue {
    /// As it is.
    Text(String),
    /// True or false.
    Flag(bool),
    /// A number.
    Number(i64),
    /// The content of a file, without the line end that closes it.
    File {
        /// The file; a relative path begins at the folder of the settings file.
        file: PathBuf,
    },
}

impl fmt::Debug for ClientValue {
    /// Never the text: a person may have written a secret there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientValue::Text(_) => f.write_str("(text)"),
            ClientValue::Flag(flag) => write!(f, "{flag}"),
            ClientValue::Number(number) => write!(f, "{number}"),
            ClientValue::File { file } => write!(f, "file {}", file.display()),
        }
    }
}

/// Where to begin with a topic that the history does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still there.
    Earliest,
    /// At the end of the log, as it is when the topic is first seen.
    Latest,
    /// At the first record that the broker dates at or after this time.
    At(Time),
}

/// Checked settings, ready to connect; made by [`Settings::check`].
#[derive(Clone)]
pub struct Plan {
    pub(super) topics: Vec<Arc<str>>,
    pub(super) group: String,
    pub(super) start: Start,
    pub(super) client: ClientConfig,
    pub(super) batch: Batching,
    pub(super) metadata: Duration,
    pub(super) ends: Duration,
    pub(super) answer: Duration,
    pub(super) file: PathBuf,
}

impl Plan {
    /// The topics, in the order in which they were written.
    pub fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    /// How the settings name the place they came from, for problems found later.
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: None, what: format!("[kafka] {}", what.into()) }
    }

    /// The same plan for other topics.
    pub(super) fn only(&self, topic: &str) -> Plan {
        Plan { topics: vec![topic.into()], ..self.clone() }
    }
}

impl fmt::Debug for Plan {
    /// Without the options of the client: there are secrets among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("topics", &self.topics).field("group", &self.group).finish_non_exhaustive()
    }
}

impl Settings {
    /// Checks everything that can be checked without the network, reads the secrets, and makes the plan.
    ///
    /// `file` is the settings file: relative paths begin at its folder, and problems name it.
    ///
    /// # Errors
    /// All problems at once; none of them shows a secret.
    pub fn check(&self, file: &Path) -> Result<Plan, Vec<Problem>> {
        let mut wrong = Vec::new();
        self.check_names(&mut wrong);
        let start = parse_start(&self.start);
        if start.is_none() {
            wrong.push(format!("start = {:?} is not earliest, latest, a date or an RFC 3339 time", self.start));
        }
        let options = self.options(file.parent().unwrap_or(Path::new("")), &mut wrong);
        self.check_transport(&options, &mut wrong);
        let client = self.client_config(&options);
        if wrong.is_empty() {
            wrong.extend(trial(&client));
        }
        match start {
            Some(start) if wrong.is_empty() => Ok(Plan {
                topics: self.topics.iter().map(|topic| topic.as_str().into()).collect(),
                group: self.group.clone(),
                start,
                client,
                batch: self.batch.clone(),
                metadata: Duration::from_secs(self.metadata_seconds),
                ends: Duration::from_millis(self.ends_millis),
                answer: Duration::from_millis(self.answer_millis),
                file: file.to_owned(),
            }),
            _ => {
                let problem = |what| Problem { file: file.to_owned(), line: None, what: format!("[kafka] {what}") };
                Err(wrong.into_iter().map(problem).collect())
            }
        }
    }

    fn check_names(&self, wrong: &mut Vec<String>) {
        if self.brokers.is_empty() {
            wrong.push("brokers is empty: name at least one host:port".to_owned());
        }
        for broker in &self.brokers {
            if host(broker).is_none() {
                wrong.push(format!("brokers: {broker:?} is not host:port"));
            }
        }
        if self.topics.is_empty() {
            wrong.push("topics is empty: name at least one topic".to_owned());
        }
        for (index, topic) in self.topics.iter().enumerate() {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(known) {
                wrong.push(format!("topics: {topic:?} is no name that Kafka allows (patterns are not supported)"));
            }
            if self.topics[..index].contains(topic) {
                wrong.push(format!("topics: {topic:?} is named twice"));
            }
        }
        if self.group.is_empty() {
            wrong.push("group is empty".to_owned());
        }
        let counts = [
            ("batch.rows", self.batch.rows as u64),
            ("batch.bytes", self.batch.bytes as u64),
            ("batch.millis", self.batch.millis),
            ("batch.waiting", self.batch.waiting as u64),
            ("metadata_seconds", self.metadata_seconds),
            ("ends_millis", self.ends_millis),
            ("answer_millis", self.answer_millis),
        ];
        for (name, _) in counts.iter().filter(|(_, count)| *count == 0) {
            wrong.push(format!("{name} must be at least 1"));
        }
        if self.batch.bytes > 64 << 20 {
            wrong.push("batch.bytes is above 67108864 (64 MiB)".to_owned());
        }
    }

    /// The options as texts, with secrets read from their files.
    fn options(&self, folder: &Path, wrong: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        for (name, value) in &self.client {
            if let Some(why) = refused(name) {
                wrong.push(format!("client.{name:?} cannot be set here: {why}"));
                continue;
            }
            let text = match value {
                ClientValue::Text(_) if is_secret(name) => {
                    wrong.push(format!(
                        "client.{name:?} is a secret: write it into a file and give {{ file = \"...\" }}"
                    ));
                    continue;
                }
                ClientValue::Text(text) => text.clone(),
                ClientValue::Flag(flag) => flag.to_string(),
                ClientValue::Number(number) => number.to_string(),
                ClientValue::File { file } => match std::fs::read_to_string(folder.join(file)) {
                    Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                    Err(error) => {
                        wrong.push(format!("client.{name:?}: {} cannot be read: {error}", file.display()));
                        continue;
                    }
                },
            };
            match ClientConfig::new().set(name, &text).create_native_config() {
                // The description may hold the value, which is shown only where it came from the settings themselves.
                Err(KafkaError::ClientConfig(_, why, ..)) if !matches!(value, ClientValue::File { .. }) => {
                    wrong.push(format!("client.{name:?}: {why}"));
                }
                Err(_) => wrong.push(format!("client.{name:?}: librdkafka refuses the content of its file")),
                Ok(_) => {
                    options.insert(name.clone(), text);
                }
            }
        }
        options
    }

    fn check_transport(&self, options: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
        let protocol = options.get("security.protocol").map_or("plaintext".to_owned(), |text| text.to_lowercase());
        let clear = !matches!(protocol.as_str(), "ssl" | "sasl_ssl");
        let far: Vec<_> = self.brokers.iter().filter(|broker| host(broker).is_some_and(|h| !is_loopback(h))).collect();
        if clear && !far.is_empty() && !self.allow_plaintext {
            wrong.push(format!(
                "security.protocol is {protocol}, so that records and passwords would travel in clear to {far:?}: \
                 set client \"security.protocol\" to SSL or SASL_SSL, or say allow_plaintext = true"
            ));
        }
    }

    /// What the person said, then what is ours.
    fn client_config(&self, options: &BTreeMap<String, String>) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Notice);
        for (name, value) in PREFERRED {
            client.set(*name, *value);
        }
        client.extend(options.iter().map(|(name, value)| (name.clone(), value.clone())));
        for (name, value) in OURS {
            client.set(*name, *value);
        }
        client.set("bootstrap.servers", self.brokers.join(",")).set("group.id", &self.group);
        client
    }
}

/// Makes a client without any broker: finds certificates that cannot be read, mechanisms that are not built in, and the like.
fn trial(client: &ClientConfig) -> Option<String> {
    let mut alone = client.clone();
    alone.remove("bootstrap.servers").remove("group.id");
    consumer(&alone, &Ear::new("check")).err().map(|error| match error {
        KafkaError::ClientCreation(why) => format!("client: {why}"),
        KafkaError::ClientConfig(_, why, name, _) => format!("client.{name:?}: {why}"),
        other => format!("client: {other}"),
    })
}

fn parse_start(text: &str) -> Option<Start> {
    match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        _ => {
            let day = || Day::parse(text).map(|day| Zone::utc().midnight(day));
            Time::parse(text).or_else(day).map(Start::At)
        }
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(broker: &str) -> Option<&str> {
    let (host, port) = broker.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let bracketed = bare.len() != host.len();
    let plain = !bare.is_empty() && !bare.contains(['/', ',', ' ']) && (bracketed || !bare.contains(':'));
    (plain && port.parse::<u16>().is_ok_and(|port| port != 0)).then_some(bare)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

mod defaults {
    pub fn group() -> String {
        "phiwatch".to_owned()
    }
    pub fn start() -> String {
        "earliest".to_owned()
    }
    pub fn metadata_seconds() -> u64 {
        30
    }
    pub fn ends_millis() -> u64 {
        1_000
    }
    pub fn answer_millis() -> u64 {
        5_000
    }
}

#[cfg(test)]
mod tests;
