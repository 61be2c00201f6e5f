//! From rows of text to typed rows: one function per file.
//!
//! A function either takes a row or says what is wrong with it; it never takes half a row. Complaints name columns, never values.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{self, AccessWindow, Dates, Edge};
use super::columns::FileSpec;
use super::keys::Keys;
use super::rows::*;
use super::text::{self, Complaint, Layout, Refused, Row, Scan};
use crate::event::time::{Day, Time, Zone};

/// A hospital or clinic.
#[derive(Debug, Clone)]
pub struct Site {
    pub zone: Zone,
    /// Sorted.
    pub holidays: Vec<Day>,
    /// Where its other cells stand; none where it has no row.
    pub ordinal: Option<u32>,
}

/// Cells of columns that we do not know: `cells[ordinal * names.len() + column]`.
#[derive(Default)]
pub struct Extras {
    pub names: Vec<String>,
    pub cells: Vec<u32>,
}

/// What reading one file found out.
#[derive(Debug, Default)]
pub struct Reading {
    pub layout: Layout,
    pub rows: u64,
    /// Refused rows by line.
    pub refused: Vec<(u64, Complaint)>,
    /// Rows that were taken although something is missing in them.
    pub warnings: Vec<(u64, Complaint)>,
    /// Whether any row says from when or until when it is valid.
    pub dated: bool,
}

/// Typed rows of all files while they are read.
#[derive(Default)]
pub struct Builder {
    /// The first is the default.
    pub sites: Vec<Site>,
    pub site_names: Keys,
    pub dates: Dates,
    pub texts: Keys,
    pub user_ids: Keys,
    pub account_ids: Keys,
    pub vendor_ids: Keys,
    pub patient_ids: Keys,
    pub approval_refs: Keys,
    pub units: Keys,
    pub surnames: Keys,
    pub users: Vec<(u64, UserRow)>,
    pub vendors: Vec<(u64, VendorRow)>,
    pub accounts: Vec<(u64, AccountRow)>,
    pub patients: Vec<(u64, PatientRow)>,
    pub entitlements: Vec<(u64, EntitlementRow)>,
    pub relations: Vec<(u32, Relation)>,
    pub shifts: Vec<(u32, (Time, Time))>,
    pub approvals: Vec<(u32, ApprovalRow)>,
    pub windows: Vec<AccessWindow>,
    pub contacts: Vec<u32>,
    /// Rows of `relations.csv` and `shifts.csv` with where their other cells stand; empty where the file has no such columns, for they
    /// are many.
    pub relation_cells: Vec<(u32, (Relation, u32))>,
    pub shift_cells: Vec<(u32, (Time, Time, u32))>,
    /// Cells of columns that we do not know, by the name of the file.
    pub extras: BTreeMap<&'static str, Extras>,
    pub warnings: Vec<(u64, Complaint)>,
    strange_sites: BTreeSet<u32>,
}

impl Builder {
    /// A builder whose only zone is the default.
    pub fn new(default: Zone) -> Builder {
        let sites = vec![Site { zone: default, holidays: Vec::new(), ordinal: None }];
        Builder { sites, ..Builder::default() }
    }

    /// Reads one file, in place of what was read of it before.
    pub fn read(&mut self, spec: &FileSpec, json: bool, bytes: &[u8]) -> Result<Reading, Refused> {
        self.clear(spec.name);
        let take: fn(&mut Builder, &Row<'_>) -> Result<(), Complaint> = match spec.name {
            "sites" => Builder::site,
            "users" => Builder::user,
            "vendors" => Builder::vendor,
            "vendor_accounts" => Builder::account,
            "patients" => Builder::patient,
            "relations" => Builder::relation,
            "shifts" => Builder::shift,
            "approvals" => Builder::approval,
            "entitlements" => Builder::entitlement,
            name => unreachable!("{name} is in the list of files and not here"),
        };
        let (from_slot, to_slot) = (spec.slot("valid_from"), spec.slot("valid_to"));
        let mut dated = false;
        let read = text::read(spec, json, bytes, &mut |row| {
            dated |= row.get(from_slot).is_some() || row.get(to_slot).is_some();
            take(self, row)
        });
        let Scan { layout, rows, mut refused } = read.inspect_err(|_| self.clear(spec.name))?;
        let overlaps = self.overlaps(spec.name);
        refused.extend(overlaps.into_iter().map(|line| (line, "overlaps an earlier row of the same key".to_owned())));
        refused.sort();
        Ok(Reading { layout, rows, refused, warnings: std::mem::take(&mut self.warnings), dated })
    }

