//! The budget as a threshold: α of a day, set from settled days so that the expected rate of budgeted alerts is the one asked.
//!
//! With honest p-values the expected number of alerts is α times the number of tests. A slow control corrects what calibration
//! misses (`notes/detection.md`, section 5.9): it moves by at most a twentieth a day, within a factor of four, and stands still in a
//! storm. Whatever passes α is told at once; the day's count never changes it.
//!
//! What cannot be judged yet will be: it counts as tested, and that little is told meanwhile loosens nothing. Else the days on which a
//! detector begins to speak would meet a threshold that was made without it.

use serde::{Deserialize, Serialize};

use super::stats::delayed::{Delayed, Learn};
use crate::event::Day;

/// Before anything has settled: two tests for each active account.
const TESTS_PER_USER: f64 = 2.0;
/// Until a week has settled, what is missing of it counts as such days: the first day may hold a few hours only.
const START_DAYS: f64 = 7.0;
const HALF_LIFE_DAYS: f64 = 14.0;
const STORM: f64 = 2.0;
/// Where more than this part of all tests cannot be made yet, the threshold is not loosened.
const YOUNG: f64 = 0.25;

/// The thresholds of a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alphas {
    /// A budgeted finding passes at or below it.
    pub told: f64,
    /// A budgeted finding is held at or below it.
    pub held: f64,
}

/// What one settled day teaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BudgetStep {
    /// Alerts that the site asked for on such a day.
    pub target: f64,
    /// Subject-days judged by a p-value.
    pub tests: f64,
    /// Subject-days of which a detector does not know enough yet.
    pub unjudged: f64,
    /// Budgeted alerts that passed at settling, as far as they tell of the calibration.
    pub told: f64,
    /// The largest surge factor.
    pub surge: f64,
}

/// What is learnt about tests and alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    as_of: Option<Day>,
    target: f64,
    tests: f64,
    weight: f64,
    log_control: f64,
}

impl Learn for Rates {
    type Step = BudgetStep;

    fn fold(&mut self, day: Day, step: &BudgetStep) {
        let passed = self.as_of.map_or(0.0, |before| f64::from(day.0 - before.0));
        let keep = 0.5_f64.powf(passed / HALF_LIFE_DAYS);
        self.as_of = Some(day);
        self.target = keep * self.target + step.target;
        let all = step.tests + step.unjudged;
        self.tests = keep * self.tests + all;
        self.weight = keep * self.weight + 1.0;
        let miss = (step.target - step.told) / step.target.max(1.0);
        let is_young = step.unjudged > YOUNG * all;
        if step.surge < STORM && (miss < 0.0 || !is_young) {
            self.log_control = (self.log_control + 0.05 * miss.clamp(-1.0, 1.0)).clamp(-4_f64.ln(), 4_f64.ln());
        }
    }
}

/// The thresholds, by day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Budget(Delayed<Rates>);

impl Budget {
    /// The thresholds of `day`, where the site asks for `per_1000` alerts per 1,000 users and day.
    pub fn alphas(&self, day: Day, per_1000: f64) -> Alphas {
        let rates = self.0.for_day(day);
        let start = per_1000 / 1_000.0 / TESTS_PER_USER;
        let missing = (START_DAYS - rates.weight).max(0.0);
        let usual = if rates.weight > 0.0 { rates.target / rates.weight } else { 1.0 };
        let (target, tests) = (rates.target + missing * usual, rates.tests + missing * usual / start);
        let told = (target / tests.max(1.0) * rates.log_control.exp()).clamp(1e-9, 0.05);
        Alphas { told, held: 4.0 * told }
    }

    /// Notes a settled day.
    pub fn teach(&mut self, day: Day, step: BudgetStep) {
        self.0.teach(day, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(days: i32, step: BudgetStep, low: f64, high: f64) {
        let mut budget = Budget::default();
        (0..days).for_each(|day| budget.teach(Day(day), step));
        let told = budget.alphas(Day(days + 3), 2.0).told;
        assert!((low..=high).contains(&told), "{step:?} after {days} days: {told}");
    }

    #[test]
    fn the_threshold_follows_tests_and_alerts() {
        let step = |target, tests, told, surge| BudgetStep { target, tests, unjudged: 0.0, told, surge };
        check(0, step(2.0, 1_000.0, 2.0, 1.0), 0.000_999, 0.001_001);
        check(60, step(2.0, 1_000.0, 2.0, 1.0), 0.001_9, 0.002_1);
        check(60, step(2.0, 1_000.0, 0.0, 1.0), 0.007, 0.008_1);
        check(60, step(2.0, 1_000.0, 9.0, 1.0), 0.000_49, 0.000_52);
        check(60, step(2.0, 1_000.0, 900.0, 2.5), 0.001_9, 0.002_1);
    }

    /// Half of the tests are not made yet and little is told: the threshold is that of all of them, and is tightened alone.
    #[test]
    fn a_young_site_loosens_nothing() {
        let step = |told| BudgetStep { target: 2.0, tests: 500.0, unjudged: 500.0, told, surge: 1.0 };
        check(16, step(0.0), 0.001_9, 0.002_1);
        check(16, step(9.0), 0.000_88, 0.000_92);
    }
}
