//! The thread that reads: polls the client, fills the lanes, sends what is ready, and acts on surveys.
//!
//! It never waits for the broker longer than one poll, and never for the pipeline: where the pipeline is slow, partitions are paused
//! and polling goes on.

mod surveyed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::arrival::{Arrival, RawRecord};
use super::client::{Consumer, Ear, Limit};
use super::lane::Lane;
use super::log_id::LogId;
use super::outlet::Outlet;
use super::settings::Plan;
use super::survey::Survey;
use super::warden::Wake;
use super::{Begin, Depth, Depths};
use crate::event::{Origin, Time};

/// What the pipeline asks of the reader.
#[derive(Debug)]
pub(super) enum Command {
    Pause(Vec<Origin>),
    Resume(Vec<Origin>),
    Hint(BTreeMap<Origin, i64>),
    Anew(Origin, LogId, i64),
}

/// The longest wait in one poll: within it commands and surveys are seen.
const POLL: Duration = Duration::from_millis(50);
/// The pipeline may be this slow before partitions are paused, which throws away what librdkafka has fetched.
const PATIENCE: Duration = Duration::from_millis(500);

/// The reading side of [`super::Kafka`].
pub(super) struct Reader {
    plan: Plan,
    begin: Begin,
    client: Arc<Consumer>,
    ear: Arc<Ear>,
    out: Outlet,
    /// By topic and partition.
    lanes: Vec<Lane>,
    /// Topics that were seen, or seen to be missing: a partition that appears in them later is new.
    seen: BTreeSet<Arc<str>>,
    /// Partitions that are to be begun anew at these offsets, once a survey has them.
    anew: BTreeMap<Origin, i64>,
    /// All lanes are paused because the pipeline is slow.
    choked: bool,
    /// The client gave up on some partition; the next survey tells which, and the others are assigned anew.
    astray: Option<Instant>,
    /// What the pipeline wants no more of for now, known partitions or not.
    held: BTreeSet<Origin>,
    /// Since when there is trouble, and whether it was told.
    trouble: Option<(Instant, bool)>,
    told: Limit,
    wake: Sender<Wake>,
    surveys: Receiver<Survey>,
    /// How far each partition is, for whoever looks on.
    depths: Depths,
}

impl Reader {
    /// `warden` is how the warden is woken and how it answers.
    pub(super) fn new(
        plan: &Plan,
        begin: Begin,
        (client, ear): (Consumer, Arc<Ear>),
        out: SyncSender<Arrival>,
        (wake, surveys): (Sender<Wake>, Receiver<Survey>),
        depths: Depths,
    ) -> Reader {
        Reader {
            plan: plan.clone(),
            begin,
            client: Arc::new(client),
            ear,
            out: Outlet::new(out),
            lanes: Vec::new(),
            seen: BTreeSet::new(),
            anew: BTreeMap::new(),
            choked: false,
            astray: None,
            held: BTreeSet::new(),
            trouble: None,
            told: Limit::new(Duration::from_secs(60)),
            wake,
            surveys,
            depths,
        }
    }

    /// Reads until it is stopped, nobody listens any more, or the client cannot go on; then closes the client, which may take long.
    pub(super) fn run(mut self, orders: &Receiver<Command>, stop: &AtomicBool) {
        let client = self.client.clone();
        while !stop.load(Ordering::Acquire) {
            let now = Instant::now();
            orders.try_iter().for_each(|command| self.obey(command));
            while let Ok(survey) = self.surveys.try_recv() {
                self.apply(&survey);
                self.sound(&survey);
            }
            self.cut_due(now);
            if self.out.flush(now).is_err() {
                break;
            }
            let waits = self.out.waits(now);
            self.choke(waits.is_some_and(|waits| waits >= PATIENCE));
            if waits.is_some() && !self.choked {
                // What librdkafka has fetched is kept while the pipeline catches up.
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            if !self.read(&client) {
                break;
            }
        }
        // Both ends of the client go here, on this thread: closing may block where brokers are gone. The warden ends by itself after
        // the question that it is at, since nobody takes its answers any more.
    }

    /// One wait and then all that is there, up to a batch; false where the client cannot go on.
    fn read(&mut self, client: &Consumer) -> bool {
        let mut patience = self.patience();
        for _ in 0..self.plan.batch.rows {
            match client.poll(patience) {
                None => break,
                Some(Ok(record)) => self.take(&record),
                Some(Err(error)) => {
                    if !self.failed(&error) {
                        return false;
                    }
                }
            }
            patience = Duration::ZERO;
        }
        true
    }

    /// Notes how far each partition is from the end of its log; one of which the broker said nothing keeps its last end.
    fn sound(&self, survey: &Survey) {
        let mut depths = self.depths.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for lane in &self.lanes {
            let described = survey.topics.get(&lane.topic).and_then(|seen| seen.as_ref().ok());
            let end = described.and_then(|topic| topic.partitions.get(&lane.partition)).map(|log| log.high);
            let depth = depths.entry(lane.origin.clone()).or_insert(Depth { next: 0, end: 0, stopped: false });
            *depth = Depth { next: lane.reached(), end: end.unwrap_or(depth.end), stopped: lane.stopped };
        }
    }

    fn patience(&self) -> Duration {
        if self.choked {
            return Duration::from_millis(5);
        }
        let due = Duration::from_millis(self.plan.batch.millis);
        let oldest = self.lanes.iter().filter_map(Lane::opened).min();
        oldest.map_or(POLL, |opened| due.saturating_sub(opened.elapsed()).min(POLL))
    }

    fn find(&self, topic: &str, partition: i32) -> Result<usize, usize> {
        self.lanes.binary_search_by(|lane| (&*lane.topic, lane.partition).cmp(&(topic, partition)))
    }

    /// Records of partitions that are not ours are left out: a late delivery must not move a position.
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        let Ok(index) = self.find(record.topic(), record.partition()) else {
            return;
        };
        let at = record.timestamp().to_millis().map(|millis| Time(millis.saturating_mul(1_000)));
        let raw = RawRecord { offset: record.offset(), at, value: record.payload() };
        self.out.push_batch(self.lanes[index].take(raw, &self.plan.batch, Instant::now()));
    }

