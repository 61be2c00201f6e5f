//! Inputs of the engine that are no records: each is in the control log, at its place, before anything that depends on it leaves.

use std::sync::Arc;

use super::{Road, RoadError};
use crate::engine::Input;
use crate::engine::off::Part;
use crate::engine::rule::RuleSet;
use crate::engine::settings::Settings;
use crate::engine::triage::Ruled;
use crate::event::{Effects, Origin, Time};
use crate::history::{Change, Resumed};
use crate::roster::{Accepted, Roster};

/// What became known beside the records.
#[derive(Debug, Clone)]
pub enum News {
    /// Other settings of the engine.
    Settings(Box<Settings>),
    /// Another roster version was accepted.
    Roster {
        /// What is kept of it.
        accepted: Arc<Accepted>,
        /// The same, ready to be asked.
        roster: Arc<Roster>,
        /// The zone of plain dates in rows without a site.
        zone: String,
    },
    /// Other rules.
    Rules {
        /// The files that they were read from, as they are kept.
        files: Vec<(String, Vec<u8>)>,
        /// The same, ready to be asked.
        rules: Arc<RuleSet>,
    },
    /// A person gave a verdict.
    Verdict {
        /// What names this verdict, and no other.
        id: String,
        /// What the engine goes by; none where the alert is not known any more.
        ruled: Option<Ruled>,
    },
    /// Time no longer waits for a partition, or waits for it again.
    Left {
        /// The partition.
        origin: Origin,
        /// Whether it is left behind from now on.
        left: bool,
        /// Who decided it.
        who: String,
        /// Why.
        reason: String,
    },
    /// A stopped partition is read again.
    Resumed(Resumed),
    /// A part of the engine met a bug.
    Off(Part),
}

impl News {
    /// What the control log says of it.
    pub fn change(&self) -> Change {
        match self {
            News::Settings(settings) => {
                Change::Settings { json: serde_json::to_string(settings).expect("settings are plain values") }
            }
            News::Roster { roster, zone, .. } => Change::Roster { hash: roster.hash().to_owned(), zone: zone.clone() },
            News::Rules { rules, .. } => Change::Rules { hash: rules.hash().to_owned() },
            News::Verdict { id, ruled } => {
                let json = |ruled| serde_json::to_string(ruled).expect("a verdict is plain values");
                Change::Verdict { id: id.clone(), ruled: ruled.as_ref().map(json) }
            }
            News::Left { origin, left, who, reason } => {
                let (origin, who, reason) = (origin.clone(), who.clone(), reason.clone());
                Change::Left { origin, left: *left, who, reason }
            }
            News::Off(Part { name, version }) => Change::Off { part: name.clone(), version: version.clone() },
            News::Resumed(resumed) => Change::Resumed(resumed.clone()),
        }
    }
}

impl Road<'_> {
    /// Takes up what became known. What was read before is durable first, so that it takes effect between two segments.
    ///
    /// # Errors
    /// Where an edge fails; it has not taken effect then, or is in the control log.
    pub fn hear(&mut self, now: Time, news: News) -> Result<Effects, RoadError> {
        self.commit(now)?;
        match &news {
            News::Roster { accepted, roster, .. } => {
                self.write(|keep| keep.history.put_roster(roster.hash(), now, &|| accepted.to_bytes()))?;
            }
            // A set of no rules has no hash and nothing to keep.
            News::Rules { files, rules } if !rules.hash().is_empty() => {
                let bytes = || postcard::to_stdvec(files).expect("names and bytes can always be written");
                self.write(|keep| keep.history.put_rules(rules.hash(), now, &bytes))?;
            }
            _ => {}
        }
        let change = news.change();
        let number = self.note(now, &change, self.engine.mark())?;
        if let (Some(keep), Some(number), true) = (&mut self.keep, number, change.is_barrier()) {
            keep.heard = number;
        }
        match news {
            News::Settings(settings) => self.turn(now, Input::Settings(settings)),
            News::Rules { rules, .. } => self.turn(now, Input::Rules(rules)),
            News::Roster { roster, .. } => self.turn(now, Input::Roster(roster)),
            News::Verdict { ruled: Some(ruled), .. } => self.turn(now, Input::Ruled(Box::new(ruled))),
            News::Off(part) => self.turn(now, Input::SwitchOff(part)),
            News::Left { origin, left, .. } => self.turn(now, Input::Leave(origin, left)),
            News::Verdict { ruled: None, .. } | News::Resumed(_) => Ok(Effects::default()),
        }
    }
}
