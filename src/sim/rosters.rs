//! The roster files (INTERFACES, section 3) of the synthetic hospital, with dated rows for everything that changes.

use std::io::{self, Write};

use super::care::Care;
use super::dice::mix;
use super::floor::With;
use super::machines::MACHINES;
use super::roles::Role;
use super::staff::{Fate, Person};
use super::{BURN_IN, Hospital};
use crate::event::Time;
use crate::event::time::HOUR;

/// The files that are made at once, by name.
type Table = (&'static str, fn(&Hospital, &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()>);

const TABLES: [Table; 7] = [
    ("users.csv", users),
    ("vendors.csv", vendors),
    ("vendor_accounts.csv", vendor_accounts),
    ("patients.csv", patients),
    ("approvals.csv", approvals),
    ("entitlements.csv", entitlements),
    ("sites.csv", sites),
];

impl Hospital {
    /// All roster files: name and contents.
    pub fn rosters(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = self.small_rosters();
        let (mut relations, mut shifts) = (Vec::new(), Vec::new());
        self.write_care(&mut relations, &mut shifts).expect("writing to memory does not fail");
        files.push(("relations.csv".to_owned(), relations));
        files.push(("shifts.csv".to_owned(), shifts));
        files
    }

    /// The files that do not grow with the days.
    pub(super) fn small_rosters(&self) -> Vec<(String, Vec<u8>)> {
        let file = |(name, fill): &Table| {
            let mut bytes = Vec::new();
            let mut table = csv::Writer::from_writer(&mut bytes);
            fill(self, &mut table).and_then(|()| table.flush().map_err(Into::into)).expect("writing to memory works");
            drop(table);
            ((*name).to_owned(), bytes)
        };
        TABLES.iter().map(file).collect()
    }

    /// Lives through the run once more and writes its paperwork: relations and shifts.
    pub(super) fn write_care(&self, relations: impl Write, shifts: impl Write) -> io::Result<()> {
        let (mut relations, mut shifts) = (csv::Writer::from_writer(relations), csv::Writer::from_writer(shifts));
        relations.write_record(["patient_id", "kind", "user_id", "department", "start", "end"])?;
        shifts.write_record(["user_id", "start", "end"])?;
        let mut care = Care::new(&self.staff, self.plan.days);
        for day in -BURN_IN..self.plan.days as i32 {
            let mut done = care.step(&self.staff, &self.town, day);
            done.relations.sort_by_key(|row| (row.start, row.patient));
            for row in &done.relations {
                let (user, unit) = match row.with {
                    With::Person(person) => (self.staff.people[person as usize].id.as_str(), ""),
                    With::Unit(unit) => ("", self.staff.units[unit as usize].name.as_str()),
                };
                let (patient, start, end) = (self.town.id(row.patient), text(row.start), text(row.end));
                relations.write_record([patient.as_str(), row.kind, user, unit, &start, &end])?;
            }
            for duty in done.duties.iter().filter(|_| day >= -1) {
                let person = &self.staff.people[duty.person as usize];
                if person.pattern.is_rostered() && matches!(person.role, Role::Nurse | Role::EmergencyNurse) {
                    shifts.write_record([&person.id, &text(duty.start), &text(duty.end)])?;
                }
            }
        }
        relations.flush()?;
        shifts.flush()
    }

    fn created(&self, index: usize, person: &Person) -> Time {
        match person.fate {
            Fate::Hired(day) => self.staff.at(person, day - 5, 9),
            Fate::Unused(day) => self.staff.at(person, day, 9),
            _ => self.staff.at(person, -30 - (mix(self.plan.seed, &[70, index as u64]) % 3_000) as i32, 9),
        }
    }
}

/// An instant in whole seconds; rosters do not know microseconds.
fn text(time: Time) -> String {
    Time(time.0 - time.0.rem_euclid(1_000_000)).to_string()
}

fn users(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    table.write_record([
        "user_id",
        "name",
        "role",
        "department",
        "site",
        "status",
        "kind",
        "manager_id",
        "email",
        "account_created_at",
        "hired_at",
        "terminated_at",
        "employment",
        "patient_id",
        "address_key",
        "person_id",
        "valid_from",
        "valid_to",
    ])?;
    let staff = &hospital.staff;
    for (index, person) in staff.people.iter().enumerate() {
        let created = hospital.created(index, person);
        let hired = staff.sites[person.site].zone.local(created).date.plus(5).to_string();
        let manager = staff.people.iter().find(|p| p.unit == person.unit && p.id != person.id);
        let seed = hospital.plan.seed;
        let address = match person.patient {
            Some(patient) => hospital.town.address(patient),
            None => hospital.town.address(mix(seed, &[71, index as u64]) as u32 % hospital.town.count()),
        };
        let employment = match (person.role, mix(seed, &[72, index as u64]) % 20) {
            (_, 0) => "agency",
            (Role::Resident, 1) => "student",
            (Role::Analyst, 1..=4) => "contractor",
            _ => "employee",
        };
        let own = person.patient.map(|patient| hospital.town.id(patient)).unwrap_or_default();
        for row in staff.versions(person) {
            let ended = if row.status == "terminated" { row.from.map(text) } else { None };
            table.write_record([
                person.id.as_str(),
                &person.name,
                row.title,
                &staff.units[row.unit as usize].name,
                staff.sites[person.site].name,
                row.status,
                "human",
                manager.map_or("", |m| m.id.as_str()),
                &format!("{}@hospital.example", person.id),
                &text(created),
                &hired,
                &ended.unwrap_or_default(),
                employment,
                &own,
                &address,
                &format!("p{index:05}"),
                &row.from.map(text).unwrap_or_default(),
                &row.to.map(text).unwrap_or_default(),
            ])?;
        }
    }
    for (id, name) in MACHINES {
        let site = staff.sites[0].name;
        let row = [id, name, "service", "Technology A1", site, "active", "service", "", "", "2023-03-01T09:00:00Z"];
        table.write_record(row.into_iter().chain([""; 8]))?;
    }
    Ok(())
}

fn vendors(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    let columns = [
        "vendor_id",
        "name",
        "status",
        "baa_signed_at",
        "baa_expires_at",
        "timezone",
        "contact_email",
        "parent_vendor_id",
    ];
    table.write_record(columns)?;
    let start = hospital.plan.start;
    for (index, vendor) in hospital.vendors.all.iter().enumerate() {
        let signed = start.plus(-400 - index as i32 * 31).to_string();
        let ended = vendor.status == "ended";
        let expires = if ended { start.plus(-20) } else { start.plus(900 + index as i32 * 31) }.to_string();
        let contact = format!("support{}@vendor.example", index + 1);
        let parent = if index == 4 { "v-01" } else { "" };
        let zone = vendor.zone.name();
        table.write_record([
            vendor.id.as_str(),
            vendor.name,
            vendor.status,
            &signed,
            &expires,
            zone,
            &contact,
            parent,
        ])?;
    }
    Ok(())
}

fn vendor_accounts(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    let columns =
        ["account_id", "vendor_id", "person", "status", "account_created_at", "terminated_at", "access_window"];
    table.write_record(columns)?;
    let created = hospital.plan.start.plus(-300).to_string();
    for vendor in &hospital.vendors.all {
        let (status, ended) = match vendor.status {
            "ended" => ("disabled", hospital.plan.start.plus(-20).to_string()),
            _ => ("active", String::new()),
        };
        for (number, account) in vendor.accounts.iter().enumerate() {
            let person = format!("{} engineer {}", vendor.name, number + 1);
            let window = "Mon-Fri 08:00-18:00";
            table.write_record([account.as_str(), &vendor.id, &person, status, &created, &ended, window])?;
        }
    }
    Ok(())
}

fn patients(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    let columns =
        ["patient_id", "surname", "address_key", "vip", "restricted", "deceased_at", "contacts", "merged_into"];
    table.write_record(columns)?;
    let town = &hospital.town;
    for patient in 0..town.count() {
        let contact = town.relative(patient).map(|relative| town.id(relative)).unwrap_or_default();
        let (id, surname, address) = (town.id(patient), town.surname(patient), town.address(patient));
        let (vip, restricted) = (town.is_vip(patient).to_string(), town.is_restricted(patient).to_string());
        let died = town.death(patient).map(|day| hospital.plan.start.plus(day).to_string()).unwrap_or_default();
        table.write_record([id.as_str(), &surname, &address, &vip, &restricted, &died, &contact, ""])?;
        if let Some(twin) = town.twin(patient) {
            table.write_record([twin.as_str(), &surname, &address, &vip, &restricted, &died, "", &id])?;
        }
    }
    Ok(())
}

fn approvals(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    table.write_record(["approval_ref", "vendor_id", "start", "end", "target_host", "approved_by"])?;
    let analyst = hospital.staff.people.iter().find(|person| person.role == Role::Analyst);
    for day in -1..hospital.plan.days as i32 {
        for session in hospital.vendors.sessions(hospital.plan.seed, hospital.plan.start.plus(day)) {
            let vendor = &hospital.vendors.all[session.vendor];
            let (start, end) = (text(session.start.plus(-HOUR)), text(session.end.plus(HOUR)));
            let by = analyst.map_or("", |person| person.id.as_str());
            table.write_record([session.approval.as_str(), &vendor.id, &start, &end, vendor.host, by])?;
        }
    }
    Ok(())
}

fn entitlements(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    table.write_record(["user_id", "entitlement", "privileged", "granted_at", "granted_by", "expires_at"])?;
    for (index, person) in hospital.staff.people.iter().enumerate() {
        let granted = text(hospital.created(index, person));
        let (name, privileged) = match person.role {
            Role::Analyst => ("ehr.administration", "true"),
            Role::Coder | Role::Biller => ("ehr.claims", "false"),
            Role::EmergencyNurse | Role::Resident | Role::Consultant => ("ehr.break_glass", "false"),
            _ => ("ehr.clinical", "false"),
        };
        table.write_record([person.id.as_str(), name, privileged, &granted, "", ""])?;
    }
    Ok(())
}

fn sites(hospital: &Hospital, table: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
    table.write_record(["site", "timezone", "holidays"])?;
    for site in &hospital.staff.sites {
        let holidays: Vec<String> = site.holidays.iter().map(ToString::to_string).collect();
        table.write_record([site.name, site.zone.name(), &holidays.join(";")])?;
    }
    Ok(())
}
