//! Care from the patient outward: emergency visits, stays on wards with transfers, and the team that opens the chart at each step.
//!
//! Counts of opens are a consequence of care and are drawn nowhere else.

use std::collections::BTreeMap;

use super::calendar::{arrival_offset, arrivals_factor, is_off, surge};
use super::dice::{Dice, mix};
use super::duty::Team;
use super::floor::{Act, CareDay, Floor};
use super::office::Office;
use super::patients::Town;
use super::roles::{Role, UnitKind};
use super::staff::Staff;
use crate::event::Time;
use crate::event::time::{DAY, HOUR, MINUTE};

/// A patient on a ward.
#[derive(Debug, Clone, Copy)]
struct Stay {
    patient: u32,
    ward: u32,
    from: Time,
    to: Time,
    /// How much attention the patient needs, against the average.
    acuity: f64,
}

/// What a hospital carries from day to day.
#[derive(Debug)]
struct House {
    stays: Vec<Stay>,
    office: Office,
    /// Logarithm of today's load against the calendar's, wandering.
    mood: f64,
    emergency_rate: f64,
    elective_rate: f64,
}

/// The care of the whole group, day by day.
#[derive(Debug)]
pub struct Care {
    days: u32,
    houses: Vec<House>,
}

impl Care {
    /// Hospitals that are empty; a fortnight before the first day fills them.
    pub fn new(staff: &Staff, days: u32) -> Care {
        let house = |site: usize| {
            let wards = staff.of_kind(site, UnitKind::Ward).len() as f64;
            let nurses = staff.people.iter().filter(|p| p.site == site && p.role == Role::EmergencyNurse).count();
            let emergency_rate = (nurses as f64 * 3.2).max(2.0);
            let elective_rate = (wards * 3.7 - 0.2 * emergency_rate).max(wards) * 7.0 / 5.0;
            House { stays: Vec::new(), office: Office::default(), mood: 0.0, emergency_rate, elective_rate }
        };
        Care { days, houses: (0..staff.sites.len()).map(house).collect() }
    }

    /// Lives the care day that begins at 07:00 of `day`. Days must follow each other without a gap.
    pub fn step(&mut self, staff: &Staff, town: &Town, day: i32) -> CareDay {
        let mut out = CareDay::default();
        for (site, house) in self.houses.iter_mut().enumerate() {
            let date = staff.start.plus(day);
            let mut dice = Dice::new(staff.seed, "care", &[site as u64, day as i64 as u64]);
            house.mood = 0.5 * house.mood + 0.26 * (dice.unit() + dice.unit() + dice.unit() - 1.5);
            let load = arrivals_factor(date) * surge(day, self.days) * house.mood.exp();
            let begin = staff.sites[site].zone.at(date, 7, 0);
            let team = Team::new(staff, site, day);
            let mut floor = Floor { staff, town, team, site, day, begin, dice, out: &mut out };
            let off = is_off(date, &staff.sites[site].holidays);
            house.emergency(&mut floor, load);
            if !off {
                house.elective(&mut floor, load.sqrt());
            }
            house.wards(&mut floor, off);
            house.office.day(&mut floor, off, surge(day, self.days));
            let duties = floor.team.duties().to_vec();
            floor.out.duties.extend(duties);
        }
        out
    }
}

impl House {
    fn emergency(&mut self, floor: &mut Floor<'_>, load: f64) {
        let Some(unit) = floor.staff.of_kind(floor.site, UnitKind::Emergency).first().copied() else {
            return;
        };
        for _ in 0..floor.dice.poisson(self.emergency_rate * load) {
            let (patient, from) = (floor.somebody(), floor.begin.plus(arrival_offset(&mut floor.dice)));
            let stay = (floor.dice.gamma(4.2, 0.6) * HOUR as f64) as i64;
            let to = from.plus(stay).min(floor.end());
            visit(floor, unit, patient, from, to);
            if floor.dice.chance(0.2) {
                self.admit(floor, patient, to);
            } else {
                self.office.finished(floor, patient, 0.75);
            }
        }
    }

    fn elective(&mut self, floor: &mut Floor<'_>, load: f64) {
        for _ in 0..floor.dice.poisson(self.elective_rate * load) {
            let (patient, offset) = (floor.somebody(), floor.dice.between(HOUR / 2, 8 * HOUR));
            let from = floor.begin.plus(offset);
            self.admit(floor, patient, from);
        }
    }

    fn admit(&mut self, floor: &mut Floor<'_>, patient: u32, from: Time) {
        let wards = floor.staff.of_kind(floor.site, UnitKind::Ward);
        if wards.is_empty() || self.stays.iter().any(|stay| stay.patient == patient) {
            return;
        }
        let ward = *floor.dice.pick(&wards);
        let to = from.plus((floor.dice.gamma(4.0, 0.8).max(0.4) * DAY as f64) as i64);
        let acuity = floor.dice.gamma(1.0, 0.5);
        floor.relate_unit(patient, "encounter", ward, from, to, 0.99);
        if let Some(clerk) = floor.open_by_any(Role::Clerk, from.plus(-20 * MINUTE), patient, Act::Register) {
            floor.relate_home(patient, "appointment", clerk, from, 0.9);
        }
        self.stays.push(Stay { patient, ward, from, to, acuity });
    }

