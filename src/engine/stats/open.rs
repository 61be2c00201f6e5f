//! Counters of open days: one value for each subject and local day.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::engine::stats::numbered::Numbered;
use crate::engine::subjects::SubjectIx;
use crate::event::Day;

/// A value for each subject of each open day; apart from the table, whose free places are many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenDays<T>(BTreeMap<Day, HashMap<SubjectIx, Box<T>, Numbered>>);

impl<T> Default for OpenDays<T> {
    fn default() -> OpenDays<T> {
        OpenDays(BTreeMap::new())
    }
}

impl<T> OpenDays<T> {
    /// The value of a subject's day, made by `start` when it is first asked for.
    pub fn entry(&mut self, day: Day, subject: SubjectIx, start: impl FnOnce() -> T) -> &mut T {
        self.0.entry(day).or_default().entry(subject).or_insert_with(|| Box::new(start()))
    }

    /// The value of a subject's day.
    pub fn get(&self, day: Day, subject: SubjectIx) -> Option<&T> {
        Some(self.0.get(&day)?.get(&subject)?)
    }

    /// Takes out a subject's day.
    pub fn take(&mut self, day: Day, subject: SubjectIx) -> Option<T> {
        Some(*self.0.get_mut(&day)?.remove(&subject)?)
    }

    /// Forgets every day up to `through`.
    pub fn forget(&mut self, through: Day) {
        self.0 = self.0.split_off(&through.plus(1));
    }
}
