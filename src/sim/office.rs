//! Outpatients and paperwork: clinic sessions, coding days after discharge, billing at the end of the month, support tickets.

use super::calendar::is_month_end;
use super::care::test;
use super::dice::mix_unit;
use super::duty::Duty;
use super::floor::{Act, Floor};
use super::roles::Role;
use crate::event::Time;
use crate::event::time::{DAY, HOUR, MINUTE};

/// Work that waits in the offices of a hospital.
#[derive(Debug, Default)]
pub struct Office {
    /// Finished encounters: the first day on which they can be coded.
    to_code: Vec<(i32, u32)>,
    /// Coded encounters that wait for their bill.
    to_bill: Vec<(i32, u32)>,
    /// Results of clinic tests: the day on which they come back, patient, physician.
    to_read: Vec<(i32, u32, u32)>,
}

impl Office {
    /// An encounter ended; with this probability it has to be coded.
    pub fn finished(&mut self, floor: &mut Floor<'_>, patient: u32, p: f64) {
        if floor.dice.chance(p) {
            let wait = floor.dice.between(2, 7) as i32;
            self.to_code.push((floor.day + wait, patient));
        }
    }

    /// A day in the clinics and offices.
    pub fn day(&mut self, floor: &mut Floor<'_>, off: bool, surge: f64) {
        self.read_results(floor);
        if off {
            return;
        }
        for duty in floor.team.of_role(Role::Consultant).to_vec() {
            let draw = mix_unit(floor.staff.seed, &[40, u64::from(duty.person), u64::from(weekday(floor))]);
            if draw < 0.6 {
                self.session(floor, duty, surge.sqrt());
            }
        }
        self.coding(floor);
        self.billing(floor);
        support(floor);
    }

    /// A clinic session of one physician: appointments kept and missed.
    fn session(&mut self, floor: &mut Floor<'_>, duty: Duty, load: f64) {
        let count = floor.dice.gamma(12.0 * load, 0.4).round() as usize;
        let length = (duty.end.0 - duty.start.0).min(9 * HOUR) - HOUR;
        for _ in 0..count {
            let patient = floor.somebody();
            let offset = floor.dice.between(HOUR / 2, length.max(HOUR));
            let time = duty.start.plus(offset);
            let kept = floor.dice.chance(0.88);
            self.appointment(floor, duty, patient, time, kept);
        }
    }

    fn appointment(&mut self, floor: &mut Floor<'_>, duty: Duty, patient: u32, time: Time, kept: bool) {
        let clinic = duty.unit;
        floor.relate_unit(patient, "appointment", clinic, time.plus(-HOUR), time.plus(HOUR), 0.96);
        if let Some(clerk) = floor.open_by_any(Role::Clerk, time.plus(-15 * MINUTE), patient, Act::Register) {
            floor.relate_home(patient, "appointment", clerk, time, 0.9);
        }
        floor.open_by(clinic, Role::Assistant, time.plus(-8 * MINUTE), patient, Act::Chart);
        if !kept {
            return;
        }
        if let Some(assistant) = floor.open_by(clinic, Role::Assistant, time.plus(-2 * MINUTE), patient, Act::Note)
            && floor.staff.people[assistant as usize].unit != clinic
        {
            floor.relate_person(patient, "care_team", assistant, time, time.plus(HOUR), 0.8);
        }
        floor.open(time, duty.person, patient, Act::Chart);
        floor.open(time.plus(11 * MINUTE), duty.person, patient, Act::Order);
        if floor.dice.chance(0.25) {
            let evening = floor.between(floor.begin.plus(11 * HOUR), floor.begin.plus(15 * HOUR));
            floor.open_from(evening, duty.person, patient, Act::Note, true);
        }
        if floor.dice.chance(0.35) {
            test(floor, Role::LabTech, Act::Result, patient, time, time.plus(4 * HOUR));
            let back = floor.dice.between(1, 5) as i32;
            self.to_read.push((floor.day + back, patient, duty.person));
        }
        if floor.dice.chance(0.2) {
            test(floor, Role::ImagingTech, Act::Image, patient, time, time.plus(2 * HOUR));
        }
        if floor.dice.chance(0.2) {
            test(floor, Role::Pharmacist, Act::Medication, patient, time, time.plus(2 * HOUR));
        }
        if floor.dice.chance(0.3) {
            test(floor, Role::Therapist, Act::Note, patient, time, time.plus(2 * HOUR));
        }
        self.finished(floor, patient, 0.8);
    }

