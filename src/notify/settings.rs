//! The `[[channels]]` of the settings file (INTERFACES, section 6), and every problem that can be seen in them before anything is sent.
//!
//! Unknown fields are refused. A secret is only ever named by its file: no value that must stay secret passes through here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::channel::{Spec, email, file, kafka, stdout, syslog, webhook};
pub use super::lengths::{ClockTime, Length};
use super::routing::Routing;
use super::secret::SecretFile;
use crate::event::{Class, Severity};

/// Where alerts go; any number.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Settings(pub Vec<ChannelSettings>);

/// One channel.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ChannelSettings {
    /// A file of JSON lines.
    File(FileSettings),
    /// Standard output, as JSON lines.
    Stdout(StdoutSettings),
    /// A Kafka topic.
    Kafka(KafkaSettings),
    /// Mail.
    Email(EmailSettings),
    /// An HTTPS address that takes JSON.
    Webhook(WebhookSettings),
    /// A syslog collector.
    Syslog(SyslogSettings),
}

/// How much a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// The whole alert, with names and numbers of persons.
    Full,
    /// Id, kind, severity, a pseudonym and the command that shows the rest.
    Minimal,
}

/// How the connection to a mail server is encrypted. Only the first two are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From the first byte, port 465 unless another is named.
    #[default]
    Implicit,
    /// STARTTLS, required, port 587 unless another is named.
    Starttls,
    /// Refused: anybody on the way can strip it.
    Opportunistic,
    /// Refused.
    None,
}

/// How syslog records travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TLS over TCP (RFC 5425).
    #[default]
    Tls,
    /// TCP in clear text, framed by octet count (RFC 6587).
    Tcp,
    /// UDP in clear text (RFC 5426): what is lost on the way is lost.
    Udp,
}

/// Where clear text is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plaintext {
    /// Only to this machine itself.
    Loopback,
}

/// Defines the settings of one kind of channel: its own fields and those that all kinds share.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// What the channel is called; its kind where absent. The outbox goes by it, so it stays when other fields change.
            pub name: Option<String>,
            /// Full or minimal.
            pub detail: Option<Detail>,
            /// Only alerts of at least this severity.
            pub min_severity: Option<Severity>,
            /// Only detections that match one of these patterns, or whose family does, such as `mass-query` or `dormant.re*`.
            #[serde(default)]
            pub detections: Vec<String>,
            /// Only these classes.
            #[serde(default)]
            pub classes: Vec<Class>,
            /// Of alerts whose rule has words under `routing` that some channel asks for, only those that have one of these.
            #[serde(default)]
            pub routing: Vec<String>,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            fn shared(&self) -> Shared<'_> {
                Shared {
                    name: self.name.as_deref(),
                    detail: self.detail,
                    min_severity: self.min_severity,
                    detections: &self.detections,
                    classes: &self.classes,
                    routing: &self.routing,
                }
            }
        }
    };
}

settings! {
    /// Alerts appended to a file, one a line.
    FileSettings {
        /// The file; made with mode 0600.
        path: PathBuf,
    }
}

settings! {
    /// Alerts on standard output, one a line.
    StdoutSettings {}
}

settings! {
    /// Alerts as records of a Kafka topic, with `alert_id` as the key.
    KafkaSettings {
        /// Addresses of brokers, `host:port`.
        brokers: Vec<String>,
        /// The topic.
        topic: String,
        /// Settings of librdkafka under its own names; secrets as `{ file = "..." }`.
        #[serde(default)]
        client: BTreeMap<String, ClientValue>,
        /// Clear text to brokers on this machine.
        allow_plaintext: Option<Plaintext>,
    }
}

settings! {
    /// Alerts by mail.
    EmailSettings {
        /// The mail server.
        host: String,
        /// Its port.
        port: Option<u16>,
        /// How the connection is encrypted.
        #[serde(default)]
        tls: Tls,
        /// Certificates (PEM) to trust in place of those of the system.
        ca_file: Option<PathBuf>,
        /// Whom to log in as.
        username: Option<String>,
        /// The password's file.
        password: Option<SecretFile>,
        /// The sender's address.
        from: String,
        /// The receivers' addresses.
        to: Vec<String>,
        /// How long alerts wait for others that go into the same mail.
        group_wait: Option<Length>,
        /// Mails in an hour at most; what is above is told together later. Critical alerts may use as many again.
        per_hour: Option<u32>,
        /// When to send a daily sign of life, by the clock of the default zone.
        heartbeat: Option<ClockTime>,
        /// How long a critical alert may stay without a verdict before others are told.
        escalate_after: Option<Length>,
        /// Whom to tell then.
        #[serde(default)]
        escalate_to: Vec<String>,
    }
}

