//! Coming late: a day of records that came while phiwatch was down, and a year of exports before the first day on the topic.

use crate::kafka::unique;
use crate::kill::Watched;
use crate::program::{Hospital, ask, check_same, check_sums, crossed, deal, done, phiwatch, settings, settled};
use crate::real_kafka::{brokers, make_topic};
use crate::road::{check_whole, prepare};
use crate::start::Start;

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_day_that_was_missed_raises_the_alerts_of_an_undisturbed_day() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (hospital, topic) = prepare(dir, "outage", 3);
    let at = |day: usize| hospital.lines.len() / 56 * day;
    deal(&brokers(), &topic, 3, hospital.lines[..at(38)].iter());
    let run = Watched::start(dir, false);
    run.until("snapshot", at(38) as i64);
    run.stop();
    // While nobody reads, a day and a half goes by; it is there at once when reading begins again.
    deal(&brokers(), &topic, 3, hospital.lines[at(38)..at(40)].iter());
    let run = Watched::start(dir, false);
    run.until("snapshot", at(40) as i64);
    deal(&brokers(), &topic, 3, hospital.lines[at(40)..].iter());
    run.until("snapshot", hospital.lines.len() as i64);
    run.stop();
    Watched::start(dir, true).finish();
    check_whole(dir, hospital);
    // Not only in the end: what crossed its threshold inside a day was told before the day settled.
    assert_eq!(hospital.crossed, crossed(&dir.join("alerts.jsonl")));
    assert!(hospital.crossed.len() > 20);
}

/// The first day of a site: a year of exports is scanned into the history, and the topic still holds the last three weeks of them.
#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_year_of_exports_is_scanned_and_the_topic_overlaps() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hospital = Hospital::long();
    let topic = unique("overlap");
    make_topic(&brokers(), &topic, 3);
    std::fs::write(dir.join("phiwatch.toml"), settings(hospital, &brokers(), &topic)).unwrap();
    let at = |day: usize| hospital.lines.len() / 386 * day;
    // An export for each quarter, the last of them cut in the middle of a day: each is scanned when the one before is done.
    let ends = [at(91), at(182), at(273), at(365) + 77];
    let mut begin = 0;
    for (quarter, end) in ends.into_iter().enumerate() {
        let name = format!("quarter-{quarter}.jsonl");
        std::fs::write(dir.join(&name), hospital.lines[begin..end].join("\n")).unwrap();
        let words = ["scan", "--config", "phiwatch.toml", "--alerts", "alerts.jsonl", name.as_str()];
        done(&phiwatch(dir).args(words).answer().unwrap(), &name);
        begin = end;
    }
    let before = ask(dir, "SELECT count(*) AS n FROM events");
    let overlap = &hospital.lines[at(344)..];
    deal(&brokers(), &topic, 3, overlap.iter());
    Watched::start(dir, true).finish();
    check_sums(dir, overlap.len());
    let after = ask(dir, "SELECT count(*) AS n FROM events");
    assert_eq!(after["n"], hospital.events, "as one scan of everything counts them");
    assert!(after["n"].as_u64() > before["n"].as_u64());
    // Several extremes in one question: each is what it is alone.
    let extremes = [
        "min(time)",
        "min(CASE WHEN activity = 'print' THEN time END)",
        "max(CASE WHEN activity = 'export' THEN time END)",
        "max(time)",
    ];
    let together: Vec<String> = (0..).zip(extremes).map(|(at, one)| format!("{one} AS c{at}")).collect();
    let together = ask(dir, &format!("SELECT {} FROM events", together.join(", ")));
    for (at, one) in extremes.into_iter().enumerate() {
        let alone = &ask(dir, &format!("SELECT {one} AS c FROM events"))["c"];
        assert!(alone.is_string() && together[format!("c{at}")] == *alone, "{one}: {alone} {together}");
    }
    assert!(hospital.expected.len() > 50, "{} alerts in a year", hospital.expected.len());
    check_same(&hospital.expected, &settled(&dir.join("alerts.jsonl")));
}
