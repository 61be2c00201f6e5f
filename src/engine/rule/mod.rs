//! Rules: detections as code, in the Sigma format, each with its metadata and examples in one file.
//!
//! [`load()`] makes a [`RuleSet`] of texts, or names every problem in them. `fields` is the vocabulary, `row` an event as rules see it,
//! `condition` what a rule asks of it, `narrow` what of the record it needs, `meta` what stands under the key `phiwatch`, `sentence` how
//! a finding is said, `trial` rules alone over what is on record. Everything that is rsigma's stays in `condition`, `narrow` and `load`.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use yaml_serde::Value;

use crate::event::{Activity, Severity};
use sieve::{Room, Sieve};
use window::{Correlation, Evidence, Feed, Limits, Windows};

mod build;
pub mod condition;
mod correlate;
pub mod detector;
pub mod example;
pub mod fields;
mod filters;
pub mod foreign;
pub mod lists;
pub mod load;
mod mapping;
mod mend;
pub mod meta;
pub mod narrow;
mod nesting;
pub mod place;
pub mod reading;
pub mod row;
pub mod sentence;
pub mod sieve;
pub mod strict;
#[cfg(test)]
pub(crate) mod tests;
pub mod trial;
pub mod window;

pub use condition::Condition;
pub use fields::Field;
pub use load::{Loaded, load};
pub use meta::Meta;
pub use row::Row;

/// How far a rule has come (`status` of Sigma).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In force.
    Live,
    /// `experimental`: findings are recorded and nobody hears of them.
    Shadow,
}

/// One rule that is in force.
#[derive(Debug)]
pub struct Rule {
    /// Its identifier, which is the detection's and the family's.
    pub id: String,
    /// A few words.
    pub title: String,
    /// What it finds and why that matters.
    pub description: String,
    /// Where it stands.
    pub standing: Standing,
    /// How bad a hit is where nothing of the metadata says otherwise.
    pub level: Severity,
    /// Words for sorting, such as `attack.collection`.
    pub tags: Vec<String>,
    /// Regulation clauses and other references.
    pub references: Vec<String>,
    /// How it is usually wrong.
    pub falsepositives: Vec<String>,
    /// What stands under `phiwatch`.
    pub meta: Meta,
    /// 16 hexadecimal digits over everything that can change what it finds or says.
    pub hash: String,
    /// The file that it stands in.
    pub file: String,
    /// Which document of the file it is, from 0.
    pub document: usize,
    /// What it asks of events.
    pub body: Body,
}

/// What a rule asks of events.
#[derive(Debug)]
pub enum Body {
    /// Something of one event.
    Plain,
    /// Several events together.
    Correlation,
}

/// A plain rule, which may speak for itself, feed correlations, or both.
#[derive(Debug, Clone)]
pub struct Plain {
    /// Its id and its name.
    names: Vec<String>,
    /// What it asks of an event.
    pub condition: Condition,
    /// The rule that speaks where it holds.
    pub speaks: Option<Arc<Rule>>,
    /// Where its hits go.
    pub feeds: Vec<Feed>,
}

/// The rules in force, by id.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    plain: Vec<Plain>,
    /// Which of `plain` an event may meet.
    sieve: Sieve,
    /// Whether an event may meet one of them, by its activity.
    by_activity: Vec<bool>,
    /// By their numbers in the windows.
    correlations: Vec<Correlation>,
    /// The rule that speaks for each correlation, where one does.
    speaks: Vec<Option<Arc<Rule>>>,
    /// The rule for which each correlation keeps its notes: its own, else that of the first that names it.
    speakers: Vec<Option<Arc<Rule>>>,
    /// Hash of everything here, by content; empty where there is no rule.
    hash: String,
    /// Columns of the rosters that some rule names, such as `user.union`.
    columns: Vec<String>,
}

impl RuleSet {
    /// Puts the rules in order and notes what follows from all of them.
    fn close(&mut self) {
        self.rules.sort_by(|a, b| a.id.cmp(&b.id));
        self.plain.sort_by(|a, b| a.names.cmp(&b.names));
        let hashes: String = self.rules.iter().map(|rule| rule.hash.as_str()).collect();
        self.hash = if self.rules.is_empty() { String::new() } else { digest(hashes.as_bytes()) };
        let windows = self.windows::<()>();
        for plain in &mut self.plain {
            plain.feeds = windows.feeds(&plain.names);
        }
        self.plain.retain(|plain| plain.speaks.is_some() || !plain.feeds.is_empty());
        self.sieve = Sieve::new(self.plain.iter().map(|plain| &plain.condition));
        let seen = |activity: &Activity| self.plain.iter().any(|plain| plain.condition.may_hold(*activity));
        self.by_activity = Activity::ALL.iter().map(seen).collect();
        let speaker = |number: usize| {
            let mut at = number;
            for _ in 0..self.correlations.len() {
                if self.speaks[at].is_some() {
                    return self.speaks[at].clone();
                }
                at = windows.feeds(&self.correlations[at].names).first()?.correlation;
            }
            None
        };
        self.speakers = (0..self.correlations.len()).map(speaker).collect();
        let named = self.plain.iter().flat_map(|plain| plain.condition.columns());
        let said = self.rules.iter().flat_map(|rule| rule.meta.columns());
        let grouped = self.correlations.iter().flat_map(|c| c.group_fields.iter().flatten().chain(&c.value_fields));
        let grouped = grouped.filter(|name| matches!(Field::find(name), Some(Field::Column(_)))).cloned();
        self.columns = named.chain(said).chain(grouped).collect();
        self.columns.sort();
        self.columns.dedup();
    }

