//! Stopped partitions on their way back: noted in the control log, and read again once all of the old log has left the engine.
//!
//! A row is stored under the position key that its partition has when it leaves the engine. So the key changes when nothing of the old
//! log is queued any more, and nothing of the new one is read before.

use std::collections::BTreeMap;

use tracing::warn;

use super::Road;
use crate::event::Origin;
use crate::history::Resumed;
use crate::ingest::kafka::{LogId, PositionKey, Source};

/// Partitions that are read again by command.
#[derive(Debug, Default)]
pub(super) struct Anew {
    /// Rows of the old log wait in the engine.
    waiting: BTreeMap<Origin, Resumed>,
    /// The source was asked for them: the key that each has from its first record on.
    keys: BTreeMap<Origin, String>,
}

impl Anew {
    /// This is in the control log.
    pub fn add(&mut self, resumed: Resumed) {
        self.waiting.insert(resumed.origin.clone(), resumed);
    }

    /// Asks the source for those of which nothing is queued any more.
    pub fn turn(&mut self, road: &Road<'_>, source: &mut dyn Source) {
        let queued: BTreeMap<&Origin, usize> =
            road.engine.stands().map(|(origin, stand)| (origin, stand.queued)).collect();
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(origin, _)| queued.get(origin).is_none_or(|rows| *rows == 0));
        self.waiting = waiting;
        let ready: BTreeMap<Origin, Resumed> = ready;
        for (origin, resumed) in ready {
            warn!(%origin, from = resumed.from, "the partition is read again, by command");
            let log = PositionKey::parse(&resumed.key).map_or_else(LogId::default, |key| key.log);
            source.begin_anew(&origin, &log, resumed.from);
            self.keys.insert(origin, resumed.key);
        }
    }

    /// The key of a partition that the source says is new, where somebody has decided about it.
    pub fn key(&mut self, origin: &Origin) -> Option<String> {
        self.keys.remove(origin)
    }
}
