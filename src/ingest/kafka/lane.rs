//! One partition as the reader sees it: where it stands, what it has collected, and what a survey means for it.
//!
//! No client and no clock in here: every function gets what it judges by, so that the rules can be tested without a broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrival::{RawBatch, RawRecord};
use super::settings::Batching;
use super::survey::Log;
use crate::event::Origin;

/// After this time without progress a partition that has lag is assigned anew.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// One partition.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) origin: Origin,
    /// First offset not read.
    pub(super) wanted: i64,
    /// The client was told to read it.
    pub(super) assigned: bool,
    /// The log is another one: nothing is read until a person decides.
    pub(super) stopped: bool,
    /// The pipeline wants no more for now.
    pub(super) paused: bool,
    batch: Option<(RawBatch, Instant)>,
    /// The end at which it stands, and the survey that first said so.
    standing: Option<(i64, Instant)>,
    /// When the last record was taken.
    taken: Option<Instant>,
    /// The last survey saw a log that ends before `wanted`.
    doubted: bool,
    /// Since when `wanted` has been what it is, as far as surveys know.
    unmoved: (i64, Instant),
}

/// What a survey means for a lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is more to read.
    Behind,
    /// Everything has been read, and for how long it has been so.
    AtEnd {
        /// The end.
        offset: i64,
        /// Between the first and the last survey that saw it there.
        stood: Duration,
    },
    /// The records from `wanted` to here are lost.
    Lost {
        /// First offset that still exists.
        low: i64,
    },
    /// The log ends before `wanted`, for the first time: to be asked again at once.
    Doubtful,
    /// The log ends before `wanted`, and did so before: it is another log.
    Shorter,
    /// There is more to read, but nothing came for long.
    Stalled,
}

impl Lane {
    pub(super) fn new(topic: &Arc<str>, partition: i32, wanted: i64, now: Instant) -> Lane {
        let origin = Origin::Topic { topic: topic.clone(), partition };
        let (topic, batch, standing) = (topic.clone(), None, None);
        let (assigned, stopped, paused, doubted, taken, unmoved) = (false, false, false, false, None, (wanted, now));
        Lane { topic, partition, origin, wanted, assigned, stopped, paused, batch, standing, taken, doubted, unmoved }
    }

    /// Takes a record if it is one that is wanted; returns a batch that is full.
    pub(super) fn take(&mut self, record: RawRecord<'_>, limits: &Batching, now: Instant) -> Option<RawBatch> {
        if self.stopped || record.offset < self.wanted {
            return None;
        }
        let (batch, _) = self.batch.get_or_insert_with(|| (RawBatch::new(self.origin.clone(), self.wanted), now));
        batch.push(record);
        self.wanted = batch.to();
        self.taken = Some(now);
        (batch.len() >= limits.rows || batch.size() >= limits.bytes).then(|| self.cut()).flatten()
    }

    /// Ends the open batch and hands it out.
    pub(super) fn cut(&mut self) -> Option<RawBatch> {
        self.batch.take().map(|(batch, _)| batch)
    }

    /// Gives the open batch up and stops for good; what was in it counts as not read.
    pub(super) fn stop(&mut self) {
        if let Some((batch, _)) = self.batch.take() {
            self.wanted = batch.from();
        }
        self.stopped = true;
    }

    /// When the open batch was opened.
    pub(super) fn opened(&self) -> Option<Instant> {
        self.batch.as_ref().map(|(_, opened)| *opened)
    }

    /// Goes on at `offset`.
    pub(super) fn skip_to(&mut self, offset: i64) {
        self.wanted = offset;
        self.standing = None;
    }

    /// What `log` means, as it was at `asked`.
    ///
    /// `position` is how far the client has handed out, transaction markers included. `idle` says that nothing keeps the lane from
    /// reading, so that standing still means something.
    pub(super) fn judge(&mut self, log: Log, position: i64, asked: Instant, idle: bool) -> Verdict {
        let reached = position.max(self.wanted);
        if self.unmoved.0 != reached || !idle {
            self.unmoved = (reached, asked);
        }
        // Records that were taken after the broker was asked may lie behind the end that it named: that says nothing.
        let is_shorter = log.high < self.wanted;
        let is_known = self.taken.is_none_or(|taken| taken < asked);
        let doubted = std::mem::replace(&mut self.doubted, is_shorter && is_known);
        if is_shorter {
            self.standing = None;
            return match (is_known, doubted) {
                (false, _) => Verdict::Behind,
                (true, false) => Verdict::Doubtful,
                (true, true) => Verdict::Shorter,
            };
        }
        if reached < log.low {
            return Verdict::Lost { low: log.low };
        }
        if reached < log.high {
            self.standing = None;
            let still = asked.saturating_duration_since(self.unmoved.1);
            return if still >= STALLED { Verdict::Stalled } else { Verdict::Behind };
        }
        // What comes after this has not been waited for yet.
        self.unmoved = (reached, asked);
        let since = match self.standing {
            Some((offset, since)) if offset == reached => since,
            _ => asked,
        };
        self.standing = Some((reached, since));
        Verdict::AtEnd { offset: reached, stood: asked.saturating_duration_since(since) }
    }

    /// First offset that was not read, with the transaction markers that were passed as of the last survey.
    pub(super) fn reached(&self) -> i64 {
        if self.stopped { self.wanted } else { self.unmoved.0.max(self.wanted) }
    }

