//! Rules: detections as code, in the Sigma format, each with its metadata and examples in one file.
//!
//! [`load`] makes a [`RuleSet`] of texts, or names every problem in them. `fields` is the vocabulary, `row` an event as rules see it,
//! `condition` what a rule asks of it, `meta` what stands under the key `phiwatch`, `sentence` how a finding is said. Everything that is
//! rsigma's stays in `condition` and `load`.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use yaml_serde::Value;

use crate::event::Severity;

pub mod condition;
pub mod example;
pub mod fields;
pub mod foreign;
pub mod lists;
pub mod load;
pub mod meta;
pub mod place;
pub mod reading;
pub mod row;
pub mod sentence;
pub mod strict;
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
    Plain(Condition),
}

/// The rules in force, by id.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    /// Hash of everything here, by content; empty where there is no rule.
    hash: String,
    /// Columns of the rosters that some rule names, such as `user.union`.
    columns: Vec<String>,
}

impl RuleSet {
    /// Puts the rules in order and notes what follows from all of them.
    fn close(&mut self) {
        self.rules.sort_by(|a, b| a.id.cmp(&b.id));
        let hashes: String = self.rules.iter().map(|rule| rule.hash.as_str()).collect();
        self.hash = if self.rules.is_empty() { String::new() } else { digest(hashes.as_bytes()) };
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