    /// A day on the wards: transfers, rounds, nursing, orders, discharges.
    fn wards(&mut self, floor: &mut Floor<'_>, off: bool) {
        let mut stays = std::mem::take(&mut self.stays);
        let mut by_ward: BTreeMap<u32, Vec<Stay>> = BTreeMap::new();
        for stay in &mut stays {
            self.transfer(floor, stay);
            by_ward.entry(stay.ward).or_default().push(*stay);
            let present = (stay.from.max(floor.begin), stay.to.min(floor.end()));
            nursing(floor, stay, present);
            rounds(floor, stay, present, off);
            orders(floor, stay, present, off);
        }
        for (ward, census) in &by_ward {
            charge_reviews(floor, *ward, census);
        }
        let (end, tomorrow, town) = (floor.end(), floor.day + 1, floor.town);
        let over = |stay: &Stay| stay.to <= end || town.is_dead(stay.patient, tomorrow);
        for stay in stays.iter().filter(|stay| over(stay)) {
            self.office.finished(floor, stay.patient, 1.0);
        }
        stays.retain(|stay| !over(stay));
        self.stays = stays;
    }

    fn transfer(&mut self, floor: &mut Floor<'_>, stay: &mut Stay) {
        let wards = floor.staff.of_kind(floor.site, UnitKind::Ward);
        if stay.from < floor.begin && wards.len() > 1 && floor.dice.chance(0.07) {
            stay.ward = *floor.dice.pick(&wards);
            let old = floor.begin.plus(30 * MINUTE);
            floor.relate_unit(stay.patient, "encounter", stay.ward, floor.begin, stay.to, 0.97);
            floor.open_by(stay.ward, Role::Nurse, old, stay.patient, Act::Note);
        }
    }
}

/// An emergency visit: registration, triage, nursing, physicians, tests.
fn visit(floor: &mut Floor<'_>, unit: u32, patient: u32, from: Time, to: Time) {
    floor.relate_unit(patient, "encounter", unit, from.plus(-10 * MINUTE), to, 0.98);
    if let Some(clerk) = floor.open_by_any(Role::Clerk, from, patient, Act::Register) {
        floor.relate_home(patient, "appointment", clerk, from, 0.9);
    }
    floor.open_by_any(Role::EmergencyNurse, from.plus(6 * MINUTE), patient, Act::Note);
    for _ in 0..3 + floor.dice.poisson(3.0) {
        let time = floor.between(from, to);
        floor.open_by(unit, Role::EmergencyNurse, time, patient, Act::Medication);
    }
    let time = floor.between(from, to);
    let consultant = floor.dice.chance(0.35);
    let physician = match consultant {
        true => floor.open_by_any(Role::Consultant, time, patient, Act::Chart),
        false => floor.open_by(unit, Role::Resident, time, patient, Act::Chart),
    };
    if let Some(physician) = physician {
        floor.relate_person(patient, "care_team", physician, from, to, 0.91);
        floor.open(time.plus(9 * MINUTE), physician, patient, Act::Order);
        if floor.dice.chance(0.6) {
            floor.open(time.plus(47 * MINUTE), physician, patient, Act::Note);
        }
    }
    for _ in 0..floor.dice.poisson(1.3) {
        test(floor, Role::LabTech, Act::Result, patient, from, to);
    }
    if floor.dice.chance(0.5) {
        test(floor, Role::ImagingTech, Act::Image, patient, from, to);
    }
    if floor.dice.chance(0.3) {
        test(floor, Role::Pharmacist, Act::Medication, patient, from, to);
    }
}

/// Somebody who never sees the patient does something for the patient.
pub(super) fn test(floor: &mut Floor<'_>, role: Role, act: Act, patient: u32, from: Time, to: Time) -> Option<u32> {
    let time = floor.between(from, to);
    let person = floor.open_by_any(role, time, patient, act)?;
    let again = floor.dice.chance(0.35);
    if again {
        floor.open(time.plus(4 * MINUTE), person, patient, act);
    }
    floor.relate_home(patient, if act == Act::Result { "result" } else { "order" }, person, time, 0.91);
    Some(person)
}

