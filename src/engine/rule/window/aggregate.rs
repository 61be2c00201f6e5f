//! What is known of the hits inside one window as it slides: hits are added at its end and removed at its beginning.
//!
//! A step costs the logarithm of the window's size at most, and every aggregate depends on the hits alone, not on the way by which
//! the window came to hold them: counts are whole, sums are exact.

use std::collections::HashMap;

use super::GRADES;
use super::condition::{BILLION, Condition, Quantity, billionths};
use super::correlation::{Correlation, Kind};
use super::read::mix;
use crate::engine::stats::numbered::Numbered;

/// Up to so many distinct values are searched one by one: nearly all windows are small, and a table for each would be large.
const FEW: usize = 16;

/// What an aggregate has to know of a hit.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Its time.
    pub time: i64,
    /// Which of the correlation's rules matched.
    pub position: u8,
    /// Hash of the value that is counted, or bits of the number that is summed.
    pub value: u64,
    /// The request that it is one report of; 0 where it stands for itself.
    pub request: u64,
    /// How grave it is.
    pub grade: u8,
}

impl Point {
    /// The number that is summed, in billionths. Only finite numbers become hits.
    pub fn units(self) -> i128 {
        billionths(f64::from_bits(self.value)).unwrap_or_default()
    }

    /// What it is one of several reports of: a hit of the same rule with the same value for the same request.
    fn report(self) -> u64 {
        mix(mix(self.request, u64::from(self.position)), self.value)
    }
}

/// The aggregate of one window, in which the reports of one request count once.
#[derive(Debug, Clone)]
pub struct Aggregate {
    held: Held,
    /// How often each request is reported.
    reports: Counts,
    /// Hits of each grade.
    grades: [u32; GRADES],
}

impl Aggregate {
    /// The aggregate of a window without hits; `numbers` are all those that will ever be added, which only percentiles need.
    pub fn new(correlation: &Correlation, numbers: &mut dyn Iterator<Item = Point>) -> Aggregate {
        Aggregate { held: Held::new(correlation, numbers), reports: Counts::Few(Vec::new()), grades: [0; GRADES] }
    }

    /// Adds a hit that is not earlier than any other; where [`Aggregate::is_reversible`], any hit.
    pub fn add(&mut self, hit: Point) {
        self.grades[usize::from(hit.grade)] += 1;
        // A chain asks when something happened, and a second report changes nothing else in it.
        if hit.request == 0 || !self.is_reversible() || self.reports.add(hit.report()) {
            self.held.add(hit);
        }
    }

    /// Removes a hit that was added.
    pub fn remove(&mut self, hit: Point) {
        self.grades[usize::from(hit.grade)] -= 1;
        if hit.request == 0 || !self.is_reversible() || self.reports.remove(hit.report()) {
            self.held.remove(hit);
        }
    }

    /// Whether hits may be added and removed at both ends.
    pub fn is_reversible(&self) -> bool {
        !matches!(self.held, Held::Chain(_))
    }

    /// The grades of its hits, as bits.
    pub fn grades(&self) -> u8 {
        let bit = |(grade, count): (usize, &u32)| u8::from(*count > 0) << grade;
        self.grades.iter().enumerate().map(bit).sum()
    }

    /// The quantity of the window that begins at `from` if it satisfies the condition.
    pub fn satisfied(&self, correlation: &Correlation, from: i64) -> Option<f64> {
        self.held.satisfied(correlation, from)
    }
}

/// What the hits of one window amount to.
#[derive(Debug, Clone)]
enum Held {
    /// How many hits.
    Events(usize),
    /// How often each value occurs.
    Values(Counts),
    /// Sum in billionths, and how many hits.
    Sum(i128, usize),
    /// The numbers in their order.
    Ranks(Ranks),
    /// How often each rule occurs.
    Occurred(Vec<u32>),
    /// Whether the rules occur in their order.
    Chain(Chain),
}

impl Held {
    fn new(correlation: &Correlation, numbers: &mut dyn Iterator<Item = Point>) -> Held {
        match correlation.kind {
            Kind::EventCount => Held::Events(0),
            Kind::ValueCount => Held::Values(Counts::Few(Vec::new())),
            Kind::ValueSum | Kind::ValueAvg => Held::Sum(0, 0),
            Kind::ValuePercentile(_) => Held::Ranks(Ranks::new(numbers.map(Point::units).collect())),
            Kind::Temporal => Held::Occurred(vec![0; correlation.rules.len()]),
            Kind::TemporalOrdered => Held::Chain(Chain::new(correlation.rules.len())),
        }
    }

    fn add(&mut self, hit: Point) {
        match self {
            Held::Events(count) => *count += 1,
            Held::Values(counts) => _ = counts.add(hit.value),
            Held::Sum(units, count) => (*units, *count) = (*units + hit.units(), *count + 1),
            Held::Ranks(ranks) => ranks.add(hit.units(), 1),
            Held::Occurred(counts) => counts[usize::from(hit.position)] += 1,
            Held::Chain(chain) => chain.add(hit),
        }
    }

    fn remove(&mut self, hit: Point) {
        match self {
            Held::Events(count) => *count -= 1,
            Held::Values(counts) => _ = counts.remove(hit.value),
            Held::Sum(units, count) => (*units, *count) = (*units - hit.units(), *count - 1),
            Held::Ranks(ranks) => ranks.add(hit.units(), -1),
            Held::Occurred(counts) => counts[usize::from(hit.position)] -= 1,
            // A chain that begins before the window is told apart by its time.
            Held::Chain(_) => {}
        }
    }

