//! The Kafka source against librdkafka's mock cluster: no Java needed. What the mock lies about (transactions, topic ids, TLS,
//! deleted records) is in `real_kafka`.

use std::collections::BTreeMap;
use std::time::Duration;

use phiwatch::event::Origin;
use phiwatch::ingest::kafka::{Arrival, Begin, Source, peek, probe, survey};
use rdkafka::mocking::MockCluster;

use crate::kafka::{LONG, Listener, log_of, numbered, plan, produce, to};
use crate::start::take_down;

#[test]
fn records_come_once_and_in_order_from_all_partitions() {
    let cluster = MockCluster::new(3).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("a", 3, 1).expect("a topic");
    cluster.create_topic("b", 1, 1).expect("a topic");
    for partition in 0..3 {
        produce(&to(&brokers), "a", partition, numbered(&format!("a{partition}."), 1_000));
    }
    produce(&to(&brokers), "b", 0, numbered("b.", 10));
    let mut listener = Listener::new(&plan(&brokers, &["a", "b"], "batch = { rows = 300 }"), Begin::default());
    listener.until("all ends", |l| (0..3).all(|p| l.at_end("a", p, 1_000)) && l.at_end("b", 0, 10));
    for partition in 0..3 {
        assert_eq!(listener.values("a", partition), numbered(&format!("a{partition}."), 1_000));
    }
    assert_eq!(listener.values("b", 0), numbered("b.", 10));
    produce(&to(&brokers), "b", 0, ["later".to_owned()]);
    listener.until("the later record", |l| l.at_end("b", 0, 11));
    assert_eq!(listener.records("b", 0).last(), Some(&(10, "later".to_owned())));
    // Ends are said again, so that the time of standing can be judged.
    listener.until("standing", |l| l.ends[&Origin::topic("a", 0)].1 >= Duration::from_millis(300));
    assert!(listener.words().is_empty(), "{:?}", listener.words());
    assert!(listener.source.close(LONG), "closed in time");
}

#[test]
fn start_offsets_are_honoured() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 3, 1).expect("a topic");
    cluster.create_topic("u", 1, 1).expect("a topic");
    for partition in 0..3 {
        produce(&to(&brokers), "t", partition, numbered("", 100));
    }
    produce(&to(&brokers), "u", 0, numbered("", 100));
    let positions = BTreeMap::from([(Origin::topic("t", 0), 40), (Origin::topic("t", 1), 100)]);
    let begin = Begin { positions, ..Begin::default() };
    let mut listener = Listener::new(&plan(&brokers, &["t", "u"], "start = \"latest\""), begin);
    listener.until("all ends", |l| (0..3).all(|p| l.at_end("t", p, 100)) && l.at_end("u", 0, 100));
    assert_eq!(listener.records("t", 0).first().map(|(offset, _)| *offset), Some(40));
    assert_eq!(listener.values("t", 0), numbered("", 100)[40..]);
    assert!(listener.values("t", 1).is_empty());
    // A partition of a known topic that has no position is new: it begins at its beginning, whatever `start` says.
    assert_eq!(listener.values("t", 2), numbered("", 100));
    match listener.words()[..] {
        [Arrival::NewPartition { origin, .. }] => assert_eq!(*origin, Origin::topic("t", 2)),
        ref other => panic!("{other:?}"),
    }
    assert!(listener.values("u", 0).is_empty());
}

