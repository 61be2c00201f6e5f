//! Settings: what was written in `phiwatch.toml`, and what it means. Each module owns its part; this file puts the parts together and
//! reports every problem at once.

mod channels;
mod files;
mod paths;
mod rules;
mod topics;
mod tree;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode::Hints;
use crate::engine::settings::{SETTLE, Settings as EngineSettings};
use crate::event::time::HOUR;
use crate::event::{Problem, Zone};
use crate::keys::KeySource;
pub use paths::is_inside;
use paths::whole;
use tree::{Tree, sections};

pub use rules::Rules;
pub use tree::nearest;
pub use words::{duration, local, unknown_format};

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
    topics: BTreeMap<String, topics::Topic>,
    /// Declares sources; without any, every source is declared.
    sources: BTreeMap<String, Source>,
    /// The folder of the rosters.
    rosters: Folder,
    /// The rules: the shipped ones where this is absent.
    rules: rules::WrittenRules,
    /// The history.
    history: Option<crate::history::Settings>,
    /// The state folder: beside the history, unless named.
    state: Folder,
    /// The key-encryption key: beside the history, unless named.
    keys: KeyFile,
    /// The topics that records come from.
    kafka: Option<crate::ingest::kafka::Settings>,
    /// The drop folder that `run` reads beside Kafka, or in its place.
    files: Option<crate::ingest::inbox::Settings>,
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
    /// Where the rules come from.
    pub rules: Rules,
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
    /// The drop folder.
    pub files: Option<crate::ingest::inbox::Plan>,
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
            rules: Rules { dir: None, shipped: true },
            allow_shrink: false,
            history: None,
            state: None,
            key: None,
            kafka: None,
            files: None,
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
        let (settings, problems) = Settings::read(path);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// What can be read of a settings file, and every problem in it, by line. Where there are problems, the settings are fit for
    /// looking for more of them and for nothing else.
    pub fn read(path: &Path) -> (Settings, Vec<Problem>) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("the settings cannot be read: {error}");
                return (Settings::default(), vec![Problem { file: path.to_owned(), line: None, what }]);
            }
        };
        let mut reading = Reading { tree: Tree::new(&text, path), file: path };
        // Where the grammar is broken, what follows from it would only hide the fault.
        if !reading.tree.problems.is_empty() {
            return (Settings::default(), reading.tree.problems);
        }
        let mut settings = reading.settings();
        settings.sections = sections(&text);
        let mut problems = reading.tree.problems;
        problems.sort_by_key(|problem| problem.line);
        (settings, problems)
    }

    /// The sections that differ in `new` and that a running process cannot take over.
    pub fn restart_for(&self, new: &Settings) -> Vec<String> {
        let names: BTreeSet<&String> = self.sections.keys().chain(new.sections.keys()).collect();
        let differs = |name: &&&String| match name.as_str() {
            "rosters" | "rules" => false,
            "monitor" => self.monitor.listen != new.monitor.listen,
            _ => self.sections.get(**name) != new.sections.get(**name),
        };
        names.iter().filter(differs).map(|name| format!("[{name}]")).collect()
    }

    /// Takes over what a running process can: where rosters and rules lie, and what is told to the operator.
    pub fn take_over(&mut self, new: Settings) {
        (self.rosters, self.rules) = (new.rosters, new.rules);
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

    /// What is known of a file of the drop folder: by its name, else by the folder directly below the drop folder that it lies in.
    pub fn file_hints(&self, feed: Option<&str>, name: &str) -> Hints {
        match feed {
            Some(feed) if !self.topics.contains_key(name) => self.hints(feed),
            _ => self.hints(name),
        }
    }

    /// The topics, files and folders of files that something is known of.
    pub fn named_topics(&self) -> impl Iterator<Item = &String> {
        self.topics.keys()
    }

    /// What is known of a topic or file.
    pub fn hints(&self, name: &str) -> Hints {
        self.topics.get(name).cloned().unwrap_or_else(|| Hints::new(name))
    }
}

/// Reading a file, with the problems found so far.
struct Reading<'a> {
    tree: Tree<'a>,
    file: &'a Path,
}

