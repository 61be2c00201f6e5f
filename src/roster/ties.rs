//! What enrichment asks of a roster: places, approvals, entitlements, and what ties an actor to a patient.

use super::lookup::{Roster, User, Vendor, status_at};
use super::people::is_billing;
use super::rows::*;
use crate::event::facts::{Approval, Encounter};
use crate::event::time::{DAY, Day, Time, Zone};

/// So many relations of a patient are read ahead.
const WARM: usize = 16;

/// What of an actor can tie it to a patient, found once for all patients of an event.
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    user: u32,
    unit: u32,
    patient: u32,
    surname: u32,
    address: u32,
    has_contacts: bool,
    /// Does the work of bills, codes and claims.
    pub billing: bool,
}

impl Actor {
    /// Whether the relation names the user or the department.
    pub(super) fn is_tied_by(&self, relation: &Relation) -> bool {
        relation.who == if relation.by_department { self.unit } else { self.user }
    }

    /// Tied to nobody.
    pub const NOBODY: Actor = Actor {
        user: NONE,
        unit: NONE,
        patient: NONE,
        surname: NONE,
        address: NONE,
        has_contacts: false,
        billing: false,
    };
}

/// A patient of an event, found once.
#[derive(Debug, Clone, Copy)]
pub struct Chart<'a> {
    key: u32,
    /// The record number that lives on.
    pub id: &'a str,
    /// The record number of the event was merged into another.
    pub merged: bool,
    row: Option<&'a PatientRow>,
}

impl Chart<'_> {
    /// Number of the record that lives on.
    pub(super) fn key(&self) -> u32 {
        self.key
    }
}

/// Kinds of relation that were near, each with its distance in microseconds where there is one.
#[derive(Debug, Clone, Copy)]
pub struct Near {
    /// That name the user.
    pub own: [Option<i64>; RelationKind::ALL.len()],
    /// That name the user's department.
    pub unit: [Option<i64>; RelationKind::ALL.len()],
    /// That name anybody.
    pub any: [bool; RelationKind::ALL.len()],
}

impl Roster {
    /// Number of a site for the functions below; 0 is the default.
    pub fn place(&self, site: Option<&str>) -> usize {
        site.and_then(|site| self.site_names.find(site)).map_or(0, |key| key as usize + 1)
    }

    /// The zone of that place.
    pub fn zone_at(&self, place: usize) -> &Zone {
        &self.sites[place].zone
    }

    /// Whether the date is a holiday there.
    pub fn holiday_at(&self, place: usize, date: Day) -> bool {
        self.sites[place].holidays.binary_search(&date).is_ok()
    }

    /// What can tie the actor to patients; role and department are those of the facts.
    pub fn actor(&self, id: &str, user: Option<&User<'_>>, role: Option<&str>, department: Option<&str>) -> Actor {
        match user {
            Some(user) => Actor {
                user: user.row.key,
                unit: if user.row.unit == NONE { self.unit(department) } else { user.row.unit },
                patient: user.row.patient,
                surname: user.row.surname,
                address: user.row.address,
                has_contacts: user.row.has_contacts,
                billing: user.row.billing
                    || is_billing(role.filter(|_| user.role.is_none()))
                    || is_billing(department.filter(|_| user.department.is_none())),
            },
            None => Actor {
                // Relations may name accounts that users.csv lacks.
                user: self.user_ids.find(id).unwrap_or(NONE),
                unit: self.unit(department),
                patient: NONE,
                surname: NONE,
                address: NONE,
                has_contacts: false,
                billing: is_billing(role) || is_billing(department),
            },
        }
    }

    fn unit(&self, department: Option<&str>) -> u32 {
        department.and_then(|department| self.units.find(&department.to_lowercase())).unwrap_or(NONE)
    }

