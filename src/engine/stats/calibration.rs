//! From a score to an honest p-value: how often a score this high is seen among peers (`notes/detection.md`, section 5.9).
//!
//! A score is `-log10` of a model's probability. Its history within a role is a histogram; below the 95th percentile the p-value is
//! the empirical rank, above it an exponential tail with the mean excess, inflated by what few observations cannot know.
//!
//! A role whose shifts are known has 99 in 100 scores of zero: its 95th percentile lies among the zeros, where an exponential would
//! bridge the gap to the first hour outside of a shift and call all such hours rare alike. Where fewer than a fifth score at all, the
//! tail begins at the upper quartile of those that do, with a quarter of their share in place of 0.05: both meet where a fifth do,
//! and the map stays continuous, falling, and 1 at zero. What never happened in so many account-days counts as one in so many.
//!
//! Two kinds of days make no exponential: of evenings just above the 95th percentile it would say that Saturdays are one in 100,000,
//! although one account-day in 200 is one. So the tail says no less than what was surely seen: the rank, as far as sixteen account-days
//! lie above, and beyond an exponential with their mean excess. A few misuses do not excuse the next.

use serde::{Deserialize, Serialize};

use super::delayed::Learn;
use crate::event::Day;

const BINS: usize = 64;
/// Width of a bin in units of score; scores above the last bin are learnt as if they lay in it.
const WIDTH: f64 = 0.125;
const HALF_LIFE_DAYS: f64 = 60.0;
/// To a group without scores the group above counts like so many scored account-days, and what is shipped to the first of all groups,
/// however many it has: the first days of a site are many scores, but few days.
const PARENT_SCORES: f64 = 100.0;
/// A group with so many scored account-days speaks for itself: what others do at night says nothing of those whose shifts are known.
const OWN_SCORES: f64 = 400.0;
/// However many they are, one more may be like those of the group above.
const PARENT_SCORES_MIN: f64 = 1.0;
const TAIL: f64 = 0.05;
/// As far as so many account-days lie above, ranks are sure.
const SURE_SCORES: f64 = 16.0;
/// The tail holds no more than this part of the scores above zero.
const TAIL_PART: f64 = 0.25;

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
pub fn bin(score: f64) -> u8 {
    ((score / WIDTH) as usize).min(BINS - 1) as u8
}

/// The map from scores to p-values that one group's history gives: monotone, so that a threshold can be turned round.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Share of scores at or above the lower edge of each bin, and 0 at the end.
    above: Vec<f64>,
    /// Account-days that are known.
    scored: f64,
    /// The tail of the model: from the 95th percentile, or the upper quartile of those above zero where these are few.
    tail: Beyond,
    /// What lies above the highest scores that can be ranked.
    seen: Beyond,
}

/// An exponential tail.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Beyond {
    /// Share of scores in it.
    share: f64,
    /// Where it begins.
    knee: f64,
    /// Mean excess above that.
    excess: f64,
}

impl Beyond {
    /// The tail that holds this share of the scores, of which `above` says the shares at or above each bin.
    fn new(above: &[f64], share: f64) -> Beyond {
        let knee_bin = above.iter().rposition(|above| *above > share).unwrap_or(0);
        let inside = above[knee_bin] - above[knee_bin + 1];
        let knee = WIDTH * (knee_bin as f64 + (above[knee_bin] - share) / inside);
        // The mean excess over the knee: what lies above it in its own bin, and the later bins by their middles.
        let own = (share - above[knee_bin + 1]) * (WIDTH * (knee_bin as f64 + 1.0) - knee) / 2.0;
        let later: f64 = (knee_bin + 1..BINS)
            .map(|index| (above[index] - above[index + 1]) * (WIDTH * (index as f64 + 0.5) - knee))
            .sum();
        Beyond { share, knee, excess: ((own + later) / share).max(0.05) }
    }

    fn p(&self, score: f64) -> f64 {
        self.share * (-(score - self.knee) / self.excess).exp()
    }