    fn clear(&mut self, name: &str) {
        self.warnings.clear();
        self.extras.remove(name);
        match name {
            "sites" => {
                self.sites.truncate(1);
                self.site_names = Keys::default();
                self.dates = Dates::default();
            }
            "users" => self.users = Vec::new(),
            "vendors" => self.vendors = Vec::new(),
            "vendor_accounts" => self.accounts = Vec::new(),
            "patients" => (self.patients, self.contacts) = (Vec::new(), Vec::new()),
            "relations" => (self.relations, self.relation_cells) = (Vec::new(), Vec::new()),
            "shifts" => (self.shifts, self.shift_cells) = (Vec::new(), Vec::new()),
            "approvals" => self.approvals = Vec::new(),
            _ => self.entitlements = Vec::new(),
        }
    }

    /// Takes out rows that overlap an earlier line of the same key, and returns their lines.
    fn overlaps(&mut self, name: &str) -> Vec<u64> {
        match name {
            "users" => take_overlaps(&mut self.users),
            "vendors" => take_overlaps(&mut self.vendors),
            "vendor_accounts" => take_overlaps(&mut self.accounts),
            "patients" => take_overlaps(&mut self.patients),
            "entitlements" => take_overlaps(&mut self.entitlements),
            _ => Vec::new(),
        }
    }

    /// Keeps the cells of columns that we do not know, and of those from which no fact follows, and says where.
    pub(super) fn cells(&mut self, file: &'static str, row: &Row<'_>) -> u32 {
        let width = row.layout.others().count();
        if width == 0 {
            return 0;
        }
        let extras = self.extras.entry(file).or_default();
        if extras.names.is_empty() {
            extras.names = row.layout.others().map(|(name, _)| name.clone()).collect();
        }
        let ordinal = extras.cells.len() / width;
        for cell in row.others() {
            extras.cells.push(cell.map_or(NONE, |cell| self.texts.put(cell)));
        }
        ordinal as u32
    }

    pub(super) fn text(&mut self, cell: Option<&str>) -> u32 {
        cell.map_or(NONE, |cell| self.texts.put(cell))
    }

    /// The number of the row's site, 0 where it has none or an unknown one.
    pub(super) fn place(&mut self, site: Option<&str>, line: u64) -> u32 {
        let Some(site) = site else { return 0 };
        if let Some(key) = self.site_names.find(site) {
            return key + 1;
        }
        let known = self.texts.put(site);
        // Without sites.csv every site is unknown, which is no fault of the row.
        if self.site_names.len() > 0 && self.strange_sites.insert(known) {
            self.warnings.push((line, "names a `site` that sites.csv lacks; it gets the default time zone".into()));
        }
        0
    }

    pub(super) fn date(
        &mut self,
        column: &str,
        cell: Option<&str>,
        edge: Edge,
        place: u32,
    ) -> Result<Option<Time>, Complaint> {
        let zone = &self.sites[place as usize].zone;
        self.dates.read(column, cell, edge, place, zone)
    }

    pub(super) fn valid(&mut self, row: &Row<'_>, spec: &FileSpec, place: u32) -> Result<Valid, Complaint> {
        let count = spec.known.len();
        let from = self.date("valid_from", row.get(count - 3), Edge::Start, place)?;
        let to = self.date("valid_to", row.get(count - 2), Edge::End, place)?;
        let seen = self.date("accepted_at", row.get(count - 1), Edge::Start, place)?;
        let valid = Valid {
            from: from.unwrap_or(Time::MIN),
            to: to.unwrap_or(Time::MAX),
            first_seen: from.is_some() && from == seen,
        };
        ordered("valid_from", valid.from, "valid_to", valid.to)?;
        Ok(valid)
    }

    fn site(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [site, timezone, holidays] = row.known();
        let site = needed("site", site)?;
        let zone = match timezone {
            Some(name) => Zone::get(name).ok_or("`timezone` is no IANA name")?,
            None => self.sites[0].zone.clone(),
        };
        let days = holidays.unwrap_or_default().split(';').map(str::trim).filter(|day| !day.is_empty());
        let holidays: Option<BTreeSet<Day>> = days.map(Day::parse).collect();
        let holidays = holidays.ok_or("`holidays` are dates (YYYY-MM-DD) with `;` between")?;
        if self.site_names.find(site).is_some() {
            return Err("names a `site` for the second time".into());
        }
        self.site_names.put(site);
        let ordinal = Some(self.cells("sites", row));
        self.sites.push(Site { zone, holidays: holidays.into_iter().collect(), ordinal });
        Ok(())
    }