    /// It was assigned anew: the watch begins again.
    pub(super) fn watch_again(&mut self, now: Instant) {
        self.unmoved.1 = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    fn lane(wanted: i64, now: Instant) -> Lane {
        Lane::new(&"t".into(), 0, wanted, now)
    }

    fn log(low: i64, high: i64) -> Log {
        Log { low, high, start: low }
    }

    const LIMITS: Batching = Batching { rows: 3, bytes: 10, millis: 1, waiting: 1 };

    #[test]
    fn batches_are_chained_and_skip_what_is_not_wanted() {
        let now = Instant::now();
        let mut lane = lane(5, now);
        let mut batches = Vec::new();
        for (offset, size) in [(3, 1), (4, 1), (5, 1), (5, 1), (6, 1), (9, 1), (10, 11), (11, 1), (10, 1)] {
            let value = vec![b'x'; size];
            batches.extend(lane.take(RawRecord { offset, at: None, value: Some(&value) }, &LIMITS, now));
        }
        batches.extend(lane.cut());
        let shape: Vec<_> = batches.iter().map(|b| (b.from(), b.to(), b.len())).collect();
        assert_eq!(shape, vec![(5, 10, 3), (10, 11, 1), (11, 12, 1)]);
        assert_eq!(lane.wanted, 12);
        lane.stopped = true;
        assert_eq!(lane.take(RawRecord { offset: 12, at: None, value: None }, &LIMITS, now), None);
        assert_eq!((lane.wanted, lane.cut()), (12, None));
    }

    #[test]
    fn a_survey_is_judged() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut lane = lane(10, start);
        assert_eq!(lane.judge(log(0, 20), -1, at(0), true), Behind);
        assert_eq!(lane.judge(log(0, 10), -1, at(1), true), AtEnd { offset: 10, stood: Duration::ZERO });
        assert_eq!(lane.judge(log(0, 10), -1, at(61), true), AtEnd { offset: 10, stood: Duration::from_secs(60) });
        // A transaction marker was passed: another end, and the time begins again.
        assert_eq!(lane.judge(log(0, 11), 11, at(62), true), AtEnd { offset: 11, stood: Duration::ZERO });
        assert_eq!(lane.judge(log(12, 20), 11, at(63), true), Lost { low: 12 });
        lane.skip_to(12);
        assert_eq!(lane.judge(log(12, 20), -1, at(64), true), Behind);
        // The markers of a transaction and nothing else were deleted: no record was lost.
        assert_eq!(lane.judge(log(15, 15), 15, at(64), true), AtEnd { offset: 15, stood: Duration::ZERO });
        assert_eq!((lane.wanted, lane.reached()), (12, 15));
        assert_eq!(lane.judge(log(0, 11), -1, at(65), true), Doubtful);
        assert_eq!(lane.judge(log(0, 12), -1, at(66), true), AtEnd { offset: 12, stood: Duration::ZERO });
        assert_eq!(lane.judge(log(0, 11), -1, at(67), true), Doubtful);
        assert_eq!(lane.judge(log(0, 11), -1, at(68), true), Shorter);
    }

    #[test]
    fn an_end_from_before_the_last_record_says_nothing() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut lane = lane(10, start);
        let take = |lane: &mut Lane, offset, now| {
            lane.take(RawRecord { offset, at: None, value: Some(b"x") }, &LIMITS, now);
        };
        // Records come all the time, and each answer is a little old when it is looked at.
        for number in 0..100_i64 {
            let now = at(number as u64 * 10);
            take(&mut lane, 10 + number, now + Duration::from_millis(5));
            assert_eq!(lane.judge(log(0, 10 + number), -1, now, true), Behind, "{number}");
        }
        assert_eq!(lane.wanted, 110);
        // Nothing came since: this log has lost its end.
        assert_eq!(lane.judge(log(0, 60), -1, at(2_000), true), Doubtful);
        assert_eq!(lane.judge(log(0, 60), -1, at(2_001), true), Shorter);
    }

    #[test]
    fn standing_still_with_lag_is_noticed_unless_something_holds_it() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut lane = lane(10, start);
        assert_eq!(lane.judge(log(0, 20), -1, at(59), true), Behind);
        assert_eq!(lane.judge(log(0, 20), -1, at(60), true), Stalled);
        lane.watch_again(at(60));
        assert_eq!(lane.judge(log(0, 20), -1, at(61), true), Behind);
        assert_eq!(lane.judge(log(0, 20), -1, at(200), false), Behind);
        assert_eq!(lane.judge(log(0, 20), -1, at(259), true), Behind);
        assert_eq!(lane.judge(log(0, 20), -1, at(260), true), Stalled);
        // It stood at its end for long: a record that has only just come is not waited for yet.
        lane.skip_to(20);
        assert_eq!(lane.judge(log(0, 20), -1, at(270), true), AtEnd { offset: 20, stood: Duration::ZERO });
        let stood = Duration::from_secs(600);
        assert_eq!(lane.judge(log(0, 20), -1, at(870), true), AtEnd { offset: 20, stood });
        assert_eq!(lane.judge(log(0, 21), -1, at(871), true), Behind);
        assert_eq!(lane.judge(log(0, 21), -1, at(929), true), Behind);
        assert_eq!(lane.judge(log(0, 21), -1, at(930), true), Stalled);
    }
}
