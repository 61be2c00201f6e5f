//! State = fold(inputs): whatever order batches come in, wherever the process dies and whether or not its snapshot survives, the same
//! records, rosters and verdicts give the same settled alerts, and each record is on record once.
//!
//! `PHIWATCH_SEEDS` says how many seeds are tried, `PHIWATCH_SEED` tries that one alone (see `.ci/long`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

use super::*;
use crate::engine::fixture::{Record, decoded, first_day, roster_files, rule_files, ward, zone};
use crate::engine::off::Part;
use crate::engine::settings::Settings;
use crate::engine::triage::Ruled;
use crate::event::time::{DAY, HOUR, MINUTE};
use crate::event::{Day, State, Subject, SubjectKind};
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

/// How the records of the ward lie in their topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// All in one partition.
    One,
    /// Dealt to three at random.
    Dealt,
    /// The first third of all time in the first partition, the last third in the last one.
    InTurn,
    /// Dealt, and one in fifty comes hours late.
    Late,
    /// Dealt, and one in fifty comes once more: within a day, or when only the history still knows it.
    Twice,
}

const FILLINGS: [Filling; 5] = [Filling::Dealt, Filling::One, Filling::InTurn, Filling::Late, Filling::Twice];

impl Filling {
    /// The filling of a seed: each in turn.
    fn of(seed: u64) -> Filling {
        FILLINGS[(seed % FILLINGS.len() as u64) as usize]
    }

    /// The records with the times at which they arrive, in this order.
    fn arrivals(self, records: Vec<Record>, rng: &mut ChaCha8Rng) -> Vec<(Time, Record)> {
        let mut arrivals: Vec<(Time, Record)> = Vec::new();
        for record in records {
            let odd = rng.random_range(0..50) == 0;
            let late = if odd && self == Filling::Late { rng.random_range(2 * HOUR..24 * HOUR) } else { 0 };
            if odd && self == Filling::Twice {
                let after = if rng.random_bool(0.5) { 0..24 * HOUR } else { 5 * DAY..9 * DAY };
                arrivals.push((record.time.plus(rng.random_range(after)), record.clone()));
            }
            arrivals.push((record.time.plus(late), record));
        }
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        arrivals
    }

    /// The partition of each of so many records.
    fn partitions(self, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let place = |index: usize| match self {
            Filling::One => 0,
            Filling::InTurn => index * 3 / count,
            _ => rng.random_range(0..3),
        };
        (0..count).map(place).collect()
    }
}

/// A ward in its partitions with what becomes known on the way.
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

fn rules_of(files: Vec<(String, Vec<u8>)>) -> News {
    let loaded = crate::engine::rule::load(&files);
    assert_eq!(loaded.problems, []);
    News::Rules { files, rules: loaded.set.into() }
}

fn changed_rules() -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8(rule_files().remove(0).1).unwrap();
    let text = text.replace("p9, p10]", "p9, p10, p11]").replace("status: experimental", "status: deprecated");
    vec![("r.yml".to_owned(), text.into_bytes())]
}

