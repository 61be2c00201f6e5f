//! Settings: what was written in `phiwatch.toml`, and what it means. Each module owns its part; this file puts the parts together and
//! reports every problem at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::decode::{Format, Hints};
use crate::engine::settings::{SETTLE, Settings as EngineSettings};
use crate::event::kind::Kind;
use crate::event::time::HOUR;
use crate::event::{Problem, Zone};
use crate::keys::KeySource;

/// The file as it was written: strict, and without meaning.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Written {
    /// How many alerts people are asked to read.
    budget: Budget,
    /// Where `rosters/sites.csv` is absent.
    sites: Sites,
    /// Policies that detectors follow.
    detectors: Detectors,
    /// What is known of a topic or file, by name.
    topics: BTreeMap<String, Topic>,
    /// Declares sources; without any, every source is declared.
    sources: BTreeMap<String, Source>,
    /// The folder of the rosters.
    rosters: Folder,
    /// The folder of the rules.
    rules: Folder,
    /// The history.
    history: Option<crate::history::Settings>,
    /// The state folder: beside the history, unless named.
    state: Folder,
    /// The key-encryption key: beside the history, unless named.
    keys: KeyFile,
    /// Where records come from.
    kafka: Option<crate::ingest::kafka::Settings>,
    /// Where alerts go.
    channels: crate::notify::Settings,
    /// What `run` shows of itself, and what it tells the operator.
    monitor: crate::app::monitor::Settings,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct KeyFile {
    /// The file; a relative path begins at the folder of the settings file.
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Budget {
    /// Budgeted alerts per 1,000 human accounts and day; 2 where absent.
    per_1000_users_per_day: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Sites {
    /// The IANA time zone of everything that names none; UTC where absent.
    default_timezone: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Detectors {
    /// An account counts as dormant after this many days without use, 7 to 3650; 45 where absent.
    dormant_after_days: Option<i32>,
    /// An account that was never used counts as forgotten this many days after it was made, 7 to 3650; 30 where absent.
    never_used_after_days: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Topic {
    /// `access` or `vendor_session`, where a record does not say.
    carries: Option<String>,
    /// The format of the records; `auto` tells each by its structure.
    format: Option<String>,
    /// The source of records that name none; else the name of the topic or file.
    source: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Source {
    /// How late its records may come and still count, at most `47h`; `36h` where absent.
    settle: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Folder {
    /// The folder; a relative path begins at the folder of the settings file.
    dir: Option<PathBuf>,
}

/// What the settings mean.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the engine reads.
    pub engine: EngineSettings,
    /// The zone where nothing else says.
    pub default_zone: Zone,
    /// Folder of the rosters.
    pub rosters: Option<PathBuf>,
    /// Takes rosters even where they shrank by more than half or are gone: asked for on the command line, for this start only.
    pub allow_shrink: bool,
    /// The history, where one is kept.
    pub history: Option<crate::history::Settings>,
    /// The state folder, where it does not lie beside the history.
    pub state: Option<PathBuf>,
    /// The key-encryption key, where it does not lie beside the history.
    pub key: Option<PathBuf>,
    /// Kafka as it was written, for the tools that change a part of it.
    pub kafka: Option<crate::ingest::kafka::Plan>,
    /// Where alerts go.
    pub channels: crate::notify::Settings,
    /// What `run` shows of itself, and what it tells the operator.
    pub monitor: crate::app::monitor::Plan,
    /// What is known of topics and files, by name.
    topics: BTreeMap<String, Hints>,
    /// A hash of each section as it was written.
    sections: BTreeMap<String, Vec<u8>>,
}

impl Default for Settings {
    /// The embedded defaults: no rosters, UTC, every source declared.
    fn default() -> Settings {
        Settings {
            engine: EngineSettings::default(),
            default_zone: Zone::utc(),
            rosters: None,
            allow_shrink: false,
            history: None,
            state: None,
            key: None,
            kafka: None,
            channels: crate::notify::Settings::default(),
            monitor: crate::app::monitor::Plan::default(),
            topics: BTreeMap::new(),
            sections: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads a settings file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// Every problem in it, with its line where one is to blame.
    pub fn load(path: &Path) -> Result<Settings, Vec<Problem>> {
        let problem = |line, what: String| Problem { file: path.to_owned(), line, what };
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![problem(None, format!("the settings cannot be read: {error}"))])?;
        let written: Written = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count() as u64);
            vec![problem(line, error.message().to_owned())]
        })?;
        let mut reading = Reading { text: &text, file: path, problems: Vec::new() };
        let mut settings = reading.settings(written);
        settings.sections = sections(&text);
        if reading.problems.is_empty() { Ok(settings) } else { Err(reading.problems) }
    }

    /// The sections that differ in `new` and that a running process cannot take over.
    pub fn restart_for(&self, new: &Settings) -> Vec<String> {
        let names: BTreeSet<&String> = self.sections.keys().chain(new.sections.keys()).collect();
        let differs = |name: &&&String| match name.as_str() {
            "rosters" => false,
            "monitor" => self.monitor.listen != new.monitor.listen,
            _ => self.sections.get(**name) != new.sections.get(**name),
        };
        names.iter().filter(differs).map(|name| format!("[{name}]")).collect()
    }

    /// Takes over what a running process can: where the rosters lie, and what is told to the operator.
    pub fn take_over(&mut self, new: Settings) {
        self.rosters = new.rosters;
        let (listen, asked) = (self.monitor.listen, self.monitor.asked);
        self.monitor = crate::app::monitor::Plan { listen, asked, ..new.monitor };
    }

    /// Where the key-encryption key of the history lies.
    pub fn key_source(&self, history: &Path) -> KeySource {
        self.key.clone().map_or_else(|| KeySource::beside(&whole(history)), KeySource::File)
    }

    /// The state folder of the history: beside it, unless the settings name another.
    pub fn state_dir(&self, history: &Path) -> PathBuf {
        self.state.clone().unwrap_or_else(|| {
            let history = whole(history);
            let mut name = history.file_name().unwrap_or_default().to_os_string();
            name.push(".state");
            history.with_file_name(name)
        })
    }

    /// The JSON Schema of the file as it is written.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Written).to_value();
        schema["title"] = "phiwatch settings".into();
        schema["description"] = "phiwatch.toml as JSON".into();
        schema
    }

    /// What is known of a topic or file.
    pub fn hints(&self, name: &str) -> Hints {
        self.topics.get(name).cloned().unwrap_or_else(|| Hints::new(name))
    }
}

/// The folder by its whole path, so that `.` has a name that something can stand beside.
fn whole(dir: &Path) -> PathBuf {
    std::path::absolute(dir).map(|path| path.components().collect()).unwrap_or_else(|_| dir.to_owned())
}

/// Reading a file, with the problems found so far.
struct Reading<'a> {
    text: &'a str,
    file: &'a Path,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    /// Notes a problem at the first line that holds `key`.
    fn problem(&mut self, key: &str, what: String) {
        let line = self.text.lines().position(|line| line.contains(key)).map(|line| line as u64 + 1);
        self.problems.push(Problem { file: self.file.to_owned(), line, what });
    }

    fn settings(&mut self, written: Written) -> Settings {
        let shipped = EngineSettings::default();
        let per_1000 = written.budget.per_1000_users_per_day.unwrap_or(shipped.per_1000_users_per_day);
        if !(per_1000 > 0.0 && per_1000 <= 1_000.0) {
            let what = "per_1000_users_per_day has to be above 0 and at most 1000".to_owned();
            self.problem("per_1000_users_per_day", what);
        }
        let engine = EngineSettings {
            per_1000_users_per_day: per_1000,
            sources: self.sources(&written.sources),
            dormant_after_days: self.days(
                "dormant_after_days",
                written.detectors.dormant_after_days,
                shipped.dormant_after_days,
            ),
            never_used_after_days: self.days(
                "never_used_after_days",
                written.detectors.never_used_after_days,
                shipped.never_used_after_days,
            ),
        };
        let zone = written.sites.default_timezone.as_deref().unwrap_or("UTC");
        let default_zone = Zone::get(zone).unwrap_or_else(|| {
            self.problem(
                "default_timezone",
                format!("{zone:?} is no time zone; write an IANA name such as America/Chicago"),
            );
            Zone::utc()
        });
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let rosters = written.rosters.dir.map(|dir| folder.join(dir));
        let topics = written.topics.into_iter().map(|(name, topic)| (name.clone(), self.hints(&name, topic))).collect();
        let history = written.history.map(|mut history| {
            history.dir = folder.join(history.dir);
            history
        });
        let kafka = written.kafka.and_then(|kafka| match kafka.check(self.file) {
            Ok(plan) => Some(plan),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        });
        self.problems.extend(written.channels.problems(self.file));
        let monitor = written.monitor.check(self.file).unwrap_or_else(|problems| {
            self.problems.extend(problems);
            crate::app::monitor::Plan::default()
        });
        let (state, key) =
            (written.state.dir.map(|dir| folder.join(dir)), written.keys.file.map(|file| folder.join(file)));
        Settings {
            engine,
            default_zone,
            rosters,
            allow_shrink: false,
            history,
            state,
            key,
            kafka,
            channels: written.channels,
            monitor,
            topics,
            sections: BTreeMap::new(),
        }
    }

    fn days(&mut self, key: &str, written: Option<i32>, shipped: i32) -> i32 {
        let days = written.unwrap_or(shipped);
        if !(7..=3_650).contains(&days) {
            self.problem(key, format!("{key} has to be between 7 and 3650 days"));
        }
        days
    }

    fn sources(&mut self, written: &BTreeMap<String, Source>) -> BTreeMap<String, i64> {
        let mut sources = BTreeMap::new();
        for (name, source) in written {
            let text = source.settle.as_deref().unwrap_or("36h");
            let settle = duration(text).filter(|settle| (1..=47 * HOUR).contains(settle));
            if settle.is_none() {
                let what = format!(
                    "settle of source {name:?} has to be a duration of at most 47h, such as \"36h\"; slower feeds are backfill"
                );
                self.problem(name, what);
            }
            sources.insert(name.clone(), settle.unwrap_or(SETTLE));
        }
        sources
    }

    fn hints(&mut self, name: &str, topic: Topic) -> Hints {
        let mut hints = Hints::new(name);
        hints.source = topic.source;
        if let Some(text) = topic.carries {
            hints.carries = Kind::parse(&text);
            if hints.carries.is_none() {
                self.problem(
                    "carries",
                    format!("topic {name:?} carries \"access\" or \"vendor_session\", not {text:?}"),
                );
            }
        }
        if let Some(text) = topic.format {
            match Format::parse(&text) {
                Some(format) => hints.format = format,
                None => self.problem("format", format!("topic {name:?}: {}", unknown_format(&text))),
            }
        }
        hints
    }
}

/// A hash of each section, so that two versions can be compared without keeping what they say.
fn sections(text: &str) -> BTreeMap<String, Vec<u8>> {
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    table.into_iter().map(|(name, value)| (name, Sha256::digest(value.to_string()).to_vec())).collect()
}

/// What to say about a format that is not known.
pub fn unknown_format(text: &str) -> String {
    let known: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
    format!("{text:?} is no format that can be read; choose one of {}", known.join(", "))
}

/// Reads `36h`, `90m`, `20s` or `2d`, in microseconds.
pub fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Problems as `line: words`, or nothing.
    fn check(text: &str, expected: &[(Option<u64>, &str)]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phiwatch.toml");
        std::fs::write(&path, text).unwrap();
        let problems = Settings::load(&path).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, (line, words)) in problems.iter().zip(expected) {
            assert_eq!(problem.line, *line, "{problem}");
            assert!(problem.what.contains(words), "{problem}");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        check("", &[]);
        check("[budget]\nper_1000_users_per_day = 2.5\n[sources.ehr]\nsettle = \"36h\"\n", &[]);
        check("[budget]\nper_1000 = 2\n", &[(Some(2), "unknown field `per_1000`")]);
        check("[budget\n", &[(Some(1), "")]);
        check(
            "[budget]\nper_1000_users_per_day = 0\n[sites]\ndefault_timezone = \"Mars\"\n[sources.ehr]\nsettle = \"80h\"\n\
             [topics.t]\nformat = \"hl7\"\ncarries = \"x\"\n",
            &[
                (Some(2), "above 0"),
                (Some(5), "at most 47h"),
                (Some(4), "no time zone"),
                (Some(9), "carries"),
                (Some(8), "hl7"),
            ],
        );
    }

    #[test]
    fn what_a_running_process_cannot_take_over_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phiwatch.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::load(&path).unwrap()
        };
        let mut old = load("[rosters]\ndir = \"a\"\n[history]\ndir = \"h\"\n[monitor]\nstale_after = \"1d\"\n");
        let cases: [(&str, &[&str]); 5] = [
            ("# a remark\n[monitor]\nstale_after = \"1d\"\n[history]\ndir = \"h\"\n[rosters]\ndir = \"a\"\n", &[]),
            ("[rosters]\ndir = \"b\"\n[history]\ndir = \"h\"\n[monitor]\nstale_after = \"2d\"\n", &[]),
            ("[history]\ndir = \"other\"\n[budget]\nper_1000_users_per_day = 1.0\n", &["[budget]", "[history]"]),
            ("", &["[history]"]),
            ("[history]\ndir = \"h\"\n[monitor]\nlisten = \"127.0.0.1:1\"\n", &["[monitor]"]),
        ];
        for (text, expected) in cases {
            assert_eq!(old.restart_for(&load(text)), expected, "{text}");
        }
        old.take_over(load(cases[1].0));
        assert!(old.rosters.as_ref().unwrap().ends_with("b") && old.monitor.stale_after == 2 * 24 * HOUR);
        assert!(old.history.as_ref().unwrap().dir.ends_with("h"));
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("36h", Some(129_600)), ("20 s", Some(20)), ("2d", Some(172_800)), ("h", None), ("5", None)]
        {
            assert_eq!(duration(text).map(|d| d / 1_000_000), seconds, "{text}");
        }
    }
}
