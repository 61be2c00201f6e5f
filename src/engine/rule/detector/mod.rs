//! What rules find in the engine: hits become findings of a subject's day, by crossing and once more at settling.
//!
//! A plain rule sees every row. Rows of days that have settled are counted beside them until the next day settles, as the detectors do;
//! rows that count in no day (a future time, an undeclared source) speak under a family of their own, so that no promise hangs on
//! them. A correlation sees the rows of open days. A hard or informational rule speaks whatever its rate; a budgeted one where its
//! rate within the role, which is its p-value, lies below the threshold of the day.
//!
//! `tally` is what hits of a day amount to, `note` what a window keeps of an event, `reached` what windows say, `rates` how usual hits are, `say` how it is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::meta::About;
use super::sieve::Room;
use super::window::{Feed, Match, Windows};
use super::{Condition, Plain, Row, Rule, RuleSet};
use crate::engine::budget::Alphas;
use crate::engine::detect::{Findings, Stage, cut};
use crate::engine::off::{Part, is_sound};
use crate::engine::stats::distinct::hash;
use crate::engine::stats::told::InForce;
use crate::engine::subjects::GroupIx;
use crate::event::{Class, Day, Subject, Time};
use crate::roster::Roster;
use note::Note;
use rates::Rates;
use reached::{Crossed, Reached, taken};
use tally::Tally;
use target::{Target, target, targets};
pub use target::{offered, place_day};

mod note;
mod rates;
mod reached;
mod say;
mod settle;
mod tally;
mod target;

/// Why a row of a settled day counts in no open one.
const BACKFILL: &str = "backfill";

/// A rule on a subject.
type Key = (String, Subject);

/// A row, and what is known around it.
pub struct Scene<'a> {
    /// The event and its facts.
    pub row: Row<'a>,
    /// The rosters in force.
    pub roster: &'a Roster,
    /// The role of the account on that day, where it has one.
    pub role: Option<GroupIx>,
    /// Why it counts in no open day: `backfill`, `future` or `undeclared`.
    pub aside: Option<&'static str>,
}

/// The rules in force with their memory.
#[derive(Debug)]
pub struct Watcher {
    set: Arc<RuleSet>,
    windows: Windows<Arc<Note>>,
    rates: Rates,
    open: BTreeMap<Day, BTreeMap<Key, Tally>>,
    /// What was said of recent days when they settled: what comes late counts on from there.
    settled: BTreeMap<Day, BTreeMap<Key, Tally>>,
    /// Hits of rows that count in no open day, by why.
    aside: BTreeMap<(&'static str, Day), BTreeMap<Key, Tally>>,
    /// What crossed of correlations inside each day with hits for them.
    crossed: BTreeMap<Day, BTreeMap<Key, Crossed>>,
    /// Budgeted findings that passed when the newest day settled, over its threshold: tests for the budget.
    tests: f64,
    /// What the windows had left out when that was said last.
    left_out: BTreeMap<String, u64>,
    /// Rules that met a bug, and their hashes then.
    off: BTreeMap<String, String>,
    room: Room,
    /// The rule that is to meet a bug.
    #[cfg(test)]
    flawed: Option<&'static str>,
}

impl Default for Watcher {
    fn default() -> Watcher {
        Watcher::new(Arc::default())
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    rates: Rates,
    open: BTreeMap<Day, BTreeMap<Key, Tally>>,
    settled: BTreeMap<Day, BTreeMap<Key, Tally>>,
    crossed: BTreeMap<Day, BTreeMap<Key, Crossed>>,
    windows: Vec<u8>,
    left_out: BTreeMap<String, u64>,
    off: BTreeMap<String, String>,
}

impl Watcher {
    /// Rules without any memory.
    pub fn new(set: Arc<RuleSet>) -> Watcher {
        let windows = set.windows();
        Watcher {
            set,
            windows,
            rates: Rates::default(),
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            aside: BTreeMap::new(),
            crossed: BTreeMap::new(),
            tests: 0.0,
            left_out: BTreeMap::new(),
            off: BTreeMap::new(),
            room: Room::default(),
            #[cfg(test)]
            flawed: None,
        }
    }

    /// The rules in force.
    pub fn set(&self) -> &Arc<RuleSet> {
        &self.set
    }

    /// Takes other rules into force. What open days hold of rules that are gone is settled as it stands; one that comes back on the same
    /// day counts on.
    pub fn replace(&mut self, set: Arc<RuleSet>, alphas: &dyn Fn(Day) -> Alphas, out: &mut Findings) {
        let mut fresh = set.windows();
        fresh.adopt(std::mem::replace(&mut self.windows, set.windows()));
        self.windows = fresh;
        let before = std::mem::replace(&mut self.set, set);
        for (day, tallies) in &self.open {
            for ((id, subject), tally) in tallies.iter().filter(|((id, _), _)| self.set.get(id).is_none()) {
                if let Some(rule) = before.get(id) {
                    settle::settle_tally(&self.rates, rule, subject, *day, tally, alphas(*day), out);
                }
            }
        }
        // A rule with another text may be mended.
        self.off.retain(|id, hash| self.set.get(id).is_some_and(|rule| rule.hash == *hash));
        self.aside.retain(|(why, _), _| *why == BACKFILL);
        self.crossed.values_mut().for_each(|told| told.retain(|(id, _), _| self.set.get(id).is_some()));
    }

