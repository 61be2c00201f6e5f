//! The typed rows of a roster, as they lie in memory: small, without text of their own.
//!
//! Text is a number in one of the [`Keys`](super::keys::Keys); [`NONE`] stands for an empty cell.

use std::collections::BTreeMap;

use crate::event::facts::Status;
use crate::event::kind::words;
use crate::event::time::{DAY, Time};

/// No text, no key.
pub const NONE: u32 = u32::MAX;

/// How long before its start a relation explains an access: charts are read before the visit.
pub const NEAR_BEFORE: i64 = 7 * DAY;
/// How long after its end: letters, results and codes follow the visit.
pub const NEAR_AFTER: i64 = 30 * DAY;

words! {
    /// What ties a person or a department to a patient, in the order in which it explains an access.
    RelationKind {
        Encounter = "encounter",
        Appointment = "appointment",
        Order = "order",
        Result = "result",
        CareTeam = "care_team",
        Referral = "referral",
        /// A note sent about the patient.
        Note = "message",
        Billing = "billing",
        Research = "research",
    }
}

words! {
    /// What kind of account a user has.
    UserKind {
        Human = "human",
        Service = "service",
    }
}

/// A row that is valid for a time.
pub trait Dated {
    /// Number of the thing that the row is about.
    fn key(&self) -> u32;
    /// Tells several rows of one thing apart that may be valid together.
    fn part(&self) -> u32 {
        0
    }
    /// Half-open validity.
    fn span(&self) -> (Time, Time);
}

/// Half-open validity of a row, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Valid {
    /// First instant; [`Time::MIN`] is open.
    pub from: Time,
    /// First instant after; [`Time::MAX`] is open.
    pub to: Time,
    /// `from` is only the moment at which we first saw the row.
    pub first_seen: bool,
}

/// Since when an account has ended, and how.
pub type Ended = Option<(Status, Time)>;

/// A row of `users.csv`.
#[derive(Debug, Clone)]
pub struct UserRow {
    pub key: u32,
    pub valid: Valid,
    pub created: Option<Time>,
    pub hired: Option<Time>,
    pub terminated: Option<Time>,
    pub ended: Ended,
    pub name: u32,
    pub surname: u32,
    pub role: u32,
    pub department: u32,
    pub unit: u32,
    pub site: u32,
    pub place: u32,
    pub manager: u32,
    pub email: u32,
    pub employment: u32,
    pub patient_text: u32,
    pub patient: u32,
    pub address: u32,
    pub person: u32,
    pub ordinal: u32,
    pub status: Status,
    pub kind: UserKind,
    pub billing: bool,
    /// The person's own record lists contacts; spares a look at it for nearly everybody.
    pub has_contacts: bool,
}

/// A row of `vendors.csv`.
#[derive(Debug, Clone)]
pub struct VendorRow {
    pub key: u32,
    pub valid: Valid,
    pub name: u32,
    pub status: Status,
    pub baa_signed: Option<Time>,
    pub baa_expires: Option<Time>,
    pub place: u32,
    pub email: u32,
    pub parent: u32,
    pub ordinal: u32,
}

/// A row of `vendor_accounts.csv`.
#[derive(Debug, Clone)]
pub struct AccountRow {
    pub key: u32,
    pub valid: Valid,
    pub vendor: u32,
    pub person: u32,
    pub status: Status,
    pub created: Option<Time>,
    pub terminated: Option<Time>,
    pub ended: Ended,
    pub window: u32,
    pub ordinal: u32,
}

/// A row of `patients.csv`.
#[derive(Debug, Clone)]
pub struct PatientRow {
    pub valid: Valid,
    /// [`Time::MAX`] where not known to have died.
    pub deceased: Time,
    pub key: u32,
    pub surname_text: u32,
    pub surname: u32,
    pub address: u32,
    pub contacts: (u32, u32),
    pub merged: u32,
    pub ordinal: u32,
    pub vip: bool,
    pub restricted: bool,
}

/// One of a patient's contacts: a user, a patient, or both under one identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    pub user: u32,
    pub patient: u32,
}

/// A row of `relations.csv`, ready to be asked.
#[derive(Debug, Clone, Copy)]
pub struct Relation {
    /// First instant at which it explains an access.
    pub near_from: Time,
    /// First instant after.
    pub near_to: Time,
    pub start: Time,
    pub end: Time,
    /// A user, or a department where `by_department`.
    pub who: u32,
    pub kind: RelationKind,
    pub by_department: bool,
}

impl Relation {
    /// Microseconds between the instant and the relation itself; 0 inside it.
    pub fn distance(&self, at: Time) -> i64 {
        if at < self.start {
            self.start.0.saturating_sub(at.0)
        } else if at >= self.end {
            at.0.saturating_sub(self.end.0)
        } else {
            0
        }
    }
}

/// A row of `approvals.csv`.
#[derive(Debug, Clone)]
pub struct ApprovalRow {
    pub vendor: u32,
    pub from: Time,
    pub to: Time,
    pub host: u32,
    pub ordinal: u32,
}

