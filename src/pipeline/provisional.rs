//! Alerts that were settled before their day was over: at the end of a scan, and of a run up to an end, on a copy of the engine.
//!
//! The next input goes on with those days open, and when they settle again the later word holds. What is not said again is taken back,
//! and nobody is interrupted twice for the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{Road, RoadError};
use crate::event::{Day, Disposition, Effects, Raised, State};

/// The settled alerts on record whose day is still open, by id.
#[derive(Debug, Default)]
pub(super) struct Provisional(Option<BTreeMap<String, Raised>>);

impl Road<'_> {
    /// Sets days that settle now against what was said of them before.
    pub(super) fn revise(&mut self, before: Option<Day>, effects: &mut Effects) -> Result<(), RoadError> {
        let (Some(keep), Some(before)) = (&self.keep, before) else { return Ok(()) };
        if effects.settled.is_empty() {
            return Ok(());
        }
        let provisional = match &mut self.provisional.0 {
            Some(provisional) => provisional,
            none => none.insert(self.runtime.block_on(keep.history.provisional(before))?),
        };
        let days: BTreeSet<Day> = effects.settled.iter().copied().collect();
        for raised in effects.raised.iter_mut().filter(|raised| raised.alert.settled) {
            if let Some(earlier) = provisional.remove(&raised.alert.alert_id) {
                raised.interrupts &= says_more(&earlier, raised);
            }
        }
        let unsaid: Vec<String> =
            provisional.iter().filter(|(_, earlier)| days.contains(&earlier.day)).map(|(id, _)| id.clone()).collect();
        effects.raised.extend(unsaid.iter().filter_map(|id| provisional.remove(id)).map(taken_back));
        Ok(())
    }
}

/// Whether people who heard of the earlier word have to hear of the later one.
fn says_more(earlier: &Raised, later: &Raised) -> bool {
    let was_told = earlier.alert.disposition == Disposition::Notified && earlier.alert.state == State::Open;
    let sharper = earlier.alert.p_value.zip(later.alert.p_value).is_some_and(|(before, now)| now * 10.0 <= before);
    !was_told || later.alert.severity > earlier.alert.severity || sharper
}

/// The alert as it stands when its day has settled without it.
fn taken_back(mut raised: Raised) -> Raised {
    raised.interrupts = false;
    raised.alert.state = State::Closed;
    raised.alert.facts.insert("taken_back".to_owned(), true.into());
    raised.alert.reason = format!("Taken back, for records that came later: {}", raised.alert.reason);
    raised
}