impl Reading<'_> {
    fn settings(&mut self) -> Settings {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let (channels, places) = channels::read(&mut self.tree, folder);
        let written: Written = self.tree.read_root().unwrap_or_default();
        let shipped = EngineSettings::default();
        let per_1000 = written.budget.per_1000_users_per_day.unwrap_or(shipped.per_1000_users_per_day);
        if !(per_1000 > 0.0 && per_1000 <= 1_000.0) {
            let what = "per_1000_users_per_day has to be above 0 and at most 1000".to_owned();
            self.tree.problem(&["budget", "per_1000_users_per_day"], what);
        }
        let default_zone = self.zone(written.sites.default_timezone.as_deref().unwrap_or("UTC"));
        let detectors = &written.detectors;
        let engine = EngineSettings {
            per_1000_users_per_day: per_1000,
            default_timezone: default_zone.name().to_owned(),
            sources: self.sources(&written.sources),
            dormant_after_days: self.days(
                "dormant_after_days",
                detectors.dormant_after_days,
                shipped.dormant_after_days,
            ),
            never_used_after_days: self.days(
                "never_used_after_days",
                detectors.never_used_after_days,
                shipped.never_used_after_days,
            ),
        };
        let rosters = written.rosters.dir.map(|dir| folder.join(dir));
        let rules = rules::read(&mut self.tree, folder, written.rules);
        let topics = written
            .topics
            .into_iter()
            .map(|(name, topic)| (name.clone(), topics::read(&mut self.tree, &name, topic)))
            .collect();
        let history = written.history.map(|history| self.history(folder, history));
        let kafka = written.kafka.and_then(|kafka| match kafka.check(self.file) {
            Ok(plan) => Some(plan),
            Err(problems) => {
                problems.into_iter().for_each(|problem| self.tree.problem_in(&["kafka"], problem.what));
                None
            }
        });
        let files = written.files.map(|files| files::read(&mut self.tree, folder, files));
        let state = written.state.dir.map(|dir| folder.join(dir));
        let key = written.keys.file.map(|file| folder.join(file));
        let monitor = written.monitor.check(self.file).unwrap_or_else(|problems| {
            problems.into_iter().for_each(|problem| self.tree.problem_in(&["monitor"], problem.what));
            crate::app::monitor::Plan::default()
        });
        let settings = Settings {
            engine,
            default_zone,
            rosters,
            rules,
            allow_shrink: false,
            history,
            state,
            key,
            kafka,
            files,
            channels,
            monitor,
            topics,
            sections: BTreeMap::new(),
        };
        paths::apart(&mut self.tree, self.file, &settings, &places);
        channels::no_circle(&mut self.tree, &settings, &places);
        settings
    }

    fn zone(&mut self, name: &str) -> Zone {
        Zone::get(name).unwrap_or_else(|| {
            let what = format!("{name:?} is no time zone; write an IANA name such as America/Chicago");
            self.tree.problem(&["sites", "default_timezone"], what);
            Zone::utc()
        })
    }

    fn history(&mut self, folder: &Path, mut history: crate::history::Settings) -> crate::history::Settings {
        match local(&history.dir) {
            Ok(dir) => history.dir = folder.join(dir),
            Err(what) => self.tree.problem(&["history", "dir"], what),
        }
        let (rows, bytes) = (history.segment_rows as u64, history.segment_bytes as u64);
        let all = [("segment_rows", rows), ("segment_bytes", bytes), ("segment_age", history.segment_age)];
        for (key, _) in all.into_iter().filter(|(_, value)| *value == 0) {
            self.tree.problem(&["history", key], format!("{key} has to be above 0"));
        }
        history
    }

    fn days(&mut self, key: &str, written: Option<i32>, shipped: i32) -> i32 {
        let days = written.unwrap_or(shipped);
        if !(7..=3_650).contains(&days) {
            self.tree.problem(&["detectors", key], format!("{key} has to be between 7 and 3650 days"));
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
                self.tree.problem(&["sources", name, "settle"], what);
            }
            sources.insert(name.clone(), settle.unwrap_or(SETTLE));
        }
        sources
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::notify::ChannelSettings;

    /// Problems as `line: words`, in this order and no others. `SECRET` stands for a file beside the settings.
    fn check(text: &str, expected: &[(Option<u64>, &str)]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phiwatch.toml");
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, text.replace("SECRET", "{ file = \"secret\" }")).unwrap();
        let problems = Settings::load(&path).err().unwrap_or_default();
        let said: Vec<String> = problems.iter().map(|problem| format!("{:?} {}", problem.line, problem.what)).collect();
        assert_eq!(problems.len(), expected.len(), "{text}\n{said:#?}");
        for (problem, (line, words)) in problems.iter().zip(expected) {
            assert_eq!(problem.line, *line, "{words}: {said:#?}");
            assert!(problem.what.contains(words), "{words}: {said:#?}");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        check("", &[]);
        check("[budget]\nper_1000_users_per_day = 2.5\n[sources.ehr]\nsettle = \"36h\"\n", &[]);
        check(
            "[budget]\nper_1000 = 2\n",
            &[(Some(2), "unknown key `per_1000` in budget; do you mean `per_1000_users_per_day`?")],
        );
        check("[budget\n", &[(Some(1), "")]);
        check(
            "[budget]\nper_1000_users_per_day = 0\n[sites]\ndefault_timezone = \"Mars\"\n[sources.ehr]\nsettle = \"80h\"\n\
             [topics.t]\nformat = \"hl7\"\ncarries = \"x\"\n",
            &[
                (Some(2), "above 0"),
                (Some(4), "no time zone"),
                (Some(6), "at most 47h"),
                (Some(8), "hl7"),
                (Some(9), "carries"),
            ],
        );
    }

    #[test]
    fn what_serde_stops_at_does_not_hide_the_rest() {
        check(
            "colour = 1\n[budget]\nper_1000_users_per_day = \"two\"\n[sites]\ndefault_timezone = \"Mars\"\n\
             [history]\ndirr = \"h\"\nsegment_rows = -5\n[kafka]\ntopics = [1, \"t\"]\nstart = \"soon\"\n\
             [detectors]\ndormant_after_days = 1\n",
            &[
                (Some(1), "unknown key `colour`; known here: budget"),
                (Some(3), "budget.per_1000_users_per_day: invalid type"),
                (Some(5), "no time zone"),
                (Some(7), "unknown key `dirr` in history; do you mean `dir`?"),
                (Some(8), "history.segment_rows: invalid value"),
                (Some(9), "`brokers` is missing in kafka"),
                (Some(10), "kafka.topics: invalid type"),
                (Some(13), "between 7 and 3650"),
            ],
        );
        // What is refused has the line of its key, not that of its section.
        check(
            "[kafka]\nbrokers = [\"localhost:9092\"]\ntopics = [\"a b\"]\n[kafka.client]\n\"enable.auto.commit\" = true\n\
             \"sasl.password\" = \"x\"\n[kafka.batch]\nrows = 0\n",
            &[
                (Some(3), "topics: \"a b\""),
                (Some(5), "client.\"enable.auto.commit\""),
                (Some(6), "is a secret"),
                (Some(8), "batch.rows must be"),
            ],
        );
        // Several faults of the grammar, too.
        check(
            "[budget]\nper_1000_users_per_day = \n[sites]\ndefault_timezone = Mars\n",
            &[(Some(2), ""), (Some(4), "")],
        );
    }

    #[test]
    fn nothing_lies_inside_the_history() {
        let inside =
            "[history]\ndir = \"h\"\nsegment_rows = 0\n[keys]\nfile = \"h/key\"\n[state]\ndir = \"x/../h/state\"\n";
        let file = "[[channels]]\nkind = \"file\"\npath = \"./h/a/alerts.jsonl\"\n";
        check(
            &format!("{inside}{file}"),
            &[
                (Some(3), "segment_rows has to be above 0"),
                (Some(5), "inside the history"),
                (Some(7), "inside the history"),
                (Some(10), "there is no folder"),
                (Some(10), "its path lies inside the history"),
            ],
        );
        check(&inside.replace("h/", "h.").replace("rows = 0", "rows = 1"), &[]);
        // Nor does anything of ours lie in the drop folder.
        let drop = "[files]\ndir = \".\"\n[rosters]\ndir = \"r\"\n[keys]\nfile = \"k\"\n[state]\ndir = \"../s\"\n";
        check(
            &format!("{drop}{}", file.replace("./h/a/", "")),
            &[
                (Some(2), "the settings lie in this folder"),
                (Some(2), "the rosters lie in this folder"),
                (Some(2), "the key lies in this folder"),
                (Some(11), "its path lies inside the drop folder"),
            ],
        );
        let file = file.replace("./h/a/", "");
        let two = file.replace("kind", "name = \"b\"\nkind");
        check(&format!("{file}{two}"), &[(Some(7), "channel 1 writes to the same file")]);
    }

    #[test]
    fn channels_are_read_each_by_itself() {
        let file = "[[channels]]\nkind = \"file\"\npath = \"alerts.jsonl\"\n";
        let hook = "[[channels]]\nkind = \"webhook\"\nurl = \"https://soc.hosp.test/x\"\nsecret = SECRET\n";
        check(&format!("{file}{hook}"), &[]);
        check(
            &format!(
                "{file}paht = \"x\"\nmin_severity = \"worst\"\n[[channels]]\nkind = \"mail\"\n[[channels]]\nkind = \"file\"\n{hook}per_hour = 0\ngroup_wait = \"soon\"\n"
            ),
            &[
                (Some(4), "unknown key `paht` in channels; do you mean `path`?"),
                (Some(5), "channels.min_severity: unknown variant `worst`"),
                (Some(7), "do you mean \"email\"?"),
                (Some(8), "`path` is missing in channels"),
                (Some(8), "same name"),
                (Some(14), "per_hour: 0"),
                (Some(15), "channels.group_wait: `soon` is no length of time"),
            ],
        );
        check("[channels]\nkind = \"file\"\n", &[(Some(1), "write [[channels]]")]);
        check(&hook.replace("SECRET", "\"hunter2\""), &[(Some(4), "never written here")]);
        check(&hook.replace("SECRET", "{ file = \"none\" }"), &[(Some(4), "secret: ")]);
        check(&format!("{file}{file}"), &[(Some(4), "same name")]);
        // Alerts that are read as records would make more of them without end.
        let read = "[kafka]\nbrokers = [\"127.0.0.1:9092\"]\ntopics = [\"ehr\", \"alerts\"]\n";
        let write = "[[channels]]\nkind = \"kafka\"\nbrokers = [\"127.0.0.1:9092\"]\nallow_plaintext = \"loopback\"\ntopic = \"alerts\"\n";
        check(&format!("{read}{write}"), &[(Some(8), "topic: alerts are written to \"alerts\", and [kafka] reads it")]);
        check(&format!("{}{write}", read.replace(", \"alerts\"", "")), &[]);
        // A key that is missing hides nothing else.
        check(
            "[[channels]]\nkind = \"email\"\nhost = \"mail.hosp.test\"\ntls = \"none\"\n[[channels]]\nkind = \"webhook\"\nurl = \"http://soc.hosp.test/x\"\n",
            &[
                (Some(1), "`from` is missing in channels"),
                (Some(1), "`to` is missing in channels"),
                (Some(4), "tls"),
                (Some(5), "`secret` is missing in channels"),
                (Some(7), "url: "),
            ],
        );
    }

    #[test]
    fn paths_begin_at_the_folder_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phiwatch.toml");
        std::fs::write(
            &path,
            "[history]\ndir = \"h\"\n[rosters]\ndir = \"r\"\n[[channels]]\nkind = \"file\"\npath = \"a.jsonl\"\n",
        )
        .unwrap();
        let settings = Settings::load(&path).unwrap();
        assert_eq!(settings.history.unwrap().dir, dir.path().join("h"));
        let ChannelSettings::File(file) = &settings.channels.0[0] else { panic!("{:?}", settings.channels) };
        assert_eq!(file.path, dir.path().join("a.jsonl"));
    }

    #[test]
    fn object_stores_are_refused_in_words() {
        check("[history]\ndir = \"s3://bucket/x\"\n", &[(Some(2), "local folder only")]);
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
}
