//! The settings file as a tree in which everything knows its place, so that every problem is found at once and named with its line.
//!
//! serde stops at the first thing that it cannot read. Here what it stopped at is named, taken out, and the rest is read again, until
//! nothing is left to name. What could not be read is absent from the result; the caller must not use it where there were problems.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::event::Problem;

/// No file has more problems than anybody would read.
const PROBLEMS_MAX: usize = 200;
/// Changes of one letter that still make a misspelt name, at least.
const MISSPELT: usize = 2;

/// A file that is being read, with the problems found so far.
pub(super) struct Tree<'a> {
    text: &'a str,
    file: &'a Path,
    root: Spanned<DeTable<'a>>,
    /// What was found.
    pub problems: Vec<Problem>,
}

impl<'a> Tree<'a> {
    /// Cuts a text into its tables; what is no TOML is a problem.
    pub fn new(text: &'a str, file: &'a Path) -> Tree<'a> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut tree = Tree { text, file, root, problems: Vec::new() };
        for error in errors {
            tree.problem_at(error.span(), error.message().to_owned());
        }
        tree
    }

    /// Notes a problem at the line of what stands at `path`, or of the nearest thing above it that is there.
    pub fn problem(&mut self, path: &[&str], what: String) {
        let span = span_of(self.root.get_ref(), path);
        self.problem_at(span, what);
    }

    /// Notes a problem of the table at `path` whose words begin with, or quote, the key that is to blame.
    pub fn problem_in(&mut self, path: &[&str], what: String) {
        let blamed = table_at(self.root.get_ref(), path).map(|table| blamed(table, &what)).unwrap_or_default();
        let path: Vec<&str> = path.iter().copied().chain(blamed.iter().map(String::as_str)).collect();
        self.problem(&path, what);
    }

    /// Notes a problem of a table that was taken out, at the key that the words name first.
    pub fn problem_of(&mut self, table: &Spanned<DeTable<'a>>, what: String) {
        let blamed = what.split([':', ' ', '`']).find(|word| table.get_ref().contains_key(*word)).map(str::to_owned);
        let span = blamed.and_then(|key| span_of(table.get_ref(), &[&key]));
        self.problem_at(span.or_else(|| Some(table.span())), what);
    }

    /// Takes the tables `[[name]]` out, for reading one by one.
    pub fn take_list(&mut self, name: &str) -> Vec<Spanned<DeTable<'a>>> {
        let Some((key, value)) = self.root.get_mut().remove_entry(name) else { return Vec::new() };
        let wrong = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.problem_at(Some(key.span()), format!("{name} is a list: write [[{name}]] above each of them"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => tables.push(Spanned::new(span, table)),
                _ => self.problem_at(Some(wrong.clone()), format!("{name} is a list of tables: write [[{name}]]")),
            }
        }
        tables
    }

    /// Reads the whole file as `T`.
    pub fn read_root<T: DeserializeOwned>(&mut self) -> Option<T> {
        let root = self.root.clone();
        self.read(root, "", &mut StandIns::default())
    }

    /// Reads a table as `T`, naming everything that it cannot be read for; `None` where too little is left. `above` is where it stands. For
    /// keys that are missing in the table itself something stands in, so that the rest can be judged.
    pub fn read<T: DeserializeOwned>(
        &mut self,
        mut table: Spanned<DeTable<'a>>,
        above: &str,
        stand_ins: &mut StandIns,
    ) -> Option<T> {
        let mut taken: Vec<(Range<usize>, String)> = Vec::new();
        for _ in 0..PROBLEMS_MAX {
            let error = match T::deserialize(Deserializer::from(table.clone())) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let whole = table.span();
            let span = error.span().unwrap_or_else(|| whole.clone());
            // What stands in was of the wrong kind.
            if let Some(at) = stand_ins.at(&span) {
                if stand_ins.put(table.get_mut(), at) {
                    continue;
                }
                return None;
            }
            let missing = quoted(error.message(), "missing field `");
            // What was taken out because it could not be read is not missing, too.
            let known = missing.is_some_and(|field| taken.iter().any(|(at, key)| *at == span && key == field));
            let gone = take_out(table.get_mut(), &span, &whole);
            if !known {
                let place = gone.as_ref().map(|(_, path)| path.join(".")).unwrap_or_default();
                let place =
                    [above, &place].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
                self.problem_at(Some(span), in_words(&place, error.message()));
            }
            match gone {
                Some((parent, mut path)) => taken.extend(path.pop().map(|key| (parent, key))),
                None if missing.is_some_and(|field| stand_ins.begin(table.get_mut(), field)) => {}
                None => return None,
            }
        }
        None
    }

    /// The line of a place in the text, from 1.
    pub fn line(&self, span: &Range<usize>) -> u64 {
        1 + self.text[..span.start.min(self.text.len())].matches('\n').count() as u64
    }

    /// Notes a problem at a place in the text.
    pub fn problem_at(&mut self, span: Option<Range<usize>>, what: String) {
        let line = span.map(|span| self.line(&span));
        self.problems.push(Problem { file: self.file.to_owned(), line, what });
    }
}

