//! The hits of one group in the order of time, a window that slides over them, and what each open day has come to.
//!
//! Windows end in hits, and hits of the same time are seen together. A quantity that only grows is followed as hits come: the window
//! stands behind the newest hit, and a hit that comes late draws it back to its place. What a day's record says of such a quantity
//! (its first satisfied window, its largest value) can only be confirmed or exceeded by more hits, so it is exact whenever the window
//! has come to the end. All other quantities are gone through once, when their day settles.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Evidence;
use super::aggregate::{Aggregate, Point};
use super::answer::crossings;
use super::correlation::Correlation;
use super::limits::LeftOut;
use crate::event::{Day, Time};

/// The values of a group's fields; an absent field is a value of its own.
pub type Key = Box<[Option<Box<str>>]>;

/// What an event is to a correlation above the one that it was offered to; all of it is read from the event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link<E> {
    /// Its groups there.
    pub keys: Vec<Key>,
    /// The local day that it belongs to there.
    pub day: Day,
    /// Whom a window is about that ends with it.
    pub about: u64,
    /// Leads back to the event.
    pub evidence: E,
}

/// What an event is to each of the correlations above.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Above<E>(pub Vec<Link<E>>);

/// A match of a base rule as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hit<E> {
    /// When.
    pub time: Time,
    /// The local day that it belongs to.
    pub day: Day,
    /// Which of the correlation's rules matched.
    pub position: u8,
    /// Hash of the value that is counted, or bits of the number that is summed.
    pub value: u64,
    /// The request that it is one report of, as [`super::request`] says; 0 where it stands for itself.
    pub request: u64,
    /// Whom a window is about that ends with it, as a hash.
    pub about: u64,
    /// Whatever leads back to the event.
    pub evidence: E,
    /// It ended a satisfied window, and the correlations above have had it.
    pub passed_on: bool,
    /// What it is to the correlations above; behind a pointer, since most correlations have none above them.
    pub above: Option<Box<Above<E>>>,
}

impl<E: Evidence> Hit<E> {
    fn point(&self) -> Point {
        let grade = self.evidence.grade();
        Point { time: self.time.0, position: self.position, value: self.value, request: self.request, grade }
    }
}

/// What one day of a group has come to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The day.
    pub day: Day,
    /// Hits that are kept.
    kept: usize,
    /// Hits beyond the limit.
    pub left_out: u64,
    /// Its satisfied windows, by whom they are about.
    pub reached: Vec<Reached>,
}

/// What the windows of one day of a group have come to that are about the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reached {
    /// Whom they are about.
    pub about: u64,
    /// End of the first satisfied window.
    pub first: Option<Time>,
    /// The grade of the gravest of their events.
    pub grade: u8,
    /// The largest quantity of a satisfied window with such an event; where quantities do not only grow, that of the first one.
    pub value: f64,
    /// Where that window ends.
    pub end: Time,
    /// The largest quantity of any of them, where quantities only grow.
    pub most: f64,
    /// The grades of their events, as bits.
    pub grades: u8,
    /// Crossings told: one, and one more for each doubling.
    pub told: u32,
}

impl Reached {
    fn new(about: u64) -> Reached {
        let (value, most) = (0.0, f64::NEG_INFINITY);
        Reached { about, first: None, grade: 0, value, end: Time::MIN, most, grades: 0, told: 0 }
    }
}

/// A window behind the newest hit that was seen.
#[derive(Debug, Clone)]
struct Window {
    /// The first hit in it.
    tail: usize,
    aggregate: Aggregate,
}

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group<E> {
    /// The values of its fields.
    pub key: Key,
    hits: VecDeque<Hit<E>>,
    /// By day.
    records: Vec<Record>,
    /// Hits that the window has seen; the others come after them.
    seen: usize,
    /// It is on the list of those that have to be gone through.
    pub is_waiting: bool,
    /// A negative number was summed: from then on it is judged at settling only.
    pub has_negative: bool,
    /// Made anew from the hits where it is missing.
    #[serde(skip)]
    window: Option<Window>,
}

impl<E: Evidence> Group<E> {
    /// A group without hits.
    pub fn new(key: Key) -> Group<E> {
        Group {
            key,
            hits: VecDeque::new(),
            records: Vec::new(),
            seen: 0,
            is_waiting: false,
            has_negative: false,
            window: None,
        }
    }

