//! Correlation windows: exact, sliding in event time, for events that come in any order within the open days.
//!
//! A rule set's correlations are one [`Windows`]. Whoever evaluates the base rules offers each match ([`Windows::offer`]); asks now and
//! then, after an event or after a batch, what has crossed ([`Windows::cross`]); and settles each local day once ([`Windows::settle`]).
//! Windows end in hits: the window of a hit holds every hit of its group in the timespan before it, both ends included, and its finding
//! belongs to the hit's local day.
//!
//! What settling says of a day follows from the set of the hits offered before it, not from their order, batches or restarts: up to
//! [`Limits`]. Of each group and day the first so many hits in the order of time are kept, later windows of that day are not seen, what
//! has crossed stays crossed, and [`Windows::left_out`] counts what was left out. Crossing answers come where a satisfied window
//! stays satisfied as more hits come: event_count, value_count, temporal and temporal_ordered, and value_sum while no number is negative,
//! with gt and gte, and expressions without `not`. All others are judged at settling only.
//!
//! A group may be about several: each hit says whom a window is about that ends with it, and there is an answer for each of them, of the
//! windows that end with theirs.
//!
//! Of the windows of a day the gravest is told, as [`Evidence::grade`] says of the events in them. An event that several rules of a
//! correlation match counts once, except where it is asked which rules occurred.
//!
//! Hits that report one request ([`request`]) are all kept, and count once in each window.
//!
//! A correlation may name other correlations. Its hits are then the hits that end their satisfied windows, grouped by its own fields.
//!
//! Reading order: this file, `correlation` (what is asked), `group` (hits and the sliding window), `aggregate` (what slides).

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod aggregate;
mod answer;
mod condition;
mod correlation;
mod group;
mod limits;
mod read;
mod state;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Stage, doubled};
pub use condition::{Condition, Expression};
pub use correlation::{Correlation, Kind, Refused};
pub use limits::{LeftOut, Limits};
pub use read::{Fields, request};

use crate::event::{Day, Time};
use group::{Above, Hit, Link};
use state::State;

/// Whatever leads back from a hit to its event. Its order is the order in which answers list hits of the same time.
pub trait Evidence: Clone + Ord + Debug + Serialize + DeserializeOwned {
    /// How grave its event is, below [`GRADES`]: of the windows of a day those with the gravest event are told.
    fn grade(&self) -> u8 {
        0
    }
}
impl Evidence for () {}
impl Evidence for u32 {}
impl Evidence for u64 {}

/// So many grades there are at most.
pub const GRADES: usize = 8;

/// Where the matches of a base rule go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Feed {
    /// Which correlation, as in [`Windows::correlations`].
    pub correlation: usize,
    /// Which of its rules.
    pub position: u8,
}

/// A match of a base rule, as a correlation sees it.
#[derive(Debug, Clone, Copy)]
pub struct Match<E> {
    /// Time of the event.
    pub time: Time,
    /// The local day that the event belongs to.
    pub day: Day,
    /// Whom a window is about that ends with it, as a hash: a group has an answer for each of them.
    pub about: u64,
    /// Leads back to the event.
    pub evidence: E,
}

/// The windows of all correlations of a rule set.
#[derive(Debug, Clone)]
pub struct Windows<E> {
    correlations: Vec<Correlation>,
    /// For each correlation those that name it.
    above: Vec<Vec<Feed>>,
    /// Whether a correlation may speak before its day settles.
    crosses: Vec<bool>,
    /// Correlations, each after those that it names.
    order: Vec<usize>,
    limits: Limits,
    settled: Option<Day>,
    states: Vec<State<E>>,
}

/// What a correlation counts, by hash, and its id: correlations may differ in nothing but their thresholds.
pub type Name = (u64, String);

/// What is written: the states by the names of their correlations.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    settled: Option<Day>,
    states: Vec<(Name, S)>,
}

