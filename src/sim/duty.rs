//! Who works when: duties are a function of the person and the date, so that rosters and accesses can never disagree.
//!
//! A care day runs from 07:00 to 07:00; every duty that begins in it belongs to it.

use std::collections::BTreeMap;

use super::calendar::is_off;
use super::dice::{mix, mix_unit};
use super::roles::{Pattern, Role, UnitKind};
use super::staff::{Fate, Person, Staff};
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Day, Time};

/// One person at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// Index of the person.
    pub person: u32,
    /// Where the person works this time.
    pub unit: u32,
    /// First instant.
    pub start: Time,
    /// First instant after.
    pub end: Time,
}

/// Everybody at work on a care day of a hospital.
pub struct Team {
    duties: Vec<Duty>,
    by_unit: BTreeMap<(u32, Role), Vec<Duty>>,
    by_role: BTreeMap<Role, Vec<Duty>>,
}

impl Team {
    /// The team of `site` on `day` (from the start of the run).
    pub fn new(staff: &Staff, site: usize, day: i32) -> Team {
        let mut team = Team { duties: Vec::new(), by_unit: BTreeMap::new(), by_role: BTreeMap::new() };
        for (index, person) in staff.people.iter().enumerate().filter(|(_, person)| person.site == site) {
            if let Some(duty) = staff.duty(index as u32, day) {
                team.duties.push(duty);
                team.by_unit.entry((duty.unit, person.role)).or_default().push(duty);
                team.by_role.entry(person.role).or_default().push(duty);
            }
        }
        team
    }

    /// All duties.
    pub fn duties(&self) -> &[Duty] {
        &self.duties
    }

    /// Who of this role is responsible in the unit at that time; the same key finds the same person as long as the shift lasts.
    /// Where the unit has nobody, somebody of the hospital helps out.
    pub fn find(&self, unit: u32, role: Role, time: Time, key: u64) -> Option<u32> {
        let own = self.by_unit.get(&(unit, role)).and_then(|duties| choose(duties, time, key));
        own.or_else(|| self.find_any(role, time, key))
    }

    /// Who of this role is responsible in the hospital at that time.
    pub fn find_any(&self, role: Role, time: Time, key: u64) -> Option<u32> {
        choose(self.by_role.get(&role)?, time, key)
    }

    /// The people of a role.
    pub fn of_role(&self, role: Role) -> &[Duty] {
        self.by_role.get(&role).map_or(&[], Vec::as_slice)
    }
}

/// The one present with the highest hash: a change of the others' presence moves as few patients as possible.
fn choose(duties: &[Duty], time: Time, key: u64) -> Option<u32> {
    let present = duties.iter().filter(|duty| duty.start <= time && time < duty.end);
    present.max_by_key(|duty| mix(key, &[u64::from(duty.person)])).map(|duty| duty.person)
}

impl Staff {
    /// The duty of a person that begins on `day`, if any.
    pub fn duty(&self, index: u32, day: i32) -> Option<Duty> {
        let person = &self.people[index as usize];
        if !employed(person, day) {
            return None;
        }
        let date = self.start.plus(day);
        let key = |purpose: u64| mix_unit(self.seed, &[20, purpose, u64::from(index), day as i64 as u64]);
        let off = is_off(date, &self.sites[person.site].holidays);
        let (hour, minutes, length) = match person.pattern {
            Pattern::Office | Pattern::Clinic => self.office(index, date, off, key(1))?,
            Pattern::Call => resident(index, date, off)?,
            Pattern::Attending => attending(off, key(1), key(2))?,
            _ => self.shift(index, date, key(1))?,
        };
        let jitter = (key(3) * 16.0) as i64 - 8;
        let start = self.sites[person.site].zone.at(date, hour, 0).plus((minutes + jitter) * MINUTE);
        let end = start.plus(length * HOUR + (key(4) * 24.0) as i64 * MINUTE);
        Some(Duty { person: index, unit: self.place(index, day), start, end })
    }

