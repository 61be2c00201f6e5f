//! The staff: units, people with their roles and working patterns, and what becomes of each account during the run.
//!
//! A person's fate (leaves, is hired, moves, lapses ...) is part of the clean world: misuse chooses among what is there anyway.

use super::calendar::holidays;
use super::dice::{Dice, mix_unit};
use super::patients::{GIVEN, Town, surname};
use super::roles::{Pattern, Role, UnitKind};
use super::{Plan, fates};
use crate::event::{Day, Time, Zone};

/// A hospital of the group.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its name in records.
    pub name: &'static str,
    /// Its time zone.
    pub zone: Zone,
    /// Days on which the offices are closed.
    pub holidays: Vec<Day>,
    /// Its units, as indices.
    pub units: Vec<u32>,
}

/// A ward, clinic or department.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The department's name in the rosters.
    pub name: String,
    /// What it does.
    pub kind: UnitKind,
}

/// What becomes of an account during the run; days are counted from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Steady,
    /// Terminated on that day.
    Leaves(i32),
    /// First working day.
    Hired(i32),
    /// Terminated, and hired again.
    Returns(i32, i32),
    /// Disabled on that day.
    Disabled(i32),
    /// Still active, but not used from that day on.
    Lapses(i32),
    /// Created on that day and not used.
    Unused(i32),
    /// Works in another unit from that day on.
    Moves(i32, u32),
    /// Has another title from that day on.
    Promoted(i32),
}

/// A human account.
#[derive(Debug, Clone)]
pub struct Person {
    /// Account name.
    pub id: String,
    /// Given and family name.
    pub name: String,
    /// What the person does.
    pub role: Role,
    /// Home hospital.
    pub site: usize,
    /// Home unit at the start.
    pub unit: u32,
    /// When the person works.
    pub pattern: Pattern,
    /// What becomes of the account.
    pub fate: Fate,
    /// Known absence, as days from the start.
    pub leave: Option<(i32, i32)>,
    /// How many rows an open makes, against the average.
    pub pace: f64,
    /// The person's own chart.
    pub patient: Option<u32>,
}

/// Sites, units, people.
#[derive(Debug, Clone)]
pub struct Staff {
    /// The seed, for choices by hash.
    pub seed: u64,
    /// First day of the run.
    pub start: Day,
    /// Hospitals.
    pub sites: Vec<Site>,
    /// Units of all hospitals.
    pub units: Vec<Unit>,
    /// Human accounts.
    pub people: Vec<Person>,
}

/// A row of `users.csv`: what is true of an account for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// First instant; open where `None`.
    pub from: Option<Time>,
    /// First instant after; open where `None`.
    pub to: Option<Time>,
    /// The unit then.
    pub unit: u32,
    /// `active`, `leave`, `disabled`, `terminated`.
    pub status: &'static str,
    /// The role as the roster calls it.
    pub title: &'static str,
}

impl Staff {
    /// Hires everybody.
    pub fn new(plan: &Plan, town: &Town) -> Staff {
        let sites = sites(plan);
        let mut staff = Staff { seed: plan.seed, start: plan.start, sites, units: Vec::new(), people: Vec::new() };
        let shares: &[f64] = if staff.sites.len() == 2 { &[0.68, 0.32] } else { &[1.0] };
        let mut left = plan.users;
        for (site, share) in shares.iter().enumerate() {
            let count = if site + 1 == shares.len() { left } else { (plan.users as f64 * share) as usize };
            left -= count;
            staff.fill_site(site, count, town);
        }
        let mut dice = Dice::new(plan.seed, "fates", &[]);
        fates::assign(&mut staff, plan.days as i32, plan.misuses, &mut dice);
        staff
    }

    /// Opens the units of a hospital and fills them with people.
    fn fill_site(&mut self, site: usize, count: usize, town: &Town) {
        let mut dice = Dice::new(self.seed, "staff", &[site as u64]);
        let mut left = count;
        for (index, role) in Role::ALL.iter().enumerate() {
            let wanted = ((count as f64 * role.share()).round() as usize).max(1);
            let people = if index + 1 == Role::ALL.len() { left } else { wanted.min(left) };
            left -= people;
            let units = self.open_units(site, *role, people);
            for number in 0..people {
                let unit = units[number % units.len()];
                self.hire(site, *role, unit, town, &mut dice);
            }
        }
    }

    fn open_units(&mut self, site: usize, role: Role, people: usize) -> Vec<u32> {
        let (kind, size) = role.unit();
        let wanted = ((people as f64 / size as f64).round() as usize).max(1);
        let existing = self.of_kind(site, kind);
        if !existing.is_empty() {
            return existing;
        }
        for number in 0..wanted {
            let letter = char::from(b'A' + site as u8);
            self.sites[site].units.push(self.units.len() as u32);
            self.units.push(Unit { name: format!("{} {letter}{}", kind.name(), number + 1), kind });
        }
        self.of_kind(site, kind)
    }

