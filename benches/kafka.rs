//! With a real broker: events/s from Kafka to alerts and history, and seconds from produce to outbox.
//!
//! End to end is the program itself, started as a user starts it, on a topic that was filled before; its CPU time by thread and its
//! memory are read from `/proc` while it runs. Latency is measured inside this process, around the same loop and the same outbox, so
//! that the instants of producing and of arriving come from one clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use phiwatch::decode::Hints;
use phiwatch::engine::settings::Settings as EngineSettings;
use phiwatch::engine::{Engine, Input};
use phiwatch::event::{Origin, Raised, Time, Zone};
use phiwatch::history::{History, KeySource, Settings as HistorySettings};
use phiwatch::ingest::kafka::{Begin, Kafka, Settings as KafkaSettings, Source};
use phiwatch::pipeline::live::{Beside, Orders, read};
use phiwatch::pipeline::{Keep, Outlet, Road, RoadError};
use phiwatch::roster::{Intake, Roster, load};
use phiwatch::store::{AesSeal, Store};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use crate::hospital::hospital;
use crate::measure::{at_most, cpu_of_threads, cpu_seconds, memory, percentile};

const PARTITIONS: i32 = 4;

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", std::env::var("PHIWATCH_KAFKA").expect("the broker's address"));
    config.set("linger.ms", "5").set("queue.buffering.max.messages", "200000");
    config
}

fn brokers() -> String {
    client().get("bootstrap.servers").unwrap_or_default().to_owned()
}

/// A topic of its own for each run.
fn topic(name: &str) -> String {
    let topic = format!("bench-{name}-{}", std::process::id());
    let admin: AdminClient<DefaultClientContext> = client().create().expect("an admin client");
    let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let made = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    topic
}

fn producer() -> BaseProducer<DefaultProducerContext> {
    client().create().expect("a producer")
}

fn send(producer: &BaseProducer<DefaultProducerContext>, topic: &str, number: usize, line: &[u8]) {
    let partition = (number % PARTITIONS as usize) as i32;
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(line);
    while let Err((_, back)) = producer.send(record) {
        record = back;
        producer.poll(Duration::from_millis(5));
    }
    if number.is_multiple_of(1_000) {
        producer.poll(Duration::ZERO);
    }
}

/// `phiwatch run --until-end` over a filled topic, with rosters, encrypted history and a file for alerts.
pub fn end_to_end(records: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let (hospital, topic) = (hospital(5_000, 120), topic("run"));
    fs::create_dir(dir.join("rosters")).expect("a folder");
    for (name, bytes) in hospital.rosters() {
        fs::write(dir.join("rosters").join(name), bytes).expect("a roster");
    }
    let (producer, mut bytes) = (producer(), 0);
    for (number, event) in hospital.events().take(records).enumerate() {
        bytes += event.line.len();
        send(&producer, &topic, number, &event.line);
    }
    producer.flush(Duration::from_secs(60)).expect("everything is produced");
    println!("{records} records, {:.0} MB, {PARTITIONS} partitions, 5,000 users", bytes as f64 / 1e6);
    let settings = format!(
        "[sites]\ndefault_timezone = \"America/Chicago\"\n[kafka]\nbrokers = [{:?}]\ntopics = [{topic:?}]\n[rosters]\ndir = \"rosters\"\n\
         [history]\ndir = \"history\"\n[[channels]]\nkind = \"file\"\npath = \"alerts.jsonl\"\n",
        brokers()
    );
    fs::write(dir.join("phiwatch.toml"), settings).expect("settings");
    run(dir, records);
    let alerts = fs::read_to_string(dir.join("alerts.jsonl")).unwrap_or_default();
    println!(
        "{} lines of alerts; history of {:.0} MB",
        alerts.lines().count(),
        size(&dir.join("history")) as f64 / 1e6
    );
}

