//! After-hours: the rarest hour of the day against the account's own habit and that of its role.
//!
//! ## What it finds
//! Use at an hour at which this account, and people like it, are not seen: the day clerk at 03:10 on a Sunday.
//!
//! ## How
//! A histogram of 24 local hours for working days and for days off, one vote for each distinct hour of a day, drawn to the role's and
//! the site's (`notes/detection.md`, section 5.5). The score is `-log10` of the share of the rarest hour; it is ranked within the
//! role, always. Hours inside a known shift do not count. At settling a long block of work without a shift feed, or three colleagues of
//! the unit at the same rare hour, weaken what is unusual. Nothing can weaken a crossing yet: it is held against scores as they are
//! before that, the settled verdict against settled ones.
//!
//! ## When it is wrong
//! Hours say little about staff on call. A shift changed without a shift feed looks unusual for its first days.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Constants, Detection, Detector, Finding, Findings, Ruling, Seen, Settling, Speaks, Spec, Stage, Verdict, cut,
    facts, finding, one_in,
};
use crate::engine::stats::calibration::{ScoreStep, bin};
use crate::engine::stats::delayed::Delayed;
use crate::engine::stats::dense::Dense;
use crate::engine::stats::open::OpenDays;
use crate::engine::stats::told::Told;
use crate::engine::subjects::{GroupIx, Presence, Sort, SubjectIx};
use crate::event::{Class, Day, Severity};

mod habit;
mod tally;
#[cfg(test)]
mod tests;

use habit::{GroupDay, Habit, HabitStep, Limits, Maps, Surprises, Taught, UNUSUAL, bits, limits};
use tally::{Evidence, Tally, block, late, rarest};

/// The registry's entry.
pub static SPEC: Spec =
    Spec { family: "after-hours", detections: &[HABIT], speaks: Speaks::Crossing, new: || Box::new(Hours::default()) };

const HABIT: Detection = Detection {
    id: "after-hours.habit",
    title: "Use at an unusual hour",
    class: Class::Budgeted,
    severity: [Severity::Medium, Severity::High, Severity::High, Severity::High],
    references: &["45 CFR 164.308(a)(1)(ii)(D)", "45 CFR 164.312(b)", "runbook:after-hours"],
};

/// What weakens an unusual hour at settling.
const WEAK: f64 = 0.3;
/// What every other account-day has, or every fifth, is not rare.
const EXPLAINED: f64 = 0.2;
/// So many accounts of a unit at the same rare hour have a cause in common, where the unit is not so large that as many meet by chance.
const COLLEAGUES: usize = 3;
/// Scores are ranked among those of accounts and sites that have a habit: before, every hour is as rare as any other.
const SITE_DAYS_MIN: u32 = 10;
const OWN_DAYS_MIN: f32 = 5.0;

/// The detector.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Hours {
    habits: Dense<Delayed<Habit>>,
    maps: Maps,
    open: OpenDays<Tally>,
    told: Told<SubjectIx, Taught>,
    /// Limits that were asked for since a day settled, by day and role.
    #[serde(skip)]
    limits: RefCell<BTreeMap<(Day, GroupIx), Arc<Limits>>>,
    /// Accounts of a unit that were together at a rare hour, by unit and hour.
    #[serde(skip)]
    together: BTreeMap<(u32, usize), usize>,
    #[serde(skip)]
    tested: u64,
    #[serde(skip)]
    unjudged: u64,
}