impl<E: Evidence> Windows<E> {
    /// Windows without hits, or what is wrong between the correlations: which one, and the problem.
    pub fn new(correlations: Vec<Correlation>, limits: Limits) -> Result<Windows<E>, Vec<(usize, String)>> {
        let above: Vec<Vec<Feed>> = correlations.iter().map(|below| feeds(&correlations, &below.names)).collect();
        let order =
            order(&above).map_err(|circle| vec![(circle, "leans on itself by the rules it names".to_owned())])?;
        let mut problems = Vec::new();
        for feed in above.iter().flatten() {
            let needs_value = correlations[feed.correlation].kind.takes_values();
            if needs_value && !problems.iter().any(|(at, _)| *at == feed.correlation) {
                problems.push((feed.correlation, "a correlation has no field to count: name a rule".to_owned()));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut crosses: Vec<bool> = correlations.iter().map(Correlation::only_grows).collect();
        for below in &order {
            // A sum may fall, and what was passed on cannot be taken back.
            crosses[*below] &= above[*below].is_empty() || correlations[*below].kind != Kind::ValueSum;
            if !crosses[*below] {
                above[*below].iter().for_each(|feed| crosses[feed.correlation] = false);
            }
        }
        let states = correlations.iter().map(|_| State::default()).collect();
        Ok(Windows { correlations, above, crosses, order, limits, settled: None, states })
    }

    /// The correlations, by their numbers.
    pub fn correlations(&self) -> &[Correlation] {
        &self.correlations
    }

    /// Whether a correlation may speak before its day settles.
    pub fn crosses(&self, correlation: usize) -> bool {
        self.crosses[correlation]
    }

    /// Where the matches of a base rule with this id and name go.
    pub fn feeds(&self, names: &[String]) -> Vec<Feed> {
        feeds(&self.correlations, names)
    }

    /// Takes up a match of a base rule, which is `to(correlation)` to each correlation that has to do with it: false where its day has
    /// settled, and the match was not looked at.
    pub fn offer(&mut self, feed: Feed, to: &mut dyn FnMut(usize) -> Match<E>, fields: &Fields<'_>) -> bool {
        let found = to(feed.correlation);
        if self.settled.is_some_and(|settled| found.day <= settled) {
            return false;
        }
        let Feed { correlation: number, position } = feed;
        let correlation = &self.correlations[number];
        let (values, values_left_out) = read::values(correlation, fields);
        let (groups, groups_left_out) = read::groups(&correlation.group_fields[usize::from(position)], fields);
        self.states[number].left_out.combinations += values_left_out + groups_left_out;
        let above = (!self.above[number].is_empty()).then(|| Box::new(Above(self.links(number, to, fields))));
        let request = read::request(found.day, fields);
        for (hash, key) in groups {
            for value in &values {
                let hit = Hit {
                    time: found.time,
                    day: found.day,
                    position,
                    value: *value,
                    request,
                    about: found.about,
                    evidence: found.evidence.clone(),
                    passed_on: false,
                    above: above.clone(),
                };
                let state = &mut self.states[number];
                if !state.counts_already(&self.correlations[number], hash, &hit) {
                    state.insert(&self.correlations[number], &self.limits, hash, &key, hit, self.crosses[number]);
                }
            }
        }
        true
    }

    /// What an event is to every correlation above, in the order in which [`Windows::pass_on`] takes it.
    fn links(&self, number: usize, to: &mut dyn FnMut(usize) -> Match<E>, fields: &Fields<'_>) -> Vec<Link<E>> {
        let mut links = Vec::new();
        for feed in &self.above[number] {
            let names = &self.correlations[feed.correlation].group_fields[usize::from(feed.position)];
            let keys = read::groups(names, fields).0.into_iter().map(|(_, key)| key).collect();
            let Match { day, about, evidence, .. } = to(feed.correlation);
            links.push(Link { keys, day, about, evidence });
            links.extend(self.links(feed.correlation, to, fields));
        }
        links
    }

    /// Hands hits that ended satisfied windows to the correlations above.
    fn pass_on(&mut self, number: usize, hits: Vec<Hit<E>>) {
        for hit in hits {
            let mut links = hit.above.clone().map(|above| above.0).unwrap_or_default();
            for feed in self.above[number].clone() {
                let rest = links.split_off(1 + self.links_above(feed.correlation));
                let mut own = std::mem::replace(&mut links, rest);
                let Link { keys, day, about, evidence } = own.remove(0);
                let above = (!own.is_empty()).then(|| Box::new(Above(own)));
                let (position, time, request) = (feed.position, hit.time, hit.request);
                let passed = Hit { time, day, position, value: 0, request, about, evidence, passed_on: false, above };
                let (correlation, crosses) = (&self.correlations[feed.correlation], self.crosses[feed.correlation]);
                let state = &mut self.states[feed.correlation];
                for key in &keys {
                    state.insert_passed(correlation, &self.limits, key, passed.clone(), crosses);
                }
            }
        }
    }

    /// How many keys lead from a correlation to all above it.
    fn links_above(&self, number: usize) -> usize {
        self.above[number].iter().map(|feed| 1 + self.links_above(feed.correlation)).sum()
    }

    /// Tells every group and day of which more than before has crossed: first at the threshold, then where it doubled. Groups come in
    /// one order whatever the order of their hits.
    pub fn cross(&mut self, tell: &mut dyn FnMut(&Answer<'_, E>)) {
        for number in self.order.clone() {
            self.advance(number);
            self.states[number].tell_crossed(number, &self.correlations[number], tell);
        }
    }

    /// Brings the windows of a correlation to their newest hits.
    fn advance(&mut self, number: usize) {
        if self.crosses[number] {
            let passes_on = !self.above[number].is_empty();
            let passed = self.states[number].advance(&self.correlations[number], self.settled, passes_on);
            self.pass_on(number, passed);
        }
    }

    /// Settles every day up to `day`: tells each group and day with a satisfied window, then forgets what no open window needs.
    pub fn settle(&mut self, day: Day, tell: &mut dyn FnMut(&Answer<'_, E>)) {
        if self.settled.is_some_and(|settled| day <= settled) {
            return;
        }
        for number in self.order.clone() {
            self.advance(number);
            let (correlation, crosses) = (&self.correlations[number], self.crosses[number]);
            let passes_on = !self.above[number].is_empty();
            let passed = self.states[number].review(correlation, crosses, self.settled, day, passes_on);
            self.pass_on(number, passed);
            self.states[number].tell_settled(number, &self.correlations[number], day, tell);
        }
        for (state, correlation) in self.states.iter_mut().zip(&self.correlations) {
            state.forget(correlation, day);
        }
        self.settled = Some(day);
    }

    /// The newest settled day.
    pub fn settled(&self) -> Option<Day> {
        self.settled
    }

    /// What each correlation has left out because a limit was reached.
    pub fn left_out(&self) -> impl Iterator<Item = (&Correlation, LeftOut)> {
        self.correlations.iter().zip(&self.states).map(|(correlation, state)| (correlation, state.left_out))
    }

    /// Hits that are kept.
    pub fn hits(&self) -> usize {
        self.states.iter().map(State::hits).sum()
    }

    /// The whole memory as bytes.
    pub fn save(&self) -> Vec<u8> {
        let states = self.names().into_iter().zip(&self.states).collect();
        postcard::to_stdvec(&Saved { settled: self.settled, states }).expect("plain values can be written")
    }

    /// Takes up a memory that `save` wrote, correlation by correlation where its content is the same; false where it cannot be read.
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Ok(saved) = postcard::from_bytes::<Saved<State<E>>>(bytes) else { return false };
        self.take_over(saved.settled, saved.states);
        true
    }

    /// Takes over the memory of the windows that were in force before, correlation by correlation where its content is the same.
    pub fn adopt(&mut self, before: Windows<E>) {
        let names = before.names().into_iter();
        self.take_over(before.settled, names.zip(before.states).collect());
    }

    /// Of several that count the same the ids tell which is which, and where one was renamed, the order.
    fn take_over(&mut self, settled: Option<Day>, mut states: Vec<(Name, State<E>)>) {
        self.settled = settled;
        let names = self.names();
        let mut renamed = Vec::new();
        for (number, name) in names.iter().enumerate() {
            match states.iter().position(|(known, _)| known == name) {
                Some(at) => self.states[number] = states.remove(at).1,
                None => renamed.push(number),
            }
        }
        states.retain(|((_, id), _)| names.iter().all(|(_, known)| known != id));
        for number in renamed {
            if let Some(at) = states.iter().position(|((content, _), _)| *content == names[number].0) {
                self.states[number] = states.remove(at).1;
            }
        }
    }

    /// What each counts, as a hash, and its id.
    pub fn names(&self) -> Vec<Name> {
        let name = |(number, one): (usize, &Correlation)| (self.content(number), one.id.clone());
        self.correlations.iter().enumerate().map(name).collect()
    }

    /// What a correlation and its hits are made of: hits hold their groups in the correlations above.
    fn content(&self, number: usize) -> u64 {
        let above = self.above[number].iter().map(|feed| (feed.position, self.content(feed.correlation)));
        let mix = |hash: u64, part: u64| (hash.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        above.fold(self.correlations[number].content, |hash, (position, content)| {
            mix(mix(hash, u64::from(position)), content)
        })
    }
}

/// Where the matches of a rule with these names go.
fn feeds(correlations: &[Correlation], names: &[String]) -> Vec<Feed> {
    let mut feeds = Vec::new();
    for (number, correlation) in correlations.iter().enumerate() {
        let positions = correlation.rules.iter().enumerate().filter(|(_, reference)| names.contains(reference));
        feeds.extend(positions.map(|(at, _)| Feed { correlation: number, position: at as u8 }));
    }
    feeds
}

/// Correlations, each after those that it names; the error is one that leans on itself.
fn order(above: &[Vec<Feed>]) -> Result<Vec<usize>, usize> {
    let mut waits_for = vec![0; above.len()];
    above.iter().flatten().for_each(|feed| waits_for[feed.correlation] += 1);
    let mut order: Vec<usize> = (0..above.len()).filter(|number| waits_for[*number] == 0).collect();
    let mut next = 0;
    while let Some(number) = order.get(next).copied() {
        next += 1;
        for feed in &above[number] {
            waits_for[feed.correlation] -= 1;
            if waits_for[feed.correlation] == 0 {
                order.push(feed.correlation);
            }
        }
    }
    let circle = (0..above.len()).find(|number| !order.contains(number));
    circle.map_or(Ok(order), Err)
}
