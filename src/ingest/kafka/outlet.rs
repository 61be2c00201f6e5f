//! The way out of the reader: a bounded channel, and what could not be sent yet.
//!
//! Nothing is dropped and nothing overtakes. The reader looks at `waits` and pauses the partitions while it lasts, so that what is kept
//! here stays small.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::arrival::{Arrival, RawBatch};

/// The sending end, which never blocks.
pub(super) struct Outlet {
    sender: SyncSender<Arrival>,
    waiting: VecDeque<Arrival>,
    since: Option<Instant>,
}

/// Nobody listens any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Outlet {
    pub(super) fn new(sender: SyncSender<Arrival>) -> Outlet {
        Outlet { sender, waiting: VecDeque::new(), since: None }
    }

    /// Takes an arrival; [`Outlet::flush`] sends it.
    pub(super) fn push(&mut self, arrival: Arrival) {
        self.waiting.push_back(arrival);
    }

    /// Takes a batch, where there is one.
    pub(super) fn push_batch(&mut self, batch: Option<RawBatch>) {
        self.waiting.extend(batch.map(Arrival::Batch));
    }

    /// Sends as much as there is room for.
    ///
    /// # Errors
    /// Where the receiver is gone.
    pub(super) fn flush(&mut self, now: Instant) -> Result<(), Gone> {
        while let Some(arrival) = self.waiting.pop_front() {
            match self.sender.try_send(arrival) {
                Ok(()) => {}
                Err(TrySendError::Disconnected(_)) => return Err(Gone),
                Err(TrySendError::Full(arrival)) => {
                    self.waiting.push_front(arrival);
                    self.since.get_or_insert(now);
                    return Ok(());
                }
            }
        }
        self.since = None;
        Ok(())
    }

    /// For how long something has been waiting for room; `None` where nothing is.
    pub(super) fn waits(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Origin;
    use crate::ingest::kafka::LogId;
    use std::sync::mpsc::sync_channel;

    fn new(partition: i32) -> Arrival {
        Arrival::NewPartition { origin: Origin::topic("t", partition), log: LogId::default(), from: 0 }
    }

    #[test]
    fn order_is_kept_while_the_channel_is_full() {
        let (sender, receiver) = sync_channel(2);
        let mut outlet = Outlet::new(sender);
        let start = Instant::now();
        for partition in 0..5 {
            outlet.push(new(partition));
            assert_eq!(outlet.flush(start), Ok(()));
        }
        assert_eq!(outlet.waits(start + Duration::from_secs(3)), Some(Duration::from_secs(3)));
        let mut seen = Vec::new();
        while let Ok(arrival) = receiver.try_recv() {
            seen.push(arrival);
            assert_eq!(outlet.flush(start), Ok(()));
        }
        let expected: Vec<_> = (0..5).map(new).collect();
        assert_eq!(seen, expected);
        assert_eq!(outlet.waits(start), None);
        drop(receiver);
        outlet.push(expected[0].clone());
        assert_eq!(outlet.flush(start), Err(Gone));
    }
}
