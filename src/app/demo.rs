//! `demo`: a simulated hospital through the whole pipeline, with nothing but the binary.
//!
//! The broker is librdkafka's mock inside this process, so that the real consumer reads. It keeps a few megabytes a partition only:
//! the producer follows the consumer, and a gap fails the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::drain;
use super::rosters::put_in_force;
use super::scan::Lines;
use super::{Begun, now, own_store, runtime, set_out};
use crate::app::Stop;
use crate::decode::Hints;
use crate::engine::Input;
use crate::event::{Origin, Raised, Time};
use crate::history;
use crate::ingest::kafka::{Arrival, Begin, Kafka, LogId, Plan as KafkaPlan, Settings as KafkaSettings, Source};
use crate::inquiry::{Asked, Format, ask};
use crate::pipeline::live::{Beside, Orders, read};
use crate::pipeline::{Outlet, Road, RoadError, Tally};
use crate::settings::Settings;
use crate::sim::{self, Plan};

const TOPIC: &str = "ehr.access";
const PARTITIONS: i32 = 3;
/// Bytes of a partition that may lie in the mock before they are read: it drops the oldest beyond 5 MiB.
const AHEAD: i64 = 1 << 20;

/// Alerts to the screen as sentences, and all revisions to a file and the store.
struct Screen<'a> {
    lines: Lines<'a>,
    bar: ProgressBar,
    told: usize,
}

impl Outlet for Screen<'_> {
    fn raise(&mut self, raised: &[Raised], now: Time) -> Result<(), RoadError> {
        self.lines.raise(raised, now)?;
        for one in raised.iter().filter(|one| one.interrupts) {
            self.told += 1;
            let (alert, day) = (&one.alert, one.day);
            self.bar
                .suspend(|| println!("{day}  {:<8}  {}\n    {}", alert.severity.as_str(), alert.title, alert.reason));
        }
        Ok(())
    }
}

/// What the demo leaves behind.
#[derive(Debug)]
pub struct Shown {
    /// What went down the road.
    pub tally: Tally,
    /// Alerts that interrupted.
    pub told: usize,
}

/// Simulates the hospital of `plan` into `dir`, runs it through Kafka, the engine and the history there, and asks two questions.
///
/// # Errors
/// Where anything on the way fails, or a record was lost.
pub fn demo(plan: &Plan, dir: &Path) -> Result<Shown, Stop> {
    println!(
        "A hospital of {} accounts over {} days, seed {}, in {}\n",
        plan.users,
        plan.days,
        plan.seed,
        dir.display()
    );
    let spinner = bar(0, "simulating  {human_pos} events")?;
    let summary = sim::write(plan, dir, |events| spinner.set_position(events)).map_err(Stop::failed)?;
    spinner.finish_and_clear();
    let mut settings = Settings::default();
    settings.rosters = Some(dir.join("rosters"));
    settings.history =
        Some(history::Settings { dir: dir.join("history"), segment_age: 5, ..history::Settings::default() });
    let shown = watch(&settings, dir, summary.events)?;
    if shown.tally.gap > 0 {
        return Err(Stop::Failed(format!("{} records were lost on the way: this is a fault", shown.tally.gap)));
    }
    println!(
        "\n{}\n{} alerts interrupted somebody; {} misuses were planted (labels.jsonl).",
        shown.tally, shown.told, summary.labels
    );
    questions(&settings, dir)?;
    next(plan, dir);
    Ok(shown)
}

