//! Names in the settings that nothing is called by: filters of channels that no alert passes, and topics that are not read.
//!
//! None of it keeps `run` from its work, and a rule or a folder may come later: `check` complains, and `run` says it in its log.

use std::path::{Path, PathBuf};

use tracing::warn;

use super::rules::detections;
use crate::engine::rule::{RuleSet, unknown};
use crate::event::Problem;
use crate::notify::routing;
use crate::settings::{Settings, nearest};

/// What files of records are called at their ends: such a name is that of a file, and `scan` may be given it.
const FILES: [&str; 8] = ["csv", "gz", "json", "jsonl", "log", "ndjson", "parquet", "zst"];

/// Every such name; `rules` are those in force.
pub fn named_for_nothing(settings: &Settings, rules: &RuleSet) -> Vec<Problem> {
    let known: Vec<String> = detections(rules).collect();
    let words: Vec<&str> = rules.rules().iter().flat_map(|rule| &rule.meta.routing).map(String::as_str).collect();
    let mut problems = Vec::new();
    for channel in &settings.channels.0 {
        let mut say = |what: String| {
            problems.push(Problem { file: PathBuf::from(format!("channel {}", channel.name())), line: None, what });
        };
        let filter = channel.routing();
        let is_called = |pattern: &&String| known.iter().any(|id| routing::names(pattern, id));
        for pattern in filter.detections.iter().filter(|pattern| !pattern.is_empty() && !is_called(pattern)) {
            let families = known.iter().map(|id| crate::event::alert::family(id));
            // What is compared is what stands before a star.
            let bare = pattern.trim_end_matches(['*', '?', '.']);
            let all = families.chain(known.iter().map(String::as_str));
            say(format!("detections: nothing is called {pattern:?}: {}", unknown("detection", bare, all)));
        }
        for word in filter.routing.iter().filter(|word| !words.contains(&word.as_str())) {
            say(format!("routing: no rule asks for {word:?}: {}", unknown("word", word, words.iter().copied())));
        }
    }
    problems.extend(topics(settings));
    problems
}

/// Says them in the log.
pub(super) fn complain(settings: &Settings, rules: &RuleSet) {
    for problem in named_for_nothing(settings, rules) {
        warn!(%problem, "settings");
    }
}

/// `[topics.NAME]` that names no topic but nearly does. It may also be a topic for `peek`, a file for `scan`, or a file or folder of the
/// drop folder, which may come later.
fn topics(settings: &Settings) -> Vec<Problem> {
    let Some(kafka) = &settings.kafka else { return Vec::new() };
    let known = || kafka.topics().iter().map(|topic| &**topic);
    let is_file = |name: &str| {
        let end = Path::new(name).extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase);
        name == "-" || end.is_some_and(|end| FILES.contains(&end.as_str()))
    };
    let is_folder = |name: &str| settings.files.as_ref().is_some_and(|files| files.dir.join(name).exists());
    let is_near = |name: &str| nearest(name, known()).is_some_and(|topic| topic.len().abs_diff(name.len()) <= 2);
    let lost = settings.named_topics().filter(|name| !known().any(|topic| topic == *name));
    let lost = lost.filter(|name| !is_file(name) && !is_folder(name) && is_near(name));
    let problem = |name: &String| Problem {
        file: PathBuf::from(format!("[topics.{name:?}]")),
        line: None,
        what: format!("[kafka] topics has no such topic: {}", unknown("topic", name, known())),
    };
    lost.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of these settings beside the shipped rules; there is a folder `labs` below the drop folder `drop`.
    fn check(text: &str, expected: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("drop/labs")).unwrap();
        let path = dir.path().join("phiwatch.toml");
        std::fs::write(&path, text).unwrap();
        let settings = Settings::load(&path).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let (_, loaded) = crate::app::look_at_rules(&settings.rules).unwrap();
        let found = named_for_nothing(&settings, &loaded.set);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn filters_that_no_alert_passes() {
        let channel = |filter: &str| format!("[[channels]]\nkind = \"stdout\"\n{filter}\n");
        let rule = crate::app::look_at_rules(&Settings::default().rules).unwrap().1.set.rules()[0].id.clone();
        let good =
            ["mass-query", "mass-query.*", "*", "dormant.re*", "operator-*", "operator-gap", "?fter-hours", &rule];
        check(&channel(&format!("detections = {good:?}")), &[]);
        check(
            &channel("detections = [\"mass-qery\", \"operator-gapp\"]"),
            &["nearest is `mass-query`", "nearest is `operator-gap`"],
        );
        check(&channel("detections = [\"mass-qery.*\"]"), &["channel stdout: detections: nothing is called"]);
        check(&channel("routing = [\"privcy\"]"), &["routing: no rule asks for \"privcy\""]);
    }

    #[test]
    fn topics_that_are_not_read() {
        let kafka = "[kafka]\nbrokers = [\"127.0.0.1:9092\"]\ntopics = [\"ehr.access\", \"vendor.sessions\"]\n";
        let with = |name: &str, more: &str| format!("{kafka}{more}[topics.{name:?}]\nformat = \"auto\"\n");
        let nearest = "nearest is `vendor.sessions`";
        check(&with("vendor.sessions", ""), &[]);
        check(&with("vendor.session", ""), &[nearest]);
        check(&with("labs", ""), &[]);
        // Files, for `scan` or of the drop folder, and folders of that.
        check(&with("march.csv.gz", ""), &[]);
        let files = "[files]\ndir = \"drop\"\n";
        check(&with("labs", files), &[]);
        check(&with("pharmacy", files), &[]);
        check(&with("vendor.session", files), &[nearest]);
        check("[topics.\"x\"]\nformat = \"auto\"\n", &[]);
    }
}