    /// Physicians read the results of their clinic patients when they are next at work.
    fn read_results(&mut self, floor: &mut Floor<'_>) {
        let waiting = std::mem::take(&mut self.to_read);
        let at_work = floor.team.of_role(Role::Consultant).to_vec();
        for (day, patient, person) in waiting {
            let duty = at_work.iter().find(|duty| duty.person == person).copied();
            match duty {
                Some(duty) if day <= floor.day => {
                    let time = floor.between(duty.start, duty.end);
                    floor.open(time, person, patient, Act::Result);
                    floor.relate_person(patient, "result", person, time.plus(-DAY), time.plus(DAY), 0.9);
                }
                // A result that nobody read for a month is nobody's any more.
                _ if floor.day - day < 30 => self.to_read.push((day, patient, person)),
                _ => {}
            }
        }
    }

    fn coding(&mut self, floor: &mut Floor<'_>) {
        let coded = work_off(&mut self.to_code, floor, Role::Coder, 38.0);
        for patient in coded {
            if floor.dice.chance(0.6) {
                let wait = floor.dice.between(1, 25) as i32;
                self.to_bill.push((floor.day + wait, patient));
            }
        }
    }

    fn billing(&mut self, floor: &mut Floor<'_>) {
        let date = floor.staff.start.plus(floor.day);
        let capacity = if is_month_end(date) { 70.0 } else { 24.0 };
        work_off(&mut self.to_bill, floor, Role::Biller, capacity);
    }
}

/// The people of a role take what is due from a queue, each as much as a day allows; returns the patients done.
fn work_off(queue: &mut Vec<(i32, u32)>, floor: &mut Floor<'_>, role: Role, capacity: f64) -> Vec<u32> {
    let mut done = Vec::new();
    queue.sort_unstable();
    let due = queue.partition_point(|(day, _)| *day <= floor.day);
    let mut ready = queue.drain(..due).collect::<Vec<_>>().into_iter();
    let people = floor.team.of_role(role).to_vec();
    let fair = due as f64 / people.len().max(1) as f64;
    for duty in &people {
        let share = floor.dice.gamma((fair * 1.05).min(capacity).max(1.0), 0.35).round() as usize;
        let mut batch: Vec<u32> = ready.by_ref().take(share).map(|(_, patient)| patient).collect();
        floor.dice.shuffle(&mut batch);
        for patient in batch {
            let time = floor.between(duty.start.plus(HOUR / 4), duty.end.plus(-HOUR / 3));
            floor.open(time, duty.person, patient, Act::Claim);
            if floor.dice.chance(0.5) {
                floor.open(time.plus(6 * MINUTE), duty.person, patient, Act::Claim);
            }
            floor.relate_home(patient, "billing", duty.person, time, 0.91);
            done.push(patient);
        }
    }
    queue.extend(ready);
    done
}

/// Tickets about single charts: the few opens of people who have no patients.
fn support(floor: &mut Floor<'_>) {
    for duty in floor.team.of_role(Role::Analyst).to_vec() {
        let tickets = floor.dice.gamma(5.0, 0.8).round() as usize;
        for _ in 0..tickets {
            let (patient, time) = (floor.somebody(), floor.between(duty.start, duty.end));
            floor.open(time, duty.person, patient, Act::Chart);
            floor.relate_person(patient, "message", duty.person, time.plus(-DAY), time.plus(DAY), 0.8);
        }
    }
}

fn weekday(floor: &Floor<'_>) -> u8 {
    floor.staff.start.plus(floor.day).weekday()
}
