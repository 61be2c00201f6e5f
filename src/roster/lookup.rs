//! The roster in force and its answers as of a time.
//!
//! Where an identifier is known but no row of it was valid at the time, the nearest row answers with `outside_rows`: the latest that
//! ended before, else the first to come.

use std::collections::BTreeMap;

use super::build::{Extras, Site};
use super::cell::AccessWindow;
use super::keys::Keys;
use super::rows::*;
use crate::event::facts::Status;
use crate::event::time::{Day, Time, Zone};

/// Everything that is known about people, vendors and patients, immutable.
pub struct Roster {
    pub(super) hash: String,
    /// The first is the default; those of `site_names` follow, then zones of vendors.
    pub(super) sites: Vec<Site>,
    pub(super) site_names: Keys,
    pub(super) zones: Vec<Zone>,
    pub(super) texts: Keys,
    pub(super) user_ids: Keys,
    pub(super) account_ids: Keys,
    pub(super) vendor_ids: Keys,
    pub(super) patient_ids: Keys,
    pub(super) approval_refs: Keys,
    pub(super) units: Keys,
    pub(super) users: Group<UserRow>,
    pub(super) accounts: Group<AccountRow>,
    pub(super) vendors: Group<VendorRow>,
    pub(super) patients: Group<PatientRow>,
    pub(super) entitlements: Group<EntitlementRow>,
    pub(super) relations: Group<Relation>,
    pub(super) shifts: Group<(Time, Time)>,
    pub(super) approvals: Group<ApprovalRow>,
    pub(super) windows: Vec<AccessWindow>,
    /// Those of relations and shifts that have other cells; see `extras`.
    pub(super) relation_cells: Group<(Relation, u32)>,
    pub(super) shift_cells: Group<(Time, Time, u32)>,
    pub(super) extras: BTreeMap<&'static str, Extras>,
    pub(super) contacts: Vec<Contact>,
    pub(super) staff: Vec<(u32, u32)>,
    pub(super) canonical: Vec<u32>,
    pub(super) user_order: Vec<u32>,
    pub(super) account_order: Vec<u32>,
    /// Some row of `users.csv` is that of a machine account.
    pub(super) lists_machines: bool,
}

/// A row of `users.csv` as of a time.
#[derive(Clone, Copy)]
pub struct User<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// As the roster spells it.
    pub name: Option<&'a str>,
    /// As the roster spells it.
    pub role: Option<&'a str>,
    /// As the roster spells it.
    pub department: Option<&'a str>,
    /// The home site.
    pub site: Option<&'a str>,
    /// As of the time that was asked; an end that has no date is not told, see `undated_end`.
    pub status: Status,
    /// Person or machine.
    pub kind: UserKind,
    /// User who answers for the person.
    pub manager_id: Option<&'a str>,
    /// Address for letters to the person.
    pub email: Option<&'a str>,
    /// When the account was made.
    pub created: Option<Time>,
    /// When the person began.
    pub hired: Option<Time>,
    /// When the account ends or ended, where a date is given.
    pub terminated: Option<Time>,
    /// `employee`, `contractor`, `student` or `agency`.
    pub employment: Option<&'a str>,
    /// The person's own chart, as recorded.
    pub patient_id: Option<&'a str>,
    /// Equal for those who live together.
    pub address_key: Option<&'a str>,
    /// One person, several accounts.
    pub person_id: Option<&'a str>,
    /// No row was valid at the time; this is the nearest.
    pub outside_rows: bool,
    /// With `outside_rows`: the first row begins later, but only because nobody had seen it before.
    pub seen_later: bool,
    /// Disabled or terminated at the time, and since when.
    pub ended: Option<(Status, Time)>,
    /// The row says terminated or disabled and not since when: a roster problem, never an alert.
    pub undated_end: bool,
    /// When the row begins to hold; `None` is open.
    pub row_from: Option<Time>,
    /// First instant at which it no longer holds; `None` is open.
    pub row_to: Option<Time>,
    pub(super) roster: &'a Roster,
    pub(super) row: &'a UserRow,
}

/// A row of `vendor_accounts.csv` as of a time.
#[derive(Clone, Copy)]
pub struct VendorAccount<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// The company.
    pub vendor_id: &'a str,
    /// Who uses the account.
    pub person: Option<&'a str>,
    /// As of the time that was asked; an end that has no date is not told, see `undated_end`.
    pub status: Status,
    /// When the account was made.
    pub created: Option<Time>,
    /// When the account ends or ended, where a date is given.
    pub terminated: Option<Time>,
    /// `None` is any time.
    pub access_window: Option<&'a AccessWindow>,
    /// No row was valid at the time; this is the nearest.
    pub outside_rows: bool,
    /// With `outside_rows`: the first row begins later, but only because nobody had seen it before.
    pub seen_later: bool,
    /// Disabled or terminated at the time, and since when.
    pub ended: Option<(Status, Time)>,
    /// The row says disabled and not since when: a roster problem, never an alert.
    pub undated_end: bool,
    /// When the row begins to hold; `None` is open.
    pub row_from: Option<Time>,
    /// First instant at which it no longer holds; `None` is open.
    pub row_to: Option<Time>,
    pub(super) roster: &'a Roster,
    pub(super) row: &'a AccountRow,
}