    /// The patient as of `at`; `None` where no roster names the record number.
    pub fn chart(&self, id: &str, at: Time) -> Option<Chart<'_>> {
        let named = self.patient_ids.find(id)?;
        let key = self.canonical[named as usize];
        let row = self.patients.at(key, at).or_else(|| self.patients.at(named, at)).map(|(row, _)| row);
        Some(Chart { key, id: self.patient_ids.get(key), merged: key != named, row })
    }

    /// Reads what the functions below will ask of these patients, so that it is in the caches of the processor when they do: a patient is
    /// ten places of a large memory, and here many of them are on their way at once. The answer means nothing and keeps the reads alive.
    pub fn warm<'i>(&self, patients: impl Iterator<Item = &'i str>) -> i64 {
        let named: Vec<u32> = patients.filter_map(|id| self.patient_ids.find(id)).collect();
        let keys: Vec<u32> = named.iter().map(|named| self.canonical[*named as usize]).collect();
        let rows =
            keys.iter().flat_map(|key| self.patients.of(*key).first()).map(|row| i64::from(row.key)).sum::<i64>();
        let relations = keys.iter().flat_map(|key| self.relations.of(*key).iter().take(WARM));
        relations.fold(rows, |all, relation| all ^ relation.start.0)
    }

    /// Relations of the patient that are near the time, by kind.
    pub fn near(&self, chart: &Chart<'_>, actor: &Actor, at: Time) -> Option<Near> {
        let relations = self.relations.of(chart.key);
        if relations.is_empty() {
            return None;
        }
        let mut near = Near { own: [None; 9], unit: [None; 9], any: [false; 9] };
        for relation in relations {
            if relation.start.plus(-NEAR_BEFORE) > at {
                // They come by start: none of those that follow can be near.
                break;
            }
            if at < relation.near_from || at >= relation.near_to {
                continue;
            }
            let kind = relation.kind as usize;
            near.any[kind] = true;
            if !actor.is_tied_by(relation) {
                continue;
            }
            let place = if relation.by_department { &mut near.unit[kind] } else { &mut near.own[kind] };
            let distance = relation.distance(at);
            *place = Some(place.map_or(distance, |other| other.min(distance)));
        }
        Some(near)
    }

    /// Appends the marks of the pair, in the order of the facts.
    pub fn marks(&self, chart: &Chart<'_>, actor: &Actor, at: Time, marks: &mut Vec<&str>) {
        let own = chart.key == actor.patient;
        if own {
            marks.push("own_chart");
        } else {
            self.marks_of_others(chart, actor, at, marks);
        }
        if let Some(row) = chart.row {
            let flags = [(row.vip, "vip"), (row.restricted, "restricted"), (row.deceased <= at, "deceased")];
            marks.extend(flags.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark));
        }
        if chart.merged {
            marks.push("merged");
        }
    }

    /// Marks that say nothing about a person's own chart: everybody shares a name and an address with himself.
    fn marks_of_others(&self, chart: &Chart<'_>, actor: &Actor, at: Time, marks: &mut Vec<&str>) {
        let first = self.staff.partition_point(|(patient, _)| *patient < chart.key);
        let users = self.staff[first..].iter().take_while(|(patient, _)| *patient == chart.key);
        let mut colleague = None;
        for (_, user) in users {
            let unit = self.users.at(*user, at).map(|(row, _)| row.unit);
            colleague = Some(colleague == Some(true) || unit.is_some_and(|unit| unit != NONE && unit == actor.unit));
        }
        if let Some(colleague) = colleague {
            marks.push("staff");
            if colleague {
                marks.push("colleague");
            }
        }
        if let Some(row) = chart.row {
            if row.surname != NONE && row.surname == actor.surname {
                marks.push("same_surname");
            }
            if row.address != NONE && row.address == actor.address {
                marks.push("same_address");
            }
        }
        if self.is_contact(chart, actor, at) {
            marks.push("contact");
        }
    }

    /// Whether the patient's record lists the actor, or the actor's own record lists the patient.
    fn is_contact(&self, chart: &Chart<'_>, actor: &Actor, at: Time) -> bool {
        let listed = |row: &PatientRow, user: u32, patient: u32| {
            let contacts = &self.contacts[row.contacts.0 as usize..row.contacts.1 as usize];
            contacts.iter().any(|c| (c.user == user && user != NONE) || (c.patient == patient && patient != NONE))
        };
        let theirs = chart.row.is_some_and(|row| listed(row, actor.user, actor.patient));
        let own = |(row, _): (&PatientRow, Fit)| listed(row, NONE, chart.key);
        theirs || (actor.has_contacts && self.patients.at(actor.patient, at).is_some_and(own))
    }

    /// Whole days since the patient died, where that was before `at`.
    pub fn days_deceased(&self, chart: &Chart<'_>, at: Time) -> Option<i32> {
        let died = chart.row?.deceased;
        (died <= at).then(|| (at.0.saturating_sub(died.0) / DAY) as i32)
    }

    /// The newest encounter that had begun by `at` and was known then; `None` where no relation is kept at all.
    ///
    /// One that was withdrawn counts no more; what leaves the papers 30 days after its end was not withdrawn.
    pub fn encounter(&self, chart: Option<&Chart<'_>>, at: Time) -> Option<Encounter> {
        if self.relations.rows().is_empty() {
            return None;
        }
        let relations = chart.map_or(&[][..], |chart| self.relations.of(chart.key));
        let begun = &relations[..relations.partition_point(|relation| relation.start <= at)];
        let withdrawn =
            |relation: &Relation| relation.near_to <= at && relation.near_to < relation.end.plus(NEAR_AFTER);
        let counts = |relation: &&Relation| {
            relation.kind == RelationKind::Encounter && relation.near_from <= at && !withdrawn(relation)
        };
        Some(match begun.iter().rev().find(counts) {
            Some(newest) if at < newest.end => Encounter::Open,
            Some(_) => Encounter::Closed,
            None => Encounter::None,
        })
    }

    /// Calls `take` with each entitlement of the account that is valid then, and whether it is privileged; says whether a privileged one
    /// has expired.
    pub fn entitlements<'a>(&'a self, id: &str, at: Time, mut take: impl FnMut(&'a str, bool)) -> bool {
        let Some(key) = self.user_ids.find(id) else { return false };
        let mut expired = false;
        for row in self.entitlements.of(key).iter().filter(|row| row.from <= at) {
            match at < row.to {
                true => take(self.texts.get(row.entitlement), row.privileged),
                false => expired |= row.privileged,
            }
        }
        expired
    }

    /// Whether any approval is known.
    pub fn has_approvals(&self) -> bool {
        !self.approvals.rows().is_empty()
    }

    /// State of an approval for a vendor (`None`: the act is not a vendor's) on a host; the kindest of its rows decides.
    pub fn approval(&self, approval: &str, vendor: Option<&str>, host: Option<&str>, at: Time) -> Approval {
        let rows = self.approval_rows(approval, vendor, host, at);
        rows.min_by_key(|(rank, ..)| *rank).map_or(Approval::Unknown, |(_, state, _)| state)
    }

    /// The rows of an approval, each with its state and the rank of that; the smallest is the kindest.
    pub(super) fn approval_rows<'a>(
        &'a self,
        approval: &str,
        vendor: Option<&str>,
        host: Option<&str>,
        at: Time,
    ) -> impl Iterator<Item = (u8, Approval, &'a ApprovalRow)> {
        let vendor = vendor.map(|vendor| self.vendor_ids.find(vendor));
        let host = host.map(str::to_lowercase);
        let state = move |row: &ApprovalRow| {
            if row.vendor != NONE && vendor != Some(Some(row.vendor)) {
                return (3, Approval::Unknown);
            }
            if at < row.from || at >= row.to {
                return (2, Approval::OutOfTime);
            }
            match (self.text(row.host), &host) {
                (Some(approved), Some(host)) if approved != host => (1, Approval::OtherHost),
                _ => (0, Approval::Valid),
            }
        };
        let rows = self.approval_refs.find(approval).map_or(&[][..], |key| self.approvals.of(key));
        rows.iter().map(move |row| {
            let (rank, state) = state(row);
            (rank, state, row)
        })
    }

    pub(super) fn text(&self, key: u32) -> Option<&str> {
        (key != NONE).then(|| self.texts.get(key))
    }

    pub(super) fn user_view<'a>(&'a self, row: &'a UserRow, fit: Fit, at: Time) -> User<'a> {
        let (status, ended, undated_end) = status_at(row.status, row.ended, at);
        User {
            id: self.user_ids.get(row.key),
            name: self.text(row.name),
            role: self.text(row.role),
            department: self.text(row.department),
            site: self.text(row.site),
            status,
            kind: row.kind,
            manager_id: self.text(row.manager),
            email: self.text(row.email),
            created: row.created,
            hired: row.hired,
            terminated: row.terminated,
            employment: self.text(row.employment),
            patient_id: self.text(row.patient_text),
            address_key: self.text(row.address),
            person_id: self.text(row.person),
            outside_rows: fit != Fit::Valid,
            seen_later: fit == Fit::ToCome && row.valid.first_seen,
            ended,
            undated_end,
            row_from: row.valid.start(),
            row_to: row.valid.end(),
            roster: self,
            row,
        }
    }
}

impl<'a> User<'a> {
    /// Number of the home site, where it has one.
    pub fn home(&self) -> Option<usize> {
        self.site.map(|_| self.row.place as usize)
    }
}

impl<'a> Vendor<'a> {
    /// Number of its zone as a place, where it has a zone of its own.
    pub fn place(&self) -> Option<usize> {
        self.zone.map(|_| self.row.place as usize)
    }
}
