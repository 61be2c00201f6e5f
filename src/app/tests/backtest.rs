//! What rules would have said, against what they said when the same events were scanned.

use std::collections::BTreeSet;

use arrow::array::AsArray;

use super::Site;
use crate::app::{Backtested, backtest_rules, runtime};
use crate::engine::fixture::{Record, roster_files, rule_files, ward};
use crate::event::{Activity, Day, Disposition};
use crate::inquiry::backtest::{Backtest, Plan, backtest};
use crate::inquiry::{Archive, Asked, Format};
use crate::settings::Rules;
use crate::store::{Filter, Ruling, Verdict};

const RULES: [&str; 6] =
    ["hard-stranger", "budgeted-clerk", "informational-chart", "shadow-night", "crossing-many", "settled-average"];

fn lines<'r>(records: impl Iterator<Item = &'r Record>) -> String {
    let line = |record: &Record| {
        let line = serde_json::json!({
            "event_id": record.id, "time": record.time.to_string(), "source": "ehr", "actor": {"id": record.actor},
            "activity": record.activity.as_str(), "patients": [record.patient], "outcome": "success", "site": "main",
        });
        format!("{line}\n")
    };
    records.map(line).collect()
}

/// A ward that was scanned with the rules of the fixture; some records came when their days had settled.
fn site(days: usize) -> Site {
    let mut site = Site::new();
    for (name, bytes) in roster_files("2026-03-10T12:00:00Z") {
        std::fs::write(site.path("rosters").join(name), bytes).unwrap();
    }
    std::fs::create_dir(site.path("rules")).unwrap();
    for (name, bytes) in rule_files() {
        std::fs::write(site.path("rules").join(name), bytes).unwrap();
    }
    site.settings.rules = Rules { dir: Some(site.path("rules")), shipped: false };
    site.settings.history.as_mut().unwrap().segment_rows = 1_500;
    let records = ward(1);
    let end = records[0].time.plus(days as i64 * crate::event::time::DAY);
    let records: Vec<Record> = records.into_iter().filter(|record| record.time < end).collect();
    let late = |(at, _): &(usize, &Record)| at % 40 == 7;
    let of = |wanted: bool| records.iter().enumerate().filter(move |one| late(one) == wanted).map(|(_, record)| record);
    assert!(of(true).all(|record| record.activity == Activity::Read));
    site.write("a.jsonl", &lines(of(false)));
    site.write("b.jsonl", &lines(of(true)));
    site.scan(&["a.jsonl"]);
    site.scan(&["b.jsonl"]);
    site
}

fn tried(site: &Site, asked: &Backtested) -> Backtest {
    backtest_rules(&site.settings, &site.path("history"), asked).unwrap_or_else(|stop| panic!("{stop:?}"))
}

fn of(rule: &str) -> Backtested {
    Backtested { rule: rule.to_owned(), ..Backtested::default() }
}

/// The ids of the alerts on record of a rule, those included that rest on late records, between two days.
fn on_record(site: &Site, rule: &str, days: (&str, &str)) -> Vec<String> {
    let sql = format!(
        "SELECT DISTINCT alert_id FROM alerts WHERE detection_id = '{rule}' AND day >= DATE '{}' AND day <= DATE '{}' ORDER BY 1",
        days.0, days.1
    );
    let rows = runtime().unwrap().block_on(site.reader().query(&sql, &[])).unwrap();
    rows.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned)).collect()
}

const EVER: (&str, &str) = ("2000-01-01", "2100-01-01");

#[test]
fn a_backtest_raises_what_a_scan_raised() {
    let site = site(200);
    for rule in RULES.into_iter().filter(|rule| *rule != "budgeted-clerk") {
        let expected = on_record(&site, rule, EVER);
        let found = tried(&site, &of(rule));
        assert!(
            !expected.is_empty() && found.alert_ids == expected,
            "{rule}: {} {}",
            expected.len(),
            found.alert_ids.len()
        );
        let summary = &found.summary;
        assert_eq!((summary.alerts, summary.held, summary.stopped), (expected.len(), 0, false), "{rule}");
        assert!(summary.samples.len() == expected.len().min(5), "{rule}");
        let days: i64 =
            found.answer.rows[0].column(1).as_primitive::<arrow::datatypes::Int64Type>().iter().flatten().sum();
        assert_eq!(days as usize, expected.len(), "{rule}: the days add up");
    }
    // Part of the time: whole days, and the windows reach back behind the first.
    let part = Backtested { since: Some("2026-03-20".into()), until: Some("2026-03-30".into()), ..of("crossing-many") };
    let expected = on_record(&site, "crossing-many", ("2026-03-20", "2026-03-30"));
    let found = tried(&site, &part);
    assert!(!expected.is_empty() && found.alert_ids == expected, "{expected:?} {:?}", found.alert_ids);
    assert_eq!((found.summary.from.as_deref(), found.summary.days), (Some("2026-03-20"), 11));
}

