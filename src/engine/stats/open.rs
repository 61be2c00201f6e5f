//! Counters of open days: one value for each of those present on a local day, by seat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::stats::dense::Dense;
use crate::engine::subjects::Seat;
use crate::event::Day;

/// A value for each seat of each open day; the default where nothing was counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenDays<T>(BTreeMap<Day, Dense<T>>);

impl<T> Default for OpenDays<T> {
    fn default() -> OpenDays<T> {
        OpenDays(BTreeMap::new())
    }
}

impl<T: Default> OpenDays<T> {
    /// The value of a subject's day, to be counted on.
    pub fn entry(&mut self, day: Day, seat: Seat) -> &mut T {
        self.0.entry(day).or_default().entry(seat)
    }

    /// The value of a subject's day, where anything was counted for it or for one that came later.
    pub fn get(&self, day: Day, seat: Seat) -> Option<&T> {
        self.0.get(&day)?.get(seat)
    }

    /// Takes out a subject's day.
    pub fn take(&mut self, day: Day, seat: Seat) -> T {
        self.0.get_mut(&day).map(|seats| seats.take(seat)).unwrap_or_default()
    }

    /// Forgets every day up to `through`.
    pub fn forget(&mut self, through: Day) {
        self.0 = self.0.split_off(&through.plus(1));
    }
}
