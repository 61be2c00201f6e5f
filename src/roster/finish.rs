//! The last step of reading: merges are followed, ends completed, contacts and relations tied to the record that lives on.

use std::collections::BTreeMap;

use super::build::Builder;
use super::keys::Keys;
use super::lookup::Roster;
use super::rows::*;
use crate::event::time::{Time, Zone};

/// Takes what is wrong: file, line, what.
type Tell<'t> = &'t mut dyn FnMut(&str, Option<u64>, String);

impl Roster {
    /// Ties the rows of all files together.
    pub(super) fn finish(mut builder: Builder, hash: String, tell: Tell<'_>) -> Roster {
        let mut users = Group::arrange(std::mem::take(&mut builder.users));
        let mut accounts = Group::arrange(std::mem::take(&mut builder.accounts));
        let patients = Group::arrange(std::mem::take(&mut builder.patients));
        let canonical = follow(&patients, builder.patient_ids.len(), tell);
        complete(&mut users, |row: &mut UserRow| (row.valid, row.terminated, &mut row.ended));
        complete(&mut accounts, |row: &mut AccountRow| (row.valid, row.terminated, &mut row.ended));
        own_charts(&mut users, &builder.patient_ids, &canonical);

        for row in users.rows_mut().iter_mut().filter(|row| row.patient != NONE) {
            row.has_contacts = patients.of(row.patient).iter().any(|patient| patient.contacts.0 < patient.contacts.1);
        }

        let mut relations = std::mem::take(&mut builder.relations);
        relations.iter_mut().for_each(|(patient, _)| *patient = canonical[*patient as usize]);
        let relations = Group::gathered(relations, |r| (r.start, r.end, r.kind, r.by_department, r.who));
        let mut relation_cells = std::mem::take(&mut builder.relation_cells);
        relation_cells.iter_mut().for_each(|(patient, _)| *patient = canonical[*patient as usize]);
        let mut staff: Vec<(u32, u32)> =
            users.rows().iter().filter(|row| row.patient != NONE).map(|row| (row.patient, row.key)).collect();
        staff.sort_unstable();
        staff.dedup();
        let contacts = contacts(&builder, &canonical);
        let named = |ids: &Keys, has: &dyn Fn(u32) -> bool| {
            let mut keys: Vec<u32> = (0..ids.len() as u32).filter(|key| has(*key)).collect();
            keys.sort_unstable_by(|a, b| ids.get(*a).cmp(ids.get(*b)));
            keys
        };
        let user_order = named(&builder.user_ids, &|key| !users.of(key).is_empty());
        let account_order = named(&builder.account_ids, &|key| !accounts.of(key).is_empty());
        let Builder { texts, user_ids, account_ids, vendor_ids, patient_ids, approval_refs, units, .. } = &mut builder;
        for keys in [texts, user_ids, account_ids, vendor_ids, patient_ids, approval_refs, units] {
            keys.shrink();
        }
        let lists_machines = users.rows().iter().any(|row| row.kind == UserKind::Service);
        Roster {
            hash,
            zones: zones(&builder),
            sites: builder.sites,
            site_names: builder.site_names,
            vendors: Group::arrange(builder.vendors),
            entitlements: Group::arrange(builder.entitlements),
            shifts: Group::gathered(builder.shifts, |shift| *shift),
            approvals: Group::gathered(builder.approvals, |row| (row.from, row.to, row.vendor, row.host)),
            texts: builder.texts,
            user_ids: builder.user_ids,
            account_ids: builder.account_ids,
            vendor_ids: builder.vendor_ids,
            patient_ids: builder.patient_ids,
            approval_refs: builder.approval_refs,
            units: builder.units,
            windows: builder.windows,
            relation_cells: Group::gathered(relation_cells, |(r, ordinal)| (r.start, r.end, r.kind, *ordinal)),
            shift_cells: Group::gathered(builder.shift_cells, |shift| *shift),
            extras: builder.extras,
            users,
            accounts,
            patients,
            relations,
            staff,
            contacts,
            canonical,
            user_order,
            account_order,
            lists_machines,
        }
    }
}

