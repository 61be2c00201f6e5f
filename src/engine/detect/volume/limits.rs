//! The constants of an account's day, and what they are learnt from: own habit, peers, factors and surges.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{MASS, METRICS};
use crate::engine::detect::Constants;
use crate::engine::stats::calibration::{Calibration, ScoreHistory, ScoreStep, Tail};
use crate::engine::stats::counts::{
    CountHabit, CountStep, Expected, GroupCounts, GroupStep, Peers, is_turn_of_month, quantile, tail, usual,
};
use crate::engine::stats::delayed::Learn;
use crate::engine::stats::groups::{Groups, Scored};
use crate::engine::subjects::GroupIx;
use crate::event::Day;

/// So much crosses on any account's day.
const LIMIT_MAX: u64 = u32::MAX as u64;
/// Shipped peers for a site without any history: sites differ in how many rows a screen writes, and their roles a hundredfold, from the
/// nurse of ten patients to the coder of a thousand.
const SHIPPED: [Peers; METRICS] = [
    Peers { mean: 60.0, phi: 1.0, spread: 8.0 },
    Peers { mean: 20.0, phi: 0.8, spread: 8.0 },
    Peers { mean: 5.0, phi: 1.5, spread: 2.0 },
];
/// Before there is a history of scores, the model's tail is known to be light (`notes/detection.md`, section 3.1).
const SHIPPED_SCORES: Tail = Tail { knee: 1.4, excess: 0.55 };
/// Weight of the shipped peers in the dispersion, in account-days.
const SHIPPED_DAYS: f64 = 20.0;
/// And in the mean: with such a spread it says next to nothing.
const SHIPPED_MEAN_DAYS: f64 = 1.0;
/// While a role has fewer settled days, the model knows its accounts too little for its scores to be a measure of later ones.
pub(super) const SCORED_FROM: usize = 7;
/// Weight of the group above in a group's mean, in account-days.
const PARENT_DAYS: f64 = 8.0;
/// Weight of what is expected that draws a surge factor to 1; a member weighs at most `1/phi`.
const SURGE_SHRINK: f64 = 4.0;
const SURGE_CLAMP: (f64, f64) = (0.5, 3.0);
/// Inside the day a surge of at least this much is allowed for.
const SURGE_ALLOWED: f64 = 1.3;
const SURGE_DAYS: usize = 14;
/// A surge is judged where at least this many peers are active.
pub(super) const SURGE_PEERS: f64 = 8.0;

/// What every account of a group has in common on a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// The factor of the day: of the day of the week, and of the turn of a month.
    pub(super) factor: [f64; METRICS],
    /// The part of it that the turn of a month has; 1 on other days.
    pub(super) turn: [f64; METRICS],
    /// The surge that is allowed for inside the day.
    pub(super) allowed: [f64; METRICS],
    pub(super) peers: [Peers; METRICS],
    /// Whether anything is known yet of the level of the peers; what is shipped is none.
    pub(super) known: [bool; METRICS],
    pub(super) group: GroupIx,
    /// A count crosses where its tail is at most this.
    p: f64,
}

impl Shape {
    /// The smallest count of a metric that crosses where this is expected.
    pub(super) fn crossing(&self, expected: &Expected, metric: usize) -> u64 {
        (1 + quantile(expected.mu, expected.phi, self.p)).max(MASS[metric]).min(LIMIT_MAX)
    }
}

/// What crosses on one account's day. Nearly no day comes near: until a count does, only a bound is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// The smallest count that crosses, by metric, or a count that it does not lie below.
    cross: [u32; METRICS],
    exact: [bool; METRICS],
    /// As the day looked at its first event: at settling it may have turned out to be a day off.
    pub(super) off_day: bool,
}

impl Limits {
    /// Nothing is known yet.
    pub(super) fn new(off_day: bool) -> Limits {
        Limits { cross: [0; METRICS], exact: [false; METRICS], off_day }
    }

    /// Whether `counts` reach a bound, so that more has to be found out.
    pub(super) fn is_open(&self, counts: [u64; METRICS]) -> bool {
        (0..METRICS).any(|metric| self.reaches(counts, metric))
    }

    /// Whether a count reaches what is but a bound.
    fn reaches(&self, counts: [u64; METRICS], metric: usize) -> bool {
        !self.exact[metric] && counts[metric] >= u64::from(self.cross[metric])
    }

