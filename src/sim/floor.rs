//! One care day of one hospital while it is being lived: who is there, what was opened, what paperwork arose.
//!
//! Everything that opens a chart passes through here, so that nobody opens one without being at work.

use super::dice::{Dice, mix};
use super::duty::{Duty, Team};
use super::patients::Town;
use super::roles::Role;
use super::staff::Staff;
use crate::event::Time;
use crate::event::time::{DAY, MINUTE};

/// Why a chart was opened; it decides which rows the open makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Reading the chart.
    Chart,
    /// Reading it and writing a note.
    Note,
    /// Ordering something.
    Order,
    /// Reading or entering a result.
    Result,
    /// Looking at or making images.
    Image,
    /// Checking or giving medication.
    Medication,
    /// Registering or booking.
    Register,
    /// Coding or billing.
    Claim,
}

/// One open of one chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// When.
    pub time: Time,
    /// Who, as an index into the staff.
    pub person: u32,
    /// Whose chart, as an index into the town.
    pub patient: u32,
    /// Why.
    pub act: Act,
    /// Whether from outside the premises.
    pub remote: bool,
}

/// A row of `relations.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation {
    /// Whose.
    pub patient: u32,
    /// `encounter`, `order`, ...
    pub kind: &'static str,
    /// With whom or what.
    pub with: With,
    /// First instant.
    pub start: Time,
    /// First instant after.
    pub end: Time,
}

/// The other side of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// A person.
    Person(u32),
    /// A unit.
    Unit(u32),
}

/// What a care day leaves behind.
#[derive(Debug, Default)]
pub struct CareDay {
    /// Charts opened, in no order.
    pub opens: Vec<Open>,
    /// Paperwork.
    pub relations: Vec<Relation>,
    /// Duties of the day.
    pub duties: Vec<Duty>,
}

/// A care day of a hospital in the making.
pub struct Floor<'a> {
    /// The staff of the whole group.
    pub staff: &'a Staff,
    /// The patients.
    pub town: &'a Town,
    /// Who is at work.
    pub team: Team,
    /// Which hospital.
    pub site: usize,
    /// The day, from the start of the run.
    pub day: i32,
    /// 07:00.
    pub begin: Time,
    /// Chance of this hospital and day.
    pub dice: Dice,
    /// What the day leaves behind.
    pub out: &'a mut CareDay,
}

impl Floor<'_> {
    /// 07:00 of the next day, nearly: days are cut alike on the nights when clocks change.
    pub fn end(&self) -> Time {
        self.begin.plus(DAY)
    }

    /// A time between two others.
    pub fn between(&mut self, low: Time, high: Time) -> Time {
        Time(self.dice.between(low.0, high.0))
    }

    /// The person opens the chart, unless it is the person's own.
    pub fn open(&mut self, time: Time, person: u32, patient: u32, act: Act) {
        self.open_from(time, person, patient, act, false);
    }

    /// As [`Floor::open`], perhaps from outside the premises.
    pub fn open_from(&mut self, time: Time, person: u32, patient: u32, act: Act, remote: bool) {
        // Now and then a namesake's chart comes first; nothing ties the reader to it.
        if self.dice.chance(0.012) {
            let (patient, time) = (self.somebody(), time.plus(-MINUTE));
            self.out.opens.push(Open { time, person, patient, act: Act::Chart, remote });
        }
        if self.staff.people[person as usize].patient != Some(patient) {
            self.out.opens.push(Open { time, person, patient, act, remote });
        }
    }

    /// Whoever of the role answers for the patient in the unit at that time opens the chart.
    pub fn open_by(&mut self, unit: u32, role: Role, time: Time, patient: u32, act: Act) -> Option<u32> {
        let key = mix(self.staff.seed, &[30, u64::from(patient), self.day as i64 as u64]);
        let person = self.team.find(unit, role, time, key)?;
        self.open(time, person, patient, act);
        Some(person)
    }

    /// Whoever is free opens the chart: work that is shared out anew each time.
    pub fn open_by_any(&mut self, role: Role, time: Time, patient: u32, act: Act) -> Option<u32> {
        let key = mix(self.staff.seed, &[31, u64::from(patient), time.0 as u64]);
        let person = self.team.find_any(role, time, key)?;
        self.open(time, person, patient, act);
        Some(person)
    }

    /// Paperwork with a unit; some of it is never done.
    pub fn relate_unit(&mut self, patient: u32, kind: &'static str, unit: u32, start: Time, end: Time, done: f64) {
        if self.dice.chance(done) {
            self.out.relations.push(Relation { patient, kind, with: With::Unit(unit), start, end });
        }
    }

    /// Paperwork with a person; some of it is never done.
    pub fn relate_person(&mut self, patient: u32, kind: &'static str, person: u32, start: Time, end: Time, done: f64) {
        if self.dice.chance(done) {
            self.out.relations.push(Relation { patient, kind, with: With::Person(person), start, end });
        }
    }

    /// Paperwork with the home unit of whoever did the work.
    pub fn relate_home(&mut self, patient: u32, kind: &'static str, person: u32, time: Time, done: f64) {
        let home = self.staff.people[person as usize].unit;
        self.relate_unit(patient, kind, home, time.plus(-60 * MINUTE), time.plus(DAY), done);
    }

    /// A living patient of the town; some come again and again.
    pub fn somebody(&mut self) -> u32 {
        loop {
            let draw = self.dice.unit();
            let patient = (draw * draw * f64::from(self.town.count())) as u32;
            if !self.town.is_dead(patient, self.day) {
                return patient;
            }
        }
    }
}
