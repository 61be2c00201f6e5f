//! What is learnt of hours: histograms of accounts, roles and sites, and the constants of a day that follow from them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::detect::Constants;
use crate::engine::stats::calibration::{ScoreHistory, ScoreStep};
use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::stats::groups::{AsOf, Groups, Scored};
use crate::engine::subjects::{GroupIx, Presence};
use crate::event::Day;

pub(super) const HALF_LIFE_DAYS: f64 = 180.0;
/// Circular smoothing over neighbouring hours.
pub(super) const KERNEL: [f64; 5] = [0.05, 0.2, 0.5, 0.2, 0.05];
/// Weight of the role in an account's histogram, in votes.
pub(super) const ROLE_VOTES: f64 = 10.0;
/// Weight of the site in a role's histogram, in votes.
pub(super) const SITE_VOTES: f64 = 50.0;
/// The constants of one account's day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Score of each hour.
    pub(super) surprise: [f32; 24],
    /// The smallest score that crosses; infinite while the detector is learning.
    pub(super) cross: f64,
    /// The smallest score whose events are kept as evidence.
    pub(super) notable: f64,
}

/// Votes by hour, for working days and for days off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Histogram {
    as_of: Day,
    pub(super) votes: [[f32; 24]; 2],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { as_of: Day(0), votes: [[0.0; 24]; 2] }
    }
}

impl Histogram {
    fn decay(&mut self, day: Day) {
        let keep = 0.5_f64.powf(f64::from(day.0 - self.as_of.0) / HALF_LIFE_DAYS) as f32;
        self.as_of = day;
        self.votes.iter_mut().flatten().for_each(|votes| *votes *= keep);
    }

    /// Shares of the 24 hours: smoothed votes, drawn to `prior` by `weight` votes.
    fn shares(&self, off: bool, prior: &[f64; 24], weight: f64) -> [f64; 24] {
        let votes = &self.votes[usize::from(off)];
        let total: f64 = votes.iter().map(|v| f64::from(*v)).sum();
        std::array::from_fn(|hour| {
            let near = |(offset, share): (usize, &f64)| share * f64::from(votes[(hour + 22 + offset) % 24]);
            let smooth: f64 = KERNEL.iter().enumerate().map(near).sum();
            (smooth + weight * prior[hour]) / (total + weight)
        })
    }
}

/// What is learnt of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Habit {
    pub(super) hours: Histogram,
    /// Days of the last long blocks at unusual hours: three within ten days are a new habit.
    pub(super) blocks: [Option<Day>; 3],
    pub(super) days: f32,
}

/// What one settled day teaches about an account.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct HabitStep {
    pub(super) off: bool,
    pub(super) hours: u32,
    pub(super) block: bool,
}

impl Learn for Habit {
    type Step = HabitStep;
    fn fold(&mut self, day: Day, step: &HabitStep) {
        self.hours.decay(day);
        if step.block {
            self.blocks.rotate_left(1);
            self.blocks[2] = Some(day);
        }
        let adopted = step.block && self.blocks[0].is_some_and(|first| day.0 - first.0 <= 10);
        let vote = if adopted { 2.0 } else { 1.0 };
        for hour in bits(step.hours) {
            self.hours.votes[usize::from(step.off)][hour] += vote;
        }
        self.days += 1.0;
    }
}

/// What is learnt of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) hours: Histogram,
    pub(super) scores: ScoreHistory,
    /// Settled days learnt from.
    pub(super) days: u32,
}

/// What one settled day teaches about a group: accounts by hour on working days and on days off, and their scores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GroupDay {
    pub(super) votes: [[f32; 24]; 2],
    pub(super) scores: ScoreStep,
}

impl Learn for Group {
    type Step = GroupDay;
    fn fold(&mut self, day: Day, step: &GroupDay) {
        self.hours.decay(day);
        for (votes, step) in self.hours.votes.iter_mut().flatten().zip(step.votes.iter().flatten()) {
            *votes += step;
        }
        self.scores.fold(day, &step.scores);
        self.days += 1;
    }
}

impl Scored for Group {
    fn scores(&self) -> &ScoreHistory {
        &self.scores
    }
}

/// The set bits of a day's hours.
pub(super) fn bits(hours: u32) -> impl Iterator<Item = usize> {
    (0..24).filter(move |hour| hours & (1 << hour) != 0)
}

/// The constants of an account's day.
pub(super) fn limits(
    groups: &Groups<Group>,
    habit: Option<&Delayed<Habit>>,
    presence: Presence,
    constants: &Constants<'_>,
) -> Limits {
    let day = constants.day;
    let role = constants.subjects.role(presence.group);
    let root = constants.subjects.chain(role).last().unwrap_or(role);
    let off = presence.off_day;
    let site = groups.as_of(root, day).state.hours.shares(off, &[1.0 / 24.0; 24], SITE_VOTES);
    let peers = if role == root { site } else { groups.as_of(role, day).state.hours.shares(off, &site, SITE_VOTES) };
    let own = habit.map(|habit| habit.for_day(day)).unwrap_or_default().hours.shares(off, &peers, ROLE_VOTES);
    let map = calibration(groups, role, constants);
    let map = map.as_ref().and_then(|known| known.calibration.as_ref());
    let score = |p: f64| map.map_or(f64::INFINITY, |map| map.score(p));
    Limits {
        surprise: own.map(|share| -share.log10() as f32),
        cross: score(constants.alphas.told),
        notable: score(constants.alphas.held.min(0.05)),
    }
}

/// The group whose scores a role is ranked in: the role itself, else everybody of its sort; `None` while there are too few.
pub(super) fn calibration(
    groups: &Groups<Group>,
    role: GroupIx,
    constants: &Constants<'_>,
) -> Option<Arc<AsOf<Group>>> {
    groups.calibration(constants.subjects.chain(role), constants.day)
}
