//! The Kafka source: all partitions of the topics, from the offsets that the history gives.
//!
//! No group is joined and no offset of Kafka's is trusted: `start` assigns every partition with its start offset, and records below it
//! are skipped whatever the client delivers. One thread reads (`reader`) and never waits for the broker; a second one asks the
//! broker questions (`warden`). `lane` is one partition's state, `settings` what a person may say, `client` how librdkafka is made and
//! heard, `survey` what the broker says of the topics, `log_id` which log a partition is, and `look` serves `check --online` and `peek`.

mod arrival;
mod client;
mod lane;
mod log_id;
mod look;
mod outlet;
mod reader;
mod settings;
mod survey;
mod warden;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use arrival::{Arrival, RawBatch, RawRecord, Source};
pub use client::Failure;
pub use log_id::{LogId, PositionKey};
pub use look::{Peeked, peek, probe};
pub use settings::{Batching, ClientValue, Plan, Settings, Start};
pub use survey::{Log, Survey, Topic, survey};

use crate::event::Origin;
use client::{Ear, consumer};
use reader::{Command, Reader};
use survey::Surveyor;

/// Where reading goes on, as the history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin {
    /// First offset to read of each partition that the pipeline knows. One that is not here is told by [`Arrival::NewPartition`] before
    /// anything else of it. It begins at its beginning where another partition of its topic is here, else where the settings say.
    pub positions: BTreeMap<Origin, i64>,
    /// Those of them that were stopped before: nothing of them is read until a person decides.
    pub stopped: BTreeSet<Origin>,
    /// Which log was read under each topic's name, as far as it is known.
    pub logs: BTreeMap<String, LogId>,
}

/// How far a partition is, as of the broker's last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// First offset that was not read; transaction markers before it were passed.
    pub next: i64,
    /// First offset that does not exist yet; transaction markers count.
    pub end: i64,
    /// It is not read any more until a person decides.
    pub stopped: bool,
}

/// How far every partition is: written by the reader, read by whoever looks on.
pub type Depths = Arc<Mutex<BTreeMap<Origin, Depth>>>;

/// A running Kafka source.
#[derive(Debug)]
pub struct Kafka {
    depths: Depths,
    arrivals: Receiver<Arrival>,
    commands: Sender<Command>,
    stop: Arc<AtomicBool>,
    closed: Receiver<()>,
}

impl Kafka {
    /// Starts to read; the broker need not be there yet.
    ///
    /// # Errors
    /// Where the client or its thread cannot be made; a broker that does not answer is told by [`Arrival::Trouble`].
    pub fn start(plan: &Plan, begin: Begin) -> Result<Kafka, Failure> {
        let ear = Ear::new(&plan.group);
        let client = consumer(&plan.client, &ear).map_err(|error| Failure::Settings(error.to_string()))?;
        let surveyor = Surveyor::new(plan, ear.clone())?;
        let (out, arrivals) = sync_channel(plan.batch.waiting);
        let (commands, orders) = channel();
        let (done, closed) = channel();
        let (wake, woken) = channel();
        let (answers, surveys) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let depths = Depths::default();
        let reader = Reader::new(plan, begin, (client, ear), out, (wake, surveys), depths.clone());
        let stopped = stop.clone();
        thread("kafka-reader", move || {
            reader.run(&orders, &stopped);
            // Nobody may be waiting any more.
            let _ = done.send(());
        })?;
        let plan = plan.clone();
        thread("kafka-warden", move || warden::run(&plan, surveyor, &woken, &answers))?;
        Ok(Kafka { depths, arrivals, commands, stop, closed })
    }

    /// How far every partition is.
    pub fn depths(&self) -> Depths {
        self.depths.clone()
    }

    fn order(&self, command: Command) {
        // A reader that has ended has said so by its last arrival, and needs no orders.
        let _ = self.commands.send(command);
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(|_| ()).map_err(|error| Failure::Settings(format!("no thread can be started: {error}")))
}

impl Source for Kafka {
    fn next(&mut self, timeout: Duration) -> Option<Arrival> {
        self.arrivals.recv_timeout(timeout).ok()
    }

    fn pause(&mut self, origins: &[Origin]) {
        self.order(Command::Pause(origins.to_vec()));
    }

    fn resume(&mut self, origins: &[Origin]) {
        self.order(Command::Resume(origins.to_vec()));
    }

    fn commit_hint(&mut self, positions: &BTreeMap<Origin, i64>) {
        self.order(Command::Hint(positions.clone()));
    }

    fn begin_anew(&mut self, origin: &Origin, log: &LogId, from: i64) {
        self.order(Command::Anew(origin.clone(), log.clone(), from));
    }

    /// Closing may block inside librdkafka where brokers are gone, so it is done on the reader's own thread; after `within` that
    /// thread is left behind, which costs nothing but its memory: no position lies in it.
    fn close(self: Box<Self>, within: Duration) -> bool {
        self.stop.store(true, Ordering::Release);
        self.closed.recv_timeout(within).is_ok()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