/// A row of `vendors.csv` as of a time.
#[derive(Clone, Copy)]
pub struct Vendor<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// As the roster spells it.
    pub name: Option<&'a str>,
    /// As of the row.
    pub status: Status,
    /// When the agreement was signed.
    pub baa_signed: Option<Time>,
    /// First instant at which the agreement no longer holds.
    pub baa_expires: Option<Time>,
    /// The zone of its own, where it has one.
    pub zone: Option<&'a Zone>,
    /// Address for letters to the vendor.
    pub contact_email: Option<&'a str>,
    /// The company that it is a subcontractor of.
    pub parent_vendor_id: Option<&'a str>,
    /// No row was valid at the time; this is the nearest.
    pub outside_rows: bool,
    /// When the row begins to hold; `None` is open.
    pub row_from: Option<Time>,
    pub(super) roster: &'a Roster,
    pub(super) row: &'a VendorRow,
}

/// A patient as of a time, under the record number that lives on.
#[derive(Clone, Copy)]
pub struct Patient<'a> {
    /// The record number that lives on.
    pub id: &'a str,
    /// As the roster spells it.
    pub surname: Option<&'a str>,
    /// Equal for those who live together.
    pub address_key: Option<&'a str>,
    /// Asks for special care.
    pub vip: bool,
    /// The record is under restriction.
    pub restricted: bool,
    /// When the patient died, where known.
    pub deceased_at: Option<Time>,
    /// No row was valid at the time; this is the nearest.
    pub outside_rows: bool,
    /// When the row begins to hold; `None` is open.
    pub row_from: Option<Time>,
    pub(super) roster: &'a Roster,
    pub(super) row: &'a PatientRow,
}

impl Roster {
    /// A roster that knows nobody.
    pub fn empty(default: Zone) -> Roster {
        Roster::from_accepted(&super::load::Accepted::default(), default)
    }

    /// 32 hexadecimal digits over the content; the order of rows within a file does not matter.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether no row of people, vendors or patients is known.
    pub fn is_empty(&self) -> bool {
        let people = self.users.rows().len() + self.accounts.rows().len() + self.vendors.rows().len();
        people + self.patients.rows().len() + self.relations.rows().len() == 0
    }

    /// The zone of a site; the default zone where it is unknown or not given.
    pub fn zone(&self, site: Option<&str>) -> &Zone {
        &self.sites[self.place(site)].zone
    }

    /// The distinct zones of all sites and the default, by name.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// Whether the date is a holiday at the site.
    pub fn holiday(&self, site: Option<&str>, date: Day) -> bool {
        self.holiday_at(self.place(site), date)
    }

