//! What is learnt of hours: histograms of accounts, roles and sites, and the constants of a day that follow from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::detect::Constants;
use crate::engine::stats::calibration::{Calibration, ScoreHistory, ScoreStep, Tail};
use crate::engine::stats::delayed::Learn;
use crate::engine::stats::groups::{Groups, Scored, ruled};
use crate::engine::stats::told::Told;
use crate::engine::subjects::{GroupIx, SubjectIx, Subjects};
use crate::event::Day;

pub(super) const HALF_LIFE_DAYS: f64 = 180.0;
/// Circular smoothing over neighbouring hours.
pub(super) const KERNEL: [f64; 5] = [0.05, 0.2, 0.5, 0.2, 0.05];
/// Weight of the role in an account's histogram, in votes.
pub(super) const ROLE_VOTES: f64 = 10.0;
/// Weight of the site in a role's histogram, and of the shipped hours in a site's, in votes.
pub(super) const SITE_VOTES: f64 = 50.0;
/// Weight of the group above in how much of the use falls on days off, in account-days of each kind.
const KIND_DAYS: f64 = 1.5;
const ROLE_KIND_DAYS: f64 = 10.0;
/// Where nothing is known: parts of the work of a hospital by hour from midnight on, on working days and on days off.
const SHIPPED: [[f64; 24]; 2] = [
    [4., 3., 3., 3., 3., 5., 10., 20., 30., 32., 32., 30., 26., 30., 32., 28., 22., 16., 12., 11., 9., 8., 7., 5.],
    [4., 3., 3., 3., 3., 4., 7., 9., 10., 11., 11., 10., 9., 9., 9., 9., 8., 8., 9., 8., 7., 6., 6., 5.],
];

/// No group is thought to be further apart from everybody at an hour than so many times, where that was not seen.
const APART_MAX: f64 = 50.0;

/// How use is spread over the hours of a working day and of a day off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// Share of each kind of day, where both kinds are as many.
    kind: [f64; 2],
    /// Shares of the hours within a kind of day; they sum to 1.
    hours: [[f64; 24]; 2],
}

impl Shares {
    /// The shipped hours.
    fn shipped() -> Shares {
        let sums = SHIPPED.map(|hours| hours.iter().sum::<f64>());
        Shares {
            kind: sums.map(|sum| sum / (sums[0] + sums[1])),
            hours: [0, 1].map(|off| SHIPPED[off].map(|parts| parts / sums[off])),
        }
    }

    /// What is expected of a group before it was seen on days off: of those, its hours keep the proportion to everybody's that they have
    /// on working days. So few clerks come on a Sunday that all others would speak for them, who are nurses at two in the night.
    fn expected(&self, group: &Shares) -> Shares {
        let ratio = |hour: usize| (group.hours[0][hour] / self.hours[0][hour]).clamp(1.0 / APART_MAX, APART_MAX);
        let off: [f64; 24] = std::array::from_fn(|hour| self.hours[1][hour] * ratio(hour));
        let sum: f64 = off.iter().sum();
        Shares { kind: self.kind, hours: [self.hours[0], off.map(|share| share / sum)] }
    }

    /// Share of each hour of one kind of day among all hours of both.
    #[cfg(test)]
    fn of(&self, off: bool) -> [f64; 24] {
        let off = usize::from(off);
        self.hours[off].map(|share| share * self.kind[off])
    }
}

/// Where no scores are known.
const SHIPPED_SCORES: Tail = Tail { knee: 2.6, excess: 0.45 };
/// A group speaks of what is rare when its scores are those of a week: before, the group above does, or what is shipped.
const SCORED_MIN: u32 = 7;
/// An hour is unusual where at most this share of the role's account-days has one as rare.
pub(super) const UNUSUAL: f64 = 0.05;

/// What the accounts of a role have in common on a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    peers: Shares,
    /// The smallest score that crosses.
    pub(super) cross: f64,
    /// The smallest score of an unusual hour.
    pub(super) unusual: f64,
    /// The smallest score of an hour that is no chance where several meet at it.
    pub(super) rare: f64,
}

/// The scores of the hours of one account's day.
pub(super) struct Surprises<'a> {
    habit: &'a Histogram,
    peers: &'a Shares,
    off: usize,
    total: f64,
    kind: f64,
}

impl<'a> Surprises<'a> {
    /// By own habit and that of the role, on a day off or a working day.
    pub(super) fn new(habit: &'a Histogram, limits: &'a Limits, off_day: bool) -> Surprises<'a> {
        let (peers, off, totals) = (&limits.peers, usize::from(off_day), habit.totals());
        Surprises { habit, peers, off, total: totals[off], kind: habit.kinds(peers, totals, KIND_DAYS)[off] }
    }

    /// The score of an hour.
    pub(super) fn of(&self, hour: usize) -> f32 {
        let share = self.habit.share(self.peers, ROLE_VOTES, self.total, self.off, hour) * self.kind;
        -share.log10() as f32
    }
}

