//! Keeps the history tidy while `run` reads: small files of days that are over become one, and those that nobody reads any more go.
//!
//! The file is written on a thread of its own, a bounded piece at a time; only the commit that puts it in place is on the thread of
//! the loop, between two segments. Today's files are left alone, and nothing begins while there is much to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::event::time::{DAY, MINUTE};
use crate::event::{Day, Time};
use crate::history::{History, HistoryError, Joined};

/// How often it is looked whether there is something to do.
const EVERY: i64 = 5 * MINUTE;
/// Files that nobody reads any more stay for so long: no question takes a week.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// Groups of files that were joined.
    pub joins: u64,
    /// Files that were joined.
    pub files: u64,
    /// Files that were removed.
    pub removed: u64,
}

/// A file that is being written.
type Writing = JoinHandle<Result<Option<Joined>, HistoryError>>;

/// Who does it.
pub(super) struct Upkeep {
    writing: Option<Writing>,
    stop: Arc<AtomicBool>,
    look_at: Time,
    clear_at: Time,
    /// What was done.
    pub done: Done,
}

impl Upkeep {
    /// Begins a while after the start, when the first reading is over.
    pub(super) fn new(now: Time) -> Upkeep {
        let stop = Arc::new(AtomicBool::new(false));
        Upkeep { writing: None, stop, look_at: now.plus(EVERY), clear_at: now.plus(EVERY), done: Done::default() }
    }

    /// Does what can be done at `now`. What fails is tried again later and never ends the reading.
    pub(super) fn turn(&mut self, history: &mut History, busy: bool, now: Time) {
        if let Err(error) = self.step(history, busy, now) {
            warn!(%error, "compaction; it is tried again");
            self.look_at = now.plus(EVERY);
        }
    }

    fn step(&mut self, history: &mut History, busy: bool, now: Time) -> Result<(), HistoryError> {
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            let joined = writing.join().unwrap_or_else(|_| {
                warn!("compaction stopped by a fault of the program");
                Ok(None)
            })?;
            if let Some(joined) = joined {
                let files = Handle::current().block_on(history.exchange(joined))?;
                self.done = Done { joins: self.done.joins + 1, files: self.done.files + files as u64, ..self.done };
                info!(files, "small files of the history were joined");
            }
            // There may be more of the same.
            self.look_at = now;
        }
        if self.writing.is_some() || busy || now < self.look_at {
            return Ok(());
        }
        self.look_at = now.plus(EVERY);
        let today = Day(now.0.div_euclid(DAY) as i32);
        if let Some(join) = history.next_join(|day| day < today)? {
            let stop = self.stop.clone();
            let writing = std::thread::Builder::new().name("compaction".to_owned());
            self.writing = writing.spawn(move || join.write(&stop)).ok();
        } else if now >= self.clear_at {
            self.clear_at = now.plus(DAY);
            let removed = history.clear_away(KEPT)?;
            self.done.removed += removed as u64;
            if removed > 0 {
                info!(removed, "files of the history that nobody reads any more were removed");
            }
        }
        Ok(())
    }
}

impl Drop for Upkeep {
    /// A file that was written in vain is one that no commit names, and is cleared away later.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writing) = self.writing.take() {
            drop(writing.join());
        }
    }
}
