//! What is no record and stands in the control log all the same: it is waited for where the disk is full, and part of the state.

use super::*;

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
    // The first partition has a beginning by which its times are believed.
    let (own, others) = records.split_at(40);
    let (first, last) = (own[39].time, others[2_959].time);
    let mut told = Told::default();
    {
        let mut keep = keep(dir.path(), &runtime).unwrap();
        let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
        let mut road = Road::new(engine, Some(keep), &mut told, runtime.handle().clone());
        for origin in &origins {
            road.keys.insert(origin.clone(), origin.to_string());
            road.turn(now(), Input::Open(origin.clone())).unwrap();
        }
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
    let mut keep = keep(dir.path(), &runtime).unwrap();
    let engine = keep.engine(&Settings::default(), &zone(), now(), &mut |_, _| {}).unwrap();
    let mut road = Road::new(engine, Some(keep), &mut told, runtime.handle().clone());
    for origin in &origins {
        road.keys.insert(origin.clone(), origin.to_string());
        road.turn(now(), Input::Open(origin.clone())).unwrap();
    }
    road.hear(now(), left(&origins[0], false)).unwrap();
    let next = Record { id: "next".to_owned(), time: last.plus(crate::event::time::DAY / 2), ..records[0].clone() };
    road.turn(now(), Input::Decoded(Box::new(decoded(&origins[1], 2_960, std::slice::from_ref(&next))))).unwrap();
    assert_eq!(at(&road), Some(last), "time waits for it again");
}
