//! What every answer says of its own blindness: completeness, gaps, partitions, rosters, sources and detectors.

use serde_json::{Value, json};

use super::*;
use crate::event::effects::Mark;
use crate::history::fixture::{gap, stretch_of};
use crate::history::{Change, Resumed};

#[tokio::test]
async fn complete_only_as_far_as_the_slowest_partition() {
    let dir = tempfile::tempdir().unwrap();
    let fast = stretch(0, 0, &[read("e1", "2026-11-22T10:00:00Z", "u", &[])]);
    let slow = stretch(1, 0, &[read("e2", "2026-11-21T10:00:00Z", "u", &[])]);
    let file = stretch_of(Origin::file("a.jsonl"), 1, &[read("f1", "2026-10-19T10:00:00Z", "u", &[])], &[]);
    let settings = history(dir.path(), &[effects(vec![fast, slow, file])]).await;
    let source = KeySource::beside(&settings.dir);
    let json = ask(&settings.dir, &source, "user-timeline", &asked(&["u"]), Format::Json).await.unwrap().text;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["complete_to"], "2026-11-21T10:00:00Z");
    assert_eq!(json["behind"], json!([{"origin": "ehr.access/1", "newest": "2026-11-21T10:00:00Z"}]));
}

#[tokio::test]
async fn answers_name_gaps_and_completeness() {
    let dir = tempfile::tempdir().unwrap();
    let file = stretch_of(Origin::file("a.jsonl"), 1, &[read("f1", "2026-11-19T10:00:00Z", "u", &[])], &[b"bad"]);
    let steps = [
        effects(vec![stretch(0, 0, &[read("e1", "2026-11-20T10:00:00Z", "u", &[])]), gap(0, 1, 6)]),
        effects(vec![stretch(0, 6, &[read("e2", "2026-11-22T10:00:00Z", "u", &[])]), file]),
    ];
    let settings = history(dir.path(), &steps).await;
    let source = KeySource::beside(&settings.dir);
    let gaps = async |since: &str, until: &str| {
        let asked = Asked { since: Some(since.into()), until: Some(until.into()), ..asked(&["u"]) };
        let json = ask(&settings.dir, &source, "user-timeline", &asked, Format::Json).await.unwrap().text;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["complete_to"], "2026-11-22T10:00:00Z");
        json["gaps"].clone()
    };
    let expected = json!([{
        "origin": "ehr.access/0", "from": 1, "to": 6, "records": 5,
        "after": "2026-11-20T10:00:00Z", "before": "2026-11-22T10:00:00Z",
    }]);
    assert_eq!(gaps("2026-11-21", "2026-11-21").await, expected);
    assert_eq!(gaps("2026-11-18", "2026-11-19").await, json!([]));
    assert_eq!(gaps("2026-11-23", "2026-11-24").await, json!([]));
    let table = ask(&settings.dir, &source, "sources", &asked(&[]), Format::Table).await.unwrap().text;
    assert!(table.contains("complete to 2026-11-22T10:00:00Z"), "{table}");
    assert!(table.contains("gap: 5 records of ehr.access/0 were lost between"), "{table}");
    let text = csv(&settings, "sources", &asked(&[])).await;
    let wanted = ["topic", "source", "events", "topic_records", "topic_rejects", "topic_gap"];
    assert_eq!(columns(&text, &wanted), ["a.jsonl|ehr|1|2|1|0", "ehr.access|ehr|2|7|0|5"]);
}