/// Starts the program, watches it until it ends, and prints its figures.
fn run(dir: &Path, records: usize) {
    let log = fs::File::create(dir.join("log")).expect("a log");
    let mut program = Command::new(env!("CARGO_BIN_EXE_phiwatch"))
        .args(["run", "--until-end", "--config"])
        .arg(dir.join("phiwatch.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the program");
    let (pid, start) = (program.id().to_string(), Instant::now());
    let (mut threads, mut most, mut cpu) = (BTreeMap::new(), 0, 0.0);
    let mut begun: Option<(f64, f64)> = None;
    let status = loop {
        threads.extend(cpu_of_threads(&pid));
        // Before that the rosters are loaded.
        if begun.is_none() && threads.keys().any(|name: &String| name.starts_with("decode ")) {
            begun = Some((start.elapsed().as_secs_f64(), cpu_seconds(&pid)));
        }
        most = most.max(memory(&pid, "VmHWM"));
        cpu = cpu_seconds(&pid).max(cpu);
        if let Some(status) = program.try_wait().expect("the program can be waited for") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let wall = start.elapsed().as_secs_f64();
    let told = fs::read_to_string(dir.join("log")).unwrap_or_default();
    assert!(status.success(), "{status}: {told}");
    println!("{}", told.lines().find(|line| line.contains(" events, ")).unwrap_or("the log has no sums"));
    // Two cores are the aim's: CPU seconds say what the machine would do if nobody else were on it.
    println!(
        "end to end: {wall:.1} s ({:.0}/s), {cpu:.1} CPU s: {:.0}/s a core, start and end included",
        records as f64 / wall,
        records as f64 / cpu
    );
    let (before, cpu_before) = begun.expect("records were decoded");
    let rate = records as f64 / (wall - before);
    println!(
        "start: {before:.1} s, {cpu_before:.1} CPU s; from then to the end {:.1} s, {:.1} CPU s: {:.0}/s a core",
        wall - before,
        cpu - cpu_before,
        records as f64 / (cpu - cpu_before)
    );
    println!(
        "end to end, once started: {rate:.0}/s on the wall  aim 150000 on 2 cores: {}",
        if rate >= 150_000.0 { "met" } else { "MISSED" }
    );
    println!("most memory: {:.0} MB", most as f64 / 1e6);
    let mut threads: Vec<(String, u64)> = threads.into_iter().filter(|(_, ticks)| *ticks >= 10).collect();
    threads.sort_by_key(|(_, ticks)| std::cmp::Reverse(*ticks));
    for (name, ticks) in threads {
        println!("  {:>6.1} CPU s  {:>3.0} %  {name}", ticks as f64 / 100.0, ticks as f64 / cpu);
    }
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) })
        .sum()
}

/// One event in this many is the use of a terminated account, which is told at once.
const ALERT_EVERY: usize = 40;

/// Alerts into a real outbox; notes for each account how long its event took.
struct Timed {
    store: Store,
    start: Instant,
    produced: Arc<Vec<AtomicU64>>,
    found: Arc<Mutex<Vec<f64>>>,
}

impl Outlet for Timed {
    fn raise(&mut self, raised: &[Raised], now: Time) -> Result<(), RoadError> {
        self.store.raise(raised, &|_| vec!["mail".to_owned()], now)?;
        let arrived = self.start.elapsed().as_nanos() as u64;
        for one in raised.iter().filter(|one| one.alert.revision == 1) {
            let number = one.alert.subject.id.strip_prefix('x').and_then(|digits| digits.parse::<usize>().ok());
            if let Some(produced) = number.and_then(|number| self.produced.get(number)) {
                let took = arrived.saturating_sub(produced.load(Ordering::Relaxed));
                self.found.lock().expect("nobody panicked").push(took as f64 / 1e9);
            }
        }
        Ok(())
    }
}

/// Nothing is done beside the reading.
struct Nothing;

impl Beside for Nothing {}

