//! The line of a thing in a YAML text, found by asking the parser again: it names the line of whatever it is told to refuse.
//!
//! Only asked where something is wrong, so that reading in earnest keeps no places.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::nesting;

/// A longer text is taken for a mistake, in bytes.
const TEXT_MAX: usize = 4 << 20;

/// A step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// An element of a list, from 0.
    At(usize),
}

/// Where something stands in a document.
pub type Path = Vec<Step>;

/// The line from 1 of what stands at `path` in document `number` (from 0) of `text`, or of the nearest thing above it that is there.
pub fn line(text: &str, number: usize, path: &[Step]) -> Option<u64> {
    let text = unmarked(text);
    (0..=path.len()).rev().find_map(|length| {
        let document = yaml_serde::Deserializer::from_str(text).nth(number)?;
        let refused = Walk(&path[..length]).deserialize(document).err()?;
        refused.location().map(|place| place.line() as u64)
    })
}

/// Goes along a path and refuses what stands at its end.
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // At the end of the path nothing is expected, so that everything is refused there.
        match self.0 {
            [] => deserializer.deserialize_any(Nothing),
            _ => deserializer.deserialize_any(self),
        }
    }
}

struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("no list"));
        };
        while let Some(found) = map.next_key_seed(Key { wanted, refuse: rest.is_empty() })? {
            match found {
                true => return map.next_value_seed(Walk(rest)),
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::At(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("no map"));
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk(rest)).map(drop)
    }
}

/// A key: whether it is the one, refused where the path ends with it.
struct Key<'p> {
    wanted: &'p str,
    refuse: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let refuse = self.refuse;
        let is = KeyIs(self.wanted, refuse);
        deserializer.deserialize_any(is)
    }
}

struct KeyIs<'p>(&'p str, bool);

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.0, self.1) {
            (true, true) => Err(E::custom("here")),
            (is, _) => Ok(is),
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// A text without the mark that some editors put before it.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The documents of a text, or what is no YAML in it and where.
pub fn documents(text: &str) -> (Vec<yaml_serde::Value>, Option<(Option<u64>, String)>) {
    let text = unmarked(text);
    if text.len() > TEXT_MAX {
        let what = format!("this file has more than {} MiB: split it", TEXT_MAX >> 20);
        return (Vec::new(), Some((None, what)));
    }
    // It would keep the parser busy for longer than anybody waits.
    if let Some(line) = nesting::too_deep(text) {
        return (Vec::new(), Some((Some(line), "brackets are nested deeper than 64".to_owned())));
    }
    let mut documents = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        match yaml_serde::Value::deserialize(document) {
            Ok(value) => documents.push(value),
            // What follows a break cannot be told apart.
            Err(error) => {
                let line = error.location().map(|place| place.line() as u64);
                return (documents, Some((line, error.to_string())));
            }
        }
    }
    (documents, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# first\ntitle: a\ndetection:\n  selection:\n    - activity: read\n      patients|contains: x\n    - {activity: print, site: y}\n\
        \x20 condition: selection\n---\n\ntitle: b\ntext: |\n  title: c\n  deep: d\nend: 'e'\n";

    fn check(number: usize, path: &[&str], expected: u64) {
        let step = |text: &&str| text.parse().map_or_else(|_| Step::Key((*text).to_owned()), Step::At);
        let path: Path = path.iter().map(step).collect();
        assert_eq!(line(TEXT, number, &path), Some(expected), "{number} {path:?}");
    }

    #[test]
    fn lines() {
        check(0, &["title"], 2);
        check(0, &["detection"], 3);
        check(0, &["detection", "selection", "0", "patients|contains"], 6);
        check(0, &["detection", "selection", "1"], 7);
        check(0, &["detection", "selection", "1", "site"], 7);
        check(0, &["detection", "condition"], 8);
        check(0, &["detection", "nowhere"], 3);
        check(0, &["nowhere"], 2);
        check(1, &["title"], 11);
        check(1, &["end"], 15);
    }
}