/// Votes by hour, for working days and for days off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Histogram {
    as_of: Option<Day>,
    pub(super) votes: [[f32; 24]; 2],
    /// Account-days of each kind that passed, with use or without.
    exposure: [f32; 2],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { as_of: None, votes: [[0.0; 24]; 2], exposure: [0.0; 2] }
    }
}

impl Histogram {
    /// Time passes up to `day`, which is of the kind `off`, for so many accounts.
    fn pass(&mut self, day: Day, off: bool, accounts: f32) {
        let before = self.as_of.unwrap_or(day.plus(-1));
        let keep = 0.5_f64.powf(f64::from(day.0 - before.0) / HALF_LIFE_DAYS) as f32;
        self.as_of = Some(day);
        self.votes.iter_mut().flatten().for_each(|votes| *votes *= keep);
        self.exposure.iter_mut().for_each(|days| *days *= keep);
        // A silence tells nothing; of a short one the weekends are known.
        for passed in (before.0 + 1).max(day.0 - PASSED_MAX)..day.0 {
            self.exposure[usize::from(Day(passed).weekday() >= 5)] += accounts;
        }
        self.exposure[usize::from(off)] += accounts;
    }

    /// Takes back what is left of a day's votes.
    fn leave_out(&mut self, taught: Day, off: bool, hours: u32) {
        let age = self.as_of.map_or(0, |as_of| as_of.0 - taught.0);
        let left = 0.5_f64.powf(f64::from(age) / HALF_LIFE_DAYS) as f32;
        for hour in bits(hours) {
            let votes = &mut self.votes[usize::from(off)][hour];
            *votes = (*votes - left).max(0.0);
        }
    }

    /// How use is spread: smoothed votes, drawn to `prior` by `weight` votes; and the share of days off, by `days` account-days.
    ///
    /// Both kinds of day are compared by use a day: one who is never there at weekends is as unusual on a Sunday as in the night.
    pub(super) fn shares(&self, prior: &Shares, weight: f64, days: f64) -> Shares {
        let totals = self.totals();
        let hours = [0, 1].map(|off| std::array::from_fn(|hour| self.share(prior, weight, totals[off], off, hour)));
        Shares { kind: self.kinds(prior, totals, days), hours }
    }

    /// Votes of each kind of day.
    fn totals(&self) -> [f64; 2] {
        self.votes.map(|votes| votes.iter().map(|votes| f64::from(*votes)).sum::<f64>())
    }

    /// Share of an hour among those of its kind of day, which has `total` votes.
    fn share(&self, prior: &Shares, weight: f64, total: f64, off: usize, hour: usize) -> f64 {
        let near = |(offset, share): (usize, &f64)| share * f64::from(self.votes[off][(hour + 22 + offset) % 24]);
        let smooth: f64 = KERNEL.iter().enumerate().map(near).sum();
        (smooth + weight * prior.hours[off][hour]) / (total + weight)
    }

    /// Share of each kind of day: votes a day as the prior would spread them; without any votes the prior stands.
    fn kinds(&self, prior: &Shares, totals: [f64; 2], days: f64) -> [f64; 2] {
        let exposure = self.exposure.map(f64::from);
        let spread: f64 = (0..2).map(|off| exposure[off] * prior.kind[off]).sum();
        let level = (totals[0] + totals[1]).max(1e-9) / spread.max(1e-9);
        let daily = [0, 1].map(|off: usize| (totals[off] + days * level * prior.kind[off]) / (exposure[off] + days));
        daily.map(|votes| votes / (daily[0] + daily[1]))
    }
}

/// Days without any use that are looked at one by one.
const PASSED_MAX: i32 = 28;

/// What is learnt of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Habit {
    pub(super) hours: Histogram,
    /// Days of the last long blocks at unusual hours: three within ten days are a new habit.
    pub(super) blocks: [Option<Day>; 3],
    pub(super) days: f32,
    /// For how many quarters of an hour the newest day ended at work.
    late: u8,
    /// In what a day may know: how many days that were told are left out of it.
    #[serde(skip)]
    pub(super) apart: u8,
}

impl Habit {
    /// What a sentence has to say of days that are left out.
    pub(super) fn apart_from(&self) -> String {
        match self.apart {
            0 => String::new(),
            1 => ", apart from a day that was told".to_owned(),
            days => format!(", apart from {days} days that were told"),
        }
    }