fn watch(settings: &Settings, dir: &Path, events: u64) -> Result<Shown, Stop> {
    let history = settings.history.as_ref().expect("the demo keeps a history");
    let runtime = runtime()?;
    let (keep, begun) = set_out(settings, history, &runtime)?;
    let store = Some(own_store(&keep, &settings.state_dir(&history.dir))?);
    let mut file = BufWriter::new(File::create(dir.join("alerts.jsonl")).map_err(Stop::failed)?);
    let bar = bar(events, "{wide_bar} {human_pos} of {human_len} records")?;
    let mut screen =
        Screen { lines: Lines { out: &mut file, store, printed: BTreeSet::new() }, bar: bar.clone(), told: 0 };
    let Begun { engine, before, loaded, rules, .. } = begun;
    let mut road = Road::new(engine, Some(keep), &mut screen, runtime.handle().clone());
    put_in_force(settings, &mut road, before.as_ref(), loaded, rules)?;
    let origins: Vec<Origin> = (0..PARTITIONS).map(|partition| Origin::topic(TOPIC, partition)).collect();
    for origin in &origins {
        road.keys.insert(origin.clone(), origin.to_string());
        road.turn(now(), Input::Open(origin.clone())).map_err(Stop::failed)?;
    }
    // Record number n goes to partition n modulo their number, so the ends are known before anything is produced.
    let count = |partition: i64| (events as i64 - partition + i64::from(PARTITIONS) - 1) / i64::from(PARTITIONS);
    let until = origins.iter().enumerate().map(|(index, origin)| (origin.clone(), count(index as i64))).collect();
    let broker = MockCluster::new(1).map_err(Stop::failed)?;
    broker.create_topic(TOPIC, PARTITIONS, 1).map_err(Stop::failed)?;
    let read_bytes = Arc::new(ReadBytes::default());
    let producer = produce(dir.join("events.jsonl.zst"), broker.bootstrap_servers(), read_bytes.clone());
    // They are open already: nothing has to be said of them.
    let begin = Begin { positions: origins.iter().cloned().map(|origin| (origin, 0)).collect(), ..Begin::default() };
    let kafka = Kafka::start(&plan(&broker.bootstrap_servers())?, begin).map_err(Stop::failed)?;
    let mut source = Followed { kafka, read: read_bytes, bar: bar.clone() };
    let stop = AtomicBool::new(false);
    let mut orders = Orders {
        stop: &stop,
        hints: &|topic| Hints::new(topic),
        age: Duration::from_secs(5),
        until: Some(until),
        beside: &mut Alone,
        clock: &now,
    };
    read(&mut road, &mut source, &mut orders).map_err(Stop::failed)?;
    Box::new(source.kafka).close(Duration::from_secs(5));
    producer.join().map_err(|_| Stop::Failed("the producer of the demo stopped".to_owned()))?.map_err(Stop::Failed)?;
    road.close(now()).map_err(Stop::failed)?;
    bar.finish_and_clear();
    let (tally, keep) = (road.tally.clone(), road.keep.take());
    drop(road);
    if let (Some(keep), Some(store)) = (&keep, &screen.lines.store) {
        drain::printed(&keep.history, store, &screen.lines.printed, now())?;
    }
    let told = screen.told;
    file.flush().map_err(Stop::failed)?;
    Ok(Shown { tally, told })
}

/// Nothing is done beside the reading.
struct Alone;

impl Beside for Alone {}

/// Bytes that were read of each partition.
#[derive(Default)]
struct ReadBytes([AtomicI64; PARTITIONS as usize]);

/// The source, with a look at how far it is.
struct Followed {
    kafka: Kafka,
    read: Arc<ReadBytes>,
    bar: ProgressBar,
}

impl Source for Followed {
    fn next(&mut self, timeout: Duration) -> Option<Arrival> {
        let arrival = self.kafka.next(timeout);
        if let Some(Arrival::Batch(batch)) = &arrival
            && let Origin::Topic { partition, .. } = batch.origin()
        {
            let bytes: usize = batch.records().map(|record| record.value.map_or(0, <[u8]>::len)).sum();
            self.read.0[*partition as usize].fetch_add(bytes as i64, Ordering::Relaxed);
            self.bar.inc(batch.len() as u64);
        }
        arrival
    }

    fn pause(&mut self, origins: &[Origin]) {
        self.kafka.pause(origins);
    }

    fn resume(&mut self, origins: &[Origin]) {
        self.kafka.resume(origins);
    }

    fn commit_hint(&mut self, positions: &BTreeMap<Origin, i64>) {
        self.kafka.commit_hint(positions);
    }

