//! What a correlation keeps of an event in its windows: what its alert will say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::{Row, Rule, window};
use super::tally::{Said, Spoken, Word};
use crate::engine::stats::distinct::{Distinct, hash};
use crate::engine::subjects::GroupIx;
use crate::event::alert::Evidence;
use crate::event::{Severity, Subject, Time};

/// So many events of a window are listed.
const LISTED: usize = 50;

/// An event in a window. Its order is that of evidence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    source: String,
    event_id: String,
    /// Whom an alert is about whose window ends with it.
    pub subject: Subject,
    /// The span of event time that such an alert speaks of.
    pub window: (Time, Time),
    /// The role of the subject, where it has one.
    pub role: Option<GroupIx>,
    severity: Severity,
    /// Hashes of its patients, in order.
    patients: Vec<u64>,
    said: BTreeMap<String, BTreeSet<Word>>,
}

/// The windows tell of the gravest.
impl window::Evidence for Arc<Note> {
    fn grade(&self) -> u8 {
        self.severity as u8
    }
}

impl Note {
    /// Notes a row for a rule.
    pub fn new(rule: &Rule, row: &Row<'_>, subject: Subject, window: (Time, Time), role: Option<GroupIx>) -> Note {
        let mut said: BTreeMap<String, BTreeSet<Word>> = BTreeMap::new();
        for field in rule.meta.sentence.fields() {
            let words: BTreeSet<Word> =
                row.values(field).iter().filter_map(|value| Word::of(field, row.event.time(), value)).collect();
            if !words.is_empty() {
                said.insert(field.name().to_owned(), words);
            }
        }
        let mut patients: Vec<u64> = row.patients().iter().map(|patient| hash(patient.patient_id)).collect();
        patients.sort_unstable();
        patients.dedup();
        Note {
            source: row.event.source().to_owned(),
            event_id: row.event.event_id().to_owned(),
            subject,
            window,
            role,
            severity: rule.meta.severity(rule.level, row),
            patients,
            said,
        }
    }

    /// Whether the event is about this patient.
    pub fn names(&self, patient: &str) -> bool {
        self.patients.binary_search(&hash(patient)).is_ok()
    }
}

/// What the notes of a window amount to.
pub struct Together {
    /// The events.
    pub evidence: Evidence,
    /// Their patients.
    pub patients: u64,
    /// What the sentence says of them.
    pub spoken: Spoken,
    /// The worst severity.
    pub severity: Severity,
}

impl Together {
    /// Adds up notes that come by time.
    pub fn of<'n>(notes: impl Iterator<Item = &'n Note> + Clone) -> Together {
        let sources: BTreeSet<&str> = notes.clone().map(|note| note.source.as_str()).collect();
        let shown = |note: &Note| match sources.len() {
            0 | 1 => note.event_id.clone(),
            _ => format!("{}/{}", note.source, note.event_id),
        };
        let evidence = Evidence {
            count: notes.clone().count() as u64,
            event_ids: notes.clone().take(LISTED).map(shown).collect(),
        };
        let (mut patients, mut spoken) = (Distinct::default(), Spoken::new());
        let mut severity = Severity::Informational;
        for note in notes {
            severity = severity.max(note.severity);
            note.patients.iter().for_each(|patient| patients.insert_hash(*patient));
            for (field, words) in &note.said {
                let said: &mut Said = spoken.entry(field.clone()).or_default();
                words.iter().for_each(|word| said.add(word.clone()));
            }
        }
        Together { evidence, patients: patients.len() as u64, spoken, severity }
    }
}