#[test]
fn a_budgeted_rule_is_judged_by_its_rate() {
    // As long as nothing was learnt its p-value and the threshold are those that a site begins with.
    let site = site(4);
    let expected = on_record(&site, "budgeted-clerk", EVER);
    let found = tried(&site, &of("budgeted-clerk"));
    assert!(expected.len() > 5 && found.alert_ids == expected, "{expected:?} {:?}", found.alert_ids);
    assert_eq!((found.summary.alerts, found.summary.held), (0, expected.len()));
    assert!(found.answer.notes.iter().any(|note| note.contains("threshold")), "{:?}", found.answer.notes);
}

#[test]
fn another_version_of_a_rule_is_compared_with_the_one_in_force() {
    let site = site(200);
    let nights = on_record(&site, "shadow-night", EVER);
    assert_eq!(nights.len(), 1);
    let text = String::from_utf8(rule_files()[0].1.clone()).unwrap();
    let night = text.split("---\n").find(|text| text.contains("id: shadow-night")).unwrap().to_owned();
    // The one at a quarter past two is lost, and those of one who begins at eight are new.
    site.write("night.yml", &night.replace("s: { fact.hour|lt: 6 }", "s: { fact.hour: 8, actor.id: u03 }"));
    let asked = |against: Option<&str>| Backtested {
        against: against.map(str::to_owned),
        ..of(&site.path("night.yml").to_string_lossy())
    };
    let store = || {
        let dir = site.path("history");
        super::store(&site.settings, &dir, &site.settings.state_dir(&dir), true).unwrap()
    };
    let verdict = |alert_id: &str, ruling| Verdict {
        seq: 0,
        alert_id: alert_id.to_owned(),
        ruling,
        reason: "looked at".into(),
        who: "somebody".into(),
        at: crate::app::now(),
    };
    store().add_verdict(&verdict(&nights[0], Ruling::Confirmed)).unwrap();
    // Another detection was wrong about somebody who was there at eight.
    let eight = tried(&site, &asked(None));
    let all = store().list(&Filter { disposition: Some(Disposition::Notified), ..Filter::default() }).unwrap();
    let many = all.iter().find(|one| one.alert.detection_id == "crossing-many").unwrap();
    store().add_verdict(&verdict(&many.alert.alert_id, Ruling::FalseAlarm)).unwrap();

    let found = tried(&site, &asked(None)).summary;
    let against = found.against.unwrap();
    assert_eq!(found.alerts, eight.summary.alerts);
    assert_eq!((against.version.as_str(), against.alerts, against.gone), ("the version in force", 1, 1));
    assert_eq!((against.both, against.added), (0, found.alerts));
    assert_eq!(against.gone_verdicts.into_iter().collect::<Vec<_>>(), [("confirmed", 1)]);
    let confirmed = &found.verdicts[0];
    assert_eq!((confirmed.verdict, confirmed.own, confirmed.raised, confirmed.lost), ("confirmed", 1, 0, 1));
    let wrong = found.verdicts.iter().find(|ruled| ruled.verdict == "false-alarm").unwrap();
    let speaks =
        eight.answer.rows[0].column(0).as_string::<i32>().iter().flatten().any(|day| day == many.day.to_string());
    assert_eq!((wrong.own, wrong.others), (0, 1));
    assert!(speaks || wrong.caught == 0);

    let same = tried(&site, &Backtested { against: Some("current".into()), ..of("shadow-night") }).summary;
    let against = same.against.unwrap();
    assert_eq!((against.both, against.added, against.gone), (1, 0, 0));
    assert_eq!((same.verdicts[0].raised, same.verdicts[0].lost), (1, 0));
    for (asked, expected) in [
        (asked(Some("shipped")), "the shipped set is called shadow-night"),
        (asked(Some("nothing.yml")), "is no file"),
        (of("shadow-nihgt"), "the nearest is `shadow-night`"),
    ] {
        let stop = backtest_rules(&site.settings, &site.path("history"), &asked).unwrap_err();
        assert!(format!("{stop:?}").contains(expected), "{stop:?}");
    }
    site.write("broken.yml", &night.replace("fact.hour", "fact.huor"));
    let stop = backtest_rules(&site.settings, &site.path("history"), &of(&site.path("broken.yml").to_string_lossy()));
    assert!(format!("{stop:?}").contains("fact.huor"), "{stop:?}");
    let text = tried(&site, &asked_rule(&site)).render(Format::Json).text;
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["summary"]["alerts"], found.alerts);
}

