//! A misuse before it is written: which charts are opened, and which records are taken away.

use super::floor::Open;
use super::line::{Resource, SimEvent};
use super::scribe::{Account, Scribe};
use crate::event::Activity;
use crate::event::time::DAY;

/// What an account is going to do.
#[derive(Debug, Clone)]
pub struct Plot {
    /// The account that is used.
    pub account: Account,
    /// Charts to open, in order of time.
    pub opens: Vec<Open>,
    /// Lists to export; a list of one is printed.
    pub copies: Vec<Vec<Open>>,
}

impl Plot {
    /// What tells two misuses of one account apart: nothing in a usual plan, where nobody commits two; the day in a dense one.
    pub fn day(&self, misuses: f64) -> Option<i64> {
        let first = self.opens.first().filter(|_| misuses > 1.0)?;
        Some(first.time.0.div_euclid(DAY))
    }

    /// Writes the rows of the plot; returns them and their identifiers.
    pub fn write(self, mut scribe: Scribe<'_>) -> (Vec<SimEvent>, Vec<String>) {
        if !self.opens.is_empty() {
            scribe.sittings(&self.opens);
        }
        for list in &self.copies {
            let Some(last) = list.last() else {
                continue;
            };
            let activity = if list.len() == 1 { Activity::Print } else { Activity::Export };
            let patients: Vec<String> = list.iter().map(|open| scribe.patient(open.patient)).collect();
            scribe.row(last.time, "ehr", activity, &patients, |line| {
                line.resource = Some(Resource { kind: "Document", id: None });
                line.result_count = (patients.len() > 1).then_some(patients.len() as i64);
            });
        }
        scribe.finish()
    }
}