    /// Finds out as much as is needed to say whether `counts` cross.
    pub(super) fn refine(&mut self, counts: [u64; METRICS], shape: &Shape, habit: &Habit) {
        for metric in 0..METRICS {
            let expected = surged(shape, habit, metric);
            if self.reaches(counts, metric) {
                self.cross[metric] = narrow(2 + usual(expected.mu, expected.phi, shape.p));
            }
            while self.reaches(counts, metric) {
                // The tail at twice the count says nearly always that it is far.
                let far = counts[metric].max(expected.mu as u64).saturating_mul(2);
                self.exact[metric] = far >= LIMIT_MAX || tail(expected.mu, expected.phi, far) <= shape.p;
                let exact = self.exact[metric].then(|| shape.crossing(&expected, metric));
                self.cross[metric] = narrow(exact.unwrap_or_else(|| far + 2));
            }
        }
    }

    /// The smallest count of a metric that crosses.
    pub(super) fn cross(&self, metric: usize, shape: &Shape, habit: &Habit) -> u64 {
        if self.exact[metric] {
            self.cross[metric].into()
        } else {
            shape.crossing(&surged(shape, habit, metric), metric)
        }
    }

    /// The count that is the most times its limit, and which one it is; what does not cross is less than once its limit.
    pub(super) fn ratio(&self, counts: [u64; METRICS]) -> (f64, usize) {
        let of = |metric: usize| counts[metric] as f64 / f64::from(self.cross[metric]);
        let mut best = (of(0), 0);
        for metric in 1..METRICS {
            // Of equal ratios the one that says more about patients is named.
            if of(metric) >= best.0 {
                best = (of(metric), metric);
            }
        }
        best
    }
}

/// What is expected with the largest surge that is allowed for.
pub(super) fn surged(shape: &Shape, habit: &Habit, metric: usize) -> Expected {
    habit.0[metric].expect(shape.peers[metric], shape.factor[metric] * shape.allowed[metric])
}

/// What fits into a limit as it is kept.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What is learnt of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Habit(pub(super) [CountHabit; METRICS]);

impl Learn for Habit {
    type Step = [Option<CountStep>; METRICS];
    fn fold(&mut self, day: Day, step: &Self::Step) {
        for (habit, step) in self.0.iter_mut().zip(step) {
            if let Some(step) = step {
                habit.fold(day, step);
            }
        }
    }
}

/// What is learnt of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) counts: [GroupCounts; METRICS],
    pub(super) scores: ScoreHistory,
    /// Surge factors of the last settled days, newest last.
    pub(super) surges: Vec<[f32; METRICS]>,
}

/// What one settled day teaches about a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GroupDay {
    pub(super) counts: [GroupStep; METRICS],
    pub(super) scores: ScoreStep,
    pub(super) surge: [f32; METRICS],
}

impl Learn for Group {
    type Step = GroupDay;
    fn fold(&mut self, day: Day, step: &GroupDay) {
        for (counts, step) in self.counts.iter_mut().zip(&step.counts) {
            counts.fold(day, step);
        }
        self.scores.fold(day, &step.scores);
        if self.surges.len() == SURGE_DAYS {
            self.surges.remove(0);
        }
        self.surges.push(step.surge);
    }
}

impl Scored for Group {
    type Part = Part;
    fn scores(&self) -> &ScoreHistory {
        &self.scores
    }
    fn leave_out(&mut self, taught: Day, part: &Part) {
        part.bin.into_iter().for_each(|bin| self.scores.take_back(taught, bin));
        for (counts, step) in self.counts.iter_mut().zip(part.steps) {
            step.into_iter().for_each(|step| counts.leave_out(taught, step.level.into(), step.residual.into()));
        }
    }
}

/// What an account-day has taught a group: the bin of its score, where scores are ranked in the group, and its counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) bin: Option<u8>,
    pub(super) steps: [Option<CountStep>; METRICS],
}

/// What a day that was told has taught, to be taken back where it was misuse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Taught {
    pub(super) group: GroupIx,
    /// The bin of its score, where scores of its role are learnt yet.
    pub(super) bin: Option<u8>,
    /// To the account.
    pub(super) steps: [Option<CountStep>; METRICS],
    /// A group takes no more of a level than this.
    pub(super) caps: [f32; METRICS],
    /// And no more of a residual than this.
    pub(super) residual_caps: [f32; METRICS],
    /// The days after it that taught the account something, by bit from the next one on.
    pub(super) later: [u64; METRICS],
}