    /// Twelve-hour shifts: three a week in a block, now and then a swap or an extra one.
    fn shift(&self, index: u32, date: Day, draw: f64) -> Option<(i8, i64, i64)> {
        let person = &self.people[index as usize];
        // Weeks begin on Monday; the number only has to be the same for the whole week.
        let week = (date.0 - i32::from(date.weekday())).div_euclid(7);
        let hash = |purpose: u64| mix(self.seed, &[21, purpose, u64::from(index), week as i64 as u64]);
        let works = match person.pattern {
            Pattern::Weekend => date.weekday() >= 5 && draw < 0.88,
            Pattern::PerDiem => draw < 0.18,
            _ => week_of_shifts(hash(1), hash(2)) >> date.weekday() & 1 == 1,
        };
        let night = match person.pattern {
            Pattern::Nights => true,
            Pattern::Rotating => (week + index as i32).div_euclid(3) % 2 == 0,
            Pattern::Float | Pattern::PerDiem | Pattern::Weekend => hash(3) % 100 < 38,
            _ => false,
        };
        works.then_some((if night { 19 } else { 7 }, 0, 12))
    }

    fn office(&self, index: u32, date: Day, off: bool, draw: f64) -> Option<(i8, i64, i64)> {
        let person = &self.people[index as usize];
        let hash = mix(self.seed, &[22, u64::from(index)]);
        let free = person.pattern == Pattern::Clinic && u64::from(date.weekday()) == hash % 5;
        if off || free || draw > 0.95 {
            return None;
        }
        // An hour of overtime now and then.
        Some((7, (hash % 5) as i64 * 20 + 15, if draw < 0.07 { 10 } else { 9 }))
    }

    /// Where somebody works on a day: residents rotate every four weeks, the float pool every shift.
    pub fn place(&self, index: u32, day: i32) -> u32 {
        let person = &self.people[index as usize];
        let choose = |kinds: &[UnitKind], turn: i32| {
            let units: Vec<u32> = kinds.iter().flat_map(|kind| self.of_kind(person.site, *kind)).collect();
            let draw = mix(self.seed, &[23, u64::from(index), turn as i64 as u64]);
            units.get(draw as usize % units.len().max(1)).copied().unwrap_or(person.unit)
        };
        match (person.pattern, person.fate) {
            (Pattern::Float, _) => choose(&[UnitKind::Ward], day),
            (Pattern::Call, _) => choose(&[UnitKind::Ward, UnitKind::Ward, UnitKind::Emergency], day.div_euclid(28)),
            (_, Fate::Moves(from, unit)) if day >= from => unit,
            _ => person.unit,
        }
    }
}

fn employed(person: &Person, day: i32) -> bool {
    let away = person.leave.is_some_and(|(from, back)| (from..back).contains(&day));
    let here = match person.fate {
        Fate::Steady | Fate::Moves(..) | Fate::Promoted(_) => true,
        Fate::Hired(first) => day >= first,
        Fate::Leaves(last) | Fate::Disabled(last) | Fate::Lapses(last) => day < last,
        Fate::Returns(last, back) => day < last || day >= back,
        Fate::Unused(_) => false,
    };
    here && !away
}

/// Seven bits from Monday on.
fn week_of_shifts(block: u64, swap: u64) -> u64 {
    let first = block % 7;
    let third = if block >> 8 & 3 == 0 { first + 4 } else { first + 2 };
    let mut days = [first, (first + 1) % 7, third % 7];
    if swap.is_multiple_of(10) {
        days[2] = swap >> 8 & 3;
    }
    let extra = if swap % 100 < 8 { 1 << (swap >> 16 & 3) } else { 0 };
    days.iter().fold(extra, |bits, day| bits | 1 << day)
}

fn resident(index: u32, date: Day, off: bool) -> Option<(i8, i64, i64)> {
    match (date.0 + index as i32).rem_euclid(4) {
        0 => Some((7, 0, 24)),
        1 => None,
        _ if off => None,
        _ => Some((6, 50, 11)),
    }
}

fn attending(off: bool, draw: f64, late: f64) -> Option<(i8, i64, i64)> {
    match off {
        true => (draw < 0.22).then_some((8, 0, 6)),
        false => (draw < 0.92).then_some((7, 20, if late < 0.2 { 13 } else { 10 })),
    }
}