    /// For how many quarters of an hour `day` ended at work, where it is the newest.
    pub(super) fn late_on(&self, day: Day) -> u8 {
        if self.hours.as_of == Some(day) { self.late } else { 0 }
    }
}

/// What one settled day teaches about an account.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct HabitStep {
    pub(super) off: bool,
    pub(super) hours: u32,
    pub(super) block: bool,
    /// Quarters of an hour of the block that reaches the end of the day.
    pub(super) late: u8,
}

impl Learn for Habit {
    type Step = HabitStep;
    fn fold(&mut self, day: Day, step: &HabitStep) {
        self.hours.pass(day, step.off, 1.0);
        self.late = step.late;
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
    /// Those of them that taught a score.
    scored: u32,
    /// The most accounts that came on one day of late.
    members: f32,
}

/// What is left a day later of the most accounts that came on one day.
const MEMBERS_KEEP: f32 = 0.99;

/// What one settled day teaches about a group: accounts by hour on working days and on days off, and their scores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GroupDay {
    pub(super) votes: [[f32; 24]; 2],
    pub(super) scores: ScoreStep,
    /// Members that were there.
    pub(super) present: f32,
    /// Whether the day was a day off for most of them.
    pub(super) off: f32,
}

impl Learn for Group {
    type Step = GroupDay;
    fn fold(&mut self, day: Day, step: &GroupDay) {
        // As many as came on the busiest day of late could come on any day.
        self.members = (self.members * MEMBERS_KEEP).max(step.present);
        self.hours.pass(day, step.off * 2.0 > step.present, self.members);
        for (votes, step) in self.hours.votes.iter_mut().flatten().zip(step.votes.iter().flatten()) {
            *votes += step;
        }
        self.scores.fold(day, &step.scores);
        self.days += 1;
        self.scored += u32::from(!step.scores.is_empty());
    }
}

impl Scored for Group {
    type Part = Part;
    fn scores(&self) -> &ScoreHistory {
        &self.scores
    }
    fn leave_out(&mut self, taught: Day, part: &Part) {
        part.bin.into_iter().for_each(|bin| self.scores.take_back(taught, bin));
        self.hours.leave_out(taught, part.off, part.hours);
    }
}

/// What an account-day has taught a group: the bin of its score, where it taught one and the group ranks them, and its hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    bin: Option<u8>,
    off: bool,
    hours: u32,
}

/// What a day that was told has taught, to be taken back where it was misuse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Taught {
    pub(super) group: GroupIx,
    /// The bins of its score, weakened and as it was; none where it taught none.
    pub(super) bins: Option<[u8; 2]>,
    pub(super) off: bool,
    pub(super) hours: u32,
}

impl Taught {
    /// Takes it back out of a habit.
    pub(super) fn leave(&self, habit: &mut Habit, taught: Day) {
        habit.hours.leave_out(taught, self.off, self.hours);
        habit.days = (habit.days - 1.0).max(0.0);
        habit.apart = habit.apart.saturating_add(1);
    }
}

/// The set bits of a day's hours.
pub(super) fn bits(hours: u32) -> impl Iterator<Item = usize> {
    (0..24).filter(move |hour| hours & (1 << hour) != 0)
}

/// What the accounts of a role have in common on a day.
///
/// A crossing is held against scores as it is measured, before anything can weaken them. Unweakened it would pass at settling too: what
/// turns out not to pass was weakened by something that can be named.
pub(super) fn limits(maps: &Maps, role: GroupIx, constants: &Constants<'_>) -> Limits {
    let day = constants.day;
    let root = constants.subjects.chain(role).last().unwrap_or(role);
    let hours =
        |group: GroupIx, prior: &Shares| maps.groups.as_of(group, day).hours.shares(prior, SITE_VOTES, ROLE_KIND_DAYS);
    let site = hours(root, &Shares::shipped());
    let peers = if role == root { site } else { hours(role, &site.expected(&hours(role, &site))) };
    let (seen, settled) = (maps.seen(role, constants), maps.settled(role, constants));
    let (told, held) = (constants.alphas.told, constants.alphas.held);
    Limits {
        peers,
        cross: seen.score(told).max(settled.score(told)),
        unusual: seen.score(UNUSUAL),
        rare: seen.score(held.min(UNUSUAL)),
    }
}

/// What is learnt of groups, and the maps from scores to p-values that follow: for a role, drawn to that of everybody of its sort and to
/// the shipped one.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Maps {
    pub(super) groups: Groups<Group>,
    /// Scores before anything weakens them.
    seen: Groups<ScoreHistory>,
}

impl Maps {
    /// The map for scores inside the day, which nothing has weakened yet.
    pub(super) fn seen(&self, role: GroupIx, constants: &Constants<'_>) -> Arc<Calibration> {
        self.map(&self.seen, role, constants)
    }