fn asked_rule(site: &Site) -> Backtested {
    of(&site.path("night.yml").to_string_lossy())
}

#[test]
fn a_backtest_that_is_stopped_keeps_what_was_found_and_says_up_to_when_it_is_whole() {
    let site = site(200);
    let dir = site.path("history");
    let rules = crate::engine::rule::load(&rule_files()).set.only(&|rule| rule.id == "informational-chart");
    let plan = Plan { name: "r".into(), rules: rules.into(), against: None, per_1000: 2.0, known: Vec::new() };
    let asked = Asked::default();
    let run = |go_on: &mut dyn FnMut(crate::inquiry::backtest::Progress) -> bool| {
        runtime().unwrap().block_on(async {
            let archive = Archive::open(&dir, &site.settings.key_source(&dir), &asked).await.unwrap();
            backtest(&archive, &asked, &plan, go_on).await.unwrap()
        })
    };
    let whole = run(&mut |_| true);
    let half = run(&mut |progress| progress.passed * 2 < progress.all);
    assert!(half.summary.stopped && !whole.summary.stopped);
    let last = half.summary.whole_to.clone().unwrap();
    assert!(half.answer.notes[0].contains(&format!("read whole up to {last} only")), "{:?}", half.answer.notes);
    let expected = on_record(&site, "informational-chart", ("2000-01-01", &last));
    assert!(expected.len() > 50 && expected.iter().all(|id| half.alert_ids.contains(id)), "{}", expected.len());
    let rows = &half.answer.rows[0];
    let (days, alerts) = (rows.column(0).as_string::<i32>(), rows.column(1));
    let alerts = alerts.as_primitive::<arrow::datatypes::Int64Type>().iter().flatten();
    let on_whole_days =
        days.iter().flatten().zip(alerts).filter(|(day, _)| *day <= last.as_str()).map(|(_, count)| count);
    assert_eq!(on_whole_days.sum::<i64>() as usize, expected.len());
    assert!(Day::parse(&last).unwrap() < Day::parse(whole.summary.to.as_ref().unwrap()).unwrap());
    let none = run(&mut |_| false);
    assert_eq!((none.alert_ids.len(), none.summary.days, none.summary.events), (0, 0, 0));
    assert!(none.answer.notes[0].contains("no day was read whole"), "{:?}", none.answer.notes);
    // Inside the first part: as soon as anything was read.
    let stopped_after = |most: usize| {
        let mut asked = 0;
        run(&mut |_| {
            asked += 1;
            asked <= most
        })
    };
    let first = (1..).map(stopped_after).find(|found| found.summary.asked_of > 0).unwrap();
    let summary = &first.summary;
    assert!(summary.stopped && summary.whole_to.is_none() && summary.days > 0, "{summary:?}");
    assert!(summary.alerts > 0 && summary.events >= summary.asked_of, "{summary:?}");
    for stopped in [&half, &first] {
        assert!(stopped.alert_ids.iter().all(|id| whole.alert_ids.contains(id)), "nothing that would not stand");
    }
}

#[test]
fn facts_that_were_not_stored_are_named() {
    let site = site(4);
    let text = String::from_utf8(rule_files()[0].1.clone()).unwrap();
    let night = text.split("---\n").find(|text| text.contains("id: shadow-night")).unwrap().to_owned();
    site.write("union.yml", &night.replace("s: { fact.hour|lt: 6 }", "s: { user.union: yes }"));
    let found = tried(&site, &of(&site.path("union.yml").to_string_lossy()));
    let ids: BTreeSet<&String> = found.alert_ids.iter().collect();
    assert!(ids.is_empty());
    assert!(
        found.answer.notes.iter().any(|note| note.starts_with("user.union could be seen never")),
        "{:?}",
        found.answer.notes
    );
}