    /// The user as of `at`.
    pub fn user(&self, id: &str, at: Time) -> Option<User<'_>> {
        let key = self.user_ids.find(id)?;
        let (row, fit) = self.users.at(key, at)?;
        Some(self.user_view(row, fit, at))
    }

    /// The vendor account as of `at`.
    pub fn vendor_account(&self, id: &str, at: Time) -> Option<VendorAccount<'_>> {
        let key = self.account_ids.find(id)?;
        let (row, fit) = self.accounts.at(key, at)?;
        let (status, ended, undated_end) = status_at(row.status, row.ended, at);
        Some(VendorAccount {
            id: self.account_ids.get(row.key),
            vendor_id: self.vendor_ids.get(row.vendor),
            person: self.text(row.person),
            status,
            created: row.created,
            terminated: row.terminated,
            access_window: self.windows.get(row.window as usize),
            outside_rows: fit != Fit::Valid,
            seen_later: fit == Fit::ToCome && row.valid.first_seen,
            ended,
            undated_end,
            row_from: row.valid.start(),
            row_to: row.valid.end(),
            roster: self,
            row,
        })
    }

    /// The vendor as of `at`.
    pub fn vendor(&self, id: &str, at: Time) -> Option<Vendor<'_>> {
        let key = self.vendor_ids.find(id)?;
        let (row, fit) = self.vendors.at(key, at)?;
        Some(Vendor {
            id: self.vendor_ids.get(row.key),
            name: self.text(row.name),
            status: row.status,
            baa_signed: row.baa_signed,
            baa_expires: row.baa_expires,
            zone: self.sites.get(row.place as usize).map(|site| &site.zone),
            contact_email: self.text(row.email),
            parent_vendor_id: self.text(row.parent),
            outside_rows: fit != Fit::Valid,
            row_from: row.valid.start(),
            roster: self,
            row,
        })
    }

    /// The patient as of `at`, under the record number that lives on after merges.
    pub fn patient(&self, id: &str, at: Time) -> Option<Patient<'_>> {
        let key = self.patient_ids.find(id)?;
        let lives = self.canonical[key as usize];
        let (row, fit) = self.patients.at(lives, at).or_else(|| self.patients.at(key, at))?;
        Some(Patient {
            id: self.patient_ids.get(lives),
            surname: self.text(row.surname_text),
            address_key: self.text(row.address),
            vip: row.vip,
            restricted: row.restricted,
            deceased_at: Some(row.deceased).filter(|deceased| *deceased != Time::MAX),
            outside_rows: fit != Fit::Valid,
            row_from: row.valid.start(),
            roster: self,
            row,
        })
    }

    /// The record number that lives on after merges; the same where nothing is known.
    pub fn canonical<'a>(&'a self, patient: &'a str) -> &'a str {
        let lives = self.patient_ids.find(patient).map(|key| self.canonical[key as usize]);
        lives.map_or(patient, |lives| self.patient_ids.get(lives))
    }

    /// Every record number that lives on as the same one as `patient`, itself included, sorted; just itself where nothing is known.
    /// Looks at every patient.
    pub fn merged<'a>(&'a self, patient: &'a str) -> Vec<&'a str> {
        let Some(key) = self.patient_ids.find(patient) else { return vec![patient] };
        let lives = self.canonical[key as usize];
        let same = (0..self.canonical.len()).filter(|other| self.canonical[*other] == lives);
        let mut all: Vec<&str> = same.map(|other| self.patient_ids.get(other as u32)).collect();
        all.sort_unstable();
        all
    }

    /// The zone in which times are shown: the one that all sites share, else the default.
    pub fn home_zone(&self) -> &Zone {
        let named = &self.sites[1..=self.site_names.len()];
        match named.first() {
            Some(first) if named.iter().all(|site| site.zone == first.zone) => &first.zone,
            _ => &self.sites[0].zone,
        }
    }

    /// The user's shifts, sorted; half-open.
    pub fn shifts(&self, user: &str) -> &[(Time, Time)] {
        self.user_ids.find(user).map_or(&[], |key| self.shifts.of(key))
    }

    /// Whether any shift is known.
    pub fn has_shifts(&self) -> bool {
        !self.shifts.rows().is_empty()
    }

    /// Human users with a valid row whose status is active or leave. Looks at every user: ask once a day.
    pub fn active_humans(&self, at: Time) -> usize {
        let active = |key: &&u32| {
            let found = self.users.at(**key, at).filter(|(row, fit)| *fit == Fit::Valid && row.kind == UserKind::Human);
            found.is_some_and(|(row, _)| {
                let (status, _, undated_end) = status_at(row.status, row.ended, at);
                matches!(status, Status::Active | Status::Leave) && !undated_end
            })
        };
        self.user_order.iter().filter(active).count()
    }

    /// Whether any row of `users.csv` is that of a machine account.
    pub fn lists_machines(&self) -> bool {
        self.lists_machines
    }

    /// Every user of `users.csv`, sorted.
    pub fn user_ids(&self) -> impl Iterator<Item = &str> {
        self.user_order.iter().map(|key| self.user_ids.get(*key))
    }

    /// Every account of `vendor_accounts.csv`, sorted.
    pub fn vendor_account_ids(&self) -> impl Iterator<Item = &str> {
        self.account_order.iter().map(|key| self.account_ids.get(*key))
    }

    /// Every vendor of `vendors.csv`, sorted.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &str> {
        let listed = (0..self.vendor_ids.len() as u32).filter(|key| !self.vendors.of(*key).is_empty());
        let mut ids: Vec<&str> = listed.map(|key| self.vendor_ids.get(key)).collect();
        ids.sort_unstable();
        ids.into_iter()
    }
}

impl std::fmt::Debug for Roster {
    /// The hash and the sizes; never a name or record number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Roster");
        shown.field("hash", &self.hash).field("users", &self.users.rows().len());
        shown.field("patients", &self.patients.rows().len()).field("relations", &self.relations.rows().len()).finish()
    }
}

impl Valid {
    pub(super) fn start(&self) -> Option<Time> {
        Some(self.from).filter(|from| *from != Time::MIN)
    }

    pub(super) fn end(&self) -> Option<Time> {
        Some(self.to).filter(|to| *to != Time::MAX)
    }
}

/// Status as of a time, the end that is in force then, and whether the row speaks of an end without a date.
pub(super) fn status_at(status: Status, ended: Ended, at: Time) -> (Status, Ended, bool) {
    let says_ended = matches!(status, Status::Terminated | Status::Disabled);
    match ended {
        Some((how, since)) if since <= at => (how, ended, false),
        _ if says_ended => (Status::Active, None, ended.is_none()),
        _ => (status, None, false),
    }
}
