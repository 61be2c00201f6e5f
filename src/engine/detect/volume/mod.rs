//! Mass queries: more events, distinct patients or exported records in a local day than the account and its peers explain.
//!
//! ## What it finds
//! A day far above an account's own habit and that of its peers, in one of three quantities: requests that touch records, distinct
//! patients, and records exported or printed.
//!
//! ## How
//! Shrunken negative binomial (`notes/detection.md`, section 5.1): own mean and dispersion drawn to those of the peers (role and
//! department, role, all), with factors for the day of the week, for the turn of the month (where a group knows one: billing does) and
//! for a surge that the whole group shares. The best of the three p-values, times three, is ranked within the role (section 5.9). Inside
//! the day the count crosses a constant that allows for the largest surge of the last 14 settled days, and so does the p-value that is
//! told then; at settling the surge of the day itself is known.
//!
//! Of a new account the spread between the accounts of its group is all that is known, and that is learnt, too. What is shipped has a
//! spread that holds every role of a hospital; until a level is known nobody is busier than usual, and only the absurd is told.
//!
//! ## When it is wrong
//! New kinds of work (a chart audit, a new screen that doubles the rows) look like misuse until they are habit. One or two opens of
//! a neighbour's record are invisible here.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Constants, Detection, Detector, Findings, Ruling, Seen, Settling, Speaks, Spec, Stage, Verdict, cut};
use crate::engine::stats::calibration::bin;
use crate::engine::stats::counts::capped;
use crate::engine::stats::delayed::{DELAY, Delayed};
use crate::engine::stats::dense::Dense;
use crate::engine::stats::groups::{Groups, ruled};
use crate::engine::stats::open::OpenDays;
use crate::engine::stats::told::Told;
use crate::engine::subjects::{GroupIx, Presence, Sort, SubjectIx, Subjects};
use crate::event::{Activity, Class, Day, Severity};

mod learn;
mod limits;
mod sentence;
mod sources;
mod tally;
#[cfg(test)]
mod tests;
mod view;

use learn::{Lived, residual_cap};
use limits::{Group, GroupDay, Habit, Limits, SURGE_PEERS, Shape, Sum, Taught, ranks, shape, surged};
use sentence::describe;
use sources::Sources;
use tally::Tally;
use view::{View, best, cap, rarity, score, weight};

/// The registry's entry.
pub static SPEC: Spec = Spec {
    family: "mass-query",
    detections: &[EVENTS, PATIENTS, EXPORTS],
    speaks: Speaks::Crossing,
    new: || Box::new(Volume::default()),
};

const SEVERITY: [Severity; 4] = [Severity::Medium, Severity::High, Severity::Critical, Severity::Critical];
const REFERENCES: &[&str] =
    &["45 CFR 164.308(a)(1)(ii)(D)", "45 CFR 164.312(b)", "45 CFR 164.502(b)", "runbook:mass-query"];

const EVENTS: Detection = Detection {
    id: "mass-query.events",
    title: "Unusually many record accesses",
    class: Class::Budgeted,
    severity: SEVERITY,
    references: REFERENCES,
};
const PATIENTS: Detection = Detection {
    id: "mass-query.distinct-patients",
    title: "Unusually many patients opened",
    class: Class::Budgeted,
    severity: SEVERITY,
    references: REFERENCES,
};
const EXPORTS: Detection = Detection {
    id: "mass-query.exports",
    title: "Unusually many records exported or printed",
    class: Class::Budgeted,
    severity: SEVERITY,
    references: REFERENCES,
};

/// The three quantities, in the order of `SPEC.detections`.
const METRICS: usize = 3;
/// Fewer are no mass, however unusual: five prints instead of one cost nobody ten minutes.
const MASS: [u64; METRICS] = [30, 10, 10];
/// The detector.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Volume {
    habits: Dense<Delayed<Habit>>,
    groups: Groups<Group>,
    open: OpenDays<Tally>,
    told: Told<SubjectIx, Taught>,
    sources: Sources,
    /// Shapes that were asked for since a day settled, by day, group and whether it is a day off.
    #[serde(skip)]
    shapes: RefCell<BTreeMap<(Day, GroupIx, bool), Shape>>,
    /// Parts of those present in the sums of the settling day, in their order.
    #[serde(skip)]
    own: Vec<Option<[Sum; METRICS]>>,
    #[serde(skip)]
    sums: BTreeMap<GroupIx, [Sum; METRICS]>,
    /// Whether a source was silent on the settling day.
    #[serde(skip)]
    blind: bool,
    #[serde(skip)]
    tested: u64,
    #[serde(skip)]
    surge: f64,
}

