//! The oracle: what can be said exactly of a whole input, worked out slowly and plainly from DESIGN and INTERFACES.
//!
//! It reads the same lines and roster files as the product and shares nothing with it but days, zones and words: it must not import the
//! engine, the rosters or the decoder, and nothing here may be made faster at the price of being less obvious. What needs statistics
//! (whether a count is unusual) it does not judge; how much was counted, by whom, on which day, with which events, it does.

mod days;
mod facts;
mod papers;
mod record;
mod ties;
mod who;

use std::collections::{BTreeMap, BTreeSet};

pub use days::{Account, CAUSES, DayKey, Listed, Sums};
pub use facts::Facts;
pub use papers::Papers;
pub use record::Record;

use crate::event::time::{DAY, HOUR, MINUTE};
use crate::event::{Day, Time};

/// How late records may come (DESIGN, section 5).
const SETTLE: i64 = 36 * HOUR;

/// What becomes of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It cannot be used.
    Reject,
    /// It repeats an earlier one.
    Duplicate,
    /// It is stored.
    Event(Box<Event>),
}

/// A record that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// As it was read.
    pub record: Record,
    /// What the rosters say of it.
    pub facts: Facts,
    /// The subject's local day.
    pub day: Day,
    /// Its identifier was known with other content.
    pub conflict: bool,
    /// Its time lies in the future.
    pub future: bool,
    /// It came after its day had settled.
    pub backfill: bool,
}

/// What is said of a whole input.
pub struct Judgement {
    /// One for each line.
    pub outcomes: Vec<Outcome>,
    /// Each account's days: only what came in time.
    pub days: BTreeMap<DayKey, Sums>,
    /// The first day on which anybody was there.
    pub first_day: Option<Day>,
}

/// Judges the lines of one feed, in the order in which they came.
pub fn judge<L: AsRef<[u8]>>(papers: &Papers, lines: &[L]) -> Judgement {
    let records: Vec<Option<Record>> = lines.iter().map(|line| Record::read(line.as_ref())).collect();
    let usable: Vec<&Record> = records.iter().flatten().collect();
    let (mut known, mut conflicts) = (BTreeMap::<(&str, &str), BTreeSet<String>>::new(), 0);
    let (mut clock, mut place) = (Clock::default(), 0);
    let mut days: BTreeMap<DayKey, Sums> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for record in &records {
        let Some(record) = record else {
            outcomes.push(Outcome::Reject);
            continue;
        };
        place += 1;
        let future = clock.is_future(record, &usable[place..]);
        if !future {
            clock.newest = clock.newest.max(Some(record.time));
            clock.begin(papers);
        }
        let contents = known.entry((&record.source, &record.event_id)).or_default();
        let (conflict, fresh) = (!contents.is_empty(), contents.insert(record.content()));
        if !fresh {
            outcomes.push(Outcome::Duplicate);
            continue;
        }
        conflicts += usize::from(conflict);
        let who = who::who(papers, record);
        let (facts, day) = facts_of(papers, record, &who);
        let backfill = !future && clock.has_settled(papers, day);
        if !future && !backfill {
            days::add(papers, record, &who, &facts, day, &mut days);
        }
        let event = Event { record: record.clone(), facts, day, conflict, future, backfill };
        outcomes.push(Outcome::Event(Box::new(event)));
    }
    let first_day = days.iter().filter(|(_, sums)| sums.window.is_some()).map(|(key, _)| key.day).min();
    days::settle_claims(&mut days);
    debug_assert!(conflicts <= outcomes.len(), "a conflict is a stored record");
    Judgement { outcomes, days, first_day }
}

fn facts_of(papers: &Papers, record: &Record, who: &who::Who<'_>) -> (Facts, Day) {
    let mut facts = Facts::default();
    who::account(papers, record, who, &mut facts);
    who::vendor(papers, record, who, &mut facts);
    ties::patients(papers, record, who, &mut facts);
    let day = who::times(papers, record, who, &mut facts);
    (facts, day)
}

/// How far a feed has come.
#[derive(Default)]
struct Clock {
    newest: Option<Time>,
    /// No day that was over when the feed began can settle any more.
    before: Option<Day>,
}

impl Clock {
    /// Later than its `recorded` by more than ten minutes, or a day beyond everything before and not borne out by what follows.
    fn is_future(&self, record: &Record, following: &[&Record]) -> bool {
        if record.recorded.is_some_and(|recorded| record.time > recorded.plus(10 * MINUTE)) {
            return true;
        }
        if self.newest.is_some_and(|newest| record.time <= newest.plus(DAY)) {
            return false;
        }
        let next = &following[..following.len().min(32)];
        let with = next.iter().filter(|other| other.time >= record.time.plus(-DAY)).count();
        // The first records of a feed, and the last, have fewer witnesses.
        with * 2 < next.len()
            || (next.is_empty() && self.newest.is_some_and(|newest| record.time > newest.plus(400 * DAY)))
    }

    fn begin(&mut self, papers: &Papers) {
        if let (None, Some(newest)) = (self.before, self.newest) {
            let mut day = Day((newest.0 / DAY) as i32 + 2);
            while end(papers, day).plus(SETTLE) > newest {
                day = day.plus(-1);
            }
            self.before = Some(day);
        }
    }

    /// A day settles when time has passed its end, in the zone where it ends last, by 36 hours.
    fn has_settled(&self, papers: &Papers, day: Day) -> bool {
        let over = self.newest.is_some_and(|newest| end(papers, day).plus(SETTLE) <= newest);
        over || self.before.is_some_and(|before| day <= before)
    }
}

fn end(papers: &Papers, day: Day) -> Time {
    papers.zones().iter().map(|zone| zone.day_start(day.plus(1))).max().unwrap_or(Time::MAX)
}
