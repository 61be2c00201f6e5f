//! PURE: one step turns an input into effects. It never fails, never waits, reads no clock, no file and no environment.
//!
//! Reading order: this file (what a step is), `gate` (how far time has come), `settle` (what happens when a day is over), `enrich`
//! (facts), `detect` (one file a detector), `triage` (findings to alerts), `budget` (the threshold). `stats` is the mathematics.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::alert::MadeBy;
use crate::event::effects::{Decoded, Mark};
use crate::event::flags::{BACKFILL, FUTURE, Flags, ID_CONFLICT, UNDECLARED};
use crate::event::print::{Print, Wanted};
use crate::event::{Day, Effects, Enriched, Notice, Origin, Time};
use crate::roster::Roster;

pub mod budget;
pub mod calendar;
pub mod detect;
pub mod enrich;
#[cfg(test)]
pub(crate) mod fixture;
pub mod gate;
pub mod identity;
mod lane;
pub mod memory;
pub mod off;
mod opening;
mod present;
mod prints;
mod record;
pub mod rule;
mod ruled;
pub mod settings;
mod settle;
pub mod stats;
mod stretch;
pub mod subjects;
#[cfg(test)]
mod tests;
pub mod triage;
mod watch;

use budget::Budget;
use calendar::Calendar;
use gate::{Gate, LaneIx, Next};
use identity::{Identity, Repeat};
use off::{Detectors, Part};
use rule::RuleSet;
use rule::detector::Watcher;
use settings::Settings;
use stretch::Run;
use subjects::Subjects;
use triage::{Ruled, Triage};
use watch::Watch;

/// Everything that can reach the engine.
#[derive(Debug, Clone)]
pub enum Input {
    /// What the history knows of the records that were asked for.
    Known(Vec<Print>),
    /// A partition or file that will be read: time waits for its first record.
    Open(Origin),
    /// A decoded stretch.
    Decoded(Box<Decoded>),
    /// The events of a segment that is on record, and what was settled when time began: they build the state anew, and the effects
    /// are dropped by the caller.
    Recorded(Vec<Enriched>, Option<Day>),
    /// Time had come this far behind what is on record; the effects are dropped by the caller.
    Reached(Mark),
    /// The partition stands at the end of its log, or was stopped: time no longer waits for it.
    Idle(Origin),
    /// Time no longer waits for the partition although there is more to read, or waits for it again.
    Leave(Origin, bool),
    /// Time waits for files whose records begin there, and that are not open yet; for none where absent.
    Hold(Option<Time>),
    /// Nothing more will come from it.
    End(Origin),
    /// Time has passed while every partition was idle.
    Advance(Time),
    /// Other settings.
    Settings(Box<Settings>),
    /// New rosters.
    Roster(Arc<Roster>),
    /// Other rules.
    Rules(Arc<RuleSet>),
    /// A person's verdict on an alert.
    Ruled(Box<Ruled>),
    /// A part met a bug: nothing is asked of it any more.
    SwitchOff(Part),
    /// Nothing more will come from anywhere: everything settles.
    Close,
}

/// The patients of so many rows are looked up together, before the first of them is taken up.
const AHEAD: usize = 64;

/// The engine: all state, and one verb.
pub struct Engine {
    settings: Settings,
    roster: Arc<Roster>,
    made_by: MadeBy,
    gate: Gate,
    identity: Identity,
    subjects: Subjects,
    calendar: Calendar,
    budget: Budget,
    triage: Triage,
    rules: Watcher,
    /// Those that are not here were switched off.
    detectors: Detectors,
    /// The newest settled day; `None` before time has begun.
    settled: Option<Day>,
    /// What was the newest settled day when time began.
    began: Option<Day>,
    /// The first day that settled with anything in it.
    first_settled: Option<Day>,
    /// Constants of the open days that do not change while they are open.
    open: BTreeMap<Day, settle::DayConstants>,
    /// There is a history to be asked for records of hours that are no longer held here.
    asks: bool,
    /// When the next day settles and when the first day begins that is not fixed: follow from `settled` and the rosters.
    horizon: Option<settle::Horizon>,
}

