//! One account's day: what was counted, by request, patient and exported record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::METRICS;
use super::limits::Limits;
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::requests::Requests;
use crate::event::{Activity, Event, Facts, Outcome};

/// One account's day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    requests: Requests,
    pub(super) told: Option<u8>,
    pub(super) patients: Distinct,
    pub(super) events: Events,
    /// What was exported; most accounts export nothing on most days.
    exports: Option<Box<Exports>>,
    pub(super) limits: Option<Limits>,
}

/// By correlation id: the stated count and the patients, of which the larger counts.
type Shared = BTreeMap<u64, (u64, BTreeSet<u64>)>;

/// Exports and prints of one account's day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Exports {
    /// Records exported without a correlation id.
    single: u64,
    /// Exports that share a correlation id.
    requests: Option<Box<Shared>>,
    events: Events,
}

static NONE: LazyLock<Events> = LazyLock::new(Events::default);

impl Tally {
    pub(super) fn add(&mut self, event: &Event<'_>, facts: &Facts<'_>) {
        let request = self.requests.add(event);
        // Who was refused has not seen the patient.
        if !matches!(event.outcome(), Outcome::Denied | Outcome::Failure) {
            for patient in &facts.patients {
                self.patients.insert(patient.patient_id);
            }
            if matches!(event.activity(), Activity::Export | Activity::Print | Activity::FileTransfer) {
                self.add_export(event, facts, request);
            }
        }
        self.events.add(event);
    }

    fn add_export(&mut self, event: &Event<'_>, facts: &Facts<'_>, request: Option<u64>) {
        let exports = self.exports.get_or_insert_default();
        let stated = event.result_count().or(event.detail_files()).unwrap_or(0).max(0) as u64;
        match request {
            Some(hash) => {
                let (most, patients) = exports.requests.get_or_insert_default().entry(hash).or_default();
                *most = stated.max(*most);
                patients.extend(facts.patients.iter().map(|p| xxh3_64(p.patient_id.as_bytes())));
            }
            None => {
                let amount = stated.max(facts.patients.len() as u64).max(1);
                exports.single = exports.single.saturating_add(amount);
            }
        }
        exports.events.add(event);
    }

    /// The events behind the exports.
    pub(super) fn exports(&self) -> &Events {
        self.exports.as_ref().map_or(&*NONE, |exports| &exports.events)
    }

    pub(super) fn count(&self, metric: usize) -> u64 {
        match metric {
            0 => self.requests.count(),
            1 => self.patients.len() as u64,
            _ => {
                let Some(exports) = &self.exports else { return 0 };
                let of = |(stated, patients): &(u64, BTreeSet<u64>)| (*stated).max(patients.len() as u64).max(1);
                exports
                    .requests
                    .iter()
                    .flat_map(|requests| requests.values())
                    .map(of)
                    .fold(exports.single, u64::saturating_add)
            }
        }
    }

    /// The three counts.
    pub(super) fn counts(&self) -> [u64; METRICS] {
        std::array::from_fn(|metric| self.count(metric))
    }
}