impl Detector for Volume {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        let counts = seen.event.activity().touches_records() || seen.event.activity() == Activity::FileTransfer;
        if seen.presence.sort == Sort::Machine || !counts {
            return;
        }
        self.sources.add(constants.day, seen.event.source());
        let tally = self.open.entry(constants.day, seen.presence.seat);
        tally.add(seen.event, seen.facts);
        let counts = tally.counts();
        let mut limits = tally.limits.unwrap_or(Limits::new(seen.presence.off_day));
        if limits.is_open(counts) {
            let shape = self.shape(seen.presence, limits.off_day, constants);
            limits.refine(counts, &shape, &self.habit(seen.subject, constants));
        }
        let (ratio, metric) = limits.ratio(counts);
        let tally = self.open.entry(constants.day, seen.presence.seat);
        tally.limits = Some(limits);
        if let Some(cut) = cut(ratio)
            && tally.told.is_none_or(|told| cut > u32::from(told))
        {
            tally.told = Some(cut as u8);
            let habit = self.habit(seen.subject, constants);
            let shape = self.shape(seen.presence, limits.off_day, constants);
            let view = self.view_so_far(metric, counts, &shape, &habit, seen.presence, constants);
            let tally = self.open.entry(constants.day, seen.presence.seat);
            let mut finding = describe(tally, &shape, &limits, &habit, &view, seen.subject, seen.presence, constants);
            finding.raised_at = seen.event.time();
            finding.stage = Stage::Crossing(ratio);
            out.push(finding);
        }
    }

    fn sums(&mut self, day: &Settling<'_>) {
        self.sums.clear();
        self.blind = self.sources.is_blind(day.constants.day);
        self.own = day.present.iter().map(|(subject, presence)| self.own_sum(*subject, *presence, day)).collect();
        for ((_, presence), own) in day.present.iter().zip(&self.own) {
            let Some(own) = own else { continue };
            for group in day.constants.subjects.chain(presence.group) {
                let sums = self.sums.entry(group).or_default();
                for (sum, own) in sums.iter_mut().zip(own) {
                    sum.seen += own.seen;
                    sum.expected += own.expected;
                    sum.members += own.members;
                }
            }
        }
    }

    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings) {
        let mut taught: BTreeMap<GroupIx, GroupDay> = BTreeMap::new();
        let mut rulings = false;
        (self.tested, self.surge) = (0, 1.0);
        for ((subject, presence), own) in day.present.iter().zip(std::mem::take(&mut self.own)) {
            let Some(own) = own else { continue };
            let tally = self.open.take(day.constants.day, presence.seat);
            let limits = tally.limits.expect("a sum comes from a tally");
            let shape = self.shape(*presence, limits.off_day, day.constants);
            let habit = self.habit(*subject, day.constants);
            let views = self.views(&tally, &shape, &habit, own, *presence, day.constants);
            let best = best(&views);
            let score = score(best.p);
            let p = self.rank(score, *presence, day.constants);
            self.tested += 1;
            let alphas = day.constants.alphas;
            let (ratio, crossed) = limits.ratio(tally.counts());
            let passes = p <= alphas.told;
            // The threshold that the alert shows.
            let threshold = || shape.crossing(&best.expected, best.metric) as f64;
            let times = if passes { ratio.max(tally.count(best.metric) as f64 / threshold()) } else { ratio };
            let verdict = Verdict { ratio, times, passes, held: p <= alphas.held };
            let is_known = verdict.passes || verdict.held || ratio >= 1.0;
            if is_known {
                let view = if verdict.passes || verdict.held { best } else { views[crossed] };
                let view = View { p_day: p, ..view };
                let mut finding = describe(&tally, &shape, &limits, &habit, &view, *subject, *presence, day.constants);
                finding.stage = Stage::Settled(verdict);
                out.push(finding);
            }
            let scored = self.scored(score, *presence, day.constants);
            let lived = Lived { tally: &tally, shape: &shape, habit: &habit, views: &views, scored, told: passes };
            let steps = self.learn(&lived, *subject, *presence, day, &mut taught);
            if is_known {
                let caps = shape.peers.map(|usual| cap(&usual) as f32);
                let bin = scored.map(bin);
                let residual_caps = std::array::from_fn(|metric| residual_cap(&shape, metric, passes));
                let later = [0; METRICS];
                let taught = Taught { group: presence.group, bin, steps, caps, residual_caps, later };
                rulings |= self.told.note(*subject, day.constants.day, taught, verdict.passes);
            }
        }
        self.teach_groups(day, taught);
        self.sources.settle(day.constants.day);
        self.told.forget(day.constants.day);
        if rulings {
            self.rule_groups(day.constants.subjects);
        }
    }

    fn ruled(&mut self, ruling: &Ruling<'_>) {
        let Some(subject) = ruling.subject else { return };
        self.told.rule(subject, ruling.day, ruling.in_force);
        self.rule_groups(ruling.subjects);
    }

    fn tested(&self) -> u64 {
        self.tested
    }

    fn surge(&self) -> f64 {
        self.surge
    }

    fn forget(&mut self, through: Day) {
        self.shapes.get_mut().clear();
        self.open.forget(through);
        self.sources.forget(through);
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory is plain values")
    }

    fn load(&mut self, bytes: &[u8]) -> bool {
        postcard::from_bytes(bytes).map(|memory| *self = memory).is_ok()
    }
}

