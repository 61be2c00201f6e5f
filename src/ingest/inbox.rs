//! The drop folder: files that are put there are read by `run` beside Kafka, or in its place.
//!
//! A thread of its own looks, reads and decodes (`reader`); what is to be read and when is `folder`'s. A file is read once it has stood
//! still for a while, and known afterwards by its content, under whatever name it comes again; one that has grown is read on. Files of
//! one time are read side by side by event time, as `scan` reads its inputs, those of later days when time has come there; time does not
//! go beyond where the earliest begins that waits. Nothing is written into the folder; where the settings name a second one, a file is
//! moved there when all of it is on record (`away`).

mod away;
mod folder;
mod open;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::reader::{Command, Reader};
use super::kafka::{Arrival, Depths};
use super::known::KnownFiles;
use super::rosters::FolderError;
use crate::decode::Hints;
use crate::event::Origin;

/// Stretches that may wait for their turn.
const WAITING: usize = 2;

/// `[files]` as it is written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The drop folder: every file in it, and in the folders directly below it, is read once. A relative path begins at the folder of the
    /// settings file.
    pub dir: PathBuf,
    /// Where a file is moved when all of it is on record and it has stood still for six times `quiet`; without it files stay where they
    /// are.
    #[serde(default)]
    pub done: Option<PathBuf>,
    /// For how long a file has to stand still before it is read; `10s` where absent.
    #[serde(default)]
    pub quiet: Option<String>,
}

/// What they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The drop folder.
    pub dir: PathBuf,
    /// Where read files go.
    pub done: Option<PathBuf>,
    /// For how long a file has to stand still.
    pub quiet: Duration,
}

/// What is known of a file's records, by the folder directly below the drop folder that it lies in, and its name.
pub type FileHints = Arc<dyn Fn(Option<&str>, &str) -> Hints + Send + Sync>;

/// How the drop folder stands, for whoever looks on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Files that are there and were not read yet.
    pub waiting: usize,
    /// Why the folder, or one below it, cannot be looked at.
    pub trouble: Option<String>,
    /// Why a file that is on record could not be moved away.
    pub unmoved: Option<String>,
}

/// What was read before.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Whole files.
    pub known: KnownFiles,
    /// How far those are on record that were not read to their ends, by position key.
    pub positions: BTreeMap<String, i64>,
}

impl Before {
    /// Whether any file was read.
    fn has_read(&self) -> bool {
        !self.known.is_empty() || self.positions.keys().any(|key| key.starts_with("file:"))
    }
}

/// A drop folder that is being read.
#[derive(Debug)]
pub struct Inbox {
    first: BTreeSet<Origin>,
    arrivals: Receiver<Arrival>,
    commands: Sender<Command>,
    stop: Arc<AtomicBool>,
    closed: Receiver<()>,
    status: Arc<Mutex<Status>>,
}

impl Inbox {
    /// Begins to read. With `only_first` nothing is read but the files that are there now; each of them ends by an
    /// [`Arrival::FileEnd`]. How far files are goes into `depths` while they are read.
    ///
    /// # Errors
    /// Where the folder cannot be looked at and `only_first` is asked for, or no thread can be started.
    pub fn start(
        plan: &Plan,
        hints: FileHints,
        before: Before,
        depths: Depths,
        only_first: bool,
    ) -> Result<Inbox, FolderError> {
        let first = if only_first { Some(folder::look(plan)?) } else { None };
        let (out, arrivals) = sync_channel(WAITING);
        let (commands, orders) = channel();
        let (done, closed) = channel();
        let (stop, status) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Status>>::default());
        let names = first.iter().flat_map(folder::Found::all).map(|path| open::origin(path)).collect();
        let reader = Reader::new(plan, hints, before, first, (out, orders), (stop.clone(), depths, status.clone()));
        let body = move || {
            reader.run();
            // Nobody may be waiting any more.
            let _ = done.send(());
        };
        std::thread::Builder::new()
            .name("files".to_owned())
            .spawn(body)
            .map_err(|cause| FolderError::Unreadable { path: plan.dir.clone(), cause })?;
        Ok(Inbox { first: names, arrivals, commands, stop, closed, status })
    }

    /// The files that were there at the start, where nothing else is read.
    pub fn first(&self) -> &BTreeSet<Origin> {
        &self.first
    }

    /// How the folder stands.
    pub fn status(&self) -> Arc<Mutex<Status>> {
        self.status.clone()
    }

    /// The next arrival, as soon as there is one, or `None` when `timeout` has passed without any.
    pub fn next(&self, timeout: Duration) -> Option<Arrival> {
        let found = match timeout {
            Duration::ZERO => self.arrivals.try_recv().map_err(|error| error == TryRecvError::Disconnected),
            _ => self.arrivals.recv_timeout(timeout).map_err(|error| error == RecvTimeoutError::Disconnected),
        };
        match found {
            Ok(arrival) => Some(arrival),
            Err(true) if !self.stop.swap(true, Ordering::AcqRel) => Some(Arrival::Fatal {
                what: "the thread that reads files has ended: this is a fault of the program".into(),
            }),
            Err(_) => None,
        }
    }

    /// Gives no more of these for now.
    pub fn pause(&self, origins: &[Origin]) {
        self.order(Command::Pause(origins.to_vec()));
    }

    /// Gives of these again.
    pub fn resume(&self, origins: &[Origin]) {
        self.order(Command::Resume(origins.to_vec()));
    }

    /// Everything of these that went down the road is on record, and what became of them is noted.
    pub fn recorded(&self, origins: &[Origin]) {
        self.order(Command::Recorded(origins.to_vec()));
    }

    fn order(&self, command: Command) {
        // A thread that has ended needs no orders.
        let _ = self.commands.send(command);
    }

    /// Stops and waits at most `within`; whether the thread has ended. What was recorded before is still moved.
    pub fn close(self, within: Duration) -> bool {
        self.stop.store(true, Ordering::Release);
        // Whoever waits for somebody to take a stretch waits no longer.
        drop(self.arrivals);
        self.closed.recv_timeout(within).is_ok()
    }
}

/// The status, whoever has panicked with it.
pub fn status_of(status: &Mutex<Status>) -> Status {
    status.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
