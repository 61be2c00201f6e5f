//! Reading a YAML document by hand, so that everything that is wrong in it is named at once and with its place.

use yaml_serde::Value;

use super::place::{Path, Step};

/// A value with its place.
#[derive(Clone)]
pub struct At<'v> {
    /// The value.
    pub value: &'v Value,
    /// Where it stands in its document.
    pub path: Path,
}

/// What is wrong, with places.
#[derive(Debug, Default)]
pub struct Complaints(pub Vec<(Path, String)>);

impl Complaints {
    /// Notes what is wrong at a place.
    pub fn say(&mut self, at: &At<'_>, what: impl Into<String>) {
        self.0.push((at.path.clone(), what.into()));
    }
}

impl<'v> At<'v> {
    /// A whole document.
    pub fn root(value: &'v Value) -> At<'v> {
        At { value, path: Path::new() }
    }

    /// The value of a key that is written and not empty.
    pub fn get(&self, key: &str) -> Option<At<'v>> {
        let value = self.value.as_mapping()?.get(key).filter(|value| !value.is_null())?;
        Some(self.below(value, Step::Key(key.to_owned())))
    }

    /// The entries of a map: keys that are no texts are left out.
    pub fn entries(&self) -> Vec<(&'v str, At<'v>)> {
        let entries = self.value.as_mapping().into_iter().flatten();
        entries
            .filter_map(|(key, value)| Some((key.as_str()?, self.below(value, Step::Key(key.as_str()?.to_owned())))))
            .collect()
    }

    /// The elements of a list; none where it is something else.
    pub fn elements(&self) -> Vec<At<'v>> {
        let elements = self.value.as_sequence().into_iter().flatten().enumerate();
        elements.map(|(number, value)| self.below(value, Step::At(number))).collect()
    }

    /// The elements of a list, or the value itself where it is none.
    pub fn each(&self) -> Vec<At<'v>> {
        if self.value.is_sequence() { self.elements() } else { vec![self.clone()] }
    }

    /// The first text in it that holds `part`.
    pub fn holding(&self, part: &str) -> Option<At<'v>> {
        if self.value.as_str().is_some_and(|text| text.contains(part)) {
            return Some(self.clone());
        }
        let entries = self.entries().into_iter().map(|(_, at)| at);
        self.elements().into_iter().chain(entries).find_map(|at| at.holding(part))
    }

    /// The place in a document of which an error of the parser speaks, as far as its words tell.
    pub fn blamed(&self, error: &str) -> At<'v> {
        const HEAD: [(&str, &str); 3] =
            [("invalid status", "status"), ("invalid level", "level"), ("related", "related")];
        const BODY: [(&str, &str); 6] = [
            ("correlation type", "type"),
            ("timespan", "timeframe"),
            ("timespan", "timespan"),
            ("'gap'", "gap"),
            ("window", "window"),
            ("condition", "condition"),
        ];
        let error = error.to_lowercase();
        let among = |at: &At<'v>, places: &[(&str, &str)]| {
            places.iter().filter(|(words, _)| error.contains(words)).find_map(|(_, key)| at.get(key))
        };
        let body = ["detection", "correlation", "filter"].iter().find_map(|key| self.get(key));
        let body = body.filter(|_| !error.contains("'title'")).unwrap_or_else(|| self.clone());
        among(self, &HEAD).or_else(|| among(&body, &BODY)).unwrap_or(body)
    }

    /// A value below this one.
    fn below(&self, value: &'v Value, step: Step) -> At<'v> {
        let mut path = self.path.clone();
        path.push(step);
        At { value, path }
    }

    /// A text, or a complaint.
    pub fn text(&self, complaints: &mut Complaints) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                complaints.say(self, "this has to be a text");
                None
            }
        }
    }

    /// A text or a list of texts, or a complaint.
    pub fn texts(&self, complaints: &mut Complaints) -> Vec<String> {
        match self.value {
            Value::String(text) => vec![text.clone()],
            Value::Sequence(_) => self.elements().iter().filter_map(|element| element.text(complaints)).collect(),
            _ => {
                complaints.say(self, "this has to be a list of texts");
                Vec::new()
            }
        }
    }

    /// One of a few words, or a complaint with the nearest of them.
    pub fn word<T: Copy>(&self, what: &str, words: &[(&str, T)], complaints: &mut Complaints) -> Option<T> {
        let text = self.text(complaints)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            complaints.say(self, super::unknown(what, &text, words.iter().map(|(word, _)| *word)));
        }
        found
    }

    /// Complains of every key that is not one of `known`.
    pub fn only(&self, known: &[&str], complaints: &mut Complaints) {
        if self.value.as_mapping().is_none() {
            complaints.say(self, "this has to be a map");
        }
        for (key, at) in self.entries() {
            if !known.contains(&key) {
                complaints.say(&at, super::unknown("key", key, known.iter().copied()));
            }
        }
    }
}