    fn satisfied(&self, correlation: &Correlation, from: i64) -> Option<f64> {
        let quantity = self.quantity(correlation, from)?;
        let occurred = |position: u8| match self {
            Held::Occurred(counts) => counts[usize::from(position)] > 0,
            Held::Chain(chain) => chain.last[usize::from(position)] >= from,
            _ => false,
        };
        // An expression may leave rules out; the order is asked of all of them nevertheless.
        let in_order = match (self, &correlation.condition) {
            (Held::Chain(chain), Condition::Expression(_)) => chain.is_whole(from),
            _ => true,
        };
        (in_order && correlation.condition.holds(quantity, &occurred)).then(|| quantity.value())
    }

    fn quantity(&self, correlation: &Correlation, from: i64) -> Option<Quantity> {
        match (self, correlation.kind) {
            (Held::Events(count), _) => Some(Quantity::count(*count)),
            (Held::Values(counts), _) => Some(Quantity::count(counts.len())),
            (Held::Sum(_, 0), _) => None,
            (Held::Sum(units, count), Kind::ValueAvg) => {
                Some(Quantity { units: *units, per: BILLION * *count as i128 })
            }
            (Held::Sum(units, _), _) => Some(Quantity { units: *units, per: BILLION }),
            (Held::Ranks(ranks), Kind::ValuePercentile(percentile)) => ranks.percentile(percentile),
            (Held::Ranks(_), _) => None,
            (Held::Occurred(counts), _) => Some(Quantity::count(counts.iter().filter(|count| **count > 0).count())),
            (Held::Chain(chain), _) => Some(Quantity::count(if chain.is_whole(from) { chain.last.len() } else { 0 })),
        }
    }
}

/// How often each value occurs.
#[derive(Debug, Clone)]
pub enum Counts {
    /// A list, while it is short.
    Few(Vec<(u64, u32)>),
    /// A table, never gone through.
    Many(HashMap<u64, u32, Numbered>),
}

impl Counts {
    fn len(&self) -> usize {
        match self {
            Counts::Few(list) => list.len(),
            Counts::Many(table) => table.len(),
        }
    }

    /// Adds a value; whether it was not there.
    fn add(&mut self, value: u64) -> bool {
        let before = self.len();
        match self {
            Counts::Few(list) => match list.iter().position(|(known, _)| *known == value) {
                Some(at) => list[at].1 += 1,
                None if list.len() < FEW => list.push((value, 1)),
                None => {
                    let mut table: HashMap<u64, u32, Numbered> = list.drain(..).collect();
                    table.insert(value, 1);
                    *self = Counts::Many(table);
                }
            },
            Counts::Many(table) => *table.entry(value).or_default() += 1,
        }
        self.len() > before
    }

    /// Removes a value that was added; whether none is left of it.
    fn remove(&mut self, value: u64) -> bool {
        let before = self.len();
        match self {
            Counts::Few(list) => {
                let at = list.iter().position(|(known, _)| *known == value).expect("it was added");
                list[at].1 -= 1;
                if list[at].1 == 0 {
                    list.swap_remove(at);
                }
            }
            Counts::Many(table) => {
                let count = table.get_mut(&value).expect("it was added");
                *count -= 1;
                if *count == 0 {
                    table.remove(&value);
                }
            }
        }
        self.len() < before
    }
}

/// Numbers in their order: how many there are of each, as a Fenwick tree over all that may ever come.
#[derive(Debug, Clone)]
pub struct Ranks {
    numbers: Vec<i128>,
    tree: Vec<i64>,
    count: usize,
}

impl Ranks {
    fn new(mut numbers: Vec<i128>) -> Ranks {
        numbers.sort_unstable();
        numbers.dedup();
        Ranks { tree: vec![0; numbers.len() + 1], numbers, count: 0 }
    }

    fn add(&mut self, number: i128, times: i64) {
        let mut at = 1 + self.numbers.binary_search(&number).expect("all numbers were announced");
        while at < self.tree.len() {
            self.tree[at] += times;
            at += at & at.wrapping_neg();
        }
        self.count = self.count.strict_add_signed(times as isize);
    }

    /// The number at a rank from 0.
    fn at(&self, rank: usize) -> i128 {
        let (mut at, mut left) = (0, rank as i64);
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            if at + step < self.tree.len() && self.tree[at + step] <= left {
                at += step;
                left -= self.tree[at];
            }
            step /= 2;
        }
        self.numbers[at]
    }

    /// Between the two nearest ranks: rank `p / 100 * (n - 1)`, counted from 0.
    fn percentile(&self, percentile: u8) -> Option<Quantity> {
        let rank = usize::from(percentile) * self.count.checked_sub(1)?;
        let (lower, part) = (rank / 100, (rank % 100) as i128);
        let below = self.at(lower);
        let above = if part > 0 { self.at(lower + 1) } else { below };
        Some(Quantity { units: below * (100 - part) + above * part, per: 100 * BILLION })
    }
}

/// For each rule the latest beginning of a chain of all rules up to it, in order of time.
#[derive(Debug, Clone)]
pub struct Chain {
    begins: Vec<i64>,
    last: Vec<i64>,
}

impl Chain {
    fn new(rules: usize) -> Chain {
        Chain { begins: vec![i64::MIN; rules], last: vec![i64::MIN; rules] }
    }

    fn add(&mut self, hit: Point) {
        let first = usize::from(hit.position);
        self.last[first] = hit.time;
        for position in first..self.last.len() {
            // Rules that have a hit at this very time go on with the chain, whichever was added first.
            if self.last[position] != hit.time {
                break;
            }
            let before = if position == 0 { hit.time } else { self.begins[position - 1] };
            self.begins[position] = self.begins[position].max(before);
        }
    }

    fn is_whole(&self, from: i64) -> bool {
        // Nothing has begun at the smallest time.
        self.begins.last().is_some_and(|begins| *begins >= from && *begins > i64::MIN)
    }
}