impl Script {
    fn new(rng: &mut ChaCha8Rng, seed: u64, filling: Filling) -> Script {
        let arrivals = filling.arrivals(ward(seed), rng);
        let places = filling.partitions(arrivals.len(), rng);
        let count = places.iter().max().map_or(0, |last| last + 1);
        let mut partitions = vec![Vec::new(); count];
        let mut times = vec![Vec::new(); count];
        for ((arrival, record), place) in arrivals.into_iter().zip(places) {
            partitions[place].push(record);
            times[place].push(arrival);
        }
        let at = |day: i32| {
            let time = zone().midnight(first_day().plus(day)).plus(HOUR * 7);
            times.iter().map(|times| times.partition_point(|arrival| *arrival < time)).collect()
        };
        let user = |id: &str| Subject { kind: SubjectKind::User, id: id.to_owned() };
        let ruled = |family: &str, id: &str, day: i32, is_misuse| {
            let (family, day) = (family.to_owned(), first_day().plus(day));
            Some(Ruled { family, subject: user(id), day, is_misuse, excepted_days: None })
        };
        let excepted = ruled("mass-query", "u02", 41, false).map(|it| Ruled { excepted_days: Some(DAYS), ..it });
        let verdict = |id: &str, ruled| News::Verdict { id: id.to_owned(), ruled };
        let turnings = vec![
            Turning { at: vec![0; count], news: news_of(&roster_files("2026-03-10T12:00:00Z")) },
            Turning { at: vec![0; count], news: rules_of(rule_files()) },
            // The termination was entered late: before, the account was alive as far as anybody knew.
            Turning { at: at(20), news: news_of(&roster_files("2026-03-01T12:00:00Z")) },
            // A rule that reads another list of charts, and one that is gone.
            Turning { at: at(36), news: rules_of(changed_rules()) },
            Turning { at: at(42), news: verdict("1/a/1", excepted) },
            Turning { at: at(44), news: verdict("2/b/2", None) },
            // Before the day has settled, and when it has.
            Turning { at: at(51), news: verdict("3/c/3", ruled("mass-query", "u02", 50, true)) },
            Turning { at: at(54), news: news_of(&roster_files("2026-02-20T12:00:00Z")) },
            Turning { at: at(62), news: verdict("4/d/4", ruled("after-hours", "u05", 58, true)) },
            Turning { at: at(63), news: verdict("5/e/5", ruled("budgeted-clerk", "u06", 57, true)) },
            Turning { at: at(66), news: verdict("6/f/6", ruled("mass-query", "u02", 50, false)) },
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

fn keep(dir: &Path, runtime: &Runtime) -> Result<Keep, RoadError> {
    let settings = HistorySettings { dir: dir.join("history"), segment_rows: 3_000, ..HistorySettings::default() };
    let key = KeySource::beside(&settings.dir);
    let history = runtime.block_on(History::open_or_create(&settings, &key))?;
    let mut keep = Keep::new(history, dir.join("state"))?;
    // As often as days begin, so that a journey of a week meets many.
    keep.period = |time| time.0.div_euclid(DAY);
    Ok(keep)
}

/// Which of the turnings the control log has.
fn heard(keep: &Keep, script: &Script) -> usize {
    let changes = keep.history.changes().unwrap();
    let barriers: Vec<_> = changes.iter().filter(|noted| noted.change.is_barrier()).collect();
    for (noted, turning) in barriers.iter().zip(&script.turnings) {
        let kind = match &turning.news {
            News::Roster { .. } => "roster",
            News::Verdict { .. } => "verdict",
            News::Rules { .. } => "rules",
            News::Settings(_) => "settings",
            News::Left { .. } => "left",
            News::Resumed(_) => "resumed",
            News::Off(_) => "off",
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
    let light = |weather: &mut Weather| {
        if weather.crashes > 0 && weather.rng.random_bool(0.97) {
            fuse::set(Some(weather.rng.random_range(0..weather.crashes)));
        }
    };
    // Also what mends a death may die.
    if weather.rng.random_bool(0.2) {
        light(weather);
    }
    let mut keep = keep(dir, runtime)?;
    let first = heard(&keep, script);
    if weather.crashes > 0 && weather.rng.random_bool(0.3) {
        // Joined files do not change what is built from them.
        let day = Day(now().0.div_euclid(DAY) as i32);
        runtime.block_on(keep.history.compact(day))?;
    }
    light(weather);
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
    let mut legs: Vec<Vec<usize>> = script.turnings.iter().map(|turning| turning.at.clone()).collect();
    legs.push(script.partitions.iter().map(Vec::len).collect());
    for (number, to) in legs.iter().enumerate().skip(first) {
        let last = number == script.turnings.len();
        read_to(&mut road, script, &origins, &mut next, &Leg { to, last }, weather)?;
        if let Some(turning) = script.turnings.get(number) {
            road.hear(now(), turning.news.clone())?;
        }
    }
    let closed = road.close(now());
    drop(road);
    fuse::fill(0, 0);
    weather.refused += refused.get();
    closed
}

/// How far every partition is read.
struct Leg<'a> {
    to: &'a [usize],
    /// Nothing follows.
    last: bool,
}

/// Reads every partition up to a place, side by side at random.
fn read_to(
    road: &mut Road<'_>,
    script: &Script,
    origins: &[Origin],
    next: &mut [usize],
    leg: &Leg<'_>,
    weather: &mut Weather,
) -> Result<(), RoadError> {
    // Whoever was idle is waited for again: what it has may lie behind what the others have.
    for origin in origins {
        road.turn(now(), Input::Open(origin.clone()))?;
    }
    // Nobody waits for a partition that has come so far: after a minute, or at once where its end was known from the start.
    let over = |p: usize| if leg.last { Input::End(origins[p].clone()) } else { Input::Idle(origins[p].clone()) };
    let mut waited_for: Vec<usize> = (0..origins.len()).collect();
    while !waited_for.is_empty() {
        let hungry = road.engine.hungry();
        let can_go_on = |p: &usize| next[*p] < leg.to[*p] && hungry.contains(&origins[*p]);
        let stuck = !waited_for.iter().any(can_go_on);
        if let Some(at) = waited_for.iter().position(|p| next[*p] >= leg.to[*p])
            && (stuck || weather.rng.random_bool(0.3))
        {
            road.turn(now(), over(waited_for.remove(at)))?;
            continue;
        }
        let p = waited_for[weather.rng.random_range(0..waited_for.len())];
        if !can_go_on(&p) {
            assert!(!stuck, "{p} waits for nobody");
            continue;
        }
        let end = leg.to[p].min(next[p] + weather.rng.random_range(1..1_500));
        let stretch = decoded(&origins[p], next[p] as i64, &script.partitions[p][next[p]..end]);
        next[p] = end;
        road.turn(now(), Input::Decoded(Box::new(stretch)))?;
        if weather.rng.random_bool(0.1) {
            road.commit(now())?;
        }
    }
    assert_eq!(road.engine.queued(), 0, "all that was read is taken up");
    if let Some(watermark) = road.engine.watermark().filter(|_| !leg.last) {
        road.turn(now(), Input::Advance(watermark.plus(MINUTE)))?;
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
        if weather.rng.random_bool(0.2) {
            drop(std::fs::remove_dir_all(dir.join("history/blobs/snapshot")));
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
    let once: BTreeSet<&str> = script.partitions.iter().flatten().map(|record| record.id.as_str()).collect();
    let once = once.len() as i64;
    assert_eq!(number(dir, "SELECT count(*) FROM events"), once);
    assert_eq!(number(dir, "SELECT count(DISTINCT event_id) FROM events"), once);
    assert_eq!(number(dir, "SELECT count(DISTINCT concat(\"partition\", '/', \"offset\")) FROM events"), once);
    assert_eq!(number(dir, "SELECT count(*) FROM touches"), once);
    assert_eq!(number(dir, "SELECT sum(events) FROM spans"), once);
    assert_eq!(number(dir, "SELECT sum(events + duplicates) FROM spans"), all);
    let twice = "SELECT count(*) - count(DISTINCT concat(alert_id, '/', revision, '/', content)) FROM alerts";
    assert_eq!(number(dir, twice), 0);
}

/// Whether one seed goes the same way with deaths as without; how often it died.
fn check(seed: u64, filling: Filling) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let script = Script::new(&mut rng, seed, filling);
    let what = format!("seed {seed}, {filling:?}");
    let calm = tempfile::tempdir().unwrap();
    let mut weather = Weather::calm(&rng);
    let expected = journey(&script, calm.path(), &mut weather);
    assert!(expected.len() >= 6 && expected.iter().any(|line| line.contains("suppressed")), "{what}: {expected:#?}");
    assert!(!expected.iter().any(|line| line.contains("backfill")), "{what}: nothing came too late");
    check_record(calm.path(), &script);

    let dir = tempfile::tempdir().unwrap();
    let mut weather = Weather { crashes: 12, ..Weather::calm(&rng) };
    let found = journey(&script, dir.path(), &mut weather);
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let added: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    let crashed = weather.crashed;
    assert!(missing.is_empty() && added.is_empty(), "{what}, {crashed}: missing {missing:#?}, added {added:#?}");
    check_record(dir.path(), &script);
    crashed
}

#[test]
fn wherever_it_dies_the_same_alerts_settle_and_each_record_is_there_once() {
    let seeds = crate::sim::seeds(1, 5);
    let crashed: usize = seeds.clone().map(|seed| check(seed, Filling::of(seed))).sum();
    // One seed alone may be lucky.
    assert!(seeds.count() < 5 || crashed >= 20, "{crashed} crashes");
}

/// Segments, roster versions, the control log: whatever the full disk refuses is waited for, and nothing differs afterwards.
#[test]
fn a_full_disk_delays_and_changes_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let script = Script::new(&mut rng, 9, Filling::Dealt);
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
            let changes = keep(dir, &runtime).unwrap().history.changes().unwrap();
            // What cannot be sealed now is sealed with a later snapshot.
            let inputs = changes.iter().map(|noted| noted.change.kind());
            inputs.filter(|kind| !["advance", "sealed"].contains(kind)).collect()
        };
        assert_eq!(kinds(dir.path()), kinds(calm.path()), "{writes}");
    }
}

/// A road of the history at `dir` whose partitions are open.
fn opened<'a>(dir: &Path, runtime: &Runtime, origins: &[Origin], told: &'a mut Told) -> Road<'a> {
    let mut keep = keep(dir, runtime).unwrap();
    let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
    let mut road = Road::new(engine, Some(keep), told, runtime.handle().clone());
    for origin in origins {
        road.keys.insert(origin.clone(), origin.to_string());
        road.turn(now(), Input::Open(origin.clone())).unwrap();
    }
    road
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
    // The first partition has a beginning by which its times are believed.
    let (own, others) = records.split_at(40);
    let (first, last) = (own[39].time, others[2_959].time);
    let mut told = Told::default();
    {
        let mut road = opened(dir.path(), &runtime, &origins, &mut told);
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[0], 0, own)))).unwrap();
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[1], 0, others)))).unwrap();
        assert_eq!(at(&road), Some(first), "time waits for the first partition");
        assert!(road.engine.queued() > 0);
        road.hear(now(), left(&origins[0], true)).unwrap();
        assert_eq!((at(&road), road.engine.queued()), (Some(last), 0), "and does not any more");
        // What it sends is read: of a day that has settled it is backfill, else it counts.
        let stray = |id: &str, time: Time| Record { id: id.to_owned(), time, ..records[0].clone() };
        let late = [stray("old", first.plus(1)), stray("open", last.plus(-crate::event::time::HOUR))];
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[0], 40, &late)))).unwrap();
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
        let mut keep = keep(dir.path(), &runtime).unwrap();
        let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
        let stands: Vec<bool> = engine.stands().map(|(_, stand)| stand.left).collect();
        assert_eq!((stands, engine.watermark()), (vec![true, false], Some(last)), "with a snapshot: {snapshot}");
    }
    let mut road = opened(dir.path(), &runtime, &origins, &mut told);
    road.hear(now(), left(&origins[0], false)).unwrap();
    let next = Record { id: "next".to_owned(), time: last.plus(crate::event::time::DAY / 2), ..records[0].clone() };
    road.turn(now(), Input::Decoded(Box::new(decoded(&origins[1], 2_960, std::slice::from_ref(&next))))).unwrap();
    assert_eq!(at(&road), Some(last), "time waits for it again");
}

