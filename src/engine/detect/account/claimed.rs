//! Accounts in no roster that say of themselves to be a device or a patient: what they do that such an actor never does.
//!
//! Devices and patients of the portal are in no roster and many, so that being unknown says nothing of them; they have no habits of
//! people and enter no group. But the word is the source's, and whoever can choose it could hide behind it. So their days are summed
//! apart, and an account that goes beyond what it says to be is an unknown account like any other, with all it did that day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::facts;
use super::{Finding, UNKNOWN};
use crate::engine::detect::{Constants, Detected, counted};
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::requests::Requests;
use crate::event::{Activity, ActorKind, Day, Event, Facts, Subject, SubjectKind, Time};
use crate::roster::Roster;
use serde_json::json;

/// A patient looks at their own chart and at those for which they are a proxy: children, parents, a partner.
const PROXIES: usize = 6;
/// A device reads the charts of those whom it serves that day.
const SERVED: usize = 50;

/// What an account claimed to be and did on one of its days.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Claimed {
    /// All uses under such a claim.
    pub uses: Events,
    /// The requests that they report.
    pub requests: Requests,
    /// Patients of those uses.
    pub patients: Distinct,
    /// Patients that were seen as a patient.
    as_patient: Distinct,
    /// Patients whose charts were opened as a device.
    as_device: Distinct,
    /// Acts that are not for such an actor.
    strange: u64,
    /// The local day in every zone in which it was lived.
    window: Option<(Time, Time)>,
    pub told: Option<u32>,
}

/// Accounts by day and name.
pub(super) type Claims = BTreeMap<Day, BTreeMap<String, Claimed>>;

impl Claimed {
    /// Takes up a use.
    pub fn add(&mut self, roster: &Roster, event: &Event<'_>, facts: &Facts<'_>) {
        self.uses.add(event);
        self.requests.add(event);
        let as_patient = event.actor_kind() == Some(ActorKind::Patient);
        let opens = event.activity() == Activity::Read;
        for patient in &facts.patients {
            self.patients.insert(patient.patient_id);
            if as_patient {
                self.as_patient.insert(patient.patient_id);
            } else if opens {
                self.as_device.insert(patient.patient_id);
            }
        }
        self.strange += u64::from(is_strange(event, as_patient));
        let zone = roster.zone(event.site());
        let (start, end) = (zone.day_start(facts.day), zone.day_start(facts.day.plus(1)));
        let (first, last) = self.window.unwrap_or((start, end));
        self.window = Some((first.min(start), last.max(end)));
    }

    /// Whether it did what neither a patient nor a device does. It grows with the uses and never shrinks.
    pub fn is_beyond(&self) -> bool {
        self.strange > 0 || self.as_patient.len() > PROXIES || self.as_device.len() > SERVED
    }

    /// The remark on it.
    pub fn describe(&self, id: &str, p: f64, constants: &Constants<'_>) -> Finding {
        let (uses, patients) = (self.requests.count(), self.patients.len());
        let first = self.uses.first().map(|time| time.to_string()).unwrap_or_default();
        let window = self.window.expect("it has a use");
        Finding {
            detection: Detected::Detector(&UNKNOWN),
            subject: Subject { kind: SubjectKind::User, id: id.to_owned() },
            day: constants.day,
            window,
            raised_at: self.uses.last().unwrap_or(window.0),
            stage: super::Stage::Crossing(1.0),
            p: Some(p),
            reason: format!(
                "Account {id} is in no roster, says that it is a patient or a device, and did on {} what such an account does not: {}, \
                 {}, first at {first}.",
                constants.day,
                counted(uses, "event"),
                counted(patients as u64, "patient"),
            ),
            facts: facts([
                ("uses", json!(uses)),
                ("patients", json!(patients)),
                ("since", json!(null)),
                ("first", json!(first)),
            ]),
            evidence: self.uses.evidence(),
            patients: patients as u64,
            aside: None,
        }
    }
}

/// Whether neither a patient nor a device does this. A patient may print and export what is their own, which names them.
fn is_strange(event: &Event<'_>, as_patient: bool) -> bool {
    match event.activity() {
        Activity::BreakGlass | Activity::PermissionChange | Activity::Admin => true,
        Activity::Export | Activity::Print => !as_patient || event.patients().len() == 0,
        _ => event.break_glass() == Some(true),
    }
}
