//! State = fold(inputs): whatever order batches come in, wherever the process dies and whether or not its snapshot survives, the same
//! records, rosters and verdicts give the same settled alerts, and each record is on record once.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

use super::*;
use crate::engine::fixture::{Record, decoded, first_day, roster_files, ward, zone};
use crate::engine::settings::Settings;
use crate::engine::triage::Exception;
use crate::event::{State, Subject, SubjectKind};
use crate::history::{History, KeySource, Reader, Settings as HistorySettings, fuse, newest_roster};
use crate::roster::{Accepted, Intake, load};

/// Everything that was told, by alert; the last word holds.
#[derive(Default)]
struct Told(BTreeMap<String, Raised>);

impl Outlet for Told {
    fn raise(&mut self, raised: &[Raised], _: Time) -> Result<(), RoadError> {
        fuse::pass()?;
        self.0.extend(raised.iter().map(|one| (one.alert.alert_id.clone(), one.clone())));
        Ok(())
    }
}

impl Told {
    /// The settled alerts that stand, as lines.
    fn settled(&self) -> Vec<String> {
        let standing = self.0.values().filter(|one| one.alert.settled && one.alert.state != State::Closed);
        standing.map(|one| serde_json::to_string(&one.alert).unwrap()).collect()
    }
}

/// What becomes known on the way, and before which record of each partition.
struct Turning {
    at: Vec<usize>,
    news: News,
}

/// A ward in three partitions with what becomes known on the way.
struct Script {
    partitions: Vec<Vec<Record>>,
    turnings: Vec<Turning>,
}

fn now() -> Time {
    Time::parse("2026-11-22T12:00:00Z").unwrap()
}

fn news_of(files: &[(String, Vec<u8>)]) -> News {
    let loaded = load(files, zone(), &Intake { previous: None, at: Time(0), allow_shrink: true });
    News::Roster { accepted: loaded.accepted, roster: loaded.roster.into(), zone: zone().name().to_owned() }
}

impl Script {
    fn new(rng: &mut ChaCha8Rng, seed: u64, count: usize) -> Script {
        let mut partitions = vec![Vec::new(); count];
        for record in ward(seed) {
            partitions[rng.random_range(0..count)].push(record);
        }
        let at = |day: i32| {
            let time = zone().midnight(first_day().plus(day)).plus(crate::event::time::HOUR * 7);
            partitions.iter().map(|records| records.iter().take_while(|record| record.time < time).count()).collect()
        };
        let subject = Subject { kind: SubjectKind::User, id: "u02".to_owned() };
        let until = first_day().plus(DAYS);
        let exception = Exception { family: "mass-query".to_owned(), subject, from: first_day(), until };
        let turnings = vec![
            Turning { at: vec![0; count], news: news_of(&roster_files("2026-03-10T12:00:00Z")) },
            // The termination was entered late: before, the account was alive as far as anybody knew.
            Turning { at: at(20), news: news_of(&roster_files("2026-03-01T12:00:00Z")) },
            Turning { at: at(42), news: News::Verdict { id: "1/a/1".to_owned(), exception: Some(exception) } },
            Turning { at: at(44), news: News::Verdict { id: "2/b/2".to_owned(), exception: None } },
            Turning { at: at(54), news: news_of(&roster_files("2026-02-20T12:00:00Z")) },
        ];
        Script { partitions, turnings }
    }
}

const DAYS: i32 = 75;

/// What is done to a road on its way.
struct Weather {
    rng: ChaCha8Rng,
    /// One of so many starts ends in a crash after a random number of effects; 0 never crashes.
    crashes: usize,
    crashed: usize,
    /// After so many writes the disk is full for some, and this many were refused.
    full: Option<usize>,
    refused: usize,
}

impl Weather {
    fn calm(rng: &ChaCha8Rng) -> Weather {
        Weather { rng: rng.clone(), crashes: 0, crashed: 0, full: None, refused: 0 }
    }
}