    /// Nothing is kept of it any more.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty() && self.records.is_empty()
    }

    /// The days that have hits.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// All crossings have been told.
    pub fn note_told(&mut self, correlation: &Correlation) {
        for reached in self.records.iter_mut().flat_map(|record| &mut record.reached) {
            reached.told = reached.told.max(crossings(correlation, reached));
        }
    }

    /// Hits that are kept.
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// Whether the event of a hit is there already, by a hit that counts as the same.
    pub fn holds(&self, hit: &Hit<E>, is_same: &dyn Fn(&Hit<E>) -> bool) -> bool {
        let from = self.hits.partition_point(|known| known.time < hit.time);
        let mut same_time = self.hits.range(from..).take_while(|known| known.time == hit.time);
        same_time.any(|known| is_same(known) && known.evidence == hit.evidence)
    }

    /// Takes up a hit. Of each day the first `limit` in the order of time are kept.
    pub fn insert(&mut self, correlation: &Correlation, hit: Hit<E>, limit: usize, left_out: &mut LeftOut) {
        let (time, day) = (hit.time, hit.day);
        let at_record = self.record(day);
        if self.records[at_record].kept >= limit {
            left_out.hits += 1;
            self.records[at_record].left_out += 1;
            let last = self.hits.iter().rposition(|hit| hit.day == day).expect("the day has hits");
            if self.hits[last].time <= time {
                return;
            }
            self.draw_back(correlation, last, self.hits[last].time.0);
            self.hits.remove(last);
            self.records[at_record].kept -= 1;
        }
        let is_newest = self.hits.back().is_none_or(|newest| newest.time <= time);
        let at = if is_newest { self.hits.len() } else { self.hits.partition_point(|earlier| earlier.time <= time) };
        self.draw_back(correlation, at, time.0);
        self.hits.insert(at, hit);
        self.records[at_record].kept += 1;
    }

    /// Where the record of a day stands.
    fn record(&mut self, day: Day) -> usize {
        // The newest day is asked for nearly always.
        let at = self.records.iter().rposition(|record| record.day <= day);
        match at {
            Some(at) if self.records[at].day == day => at,
            _ => {
                let at = at.map_or(0, |at| at + 1);
                self.records.insert(at, Record { day, kept: 0, left_out: 0, reached: Vec::new() });
                at
            }
        }
    }

    /// Makes room at `at` for a hit of this time: the window then stands before it, and holds what its window holds of the hits before it.
    fn draw_back(&mut self, correlation: &Correlation, at: usize, time: i64) {
        if at > self.seen {
            return;
        }
        let from = correlation.from(time);
        let is_in_order = |window: &Window| window.tail == 0 || self.hits[window.tail - 1].time.0 < from;
        if at == self.seen && self.window.as_ref().is_none_or(is_in_order) {
            return;
        }
        let Some(window) = self.window.as_mut().filter(|window| window.aggregate.is_reversible()) else {
            (self.window, self.seen) = (None, at);
            return;
        };
        while self.seen > at {
            self.seen -= 1;
            if self.seen >= window.tail {
                window.aggregate.remove(self.hits[self.seen].point());
            }
        }
        window.tail = window.tail.min(at);
        while window.tail > 0 && self.hits[window.tail - 1].time.0 >= from {
            window.tail -= 1;
            window.aggregate.add(self.hits[window.tail].point());
        }
    }

    /// Lets the window slide to the newest hit; gives the hits that now stand at the end of a satisfied window and have not been
    /// passed on, if any correlation wants them.
    pub fn advance(&mut self, correlation: &Correlation, settled: Option<Day>, passes_on: bool) -> Vec<Hit<E>> {
        let mut passed = Vec::new();
        if self.seen < self.hits.len() {
            let window = self.window.take().unwrap_or_else(|| self.window_at(correlation, self.seen));
            let (end, open) = (self.hits.len(), |day: Day| settled.is_none_or(|settled| day > settled));
            self.window = Some(self.slide(correlation, window, end, &open, passes_on.then_some(&mut passed)));
        }
        passed
    }

    /// Goes through the windows that end in the days after `settled` up to `day`, and writes their records anew.
    pub fn review(
        &mut self,
        correlation: &Correlation,
        settled: Option<Day>,
        day: Day,
        passes_on: bool,
    ) -> Vec<Hit<E>> {
        let within = |of: Day| of <= day && settled.is_none_or(|settled| of > settled);
        for record in self.records.iter_mut().filter(|record| within(record.day)) {
            record.reached.iter_mut().for_each(|reached| reached.first = None);
        }
        let mut passed = Vec::new();
        let first = self.hits.iter().position(|hit| within(hit.day));
        let last = self.hits.iter().rposition(|hit| within(hit.day));
        if let Some((first, last)) = first.zip(last) {
            let window = self.window_at(correlation, first);
            let seen = std::mem::replace(&mut self.seen, first);
            self.slide(correlation, window, last + 1, &within, passes_on.then_some(&mut passed));
            self.seen = seen;
        }
        passed
    }

    /// A window that holds what the window which ends in the hit at `at` holds of the hits before it.
    fn window_at(&self, correlation: &Correlation, at: usize) -> Window {
        // Hits of one time are seen together.
        let from = correlation.from(self.hits[at].time.0);
        let tail = self.hits.partition_point(|hit| hit.time.0 < from).min(at);
        let mut aggregate = Aggregate::new(correlation, &mut self.hits.iter().map(Hit::point));
        self.hits.range(tail..at).for_each(|hit| aggregate.add(hit.point()));
        Window { tail, aggregate }
    }

    /// Lets a window slide to the hit before `end`, and writes what it comes to into the records of the days asked for.
    fn slide(
        &mut self,
        correlation: &Correlation,
        mut window: Window,
        end: usize,
        days: &dyn Fn(Day) -> bool,
        mut passed: Option<&mut Vec<Hit<E>>>,
    ) -> Window {
        while self.seen < end {
            let time = self.hits[self.seen].time;
            let from = correlation.from(time.0);
            while let Some(hit) = self.hits.get(self.seen).filter(|hit| hit.time == time) {
                window.aggregate.add(hit.point());
                self.seen += 1;
            }
            while self.hits[window.tail].time.0 < from {
                window.aggregate.remove(self.hits[window.tail].point());
                window.tail += 1;
            }
            let Some(value) = window.aggregate.satisfied(correlation, from) else { continue };
            let mut at = self.seen;
            while let Some(before) = at.checked_sub(1).filter(|before| self.hits[*before].time == time) {
                at = before;
                let day = self.hits[at].day;
                if !days(day) {
                    continue;
                }
                self.note(correlation, (day, self.hits[at].about), time, (value, window.aggregate.grades()));
                if let Some(passed) = passed.as_deref_mut().filter(|_| !self.hits[at].passed_on) {
                    self.hits[at].passed_on = true;
                    passed.push(self.hits[at].clone());
                }
            }
        }
        window
    }

    /// A satisfied window about somebody ends at `time`.
    fn note(&mut self, correlation: &Correlation, (day, about): (Day, u64), time: Time, (value, grades): (f64, u8)) {
        let at = self.record(day);
        let all = &mut self.records[at].reached;
        let at = all.binary_search_by_key(&about, |reached| reached.about).unwrap_or_else(|at| {
            all.insert(at, Reached::new(about));
            at
        });
        let (reached, grows) = (&mut all[at], correlation.only_grows());
        if reached.first.is_none() {
            *reached = Reached { told: reached.told, ..Reached::new(about) };
        }
        let grade = grades.checked_ilog2().unwrap_or(0) as u8;
        let is_earlier = time < reached.end;
        let exceeds = if grows { value > reached.value || (value == reached.value && is_earlier) } else { is_earlier };
        if reached.first.is_none() || grade > reached.grade || (grade == reached.grade && exceeds) {
            (reached.grade, reached.value, reached.end) = (grade, value, time);
        }
        reached.most = if grows { reached.most.max(value) } else { reached.value };
        reached.grades |= grades;
        if reached.first.is_none_or(|first| time < first) {
            reached.first = Some(time);
        }
    }

    /// Forgets the records of days up to `settled`, and the hits before `bound` among those of such days.
    pub fn forget(&mut self, settled: Day, bound: Time) {
        self.records.retain(|record| record.day > settled);
        while self.hits.front().is_some_and(|hit| hit.time < bound && hit.day <= settled) {
            let hit = self.hits.pop_front().expect("there is a first hit");
            if let Some(window) = &mut self.window {
                if window.tail == 0 && self.seen > 0 {
                    window.aggregate.remove(hit.point());
                }
                window.tail = window.tail.saturating_sub(1);
            }
            self.seen = self.seen.saturating_sub(1);
        }
        // Whoever has rested for long has a window of the past, which is made anew when it is needed.
        if self.hits.back().is_none_or(|newest| newest.day <= settled) {
            self.window = None;
        }
        if self.hits.capacity() > 4 * self.hits.len() {
            self.hits.shrink_to(2 * self.hits.len());
        }
    }

    /// The hits of the window that ends at `end`.
    pub fn window(&self, correlation: &Correlation, end: Time) -> impl Iterator<Item = &Hit<E>> {
        let from = self.hits.partition_point(|hit| hit.time.0 < correlation.from(end.0));
        let to = self.hits.partition_point(|hit| hit.time <= end);
        self.hits.range(from..to.max(from))
    }
}
