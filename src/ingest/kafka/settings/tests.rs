//! What `[kafka]` accepts and refuses, as cases.

use super::options::REFUSED;
use super::*;

const GOOD: &str = "brokers = [\"127.0.0.1:9092\"]\ntopics = [\"ehr.access\"]\n";

fn checked(text: &str, folder: &Path) -> Result<Plan, Vec<String>> {
    let settings: Settings = toml::from_str(text).expect("TOML of the right shape");
    let plan = settings.check(&folder.join("phiwatch.toml"));
    plan.map_err(|problems| problems.into_iter().map(|problem| problem.what).collect())
}

/// The problems of `text`: as many as `expected`, each with that in it.
fn check(text: &str, expected: &[&str]) {
    let problems = checked(text, Path::new("")).err().unwrap_or_default();
    assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with("[kafka] ") && problem.contains(expected), "{problem} has no {expected}");
    }
}

#[test]
fn the_shortest_settings_are_enough() {
    let plan = checked(GOOD, Path::new("")).expect("a plan");
    assert_eq!(plan.topics(), ["ehr.access".into()]);
    assert_eq!((plan.start, plan.group.as_str()), (Start::Earliest, "phiwatch"));
    for (name, value) in OURS {
        assert_eq!(plan.client.get(name), Some(*value));
    }
}

#[test]
fn starts_are_words_or_times() {
    let start = |text: &str| parse_start(text);
    assert_eq!(start("latest"), Some(Start::Latest));
    assert_eq!(start("2026-11-22T19:00:00+01:00"), Time::parse("2026-11-22T18:00:00Z").map(Start::At));
    assert_eq!(start("2026-11-22"), Time::parse("2026-11-22T00:00:00Z").map(Start::At));
    for wrong in ["", "Earliest", "now", "2026-11-22T19:00:00", "-1"] {
        assert_eq!(start(wrong), None, "{wrong}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        "brokers = [\"kafka\", \"\"]\ntopics = [\"a b\", \"^ehr.*\", \"x\", \"x\"]\ngroup = \"\"\nstart = \"soon\"\n\
         batch = { rows = 0 }\nends_millis = 0\nclient = { \"no.such\" = \"1\", \"sasl.password\" = \"hunter2\" }",
        &[
            "\"kafka\" is not host:port",
            "\"\" is not host:port",
            "\"a b\" is no name",
            "\"^ehr.*\" is no name",
            "\"x\" is named twice",
            "group is empty",
            "batch.rows must be at least 1",
            "ends_millis must be at least 1",
            "start = \"soon\"",
            "No such configuration property",
            "\"sasl.password\" is a secret",
        ],
    );
    check("brokers = []\ntopics = []", &["brokers is empty", "topics is empty"]);
}

#[test]
fn options_on_which_the_promise_rests_are_refused() {
    for (name, why) in REFUSED {
        let name = name.replace('*', "x");
        check(&format!("{GOOD}client = {{ {name:?} = \"true\" }}"), &[why]);
    }
    for (name, _) in OURS {
        check(&format!("{GOOD}client = {{ {name:?} = \"true\" }}"), &["cannot be set here"]);
    }
    check(&format!("{GOOD}client = {{ \"socket.keepalive.enable\" = false, \"fetch.wait.max.ms\" = 100 }}"), &[]);
    check(&format!("{GOOD}client = {{ \"fetch.wait.max.ms\" = \"often\" }}"), &["fetch.wait.max.ms"]);
    check(
        &format!("{GOOD}client = {{ \"ssl.ca.location\" = \"/no/such/file\", \"security.protocol\" = \"ssl\" }}"),
        &["ssl.ca.location"],
    );
    check(
        &format!("{GOOD}client = {{ \"security.protocol\" = \"sasl_ssl\", \"sasl.mechanism\" = \"GSSAPI\" }}"),
        &["GSSAPI"],
    );
}

#[test]
fn clear_text_stays_on_this_machine() {
    let far = "brokers = [\"127.0.0.1:9092\", \"kafka.hospital:9092\"]\ntopics = [\"t\"]\n";
    check(far, &["kafka.hospital:9092"]);
    check(&format!("{far}client = {{ \"security.protocol\" = \"SASL_PLAINTEXT\" }}"), &["travel in clear"]);
    check(&format!("{far}client = {{ \"security.protocol\" = \"SSL\" }}"), &[]);
    check(&format!("{far}allow_plaintext = true"), &[]);
    for near in ["localhost:9092", "127.8.9.1:1", "[::1]:9092"] {
        check(&format!("brokers = [{near:?}]\ntopics = [\"t\"]"), &[]);
    }
    for not_near in ["localhost.evil:9092", "[::2]:9092", "128.0.0.1:1"] {
        check(&format!("brokers = [{not_near:?}]\ntopics = [\"t\"]"), &["travel in clear"]);
    }
    for wrong in ["::1:9092", "host:0", "host:99999", "PLAINTEXT://host:1", ":9092", "a,b:1"] {
        check(&format!("brokers = [{wrong:?}]\ntopics = [\"t\"]"), &["is not host:port"]);
    }
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("password"), "canary-7f3a\n").expect("written");
    let good = format!(
        "{GOOD}client = {{ \"security.protocol\" = \"SASL_SSL\", \"sasl.mechanism\" = \"SCRAM-SHA-512\", \
         \"sasl.username\" = \"phiwatch\", \"sasl.password\" = {{ file = \"password\" }} }}"
    );
    let plan = checked(&good, folder.path()).expect("a plan");
    assert_eq!(plan.client.get("sasl.password"), Some("canary-7f3a"), "without its line end");
    let settings: Settings = toml::from_str(&good.replace("{ file = \"password\" }", "\"canary-7f3a\"")).expect("TOML");
    let problems = settings.check(Path::new("phiwatch.toml")).expect_err("a secret in the settings");
    std::fs::write(folder.path().join("password"), "canary-7f3a is no number").expect("written");
    let misused = format!("{GOOD}client = {{ \"fetch.wait.max.ms\" = {{ file = \"password\" }} }}");
    let refused = checked(&misused, folder.path()).expect_err("no number");
    for shown in [format!("{plan:?}"), format!("{settings:?}"), format!("{problems:?}"), format!("{refused:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    check(&good.replace("\"password\" }", "\"nowhere\" }"), &["nowhere cannot be read"]);
}