/// 1,000 events/s into a topic that is read at the same time; segments close every five seconds, to be in the way.
pub fn latency(records: usize) {
    let (folder, topic) = (tempfile::tempdir().expect("a folder"), topic("latency"));
    let alerts = records / ALERT_EVERY + 1;
    let produced: Arc<Vec<AtomicU64>> = Arc::new((0..alerts).map(|_| AtomicU64::new(0)).collect());
    let (found, start) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let stop = Arc::new(AtomicBool::new(false));
    let feed = {
        let (topic, produced, stop, found) = (topic.clone(), produced.clone(), stop.clone(), found.clone());
        std::thread::spawn(move || {
            feed(&topic, records, &produced, start);
            // What is late is waited for, so that it weighs in the figure.
            let end = Instant::now();
            while found.lock().expect("nobody panicked").len() + 1 < alerts && end.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(100));
            }
            stop.store(true, Ordering::Relaxed);
        })
    };
    let store = Store::open(folder.path(), Arc::new(AesSeal::new(&[7; 32]))).expect("a store");
    let mut outlet = Timed { store, start, produced, found: found.clone() };
    watch(folder.path(), &topic, roster(alerts), &mut outlet, &stop);
    feed.join().expect("the feed ended");
    let mut found = std::mem::take(&mut *found.lock().expect("nobody panicked"));
    found.sort_by(f64::total_cmp);
    assert!(found.len() >= alerts - 1, "{} of {alerts} alerts arrived", found.len());
    println!("{} alerts among {records} events at 1,000/s", found.len());
    println!("produce to outbox: p50 {:.3} s, p99.9 {:.3} s", percentile(&found, 0.5), percentile(&found, 0.999));
    at_most("produce to outbox, p99", percentile(&found, 0.99), "s", 1.0);
}

fn feed(topic: &str, records: usize, produced: &[AtomicU64], start: Instant) {
    let (producer, begin) = (producer(), Instant::now());
    for number in 0..records {
        let due = Duration::from_millis(number as u64);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let (alert, now) = (number / ALERT_EVERY, Time(jiff::Timestamp::now().as_microsecond()));
        let actor =
            if number % ALERT_EVERY == ALERT_EVERY - 1 { format!("x{alert}") } else { format!("u{}", number % 5_000) };
        let line = format!(
            r#"{{"event_id":"e{number}","time":"{now}","source":"ehr","site":"main","actor":{{"id":"{actor}","kind":"human"}},"activity":"read","patients":["p{}"],"outcome":"success"}}"#,
            number * 31 % 100_000
        );
        if actor.starts_with('x') {
            produced[alert].store(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        send(&producer, topic, number, line.as_bytes());
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(10)).expect("everything is produced");
}

fn watch(dir: &Path, topic: &str, roster: Arc<Roster>, outlet: &mut Timed, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let (settings, key) =
        (HistorySettings { dir: dir.join("history"), ..HistorySettings::default() }, dir.join("history.key"));
    let history = runtime.block_on(History::open_or_create(&settings, &KeySource::File(key))).expect("a new history");
    let keep = Keep::new(history, dir.join("history.state")).expect("a state folder");
    let mut road =
        Road::new(Engine::new(EngineSettings::default(), roster), Some(keep), outlet, runtime.handle().clone());
    let text = format!("brokers = [{:?}]\ntopics = [{topic:?}]\n", brokers());
    let settings: KafkaSettings = toml::from_str(&text).expect("settings");
    let plan = settings.check(Path::new("bench")).expect("settings without fault");
    let clock = || Time(jiff::Timestamp::now().as_microsecond());
    for partition in 0..PARTITIONS {
        let origin = Origin::topic(topic, partition);
        road.keys.insert(origin.clone(), origin.to_string());
        road.turn(clock(), Input::Open(origin)).expect("a lane");
    }
    let mut source = Kafka::start(&plan, Begin::default()).expect("a client");
    let mut orders = Orders {
        stop,
        hints: &|topic| Hints::new(topic),
        age: Duration::from_secs(5),
        until: None,
        beside: &mut Nothing,
        clock: &clock,
    };
    read(&mut road, &mut source, &mut orders).expect("nothing fails");
    Box::new(source).close(Duration::from_secs(5));
}

fn roster(terminated: usize) -> Arc<Roster> {
    let mut text = String::from("user_id,role,department,site,status,terminated_at\n");
    (0..5_000).for_each(|user| text.push_str(&format!("u{user},nurse,unit {},main,active,\n", user % 50)));
    (0..terminated).for_each(|user| text.push_str(&format!("x{user},nurse,unit 1,main,terminated,2025-01-01\n")));
    let zone = Zone::get("America/Chicago").expect("a zone of the database");
    let loaded = load(
        &[("users.csv".to_owned(), text.into_bytes())],
        zone,
        &Intake { previous: None, at: Time(0), allow_shrink: false },
    );
    Arc::new(loaded.roster)
}