    /// Shows a row to every rule.
    pub fn observe(&mut self, scene: &Scene<'_>, alphas: &mut dyn FnMut(Day) -> Alphas, out: &mut Findings) {
        let set = self.set.clone();
        let mut offered = false;
        let mut room = std::mem::take(&mut self.room);
        for plain in set.candidates(&scene.row, &mut room) {
            if !self.off.is_empty() && set.hanging_on(plain).any(|rule| self.off.contains_key(&rule.id)) {
                continue;
            }
            let before = out.len();
            if !is_sound(|| offered |= self.show(plain, scene, alphas, out)) {
                out.truncate(before);
                set.hanging_on(plain).for_each(|rule| self.let_go(rule));
            }
        }
        self.room = room;
        let before = out.len();
        if offered && !is_sound(|| self.cross(scene.row.event.time(), alphas, out)) {
            out.truncate(before);
            self.let_windows_go();
        }
    }

    /// Shows a row to a plain rule; whether the windows were given something.
    fn show(
        &mut self,
        plain: &Plain,
        scene: &Scene<'_>,
        alphas: &mut dyn FnMut(Day) -> Alphas,
        out: &mut Findings,
    ) -> bool {
        if !plain.condition.holds(&scene.row) {
            return false;
        }
        if let Some(rule) = &plain.speaks {
            #[cfg(test)]
            assert!(self.flawed != Some(rule.id.as_str()), "the bug that was asked for");
            for (target, row) in targets(rule, &plain.condition, scene) {
                self.hit(rule, &row, target, scene.aside, alphas, out);
            }
        }
        if scene.aside.is_none() {
            plain.feeds.iter().for_each(|feed| self.offer(*feed, &plain.condition, scene));
        }
        scene.aside.is_none() && !plain.feeds.is_empty()
    }

    /// A plain rule was hit.
    fn hit(
        &mut self,
        rule: &Arc<Rule>,
        row: &Row<'_>,
        target: Target,
        aside: Option<&'static str>,
        alphas: &mut dyn FnMut(Day) -> Alphas,
        out: &mut Findings,
    ) {
        let key = (rule.id.clone(), target.subject.clone());
        let is_settled = self.windows.settled().is_some_and(|settled| target.day <= settled);
        let aside = aside.filter(|why| *why != BACKFILL || is_settled);
        let tally = match aside {
            None => self.open.entry(target.day).or_default().entry(key).or_default(),
            Some(why) => {
                let said = || self.settled.get(&target.day).and_then(|tallies| tallies.get(&key)).cloned();
                let said = if why == BACKFILL { said() } else { None };
                self.aside.entry((why, target.day)).or_default().entry(key).or_insert_with(|| said.unwrap_or_default())
            }
        };
        tally.role = tally.role.or(target.role);
        tally.add(rule, row, &target);
        let p = p(&self.rates, rule, target.day, tally.role);
        let told = p.is_none_or(|p| p <= alphas(target.day).told);
        let quantity = if told { tally.quantity(rule) } else { 0.0 };
        let Some(cut) = cut(quantity).filter(|cut| tally.told.is_none_or(|told| *cut > told)) else { return };
        (tally.told, tally.said) = (Some(cut), tally.events.count());
        let mut finding = say::tally(rule, &target.subject, target.day, tally, p);
        finding.raised_at = row.event.time();
        finding.stage = Stage::Crossing(quantity);
        finding.aside = aside;
        out.push(finding);
    }

    /// Gives a hit of a base rule to the windows of a correlation.
    fn offer(&mut self, feed: Feed, condition: &Condition, scene: &Scene<'_>) {
        let set = self.set.clone();
        let Some(own) = set.speaker(feed.correlation) else { return };
        for row in set.offered(feed, condition, scene.row) {
            // To a correlation of correlations an event is what its own rule says of it.
            let mut days = Vec::new();
            let mut found = |correlation: usize| {
                let rule = set.speaker(correlation).unwrap_or(own);
                // There a record that was offered for each of its patients is one, unless it speaks of one of them.
                let is_whole = correlation != feed.correlation && rule.meta.about != About::Patient;
                let row = if is_whole { scene.row } else { row };
                let target = target(rule.meta.about, row.only, scene);
                let about = hash(&target.subject.id) ^ target.subject.kind as u64;
                days.push(target.day);
                let note = Arc::new(Note::new(rule, &row, target.subject, target.window, target.role));
                Match { time: row.event.time(), day: target.day, about, evidence: note }
            };
            let fields = |name: &str| rsigma_eval::Event::get_field(&row, name);
            if self.windows.offer(feed, &mut found, &fields) {
                days.into_iter().for_each(|day| _ = self.crossed.entry(day).or_default());
            }
        }
    }