    fn score(&self, p: f64) -> f64 {
        self.knee + self.excess * (self.share / p.max(1e-300)).ln()
    }
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
/// changes at once. What is borrowed from a group falls as own scores come, to next to nothing at 400 of them.
pub fn calibrate<'a>(chain: impl DoubleEndedIterator<Item = &'a ScoreHistory>, shipped: &Tail) -> Calibration {
    let mut shares = shipped.bins();
    let mut evidence = PARENT_SCORES;
    for (depth, history) in chain.rev().enumerate() {
        let own = history.scored();
        let left = if depth == 0 { 1.0 } else { 1.0 - own / OWN_SCORES };
        let borrowed = (PARENT_SCORES * left).max(PARENT_SCORES_MIN);
        for (share, bin) in shares.iter_mut().zip(&history.bins) {
            *share = (borrowed * *share + f64::from(*bin)) / (borrowed + own);
        }
        // As many scores as would be as certain: those that are borrowed are as sure as the group above is large.
        evidence = (own + borrowed).powi(2) / (own + borrowed.powi(2) / evidence);
    }
    Calibration::new(&shares, evidence)
}

impl ScoreHistory {
    /// Takes back what is left of a score in `bin` that `taught` has taught.
    pub fn take_back(&mut self, taught: Day, bin: u8) {
        let left = 0.5_f64.powf(f64::from(self.as_of.0 - taught.0) / HALF_LIFE_DAYS) as f32;
        let bin = &mut self.bins[usize::from(bin)];
        *bin = (*bin - left).max(0.0);
    }

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
        // What was never seen in so many account-days is rarer than one in so many: by how much nobody knows.
        let seen = above[1];
        above[1..].iter_mut().for_each(|share| *share *= (1.0 / (scored * seen)).max(1.0));
        let mut tail = Beyond::new(&above, TAIL.min(TAIL_PART * above[1]));
        tail.excess *= 1.0 + 1.0 / (tail.share * scored).sqrt();
        let seen = Beyond::new(&above, tail.share.min(SURE_SCORES / scored));
        Calibration { above, scored, tail, seen }
    }

    /// How often a peer's day scores at least this high.
    pub fn p(&self, score: f64) -> f64 {
        if score < self.tail.knee {
            return self.rank(score).max(self.tail.share);
        }
        let seen = if score < self.seen.knee { self.rank(score) } else { self.seen.p(score) };
        self.tail.p(score).max(seen).max(1e-300)
    }

    /// Share of scores at or above `score`.
    fn rank(&self, score: f64) -> f64 {
        let at = score.max(0.0) / WIDTH;
        let index = (at as usize).min(BINS - 1);
        let share = (at - index as f64).min(1.0);
        self.above[index] * (1.0 - share) + self.above[index + 1] * share
    }

    /// Account-days behind the map, as many as would be as certain: what is said to be rarer than one of them is a guess.
    pub fn known(&self) -> f64 {
        self.scored
    }

    /// The lowest score with a p-value of at most `p`.
    pub fn score(&self, p: f64) -> f64 {
        let (mut low, mut high) = match p {
            p if p > self.tail.share => (0.0, self.tail.knee),
            p if p > self.seen.share => (self.tail.knee, self.seen.knee),
            p => return self.tail.score(p).max(self.seen.score(p)),
        };
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.rank(middle) <= p { high = middle } else { low = middle }
        }
        if p > self.tail.share { high } else { high.max(self.tail.score(p)) }
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64_with_seed;

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
        assert!((8e-4..2e-3).contains(&own) && (0.999 * own..2.0 * own).contains(&both), "{own} {both}");
    }

    /// A number in `0.0..1.0` by its place in a stream.
    fn uniform(stream: u64, place: u64) -> f64 {
        (xxh3_64_with_seed(&place.to_le_bytes(), stream) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A score in a role of which a `share` scores at all: from 1 on, with a tail between those of a line and of an exponential.
    fn inflated(share: f64, stream: u64, place: u64) -> f64 {
        let of = |part: u64| uniform(stream, 4 * place + part);
        let waits: f64 = (1..4).map(|part| -(1.0 - of(part)).ln()).sum();
        if of(0) < share { 1.0 + 0.25 * waits } else { 0.0 }
    }

    fn history(scores: impl Iterator<Item = f64>) -> ScoreHistory {
        let (mut history, mut step) = (ScoreHistory::default(), ScoreStep::default());
        scores.for_each(|score| step.add(score));
        history.fold(Day(1), &step);
        history
    }

    /// `notes/detection.md`, section 6.1: what is said to be one in so many is so within a factor of two, at levels that some score
    /// reaches and of which the history has seen a few. The group above scores every day.
    #[test]
    fn many_zeros_are_calibrated() {
        let parent = perfect(20_000);
        for share in [0.01, 0.03, 0.08, 0.12, 0.3] {
            for level in [0.05, 0.01, 0.005, 0.002].into_iter().filter(|level| *level < 0.6 * share) {
                const ROLES: u64 = 20;
                let observed: f64 = (0..ROLES)
                    .map(|role| {
                        let known = history((0..4_000).map(|place| inflated(share, role, place)));
                        let map = calibrate([&known, &parent].into_iter(), &SHIPPED);
                        let fresh = (0..20_000).map(|place| inflated(share, 1_000 + role, place));
                        fresh.filter(|score| map.p(*score) <= level).count() as f64 / 20_000.0
                    })
                    .sum();
                let ratio = observed / ROLES as f64 / level;
                assert!((0.5..2.0).contains(&ratio), "level {level} where {share} of all score: {ratio}");
            }
        }
    }

    /// Of 3,000 account-days one in twenty is an evening and 13 are a Saturday, far beyond: a Saturday is one in 230 and no less than
    /// a third as usual. Three account-days that are alone out there say nothing.
    #[test]
    fn two_kinds_of_days_are_no_exponential() {
        let p = |saturdays: usize| {
            let usual = (0..3_000 - 150).map(|place| 0.8 * uniform(3, place));
            let evenings = (0..150).map(|place| 1.0 + 0.4 * uniform(4, place));
            let known = history(usual.chain(evenings).chain((0..saturdays).map(|_| 3.0)));
            calibrate([&known].into_iter(), &SHIPPED).p(3.0)
        };
        assert!((13.0 / 3_013.0 / 3.0..1.1 * 13.0 / 3_013.0).contains(&p(13)), "{}", p(13));
        assert!(p(3) < 5e-4, "{}", p(3));
    }

    /// Nurses of 5,000 account-days of whom 1 in 100 is seen outside of a shift: the rarest of these is as rare as that, however usual
    /// it is elsewhere. Where nobody ever was, the first is one in about so many.
    #[test]
    fn what_others_do_at_night_says_nothing_of_known_shifts() {
        let night_owls = history((0..20_000).map(|place| 1.0 + 2.0 * uniform(7, place)));
        let p = |share: f64, days: u64, score: f64| {
            let own = history((0..days).map(|place| inflated(share, 1, place)));
            calibrate([&own, &night_owls].into_iter(), &SHIPPED).p(score)
        };
        assert!(p(0.01, 5_000, 2.9) < 1e-3, "{}", p(0.01, 5_000, 2.9));
        assert!((0.003..0.01).contains(&p(0.01, 5_000, 1.6)), "{}", p(0.01, 5_000, 1.6));
        assert!((p(0.01, 5_000, 0.0) - 1.0).abs() < 1e-9);
        for days in [1_000, 5_000] {
            let one = 1.0 / days as f64;
            assert!((0.3 * one..1.01 * one).contains(&p(0.0, days, 2.0)), "{}", p(0.0, days, 2.0));
        }
        // Of a few account-days the group above speaks.
        assert!(p(0.0, 20, 2.0) > 0.2, "{}", p(0.0, 20, 2.0));
    }

    proptest::proptest! {
        /// Whatever was learnt: 1 at zero, falling without a jump, and thresholds turn round.
        #[test]
        fn maps_are_maps(
            zeros in 0_u32..20_000,
            own in proptest::collection::vec((0.0_f64..9.0, 1_u32..200), 0..8),
            above in proptest::collection::vec((0.0_f64..9.0, 1_u32..200), 0..8),
            age in 0_i32..900,
        ) {
            let histories = [(zeros, own), (0, above)].map(|(zeros, scores)| {
                let many = scores.into_iter().chain([(0.0, zeros)]);
                let mut history = history(many.flat_map(|(score, times)| (0..times).map(move |_| score)));
                history.fold(Day(1 + age), &ScoreStep::default());
                history
            });
            let map = calibrate(histories.iter(), &SHIPPED);
            proptest::prop_assert!((map.p(0.0) - 1.0).abs() < 1e-9);
            let mut last = 1.0 + 1e-12;
            for step in 0..=1_000 {
                let p = map.p(f64::from(step) * 0.01);
                proptest::prop_assert!(p <= last + 1e-12 && p >= 0.0, "p rises to {} at {}", p, step);
                last = p;
            }
            let (before, at) = (map.p(map.tail.knee - 1e-9), map.p(map.tail.knee));
            proptest::prop_assert!((before - at).abs() < 1e-6, "{} jumps to {}", before, at);
            for p in [0.5, 0.05, 0.01, 1e-3, 1e-5, 1e-9] {
                proptest::prop_assert!((map.p(map.score(p)) / p - 1.0).abs() < 1e-3, "{} has {}", p, map.score(p));
            }
        }
    }
}