impl Detector for Hours {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        if seen.presence.sort == Sort::Machine || !seen.is_use() {
            return;
        }
        let (seat, hour) = (seen.presence.seat, usize::from(seen.facts.clock.hour));
        let tally = self.open.entry(constants.day, seat);
        let known = tally.outside;
        if !tally.add(seen, constants) {
            return;
        }
        let first = known & (1 << hour) == 0;
        if first {
            let limits = self.limits(seen.presence.group, constants);
            let habit = self.habit(seen.subject, constants);
            let surprise = Surprises::new(&habit.hours, &limits, seen.presence.off_day).of(hour);
            self.open.entry(constants.day, seat).rate(hour, surprise, &limits);
        }
        let tally = self.open.entry(constants.day, seat);
        if tally.unusual & (1 << hour) != 0 {
            let evidence = tally.evidence.get_or_insert_default();
            evidence.events.add(seen.event);
            for patient in &seen.facts.patients {
                evidence.patients.insert(patient.patient_id);
            }
        }
        if first {
            self.cross(seen, constants, out);
        }
    }

    fn sums(&mut self, day: &Settling<'_>) {
        self.together.clear();
        let mut units: BTreeMap<u32, usize> = BTreeMap::new();
        for (_, presence) in day.present {
            let tally = self.open.get(day.constants.day, presence.seat);
            let Some(tally) = tally.filter(|tally| tally.hours != 0) else { continue };
            *units.entry(presence.unit).or_default() += 1;
            for hour in bits(tally.rare) {
                *self.together.entry((presence.unit, hour)).or_default() += 1;
            }
        }
        let by_chance = |unit: u32| UNUSUAL * units[&unit] as f64;
        self.together.retain(|(unit, _), count| *count >= COLLEAGUES && *count as f64 >= by_chance(*unit));
    }

    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings) {
        let mut taught = BTreeMap::new();
        let mut rulings = false;
        (self.tested, self.unjudged) = (0, 0);
        for (subject, presence) in day.present {
            let tally = self.open.take(day.constants.day, presence.seat);
            if tally.hours == 0 {
                continue;
            }
            let habit = self.habit(*subject, day.constants);
            let settled = self.judge(&tally, &habit, *subject, *presence, day.constants, out);
            let was_taught = self.learn(&tally, &habit, settled, *subject, *presence, day.constants, &mut taught);
            if settled.is_known {
                rulings |= self.told.note(*subject, day.constants.day, was_taught, settled.is_told);
            }
        }
        self.maps.teach(day.constants.day, taught);
        self.told.forget(day.constants.day);
        if rulings {
            self.maps.rule(&self.told, day.constants.subjects);
        }
    }

    fn ruled(&mut self, ruling: &Ruling<'_>) {
        let Some(subject) = ruling.subject else { return };
        self.told.rule(subject, ruling.day, ruling.in_force);
        self.maps.rule(&self.told, ruling.subjects);
        self.limits.get_mut().clear();
    }

    fn tested(&self) -> u64 {
        self.tested
    }

    fn unjudged(&self) -> u64 {
        self.unjudged
    }

    fn forget(&mut self, through: Day) {
        self.limits.get_mut().clear();
        self.open.forget(through);
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory is plain values")
    }

    fn load(&mut self, bytes: &[u8]) -> bool {
        postcard::from_bytes(bytes).map(|memory| *self = memory).is_ok()
    }
}

impl Hours {
    /// What the accounts of a role have in common, worked out once a day and role.
    fn limits(&self, group: GroupIx, constants: &Constants<'_>) -> Arc<Limits> {
        let role = constants.subjects.role(group);
        let mut known = self.limits.borrow_mut();
        let fresh = || Arc::new(limits(&self.maps, role, constants));
        known.entry((constants.day, role)).or_insert_with(fresh).clone()
    }

    /// What the day may know of an account.
    fn habit(&self, subject: SubjectIx, constants: &Constants<'_>) -> Habit {
        let mut habit = self.habits.get(subject).map(|habit| habit.for_day(constants.day)).unwrap_or_default();
        self.told.left_out(&subject, constants.day).for_each(|(taught, what)| what.leave(&mut habit, taught));
        habit
    }

    /// Raises a crossing where the rarest hour is rare enough, and rarer than what was told.
    fn cross(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        let limits = self.limits(seen.presence.group, constants);
        let tally = self.open.entry(constants.day, seen.presence.seat);
        let (hour, score) = tally.rarest();
        let ratio = score / limits.cross;
        let Some(cut) = cut(ratio).filter(|cut| tally.told.is_none_or(|told| *cut > u32::from(told))) else { return };
        tally.told = Some(cut as u8);
        let role = constants.subjects.role(seen.presence.group);
        // What settling will say unless it finds what weakens the hour.
        let map = self.maps.settled(role, constants);
        let p = (map.p(score), map.known());
        let habit = self.habit(seen.subject, constants);
        let tally = self.open.get(constants.day, seen.presence.seat).expect("it was just counted on");
        let mut finding = describe(tally, &habit, hour, p, "", seen.subject, seen.presence, constants);
        finding.raised_at = seen.event.time();
        finding.stage = Stage::Crossing(ratio);
        out.push(finding);
    }

