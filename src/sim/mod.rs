//! The synthetic hospital: rosters, access events and labelled misuse, all from a seed.
//!
//! Accesses are a consequence of care (patients come, stay, are tested, leave, are coded and billed), never drawn from a rate: that is
//! what gives counts the dispersion of real ones. No clock and no file but in `write`; the same plan makes the same bytes.

mod admin;
mod calendar;
mod care;
mod dice;
mod duty;
mod fates;
pub mod faults;
mod floor;
mod line;
mod machines;
mod misuse;
mod office;
pub mod oracle;
mod patients;
mod plot;
pub mod rig;
mod roles;
mod rosters;
mod scribe;
mod staff;
mod stream;
mod vendors;
mod write;

#[cfg(test)]
mod tests;

pub use line::SimEvent;
pub use misuse::Label;
pub use stream::Events;
pub use write::{Summary, write};

use crate::event::Day;
use patients::Town;
use staff::Staff;
use vendors::Vendors;

/// The seeds of a test that tries `few` from `from` on: as many as `PHIWATCH_SEEDS` says, or `PHIWATCH_SEED` alone (see `.ci/long`).
#[cfg(test)]
pub(crate) fn seeds(from: u64, few: u64) -> std::ops::Range<u64> {
    let said = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match said("PHIWATCH_SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + said("PHIWATCH_SEEDS").unwrap_or(few),
    }
}

/// Days before the first one in which the beds fill.
const BURN_IN: i32 = 21;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Human accounts.
    pub users: usize,
    /// Calendar days of events.
    pub days: u32,
    /// The first of them.
    pub start: Day,
    /// Whether misuse is planted; the rest does not depend on it.
    pub misuse: bool,
    /// How many misuses against the usual number, usually 1: ten times as many let a short run speak of everything. Above 1 more accounts
    /// also lapse and end, so that there is something to misuse, and one account may be misused on several days.
    pub misuses: f64,
    /// Share of lines that are broken off, as after a crash of the source; usually 0.
    pub broken: f64,
}

impl Plan {
    /// A plan that starts on Monday, 2026-01-05, with misuse and without broken lines.
    pub fn new(seed: u64, users: usize, days: u32) -> Plan {
        Plan { seed, users, days, start: Day(20_458), misuse: true, misuses: 1.0, broken: 0.0 }
    }
}

/// A hospital group that is ready to be lived through.
pub struct Hospital {
    plan: Plan,
    town: Town,
    staff: Staff,
    vendors: Vendors,
    planted: Vec<SimEvent>,
    labels: Vec<Label>,
}

/// Builds the hospital and decides on the misuse; events are made while they are read.
pub fn generate(plan: &Plan) -> Hospital {
    let town = Town::new(plan.seed, plan.users, plan.days);
    let staff = Staff::new(plan, &town);
    let vendors = Vendors::new(plan.seed, plan.users);
    let mut hospital = Hospital { plan: plan.clone(), town, staff, vendors, planted: Vec::new(), labels: Vec::new() };
    if plan.misuse {
        (hospital.planted, hospital.labels) = misuse::plant(&hospital);
    }
    hospital
}

impl Hospital {
    /// All events in order of arrival (`recorded`, or later for what was sent twice).
    pub fn events(&self) -> Events<'_> {
        Events::new(self)
    }

    /// The planted misuse.
    pub fn labels(&self) -> Vec<Label> {
        self.labels.clone()
    }
}
