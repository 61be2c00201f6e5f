//! The sentence of a rule: text with places for fields and counts, filled in from the hits of a day.

use std::collections::BTreeMap;

use super::fields::Field;

/// So many values of a list are said; the rest is counted.
pub const SAID_MAX: usize = 3;

/// Counts and other values that are no fields, with what they say.
pub const COUNTS: [(&str, &str); 6] = [
    ("count", "events"),
    ("patients", "distinct patients"),
    ("hits", "hits that were counted"),
    ("value", "of a correlation: the count, sum or other value that was reached"),
    ("threshold", "of a correlation: the value that had to be reached"),
    ("group", "of a correlation: the values that its events have in common"),
];

/// A template, cut into its parts.
#[derive(Debug, Clone)]
pub struct Sentence(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Count(&'static str),
    Field(Field, Option<String>),
}

impl Sentence {
    /// Cuts a template.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Sentence, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let Some(close) = rest[open..].find('}') else {
                return Err("a `{` of the sentence is not closed".to_owned());
            };
            parts.push(part(&rest[open + 1..open + close])?);
            rest = &rest[open + close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Sentence(parts))
    }

    /// The fields that it names.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().filter_map(|part| if let Part::Field(field, _) = part { Some(field) } else { None })
    }

    /// Whether it names this count.
    pub fn counts(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Count(count) if *count == name))
    }

    /// The sentence with its places filled in: `said` has the words of fields and counts by name.
    pub fn fill(&self, said: &BTreeMap<&str, String>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Count(name) => text.push_str(said.get(name).map_or("unknown", String::as_str)),
                Part::Field(field, absent) => {
                    let absent = absent.as_deref().unwrap_or("unknown");
                    text.push_str(said.get(field.name()).map_or(absent, String::as_str));
                }
            }
        }
        text
    }
}

fn part(inner: &str) -> Result<Part, String> {
    let (name, absent) = inner.split_once('|').map_or((inner, None), |(name, word)| (name, Some(word.to_owned())));
    if let Some((count, _)) = COUNTS.iter().find(|(count, _)| *count == name) {
        return Ok(Part::Count(count));
    }
    let known = || super::fields::ALL.iter().map(|field| field.name).chain(COUNTS.map(|(count, _)| count));
    let field = Field::find(name).ok_or_else(|| super::unknown("field", name, known()))?;
    Ok(Part::Field(field, absent))
}

/// Several values as a list: the given ones, then how many more of `all` there are.
pub fn listed(values: &[String], all: u64) -> String {
    let more = all.saturating_sub(values.len() as u64);
    let values = values.join(", ");
    if more == 0 { values } else { format!("{values} and {more} more") }
}
