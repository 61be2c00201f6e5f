//! What is learnt of everybody about absence: how usual use is, how often long absences end, and when the log was silent.

use serde::{Deserialize, Serialize};

use super::HALF_LIFE_DAYS;
use crate::engine::stats::delayed::{DELAY, Learn};
use crate::event::Day;

/// Improbability of a gap, in powers of ten, by bin.
const BINS: usize = 16;
const BIN_WIDTH: f64 = 2.0;
/// Before any absence was seen to end: a tenth of one in a hundred account-days.
const PRIOR_ENDS: f64 = 0.1;
const PRIOR_ACTIVE: f64 = 100.0;
/// Days on which nobody was seen are an outage of the log where they are so many together; a closed weekend is not.
const OUTAGE_DAYS: i32 = 4;

/// What is learnt of everybody: active accounts against accounts that might have been, absences that ended, and outages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Everybody {
    /// Accounts that were active and those that were not, by day: on days from Monday to Friday and at weekends.
    came: [[f64; 2]; 2],
    /// Absences that ended, after earlier use and without any, by how improbable they were.
    ends: [[f64; BINS]; 2],
    /// Account-days among which they were seen.
    watched: f64,
    /// The newest day on which anybody was seen.
    last: Option<Day>,
    /// First and last day of each stretch without anybody, oldest first.
    outages: Vec<(Day, Day)>,
}

/// What one settled day teaches about everybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EverybodyStep {
    pub(super) active: f64,
    pub(super) idle: f64,
    /// Absences that ended: whether without any earlier use, and the bin.
    pub(super) ends: Vec<(bool, u8)>,
}

impl Learn for Everybody {
    type Step = EverybodyStep;
    fn fold(&mut self, day: Day, step: &EverybodyStep) {
        self.came.iter_mut().flatten().for_each(|days| *days *= 0.97);
        let came = &mut self.came[usize::from(day.weekday() >= 5)];
        (came[0], came[1]) = (came[0] + step.active, came[1] + step.idle);
        let keep = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        self.ends.iter_mut().flatten().for_each(|ends| *ends *= keep);
        step.ends.iter().for_each(|(never, bin)| self.ends[usize::from(*never)][usize::from(*bin)] += 1.0);
        self.watched = keep * self.watched + step.active;
        self.outages.extend(self.silence(day));
        if self.outages.len() > OUTAGES_MAX {
            self.outages.remove(0);
        }
        self.last = Some(day);
    }
}

/// Outages that are remembered.
const OUTAGES_MAX: usize = 32;

/// Fewer account-days say nothing of how usual use is.
const KNOWN_MIN: f64 = 50.0;

impl Everybody {
    /// Share of accounts that are active on a working day.
    pub(super) fn rate(&self) -> f64 {
        let [active, idle] = self.came[0];
        if active + idle < KNOWN_MIN { 0.5 } else { (active / (active + idle)).clamp(0.05, 0.95) }
    }

    /// How eligible a day off is (`notes/detection.md`, section 5.4): use on it against use on a working day, at most 1.
    pub(super) fn eligible_off(&self) -> f64 {
        let [work, off] = self.came.map(|[active, idle]| (active / (active + idle).max(1e-9), active + idle));
        if work.1 < KNOWN_MIN || off.1 < KNOWN_MIN || work.0 <= off.0 { 1.0 } else { (off.0 / work.0).max(0.05) }
    }

    /// Whether the log was silent on a day before `day`, as far as `day` may know it.
    pub(super) fn is_silent(&self, on: Day, day: Day) -> bool {
        let now = self.silence(day.plus(1 - DELAY));
        self.outages.iter().chain(&now).any(|(first, last)| (*first..=*last).contains(&on))
    }

    /// The stretch without anybody that ends before `until`, where it is an outage.
    fn silence(&self, until: Day) -> Option<(Day, Day)> {
        let first = self.last?.plus(1);
        (until.0 - first.0 >= OUTAGE_DAYS).then_some((first, until.plus(-1)))
    }

    /// Share of account-days on which an absence as improbable as `p` ends.
    pub(super) fn rank(&self, never_used: bool, p: f64) -> f64 {
        let ends: f64 = self.ends[usize::from(never_used)][usize::from(bin(p))..].iter().sum();
        ((ends + PRIOR_ENDS) / (self.watched + PRIOR_ACTIVE)).min(1.0)
    }
}

/// The bin of a gap's improbability.
pub(super) fn bin(p: f64) -> u8 {
    ((-p.max(1e-300).log10() / BIN_WIDTH) as usize).min(BINS - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(days: impl IntoIterator<Item = i32>, ends: &[(bool, u8)]) -> Everybody {
        let mut everybody = Everybody::default();
        for day in days {
            let step = EverybodyStep { active: 50.0, idle: 50.0, ends: ends.to_vec() };
            everybody.fold(Day(day), &step);
        }
        everybody
    }

    #[test]
    fn absences_that_end_every_day_are_no_news() {
        let quiet = seen(0..100, &[]);
        let busy = seen(0..100, &[(false, bin(1e-4))]);
        assert!(quiet.rank(false, 1e-5) < 1e-4);
        // One in fifty account-days, and none of them as improbable as the last.
        assert!((0.01..0.03).contains(&busy.rank(false, 1e-4)));
        assert!(busy.rank(false, 1e-9) < 1e-4 && busy.rank(true, 1e-4) < 1e-4);
        assert!(Everybody::default().rank(false, 1e-9) <= 1e-3, "the first site's first absence is told");
    }

    #[test]
    fn a_silent_log_is_nobodys_absence() {
        // Seen on days 0 to 9 and 60 to 70: the silence lasted from 10 to 59.
        let before = seen(0..10, &[]);
        let silent_days = |known: &Everybody, from: i32, day: i32| {
            (from + 1..day).filter(|on| known.is_silent(Day(*on), Day(day))).count()
        };
        assert_eq!(silent_days(&before, 5, 60), 48, "the two days before today are not known yet");
        let after = seen((0..10).chain(60..71), &[]);
        for (from, to, silent) in [(5, 70, 50), (30, 70, 29), (5, 40, 30), (60, 70, 0), (0, 10, 0)] {
            assert_eq!(silent_days(&after, from, to), silent, "from {from} to {to}");
        }
        // A clinic that is closed at weekends and for a long one.
        let weekends = seen((0..60).filter(|day| day % 7 < 5 && *day != 21), &[]);
        assert_eq!(silent_days(&weekends, 0, 60), 0);
    }

    /// Half come on working days, and at weekends one in ten, or as many: 1970-01-05 was a Monday.
    #[test]
    fn days_off_are_as_eligible_as_others_come() {
        for (at_weekends, eligible) in [(10.0, 0.2), (50.0, 1.0), (90.0, 1.0), (0.0, 0.05)] {
            let mut everybody = Everybody::default();
            assert_eq!((everybody.eligible_off(), everybody.rate()), (1.0, 0.5));
            for day in 4..104 {
                let active = if Day(day).weekday() >= 5 { at_weekends } else { 50.0 };
                everybody.fold(Day(day), &EverybodyStep { active, idle: 100.0 - active, ends: vec![] });
            }
            assert!((everybody.rate() - 0.5).abs() < 1e-9, "{}", everybody.rate());
            assert!((everybody.eligible_off() - eligible).abs() < 1e-9, "{at_weekends}: {}", everybody.eligible_off());
        }
    }
}