#[test]
fn a_position_beyond_the_end_stops_the_partition_only() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).expect("a topic");
    produce(&to(&brokers), "t", 0, numbered("", 10));
    produce(&to(&brokers), "t", 1, numbered("", 10));
    let positions = BTreeMap::from([(Origin::topic("t", 0), 11), (Origin::topic("t", 1), 5)]);
    let mut listener = Listener::new(&plan(&brokers, &["t"], ""), Begin { positions, ..Begin::default() });
    listener.until("the alarm", |l| !l.words().is_empty() && l.at_end("t", 1, 10));
    produce(&to(&brokers), "t", 0, numbered("", 10));
    produce(&to(&brokers), "t", 1, numbered("", 10));
    listener.until("the other's records", |l| l.at_end("t", 1, 20));
    assert!(listener.values("t", 0).is_empty());
    assert_eq!(listener.values("t", 1).len(), 15);
    match listener.words()[..] {
        [Arrival::TopicMadeAgain { origin, position: 11, end: 10, .. }] => assert_eq!(*origin, Origin::topic("t", 0)),
        ref other => panic!("{other:?}"),
    }
    // By command it is read from its beginning, and the other one from where it stood.
    listener.source.begin_anew(&Origin::topic("t", 0), &log_of(&plan(&brokers, &["t"], "")), 0);
    listener.until("the whole of it", |l| l.at_end("t", 0, 20) && l.values("t", 0).len() == 20);
    assert_eq!(listener.values("t", 1).len(), 15);
    assert!(matches!(listener.words()[1..], [Arrival::NewPartition { .. }]), "{:?}", listener.words());
}

/// Its log has grown beyond our position since: what is there now is not what was read.
#[test]
fn what_was_stopped_before_the_start_is_read_by_command_only() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).expect("a topic");
    for partition in 0..2 {
        produce(&to(&brokers), "t", partition, numbered("", 20));
    }
    let first = Origin::topic("t", 0);
    let positions = BTreeMap::from([(first.clone(), 11), (Origin::topic("t", 1), 5)]);
    let begin = Begin { positions, stopped: [first.clone()].into(), ..Begin::default() };
    let mut listener = Listener::new(&plan(&brokers, &["t"], ""), begin);
    listener.until("the other's records", |l| l.at_end("t", 1, 20));
    listener.during(Duration::from_secs(1));
    assert!(listener.values("t", 0).is_empty());
    match listener.words()[..] {
        [Arrival::TopicMadeAgain { origin, position: 11, end: 20, .. }] => assert_eq!(*origin, first),
        ref other => panic!("{other:?}"),
    }
    listener.source.begin_anew(&first, &log_of(&plan(&brokers, &["t"], "")), 0);
    listener.until("the whole of it", |l| l.values("t", 0).len() == 20);
}

#[test]
fn paused_partitions_wait_and_a_slow_pipeline_loses_nothing() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).expect("a topic");
    let mut listener = Listener::new(&plan(&brokers, &["t"], "batch = { rows = 10, waiting = 2 }"), Begin::default());
    listener.until("both ends", |l| l.at_end("t", 0, 0) && l.at_end("t", 1, 0));
    listener.source.pause(&[Origin::topic("t", 0)]);
    listener.during(Duration::from_millis(300));
    produce(&to(&brokers), "t", 0, numbered("p", 500));
    produce(&to(&brokers), "t", 1, numbered("q", 500));
    // Nobody listens for a while: the channel is full, reading is paused.
    std::thread::sleep(Duration::from_secs(2));
    listener.until("the free partition", |l| l.at_end("t", 1, 500));
    assert_eq!(listener.values("t", 1), numbered("q", 500));
    assert!(listener.values("t", 0).is_empty());
    listener.source.resume(&[Origin::topic("t", 0)]);
    listener.until("the resumed partition", |l| l.at_end("t", 0, 500));
    assert_eq!(listener.values("t", 0), numbered("p", 500));
    assert_eq!(listener.values("t", 1), numbered("q", 500));
    assert!(listener.words().is_empty(), "{:?}", listener.words());
}

#[test]
fn a_pause_holds_before_anything_is_known() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).expect("a topic");
    for partition in 0..2 {
        produce(&to(&brokers), "t", partition, numbered("", 100));
    }
    let mut listener = Listener::new(&plan(&brokers, &["t"], ""), Begin::default());
    listener.source.pause(&[Origin::topic("t", 0)]);
    listener.until("the free partition", |l| l.at_end("t", 1, 100));
    listener.during(Duration::from_secs(1));
    assert!(listener.values("t", 0).is_empty());
    assert!(listener.ends.keys().all(|origin| *origin == Origin::topic("t", 1)), "it has lag");
    listener.source.resume(&[Origin::topic("t", 0)]);
    listener.until("the resumed partition", |l| l.at_end("t", 0, 100));
    assert_eq!(listener.values("t", 0), numbered("", 100));
}

