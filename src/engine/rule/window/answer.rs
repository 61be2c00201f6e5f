//! What the windows say of a group and day, and of one of those whom its windows are about.

use super::Evidence;
use super::correlation::Correlation;
use super::group::{Group, Hit, Key, Reached, Record};
use crate::event::{Day, Time};

/// When an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Inside the day.
    Crossing,
    /// The day has settled.
    Settled,
}

/// What has become of a group on a day.
///
/// It speaks of one window of the day, among those with the gravest event: of quantities that only grow the largest one, the first where
/// several are equal; of all others the first that was satisfied.
pub struct Answer<'a, E> {
    /// Which correlation, as in `Windows::correlations`.
    pub number: usize,
    /// The correlation.
    pub correlation: &'a Correlation,
    /// Crossing or settled.
    pub stage: Stage,
    /// The day in which the windows end.
    pub day: Day,
    /// Whom the windows are about.
    pub about: u64,
    /// False only at settling, where a sum crossed before a negative number came: it would not have.
    pub is_satisfied: bool,
    /// The quantity of the window.
    pub value: f64,
    /// The largest quantity of the day over the threshold; 1 where there is nothing to be a multiple of.
    pub ratio: f64,
    /// The grades of the events in satisfied windows of the day, as bits.
    pub grades: u8,
    /// End of the first satisfied window of the day.
    pub first: Time,
    /// Where the window begins.
    pub from: Time,
    /// Where it ends.
    pub to: Time,
    /// Hits of the group and day beyond the limit: above zero, the answer is of those before them.
    pub left_out: u64,
    group: &'a Group<E>,
}

impl<'a, E: Evidence> Answer<'a, E> {
    pub(super) fn new(
        number: usize,
        correlation: &'a Correlation,
        stage: Stage,
        group: &'a Group<E>,
        (record, reached): (&Record, &Reached),
    ) -> Answer<'a, E> {
        Answer {
            number,
            correlation,
            stage,
            day: record.day,
            about: reached.about,
            is_satisfied: reached.first.is_some(),
            value: reached.value,
            ratio: ratio(correlation, reached.most),
            grades: reached.grades,
            first: reached.first.unwrap_or(reached.end),
            from: Time(correlation.from(reached.end.0)),
            to: reached.end,
            left_out: record.left_out,
            group,
        }
    }

    /// The values of the group's fields, in the order of `group_by`.
    pub fn group(&self) -> &'a Key {
        &self.group.key
    }

    /// The event that ends the window, of those whom it is about the last one.
    pub fn last(&self) -> Option<&'a E> {
        let ends = |hit: &&Hit<E>| hit.time == self.to && hit.about == self.about;
        self.group.window(self.correlation, self.to).filter(ends).map(|hit| &hit.evidence).max()
    }

    /// The events of the window, each once, by time and evidence.
    pub fn evidence(&self) -> Vec<(Time, &'a E)> {
        let hits = self.group.window(self.correlation, self.to);
        let mut events: Vec<(Time, &E)> = hits.map(|hit| (hit.time, &hit.evidence)).collect();
        events.sort_unstable();
        events.dedup();
        events
    }
}

/// A ratio, doubled for each grade beyond the first, so that what is graver is told at once.
pub fn doubled(ratio: f64, grades: u8) -> f64 {
    ratio * f64::from(1_u32 << grades.count_ones().saturating_sub(1))
}

/// A quantity over the threshold.
fn ratio(correlation: &Correlation, value: f64) -> f64 {
    let threshold = correlation.threshold().filter(|threshold| *threshold > 0);
    threshold.map_or(1.0, |threshold| value / threshold as f64)
}

/// Crossings to tell: one at the threshold and one more for each doubling, and for each further grade.
pub fn crossings(correlation: &Correlation, reached: &Reached) -> u32 {
    if reached.first.is_none() {
        return 0;
    }
    1 + doubled(ratio(correlation, reached.most), reached.grades).max(1.0).log2().floor() as u32
}
