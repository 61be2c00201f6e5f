//! The events of the whole run in order of arrival, made day by day: memory is bounded by a day and what is late from it.

use std::collections::BTreeMap;

use super::care::Care;
use super::dice::mix_unit;
use super::floor::{CareDay, Open};
use super::line::SimEvent;
use super::roles::Role;
use super::scribe::{Account, Scribe};
use super::staff::Person;
use super::{BURN_IN, Hospital, admin, machines};
use crate::event::Time;
use crate::event::time::MINUTE;

/// Events in order of arrival.
pub struct Events<'a> {
    hospital: &'a Hospital,
    care: Care,
    day: i32,
    waiting: Vec<SimEvent>,
    ready: std::vec::IntoIter<SimEvent>,
    planted: usize,
    /// Everything that arrives before this instant was handed out.
    done: Time,
}

impl<'a> Events<'a> {
    /// Fills the hospital and stands before the first event.
    pub(super) fn new(hospital: &'a Hospital) -> Events<'a> {
        let mut care = Care::new(&hospital.staff, hospital.plan.days);
        for day in -BURN_IN..-1 {
            care.step(&hospital.staff, &hospital.town, day);
        }
        let (waiting, ready) = (Vec::new(), Vec::new().into_iter());
        Events { hospital, care, day: -1, waiting, ready, planted: 0, done: Time::MIN }
    }

    fn advance(&mut self) {
        let hospital = self.hospital;
        let care = self.care.step(&hospital.staff, &hospital.town, self.day);
        let mut fresh = written(hospital, &care, self.day);
        hospital.vendors.day(hospital, self.day, &mut fresh);
        machines::day(hospital, self.day, &mut fresh);
        admin::day(hospital, self.day, &mut fresh);
        let last = self.day + 1 >= hospital.plan.days as i32;
        let until = if last { Time::MAX } else { hospital.morning(self.day + 1) };
        let planted = &hospital.planted[self.planted..];
        let count = planted.partition_point(|event| event.arrival < until);
        fresh.extend_from_slice(&planted[..count]);
        self.planted += count;
        let (begin, end) = hospital.span();
        fresh.retain(|event| begin <= event.time && event.time < end);
        for event in &mut fresh {
            event.arrival = event.arrival.max(self.done);
        }
        self.waiting.append(&mut fresh);
        self.waiting.sort_by_key(|event| event.arrival);
        let later = self.waiting.split_off(self.waiting.partition_point(|event| event.arrival < until));
        self.ready = std::mem::replace(&mut self.waiting, later).into_iter();
        self.done = until;
        self.day += 1;
    }
}

impl Iterator for Events<'_> {
    type Item = SimEvent;

    fn next(&mut self) -> Option<SimEvent> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            if self.day >= self.hospital.plan.days as i32 {
                return None;
            }
            self.advance();
        }
    }
}

/// The rows of everybody's opens of a care day.
fn written(hospital: &Hospital, care: &CareDay, day: i32) -> Vec<SimEvent> {
    let mut by_person: BTreeMap<u32, Vec<Open>> = BTreeMap::new();
    for open in &care.opens {
        by_person.entry(open.person).or_default().push(*open);
    }
    let mut out = Vec::new();
    for (person, mut opens) in by_person {
        opens.sort_by_key(|open| (open.time, open.patient));
        let account = hospital.account(person, day);
        let keys = [u64::from(person), day as i64 as u64];
        let mut scribe = Scribe::new(hospital.plan.seed, &hospital.town, account, "texture", &keys);
        scribe.sittings(&opens);
        out.append(&mut scribe.finish().0);
    }
    out
}

impl Hospital {
    /// The account of a person on a day, with the workstation used then.
    pub(super) fn account(&self, person: u32, day: i32) -> Account {
        let (staff, index) = (&self.staff, u64::from(person));
        let who = &staff.people[person as usize];
        let unit = staff.place(person, day);
        let own = who.pattern.is_office();
        let seat = if own { 10 + index % 200 } else { 10 + (index + day.rem_euclid(6) as u64) % 6 };
        // Assistants of some physicians work in their name; the offices serve both hospitals, whichever one belongs to.
        let assists = who.role == Role::Assistant && mix_unit(staff.seed, &[80, index]) < 0.3;
        let chief = |other: &&Person| other.role == Role::Consultant && other.unit == who.unit;
        let principal = staff.people.iter().find(chief).filter(|_| assists).map(|other| other.id.clone());
        let serves = matches!(who.role, Role::Analyst | Role::Coder | Role::Biller);
        let visits = serves && mix_unit(staff.seed, &[81, index, day as i64 as u64]) < 0.2;
        let site = if visits { (who.site + 1) % staff.sites.len() } else { who.site };
        Account {
            principal,
            id: who.id.clone(),
            kind: "human",
            role: Some(who.role.name().to_owned()),
            department: Some(staff.units[unit as usize].name.clone()),
            site: staff.sites[site].name,
            pace: who.pace,
            host: format!("WS-{unit:03}-{seat:03}"),
            ip: format!("10.{}.{}.{seat}", who.site + 10, unit % 250),
            home_ip: format!("203.0.{}.{}", 113 - index / 250 % 100, index % 250 + 1),
        }
    }

    /// The instant before which nothing of a care day happens, in any zone.
    pub(super) fn morning(&self, day: i32) -> Time {
        let starts = self.staff.sites.iter().map(|site| site.zone.at(self.plan.start.plus(day), 7, 0));
        starts.min().map_or(Time::MIN, |first| first.plus(-60 * MINUTE))
    }

    /// First instant of the run, and first instant after.
    pub(super) fn span(&self) -> (Time, Time) {
        let zone = &self.staff.sites[0].zone;
        (zone.midnight(self.plan.start), zone.midnight(self.plan.start.plus(self.plan.days as i32)))
    }
}