    fn begin_anew(&mut self, origin: &Origin, log: &LogId, from: i64) {
        self.kafka.begin_anew(origin, log, from);
    }

    fn close(self: Box<Self>, within: Duration) -> bool {
        Box::new(self.kafka).close(within)
    }
}

fn plan(brokers: &str) -> Result<KafkaPlan, Stop> {
    let text = format!("brokers = [{brokers:?}]\ntopics = [{TOPIC:?}]\n");
    let settings: KafkaSettings = toml::from_str(&text).map_err(Stop::failed)?;
    settings.check(Path::new("demo")).map_err(Stop::Problems)
}

/// Produces the lines of a file on a thread of its own, never more than the mock keeps ahead of the reader.
fn produce(file: PathBuf, brokers: String, read: Arc<ReadBytes>) -> JoinHandle<Result<(), String>> {
    std::thread::spawn(move || {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("acks", "all").set("linger.ms", "20");
        let producer: BaseProducer<DefaultProducerContext> = config.create().map_err(|error| words(&error))?;
        let lines = zstd::Decoder::new(File::open(file).map_err(|e| words(&e))?).map_err(|e| words(&e))?;
        let mut sent = [0_i64; PARTITIONS as usize];
        for (number, line) in BufReader::new(lines).lines().enumerate() {
            let line = line.map_err(|error| words(&error))?;
            let partition = number % sent.len();
            sent[partition] += line.len() as i64;
            while sent[partition] - read.0[partition].load(Ordering::Relaxed) > AHEAD {
                producer.poll(Duration::from_millis(5));
            }
            let mut record = BaseRecord::<(), str>::to(TOPIC).partition(partition as i32).payload(&line);
            while let Err((_, back)) = producer.send(record) {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
        }
        producer.flush(Duration::from_secs(30)).map_err(|error| words(&error))
    })
}

fn bar(length: u64, template: &str) -> Result<ProgressBar, Stop> {
    let style = ProgressStyle::with_template(template).map_err(Stop::failed)?;
    let bar = if length == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(length) };
    Ok(bar.with_style(style))
}

/// Two questions that a privacy officer would ask next.
fn questions(settings: &Settings, dir: &Path) -> Result<(), Stop> {
    let history = dir.join("history");
    let key = settings.key_source(&history);
    let question = |name: &str, words: &[&str]| {
        let asked = Asked { words: words.iter().map(|word| (*word).to_owned()).collect(), ..Asked::default() };
        super::audit(settings, &history, "ask", &format!("{name} {}", words.join(" ")))?;
        runtime()?.block_on(ask(&history, &key, name, &asked, Format::Table)).map_err(Stop::failed)
    };
    let busiest = "SELECT patient_id, count(DISTINCT actor_id) AS accounts, count(*) AS accesses FROM touches \
                   GROUP BY patient_id ORDER BY accounts DESC, patient_id LIMIT 3";
    println!("\nWhich charts were opened by the most accounts?\n\n{}", question("sql", &[busiest])?.text);
    let unexplained = "SELECT actor_id, fact_role AS role, sum(fact_unexplained) AS unexplained FROM events \
                       WHERE fact_unexplained > 0 AND actor_kind = 'human' GROUP BY actor_id, fact_role ORDER BY unexplained DESC, actor_id LIMIT 5";
    println!(
        "Who opened the most charts that no appointment, order or encounter explains?\n\n{}",
        question("sql", &[unexplained])?.text
    );
    Ok(())
}

fn next(plan: &Plan, dir: &Path) {
    let dir = dir.display();
    println!("Next:");
    println!("  phiwatch alerts --history {dir}/history list");
    println!("  phiwatch ask --history {dir}/history user-timeline ACCOUNT --since 7d");
    println!("  phiwatch simulate --seed {} --users {} --days {} --out elsewhere", plan.seed, plan.users, plan.days);
    println!("  phiwatch scan --rosters elsewhere/rosters elsewhere/events.jsonl.zst      the same alerts, from files");
}
