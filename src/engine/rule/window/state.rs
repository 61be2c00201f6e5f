//! The groups of one correlation.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Evidence;
use super::answer::{Answer, Stage, crossings};
use super::condition::billionths;
use super::correlation::{Correlation, Kind};
use super::group::{Group, Hit, Key, Reached};
use super::limits::{LeftOut, Limits};
use super::read;
use crate::engine::stats::numbered::Numbered;
use crate::event::time::{DAY, DAY_STARTS_AT, HOUR};
use crate::event::{Day, Time};

/// No zone is further ahead of UTC than this.
const ZONE_AHEAD_MAX: i64 = 16 * HOUR;

/// See the module. The table is gone through in the order of its hashes only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State<E> {
    groups: HashMap<u64, Group<E>, Numbered>,
    /// Groups with hits that their window has not seen.
    waiting: Vec<u64>,
    /// What was left out.
    pub left_out: LeftOut,
}

impl<E> Default for State<E> {
    fn default() -> State<E> {
        State { groups: HashMap::default(), waiting: Vec::new(), left_out: LeftOut::default() }
    }
}

impl<E: Evidence> State<E> {
    /// Takes up a hit of a group.
    pub fn insert(
        &mut self,
        correlation: &Correlation,
        limits: &Limits,
        hash: u64,
        key: &Key,
        hit: Hit<E>,
        crosses: bool,
    ) {
        if self.groups.len() >= limits.groups && !self.groups.contains_key(&hash) {
            self.left_out.hits_of_new_groups += 1;
            return;
        }
        let group = self.groups.entry(hash).or_insert_with(|| Group::new(key.clone()));
        let number = (correlation.kind == Kind::ValueSum).then(|| billionths(f64::from_bits(hit.value)));
        group.has_negative |= number.flatten().is_some_and(|units| units < 0);
        group.insert(correlation, hit, limits.hits_a_day, &mut self.left_out);
        if crosses && !group.is_waiting {
            group.is_waiting = true;
            self.waiting.push(hash);
        }
    }

    /// Whether the event of a hit counts in its group by another of the rules.
    pub fn counts_already(&self, correlation: &Correlation, hash: u64, hit: &Hit<E>) -> bool {
        let is_same = |known: &Hit<E>| known.position != hit.position && known.value == hit.value;
        correlation.rules.len() > 1
            && !correlation.kind.asks_which()
            && self.groups.get(&hash).is_some_and(|group| group.holds(hit, &is_same))
    }

    /// Takes up an event that ended a satisfied window below, once.
    pub fn insert_passed(&mut self, correlation: &Correlation, limits: &Limits, key: &Key, hit: Hit<E>, crosses: bool) {
        let hash = read::hash(key.iter().map(Option::as_deref));
        let is_same = |known: &Hit<E>| known.position == hit.position || !correlation.kind.asks_which();
        if !self.groups.get(&hash).is_some_and(|group| group.holds(&hit, &is_same)) {
            self.insert(correlation, limits, hash, key, hit, crosses);
        }
    }

    /// Brings every window to its newest hit; gives the hits that are passed on.
    pub fn advance(&mut self, correlation: &Correlation, settled: Option<Day>, passes_on: bool) -> Vec<Hit<E>> {
        self.waiting.sort_unstable();
        let mut passed = Vec::new();
        for hash in &self.waiting {
            let group = self.groups.get_mut(hash).expect("a waiting group is kept");
            passed.append(&mut group.advance(correlation, settled, passes_on));
        }
        passed
    }

    /// Tells what has crossed since it was last asked.
    pub fn tell_crossed(&mut self, number: usize, correlation: &Correlation, tell: &mut dyn FnMut(&Answer<'_, E>)) {
        for hash in std::mem::take(&mut self.waiting) {
            let group = self.groups.get_mut(&hash).expect("a waiting group is kept");
            group.is_waiting = false;
            if group.has_negative {
                continue;
            }
            let all = group.records().iter().flat_map(|record| record.reached.iter().map(move |one| (record, one)));
            for (record, reached) in all.filter(|(_, reached)| crossings(correlation, reached) > reached.told) {
                tell(&Answer::new(number, correlation, Stage::Crossing, group, (record, reached)));
            }
            group.note_told(correlation);
        }
    }

    fn hashes(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> = self.groups.keys().copied().collect();
        hashes.sort_unstable();
        hashes
    }

    /// Goes through the windows of days that settle where that was not done as hits came; gives the hits that are passed on.
    pub fn review(
        &mut self,
        correlation: &Correlation,
        crosses: bool,
        settled: Option<Day>,
        day: Day,
        passes_on: bool,
    ) -> Vec<Hit<E>> {
        let mut passed = Vec::new();
        for hash in self.hashes() {
            let group = self.groups.get_mut(&hash).expect("its hash was just read");
            if !crosses || group.has_negative {
                passed.append(&mut group.review(correlation, settled, day, passes_on));
            }
        }
        passed
    }

    /// Tells what the settled days have come to.
    pub fn tell_settled(
        &self,
        number: usize,
        correlation: &Correlation,
        day: Day,
        tell: &mut dyn FnMut(&Answer<'_, E>),
    ) {
        for hash in self.hashes() {
            let group = &self.groups[&hash];
            let is_told = |reached: &&Reached| reached.first.is_some() || reached.told > 0;
            for record in group.records().iter().filter(|record| record.day <= day) {
                for reached in record.reached.iter().filter(is_told) {
                    tell(&Answer::new(number, correlation, Stage::Settled, group, (record, reached)));
                }
            }
        }
    }

    /// Forgets what no window of a day after `settled` can hold.
    pub fn forget(&mut self, correlation: &Correlation, settled: Day) {
        let next = i64::from(settled.0) + 1;
        let earliest = next * DAY + i64::from(DAY_STARTS_AT) * HOUR - ZONE_AHEAD_MAX;
        let bound = Time(earliest.saturating_sub(correlation.span));
        self.groups.retain(|_, group| {
            group.forget(settled, bound);
            !group.is_empty()
        });
        self.waiting.retain(|hash| self.groups.contains_key(hash));
    }

    /// Hits that are kept.
    pub fn hits(&self) -> usize {
        self.groups.values().map(Group::len).sum()
    }
}