    /// Windows for its correlations, without hits.
    pub fn windows<E: Evidence>(&self) -> Windows<E> {
        Windows::new(self.correlations.clone(), Limits::default())
            .expect("correlations were checked when they were loaded")
    }

    /// Correlations that were there before and count something else now: their windows begin anew.
    pub fn begun_anew(&self, before: &RuleSet) -> Vec<String> {
        let names = |set: &RuleSet| set.windows::<()>().names();
        let (now, known) = (names(self), names(before));
        let is_anew = |(content, id): &(u64, String)| {
            known.iter().any(|(_, other)| other == id) && known.iter().all(|(other, _)| other != content)
        };
        now.into_iter().filter(is_anew).map(|(_, id)| id).collect()
    }

    /// The plain rules that a row may meet.
    pub fn candidates<'s>(&'s self, row: &Row<'_>, room: &'s mut Room) -> impl Iterator<Item = &'s Plain> {
        self.sieve.candidates(row, room).map(|at| &self.plain[at])
    }

    /// Every plain rule, whatever a row may meet.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> &[Plain] {
        &self.plain
    }

    /// Whether some rule may meet an event with this activity.
    pub fn may_meet(&self, activity: Activity) -> bool {
        self.by_activity.get(activity as usize).is_some_and(|seen| *seen)
    }

    /// The rule that speaks for a correlation, where one does.
    pub fn speaks(&self, correlation: usize) -> Option<&Arc<Rule>> {
        self.speaks.get(correlation)?.as_ref()
    }

    /// The rules that hang on a plain one: itself where it speaks, and those that speak for the correlations that it feeds.
    pub fn hanging_on<'a>(&'a self, plain: &'a Plain) -> impl Iterator<Item = &'a Arc<Rule>> {
        plain.speaks.iter().chain(plain.feeds.iter().filter_map(|feed| self.speaker(feed.correlation)))
    }

    /// The rules that speak for correlations.
    pub fn correlating(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.speakers.iter().flatten()
    }

    /// The rule for which a correlation keeps its notes.
    pub fn speaker(&self, correlation: usize) -> Option<&Arc<Rule>> {
        self.speakers.get(correlation)?.as_ref()
    }

    /// What a correlation is offered of a row that a plain rule has met.
    pub fn offered<'a>(&self, feed: Feed, condition: &Condition, row: Row<'a>) -> Vec<Row<'a>> {
        let about = self.speaker(feed.correlation).map_or(meta::About::User, |rule| rule.meta.about);
        let parts_patients = self.correlations[feed.correlation].parts_patients(feed.position);
        detector::offered(about, parts_patients, condition, row)
    }

    /// Whether some rule speaks of others than accounts, whose days are those of the place where something happened.
    pub fn speaks_of_places(&self) -> bool {
        self.rules.iter().any(|rule| rule.meta.about != meta::About::User)
    }

    /// The rules, by id.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Rule>> {
        let at = self.rules.binary_search_by(|rule| rule.id.as_str().cmp(id)).ok()?;
        self.rules.get(at)
    }

    /// 16 hexadecimal digits over the content; empty where there is no rule.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Columns of the rosters beyond the standard ones that some rule names, such as `user.union`, sorted.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Words that channels may ask for, of the rule with this id.
    pub fn routing(&self, id: &str) -> Vec<String> {
        self.rules.iter().find(|rule| rule.id == id).map(|rule| rule.meta.routing.clone()).unwrap_or_default()
    }
}

/// "no field `x`; the nearest is `y`": what is said of a name that is none of `known`.
pub fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let nearest = known.map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((_, known)) => format!("there is no {what} `{name}`; the nearest is `{known}`"),
        None => format!("there is no {what} `{name}`"),
    }
}

/// Letters that have to be changed, put in or left out to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.to_lowercase().chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(letter != *other)).min(above + 1).min(row[j] + 1);
            corner = above;
        }
    }
    row[b.len()]
}

/// 16 hexadecimal digits over bytes.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A document in a form that does not depend on the order of its keys, its remarks or its spaces.
fn canonical(value: &Value) -> String {
    match value {
        Value::Mapping(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", canonical(key), canonical(value))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(","))
        }
        Value::Sequence(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Tagged(tagged) => format!("{}{}", tagged.tag, canonical(&tagged.value)),
        Value::String(text) => format!("{text:?}"),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null => "null".to_owned(),
    }
}

/// The keys in which two versions of a rule differ, those below `phiwatch` one by one; each with the files that it was loaded from.
pub fn changed_keys(old: (&Rule, &[(String, Vec<u8>)]), new: (&Rule, &[(String, Vec<u8>)])) -> Vec<String> {
    let parts = |(rule, files): (&Rule, &[(String, Vec<u8>)])| {
        let text = files.iter().find(|(name, _)| *name == rule.file).map(|(_, bytes)| bytes.as_slice());
        let text = text.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        let document = place::documents(text).0.into_iter().nth(rule.document).unwrap_or_default();
        let mut parts = std::collections::BTreeMap::new();
        for (key, at) in reading::At::root(&document).entries() {
            if key == "phiwatch" {
                let below = at.entries().into_iter().map(|(below, at)| (format!("{key}.{below}"), canonical(at.value)));
                parts.extend(below);
            } else {
                parts.insert(key.to_owned(), canonical(at.value));
            }
        }
        parts
    };
    let (old, new) = (parts(old), parts(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}