/// The patient's nurse of each shift, the colleague who covers a break, and the one who takes over.
fn nursing(floor: &mut Floor<'_>, stay: &Stay, (from, to): (Time, Time)) {
    let noon = floor.begin.plus(12 * HOUR);
    for (start, end) in [(from, to.min(noon)), (from.max(noon), to)] {
        if end.0 - start.0 < HOUR / 2 {
            continue;
        }
        let share = (end.0 - start.0) as f64 / (12 * HOUR) as f64;
        let count = floor.dice.poisson(6.0 * share * stay.acuity) + 1;
        for number in 0..count {
            let time = if number == 0 { start.plus(18 * MINUTE) } else { floor.between(start, end) };
            let act = *floor.dice.pick(&[Act::Medication, Act::Medication, Act::Note, Act::Chart]);
            let nurse = floor.open_by(stay.ward, Role::Nurse, time, stay.patient, act);
            // Somebody from another unit is named in the care team, if the paperwork is done.
            if number == 0
                && let Some(nurse) = nurse
                && floor.staff.people[nurse as usize].unit != stay.ward
            {
                floor.relate_person(stay.patient, "care_team", nurse, start, end, 0.85);
            }
        }
        if floor.dice.chance(0.4 * share) {
            let time = floor.between(start, end);
            let cover = floor.team.find(stay.ward, Role::Nurse, time, mix(floor.staff.seed, &[32, time.0 as u64]));
            if let Some(cover) = cover {
                floor.open(time, cover, stay.patient, Act::Chart);
            }
        }
    }
}

/// The nurse in charge of a shift reads every chart of the ward.
fn charge_reviews(floor: &mut Floor<'_>, ward: u32, census: &[Stay]) {
    for (shift, hours) in [(0_u64, 0), (1, 12)] {
        let start = floor.begin.plus(hours * HOUR);
        let key = mix(floor.staff.seed, &[33, u64::from(ward), floor.day as i64 as u64, shift]);
        let Some(nurse) = floor.team.find(ward, Role::Nurse, start.plus(HOUR), key) else {
            continue;
        };
        let full = floor.dice.chance(0.8);
        for stay in census.iter().filter(|stay| stay.from <= start && stay.to > start.plus(2 * HOUR)) {
            if full || floor.dice.chance(0.3) {
                let time = floor.between(start.plus(HOUR / 3), start.plus(3 * HOUR));
                floor.open(time, nurse, stay.patient, Act::Chart);
                if floor.dice.chance(0.3) {
                    let time = floor.between(start.plus(8 * HOUR), start.plus(11 * HOUR));
                    floor.open(time, nurse, stay.patient, Act::Note);
                }
            }
        }
    }
}

/// Residents and the consultant of the week see their patients; some look again in the evening from home.
fn rounds(floor: &mut Floor<'_>, stay: &Stay, (from, to): (Time, Time), off: bool) {
    let patient = stay.patient;
    let morning = floor.begin.plus(HOUR / 2);
    if to <= morning {
        return;
    }
    let seen = floor.dice.between(0, 4 * HOUR);
    let time = morning.max(from).plus(seen).min(to);
    if let Some(resident) = floor.open_by(stay.ward, Role::Resident, time, patient, Act::Chart) {
        floor.relate_person(patient, "care_team", resident, from, from.plus(3 * DAY), 0.9);
        for _ in 0..floor.dice.poisson(1.3) {
            let later = floor.dice.between(MINUTE, 5 * HOUR);
            let act = *floor.dice.pick(&[Act::Order, Act::Note, Act::Result]);
            if let Some(person) = floor.team.find(stay.ward, Role::Resident, time.plus(later), u64::from(resident)) {
                floor.open(time.plus(later), person, patient, act);
            }
        }
    }
    let week = floor.staff.start.plus(floor.day).0.div_euclid(7) as i64 as u64;
    let key = mix(floor.staff.seed, &[34, u64::from(stay.ward), week]);
    let time = time.max(floor.begin.plus(HOUR));
    if floor.dice.chance(if off { 0.7 } else { 0.85 })
        && let Some(consultant) = floor.team.find_any(Role::Consultant, time, key)
    {
        floor.open(time, consultant, patient, Act::Chart);
        floor.relate_person(patient, "care_team", consultant, from, from.plus(4 * DAY), 0.91);
        if floor.dice.chance(0.16) {
            let evening = floor.between(floor.begin.plus(11 * HOUR), floor.begin.plus(15 * HOUR));
            floor.open_from(evening, consultant, patient, Act::Note, true);
        }
    }
    if floor.dice.chance(0.12 * stay.acuity) {
        let night = floor.between(floor.begin.plus(12 * HOUR), floor.begin.plus(23 * HOUR));
        if night < to
            && let Some(resident) = floor.open_by(stay.ward, Role::Resident, night, patient, Act::Order)
        {
            floor.relate_person(patient, "order", resident, night, night.plus(DAY), 0.8);
        }
    }
}

/// Tests, medication and therapy for a patient on a ward.
fn orders(floor: &mut Floor<'_>, stay: &Stay, (from, to): (Time, Time), off: bool) {
    if to <= from {
        return;
    }
    for _ in 0..floor.dice.poisson(1.1 * stay.acuity) {
        test(floor, Role::LabTech, Act::Result, stay.patient, from, to);
    }
    for _ in 0..floor.dice.poisson(0.7 * stay.acuity) {
        test(floor, Role::Pharmacist, Act::Medication, stay.patient, from, to);
    }
    if floor.dice.chance(0.35) {
        test(floor, Role::ImagingTech, Act::Image, stay.patient, from, to);
    }
    if !off && floor.dice.chance(0.45) {
        let end = to.min(floor.begin.plus(9 * HOUR));
        test(floor, Role::Therapist, Act::Note, stay.patient, from, end);
    }
}
