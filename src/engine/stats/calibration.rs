//! From a score to an honest p-value: how often a score this high is seen among peers (`notes/detection.md`, section 5.9).
//!
//! A score is `-log10` of a model's probability. Its history within a role is a histogram; below the 95th percentile the p-value is
//! the empirical rank, above it an exponential tail with the mean excess, inflated by what few observations cannot know.

use serde::{Deserialize, Serialize};

use super::delayed::Learn;
use crate::event::Day;

const BINS: usize = 64;
/// Width of a bin in units of score; scores above the last bin are learnt as if they lay in it.
const WIDTH: f64 = 0.125;
const HALF_LIFE_DAYS: f64 = 60.0;
/// The group above counts like so many scored account-days of the group itself, and what is shipped like so many of all.
const PARENT_SCORES: f64 = 100.0;
const TAIL: f64 = 0.05;

/// Decayed histogram of a detector's scores in one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreHistory {
    as_of: Day,
    bins: Vec<f32>,
}

/// Scores of one settled day: how many fell into each bin, by first sight. A large group has many scores and few bins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreStep(Vec<(u8, u32)>);

impl ScoreStep {
    /// Whether no score was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a score.
    pub fn add(&mut self, score: f64) {
        let bin = bin(score);
        match self.0.iter_mut().find(|(known, _)| *known == bin) {
            Some((_, count)) => *count += 1,
            None => self.0.push((bin, 1)),
        }
    }
}

impl Default for ScoreHistory {
    fn default() -> ScoreHistory {
        ScoreHistory { as_of: Day(0), bins: vec![0.0; BINS] }
    }
}

impl Learn for ScoreHistory {
    type Step = ScoreStep;

    fn fold(&mut self, day: Day, step: &ScoreStep) {
        let keep = 0.5_f64.powf(f64::from(day.0 - self.as_of.0) / HALF_LIFE_DAYS) as f32;
        self.as_of = day;
        for bin in &mut self.bins {
            *bin *= keep;
        }
        for (bin, count) in &step.0 {
            // One by one: the sum of roundings is that of scores taken up as they come.
            (0..*count).for_each(|_| self.bins[usize::from(*bin)] += 1.0);
        }
    }
}

/// The bin of a score.
fn bin(score: f64) -> u8 {
    ((score / WIDTH) as usize).min(BINS - 1) as u8
}

/// The map from scores to p-values that one group's history gives: monotone, so that a threshold can be turned round.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Share of scores at or above the lower edge of each bin, and 0 at the end.
    above: Vec<f64>,
    /// The 95th percentile.
    knee: f64,
    /// Mean excess above it.
    excess: f64,
}

/// The scores that are expected before any are known: a line down to the 95th percentile, an exponential tail above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// The 95th percentile.
    pub knee: f64,
    /// Mean excess above it.
    pub excess: f64,
}

impl Tail {
    /// Share of scores at or above `score`.
    fn above(self, score: f64) -> f64 {
        if score < self.knee {
            1.0 - (1.0 - TAIL) * score / self.knee
        } else {
            TAIL * (-(score - self.knee) / self.excess).exp()
        }
    }

    /// Shares by bin; the last holds all that lies above.
    fn bins(self) -> Vec<f64> {
        let edge = |index: usize| if index == BINS { 0.0 } else { self.above(WIDTH * index as f64) };
        (0..BINS).map(|index| edge(index) - edge(index + 1)).collect()
    }
}

/// The map from scores to p-values of a group, from its own history and those of the groups above it, smallest first.
///
/// A young or small group borrows from the one above and that one from what is shipped, so that there is always a map and none
/// changes at once.
pub fn calibrate<'a>(chain: impl DoubleEndedIterator<Item = &'a ScoreHistory>, shipped: &Tail) -> Calibration {
    let mut shares = shipped.bins();
    let mut evidence = PARENT_SCORES;
    for history in chain.rev() {
        let own = history.scored();
        for (share, bin) in shares.iter_mut().zip(&history.bins) {
            *share = (PARENT_SCORES * *share + f64::from(*bin)) / (PARENT_SCORES + own);
        }
        // As many scores as would be as certain: those that are borrowed are as sure as the group above is large.
        evidence = (own + PARENT_SCORES).powi(2) / (own + PARENT_SCORES.powi(2) / evidence);
    }
    Calibration::new(&shares, evidence)
}