/// A row of `entitlements.csv`.
#[derive(Debug, Clone)]
pub struct EntitlementRow {
    pub key: u32,
    pub entitlement: u32,
    pub valid: Valid,
    /// Granted and not expired, within `valid`.
    pub from: Time,
    pub to: Time,
    pub privileged: bool,
    pub ordinal: u32,
}

macro_rules! dated {
    ($($row:ty),*) => {
        $(impl Dated for $row {
            fn key(&self) -> u32 { self.key }
            fn span(&self) -> (Time, Time) { (self.valid.from, self.valid.to) }
        })*
    };
}
dated!(UserRow, VendorRow, AccountRow, PatientRow);

impl Dated for EntitlementRow {
    fn key(&self) -> u32 {
        self.key
    }
    fn part(&self) -> u32 {
        self.entitlement
    }
    fn span(&self) -> (Time, Time) {
        (self.valid.from, self.valid.to)
    }
}

/// How the row that was found lies to the instant that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Valid then.
    Valid,
    /// The instant lies after this row, and no row was valid then.
    Ended,
    /// The instant lies before this row, which is the first.
    ToCome,
}

/// Values side by side, grouped by a number.
#[derive(Debug, Clone)]
pub struct Group<R> {
    rows: Vec<R>,
    starts: Vec<u32>,
}

impl<R> Default for Group<R> {
    fn default() -> Group<R> {
        Group { rows: Vec::new(), starts: Vec::new() }
    }
}

impl<R> Group<R> {
    /// Groups rows that came with their keys, in the order given by `order` within a key.
    pub fn gathered<K: Ord>(mut pairs: Vec<(u32, R)>, order: impl Fn(&R) -> K) -> Group<R> {
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| order(&a.1).cmp(&order(&b.1))));
        let keys = pairs.last().map_or(0, |(key, _)| *key as usize + 1);
        let mut starts = vec![0_u32; keys + 1];
        for (key, _) in &pairs {
            starts[*key as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut rows: Vec<R> = pairs.into_iter().map(|(_, row)| row).collect();
        rows.shrink_to_fit();
        Group { rows, starts }
    }

    /// The rows of one key, in the order in which they came.
    pub fn of(&self, key: u32) -> &[R] {
        let key = key as usize;
        match (self.starts.get(key), key.checked_add(1).and_then(|next| self.starts.get(next))) {
            (Some(from), Some(to)) => &self.rows[*from as usize..*to as usize],
            _ => &[],
        }
    }

    /// All rows, by key.
    pub fn rows(&self) -> &[R] {
        &self.rows
    }

    /// All rows, by key, to be completed in place.
    pub fn rows_mut(&mut self) -> &mut [R] {
        &mut self.rows
    }

    /// One group after the other, to be completed in place.
    pub fn groups_mut(&mut self) -> impl Iterator<Item = &mut [R]> {
        let mut rest = self.rows.as_mut_slice();
        self.starts.windows(2).map(move |pair| {
            let (group, after) = std::mem::take(&mut rest).split_at_mut((pair[1] - pair[0]) as usize);
            rest = after;
            group
        })
    }
}

impl<R: Dated> Group<R> {
    /// Groups rows by key and time.
    pub fn arrange(rows: Vec<(u64, R)>) -> Group<R> {
        let pairs = rows.into_iter().map(|(_, row)| (row.key(), row)).collect();
        Group::gathered(pairs, |row: &R| (row.part(), row.span().0))
    }

    /// The row that was valid at `at`; else the one that ended last before, else the first to come.
    pub fn at(&self, key: u32, at: Time) -> Option<(&R, Fit)> {
        let rows = self.of(key);
        let mut before = None;
        for row in rows {
            let (from, to) = row.span();
            if at < from {
                break;
            }
            if at < to {
                return Some((row, Fit::Valid));
            }
            before = Some((row, Fit::Ended));
        }
        before.or_else(|| rows.first().map(|row| (row, Fit::ToCome)))
    }
}

/// Takes out the rows that overlap an earlier line of the same key in time, and returns their lines.
pub fn take_overlaps<R: Dated>(rows: &mut Vec<(u64, R)>) -> Vec<u64> {
    rows.sort_by_key(|(line, row)| (row.key(), row.part(), *line));
    let mut refused = Vec::new();
    let mut group = None;
    let mut taken: BTreeMap<Time, Time> = BTreeMap::new();
    rows.retain(|(line, row)| {
        if group != Some((row.key(), row.part())) {
            group = Some((row.key(), row.part()));
            taken.clear();
        }
        let (from, to) = row.span();
        // Those that were taken do not overlap each other, so the last that begins before our end decides.
        let overlaps = taken.range(..to).next_back().is_some_and(|(_, end)| from < *end);
        if overlaps {
            refused.push(*line);
        } else {
            taken.insert(from, to);
        }
        !overlaps
    });
    refused
}

