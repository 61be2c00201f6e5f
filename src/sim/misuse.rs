//! Planted misuse, with its labels: people with goals, acting through the same accounts, workstations and rows as everybody else.
//!
//! The events of a misuse come from its own stream of chance, so that planting one changes nothing else in the run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::care::Care;
use super::dice::Dice;
use super::duty::Duty;
use super::floor::{Act, Open};
use super::line::SimEvent;
use super::plot::Plot;
use super::scribe::Scribe;
use super::staff::Fate;
use super::{BURN_IN, Hospital};
use crate::event::time::{DAY, HOUR, MINUTE, SECOND};
use crate::event::{Subject, SubjectKind, Time};

/// One planted misuse, a line of `labels.jsonl` (INTERFACES, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Which kind of misuse.
    pub scenario: String,
    /// Who did it.
    pub subject: Subject,
    /// First event; RFC 3339.
    pub start: String,
    /// First instant after the last event; RFC 3339.
    pub end: String,
    /// All its events.
    pub event_ids: Vec<String>,
}

/// Days at the beginning in which nothing is planted, where the run is long enough.
const WARM_UP: i32 = 21;

/// How many of one kind: about 0.5 misuses of all eight kinds per 1,000 user-weeks, and at least two of each; as often as the plan asks.
fn wanted(hospital: &Hospital) -> usize {
    let weeks = hospital.plan.users as f64 * f64::from(hospital.plan.days) / 7.0;
    ((0.5 * weeks / 1_000.0 / 8.0).round().max(2.0) * hospital.plan.misuses).round() as usize
}

/// A way to plan one kind of misuse; the number says how many were planned before.
type Choose<'h> = for<'c, 'd> fn(&'c Chooser<'h>, &'d mut Dice, usize) -> Option<Plot>;

/// Chooses and writes the misuses: their events in order of arrival, and their labels in order of time.
pub(super) fn plant(hospital: &Hospital) -> (Vec<SimEvent>, Vec<Label>) {
    let kinds: [(&str, Choose<'_>); 8] = [
        ("mass-query", Chooser::mass_query),
        ("mass-export", Chooser::mass_export),
        ("after-hours", Chooser::after_hours),
        ("dormant-reactivated", Chooser::dormant),
        ("never-used", Chooser::never_used),
        ("terminated-use", Chooser::terminated),
        ("disabled-use", Chooser::disabled),
        ("unknown-account", Chooser::unknown),
    ];
    let chooser = Chooser { hospital, usual: usual(hospital) };
    let (mut events, mut labels) = (Vec::new(), Vec::new());
    let mut taken = BTreeSet::new();
    for (kind, (scenario, choose)) in kinds.iter().enumerate() {
        let mut dice = Dice::new(hospital.plan.seed, scenario, &[]);
        let mut planted = 0;
        for attempt in 0..wanted(hospital) * 100 {
            if planted == wanted(hospital) {
                break;
            }
            // Strengths go by the number planted so far, so that each of them occurs.
            let Some(plot) = choose(&chooser, &mut dice, planted) else {
                continue;
            };
            if !taken.insert((plot.account.id.clone(), plot.day(hospital.plan.misuses))) {
                continue;
            }
            planted += 1;
            let keys = [kind as u64, attempt as u64];
            let scribe = Scribe::new(hospital.plan.seed, &hospital.town, plot.account.clone(), "more texture", &keys);
            let subject = Subject { kind: SubjectKind::User, id: plot.account.id.clone() };
            let (rows, event_ids) = plot.write(scribe);
            labels.extend(label(scenario, subject, &rows, event_ids));
            events.extend(rows);
        }
    }
    events.sort_by_key(|event| event.arrival);
    labels.sort_by(|a: &Label, b| (&a.start, &a.subject).cmp(&(&b.start, &b.subject)));
    (events, labels)
}

fn label(scenario: &str, subject: Subject, rows: &[SimEvent], event_ids: Vec<String>) -> Option<Label> {
    let start = rows.iter().map(|event| event.time).min()?;
    let end = rows.iter().map(|event| event.time).max()?.plus(SECOND);
    let (start, end) = (start.to_string(), end.to_string());
    Some(Label { scenario: scenario.to_owned(), subject, start, end, event_ids })
}

/// Distinct patients per active care day of each person, from the first weeks of care.
fn usual(hospital: &Hospital) -> BTreeMap<u32, f64> {
    let mut care = Care::new(&hospital.staff, hospital.plan.days);
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for day in -BURN_IN..(hospital.plan.days as i32).min(WARM_UP) {
        let done = care.step(&hospital.staff, &hospital.town, day);
        let pairs: BTreeSet<(u32, u32)> = done.opens.iter().map(|open| (open.person, open.patient)).collect();
        let people: BTreeSet<u32> = pairs.iter().map(|(person, _)| *person).collect();
        // The beds are filled after the first two weeks.
        if day >= -7 {
            pairs.iter().for_each(|(person, _)| sums.entry(*person).or_default().0 += 1.0);
            people.iter().for_each(|person| sums.entry(*person).or_default().1 += 1.0);
        }
    }
    sums.into_iter().map(|(person, (patients, days))| (person, patients / days)).collect()
}

/// Finds people and occasions for a misuse; `None` where the draw does not fit, to be tried again.
struct Chooser<'a> {
    hospital: &'a Hospital,
    usual: BTreeMap<u32, f64>,
}