#[test]
fn a_broker_that_is_away_is_told_once_and_makes_nothing_idle() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).expect("a topic");
    produce(&to(&brokers), "t", 0, numbered("", 10));
    let mut listener = Listener::new(&plan(&brokers, &["t"], ""), Begin::default());
    listener.until("the end", |l| l.at_end("t", 0, 10));
    take_down(&cluster);
    listener.until("the trouble", |l| !l.words().is_empty());
    listener.ends.clear();
    listener.during(Duration::from_secs(6));
    assert!(listener.ends.is_empty(), "no answer, no end");
    cluster.broker_up(1).expect("up");
    listener.until("recovery", |l| l.words().len() > 1);
    produce(&to(&brokers), "t", 0, numbered("again", 10));
    listener.until("the end", |l| l.at_end("t", 0, 20));
    assert_eq!(listener.values("t", 0).len(), 20);
    assert!(
        matches!(listener.words()[..], [Arrival::Trouble { .. }, Arrival::Recovered { .. }]),
        "{:?}",
        listener.words()
    );
    assert!(listener.source.close(LONG), "closed in time");
}

#[test]
fn closing_is_bounded_while_the_broker_is_away() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).expect("a topic");
    let mut listener = Listener::new(&plan(&brokers, &["t"], ""), Begin::default());
    listener.until("the end", |l| l.at_end("t", 0, 0));
    take_down(&cluster);
    listener.until("the trouble", |l| !l.words().is_empty());
    listener.source.commit_hint(&BTreeMap::from([(Origin::topic("t", 0), 0)]));
    let begun = std::time::Instant::now();
    let _ = listener.source.close(Duration::from_secs(3));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn hints_are_only_hints() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).expect("a topic");
    produce(&to(&brokers), "t", 0, numbered("", 10));
    let plan = plan(&brokers, &["t"], "");
    for _ in 0..2 {
        let mut listener = Listener::new(&plan, Begin::default());
        listener.until("the end", |l| l.at_end("t", 0, 10));
        assert_eq!(listener.values("t", 0).len(), 10, "the group's offset is not where reading begins");
        listener.source.commit_hint(&BTreeMap::from([(Origin::topic("t", 0), 10)]));
        listener.during(Duration::from_millis(300));
        assert!(listener.words().is_empty(), "{:?}", listener.words());
        assert!(listener.source.close(LONG));
    }
}

#[test]
fn looks_leave_the_records_where_they_are() {
    let cluster = MockCluster::new(3).expect("a cluster");
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 3, 1).expect("a topic");
    for partition in 0..3 {
        produce(&to(&brokers), "t", partition, numbered(&format!("{partition}."), 20));
    }
    let plan = plan(&brokers, &["t"], "");
    assert_eq!(probe(&plan), vec![]);
    let seen = survey(&plan).expect("a survey");
    let topic = seen.topics.values().next().expect("a topic").as_ref().expect("described");
    assert_eq!(topic.partitions.values().map(|log| (log.low, log.high)).collect::<Vec<_>>(), vec![(0, 20); 3]);
    let newest = peek(&plan, "t", 5).expect("records");
    assert_eq!(newest.len(), 5);
    assert!(newest.is_sorted_by_key(|record| record.at));
    // Partition 2 was written last.
    let texts: Vec<_> = newest.iter().map(|r| String::from_utf8(r.value.clone().unwrap()).unwrap()).collect();
    assert_eq!(texts.last().map(String::as_str), Some("2.19"));
    assert_eq!(peek(&plan, "t", 1_000).expect("records").len(), 60);
}

#[test]
fn a_cluster_that_is_not_there_is_a_problem_in_words() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let problems = probe(&plan(&format!("127.0.0.1:{port}"), &["t"], ""));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains("refused"), "{}", problems[0].what);
}