/// What stands in for keys that are missing: each key with how many kinds of value were tried.
#[derive(Default)]
pub(super) struct StandIns(Vec<(String, usize)>);

impl StandIns {
    /// Whether these words are about a key that is missing.
    pub fn are_meant(&self, what: &str) -> bool {
        self.0.iter().any(|(key, _)| what.split([':', ' ', '`']).next() == Some(key))
    }

    /// Places that no text has, one for each key.
    fn span(at: usize) -> Range<usize> {
        usize::MAX - at..usize::MAX - at
    }

    fn at(&self, span: &Range<usize>) -> Option<usize> {
        (0..self.0.len()).find(|at| StandIns::span(*at) == *span)
    }

    /// Lets something stand in for a key.
    fn begin(&mut self, table: &mut DeTable<'_>, key: &str) -> bool {
        self.0.push((key.to_owned(), 0));
        self.put(table, self.0.len() - 1)
    }

    /// Lets a value of the next kind stand in; false where none is left.
    fn put(&mut self, table: &mut DeTable<'_>, at: usize) -> bool {
        let span = StandIns::span(at);
        let (key, tried) = &mut self.0[at];
        let text = || DeValue::String("".into());
        let value = match tried {
            0 => text(),
            1 => DeValue::Array(Default::default()),
            2 => {
                let mut secret = DeTable::new();
                secret.insert(Spanned::new(span.clone(), "file".into()), Spanned::new(span.clone(), text()));
                DeValue::Table(secret)
            }
            _ => return false,
        };
        *tried += 1;
        table.remove(key.as_str());
        table.insert(Spanned::new(span.clone(), key.clone().into()), Spanned::new(span, value));
        true
    }
}

/// The keys that lead to what these words name, as far as they do: `batch.rows`, or `client` and one of its options.
fn blamed(table: &DeTable<'_>, what: &str) -> Vec<String> {
    let says = |key: &str| {
        let named =
            |word: &str| word == key || word.split_once('.').is_some_and(|(first, rest)| first == key || rest == key);
        what.contains(&format!("`{key}`")) || words_of(what).any(named)
    };
    let named = table.iter().filter(|(key, _)| says(key.get_ref()));
    let Some((key, value)) = named.max_by_key(|(key, _)| key.get_ref().len()) else { return Vec::new() };
    let below = value.get_ref().as_table().map(|table| blamed(table, what)).unwrap_or_default();
    [key.get_ref().to_string()].into_iter().chain(below).collect()
}

/// The place of the key at `path`, or of the nearest one above it.
pub(super) fn span_of(table: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.get_key_value(*first)?;
    let below = value.get_ref().as_table().and_then(|table| span_of(table, rest));
    below.or_else(|| Some(key.span()))
}