fn keep(dir: &Path, runtime: &Runtime) -> Keep {
    let settings = HistorySettings { dir: dir.join("history"), segment_rows: 3_000, ..HistorySettings::default() };
    let key = KeySource::beside(&settings.dir);
    let history = runtime.block_on(History::open_or_create(&settings, &key)).unwrap();
    Keep::new(history, dir.join("state")).unwrap()
}

/// Which of the turnings the control log has.
fn heard(keep: &Keep, script: &Script) -> usize {
    let changes = keep.history.changes().unwrap();
    let barriers: Vec<_> = changes.iter().filter(|noted| noted.change.is_barrier()).collect();
    for (noted, turning) in barriers.iter().zip(&script.turnings) {
        let kind = match &turning.news {
            News::Roster { .. } => "roster",
            News::Verdict { .. } => "verdict",
            News::Settings(_) => "settings",
            News::Left { .. } => "left",
            News::Resumed(_) => "resumed",
        };
        assert_eq!(noted.change.kind(), kind, "nothing is noted twice");
    }
    if let Some((hash, _)) = newest_roster(&changes) {
        assert!(Accepted::from_bytes(&keep.history.roster(hash).unwrap()).is_some());
    }
    barriers.len()
}

/// Goes the whole way once, or until the fuse blows.
fn go(script: &Script, dir: &Path, told: &mut Told, runtime: &Runtime, weather: &mut Weather) -> Result<(), RoadError> {
    let mut keep = keep(dir, runtime);
    let first = heard(&keep, script);
    if weather.crashes > 0 && weather.rng.random_bool(0.3) {
        // Joined files do not change what is built from them.
        let day = crate::event::Day(now().0.div_euclid(crate::event::time::DAY) as i32);
        runtime.block_on(keep.history.compact(day)).unwrap();
    }
    if weather.crashes > 0 && weather.rng.random_bool(0.95) {
        fuse::set(Some(weather.rng.random_range(0..weather.crashes)));
    }
    let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {})?;
    let positions = keep.history.positions();
    let mut road = Road::new(engine, Some(keep), told, runtime.handle().clone());
    let refused = std::rc::Rc::new(std::cell::Cell::new(0));
    if let Some(writes) = weather.full {
        let count = refused.clone();
        road.patience = Box::new(move |error| {
            assert!(error.retry(), "{error}");
            // The next one comes soon.
            fuse::fill(if count.get() % 3 == 2 { writes + 1 } else { 0 }, 1);
            count.set(count.get() + 1);
            true
        });
        fuse::fill(writes, 1);
    }
    let origins: Vec<Origin> = (0..script.partitions.len()).map(|p| Origin::topic("ehr", p as i32)).collect();
    let mut next: Vec<usize> =
        origins.iter().map(|o| positions.get(&o.to_string()).map_or(0, |next| *next as usize)).collect();
    for origin in &origins {
        road.keys.insert(origin.clone(), origin.to_string());
        road.turn(now(), Input::Open(origin.clone()))?;
    }
    let ends: Vec<usize> = script.partitions.iter().map(Vec::len).collect();
    for turning in &script.turnings[first..] {
        read_to(&mut road, script, &origins, &mut next, &turning.at, weather)?;
        road.hear(now(), turning.news.clone())?;
    }
    read_to(&mut road, script, &origins, &mut next, &ends, weather)?;
    let closed = road.close(now());
    drop(road);
    fuse::fill(0, 0);
    weather.refused += refused.get();
    closed
}