    fn patient(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [id, surname, address, vip, restricted, deceased, contacts, merged] = row.known();
        let id = needed("patient_id", id)?;
        let (vip, restricted) = (cell::truth("vip", vip)?, cell::truth("restricted", restricted)?);
        let valid = self.valid(row, spec("patients"), 0)?;
        let deceased = self.date("deceased_at", deceased, Edge::Start, 0)?;
        let first = self.contacts.len() as u32;
        let named = contacts.unwrap_or_default().split(';').map(str::trim).filter(|contact| !contact.is_empty());
        for contact in named {
            let contact = self.texts.put(contact);
            self.contacts.push(contact);
        }
        let folded = surname.map(cell::surname).filter(|surname| !surname.is_empty());
        let patient = PatientRow {
            valid,
            deceased: deceased.unwrap_or(Time::MAX),
            key: self.patient_ids.put(id),
            surname_text: self.text(surname),
            surname: folded.map_or(NONE, |surname| self.surnames.put(&surname)),
            address: self.text(address),
            contacts: (first, self.contacts.len() as u32),
            merged: merged.map_or(NONE, |merged| self.patient_ids.put(merged)),
            ordinal: self.cells("patients", row),
            vip: vip.unwrap_or(false),
            restricted: restricted.unwrap_or(false),
        };
        self.patients.push((row.line, patient));
        Ok(())
    }

    fn relation(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [patient, kind, user, department, start, end] = row.known();
        let patient = needed("patient_id", patient)?;
        let kind =
            lower(kind).and_then(|kind| RelationKind::parse(&kind)).ok_or("`kind` is not one of the nine kinds")?;
        if user.is_none() && department.is_none() {
            return Err("has neither `user_id` nor `department`".into());
        }
        let valid = self.valid(row, spec("relations"), 0)?;
        let start = self.date("start", start, Edge::Start, 0)?;
        let end = self.date("end", end, Edge::End, 0)?;
        let (start, end) = relation_span(kind, start, end, valid)?;
        let relation = |who, by_department| Relation {
            near_from: start.plus(if start == Time::MIN { 0 } else { -NEAR_BEFORE }).max(valid.from),
            near_to: end.plus(if end == Time::MAX { 0 } else { NEAR_AFTER }).min(valid.to),
            start,
            end,
            who,
            kind,
            by_department,
        };
        let patient = self.patient_ids.put(patient);
        let by_user = user.map(|user| relation(self.user_ids.put(user), false));
        let by_unit = department.map(|department| relation(self.units.put(&department.to_lowercase()), true));
        let ordinal = self.cells("relations", row);
        for relation in by_user.into_iter().chain(by_unit) {
            self.relations.push((patient, relation));
            if !row.layout.extras.is_empty() {
                self.relation_cells.push((patient, (relation, ordinal)));
            }
        }
        Ok(())
    }
}

pub(super) fn spec(name: &str) -> &'static FileSpec {
    FileSpec::get(name).expect("a file of the list")
}

pub(super) fn needed<'a>(column: &str, cell: Option<&'a str>) -> Result<&'a str, Complaint> {
    cell.ok_or_else(|| format!("`{column}` is empty"))
}

pub(super) fn lower(cell: Option<&str>) -> Option<String> {
    cell.map(str::to_ascii_lowercase)
}

pub(super) fn ordered(start_column: &str, start: Time, end_column: &str, end: Time) -> Result<(), Complaint> {
    if end < start { Err(format!("`{end_column}` lies before `{start_column}`")) } else { Ok(()) }
}

/// When a relation was there. What lasts (a stay, a team, a study) is open where a date is missing; what happens at one time (a
/// visit, an order, a result, ...) lasts from its one date to the same, and needs it.
fn relation_span(
    kind: RelationKind,
    start: Option<Time>,
    end: Option<Time>,
    valid: Valid,
) -> Result<(Time, Time), Complaint> {
    use RelationKind::*;
    if let (Some(start), Some(end)) = (start, end) {
        ordered("start", start, "end", end)?;
    }
    if matches!(kind, Encounter | CareTeam | Research) {
        return Ok((start.unwrap_or(Time::MIN), end.unwrap_or(Time::MAX)));
    }
    let known = Some(valid.from).filter(|from| *from != Time::MIN);
    let start = start.or(end).or(known).ok_or("has no date: only encounter, care_team and research may go without")?;
    Ok((start, end.unwrap_or(start)))
}
