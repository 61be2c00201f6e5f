//! The alert, `phiwatch.alert/1` (INTERFACES, section 4), and what travels with it inside the program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::kind::words;
use super::time::{Day, Time};

words! {
    /// How bad it is if it is true.
    Severity {
        Informational = "informational",
        Low = "low",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
}

words! {
    /// Whether and how an alert interrupts people.
    Class {
        /// Always told.
        Hard = "hard",
        /// Held to the budget.
        Budgeted = "budgeted",
        /// Never interrupts.
        Informational = "informational",
    }
}

words! {
    /// What an alert is about.
    SubjectKind {
        User = "user",
        Vendor = "vendor",
        VendorAccount = "vendor_account",
        Patient = "patient",
        Host = "host",
        Source = "source",
        System = "system",
    }
}

words! {
    /// Where the alert stands.
    State {
        Open = "open",
        /// Later evidence took the reason away.
        Explained = "explained",
        Closed = "closed",
    }
}

words! {
    /// What was done with the alert.
    Disposition {
        /// People were told.
        Notified = "notified",
        /// Over the budget: visible and counted.
        Held = "held",
        /// An exception covers it.
        Suppressed = "suppressed",
        /// Raised by an experimental rule.
        Shadow = "shadow",
    }
}

/// Whom or what an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// Its identifier.
    pub id: String,
}

/// The half-open span of event time that a finding speaks of; RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// First instant.
    pub start: String,
    /// First instant after.
    pub end: String,
}

/// The events behind an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// All of them, counted.
    pub count: u64,
    /// The first 50 by (time, source, event_id); `source/event_id` where several sources took part.
    pub event_ids: Vec<String>,
}

/// Patients behind an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Patients {
    /// Distinct patients touched.
    pub count: u64,
}

/// What the alert was made by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MadeBy {
    /// Version of the program.
    pub version: String,
    /// Hash of the settings that the engine reads.
    pub settings: String,
    /// Hash of the rules in force.
    pub rules: String,
    /// Hash of the rosters in force, by content.
    pub rosters: String,
}

/// One revision of an alert, as it leaves the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "phiwatch.alert/1")]
pub struct Alert {
    /// `phiwatch.alert/1`.
    pub schema: String,
    /// Hash of the family, the subject and its local day: the same cause always has the same id.
    pub alert_id: String,
    /// Stable slug; the family is what stands before the dot.
    pub detection_id: String,
    /// Whether and how it interrupts people.
    pub class: Class,
    /// A few words.
    pub title: String,
    /// How bad it is if it is true.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: Subject,
    /// The span of event time that the finding speaks of.
    pub window: Window,
    /// Event time of the event that completed the evidence of this revision; RFC 3339.
    pub raised_at: String,
    /// 0 to 100; orders alerts across all detections.
    pub score: f64,
    /// For statistical detections.
    pub p_value: Option<f64>,
    /// One sentence that a privacy officer can read out, with the numbers in it.
    pub reason: String,
    /// The numbers and names behind the sentence.
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// The events behind it.
    pub evidence: Evidence,
    /// The patients behind it.
    pub patients: Patients,
    /// Regulation clauses and runbook of the detection.
    pub references: Vec<String>,
    /// 1, 2, ... as the same alert grows.
    pub revision: u32,
    /// True on the last one.
    pub settled: bool,
    /// Alerts of one family and subject at most 7 days apart share it; set at settling.
    pub episode: Option<String>,
    /// Where it stands.
    pub state: State,
    /// What was done with it.
    pub disposition: Disposition,
    /// What it was made by.
    pub made_by: MadeBy,
}

impl Alert {
    /// The identity of a cause: the family, the subject and the subject's local day.
    pub fn id(family: &str, subject: &Subject, day: Day) -> String {
        hash_id("a", &[family, subject.kind.as_str(), &subject.id, &day.to_string()])
    }

    /// The identity of an episode, from its first alert.
    pub fn episode_id(family: &str, subject: &Subject, first: Day) -> String {
        hash_id("e", &[family, subject.kind.as_str(), &subject.id, &first.to_string()])
    }

    /// The family: what stands before the dot of the detection's slug.
    pub fn family(&self) -> &str {
        family(&self.detection_id)
    }
}

/// What stands before the dot of a detection's slug; a rule without a dot is its own family.
pub fn family(detection_id: &str) -> &str {
    detection_id.split_once('.').map_or(detection_id, |(family, _)| family)
}

/// A letter and the first 20 hexadecimal digits of a hash over length-prefixed parts.
fn hash_id(letter: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digits: String = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("{letter}-{digits}")
}

/// An alert on its way out of the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Raised {
    /// The revision.
    pub alert: Alert,
    /// The subject's local day.
    pub day: Day,
    /// Event time at which the revision was complete, for ordering.
    pub at: Time,
    /// Whether people hear of it: an episode begins, its severity rises or its p falls tenfold (DESIGN, section 5).
    pub interrupts: bool,
    /// Words of its rule that channels may ask for; none where it has none, or where it comes from the record.
    pub routing: Vec<String>,
}