fn zones(builder: &Builder) -> Vec<Zone> {
    let named = builder.sites.iter().take(builder.site_names.len() + 1);
    let by_name: BTreeMap<&str, &Zone> = named.map(|site| (site.zone.name(), &site.zone)).collect();
    by_name.into_values().cloned().collect()
}

/// For each record number the one that lives on. Numbers on a circle, and those that lead into one, stand for themselves.
fn follow(patients: &Group<PatientRow>, count: usize, tell: Tell<'_>) -> Vec<u32> {
    let mut next: Vec<u32> = (0..count as u32).collect();
    for row in patients.rows().iter().filter(|row| row.merged != NONE) {
        // Rows come by time: the latest word counts.
        next[row.key as usize] = row.merged;
    }
    let mut ends: Vec<u32> = vec![NONE; count];
    let mut circles = 0_u64;
    for first in 0..count as u32 {
        let mut path = vec![first];
        let mut here = first;
        let end = loop {
            let after = next[here as usize];
            if after == here {
                break Some(here);
            }
            if ends[after as usize] != NONE {
                // Someone was here before: a number that stands for itself although it leads on belongs to a circle.
                let end = ends[after as usize];
                break (next[end as usize] == end).then_some(end);
            }
            if path.contains(&after) {
                circles += 1;
                break None;
            }
            path.push(after);
            here = after;
            if path.len() > MERGES_MAX {
                circles += 1;
                break None;
            }
        };
        for number in path {
            ends[number as usize] = end.unwrap_or(number);
        }
    }
    if circles > 0 {
        let what = format!(
            "{circles} chains of `merged_into` run in a circle or never end; their numbers stand for themselves"
        );
        tell("patients.csv", None, what);
    }
    ends
}

/// Longer chains of merges are taken for a mistake.
const MERGES_MAX: usize = 1_000;

fn complete<R>(rows: &mut Group<R>, parts: impl Fn(&mut R) -> (Valid, Option<Time>, &mut Ended)) {
    for group in rows.groups_mut() {
        let mut ends: Vec<_> = group
            .iter_mut()
            .map(|row| {
                let (valid, terminated, ended) = parts(row);
                (valid, terminated, *ended)
            })
            .collect();
        complete_ends(&mut ends);
        for (row, (_, _, ended)) in group.iter_mut().zip(ends) {
            *parts(row).2 = ended;
        }
    }
}

/// A person's chart is known for all accounts of that person, under the number that lives on.
fn own_charts(users: &mut Group<UserRow>, patient_ids: &Keys, canonical: &[u32]) {
    let mut by_person: BTreeMap<u32, u32> = BTreeMap::new();
    for row in users.rows_mut().iter_mut().filter(|row| row.patient != NONE) {
        row.patient = canonical[row.patient as usize];
        if row.person != NONE {
            // Where one person is given two charts, the answer must not hang on the order of rows.
            let smaller =
                |other: u32| if patient_ids.get(other) < patient_ids.get(row.patient) { other } else { row.patient };
            let known = by_person.get(&row.person).copied();
            by_person.insert(row.person, known.map_or(row.patient, smaller));
        }
    }
    for row in users.rows_mut().iter_mut().filter(|row| row.patient == NONE && row.person != NONE) {
        row.patient = by_person.get(&row.person).copied().unwrap_or(NONE);
    }
}

fn contacts(builder: &Builder, canonical: &[u32]) -> Vec<Contact> {
    let contact = |text: &u32| {
        let id = builder.texts.get(*text);
        let patient = builder.patient_ids.find(id).map_or(NONE, |key| canonical[key as usize]);
        Contact { user: builder.user_ids.find(id).unwrap_or(NONE), patient }
    };
    builder.contacts.iter().map(contact).collect()
}