/// Reads every partition up to a place, side by side at random.
fn read_to(
    road: &mut Road<'_>,
    script: &Script,
    origins: &[Origin],
    next: &mut [usize],
    to: &[usize],
    weather: &mut Weather,
) -> Result<(), RoadError> {
    // Whoever was idle is waited for again: what it has may lie behind what the others have.
    for origin in origins {
        road.turn(now(), Input::Open(origin.clone()))?;
    }
    while (0..origins.len()).any(|p| next[p] < to[p]) {
        let p = weather.rng.random_range(0..origins.len());
        if next[p] >= to[p] || !road.engine.hungry().contains(&origins[p]) {
            continue;
        }
        let end = to[p].min(next[p] + weather.rng.random_range(1..1_500));
        let stretch = decoded(&origins[p], next[p] as i64, &script.partitions[p][next[p]..end]);
        next[p] = end;
        road.turn(now(), Input::Decoded(Box::new(stretch)))?;
        if weather.rng.random_bool(0.1) {
            road.commit(now())?;
        }
    }
    // Nobody waits for a partition that stands at the end of its log; all that was read is taken up.
    for origin in origins {
        road.turn(now(), Input::Idle(origin.clone()))?;
    }
    assert_eq!(road.engine.queued(), 0);
    if let Some(watermark) = road.engine.watermark() {
        road.turn(now(), Input::Advance(watermark.plus(crate::event::time::MINUTE)))?;
    }
    Ok(())
}

/// Goes the whole way, dying as often as the weather wants; the settled alerts.
fn journey(script: &Script, dir: &Path, weather: &mut Weather) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut told = Told::default();
    while let Err(error) = go(script, dir, &mut told, &runtime, weather) {
        assert!(error.to_string().contains("fuse"), "{error}");
        fuse::set(None);
        weather.crashed += 1;
        let snapshot = dir.join("state/engine.snapshot");
        match weather.rng.random_range(0..4) {
            0 => drop(std::fs::remove_file(&snapshot)),
            1 => drop(std::fs::read(&snapshot).map(|bytes| std::fs::write(&snapshot, &bytes[..bytes.len() / 2]))),
            _ => {}
        }
        if weather.crashed > 60 {
            weather.crashes = 0;
        }
    }
    fuse::set(None);
    told.settled()
}

/// One number of a query.
fn number(dir: &Path, sql: &str) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = dir.join("history");
    let rows = runtime.block_on(async {
        let reader = Reader::open(&dir, &KeySource::beside(&dir)).await.unwrap();
        reader.query(sql, &[]).await.unwrap()
    });
    arrow::compute::cast(rows[0].column(0), &arrow::datatypes::DataType::Int64)
        .unwrap()
        .as_primitive::<Int64Type>()
        .value(0)
}

fn check_record(dir: &Path, script: &Script) {
    let all = script.partitions.iter().map(Vec::len).sum::<usize>() as i64;
    assert_eq!(number(dir, "SELECT count(*) FROM events"), all);
    assert_eq!(number(dir, "SELECT count(DISTINCT concat(\"partition\", '/', \"offset\")) FROM events"), all);
    assert_eq!(number(dir, "SELECT count(*) FROM touches"), all);
    assert_eq!(number(dir, "SELECT sum(events) FROM spans"), all);
    let twice = "SELECT count(*) - count(DISTINCT concat(alert_id, '/', revision, '/', content)) FROM alerts";
    assert_eq!(number(dir, twice), 0);
}

#[test]
fn wherever_it_dies_the_same_alerts_settle_and_each_record_is_there_once() {
    let mut crashed = 0;
    for seed in 1..4 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let script = Script::new(&mut rng, seed, 3);
        let calm = tempfile::tempdir().unwrap();
        let mut weather = Weather::calm(&rng);
        let expected = journey(&script, calm.path(), &mut weather);
        assert!(expected.len() >= 6 && expected.iter().any(|line| line.contains("suppressed")), "{expected:#?}");
        assert!(!expected.iter().any(|line| line.contains("backfill")), "nothing came too late");
        check_record(calm.path(), &script);

        let dir = tempfile::tempdir().unwrap();
        let mut weather = Weather { crashes: 14, ..Weather::calm(&rng) };
        let found = journey(&script, dir.path(), &mut weather);
        crashed += weather.crashed;
        let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
        let added: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
        let crashes = weather.crashed;
        assert!(
            missing.is_empty() && added.is_empty(),
            "seed {seed}, {crashes}: missing {missing:#?}, added {added:#?}"
        );
        check_record(dir.path(), &script);
    }
    assert!(crashed >= 20, "{crashed} crashes");
}

