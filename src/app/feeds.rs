//! What `run` reads: Kafka, a drop folder, or both, as one source.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::event::Origin;
use crate::ingest::inbox::Inbox;
use crate::ingest::kafka::{Arrival, Kafka, LogId, Source};

/// How long one of two is waited for before the other is asked.
const SLICE: Duration = Duration::from_millis(20);

/// Both sources; one of them is there at least.
pub(super) struct Feeds {
    /// The topics.
    pub kafka: Option<Kafka>,
    /// The drop folder.
    pub inbox: Option<Inbox>,
    /// Whose turn it is.
    files_first: bool,
}

impl Feeds {
    pub(super) fn new(kafka: Option<Kafka>, inbox: Option<Inbox>) -> Feeds {
        Feeds { kafka, inbox, files_first: false }
    }

    fn ask(&mut self, files: bool, timeout: Duration) -> Option<Arrival> {
        if files { self.inbox.as_ref()?.next(timeout) } else { self.kafka.as_mut()?.next(timeout) }
    }
}

impl Source for Feeds {
    /// Each is asked in turn, so that one that always has something does not keep the other waiting.
    fn next(&mut self, timeout: Duration) -> Option<Arrival> {
        if self.kafka.is_none() || self.inbox.is_none() {
            return self.ask(self.kafka.is_none(), timeout);
        }
        let began = Instant::now();
        loop {
            self.files_first = !self.files_first;
            let first = self.ask(self.files_first, Duration::ZERO);
            let left = timeout.saturating_sub(began.elapsed());
            let found = first.or_else(|| self.ask(!self.files_first, left.min(SLICE)));
            if found.is_some() || left.is_zero() {
                return found;
            }
        }
    }

    fn pause(&mut self, origins: &[Origin]) {
        let topics = topics(origins);
        self.kafka.iter_mut().for_each(|kafka| kafka.pause(&topics));
        self.inbox.iter().for_each(|inbox| inbox.pause(origins));
    }

    fn resume(&mut self, origins: &[Origin]) {
        let topics = topics(origins);
        self.kafka.iter_mut().for_each(|kafka| kafka.resume(&topics));
        self.inbox.iter().for_each(|inbox| inbox.resume(origins));
    }

    fn commit_hint(&mut self, positions: &BTreeMap<Origin, i64>) {
        let topics = positions.iter().filter(|(origin, _)| !origin.is_file());
        let topics = topics.map(|(origin, position)| (origin.clone(), *position)).collect();
        self.kafka.iter_mut().for_each(|kafka| kafka.commit_hint(&topics));
    }

    fn recorded(&mut self, files: &[Origin]) {
        self.inbox.iter().for_each(|inbox| inbox.recorded(files));
    }

    fn begin_anew(&mut self, origin: &Origin, log: &LogId, from: i64) {
        self.kafka.iter_mut().for_each(|kafka| kafka.begin_anew(origin, log, from));
    }

    /// Closes both, as far as that can be waited for.
    fn close(self: Box<Self>, within: Duration) -> bool {
        let Feeds { kafka, inbox, .. } = *self;
        let inbox = inbox.is_none_or(|inbox| inbox.close(within));
        kafka.is_none_or(|kafka| Box::new(kafka).close(within)) && inbox
    }
}

/// Kafka is asked for nothing that it cannot know.
fn topics(origins: &[Origin]) -> Vec<Origin> {
    origins.iter().filter(|origin| !origin.is_file()).cloned().collect()
}