    /// Judges the settled day of an account by its unusual hours.
    fn judge(
        &self,
        tally: &Tally,
        habit: &Habit,
        subject: SubjectIx,
        presence: Presence,
        constants: &Constants<'_>,
        out: &mut Findings,
    ) -> Settled {
        let limits = self.limits(presence.group, constants);
        // The day may have turned out to be a day off: then its hours are judged as such.
        let surprises = Surprises::new(&habit.hours, &limits, presence.off_day);
        let late_before = self.late_before(subject, constants.day);
        let weakened = |hour: usize| f64::from(surprises.of(hour)) * self.weight(tally, hour, late_before, presence);
        let (hour, score) = rarest(tally.outside & tally.unusual, weakened);
        let map = self.maps.settled(constants.subjects.role(presence.group), constants);
        let p = map.p(score);
        let (crossed_hour, crossed) = tally.rarest();
        let ratio = crossed / limits.cross;
        let verdict =
            Verdict { ratio, times: ratio, passes: p <= constants.alphas.told, held: p <= constants.alphas.held };
        let is_known = verdict.passes || verdict.held || ratio >= 1.0;
        if is_known {
            let named = if verdict.passes || verdict.held { hour } else { crossed_hour };
            let why = self.why(tally, named, late_before, presence);
            let mut finding = describe(tally, habit, named, (p, map.known()), &why, subject, presence, constants);
            finding.facts.insert("block".to_owned(), json!(block(tally, named, late_before)));
            finding.stage = Stage::Settled(verdict);
            out.push(finding);
        }
        let (hour, score) = rarest(tally.outside, weakened);
        Settled { score, block: score > 0.0 && block(tally, hour, late_before), is_known, is_told: verdict.passes }
    }

    /// Learns from the settled day of an account; gives back what it taught.
    #[expect(clippy::too_many_arguments, reason = "a private step of settle")]
    fn learn(
        &mut self,
        tally: &Tally,
        habit: &Habit,
        settled: Settled,
        subject: SubjectIx,
        presence: Presence,
        constants: &Constants<'_>,
        taught: &mut BTreeMap<GroupIx, (GroupDay, ScoreStep)>,
    ) -> Taught {
        let role = constants.subjects.role(presence.group);
        // Before that every hour is as rare as any other: its silence means nothing.
        let scored = self.settled_habit(habit, role, constants);
        self.tested += u64::from(scored);
        self.unjudged += u64::from(!scored);
        let step = HabitStep {
            off: presence.off_day,
            hours: tally.hours,
            block: settled.block,
            late: late(tally.slots, presence.end.0 - presence.start.0),
        };
        self.habits.entry(subject).teach(constants.day, step);
        for group in constants.subjects.chain(presence.group) {
            let (step, _) = taught.entry(group).or_default();
            step.present += 1.0;
            step.off += f32::from(u8::from(presence.off_day));
            let votes = &mut step.votes[usize::from(presence.off_day)];
            bits(tally.hours).for_each(|hour| votes[hour] += 1.0);
        }
        for group in constants.subjects.chain(role).filter(|_| scored) {
            let (step, seen) = taught.entry(group).or_default();
            step.scores.add(settled.score);
            seen.add(tally.rarest().1);
        }
        let bins = scored.then(|| [settled.score, tally.rarest().1].map(bin));
        Taught { group: presence.group, bins, off: presence.off_day, hours: tally.hours }
    }

    /// Whether the account and its site were watched long enough for a score to mean something.
    fn settled_habit(&self, own: &Habit, role: GroupIx, constants: &Constants<'_>) -> bool {
        let root = constants.subjects.chain(role).last().unwrap_or(role);
        self.maps.groups.as_of(root, constants.day).days >= SITE_DAYS_MIN && own.days >= OWN_DAYS_MIN
    }

    /// Quarters of an hour for which the account was at work up to the beginning of `day`.
    fn late_before(&self, subject: SubjectIx, day: Day) -> u8 {
        self.habits.get(subject).map_or(0, |habit| habit.newest().late_on(day.plus(-1)))
    }