/// Segments, roster versions, the control log: whatever the full disk refuses is waited for, and nothing differs afterwards.
#[test]
fn a_full_disk_delays_and_changes_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let script = Script::new(&mut rng, 9, 3);
    let calm = tempfile::tempdir().unwrap();
    let expected = journey(&script, calm.path(), &mut Weather::calm(&rng));
    for writes in [0, 1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let mut weather = Weather { full: Some(writes), ..Weather::calm(&rng) };
        assert_eq!(journey(&script, dir.path(), &mut weather), expected, "{writes}");
        assert!(weather.refused > 10 && weather.crashed == 0, "{} refusals", weather.refused);
        check_record(dir.path(), &script);
        let kinds = |dir: &Path| -> Vec<&'static str> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let changes = keep(dir, &runtime).history.changes().unwrap();
            changes.iter().map(|noted| noted.change.kind()).filter(|kind| *kind != "advance").collect()
        };
        assert_eq!(kinds(dir.path()), kinds(calm.path()), "{writes}");
    }
}

/// That time does not wait for a partition is an input: it is in the state, whether the snapshot survives or not.
#[test]
fn a_partition_that_is_left_behind_stays_so_until_it_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<Record> = ward(1).into_iter().take(3_000).collect();
    let origins = [0, 1].map(|partition| Origin::topic("ehr", partition));
    let at = |road: &Road<'_>| road.engine.watermark();
    let left = |origin: &Origin, left: bool| {
        let (who, reason) = ("ops".to_owned(), "it dribbles".to_owned());
        News::Left { origin: origin.clone(), left, who, reason }
    };
    let (first, last) = (records[0].time, records[2_999].time);
    let mut told = Told::default();
    {
        let mut keep = keep(dir.path(), &runtime);
        let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
        let mut road = Road::new(engine, Some(keep), &mut told, runtime.handle().clone());
        for origin in &origins {
            road.keys.insert(origin.clone(), origin.to_string());
            road.turn(now(), Input::Open(origin.clone())).unwrap();
        }
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[0], 0, &records[..1])))).unwrap();
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[1], 0, &records[1..])))).unwrap();
        assert_eq!(at(&road), Some(first), "time waits for the first partition");
        assert!(road.engine.queued() > 0);
        road.hear(now(), left(&origins[0], true)).unwrap();
        assert_eq!((at(&road), road.engine.queued()), (Some(last), 0), "and does not any more");
        // What it sends is read: of a day that has settled it is backfill, else it counts.
        let stray = |id: &str, time: Time| Record { id: id.to_owned(), time, ..records[0].clone() };
        let late = [stray("old", first.plus(1)), stray("open", last.plus(-crate::event::time::HOUR))];
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[0], 1, &late)))).unwrap();
        road.turn(now(), Input::Idle(origins[0].clone())).unwrap();
        assert_eq!(at(&road), Some(last), "nothing of it holds time back");
        road.commit(now()).unwrap();
    }
    assert_eq!(number(dir.path(), "SELECT count(*) FROM events"), 3_002);
    assert_eq!(number(dir.path(), "SELECT count(*) FROM events WHERE flags = 'backfill' AND event_id = 'old'"), 1);
    assert_eq!(number(dir.path(), "SELECT count(*) FROM events WHERE flags IS NULL AND event_id = 'open'"), 1);
    for snapshot in [true, false] {
        if !snapshot {
            std::fs::remove_file(dir.path().join("state/engine.snapshot")).unwrap();
        }
        let mut keep = keep(dir.path(), &runtime);
        let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
        let stands: Vec<bool> = engine.stands().map(|(_, stand)| stand.left).collect();
        assert_eq!((stands, engine.watermark()), (vec![true, false], Some(last)), "with a snapshot: {snapshot}");
    }
    let mut keep = keep(dir.path(), &runtime);
    let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
    let mut road = Road::new(engine, Some(keep), &mut told, runtime.handle().clone());
    for origin in &origins {
        road.keys.insert(origin.clone(), origin.to_string());
        road.turn(now(), Input::Open(origin.clone())).unwrap();
    }
    road.hear(now(), left(&origins[0], false)).unwrap();
    let next = Record { id: "next".to_owned(), time: last.plus(crate::event::time::DAY / 2), ..records[0].clone() };
    road.turn(now(), Input::Decoded(Box::new(decoded(&origins[1], 2_999, std::slice::from_ref(&next))))).unwrap();
    assert_eq!(at(&road), Some(last), "time waits for it again");
}