impl Taught {
    /// Notes that a later day, by so many, has taught the account something.
    pub(super) fn passed(&mut self, days: i32, steps: &[Option<CountStep>; METRICS]) {
        for (later, step) in self.later.iter_mut().zip(steps) {
            if (1..=64).contains(&days) && step.is_some() {
                *later |= 1 << (days - 1);
            }
        }
    }

    /// What it taught a group, in which scores are ranked or not.
    pub(super) fn part(&self, ranked: bool) -> Part {
        let mut steps = self.steps;
        for (metric, step) in steps.iter_mut().enumerate() {
            step.iter_mut().for_each(|step| {
                step.level = step.level.min(self.caps[metric]);
                step.residual = step.residual.min(self.residual_caps[metric]);
            });
        }
        Part { bin: self.bin.filter(|_| ranked), steps }
    }

    /// Takes it back out of a habit that knows so many days after it.
    pub(super) fn leave(&self, habit: &mut Habit, days: i32) {
        for metric in 0..METRICS {
            let Some(step) = &self.steps[metric] else { continue };
            let known = if days < 64 { self.later[metric] & ((1 << days.max(0)) - 1) } else { self.later[metric] };
            // Beyond what is noted the account came as often as before.
            let later = f64::from(known.count_ones()) * f64::from(days.max(64)) / 64.0;
            habit.0[metric].leave_out(step, later);
        }
    }
}

/// Sums over the peers of a settling day.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) seen: f64,
    pub(super) expected: f64,
    pub(super) members: f64,
}

impl Sum {
    /// How much busier than expected the others were: winsorised, without the account itself, drawn to 1.
    pub(super) fn surge(self, own: Sum) -> f64 {
        if self.members - own.members < SURGE_PEERS {
            return 1.0;
        }
        let ratio = (SURGE_SHRINK + self.seen - own.seen) / (SURGE_SHRINK + self.expected - own.expected);
        ratio.clamp(SURGE_CLAMP.0, SURGE_CLAMP.1)
    }
}

/// What the accounts of `group` have in common on a day.
pub(super) fn shape(groups: &Groups<Group>, group: GroupIx, off_day: bool, constants: &Constants<'_>) -> Shape {
    let day = constants.day;
    let chain: Vec<GroupIx> = constants.subjects.chain(group).collect();
    let peers_group = constants.subjects.peers(group, constants.sizes);
    let mut peers = SHIPPED;
    let mut is_known = [false; METRICS];
    let mut used = Arc::<Group>::default();
    for ix in chain.iter().rev() {
        let known = groups.as_of(*ix, day);
        let root = constants.subjects.named_group(*ix).parent.is_none();
        for metric in 0..METRICS {
            let (mean, phi) = if root { (SHIPPED_MEAN_DAYS, SHIPPED_DAYS) } else { (PARENT_DAYS, PARENT_DAYS) };
            peers[metric] = known.counts[metric].peers(peers[metric], mean, phi);
            is_known[metric] |= known.counts[metric].level().is_some();
        }
        used = known;
        if *ix == peers_group {
            break;
        }
    }
    let kind = if off_day && day.weekday() < 5 { 7 } else { day.weekday() };
    let scores = ranks(groups, constants.subjects.role(group), constants);
    let is_turn = is_turn_of_month(day);
    let turn = used.counts.map(|counts| if is_turn { counts.turn() } else { 1.0 });
    Shape {
        factor: std::array::from_fn(|metric| used.counts[metric].factor(kind) * turn[metric]),
        turn,
        // The spread of what is shipped holds any surge.
        allowed: std::array::from_fn(|metric| if is_known[metric] { allowed(&used.surges, metric) } else { 1.0 }),
        peers,
        known: is_known,
        group: peers_group,
        p: 10_f64.powf(-scores.score(constants.alphas.told)) / METRICS as f64,
    }
}

/// The surge that is allowed for inside the day.
fn allowed(surges: &[[f32; METRICS]], metric: usize) -> f64 {
    if surges.len() < SURGE_DAYS {
        return SURGE_CLAMP.1;
    }
    surges.iter().map(|surge| f64::from(surge[metric])).fold(SURGE_ALLOWED, f64::max)
}