    fn hire(&mut self, site: usize, role: Role, unit: u32, town: &Town, dice: &mut Dice) {
        let index = self.people.len() as u64;
        let pattern = role.pattern(dice.unit());
        let unit = match pattern {
            Pattern::Float => self.float_unit(site),
            _ => unit,
        };
        let patient = dice.chance(0.5).then(|| dice.below(town.count() as usize) as u32);
        let family = patient.map_or_else(|| surname(self.seed, &[9, index]), |p| town.surname(p));
        self.people.push(Person {
            id: format!("u{:05}", 10_000 + index * 2 + (mix_unit(self.seed, &[8, index]) * 2.0) as u64),
            name: format!("{} {family}", dice.pick(&GIVEN)),
            role,
            site,
            unit,
            pattern,
            fate: Fate::Steady,
            leave: None,
            pace: dice.gamma(1.0, 0.3).clamp(0.5, 2.0),
            patient,
        });
    }

    fn float_unit(&mut self, site: usize) -> u32 {
        if let Some(unit) = self.of_kind(site, UnitKind::Float).first() {
            return *unit;
        }
        let unit = self.units.len() as u32;
        self.sites[site].units.push(unit);
        let letter = char::from(b'A' + site as u8);
        self.units.push(Unit { name: format!("{} {letter}", UnitKind::Float.name()), kind: UnitKind::Float });
        unit
    }

    /// The units of a kind at a hospital.
    pub fn of_kind(&self, site: usize, kind: UnitKind) -> Vec<u32> {
        let units = &self.sites[site].units;
        units.iter().copied().filter(|unit| self.units[*unit as usize].kind == kind).collect()
    }

    /// An instant on the clock of a person's hospital, on a day of the run.
    pub fn at(&self, person: &Person, day: i32, hour: i8) -> Time {
        self.sites[person.site].zone.at(self.start.plus(day), hour, 0)
    }

    /// What the roster says of an account, in order of time.
    pub fn versions(&self, person: &Person) -> Vec<Version> {
        let title = person.role.name();
        let mut rows = vec![Version { from: None, to: None, unit: person.unit, status: "active", title }];
        match person.fate {
            Fate::Steady | Fate::Lapses(_) => {}
            Fate::Hired(day) => rows[0].from = Some(self.at(person, day - 5, 9)),
            Fate::Unused(day) => rows[0].from = Some(self.at(person, day, 9)),
            Fate::Leaves(day) => split(&mut rows, self.at(person, day, 17), None, "terminated", person.unit),
            Fate::Disabled(day) => split(&mut rows, self.at(person, day, 15), None, "disabled", person.unit),
            Fate::Moves(day, unit) => split(&mut rows, self.at(person, day, 5), None, "active", unit),
            Fate::Promoted(day) => {
                split(&mut rows, self.at(person, day, 5), None, "active", person.unit);
                rows[1].title = "charge nurse";
            }
            Fate::Returns(day, back) => {
                let (from, to) = (self.at(person, day, 17), self.at(person, back - 1, 9));
                split(&mut rows, from, Some(to), "terminated", person.unit);
            }
        }
        if let Some((from, back)) = person.leave {
            split(&mut rows, self.at(person, from, 12), Some(self.at(person, back, 4)), "leave", person.unit);
        }
        rows
    }
}

/// Cuts the row that holds `from` so that another status or unit applies until `to`.
fn split(rows: &mut Vec<Version>, from: Time, to: Option<Time>, status: &'static str, unit: u32) {
    let holds = |row: &Version| row.from.is_none_or(|t| t < from) && row.to.is_none_or(|t| from < t);
    let Some(index) = rows.iter().position(holds) else {
        return;
    };
    let old = rows[index];
    rows[index].to = Some(from);
    rows.insert(index + 1, Version { from: Some(from), to: to.or(old.to), unit, status, title: old.title });
    if to.is_some() {
        rows.insert(index + 2, Version { from: to, ..old });
    }
}

fn sites(plan: &Plan) -> Vec<Site> {
    let all = [("main", "America/Chicago"), ("north", "America/Denver")];
    let count = if plan.users >= 200 { 2 } else { 1 };
    let holidays = holidays(plan.start, plan.days);
    let site = |(name, zone): &(&'static str, &str)| {
        let zone = Zone::get(zone).unwrap_or_else(Zone::utc);
        Site { name, zone, holidays: holidays.clone(), units: Vec::new() }
    };
    all[..count].iter().map(site).collect()
}
