//! Which sources a day has heard of: what a silent one would have told is missing from the day, and nobody was less busy for that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::stats::delayed::{Delayed, Learn};
use crate::event::Day;

/// Half-life of what is learnt of a source's part, in days on which anything was seen.
const HALF_LIFE_DAYS: f64 = 14.0;
/// A source with a smaller part of all records moves no surge.
const PART_MIN: f64 = 0.02;
/// It is silent where it told less than this part of what the other sources let expect.
const SILENT_PART: f64 = 0.25;
/// Fewer expected records may be missing by chance.
const EXPECTED_MIN: f64 = 20.0;
/// Names are what records say: a day with so many says nothing of any, whatever the order in which they came.
const SOURCES_MAX: usize = 256;

/// Records of a day by source.
type Counts = BTreeMap<String, u64>;

/// Records by source, of open days and as they usually are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Sources {
    open: BTreeMap<Day, Counts>,
    usual: Delayed<Parts>,
}

/// What part of a day's records each source usually has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Parts(BTreeMap<String, f64>);

impl Learn for Parts {
    type Step = Counts;
    fn fold(&mut self, _: Day, step: &Counts) {
        let keep = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        let first = self.0.is_empty();
        let all = step.values().sum::<u64>().max(1) as f64;
        self.0.values_mut().for_each(|part| *part *= keep);
        for (source, count) in step {
            let today = *count as f64 / all;
            *self.0.entry(source.clone()).or_default() += if first { today } else { (1.0 - keep) * today };
        }
        self.0.retain(|_, part| *part >= PART_MIN / 10.0);
    }
}

impl Sources {
    /// Counts a record.
    pub(super) fn add(&mut self, day: Day, source: &str) {
        let counts = self.open.entry(day).or_default();
        if let Some(count) = counts.get_mut(source) {
            *count += 1;
        } else if counts.len() < SOURCES_MAX {
            counts.insert(source.to_owned(), 1);
        }
    }

    /// Whether a source that usually tells much has told little or nothing of a day, as far as the other sources let judge.
    pub(super) fn is_blind(&self, day: Day) -> bool {
        let none = Counts::new();
        let counts = self.open.get(&day).unwrap_or(&none);
        let all = counts.values().sum::<u64>() as f64;
        counts.len() < SOURCES_MAX
            && self.usual.for_day(day).0.iter().any(|(source, part)| {
                let told = counts.get(source).copied().unwrap_or(0) as f64;
                let expected = (all - told) * part / (1.0 - part).max(0.01);
                *part >= PART_MIN && expected >= EXPECTED_MIN && told < SILENT_PART * expected
            })
    }

    /// Learns from a day that settles. One that stays silent is no longer expected after some weeks.
    pub(super) fn settle(&mut self, day: Day) {
        if let Some(counts) = self.open.remove(&day).filter(|counts| counts.len() < SOURCES_MAX) {
            self.usual.teach(day, counts);
        }
    }

    /// Forgets every day up to `through`.
    pub(super) fn forget(&mut self, through: Day) {
        self.open = self.open.split_off(&through.plus(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three sources of 60, 30 and 10 records for each of ten days, then a day with these.
    fn check(counts: [u64; 3], blind: bool) {
        let mut sources = Sources::default();
        let add = |sources: &mut Sources, day: Day, counts: [u64; 3]| {
            for (source, count) in ["ehr", "lab", "pacs"].iter().zip(counts) {
                (0..10 * count).for_each(|_| sources.add(day, source));
            }
        };
        for day in (0..10).map(Day) {
            add(&mut sources, day, [60, 30, 10]);
            assert!(!sources.is_blind(day));
            sources.settle(day);
        }
        add(&mut sources, Day(12), counts);
        assert_eq!(sources.is_blind(Day(12)), blind, "{counts:?}");
    }

    #[test]
    fn a_silent_source_makes_a_day_blind() {
        check([60, 30, 10], false);
        // Everybody is half as busy, or the laboratory alone.
        check([30, 15, 5], false);
        check([60, 15, 10], false);
        check([60, 0, 10], true);
        check([60, 5, 10], true);
        // Too few are missing to say so; the others tell of nothing.
        check([1, 0, 1], false);
        check([0, 0, 0], false);
    }
}