/// A part that is switched off is told once, and stays off whether the snapshot survives or not.
#[test]
fn a_part_that_met_a_bug_is_noted_once_and_stays_off() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let origins = [Origin::topic("ehr", 0)];
    let part = Part { name: "after-hours".into(), version: crate::engine::off::VERSION.into() };
    let mut told = Told::default();
    let records: Vec<Record> = ward(1).into_iter().take(3_000).collect();
    {
        let mut road = opened(dir.path(), &runtime, &origins, &mut told);
        road.turn(now(), Input::Decoded(Box::new(decoded(&origins[0], 0, &records)))).unwrap();
        assert!(road.fallen().unwrap().is_empty());
        // As if it had met one.
        road.engine.step(now(), Input::SwitchOff(part.clone()));
        for news in road.fallen().unwrap() {
            road.hear(now(), news).unwrap();
        }
        assert!(road.fallen().unwrap().is_empty(), "it is told once");
    }
    for snapshot in [true, false] {
        if !snapshot {
            std::fs::remove_file(dir.path().join("state/engine.snapshot")).unwrap();
        }
        let mut road = opened(dir.path(), &runtime, &origins, &mut told);
        assert_eq!(road.engine.switched_off(), std::slice::from_ref(&part), "with a snapshot: {snapshot}");
        assert!(road.fallen().unwrap().is_empty(), "the control log tells of it");
    }
    let keep = keep(dir.path(), &runtime).unwrap();
    let noted = keep.history.changes().unwrap().into_iter().filter(|noted| noted.change.kind() == "off").count();
    assert_eq!(noted, 1);
}