impl Engine {
    /// An engine without memory.
    pub fn new(settings: Settings, roster: Arc<Roster>) -> Engine {
        let made_by = MadeBy {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.hash(),
            rules: String::new(),
            rosters: roster.hash().to_owned(),
        };
        Engine {
            settings,
            roster,
            made_by,
            gate: Gate::default(),
            identity: Identity::default(),
            subjects: Subjects::default(),
            calendar: Calendar::default(),
            budget: Budget::default(),
            triage: Triage::default(),
            rules: Watcher::default(),
            detectors: detect::build(),
            settled: None,
            began: None,
            first_settled: None,
            open: BTreeMap::new(),
            asks: false,
            horizon: None,
        }
    }

    /// Takes up an input; everything that follows from it is in the effects. `_now` reaches no state and no alert.
    pub fn step(&mut self, _now: Time, input: Input) -> Effects {
        let mut effects = Effects::default();
        match input {
            Input::Open(origin) => self.gate.open(&origin),
            Input::Decoded(decoded) => self.gate.push(*decoded),
            Input::Known(prints) => {
                self.identity.recall(&prints);
                self.gate.answer();
            }
            Input::Recorded(segment, began) => self.recorded(&segment, began, &mut effects),
            Input::Reached(mark) => self.reach(&mark, &mut effects),
            Input::Settings(settings) => {
                self.made_by.settings = settings.hash();
                (self.settings, self.horizon) = (*settings, None);
            }
            Input::Idle(origin) => self.gate.idle(&origin),
            Input::Leave(origin, left) => self.gate.leave(&origin, left),
            Input::Hold(from) => self.gate.hold(from),
            Input::End(origin) => self.gate.end(&origin),
            Input::Advance(to) => self.gate.advance(to),
            Input::Roster(roster) => {
                self.made_by.rosters = roster.hash().to_owned();
                self.roster = roster;
                self.horizon = None;
            }
            Input::Rules(rules) => self.replace_rules(rules, &mut effects),
            Input::Ruled(ruled) => self.rule(*ruled),
            Input::SwitchOff(part) => self.switch_off(&part),
            Input::Close => {
                self.gate.end_all();
                self.drain(&mut effects);
                // Nobody is left who could bring time on for those who wait.
                while let Some(settled) = self.settled.filter(|_| self.gate.waits()) {
                    self.settle_next(settled, &mut effects);
                    self.drain(&mut effects);
                }
                self.settle_all(&mut effects);
            }
        }
        self.drain(&mut effects);
        if !effects.asks {
            (effects.pause, effects.resume) = self.gate.pauses();
        }
        effects
    }

    /// From now on records of hours that are no longer held here are asked for, by [`Effects::asks`].
    pub fn ask_history(&mut self) {
        self.asks = true;
    }

    /// The records of which the history has to say what it knows, as [`Input::Known`].
    pub fn asked(&self) -> Vec<Wanted> {
        let forgotten = self.gate.asked().filter(|event| self.identity.is_forgotten(event.time()));
        forgotten.map(|event| Wanted { event_id: event.event_id().to_owned(), print: Print::of(&event) }).collect()
    }

    /// Partitions of which more could be taken up at once.
    pub fn hungry(&self) -> Vec<Origin> {
        self.gate.hungry()
    }

    /// Nobody reads any more; whoever reads next opens its partitions again.
    pub fn rest(&mut self) {
        self.gate.rest();
        self.step(Time::MIN, Input::Advance(Time::MIN));
    }

    /// How each partition stands.
    pub fn stands(&self) -> impl Iterator<Item = (&Origin, gate::Stand)> {
        self.gate.stands()
    }

    /// Local days that are open.
    pub fn open_days(&self) -> usize {
        self.open.len()
    }

    /// Stretches that wait to be taken up.
    pub fn queued(&self) -> usize {
        self.gate.queued()
    }

    /// How far time has come.
    pub fn watermark(&self) -> Option<Time> {
        self.gate.watermark().filter(|time| *time > Time::MIN)
    }