settings! {
    /// Alerts posted as JSON, signed.
    WebhookSettings {
        /// Where; `https://` only.
        url: String,
        /// The file of the key for the signature.
        secret: SecretFile,
        /// The file of a token for `Authorization: Bearer`.
        bearer: Option<SecretFile>,
        /// Certificates (PEM) to trust in place of the built-in ones.
        ca_file: Option<PathBuf>,
        /// Private addresses that may be called, as `10.1.2.3` or `10.1.0.0/16`.
        #[serde(default)]
        allow_addresses: Vec<String>,
        /// Clear text to this machine.
        allow_plaintext: Option<Plaintext>,
        /// How long alerts wait for others that go into the same call.
        group_wait: Option<Length>,
        /// Calls in an hour at most; what is above is told together later. Critical alerts may use as many again.
        per_hour: Option<u32>,
        /// When to send a daily sign of life, by the clock of the default zone.
        heartbeat: Option<ClockTime>,
    }
}

settings! {
    /// Alerts as syslog (RFC 5424), over TLS (RFC 5425) unless the site asks for less.
    SyslogSettings {
        /// The collector, `host:port`; port 6514 over TLS and 514 otherwise where none is named.
        address: String,
        /// `tls`, or `tcp` or `udp`, which are clear text.
        #[serde(default)]
        transport: Transport,
        /// Certificates (PEM) to trust in place of those of the system.
        ca_file: Option<PathBuf>,
        /// A certificate (PEM) by which this machine names itself, with its chain.
        certificate: Option<PathBuf>,
        /// The file of its key (PEM).
        key: Option<SecretFile>,
        /// The facility, 0 to 23; 13 (log audit) where absent.
        facility: Option<u8>,
        /// The name of this machine in the records; the system's where absent.
        hostname: Option<String>,
    }
}

/// The value of a librdkafka setting.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClientValue {
    /// As it is.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Switch(bool),
    /// The content of a file that only its owner can read.
    Secret(SecretFile),
}

/// What all kinds of channels have.
struct Shared<'a> {
    name: Option<&'a str>,
    detail: Option<Detail>,
    min_severity: Option<Severity>,
    detections: &'a [String],
    classes: &'a [Class],
    routing: &'a [String],
}

