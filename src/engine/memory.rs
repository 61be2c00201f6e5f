//! The engine's memory as bytes: a cache with a version, thrown away when in doubt (DESIGN, decision 3).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::calendar::Calendar;
use super::gate::Gate;
use super::identity::Identity;
use super::off::{self, Part};
use super::rule::RuleSet;
use super::rule::detector::Watcher;
use super::settings::Settings;
use super::settle::DayConstants;
use super::subjects::Subjects;
use super::triage::Triage;
use super::{Engine, detect};
use crate::event::Day;
use crate::roster::Roster;

/// Raised whenever the meaning or the form of the state changes.
pub const MEMORY_VERSION: u32 = 18;

#[derive(Serialize, Deserialize)]
struct Memory<'a> {
    version: u32,
    gate: Cow<'a, Gate>,
    identity: Cow<'a, Identity>,
    subjects: Cow<'a, Subjects>,
    calendar: Cow<'a, Calendar>,
    budget: Cow<'a, Budget>,
    triage: Cow<'a, Triage>,
    detectors: BTreeMap<String, Vec<u8>>,
    /// The detectors that are switched off.
    off: Vec<Part>,
    rules: Vec<u8>,
    settled: Option<Day>,
    began: Option<Day>,
    first_settled: Option<Day>,
    open: Cow<'a, BTreeMap<Day, DayConstants>>,
}

impl Engine {
    /// Everything that the engine remembers, without what is queued and not taken up.
    pub fn save(&self) -> Vec<u8> {
        let memory = Memory {
            version: MEMORY_VERSION,
            gate: Cow::Borrowed(&self.gate),
            identity: Cow::Borrowed(&self.identity),
            subjects: Cow::Borrowed(&self.subjects),
            calendar: Cow::Borrowed(&self.calendar),
            budget: Cow::Borrowed(&self.budget),
            triage: Cow::Borrowed(&self.triage),
            detectors: self.detectors.iter().map(|(name, detector)| ((*name).to_owned(), detector.save())).collect(),
            off: off::missing(&self.detectors).collect(),
            rules: self.rules.save(),
            settled: self.settled,
            began: self.began,
            first_settled: self.first_settled,
            open: Cow::Borrowed(&self.open),
        };
        postcard::to_stdvec(&memory).expect("memory is plain values")
    }

    /// An engine with the memory that `save` wrote; `None` where it is of another version or cannot be read.
    pub fn load(settings: Settings, roster: Arc<Roster>, rules: Arc<RuleSet>, bytes: &[u8]) -> Option<Engine> {
        let version: u32 = postcard::take_from_bytes(bytes).ok()?.0;
        if version != MEMORY_VERSION {
            return None;
        }
        let memory: Memory = postcard::from_bytes(bytes).ok()?;
        let mut engine = Engine::new(settings, roster);
        // Another version may have mended what they met: it builds them anew from the history.
        if memory.off.iter().any(|part| part.version != off::VERSION) {
            return None;
        }
        for spec in detect::ALL {
            if memory.off.iter().any(|part| part.name == spec.family) {
                engine.detectors.remove(spec.family);
                continue;
            }
            let detector = engine.detectors.get_mut(spec.family)?;
            if !detector.load(memory.detectors.get(spec.family)?) {
                return None;
            }
        }
        engine.made_by.rules = rules.hash().to_owned();
        engine.rules = Watcher::new(rules);
        if !engine.rules.load(&memory.rules) {
            return None;
        }
        engine.gate = memory.gate.into_owned();
        engine.identity = memory.identity.into_owned();
        engine.subjects = memory.subjects.into_owned().indexed();
        engine.calendar = memory.calendar.into_owned();
        engine.budget = memory.budget.into_owned();
        engine.triage = memory.triage.into_owned();
        engine.settled = memory.settled;
        engine.began = memory.began;
        engine.first_settled = memory.first_settled;
        engine.open = memory.open.into_owned();
        Some(engine)
    }

    /// A copy that can go its own way, without what is queued.
    pub fn copy(&self) -> Engine {
        let rules = self.rules.set().clone();
        Engine::load(self.settings.clone(), self.roster.clone(), rules, &self.save()).expect("own memory can be read")
    }
}