    /// The newest settled day.
    pub fn settled(&self) -> Option<Day> {
        self.settled
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rosters in force.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Takes up every row that may pass.
    fn drain(&mut self, effects: &mut Effects) {
        let (roster, rules) = (self.roster.clone(), self.rules.set().clone());
        let mut runs: Vec<Option<Box<Run>>> = (0..self.gate.len()).map(|_| None).collect();
        self.settle_due(effects);
        loop {
            let settings = &self.settings;
            let declared = |source: &str| settings.declares(source);
            match self.gate.next(&declared) {
                Next::Nothing => break,
                Next::Stretch(lane) => self.finish_stretch(lane, *runs[lane].take().unwrap_or_default(), effects),
                Next::Row(lane, flags) => {
                    self.settle_due(effects);
                    if self.asks && self.is_unknown(lane) {
                        self.gate.ask(lane);
                        effects.asks = true;
                    } else if let Some(until) = self.opens_later(lane, flags) {
                        self.gate.wait(lane, until);
                        self.settle_due(effects);
                    } else {
                        self.take_up(lane, flags, (&roster, &rules), runs[lane].get_or_insert_default(), effects);
                        self.gate.pass(lane);
                    }
                }
            }
        }
        for (lane, run) in runs.into_iter().enumerate() {
            if let Some(run) = run.filter(|run| !run.keep.is_empty()) {
                self.flush(lane, *run, effects);
            }
        }
        // As long as answers of the history are in use, what they lean on stays.
        if let Some(watermark) = self.watermark().filter(|_| !effects.asks && !self.gate.has_answers()) {
            self.identity.forget(watermark);
        }
    }

    /// Takes up one row: repetition, facts, detectors.
    fn take_up(
        &mut self,
        lane: LaneIx,
        flags: Flags,
        (roster, rules): (&Roster, &RuleSet),
        run: &mut Run,
        effects: &mut Effects,
    ) {
        let (stretch, row) = self.gate.front(lane);
        if run.keep.is_empty() {
            run.start = row;
        }
        let event = stretch.batch.row(row);
        if row.is_multiple_of(AHEAD) {
            let next = row..stretch.batch.len().min(row + AHEAD);
            std::hint::black_box(roster.warm(next.flat_map(|row| stretch.batch.row(row).patients())));
        }
        let mut flags = flags | event.flags();
        let repeat = self.identity.note(&event);
        run.keep.push(repeat != Repeat::Duplicate);
        if repeat == Repeat::Duplicate {
            run.duplicates += 1;
            return;
        }
        if repeat == Repeat::Conflict {
            flags |= ID_CONFLICT;
            notice(effects, "id-conflict", event.source(), event.time());
        }
        let mut facts = enrich::enrich(roster, &event);
        enrich::columns(roster, &event, rules.columns(), &mut facts);
        let outside = flags & (FUTURE | UNDECLARED) != 0;
        if self.settled.is_some_and(|settled| facts.day <= settled) && !outside {
            flags |= BACKFILL;
            notice(effects, "backfill", event.source(), event.time());
        }
        if flags & FUTURE != 0 {
            notice(effects, "future", event.source(), event.time());
        }
        if flags & UNDECLARED != 0 {
            notice(effects, "undeclared", event.source(), event.time());
        }
        run.flags.push(flags);
        run.facts.push(&facts, roster.hash());
        let mut watch = Watch {
            settings: &self.settings,
            roster,
            made_by: &self.made_by,
            subjects: &mut self.subjects,
            budget: &self.budget,
            open: &mut self.open,
            detectors: &mut self.detectors,
            rules: &mut self.rules,
            triage: &mut self.triage,
            first_settled: self.first_settled,
        };
        watch.show(&event, &facts, flags, effects);
    }
}

/// Counts one more record of a source into a notice.
fn notice(effects: &mut Effects, kind: &'static str, about: &str, at: Time) {
    match effects.notices.iter_mut().find(|notice| notice.kind == kind && notice.about == about) {
        Some(notice) => notice.count += 1,
        None => effects.notices.push(Notice { kind, about: about.to_owned(), count: 1, at }),
    }
}