/// The key of `known` that was probably meant.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = MISSPELT.max(written.chars().count() / 3);
    let far = |name: &str| match written.len() > 2 && (name.contains(written) || written.contains(name)) {
        true => 0,
        false => changes(written, name),
    };
    known.into_iter().map(|name| (far(name), name)).min().filter(|(far, _)| *far <= limit).map(|(_, name)| name)
}

fn table_at<'t, 'a>(table: &'t DeTable<'a>, path: &[&str]) -> Option<&'t DeTable<'a>> {
    match path.split_first() {
        None => Some(table),
        Some((first, rest)) => table_at(table.get(*first)?.get_ref().as_table()?, rest),
    }
}

/// The words of a sentence; a key may hold dots and underscores.
fn words_of(what: &str) -> impl Iterator<Item = &str> {
    let words = what.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    words.map(|word| word.trim_matches('.')).filter(|word| word.len() > 1)
}

/// Takes out what stands at `span`: gives back where the table that held it stands, and the keys that lead to it.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>, own: &Range<usize>) -> Option<(Range<usize>, Vec<String>)> {
    // An element that cannot be read takes its list with it.
    let within =
        |value: &DeValue<'_>| value.as_array().is_some_and(|items| items.iter().any(|item| item.span() == *span));
    let here =
        table.iter().find(|(key, value)| key.span() == *span || value.span() == *span || within(value.get_ref()));
    if let Some(name) = here.map(|(key, _)| key.get_ref().to_string()) {
        table.remove(name.as_str());
        return Some((own.clone(), vec![name]));
    }
    for (key, value) in table.iter_mut() {
        let (name, place) = (key.get_ref().to_string(), value.span());
        if let Some((parent, mut path)) = take_out_of(value.get_mut(), span, &place) {
            path.insert(0, name);
            return Some((parent, path));
        }
    }
    None
}

fn take_out_of(
    value: &mut DeValue<'_>,
    span: &Range<usize>,
    own: &Range<usize>,
) -> Option<(Range<usize>, Vec<String>)> {
    match value {
        DeValue::Table(table) => take_out(table, span, own),
        DeValue::Array(items) => items.iter_mut().find_map(|item| {
            let place = item.span();
            take_out_of(item.get_mut(), span, &place)
        }),
        _ => None,
    }
}

/// What serde says, in our words.
fn in_words(place: &str, said: &str) -> String {
    if let Some(written) = quoted(said, "unknown field `") {
        let known: Vec<&str> =
            said.split("expected").nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let above = place.rsplit_once('.').map_or(String::new(), |(above, _)| format!(" in {above}"));
        return match nearest(written, known.iter().copied()) {
            Some(meant) => format!("unknown key `{written}`{above}; do you mean `{meant}`?"),
            None if known.is_empty() => format!("unknown key `{written}`{above}; no key is known here"),
            None => format!("unknown key `{written}`{above}; known here: {}", known.join(", ")),
        };
    }
    if let Some(field) = quoted(said, "missing field `") {
        let above = if place.is_empty() { String::new() } else { format!(" in {place}") };
        return format!("`{field}` is missing{above}");
    }
    match place.is_empty() {
        true => said.to_owned(),
        false => format!("{place}: {said}"),
    }
}

fn quoted<'t>(text: &'t str, before: &str) -> Option<&'t str> {
    text.strip_prefix(before)?.split('`').next()
}

/// The least number of letters to add, drop or change that turns one word into another (Levenshtein).
fn changes(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let kept = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = kept.min(row[j] + 1).min(corner + 1);
        }
    }
    row[other.len()]
}

/// A hash of each section, so that two versions can be compared without keeping what they say.
pub(super) fn sections(text: &str) -> BTreeMap<String, Vec<u8>> {
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    table.into_iter().map(|(name, value)| (name, Sha256::digest(value.to_string()).to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        let known = ["per_1000_users_per_day", "path", "detail"];
        for (written, meant) in [
            ("per_1000", Some("per_1000_users_per_day")),
            ("paht", Some("path")),
            ("details", Some("detail")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
        assert_eq!((changes("kitten", "sitting"), changes("", "ab"), changes("ab", "")), (3, 2, 2));
    }
}