/// Completes `ended` of the rows of one account, which are in order of time.
///
/// A row that says `terminated` or `disabled` counts from its `terminated_at`, else from its `valid_from`. What it says of the time
/// before its own beginning holds for the row before it, and a row that goes on with the same status does not begin the end anew.
pub fn complete_ends(rows: &mut [(Valid, Option<Time>, Ended)]) {
    for index in 1..rows.len() {
        let (before, after) = rows.split_at_mut(index);
        let (earlier, later) = (&mut before[index - 1], &mut after[0]);
        let touching = earlier.0.to == later.0.from;
        if let (Some((status, _)), Some((earlier_status, since))) = (later.2, earlier.2)
            && touching
            && later.1.is_none()
            && status == earlier_status
            && since < later.0.from
        {
            later.2 = Some((status, since));
        }
    }
    for index in (1..rows.len()).rev() {
        let (before, after) = rows.split_at_mut(index);
        let (earlier, later) = (&mut before[index - 1], &after[0]);
        let Some((status, since)) = later.2 else { continue };
        if earlier.0.to == later.0.from && since < earlier.0.to && earlier.2.is_none_or(|(_, other)| since < other) {
            earlier.2 = Some((status, since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Plain(u32, i64, i64);

    impl Dated for Plain {
        fn key(&self) -> u32 {
            self.0
        }
        fn span(&self) -> (Time, Time) {
            (Time(self.1), Time(self.2))
        }
    }

    #[test]
    fn finds_the_row_of_the_time() {
        let mut rows = vec![
            (2, Plain(1, 10, 20)),
            (3, Plain(1, 30, 40)),
            (4, Plain(1, 15, 16)),
            (5, Plain(3, 0, 5)),
            (6, Plain(1, 20, 25)),
        ];
        assert_eq!(take_overlaps(&mut rows), [4]);
        let group = Group::arrange(rows);
        let check = |key, at, expected: Option<(i64, Fit)>| {
            assert_eq!(group.at(key, Time(at)).map(|(row, fit)| (row.1, fit)), expected, "{key} at {at}");
        };
        check(1, 9, Some((10, Fit::ToCome)));
        check(1, 10, Some((10, Fit::Valid)));
        check(1, 20, Some((20, Fit::Valid)));
        check(1, 27, Some((20, Fit::Ended)));
        check(1, 99, Some((30, Fit::Ended)));
        check(3, 4, Some((0, Fit::Valid)));
        check(0, 4, None);
        check(2, 4, None);
        check(4, 4, None);
        check(NONE, 4, None);
    }

    #[test]
    fn ends_reach_into_the_row_before() {
        let valid = |from, to| Valid { from: Time(from), to: Time(to), first_seen: false };
        let ended = |at| Some((Status::Terminated, Time(at)));
        let check = |mut rows: Vec<(Valid, Option<Time>, Ended)>, expected: &[Ended]| {
            complete_ends(&mut rows);
            assert_eq!(rows.iter().map(|row| row.2).collect::<Vec<_>>(), expected);
        };
        check(vec![(valid(0, 10), None, None), (valid(10, 20), Some(Time(7)), ended(7))], &[ended(7), ended(7)]);
        check(vec![(valid(0, 10), None, None), (valid(10, 20), None, ended(10))], &[None, ended(10)]);
        check(vec![(valid(0, 10), None, ended(0)), (valid(10, 20), None, ended(10))], &[ended(0), ended(0)]);
        check(vec![(valid(0, 8), None, None), (valid(10, 20), Some(Time(7)), ended(7))], &[None, ended(7)]);
        check(vec![(valid(0, 10), None, ended(0)), (valid(10, 20), None, None)], &[ended(0), None]);
    }

    proptest::proptest! {
        #[test]
        fn overlaps_are_those_of_the_plain_comparison(rows in proptest::collection::vec((0..3_u32, 0..12_i64, 1..6_i64), 0..30)) {
            let mut plain: Vec<(u64, u32, i64, i64)> = Vec::new();
            let mut refused = Vec::new();
            for (line, (key, from, length)) in rows.iter().enumerate() {
                let overlaps = plain.iter().any(|(_, k, f, t)| k == key && from < t && *f < from + length);
                if overlaps { refused.push(line as u64) } else { plain.push((line as u64, *key, *from, from + length)) }
            }
            let number = |(line, (key, from, length)): (usize, &(u32, i64, i64))| (line as u64, Plain(*key, *from, from + length));
            let mut typed = rows.iter().enumerate().map(number).collect();
            let mut found = take_overlaps(&mut typed);
            found.sort_unstable();
            proptest::prop_assert_eq!(found, refused);
            let group = Group::arrange(typed);
            for key in 0..3 {
                for at in 0..20 {
                    let valid = plain.iter().find(|(_, k, f, t)| *k == key && (*f..*t).contains(&at)).map(|(_, _, f, _)| *f);
                    let fit = group.at(key, Time(at)).filter(|(_, fit)| *fit == Fit::Valid).map(|(row, _)| row.1);
                    proptest::prop_assert_eq!(fit, valid);
                }
            }
        }
    }
}