/// The memory of an engine, without what may differ: numbers that are given in the order of arrival.
fn goes_on(
    dir: &Path,
    runtime: &Runtime,
    script: &Script,
    from: &[usize],
) -> (Option<crate::event::effects::Mark>, Vec<String>) {
    let mut keep = keep(dir, runtime);
    let mut engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
    let mark = engine.mark();
    let mut settled = Vec::new();
    for (p, from) in from.iter().enumerate() {
        let origin = Origin::topic("ehr", p as i32);
        engine.step(now(), Input::Open(origin.clone()));
        let rest = &script.partitions[p][*from..];
        let effects = engine.step(now(), Input::Decoded(Box::new(decoded(&origin, *from as i64, rest))));
        settled.extend(effects.raised);
    }
    settled.extend(engine.step(now(), Input::Close).raised);
    let lines = settled.iter().filter(|one| one.alert.settled).map(|one| serde_json::to_string(&one.alert).unwrap());
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    (mark, lines)
}

#[test]
fn a_snapshot_that_cannot_be_used_is_thrown_away_and_the_same_state_is_built() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut weather = Weather::calm(&ChaCha8Rng::seed_from_u64(7));
    let mut script = Script::new(&mut weather.rng, 4, 2);
    // Not all is read: the rest shows what the state is worth.
    let whole: Vec<Vec<Record>> = script.partitions.clone();
    let from: Vec<usize> = whole.iter().map(|records| records.len() * 3 / 4).collect();
    script.partitions.iter_mut().zip(&from).for_each(|(records, from)| records.truncate(*from));
    for turning in &mut script.turnings {
        turning.at.iter_mut().zip(&from).for_each(|(at, from)| *at = (*at).min(*from));
    }
    let dir = tempfile::tempdir().unwrap();
    journey(&script, dir.path(), &mut weather);
    let snapshot = dir.path().join("state/engine.snapshot");
    let good = std::fs::read(&snapshot).unwrap();
    script.partitions = whole;
    let expected = goes_on(dir.path(), &runtime, &script, &from);
    assert!(expected.0.is_some() && expected.1.len() >= 4, "{expected:?}");

    let elsewhere = tempfile::tempdir().unwrap();
    let few = Script { partitions: vec![script.partitions[0][..50].to_vec()], turnings: Vec::new() };
    journey(&few, elsewhere.path(), &mut weather);
    let foreign = std::fs::read(elsewhere.path().join("state/engine.snapshot")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (what, bytes) in
        [("empty", &[][..]), ("cut", &good[..good.len() - 9]), ("altered", &flipped), ("of another history", &foreign)]
    {
        std::fs::write(&snapshot, bytes).unwrap();
        assert_eq!(goes_on(dir.path(), &runtime, &script, &from), expected, "{what}");
        assert_eq!(goes_on(dir.path(), &runtime, &script, &from), expected, "{what}: renewed");
    }
    // A history that was put back to an older copy.
    std::fs::remove_file(&snapshot).unwrap();
    assert_eq!(goes_on(dir.path(), &runtime, &script, &from), expected, "gone");
}