#[tokio::test]
async fn silent_sources_are_named_under_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let row = |day: i32, source: &'static str| {
        let time = format!("{}T10:00:00Z", Day::parse("2026-10-01").unwrap().plus(day));
        let mut row = read(&format!("{source}-{day}"), &time, "u", &[]);
        row.draft.source = source.into();
        row
    };
    let rows: Vec<Row> = (0..30).map(|day| row(day, "ehr")).chain((0..25).map(|day| row(day, "pacs"))).collect();
    let settings = history(dir.path(), &[effects(vec![stretch(0, 0, &rows)])]).await;
    let source = KeySource::beside(&settings.dir);
    let silent = async |since: Option<&str>, until: Option<&str>| {
        let asked = Asked { since: since.map(Into::into), until: until.map(Into::into), ..asked(&[]) };
        let json = ask(&settings.dir, &source, "break-glass", &asked, Format::Json).await.unwrap().text;
        serde_json::from_str::<Value>(&json).unwrap()["silent"].clone()
    };
    let expected = json!([{"source": "pacs", "from": "2026-10-26", "to": "2026-10-29"}]);
    assert_eq!(silent(None, None).await, expected);
    assert_eq!(silent(None, Some("2026-10-20")).await, json!([]));
    let table = ask(&settings.dir, &source, "sources", &asked(&[]), Format::Table).await.unwrap().text;
    assert!(table.contains("source pacs speaks daily and said nothing from 2026-10-26 to 2026-10-29"), "{table}");
}

#[tokio::test]
async fn detectors_that_were_still_learning_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let source = KeySource::beside(&settings.dir);
    let mut history = History::open_or_create(&settings, &source).await.unwrap();
    let days = [("2026-11-19", 0), ("2026-11-20", 3), ("2026-11-20", 0), ("2026-11-21", 2)];
    for (day, judged) in days {
        let day = Day::parse(day).unwrap();
        let change = Change::Unjudged { detector: "after-hours".into(), day, judged, unjudged: 7, off: false };
        history.note(at("2026-11-22T12:00:00Z"), &change, None).unwrap();
    }
    let day = Day::parse("2026-11-21").unwrap();
    let change = Change::Unjudged { detector: "mass-query".into(), day, judged: 0, unjudged: 7, off: true };
    history.note(at("2026-11-22T12:00:00Z"), &change, None).unwrap();
    drop(history);
    let learning = async |since: Option<&str>| {
        let asked = Asked { since: since.map(Into::into), ..asked(&[]) };
        let json = ask(&settings.dir, &source, "sources", &asked, Format::Json).await.unwrap().text;
        serde_json::from_str::<Value>(&json).unwrap()["learning"].clone()
    };
    let row = |from: &str, to: &str, nobody: u64, some: u64| {
        let off = json!({"detector": "mass-query", "off": true, "from": to, "to": to, "nobody": 1, "some": 0});
        json!([{"detector": "after-hours", "off": false, "from": from, "to": to, "nobody": nobody, "some": some}, off])
    };
    assert_eq!(learning(None).await, row("2026-11-19", "2026-11-21", 2, 1), "the last word on a day counts");
    // A local day runs from 04:00: that of the 20th ends after this date has begun.
    assert_eq!(learning(Some("2026-11-21")).await, row("2026-11-20", "2026-11-21", 1, 1));
    assert_eq!(learning(Some("2026-11-22T04:00:00Z")).await, json!([]));
    let table = ask(&settings.dir, &source, "break-glass", &asked(&[]), Format::Table).await.unwrap().text;
    assert!(table.contains("still learning: after-hours judged nobody on 2 days and not everybody on 1"), "{table}");
    assert!(table.contains("switched off after a bug: mass-query judged nobody on 1 days"), "{table}");
}

/// An answer as JSON, over the time between two words that may be absent.
async fn answer(settings: &Settings, since: Option<&str>, until: Option<&str>) -> Value {
    let asked = Asked { since: since.map(Into::into), until: until.map(Into::into), ..asked(&[]) };
    let source = KeySource::beside(&settings.dir);
    let text = ask(&settings.dir, &source, "break-glass", &asked, Format::Json).await.unwrap().text;
    serde_json::from_str(&text).unwrap()
}

fn mark(watermark: &str) -> Option<Mark> {
    let day = Day::parse("2026-11-18").unwrap();
    Some(Mark { watermark: at(watermark), settled: day, began: day })
}

fn advance(to: &str) -> Change {
    Change::Advance { to: at(to), why: "idle".into() }
}