/// The memory of an engine, without what may differ: numbers that are given in the order of arrival.
fn goes_on(
    dir: &Path,
    runtime: &Runtime,
    script: &Script,
    from: &[usize],
) -> (Option<crate::event::effects::Mark>, Vec<String>) {
    let mut keep = keep(dir, runtime).unwrap();
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
    let mut script = Script::new(&mut weather.rng, 4, Filling::Dealt);
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

    // A snapshot that cannot be written, as on a full disk, keeps nobody from starting; what a kill left of one is taken away.
    std::fs::remove_file(&snapshot).unwrap();
    std::fs::create_dir(&snapshot).unwrap();
    let left = dir.path().join("state/engine.snapshot.4711.tmp");
    std::fs::write(&left, "half of it").unwrap();
    assert_eq!(goes_on(dir.path(), &runtime, &script, &from), expected, "not to be written");
    assert!(!left.exists());
    std::fs::remove_dir(&snapshot).unwrap();
    assert_eq!(goes_on(dir.path(), &runtime, &script, &from), expected, "to be written again");

    // What is sealed bounds what has to be read again, and nothing depends on it.
    let read_again = || {
        drop(std::fs::remove_file(&snapshot));
        let mut rows = 0;
        let mut keep = keep(dir.path(), &runtime).unwrap();
        keep.engine(&Settings::default(), &zone(), now(), &mut |_, all| rows = all).unwrap();
        rows
    };
    let since_the_last_seal = read_again();
    let seals = dir.path().join("history/blobs/snapshot");
    let sealed = std::fs::read_dir(&seals).unwrap().count();
    std::fs::remove_dir_all(&seals).unwrap();
    let whole = read_again();
    assert!(sealed > 2 && 2 * since_the_last_seal < whole, "{sealed} seals, {since_the_last_seal} of {whole}");
    assert_eq!(goes_on(dir.path(), &runtime, &script, &from), expected, "nothing sealed");
}
