//! Planted misuse, with its labels.

use serde::{Deserialize, Serialize};

use super::Hospital;
use super::line::SimEvent;
use crate::event::Subject;

/// One planted misuse, a line of `labels.jsonl` (INTERFACES, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Which kind of misuse.
    pub scenario: String,
    /// Who did it.
    pub subject: Subject,
    /// First event; RFC 3339.
    pub start: String,
    /// First instant after the last event; RFC 3339.
    pub end: String,
    /// All its events.
    pub event_ids: Vec<String>,
}

/// Chooses and writes the misuses: their events in order of arrival, and their labels.
pub(super) fn plant(_hospital: &Hospital) -> (Vec<SimEvent>, Vec<Label>) {
    (Vec::new(), Vec::new())
}