/// What the scores of a role say.
pub(super) struct Ranks {
    known: Arc<Calibration>,
    /// In the first weeks of a role nothing is rarer than by what is shipped: its first scores were made by a model that knew nothing of it.
    least: Option<Arc<Calibration>>,
}

impl Ranks {
    /// How often a peer's day scores at least this high.
    pub(super) fn p(&self, score: f64) -> f64 {
        self.least.iter().map(|least| least.p(score)).fold(self.known.p(score), f64::max)
    }

    /// The lowest score with a p-value of at most `p`.
    fn score(&self, p: f64) -> f64 {
        self.least.iter().map(|least| least.score(p)).fold(self.known.score(p), f64::max)
    }
}

/// The map from scores to p-values for a role, drawn to that of everybody of its sort and to the shipped one.
pub(super) fn ranks(groups: &Groups<Group>, role: GroupIx, constants: &Constants<'_>) -> Ranks {
    let chain: Vec<GroupIx> = constants.subjects.chain(role).collect();
    let known = groups.calibration(&chain, constants.day, &SHIPPED_SCORES);
    let is_young = groups.as_of(role, constants.day).surges.len() < SURGE_DAYS;
    let least = is_young.then(|| groups.calibration(&[], constants.day, &SHIPPED_SCORES));
    Ranks { known, least }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::detect::volume::weight;

    /// Twenty people and one interface account of 50,000 a day: the surge is that of the people.
    #[test]
    fn one_giant_does_not_speak_for_all() {
        let surge = |people: f64, giant: f64| {
            let mut sum = Sum::default();
            for (mu, times, phi, members) in [(20.0, people, 0.4, 20.0), (50_000.0, giant, 0.05, 1.0)] {
                let weight = weight(&Expected { mu0: mu, mu, phi, own_phi: phi });
                sum.expected += members * weight * mu;
                sum.seen += members * weight * mu * times;
                sum.members += members;
            }
            sum.surge(Sum::default())
        };
        // By hand: people weigh 20 * 20 / 9 = 44.4, the giant 50,000 / 2,501 = 20: (4 + 88.9 + 20) / (4 + 44.4 + 20).
        assert!((surge(2.0, 1.0) - 1.65).abs() < 0.01, "{}", surge(2.0, 1.0));
        assert!(surge(1.0, 2.0) < 1.35, "{}", surge(1.0, 2.0));
        assert_eq!(surge(1.0, 1.0), 1.0);
    }

    proptest::proptest! {
        /// Whatever the order in which counts grow, the limits say of each what the exact ones say.
        #[test]
        fn bounds_say_what_is_exact(
            mean in 0.05_f64..200.0,
            phi in 0.02_f64..5.0,
            digits in 1.0_f64..7.0,
            steps in proptest::collection::vec((0_usize..METRICS, proptest::prop_oneof![60 => 1_u64..60, 1 => 1_u64..u64::MAX]), 1..60),
        ) {
            let peers = [Peers { mean, phi, spread: 0.2 }; METRICS];
            let factors = [1.0, 0.7, 1.9];
            let known = [true; METRICS];
            let shape = Shape { factor: factors, turn: [1.0; METRICS], allowed: factors, peers, known, group: 0, p: 10_f64.powf(-digits) };
            let habit = Habit::default();
            let cross = [0, 1, 2].map(|metric| shape.crossing(&surged(&shape, &habit, metric), metric));
            let exact = Limits { cross: cross.map(narrow), exact: [true; METRICS], off_day: false };
            let mut limits = Limits::new(false);
            let mut counts = [1, 0, 0];
            for (metric, more) in steps {
                counts[metric] = u64::saturating_add(counts[metric], more);
                if limits.is_open(counts) {
                    limits.refine(counts, &shape, &habit);
                }
                proptest::prop_assert!(!limits.is_open(counts));
                let (found, expected) = (limits.ratio(counts), exact.ratio(counts));
                proptest::prop_assert_eq!(found.0 >= 1.0, expected.0 >= 1.0);
                if expected.0 >= 1.0 {
                    proptest::prop_assert_eq!(found, expected);
                }
            }
            for metric in 0..METRICS {
                proptest::prop_assert_eq!(limits.cross(metric, &shape, &habit), cross[metric]);
            }
        }
    }
}