    fn cut_due(&mut self, now: Instant) {
        let due = Duration::from_millis(self.plan.batch.millis);
        for lane in &mut self.lanes {
            if lane.opened().is_some_and(|opened| now.duration_since(opened) >= due) {
                self.out.push_batch(lane.cut());
            }
        }
    }

    /// What the client says instead of a record; false where it cannot go on.
    fn failed(&mut self, error: &KafkaError) -> bool {
        match error {
            KafkaError::PartitionEOF(_) => self.wake(Wake::Ends),
            KafkaError::MessageConsumptionFatal(code) => {
                let what = self.ear.reason().unwrap_or_else(|| code.to_string());
                tracing::error!(group = self.plan.group, "kafka: the client cannot go on: {what}");
                self.out.push(Arrival::Fatal { what });
                // The pipeline may be slow: the last word waits for room as long as somebody listens.
                while self.out.flush(Instant::now()).is_ok() && self.out.waits(Instant::now()).is_some() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                return false;
            }
            // A connection that comes and goes is the warden's to notice: it asks every second anyhow.
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve,
            ) => {}
            _ => {
                self.astray = Some(Instant::now());
                self.wake(Wake::All);
            }
        }
        true
    }

    fn wake(&self, why: Wake) {
        // The warden ends only after the reader.
        let _ = self.wake.send(why);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Pause(origins) => self.set_paused(&origins, true),
            Command::Resume(origins) => self.set_paused(&origins, false),
            Command::Anew(origin, log, from) => self.begin_anew(origin, log, from),
            Command::Hint(positions) => {
                let mut list = TopicPartitionList::new();
                for (origin, position) in &positions {
                    if let Origin::Topic { topic, partition } = origin {
                        // An offset that Kafka cannot hold is no position of ours; the hint may be left out.
                        let _ = list.add_partition_offset(topic, *partition, Offset::Offset(*position));
                    }
                }
                if let Err(error) = self.client.commit(&list, CommitMode::Async) {
                    self.ear.hint_failed(&error);
                }
            }
        }
    }

    fn set_paused(&mut self, origins: &[Origin], paused: bool) {
        for origin in origins {
            if paused {
                self.held.insert(origin.clone());
            } else {
                self.held.remove(origin);
            }
        }
        let mut changed = Vec::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if origins.contains(&lane.origin) && lane.paused != paused {
                lane.paused = paused;
                changed.push(index);
            }
        }
        if !self.choked {
            self.tell_client(&changed, paused);
        }
    }

    fn choke(&mut self, choked: bool) {
        if self.choked != choked {
            self.choked = choked;
            let free: Vec<_> = (0..self.lanes.len()).filter(|index| !self.lanes[*index].paused).collect();
            self.tell_client(&free, choked);
        }
    }

    fn tell_client(&self, lanes: &[usize], pause: bool) {
        let list = self.list(lanes);
        let done = if pause { self.client.pause(&list) } else { self.client.resume(&list) };
        if let Err(error) = done {
            tracing::debug!(group = self.plan.group, "kafka: pause or resume: {error}");
        }
    }

    fn list(&self, lanes: &[usize]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(lanes.len());
        for index in lanes {
            let lane = &self.lanes[*index];
            list.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(lane.wanted))
                .expect("offsets that were read or given are not negative");
        }
        list
    }
}