impl ChannelSettings {
    /// Lets relative paths begin at `folder`, that of the settings file.
    pub fn rebase(&mut self, folder: &Path) {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        match self {
            ChannelSettings::File(own) => paths.push(&mut own.path),
            ChannelSettings::Stdout(_) => {}
            ChannelSettings::Kafka(own) => paths.extend(own.client.values_mut().filter_map(|value| match value {
                ClientValue::Secret(secret) => Some(&mut secret.file),
                _ => None,
            })),
            ChannelSettings::Email(own) => {
                paths.extend(own.ca_file.iter_mut().chain(own.password.iter_mut().map(|secret| &mut secret.file)));
            }
            ChannelSettings::Webhook(own) => {
                paths.push(&mut own.secret.file);
                paths.extend(own.ca_file.iter_mut().chain(own.bearer.iter_mut().map(|secret| &mut secret.file)));
            }
            ChannelSettings::Syslog(own) => {
                paths.extend(own.ca_file.iter_mut().chain(&mut own.certificate));
                paths.extend(own.key.iter_mut().map(|secret| &mut secret.file));
            }
        }
        for path in paths.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            *path = folder.join(&*path);
        }
    }

    /// What is known about this kind of channel.
    pub fn spec(&self) -> &'static Spec {
        match self {
            ChannelSettings::File(_) => &file::SPEC,
            ChannelSettings::Stdout(_) => &stdout::SPEC,
            ChannelSettings::Kafka(_) => &kafka::SPEC,
            ChannelSettings::Email(_) => &email::SPEC,
            ChannelSettings::Webhook(_) => &webhook::SPEC,
            ChannelSettings::Syslog(_) => &syslog::SPEC,
        }
    }

    /// What the channel is called.
    pub fn name(&self) -> &str {
        self.shared().name.unwrap_or(self.spec().kind)
    }

    /// How much its notifications say.
    pub fn detail(&self) -> Detail {
        self.shared().detail.unwrap_or(self.spec().detail)
    }

    /// Which alerts it gets.
    pub fn routing(&self) -> Routing {
        let shared = self.shared();
        Routing {
            hears: self.spec().hears,
            min_severity: shared.min_severity.unwrap_or(Severity::Informational),
            detections: shared.detections.to_vec(),
            classes: shared.classes.to_vec(),
            routing: shared.routing.to_vec(),
        }
    }

    fn shared(&self) -> Shared<'_> {
        match self {
            ChannelSettings::File(own) => own.shared(),
            ChannelSettings::Stdout(own) => own.shared(),
            ChannelSettings::Kafka(own) => own.shared(),
            ChannelSettings::Email(own) => own.shared(),
            ChannelSettings::Webhook(own) => own.shared(),
            ChannelSettings::Syslog(own) => own.shared(),
        }
    }

    /// What is wrong with this channel, in words that say what to do.
    fn wrongs(&self) -> Vec<String> {
        let mut wrongs = match self {
            ChannelSettings::File(own) => file::wrongs(own),
            ChannelSettings::Stdout(_) => Vec::new(),
            ChannelSettings::Kafka(own) => kafka::wrongs(own),
            ChannelSettings::Email(own) => email::wrongs(own),
            ChannelSettings::Webhook(own) => webhook::wrongs(own),
            ChannelSettings::Syslog(own) => syslog::wrongs(own),
        };
        let name = self.name();
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 60 || !name.bytes().all(letters) {
            wrongs.push("name: write it with small letters, digits, - and _, at most 60 of them".into());
        }
        if self.shared().detections.iter().any(String::is_empty) {
            wrongs.push("detections: an empty pattern matches nothing; leave the field out to get all".into());
        }
        wrongs
    }
}

