//! Whom a hit is about, and on which of its days.

use std::collections::BTreeSet;

use super::super::meta::About;
use super::super::{Condition, Row, Rule};
use super::Scene;
use crate::engine::subjects::GroupIx;
use crate::event::facts::Account;
use crate::event::{Day, Event, Subject, SubjectKind, Time};
use crate::roster::Roster;

/// Whom a hit is about, on which of its days.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whom.
    pub subject: Subject,
    /// Its local day.
    pub day: Day,
    /// The span of event time of that day.
    pub window: (Time, Time),
    /// Its role, where it has one.
    pub role: Option<GroupIx>,
}

/// The newest day that a row may fall into for any of its subjects: where the event happened, whoever did it.
pub fn place_day(roster: &Roster, event: &Event<'_>) -> Day {
    roster.zone_at(roster.place(event.site())).local(event.time()).day
}

/// Whom a hit of a plain rule is about: several where the rule speaks of each patient, each with the row as far as it is about them.
pub fn targets<'a>(rule: &Rule, condition: &Condition, scene: &Scene<'a>) -> Vec<(Target, Row<'a>)> {
    if rule.meta.about != About::Patient || scene.row.facts.patients.is_empty() {
        return vec![(target(rule.meta.about, None, scene), scene.row)];
    }
    by_patient(condition, scene.row).map(|row| (target(About::Patient, row.only, scene), row)).collect()
}

/// A row as far as it is about each of its patients: of those who meet a condition alone, else of all of them.
pub fn by_patient<'a>(condition: &Condition, row: Row<'a>) -> impl Iterator<Item = Row<'a>> {
    let narrowed = move |index: usize| Row { only: Some(index), ..row };
    let all = 0..row.facts.patients.len();
    let mut own: Vec<usize> = all.clone().filter(|index| condition.holds(&narrowed(*index))).collect();
    if own.is_empty() {
        // It takes all of them together.
        own = all.collect();
    }
    own.into_iter().map(narrowed)
}

/// What a correlation is offered of a row: where it tells patients apart and `about` speaks of one, the row as far as it is about each
/// of them; a patient who is named twice is there once.
pub fn offered<'a>(about: About, parts_patients: bool, condition: &Condition, row: Row<'a>) -> Vec<Row<'a>> {
    if about != About::Patient || !parts_patients || row.facts.patients.is_empty() {
        return vec![row];
    }
    let mut known = BTreeSet::new();
    by_patient(condition, row).filter(|row| known.insert(row.record_numbers().next())).collect()
}

/// Whom a hit is about. Where the event does not name what the rule asks for, it is about the account, and without one about the feed.
pub fn target(about: About, patient: Option<usize>, scene: &Scene<'_>) -> Target {
    let (event, facts) = (&scene.row.event, scene.row.facts);
    let subject = |kind, id: &str| Subject { kind, id: id.to_owned() };
    let named = match about {
        About::User => None,
        About::Vendor => facts.vendor_id.map(|id| subject(SubjectKind::Vendor, id)),
        About::Patient => {
            facts.patients.get(patient.unwrap_or(0)).map(|patient| subject(SubjectKind::Patient, patient.patient_id))
        }
        About::Host => event.client_host().map(|id| subject(SubjectKind::Host, id)),
        About::Source => Some(subject(SubjectKind::Source, event.source())),
    };
    let place = |site| {
        let zone = scene.roster.zone_at(scene.roster.place(site));
        let day = zone.local(event.time()).day;
        (day, (zone.day_start(day), zone.day_start(day.plus(1))))
    };
    let kind = if facts.account == Account::VendorAccount { SubjectKind::VendorAccount } else { SubjectKind::User };
    let (subject, (day, window), role) = match (named, event.actor_id()) {
        (Some(named), _) => (named, place(event.site()), None),
        (None, Some(id)) => {
            // An account's day is that of its home, as it was known then.
            let zone = scene.roster.zone_at(scene.roster.place(facts.home_site.or_else(|| event.site())));
            let window = (zone.day_start(facts.day), zone.day_start(facts.day.plus(1)));
            (subject(kind, id), (facts.day, window), scene.role)
        }
        (None, None) => (subject(SubjectKind::Source, event.source()), place(event.site()), None),
    };
    Target { subject, day, window, role }
}