    /// The map for scores of settled days.
    pub(super) fn settled(&self, role: GroupIx, constants: &Constants<'_>) -> Arc<Calibration> {
        self.map(&self.groups, role, constants)
    }

    fn map<G: Scored>(&self, scores: &Groups<G>, role: GroupIx, constants: &Constants<'_>) -> Arc<Calibration> {
        // One Saturday says little of what is rare on a Tuesday.
        let speaks = |group: &GroupIx| self.groups.as_of(*group, constants.day).scored >= SCORED_MIN;
        let chain: Vec<GroupIx> = constants.subjects.chain(role).filter(speaks).collect();
        scores.calibration(&chain, constants.day, &SHIPPED_SCORES)
    }

    /// Notes the account-days that were ruled on.
    pub(super) fn rule(&mut self, told: &Told<SubjectIx, Taught>, subjects: &Subjects) {
        let group = |taught: &Taught| taught.group;
        let bin = |taught: &Taught, which: usize, ranked: bool| taught.bins.filter(|_| ranked).map(|bins| bins[which]);
        self.groups.rule(ruled(told, subjects, group, |taught, ranked| {
            Some(Part { bin: bin(taught, 0, ranked), off: taught.off, hours: taught.hours })
        }));
        self.seen.rule(ruled(told, subjects, group, |taught, ranked| bin(taught, 1, ranked)));
    }

    /// Notes what a settled day taught.
    pub(super) fn teach(&mut self, day: Day, taught: BTreeMap<GroupIx, (GroupDay, ScoreStep)>) {
        for (ix, (group, seen)) in taught {
            self.groups.teach(ix, day, group);
            self.seen.teach(ix, day, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1970-01-05 was a Monday.
    const MONDAY: i32 = 4;
    const NINE_TO_FOUR: u32 = 0b1111_1110_0000_0000;

    /// Score of an hour for an account that works from nine to four on the given weekdays for so many weeks.
    fn score(weekdays: &[i32], weeks: i32, off: bool, hour: usize) -> f64 {
        let mut habit = Habit::default();
        for day in (0..7 * weeks).filter(|day| weekdays.contains(&(day % 7))) {
            let day = Day(MONDAY + day);
            habit.fold(day, &HabitStep { off: day.weekday() >= 5, hours: NINE_TO_FOUR, block: false, late: 0 });
        }
        -habit.hours.shares(&Shares::shipped(), ROLE_VOTES, KIND_DAYS).of(off)[hour].log10()
    }

    #[test]
    fn days_off_are_as_telling_as_nights() {
        let weekdays = [0, 1, 2, 3, 4];
        let all = [0, 1, 2, 3, 4, 5, 6];
        // Without any habit every hour is what is shipped.
        assert!((score(&[], 1, true, 11) - score(&[], 1, false, 11)).abs() < 0.6);
        // Who works every day is no more surprising on Sunday than on Monday.
        assert!((score(&all, 8, true, 11) - score(&all, 8, false, 11)).abs() < 0.1);
        // Who works on weekdays only is, the more the longer; but not on the first weekend.
        let sundays = [1, 4, 12].map(|weeks| score(&weekdays, weeks, true, 11) - score(&weekdays, weeks, false, 11));
        assert!(sundays[0] < 1.0 && sundays[1] > 1.2 && sundays[2] > sundays[1], "{sundays:?}");
        // And by night on top of it.
        assert!(score(&weekdays, 8, true, 3) > score(&weekdays, 8, true, 11) + 0.3);
        assert!(score(&weekdays, 8, false, 3) > score(&weekdays, 8, false, 11) + 1.2);
        // Who works at weekends only is not, and is on a Monday.
        assert!(score(&[5, 6], 8, true, 11) + 1.0 < score(&[5, 6], 8, false, 11));
    }

    #[test]
    fn shares_sum_to_one() {
        let shares = Shares::shipped();
        let sum: f64 = [false, true].iter().flat_map(|off| shares.of(*off)).sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_hour_is_scored_as_all_of_them() {
        let mut habit = Habit::default();
        for day in 0..40 {
            let step = HabitStep { off: day % 7 >= 5, hours: NINE_TO_FOUR << (day % 5), block: false, late: 0 };
            habit.fold(Day(MONDAY + day), &step);
        }
        let limits = Limits { peers: Shares::shipped(), cross: 0.0, unusual: 0.0, rare: 0.0 };
        for off in [false, true] {
            let all = habit.hours.shares(&limits.peers, ROLE_VOTES, KIND_DAYS).of(off);
            let surprises = Surprises::new(&habit.hours, &limits, off);
            (0..24).for_each(|hour| assert_eq!(surprises.of(hour), -all[hour].log10() as f32));
        }
    }
}
