//! A source for the tests of this module.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::event::Origin;
use crate::ingest::kafka::{Arrival, LogId, Source};

/// Says what is in its list, with a silence for each `None`.
#[derive(Default)]
pub(super) struct Listed<'s> {
    /// What is still to be said.
    pub list: VecDeque<Option<Arrival>>,
    /// Set when it is asked in vain at the end of its list.
    pub ended: Option<&'s AtomicBool>,
}

impl Source for Listed<'_> {
    fn next(&mut self, timeout: Duration) -> Option<Arrival> {
        // Without patience it is asked while something still waits for its turn.
        if let Some(ended) = self.ended.filter(|_| self.list.is_empty() && timeout > Duration::ZERO) {
            ended.store(true, Ordering::Relaxed);
        }
        self.list.pop_front().flatten()
    }

    fn pause(&mut self, _: &[Origin]) {}

    fn resume(&mut self, _: &[Origin]) {}

    fn commit_hint(&mut self, _: &BTreeMap<Origin, i64>) {}

    fn begin_anew(&mut self, _: &Origin, _: &LogId, _: i64) {}

    fn close(self: Box<Self>, _: Duration) -> bool {
        true
    }
}