impl Volume {
    /// What accounts of the same group have in common, worked out once a day and group.
    fn shape(&self, presence: Presence, off_day: bool, constants: &Constants<'_>) -> Shape {
        let mut known = self.shapes.borrow_mut();
        let fresh = || shape(&self.groups, presence.group, off_day, constants);
        *known.entry((constants.day, presence.group, off_day)).or_insert_with(fresh)
    }

    /// What the day may know of an account.
    fn habit(&self, subject: SubjectIx, constants: &Constants<'_>) -> Habit {
        let mut habit = self.habits.get(subject).map(|habit| habit.for_day(constants.day)).unwrap_or_default();
        for (taught, what) in self.told.left_out(&subject, constants.day) {
            what.leave(&mut habit, constants.day.0 - DELAY - taught.0);
        }
        habit
    }

    /// Tells the groups which account-days were ruled on.
    fn rule_groups(&mut self, subjects: &Subjects) {
        self.groups.rule(ruled(
            &self.told,
            subjects,
            |taught| taught.group,
            |taught, ranked| Some(taught.part(ranked)),
        ));
        self.shapes.get_mut().clear();
    }

    /// An account's part in the sums of its groups: the winsorised count and what was expected.
    fn own_sum(&self, subject: SubjectIx, presence: Presence, day: &Settling<'_>) -> Option<[Sum; METRICS]> {
        let tally = self.open.get(day.constants.day, presence.seat)?;
        let shape = self.shape(presence, tally.limits?.off_day, day.constants);
        let habit = self.habit(subject, day.constants);
        let mut sums = [Sum::default(); METRICS];
        for metric in 0..METRICS {
            let Some(y) = tally.count(metric).checked_sub(1) else { continue };
            // Where nothing is known yet, nobody is busier than usual.
            if !shape.known[metric] {
                continue;
            }
            let expected = habit.0[metric].expect(shape.peers[metric], shape.factor[metric]);
            let seen = capped(y, expected.mu, expected.phi, 1e-4) as f64;
            // By what a day of the account tells: one whose counts are a thousand times larger does not speak for all.
            let weight = weight(&expected);
            sums[metric] = Sum { seen: weight * seen, expected: weight * expected.mu, members: 1.0 };
        }
        Some(sums)
    }

    /// How much busier than expected the others were. Where a source was silent they only look less busy than they were.
    fn surge_of(&self, group: Sum, own: Sum) -> f64 {
        let surge = group.surge(own);
        if self.blind { surge.max(1.0) } else { surge }
    }

    fn views(
        &self,
        tally: &Tally,
        shape: &Shape,
        habit: &Habit,
        own: [Sum; METRICS],
        presence: Presence,
        constants: &Constants<'_>,
    ) -> [View; METRICS] {
        std::array::from_fn(|metric| {
            let others = |ix: GroupIx| self.sums.get(&ix).map_or(Sum::default(), |sums| sums[metric]);
            let mut chain = constants.subjects.chain(presence.group).map(others);
            let group = chain.find(|sum| sum.members - own[metric].members >= SURGE_PEERS).unwrap_or_default();
            let surge = self.surge_of(group, own[metric]);
            let expected = habit.0[metric].expect(shape.peers[metric], shape.factor[metric] * surge);
            let p = rarity(metric, tally.count(metric), &expected);
            View { metric, surge, allowed: None, expected, p, p_day: p }
        })
    }

    /// The metric that crosses, as far as the day is known: what settling will say of these counts where the surge is what is allowed for.
    fn view_so_far(
        &self,
        metric: usize,
        counts: [u64; METRICS],
        shape: &Shape,
        habit: &Habit,
        presence: Presence,
        constants: &Constants<'_>,
    ) -> View {
        let p: [f64; METRICS] = std::array::from_fn(|of| rarity(of, counts[of], &surged(shape, habit, of)));
        let p_day = self.rank(score(p.into_iter().fold(1.0, f64::min)), presence, constants);
        let expected = habit.0[metric].expect(shape.peers[metric], shape.factor[metric]);
        View { metric, surge: 1.0, allowed: Some(shape.allowed[metric]), expected, p: p[metric], p_day }
    }

    fn rank(&self, score: f64, presence: Presence, constants: &Constants<'_>) -> f64 {
        let role = constants.subjects.role(presence.group);
        ranks(&self.groups, role, constants).p(score)
    }
}
