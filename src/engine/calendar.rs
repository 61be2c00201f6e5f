//! Which days are over in every zone, and which turned out to be days off although no calendar says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::subjects::{Presence, SubjectIx};
use crate::event::{Day, Time};
use crate::roster::Roster;

/// A working day with less than this share of the usual accounts was a day off (`notes/detection.md`, section 5.5).
const EMPTY: f64 = 0.4;
const WEEKS_DAYS: i32 = 28;
/// So many working days have to be known first.
const KNOWN_MIN: usize = 10;

/// How many accounts were active on the working days of the last four weeks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Calendar {
    working: BTreeMap<Day, usize>,
}

impl Calendar {
    /// Corrects a settling day that the calendar took for a working day: where almost nobody was there it was a day off.
    pub fn correct(&mut self, day: Day, present: &mut [(SubjectIx, Presence)]) {
        if day.weekday() >= 5 {
            return;
        }
        self.working = self.working.split_off(&day.plus(-WEEKS_DAYS));
        let active = present.len();
        let mut usual: Vec<usize> = self.working.values().copied().collect();
        usual.sort_unstable();
        if usual.len() >= KNOWN_MIN && (active as f64) < EMPTY * usual[usual.len() / 2] as f64 {
            present.iter_mut().for_each(|(_, presence)| presence.off_day = true);
        } else {
            self.working.insert(day, active);
        }
    }
}

/// When `day` begins in the zone where it begins first.
pub fn earliest_start(roster: &Roster, day: Day) -> Time {
    roster.zones().iter().map(|zone| zone.day_start(day)).min().unwrap_or(Time::MAX)
}

/// When `day` settles: its end in the last zone, and `settle` more.
pub fn settles_at(roster: &Roster, settings: &Settings, day: Day) -> Time {
    let last_end = roster.zones().iter().map(|zone| zone.day_start(day.plus(1))).max().unwrap_or(Time::MAX);
    settings.settles_at(last_end)
}

/// The newest day that has settled by `watermark`.
pub fn settled_at(roster: &Roster, settings: &Settings, watermark: Time) -> Day {
    // Zones differ by little more than a day from UTC.
    let utc = crate::event::Zone::utc().local(watermark.plus(-settings.settle())).date;
    let mut day = utc.plus(2);
    while settles_at(roster, settings, day) > watermark {
        day = day.plus(-1);
    }
    day
}