impl Settings {
    /// Every problem of every channel, with the channel's index; the field to blame stands first.
    pub fn problems(&self) -> Vec<(usize, String)> {
        let mut problems = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut files: BTreeMap<&Path, usize> = BTreeMap::new();
        for (index, channel) in self.0.iter().enumerate() {
            let mut wrongs = channel.wrongs();
            let written = match channel {
                ChannelSettings::File(own) => files.insert(&own.path, index),
                _ => None,
            };
            if let Some(first) = seen.insert(channel.name(), index) {
                wrongs.push(format!("channel {} has the same name; give one of them another `name`", first + 1));
            } else if let Some(first) = written {
                wrongs.push(format!("path: channel {} writes to the same file", first + 1));
            }
            let (number, name) = (index + 1, channel.name());
            problems.extend(wrongs.into_iter().map(|wrong| (index, format!("{wrong} (channel {number}, {name})"))));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Parses channels; `SECRET` stands for a file that only its owner can read, `OPEN` for one that all can, `DIR` for a folder.
    fn parse(text: &str) -> (Result<Settings, String>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("secret", 0o600), ("open", 0o644)] {
            let path = dir.path().join(name);
            std::fs::write(&path, "0123456789abcdef\n").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        let file = |name: &str| format!("{{ file = \"{}\" }}", path(name));
        let text = text.replace("SECRET", &file("secret")).replace("OPEN", &file("open"));
        let text = text.replace("DIR", &dir.path().display().to_string());
        #[derive(Deserialize)]
        struct File {
            channels: Settings,
        }
        let file: Result<File, _> = toml::from_str(&text);
        (file.map(|file| file.channels).map_err(|error| error.to_string()), dir)
    }

    /// Every expected part stands in a problem of its own, in this order, and there are no others.
    fn check(text: &str, expected: &[&str]) {
        let (settings, _dir) = parse(text);
        let problems = settings.unwrap().problems();
        let whats: Vec<&str> = problems.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(whats.len(), expected.len(), "{text}\n{whats:#?}");
        for (what, part) in whats.iter().zip(expected) {
            assert!(what.contains(part), "{part}: {whats:#?}");
        }
    }

    /// The file cannot even be read, and the error says why.
    fn check_unread(text: &str, part: &str) {
        let error = parse(text).0.unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    const MAIL: &str =
        "[[channels]]\nkind = \"email\"\nhost = \"mail.hosp.test\"\nfrom = \"a@hosp.test\"\nto = [\"b@hosp.test\"]\n";
    const HOOK: &str = "[[channels]]\nkind = \"webhook\"\nurl = \"https://soc.hosp.test/x\"\nsecret = SECRET\n";
    const KAFKA: &str = "[[channels]]\nkind = \"kafka\"\nbrokers = [\"127.0.0.1:9092\"]\ntopic = \"alerts\"\n";

    #[test]
    fn sound_channels_have_no_problem() {
        check("[[channels]]\nkind = \"file\"\npath = \"DIR/alerts.jsonl\"\ndetail = \"full\"\n", &[]);
        check(
            "[[channels]]\nkind = \"stdout\"\nmin_severity = \"high\"\nclasses = [\"hard\"]\ndetections = [\"mass-query.*\"]\n",
            &[],
        );
        let more = "username = \"u\"\npassword = SECRET\ntls = \"starttls\"\ngroup_wait = \"30s\"\nper_hour = 5\n\
                    heartbeat = \"08:00\"\nescalate_after = \"4h\"\nescalate_to = [\"boss@hosp.test\"]\n";
        check(&format!("{MAIL}{more}{HOOK}bearer = SECRET\nallow_addresses = [\"10.0.0.0/8\"]\n"), &[]);
        check(&format!("{KAFKA}allow_plaintext = \"loopback\"\n"), &[]);
    }

    #[test]
    fn nobody_is_escalated_to_at_once() {
        let escalates = |after: &str| format!("{MAIL}escalate_after = {after:?}\nescalate_to = [\"b@hosp.test\"]\n");
        check(&escalates("0s"), &["escalate_after: 0"]);
        check(&escalates("1s"), &[]);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let bad = "[[channels]]\nkind = \"email\"\nhost = \"smtp://x\"\ntls = \"opportunistic\"\nfrom = \"x\"\nto = []\n\
                   username = \"u\"\nescalate_after = \"1h\"\nper_hour = 0\nname = \"Mail Box\"\n";
        check(
            bad,
            &[
                "\"opportunistic\" is refused",
                "host:",
                "username and password",
                "from:",
                "to:",
                "escalate_after and escalate_to",
                "per_hour",
                "name:",
            ],
        );
        check(&MAIL.replace("b@hosp.test", "nobody"), &["to: number 1 is not"]);
        check(&format!("{MAIL}tls = \"none\"\n"), &["\"none\" is refused"]);
        check(&format!("{MAIL}username = \"u\"\npassword = OPEN\n"), &["mode 0644"]);
        check(&format!("{MAIL}ca_file = \"DIR/secret\"\n"), &["holds no certificate"]);
        check(&format!("{MAIL}{MAIL}"), &["same name"]);
        check("[[channels]]\nkind = \"file\"\npath = \"DIR\"\n", &["is not a file"]);
        check("[[channels]]\nkind = \"file\"\npath = \"DIR/none/a.jsonl\"\n", &["there is no folder"]);
    }

    #[test]
    fn webhooks_are_https_and_signed() {
        let url = |url: &str| HOOK.replace("https://soc.hosp.test/x", url);
        check(&url("http://soc.hosp.test/x"), &["only https"]);
        check(&format!("{}allow_plaintext = \"loopback\"\n", url("http://soc.hosp.test/x")), &["only https"]);
        check(&url("http://127.0.0.1:8080/"), &["allow_plaintext"]);
        check(&format!("{}allow_plaintext = \"loopback\"\n", url("http://127.0.0.1:8080/")), &[]);
        check(&format!("{}allow_plaintext = \"loopback\"\n", url("http://localhost.evil.example/")), &["only https"]);
        check(&url("https://user:pw@soc.hosp.test/"), &["use `bearer`"]);
        check(&url("file:///etc/passwd"), &["url:"]);
        check(&HOOK.replace("SECRET", "OPEN"), &["mode 0644"]);
        check(&format!("{HOOK}allow_addresses = [\"10.0.0.0/40\"]\n"), &["allow_addresses"]);
    }

    #[test]
    fn kafka_is_checked_and_its_promise_kept() {
        check(KAFKA, &["allow_plaintext"]);
        check(&KAFKA.replace("127.0.0.1", "kafka.hosp.test"), &["clear text leaves this machine"]);
        let client = |client: &str| format!("{KAFKA}allow_plaintext = \"loopback\"\nclient = {{ {client} }}\n");
        check(&client("\"acks\" = \"1\""), &["`acks` is set by phiwatch"]);
        check(&client("\"enable.ssl.certificate.verification\" = false"), &["always checked"]);
        check(&client("\"ssl.endpoint.identification.algorithm\" = \"none\""), &["always checked"]);
        check(&client("\"sasl.password\" = \"hunter2\""), &["is a secret"]);
        check(&client("\"sasl.password\" = OPEN"), &["mode 0644"]);
        check(&client("\"no.such.thing\" = 1"), &["`no.such.thing`"]);
    }

    #[test]
    fn syslog_is_encrypted_unless_it_is_asked_for_in_clear() {
        let syslog = |more: &str| format!("[[channels]]\nkind = \"syslog\"\naddress = \"siem.hosp.test\"\n{more}");
        check(&syslog(""), &[]);
        check(&syslog("transport = \"udp\"\nfacility = 4\nhostname = \"phi-1\"\n"), &[]);
        check(&syslog("transport = \"tcp\"\nca_file = \"DIR/secret\"\n"), &["ca_file: belongs to transport = \"tls\""]);
        check(&syslog("transport = \"tcp\"\ndetail = \"full\"\n"), &["detail: \"full\" names persons"]);
        check(&syslog("ca_file = \"DIR/secret\"\n"), &["holds no certificate"]);
        check(&syslog("key = SECRET\n"), &["certificate and key belong together"]);
        check(&syslog("facility = 24\nhostname = \"a b\"\n"), &["facility:", "hostname:"]);
        check(&syslog("").replace("siem.hosp.test", "siem.hosp.test:syslog"), &["address:"]);
        check(&syslog("").replace("siem.hosp.test", "[::1]:6514"), &[]);
    }

    #[test]
    fn what_cannot_be_meant_is_not_read() {
        check_unread("[[channels]]\nkind = \"file\"\npath = \"x\"\npaht = \"y\"\n", "unknown field `paht`");
        check_unread("[[channels]]\nkind = \"pigeon\"\n", "unknown variant `pigeon`");
        for secret in ["\"hunter2\"", "2202", "-22.2", "{ value = \"hunter2\" }"] {
            let error = parse(&format!("{MAIL}password = {secret}\n")).0.unwrap_err();
            assert!(
                error.contains("never written here") && !error.contains("hunter2") && !error.contains("22"),
                "{error}"
            );
        }
        check_unread(&format!("{MAIL}group_wait = \"soon\"\n"), "no length of time");
        check_unread(&format!("{MAIL}group_wait = \"-5s\"\n"), "no length of time");
        check_unread(&format!("{MAIL}heartbeat = \"8:00\"\n"), "no time of day");
        check_unread(&format!("{MAIL}heartbeat = \"24:00\"\n"), "no time of day");
        check_unread(&format!("{MAIL}verify = false\n"), "unknown field");
    }

    #[test]
    fn detail_defaults_by_kind() {
        let text = format!(
            "[[channels]]\nkind = \"file\"\npath = \"a\"\n[[channels]]\nkind = \"stdout\"\n{MAIL}{HOOK}{KAFKA}"
        );
        let details: Vec<Detail> = parse(&text).0.unwrap().0.iter().map(ChannelSettings::detail).collect();
        assert_eq!(details, [Detail::Full, Detail::Full, Detail::Minimal, Detail::Minimal, Detail::Minimal]);
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let (settings, _dir) = parse(&format!(
            "{MAIL}username = \"u\"\npassword = OPEN\n{HOOK}{KAFKA}client = {{ \"sasl.password\" = SECRET }}\n"
        ));
        let settings = settings.unwrap();
        let shown = format!("{settings:?} {:?}", settings.problems());
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}