impl Chooser<'_> {
    /// A day after the warm-up on which there is still time for a label to end within the run.
    fn day(&self, dice: &mut Dice) -> i32 {
        let days = self.hospital.plan.days as i32;
        let first = if days > WARM_UP + 2 { WARM_UP } else { 0 };
        dice.between(first.into(), i64::from(days - 1).max(i64::from(first) + 1)) as i32
    }

    /// Somebody with an ordinary account who is at work that day.
    fn at_work(&self, dice: &mut Dice, day: i32) -> Option<(u32, Duty)> {
        let person = dice.below(self.hospital.staff.people.len()) as u32;
        let steady = self.hospital.staff.people[person as usize].fate == Fate::Steady;
        let duty = self.hospital.staff.duty(person, day)?;
        (steady && self.usual.contains_key(&person)).then_some((person, duty))
    }

    /// Patients from all over the town, opened one after another within `within` microseconds of `begin`.
    fn strangers(&self, dice: &mut Dice, begin: Time, within: i64, count: usize) -> Vec<Open> {
        let mut patients = BTreeSet::new();
        while patients.len() < count.min(self.hospital.town.count() as usize / 2) {
            patients.insert(dice.below(self.hospital.town.count() as usize) as u32);
        }
        let mut patients: Vec<u32> = patients.into_iter().collect();
        dice.shuffle(&mut patients);
        let mut times: Vec<Time> = patients.iter().map(|_| begin.plus(dice.between(0, within))).collect();
        times.sort_unstable();
        let open = |(time, patient)| Open { time, person: u32::MAX, patient, act: Act::Chart, remote: false };
        times.into_iter().zip(patients).map(open).collect()
    }

    fn plot(&self, person: u32, day: i32, opens: Vec<Open>) -> Plot {
        let mut account = self.hospital.account(person, day);
        account.pace *= 0.8;
        Plot { account, opens, copies: Vec::new() }
    }

    /// Five to ten times the usual number of patients over the day, or 100 to 300 more within the hour.
    fn mass_query(&self, dice: &mut Dice, turn: usize) -> Option<Plot> {
        let day = self.day(dice);
        let (person, duty) = self.at_work(dice, day)?;
        let usual = self.usual.get(&person).copied()?;
        let length = duty.end.0 - duty.start.0;
        let opens = if turn.is_multiple_of(2) {
            let factor = 4.0 + 5.0 * dice.unit();
            let count = ((usual * factor).round() as usize).max(25);
            self.strangers(dice, duty.start.plus(HOUR / 2), length - HOUR, count)
        } else {
            let count = 100 + dice.below(201);
            let begin = duty.start.plus(dice.between(HOUR / 2, length - 2 * HOUR));
            self.strangers(dice, begin, 55 * MINUTE, count)
        };
        Some(self.plot(person, day, opens))
    }

    /// 50 to 200 records leave: exported in a few large lists, or printed one by one.
    fn mass_export(&self, dice: &mut Dice, turn: usize) -> Option<Plot> {
        let day = self.day(dice);
        let (person, duty) = self.at_work(dice, day)?;
        let length = duty.end.0 - duty.start.0;
        let begin = duty.start.plus(dice.between(HOUR / 2, length - 3 * HOUR));
        let count = 50 + dice.below(151);
        let mut plot = self.plot(person, day, Vec::new());
        let step = if turn.is_multiple_of(2) { 10 + dice.below(50) } else { 1 };
        let copies = self.strangers(dice, begin, 2 * HOUR, count);
        plot.opens = vec![Open { time: begin.plus(-MINUTE), ..copies[0] }];
        plot.copies = copies.chunks(step).map(<[Open]>::to_vec).collect();
        Some(plot)
    }

    /// Somebody who works by day opens 10 to 40 records between two and four at night, before or after a working day or in free days.
    fn after_hours(&self, dice: &mut Dice, turn: usize) -> Option<Plot> {
        let day = self.day(dice);
        let person = dice.below(self.hospital.staff.people.len()) as u32;
        let who = &self.hospital.staff.people[person as usize];
        let at_work = self.hospital.staff.duty(person, day).is_some();
        let fits = who.pattern.is_office() && who.fate == Fate::Steady && who.leave.is_none();
        if !fits || at_work != turn.is_multiple_of(2) || !self.usual.contains_key(&person) {
            return None;
        }
        // 02:00 of the next date belongs to the local day of `day`.
        let begin = self.hospital.staff.at(who, day + 1, 2);
        let count = 10 + dice.below(31);
        let lag = dice.between(0, HOUR / 2);
        let opens = self.strangers(dice, begin.plus(lag), HOUR + 20 * MINUTE, count);
        Some(self.plot(person, day, opens))
    }

    /// A person whose fate fits, drawn at random.
    fn fated(&self, dice: &mut Dice, fits: impl Fn(Fate) -> Option<i32>) -> Option<(u32, i32)> {
        let people = self.hospital.staff.people.iter().enumerate();
        let found: Vec<(u32, i32)> =
            people.filter_map(|(index, person)| Some((index as u32, fits(person.fate)?))).collect();
        (!found.is_empty()).then(|| *dice.pick(&found))
    }

    /// One to twenty opens on a day in office hours.
    fn quiet_use(&self, dice: &mut Dice, person: u32, day: i32) -> Plot {
        let who = &self.hospital.staff.people[person as usize];
        let begin = self.hospital.staff.at(who, day, 9).plus(dice.between(0, 6 * HOUR));
        let count = 1 + dice.below(20);
        let opens = self.strangers(dice, begin, 10 * MINUTE * count as i64, count);
        self.plot(person, day, opens)
    }

    /// An account that was used and then not for 90 days (45 where the run is short) is used again.
    fn dormant(&self, dice: &mut Dice, _: usize) -> Option<Plot> {
        let days = self.hospital.plan.days as i32;
        let (person, last) = self.fated(dice, |fate| if let Fate::Lapses(day) = fate { Some(day) } else { None })?;
        let used = self.usual.contains_key(&person);
        let gap = [90, 45].into_iter().find(|gap| last + gap + 1 < days)?;
        let day = dice.between(i64::from(last + gap + 1), i64::from(days)) as i32;
        used.then(|| self.quiet_use(dice, person, day))
    }

    /// An account that was made and not used for at least 40 days is used.
    fn never_used(&self, dice: &mut Dice, _: usize) -> Option<Plot> {
        let days = self.hospital.plan.days as i32;
        let (person, made) = self.fated(dice, |fate| if let Fate::Unused(day) = fate { Some(day) } else { None })?;
        let first = made + 41;
        (first < days).then(|| {
            let day = dice.between(i64::from(first), i64::from(days)) as i32;
            self.quiet_use(dice, person, day)
        })
    }

    fn terminated(&self, dice: &mut Dice, turn: usize) -> Option<Plot> {
        let (person, day) = self.fated(dice, |fate| if let Fate::Leaves(day) = fate { Some(day) } else { None })?;
        self.after_the_end(dice, person, day, turn)
    }

    fn disabled(&self, dice: &mut Dice, turn: usize) -> Option<Plot> {
        let (person, day) = self.fated(dice, |fate| if let Fate::Disabled(day) = fate { Some(day) } else { None })?;
        self.after_the_end(dice, person, day, turn)
    }

    /// Use between an hour and a week after the account should have been closed.
    fn after_the_end(&self, dice: &mut Dice, person: u32, day: i32, turn: usize) -> Option<Plot> {
        let who = &self.hospital.staff.people[person as usize];
        let end = self.hospital.staff.versions(who).last().and_then(|row| row.from)?;
        let wait = if turn.is_multiple_of(2) {
            HOUR + dice.between(0, 6 * HOUR)
        } else {
            dice.between(DAY, 7 * DAY - 4 * HOUR)
        };
        let begin = end.plus(wait + MINUTE * 5);
        let warm = if self.hospital.plan.days as i32 > WARM_UP + 2 { WARM_UP } else { 0 };
        if day < warm || begin.plus(4 * HOUR) >= self.hospital.span().1 {
            return None;
        }
        let count = 1 + dice.below(20);
        let opens = self.strangers(dice, begin, 10 * MINUTE * count as i64, count);
        Some(self.plot(person, day, opens))
    }

    /// An account that no roster knows.
    fn unknown(&self, dice: &mut Dice, _: usize) -> Option<Plot> {
        let day = self.day(dice);
        let (person, duty) = self.at_work(dice, day)?;
        let count = 3 + dice.below(28);
        let begin = duty.start.plus(dice.between(HOUR, 5 * HOUR));
        let opens = self.strangers(dice, begin, 2 * HOUR, count);
        let mut plot = self.plot(person, day, opens);
        // The numbers in use are below 10,000 and twice the number of accounts above it.
        plot.account.id = format!("u{}", 10_000 + 2 * self.hospital.staff.people.len() + 50 + dice.below(900));
        Some(plot)
    }
}
