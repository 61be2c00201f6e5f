//! One partition at the gate: what is queued of it, how far its time has come, and whether its next record is believed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::effects::Decoded;
use crate::event::flags::{FUTURE, Flags, UNDECLARED};
use crate::event::time::{DAY, MINUTE};
use crate::event::{Event, Time};

/// A record may be this much later than the time at which its source logged it.
const AHEAD_OF_RECORDED: i64 = 10 * MINUTE;
/// A leap of more than this has to be borne out by the records that follow.
const LEAP: i64 = DAY;
/// A leap of more than this is believed of no last records of a feed: a date with the wrong year is such a leap.
const FAR: i64 = 360 * DAY;
/// How many following records are asked whether a leap is real.
pub(super) const WITNESSES: usize = 32;

/// One partition, or one file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Lane {
    #[serde(skip)]
    pub(super) queue: VecDeque<Decoded>,
    /// Rows of the first stretch that were taken up.
    #[serde(skip)]
    pub(super) row: usize,
    /// Newest time of a row that may move the watermark, the head included.
    pub(super) newest: Option<Time>,
    /// Stands at the end of its log, or was stopped: it holds nobody back.
    pub(super) idle: bool,
    /// Nothing follows what is queued.
    pub(super) ended: bool,
    /// Time does not wait for it although there is more to read: a person decided so, or the site's settings did.
    pub(super) left: bool,
    /// Carries records of undeclared sources: it may have none that moves time.
    pub(super) undeclared: bool,
    /// The head opens a day whose constants are not fixed: it waits for a day to settle, or for time to come here.
    #[serde(skip)]
    pub(super) waiting: Option<Time>,
    /// Too little follows the head to judge its leap.
    #[serde(skip)]
    pub(super) short: bool,
    /// The head waits for what the history says of its identifier.
    #[serde(skip)]
    pub(super) asking: bool,
    /// Of so many rows from the head on it is known what the history says.
    #[serde(skip)]
    pub(super) answered: usize,
    #[serde(skip)]
    pub(super) told_paused: bool,
}

/// What the head of a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Its time counts.
    Moves,
    /// It is stored with these flags and enters no day.
    Flagged(Flags),
    /// Whether its leap is real is not known yet.
    Undecided,
}

/// Whether a record is later than the time at which its source logged it.
pub(super) fn is_ahead(event: &Event<'_>) -> bool {
    event.recorded().is_some_and(|recorded| event.time() > recorded.plus(AHEAD_OF_RECORDED))
}

impl Lane {
    pub(super) fn head(&self) -> Option<Event<'_>> {
        let stretch = self.queue.front()?;
        (self.row < stretch.batch.len()).then(|| stretch.batch.row(self.row))
    }

    /// No row of the first stretch is left.
    pub(super) fn is_spent(&self) -> bool {
        self.queue.front().is_some_and(|stretch| self.row >= stretch.batch.len())
    }

    /// Times of the queued rows after the head.
    pub(super) fn following(&self) -> impl Iterator<Item = Time> {
        let skip = self.row + 1;
        let first =
            self.queue.front().into_iter().flat_map(move |s| (skip..s.batch.len()).map(|i| s.batch.row(i).time()));
        let later = self.queue.iter().skip(1).flat_map(|s| (0..s.batch.len()).map(|i| s.batch.row(i).time()));
        first.chain(later)
    }

    /// Whether the head leaps out of its partition without the following records bearing it out.
    pub(super) fn leap(&self, time: Time) -> Head {
        if self.newest.is_some_and(|newest| time <= newest.plus(LEAP)) {
            return Head::Moves;
        }
        // Those that follow bear it out where they do not lie a day behind it.
        let limit = time.plus(-LEAP).plus(-1);
        let (mut with, mut against) = (0, 0);
        for other in self.following().take(WITNESSES) {
            if other > limit { with += 1 } else { against += 1 }
        }
        let last = self.idle || self.ended;
        // The last records of a feed have few witnesses; a quiet feed may leap by months, a broken clock leaps by years.
        let is_far = self.newest.is_some_and(|newest| time > newest.plus(FAR));
        if with * 2 >= WITNESSES || (last && with >= against && !is_far) {
            Head::Moves
        } else if against * 2 > WITNESSES || last {
            Head::Flagged(FUTURE)
        } else {
            Head::Undecided
        }
    }

    pub(super) fn judge(&self, declared: &dyn Fn(&str) -> bool) -> Option<Head> {
        let event = self.head()?;
        if self.lacks_witnesses(event.offset()) {
            return Some(Head::Undecided);
        }
        if !declared(event.source()) {
            return Some(Head::Flagged(UNDECLARED));
        }
        if is_ahead(&event) {
            return Some(Head::Flagged(FUTURE));
        }
        Some(self.leap(event.time()))
    }

    /// Whether a record of several rows begins at the head of which one may leap, and too little follows the record to judge that by. Its
    /// rows stay together: none of them may ask for more when the others were taken up.
    fn lacks_witnesses(&self, offset: i64) -> bool {
        let Some(batch) = self.queue.front().map(|stretch| &stretch.batch) else { return false };
        let is_of = |row: usize| batch.row(row).offset() == offset;
        let more = (self.row + 1..batch.len()).take_while(|row| is_of(*row)).count();
        let begins = self.row == 0 || !is_of(self.row - 1);
        if more == 0 || !begins || self.idle || self.ended {
            return false;
        }
        let leaps = |time: Time| self.newest.is_none_or(|newest| time > newest.plus(LEAP));
        self.following().take(more).any(leaps) && self.following().skip(more).take(WITNESSES).count() < WITNESSES
    }

    pub(super) fn is_ready(&self) -> bool {
        self.waiting.is_none() && !self.short && !self.asking
    }

    pub(super) fn holds_back(&self) -> bool {
        !self.left && !(self.queue.is_empty() && (self.idle || self.ended))
    }
}