    /// Tells what has crossed in the windows since that was asked last.
    fn cross(&mut self, now: Time, alphas: &mut dyn FnMut(Day) -> Alphas, out: &mut Findings) {
        let (set, mut reached) = (self.set.clone(), Vec::new());
        self.windows.cross(&mut |answer| reached.extend(taken(&set, answer)));
        for reached in reached {
            let (rule, target) = (&reached.rule, &reached.target);
            let p = p(&self.rates, rule, target.day, target.role);
            if p.is_some_and(|p| p > alphas(target.day).told) {
                continue;
            }
            let key = (rule.id.clone(), target.subject.clone());
            let crossed = self.crossed.entry(target.day).or_default().entry(key).or_default();
            crossed.add(&reached);
            let quantity = crossed.quantity();
            let Some(cut) = cut(quantity).filter(|cut| crossed.told.is_none_or(|told| *cut > told)) else { continue };
            crossed.told = Some(cut);
            let mut finding = say::reached(&reached, p);
            finding.raised_at = now;
            finding.stage = Stage::Crossing(quantity);
            out.push(finding);
        }
    }

    /// A rule met a bug.
    fn let_go(&mut self, rule: &Rule) {
        self.off.insert(rule.id.clone(), rule.hash.clone());
        self.open.values_mut().for_each(|tallies| tallies.retain(|(id, _), _| *id != rule.id));
    }

    /// The windows met a bug: whose it is they cannot say, and what they hold is worth nothing.
    fn let_windows_go(&mut self) {
        let set = self.set.clone();
        set.correlating().for_each(|rule| self.let_go(rule));
        self.windows = set.windows();
    }

    /// Makes a rule meet a bug where it is to speak.
    #[cfg(test)]
    pub(crate) fn flaw(&mut self, id: &'static str) {
        self.flawed = Some(id);
    }

    /// Rules that met a bug.
    pub fn switched_off(&self) -> impl Iterator<Item = Part> + '_ {
        self.off.iter().map(|(name, version)| Part { name: name.clone(), version: version.clone() })
    }

    /// Switches a rule off, where it is the one that met the bug.
    pub fn switch_off(&mut self, part: &Part) {
        if let Some(rule) = self.set.clone().get(&part.name).filter(|rule| rule.hash == part.version) {
            self.let_go(rule);
        }
    }

    /// A person ruled on an alert, of a rule or of anything else: it holds for the days from `from` on.
    pub fn ruled(&mut self, family: String, subject: Subject, day: Day, ruling: InForce) {
        if self.set.get(&family).is_some() {
            self.rates.rule(family, subject, day, ruling);
        }
    }

    /// Open days with hits.
    pub fn open_days(&self) -> impl Iterator<Item = Day> + '_ {
        self.open.keys().chain(self.crossed.keys()).copied()
    }

    /// Subject-days of the newest settled day for the budget: α times these is what rules told by their rates.
    pub fn tests(&self) -> f64 {
        self.tests
    }

    /// Correlations whose windows left out more than was said before, with how many hits since.
    pub fn left_out(&mut self) -> Vec<(String, u64)> {
        let mut news = Vec::new();
        for (correlation, left_out) in self.windows.left_out() {
            let all = left_out.hits + left_out.hits_of_new_groups + left_out.combinations;
            let said = self.left_out.entry(correlation.id.clone()).or_default();
            if all > *said {
                news.push((correlation.id.clone(), all - *said));
                *said = all;
            }
        }
        news
    }

    /// The whole memory as bytes, apart from what comes outside of the promise.
    pub fn save(&self) -> Vec<u8> {
        let saved = Saved {
            rates: self.rates.clone(),
            open: self.open.clone(),
            settled: self.settled.clone(),
            crossed: self.crossed.clone(),
            windows: self.windows.save(),
            left_out: self.left_out.clone(),
            off: self.off.clone(),
        };
        postcard::to_stdvec(&saved).expect("memory is plain values")
    }

    /// Takes up a memory that `save` wrote; false where it cannot be read.
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Ok(saved) = postcard::from_bytes::<Saved>(bytes) else { return false };
        (self.rates, self.open, self.crossed, self.off) = (saved.rates, saved.open, saved.crossed, saved.off);
        (self.settled, self.left_out) = (saved.settled, saved.left_out);
        self.windows.load(&saved.windows)
    }
}

/// A budgeted rule's p-value; the others have none.
fn p(rates: &Rates, rule: &Rule, day: Day, role: Option<GroupIx>) -> Option<f64> {
    (rule.meta.class == Class::Budgeted).then(|| rates.p(day, &rule.id, &rule.hash, role))
}
