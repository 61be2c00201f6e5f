//! temporary
use crate::event::facts::Account;
use crate::event::*;
use crate::roster::Roster;
/// x
pub fn enrich<'r>(roster: &'r Roster, event: &Event<'r>) -> Facts<'r> {
    let zone = roster.zone(event.site());
    let clock = zone.local(event.time());
    let account = match event.actor_id() {
        None => Account::Unresolved,
        Some(id) => {
            if roster.user(id, event.time()).is_some() {
                Account::User
            } else {
                Account::Unknown
            }
        }
    };
    Facts {
        account,
        person_id: None,
        role: None,
        department: None,
        home_site: None,
        status: None,
        employment: None,
        day: clock.day,
        clock,
        off_day: clock.day.weekday() >= 5,
        on_shift: None,
        outside_dates: false,
        privileged: false,
        entitlements: vec![],
        vendor_id: None,
        vendor_status: None,
        baa: None,
        approval: None,
        in_window: None,
        patients: event.patients().map(|p| PatientFacts { patient_id: p, ..Default::default() }).collect(),
    }
}
