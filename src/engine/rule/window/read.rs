//! Groups and values as they are read from the fields of an event, lists multiplied out.

use std::borrow::Cow;

use rsigma_eval::EventValue;
use xxhash_rust::xxh3::xxh3_64;

use super::correlation::{Correlation, Kind};
use super::group::Key;
use crate::event::Day;

/// The fields of an event by name. An absent field is `None` or `Null`; a list counts with each of its values.
pub type Fields<'a> = dyn Fn(&str) -> Option<EventValue<'a>> + 'a;

/// The lists of an event multiply to at most this many groups, and to this many values.
pub const COMBINATIONS_MAX: usize = 1_024;

/// Texts of fields, one after the other; `None` where a field is absent.
type Texts<'a> = Vec<Option<Cow<'a, str>>>;

/// The groups that an event belongs to, each with its hash, and how many were left out. An absent field is a value of its own.
pub fn groups(names: &[String], fields: &Fields<'_>) -> (Vec<(u64, Key)>, u64) {
    let (all, left_out) = combinations(names, fields, true);
    let key = |texts: &Texts<'_>| texts.iter().map(|text| text.as_deref().map(Box::from)).collect();
    (all.iter().map(|texts| (of_texts(texts), key(texts))).collect(), left_out)
}

/// The values that an event counts with: hashes, or bits of numbers; none where a field is absent or no number.
pub fn values(correlation: &Correlation, fields: &Fields<'_>) -> (Vec<u64>, u64) {
    match correlation.kind {
        kind if !kind.takes_values() => (vec![0], 0),
        Kind::ValueCount => {
            let (all, left_out) = combinations(&correlation.value_fields, fields, false);
            (all.iter().map(of_texts).collect(), left_out)
        }
        _ => {
            let numbers = correlation.value_fields.iter().flat_map(|name| each(fields(name)));
            let numbers = numbers.filter_map(|value| value.as_f64()).filter(|number| number.is_finite());
            (numbers.map(f64::to_bits).collect(), 0)
        }
    }
}

/// The request that an event is one report of; 0 where nothing says that other records report it as well.
///
/// Records of one source with the same `correlation_id` report one request of an account and local day: it counts once, whichever
/// patients they name (INTERFACES, section 1).
pub fn request(day: Day, fields: &Fields<'_>) -> u64 {
    let Some(id) = fields("correlation_id").and_then(text) else { return 0 };
    let [source, actor] = ["source", "actor.id"].map(|name| fields(name).and_then(text));
    let day = day.to_string();
    hash([Some(day.as_str()), Some(id.as_ref()), source.as_deref(), actor.as_deref()].into_iter()).max(1)
}

fn combinations<'a>(names: &[String], fields: &Fields<'a>, with_absent: bool) -> (Vec<Texts<'a>>, u64) {
    let mut all: Vec<Texts<'a>> = vec![Vec::with_capacity(names.len())];
    let mut left_out = 0;
    for name in names {
        let mut texts: Texts<'a> = each(fields(name)).filter_map(text).map(Some).collect();
        // An event that names a value twice is in that group once.
        let mut known = std::collections::BTreeSet::new();
        texts.retain(|text| known.insert(text.clone()));
        if texts.is_empty() && with_absent {
            texts.push(None);
        }
        if let [one] = &texts[..] {
            all.iter_mut().for_each(|texts| texts.push(one.clone()));
            continue;
        }
        let count = all.len() * texts.len();
        let with = |start: &Texts<'a>, text: &Option<Cow<'a, str>>| start.iter().chain([text]).cloned().collect();
        let multiplied = all.iter().flat_map(|start| texts.iter().map(move |text| with(start, text)));
        all = multiplied.take(COMBINATIONS_MAX).collect();
        left_out += (count - all.len()) as u64;
    }
    (all, left_out)
}

fn each(value: Option<EventValue<'_>>) -> impl Iterator<Item = EventValue<'_>> {
    let (one, list) = match value {
        Some(EventValue::Array(list)) => (None, list),
        other => (other, Vec::new()),
    };
    one.into_iter().chain(list)
}

fn text(value: EventValue<'_>) -> Option<Cow<'_, str>> {
    match value {
        EventValue::Str(text) => Some(text),
        other => other.as_str().map(|text| Cow::Owned(text.into_owned())),
    }
}

/// The same on every machine; texts that are cut differently hash differently.
pub fn hash<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> u64 {
    texts.fold(0, |hash: u64, text| {
        let part = text.map_or(0x6E6F_7468_696E_6721, |text| xxh3_64(text.as_bytes()));
        mix(hash, part)
    })
}

/// A hash with one more part, whose place counts.
pub fn mix(hash: u64, part: u64) -> u64 {
    (hash.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn of_texts(texts: &Texts<'_>) -> u64 {
    hash(texts.iter().map(Option::as_deref))
}