    /// Only what is unusual can be explained: an hour like any other keeps its score.
    fn weight(&self, tally: &Tally, hour: usize, late_before: u8, presence: Presence) -> f64 {
        let shift_change = !tally.shifts_known && block(tally, hour, late_before);
        let together = self.together.contains_key(&(presence.unit, hour));
        if tally.unusual & (1 << hour) != 0 && (shift_change || together) { WEAK } else { 1.0 }
    }

    /// What weakened the hour, as the end of a sentence.
    fn why(&self, tally: &Tally, hour: usize, late_before: u8, presence: Presence) -> String {
        if !tally.shifts_known && block(tally, hour, late_before) {
            return " The hour is part of a block of at least four hours of work, as in a changed shift.".to_owned();
        }
        let together = self.together.get(&(presence.unit, hour));
        together.map_or(String::new(), |count| {
            format!(" {count} accounts of the unit were active at that unusual hour, as in a call-in.")
        })
    }
}

/// What a settled day teaches of an account's hours.
#[derive(Debug, Clone, Copy)]
struct Settled {
    /// Of the rarest hour, weakened by what explains it.
    score: f64,
    /// Whether that hour lies in a long block of work.
    block: bool,
    /// Whether the day is one that people see.
    is_known: bool,
    /// Whether people hear of it, and nothing explains it.
    is_told: bool,
}

#[expect(clippy::too_many_arguments, reason = "a sentence has many numbers")]
fn describe(
    tally: &Tally,
    habit: &Habit,
    hour: usize,
    (p, known): (f64, f64),
    why: &str,
    subject: SubjectIx,
    presence: Presence,
    constants: &Constants<'_>,
) -> Finding {
    let none = Evidence::default();
    let evidence = tally.evidence.as_deref().unwrap_or(&none);
    let mut finding = finding(&HABIT, constants, subject, presence, &evidence.events);
    let off = usize::from(presence.off_day);
    let kind = if presence.off_day { "days off" } else { "working days" };
    let days: f64 = f64::from(habit.days).min(180.0);
    let votes = f64::from(habit.hours.votes[off][hour]);
    let own = if habit.days < 1.0 {
        "it has no habit yet".to_owned()
    } else if habit.hours.votes[off].iter().sum::<f32>() < 0.05 {
        format!("in {days:.0} days of use never on {kind}")
    } else if votes < 0.05 {
        format!("in {days:.0} days of use never at that hour on {kind}")
    } else {
        format!("in {days:.0} days of use about {votes:.0} times at that hour on {kind}")
    };
    let role = &constants.subjects.named_group(constants.subjects.role(presence.group)).name;
    let date = tally.date(constants.day, hour);
    let night = if date > constants.day && hour < 4 {
        format!(", in the night after {}", constants.day.weekday_name())
    } else {
        String::new()
    };
    // Of what is explained nothing else would be as rare: there is no number to say.
    let peers = if p > EXPLAINED && !why.is_empty() {
        String::new()
    } else {
        // Beyond what is known the tail is a guess, which nobody should read out.
        let rarity =
            if p * known < 1.0 { format!("fewer than {}", one_in((1.0 / known).max(1e-6))) } else { one_in(p) };
        format!(", and {rarity} account-days of {role} has an hour as rare that nothing explains")
    };
    finding.reason = format!(
        "Account {} was used between {hour:02}:00 and {hour:02}:59 on {} {date}{night}; {own}{}{peers}.{why}",
        finding.subject.id,
        date.weekday_name(),
        habit.apart_from(),
    );
    finding.p = Some(p);
    finding.patients = evidence.patients.len() as u64;
    finding.facts = facts([
        ("hour", json!(hour)),
        ("date", json!(date.to_string())),
        ("hours_active", json!(bits(tally.hours).collect::<Vec<_>>())),
        ("day_off", json!(presence.off_day)),
        ("own_days_at_that_hour", json!((votes * 10.0).round() / 10.0)),
        ("own_days", json!(days)),
        ("own_days_left_out", json!(habit.apart)),
        ("peer_group", json!(role)),
        ("shift_known", json!(tally.shifts_known)),
    ]);
    finding
}
