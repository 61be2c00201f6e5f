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

/// Those of them that only a correlation has.
pub const OF_CORRELATIONS: [&str; 3] = ["value", "threshold", "group"];

/// A template, cut into its parts.
#[derive(Debug, Clone)]
pub struct Sentence(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    /// A count, and the words for one and for several of what is counted.
    Count(&'static str, Option<(String, String)>),
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
        self.0.iter().any(|part| matches!(part, Part::Count(count, _) if *count == name))
    }

    /// The sentence with its places filled in: `said` has the words of fields and counts by name.
    pub fn fill(&self, said: &BTreeMap<&str, String>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Count(name, words) => {
                    let count = said.get(name).map_or("unknown", String::as_str);
                    text.push_str(count);
                    if let Some((one, several)) = words {
                        text.push(' ');
                        text.push_str(if count == "1" { one } else { several });
                    }
                }
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
        let words = absent.map(|words| match words.split_once('|') {
            Some((one, several)) => Ok((one.to_owned(), several.to_owned())),
            None => Err(format!("`{{{inner}}}` has to say both: {{{name}|event|events}}")),
        });
        return Ok(Part::Count(count, words.transpose()?));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, said: &[(&'static str, &str)], expected: &str) {
        let said = said.iter().map(|(name, words)| (*name, (*words).to_owned())).collect();
        let filled = Sentence::parse(template).map(|sentence| sentence.fill(&said));
        assert_eq!(filled.unwrap_or_else(|what| what), expected);
    }

    #[test]
    fn places_are_filled_in() {
        let said = [("actor.id", "n1"), ("patients", "1"), ("count", "3")];
        check("{actor.id} read {resource.type|a record}.", &said, "n1 read a record.");
        check("{actor.id} at {client.host}", &said, "n1 at unknown");
        check("{patients|chart|charts} in {count|event|events}, {count}", &said, "1 chart in 3 events, 3");
        check("plain", &said, "plain");
        check("{actor.id", &said, "a `{` of the sentence is not closed");
        check("{count|events}", &said, "`{count|events}` has to say both: {count|event|events}");
        check("{actr.id}", &said, "there is no field `actr.id`; the nearest is `actor.id`");
    }

    #[test]
    fn lists_are_cut_short() {
        let listed =
            |values: &[&str], all| super::listed(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>(), all);
        assert_eq!(listed(&["a"], 1), "a");
        assert_eq!(listed(&["a", "b", "c"], 3), "a, b, c");
        assert_eq!(listed(&["a", "b", "c"], 7), "a, b, c and 4 more");
    }
}