/// What an answer says that it is complete to, and which feeds hold it back.
async fn complete(settings: &Settings, to: &str, behind: &[&str]) {
    let json = answer(settings, None, None).await;
    let named: Vec<_> = json["behind"].as_array().unwrap().iter().map(|one| one["origin"].clone()).collect();
    assert_eq!((&json["complete_to"], named), (&json!(to), behind.iter().map(|name| json!(name)).collect()));
}

#[tokio::test]
async fn an_answer_is_complete_as_far_as_time_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str, time: &str| [read(id, time, "u", &[])];
    let settings = Settings { dir: dir.path().join("history"), ..Settings::default() };
    let mut history = History::open_or_create(&settings, &KeySource::beside(&settings.dir)).await.unwrap();
    let now = at("2026-11-22T12:00:00Z");
    let both =
        vec![stretch(0, 0, &row("e1", "2026-11-22T10:00:00Z")), stretch(1, 0, &row("e2", "2026-11-21T10:00:00Z"))];
    history.stage(&effects(both), key).unwrap();
    history.set_mark(mark("2026-11-21T10:00:00Z"));
    history.commit(now).await.unwrap();
    complete(&settings, "2026-11-21T10:00:00Z", &["ehr.access/1"]).await;
    // The second partition is quiet: it has said nothing since, and holds nothing back.
    history.note(now, &advance("2026-11-22T10:00:00Z"), None).unwrap();
    complete(&settings, "2026-11-22T10:00:00Z", &[]).await;
    // What time has come to by records that are not on record yet does not count.
    history.stage(&effects(vec![stretch(0, 1, &row("e3", "2026-11-22T11:00:00Z"))]), key).unwrap();
    history.note(now, &advance("2026-11-22T11:00:00Z"), None).unwrap();
    complete(&settings, "2026-11-22T10:00:00Z", &[]).await;
    history.set_mark(mark("2026-11-22T11:00:00Z"));
    history.commit(now).await.unwrap();
    complete(&settings, "2026-11-22T11:00:00Z", &[]).await;
    // A quiet night: time went on by itself.
    history.note(now, &advance("2026-11-23T04:00:00Z"), None).unwrap();
    complete(&settings, "2026-11-23T04:00:00Z", &[]).await;
}

/// A history with one event of partition 0 at each of `times`, a day apart, and changes noted behind them.
async fn noted(dir: &Path, changes: &[(Change, Option<Mark>)]) -> Settings {
    let rows = [read("e1", "2026-11-20T10:00:00Z", "u", &[]), read("e2", "2026-11-21T10:00:00Z", "u", &[])];
    let settings = history(dir, &[effects(vec![stretch(0, 0, &rows)])]).await;
    let mut history = History::open_or_create(&settings, &KeySource::beside(&settings.dir)).await.unwrap();
    for (change, mark) in changes {
        history.note(at("2026-11-22T12:00:00Z"), change, *mark).unwrap();
    }
    settings
}

fn stopped() -> Change {
    let origin = Origin::topic("ehr.access", 0);
    Change::Stopped { key: key(&origin), origin, position: 2, other: false }
}

fn resumed() -> Change {
    let origin = Origin::topic("ehr.access", 0);
    let (before, words) = (key(&origin), String::new);
    Change::Resumed(Resumed {
        origin,
        before,
        position: 2,
        key: "again/0".into(),
        from: 0,
        who: words(),
        reason: words(),
    })
}

async fn table(settings: &Settings) -> String {
    let source = KeySource::beside(&settings.dir);
    ask(&settings.dir, &source, "break-glass", &asked(&[]), Format::Table).await.unwrap().text
}