impl ScoreHistory {
    /// Account-days scored, decayed.
    pub fn scored(&self) -> f64 {
        self.bins.iter().map(|bin| f64::from(*bin)).sum()
    }
}

impl Calibration {
    /// The map of scores whose shares by bin are known from so many.
    fn new(shares: &[f64], scored: f64) -> Calibration {
        let mut above = vec![0.0; BINS + 1];
        for index in (0..BINS).rev() {
            above[index] = above[index + 1] + shares[index];
        }
        let knee_bin = above.iter().rposition(|share| *share > TAIL).unwrap_or(0);
        let inside = above[knee_bin] - above[knee_bin + 1];
        let knee = WIDTH * (knee_bin as f64 + (above[knee_bin] - TAIL) / inside);
        // The mean excess over the knee: what lies above it in its own bin, and the later bins by their middles.
        let own = (TAIL - above[knee_bin + 1]) * (WIDTH * (knee_bin as f64 + 1.0) - knee) / 2.0;
        let later: f64 = (knee_bin + 1..BINS)
            .map(|index| (above[index] - above[index + 1]) * (WIDTH * (index as f64 + 0.5) - knee))
            .sum();
        let excess = ((own + later) / TAIL).max(0.05) * (1.0 + 1.0 / (TAIL * scored).sqrt());
        Calibration { above, knee, excess }
    }
    /// How often a peer's day scores at least this high.
    pub fn p(&self, score: f64) -> f64 {
        if score >= self.knee {
            return (TAIL * (-(score - self.knee) / self.excess).exp()).max(1e-300);
        }
        let at = score.max(0.0) / WIDTH;
        let index = (at as usize).min(BINS - 1);
        let share = at - index as f64;
        (self.above[index] * (1.0 - share) + self.above[index + 1] * share).max(TAIL)
    }

    /// The lowest score with a p-value of at most `p`.
    pub fn score(&self, p: f64) -> f64 {
        if p <= TAIL {
            return self.knee + self.excess * (TAIL / p.max(1e-300)).ln();
        }
        let (mut low, mut high) = (0.0, self.knee);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.p(middle) <= p { high = middle } else { low = middle }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of a perfect model are exponential: `P(score >= s) = 10^-s`.
    fn perfect(count: usize) -> ScoreHistory {
        let mut history = ScoreHistory::default();
        let mut step = ScoreStep::default();
        (0..count).for_each(|i| step.add(-((i as f64 + 0.5) / count as f64).log10()));
        history.fold(Day(1), &step);
        history
    }

    const SHIPPED: Tail = Tail { knee: 1.3, excess: 0.43 };

    #[test]
    fn a_perfect_model_stays_as_it_is() {
        let calibration = calibrate([&perfect(100_000)].into_iter(), &SHIPPED);
        for score in [0.3, 1.0, 1.3, 2.0, 3.0, 4.0] {
            let ratio = calibration.p(score) / 10_f64.powf(-score);
            assert!((0.8..1.25).contains(&ratio), "score {score}: {ratio}");
        }
    }

    #[test]
    fn thresholds_turn_round() {
        let calibration = calibrate([&perfect(5_000)].into_iter(), &SHIPPED);
        for p in [0.5, 0.1, 0.05, 0.01, 1e-3, 1e-6] {
            let score = calibration.score(p);
            assert!((calibration.p(score) / p - 1.0).abs() < 1e-3, "p {p} score {score}");
        }
        let mut last = 1.0;
        for step in 0..2_000 {
            let p = calibration.p(f64::from(step) * 0.01);
            assert!(p <= last + 1e-12, "p rises at {step}");
            last = p;
        }
    }

    /// Nothing, a few scores, many: from what is shipped to what is known, and a small group leans on the one above it.
    #[test]
    fn a_young_group_borrows() {
        let shipped = Tail { knee: 2.6, excess: 0.45 };
        let p = |chain: Vec<ScoreHistory>| calibrate(chain.iter(), &shipped).p(3.0);
        let none = p(vec![]);
        assert!((0.02..0.04).contains(&none), "as shipped, widened: {none}");
        assert!(p(vec![perfect(50)]) < none);
        let (own, both) = (p(vec![perfect(10_000)]), p(vec![ScoreHistory::default(), perfect(10_000)]));
        assert!((8e-4..2e-3).contains(&own) && (own..2.0 * own).contains(&both), "{own} {both}");
    }
}
