//! What a settled day teaches: the account of its own days, and its groups of their members.

use std::collections::BTreeMap;

use super::limits::{GroupDay, Habit, SCORED_FROM, Shape, Sum};
use super::tally::Tally;
use super::view::{View, cap, weight};
use super::{METRICS, Volume};
use crate::engine::detect::{Constants, Settling};
use crate::engine::stats::counts::{CountStep, GroupStep, capped, is_turn_of_month};
use crate::engine::subjects::{GroupIx, Presence, SubjectIx};

/// One account's settled day.
pub(super) struct Lived<'a> {
    pub(super) tally: &'a Tally,
    pub(super) shape: &'a Shape,
    pub(super) habit: &'a Habit,
    pub(super) views: &'a [View; METRICS],
    /// Its score, where that is learnt.
    pub(super) scored: Option<f64>,
    /// It is told by what is known at settling.
    pub(super) told: bool,
}

impl Volume {
    /// The score, where its role is known well enough for it to be a measure of later ones.
    pub(super) fn scored(&self, score: f64, presence: Presence, constants: &Constants<'_>) -> Option<f64> {
        let role = self.groups.as_of(constants.subjects.role(presence.group), constants.day);
        (role.surges.len() >= SCORED_FROM).then_some(score)
    }

    /// Teaches the account, and notes in `taught` what its groups learn; gives what the account has learnt.
    pub(super) fn learn(
        &mut self,
        lived: &Lived<'_>,
        subject: SubjectIx,
        presence: Presence,
        day: &Settling<'_>,
        taught: &mut BTreeMap<GroupIx, GroupDay>,
    ) -> [Option<CountStep>; METRICS] {
        let mut steps = [None; METRICS];
        let today = day.constants.day;
        for view in lived.views {
            let metric = view.metric;
            let Some(y) = lived.tally.count(metric).checked_sub(1) else { continue };
            let step = step(y, lived.shape, view);
            steps[metric] = Some(step);
            for group in day.constants.subjects.chain(presence.group) {
                let level = self.groups.as_of(group, today).counts[metric].level();
                let apart = level.and_then(|level| lived.habit.0[metric].apart(&step, level));
                let group = &mut taught.entry(group).or_default().counts[metric];
                // A member far beyond the peers moves their mean no more than the largest usual day.
                group.level += f64::from(step.level).min(cap(&lived.shape.peers[metric]));
                group.residual += f64::from(step.residual.min(residual_cap(lived.shape, metric, lived.told)));
                group.members += 1.0;
                group.apart += apart.unwrap_or(0.0);
                group.habits += f64::from(u8::from(apart.is_some()));
                group.kind = if presence.off_day && today.weekday() < 5 { 7 } else { today.weekday() };
                if lived.shape.known[metric] {
                    add_factors(group, y, lived.shape, view, is_turn_of_month(today));
                }
            }
        }
        self.habits.entry(subject).teach(today, steps);
        for (before, told) in self.told.of_mut(&subject) {
            told.passed(today.0 - before.0, &steps);
        }
        if let Some(score) = lived.scored {
            for group in day.constants.subjects.chain(day.constants.subjects.role(presence.group)) {
                taught.entry(group).or_default().scores.add(score);
            }
        }
        steps
    }

    /// Teaches the groups what their members' days have taught them, with the surge that they shared.
    pub(super) fn teach_groups(&mut self, day: &Settling<'_>, taught: BTreeMap<GroupIx, GroupDay>) {
        for (ix, mut step) in taught {
            for metric in 0..METRICS {
                let sum = self.sums.get(&ix).map_or(Sum::default(), |sums| sums[metric]);
                let surge = self.surge_of(sum, Sum::default());
                step.surge[metric] = surge as f32;
                if metric < 2 {
                    self.surge = self.surge.max(surge);
                }
            }
            self.groups.teach(ix, day.constants.day, step);
        }
    }
}

/// The largest residual of a member's day that counts in the dispersion of the group. A day that is told counts as one of the usual: else
/// one misuse would make a small group look restless for months, and the next one usual. How often such days are is known all the same, by
/// the scores, which leave nothing out.
pub(super) fn residual_cap(shape: &Shape, metric: usize, told: bool) -> f32 {
    if told { shape.peers[metric].phi as f32 } else { f32::INFINITY }
}

/// What one metric of a day teaches the account.
fn step(y: u64, shape: &Shape, view: &View) -> CountStep {
    let (expected, factor) = (&view.expected, shape.factor[view.metric]);
    if shape.known[view.metric] {
        return CountStep::new(y, expected.mu, expected.own_phi, factor);
    }
    // A day that lies far from what is shipped tells the level; of the dispersion around the level it tells nothing.
    let step = CountStep::new(y, expected.mu, expected.phi, factor);
    CountStep { residual: expected.own_phi as f32, ..step }
}

/// What a member's day tells of the factors of days.
fn add_factors(group: &mut GroupStep, y: u64, shape: &Shape, view: &View, is_turn: bool) {
    let (expected, turn) = (&view.expected, shape.turn[view.metric]);
    let (weight, seen) = (weight(expected), capped(y, expected.mu, expected.phi, 1e-4) as f64);
    group.seen += weight * seen / view.surge / turn;
    group.expected += weight * expected.mu0;
    if is_turn {
        // With the surge in it: where all of billing is busy, the turn is what the surge would say.
        group.turn_seen += weight * seen;
        group.turn_expected += weight * expected.mu0 * shape.factor[view.metric] / turn;
    }
}