#[tokio::test]
async fn a_stopped_partition_is_named_until_it_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = noted(dir.path(), &[(stopped(), None)]).await;
    let row = json!([{"origin": "ehr.access/0", "stands": "stopped", "from": "2026-11-21T10:00:00Z", "to": null}]);
    assert_eq!(answer(&settings, None, None).await["unread"], row);
    assert_eq!(answer(&settings, Some("2026-11-25"), None).await["unread"], row);
    assert_eq!(answer(&settings, None, Some("2026-11-20")).await["unread"], json!([]), "it was read then");
    assert!(
        table(&settings)
            .await
            .contains("stopped: ehr.access/0 is stopped: nothing of it was read from 2026-11-21T10:00:00Z")
    );

    let dir = tempfile::tempdir().unwrap();
    let settings = noted(dir.path(), &[(stopped(), None), (resumed(), None)]).await;
    let gap = |before: Value| {
        let (records, to) = (Value::Null, Value::Null);
        let after = "2026-11-21T10:00:00Z";
        json!([{"origin": "ehr.access/0", "from": 2, "to": to, "records": records, "after": after, "before": before}])
    };
    let found = answer(&settings, None, None).await;
    assert_eq!((&found["unread"], &found["gaps"]), (&json!([]), &gap(Value::Null)));
    assert!(table(&settings).await.contains("gap: an unknown number of records of ehr.access/0 were lost between"));
    // The new log has a first record: what lies behind it was read.
    let mut history = History::open_or_create(&settings, &KeySource::beside(&settings.dir)).await.unwrap();
    let row = [read("e3", "2026-11-23T10:00:00Z", "u", &[])];
    history.stage(&effects(vec![stretch(0, 0, &row)]), |_| "again/0".to_owned()).unwrap();
    history.commit(at("2026-11-23T12:00:00Z")).await.unwrap();
    drop(history);
    assert_eq!(answer(&settings, None, None).await["gaps"], gap("2026-11-23T10:00:00Z".into()));
    assert_eq!(answer(&settings, Some("2026-11-24"), None).await["gaps"], json!([]));
    assert_eq!(answer(&settings, None, Some("2026-11-20")).await["gaps"], json!([]));
}

#[tokio::test]
async fn a_partition_that_was_left_behind_is_named() {
    let left = |left: bool| {
        let (who, reason) = (String::new(), String::new());
        Change::Left { origin: Origin::topic("ehr.access", 1), left, who, reason }
    };
    let row =
        |to: Value| json!([{"origin": "ehr.access/1", "stands": "left", "from": "2026-11-20T12:00:00Z", "to": to}]);
    let (began, ended) = ((left(true), mark("2026-11-20T12:00:00Z")), (left(false), mark("2026-11-21T09:00:00Z")));
    let dir = tempfile::tempdir().unwrap();
    let settings = noted(dir.path(), std::slice::from_ref(&began)).await;
    assert_eq!(answer(&settings, None, None).await["unread"], row(Value::Null));
    let dir = tempfile::tempdir().unwrap();
    let settings = noted(dir.path(), &[began, ended]).await;
    assert_eq!(answer(&settings, None, None).await["unread"], row("2026-11-21T09:00:00Z".into()));
    assert_eq!(answer(&settings, Some("2026-11-22"), None).await["unread"], json!([]));
    assert!(table(&settings).await.contains("left: ehr.access/1 was left behind: time did not wait for it from"));
}

#[tokio::test]
async fn old_rosters_are_named() {
    let stale = |since: &str, until: Option<&str>| {
        let change = Change::Stale { since: at(since), until: until.map(at) };
        (change, None)
    };
    let changes = [
        stale("2026-11-18T00:00:00Z", None),
        stale("2026-11-18T00:00:00Z", Some("2026-11-19T00:00:00Z")),
        stale("2026-11-21T00:00:00Z", None),
    ];
    let dir = tempfile::tempdir().unwrap();
    let settings = noted(dir.path(), &changes).await;
    let (first, second) = (
        json!({"from": "2026-11-18T00:00:00Z", "to": "2026-11-19T00:00:00Z"}),
        json!({"from": "2026-11-21T00:00:00Z", "to": null}),
    );
    assert_eq!(answer(&settings, None, None).await["stale"], json!([first, second]));
    assert_eq!(answer(&settings, Some("2026-11-20"), None).await["stale"], json!([second]));
    assert_eq!(answer(&settings, None, Some("2026-11-19")).await["stale"], json!([first]));
    assert!(table(&settings).await.contains("old rosters: they were not renewed from 2026-11-21T00:00:00Z until now"));
}
