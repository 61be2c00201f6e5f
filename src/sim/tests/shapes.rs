//! Damage to the shape of records: JSON that is JSON, and not what its format says.
//!
//! Members are taken out, moved, doubled, renamed, nested and given to others, in native records and in FHIR AuditEvents: those of
//! this folder and, where `PHIWATCH_SAMPLES` names them, those of the HL7 and IHE specifications. What holds is said in `fuzz`.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::fuzz::{ODD, check, sound};

/// One change of a JSON value; the numbers choose the places.
#[derive(Debug, Clone)]
enum Twist {
    /// An odd value stands in its place.
    Odd(u16, usize),
    /// A member or element is gone.
    Out(u16),
    /// An element comes twice, a member stands once more in a list.
    Twice(u16),
    /// Two change places.
    Swap(u16, u16),
    /// It is the only element of a list, or of as many lists in each other.
    Wrap(u16, u8),
    /// A list or object is replaced by the first thing in it.
    Unwrap(u16),
    /// A member has the name of another.
    Rename(u16, u16),
    /// It is inside another.
    Inside(u16, u16),
}

fn twists() -> impl Strategy<Value = Vec<Twist>> {
    let at = any::<u16>;
    let twist = prop_oneof![
        3 => (at(), 0..ODD.len()).prop_map(|(at, odd)| Twist::Odd(at, odd)),
        2 => at().prop_map(Twist::Out),
        1 => at().prop_map(Twist::Twice),
        1 => (at(), at()).prop_map(|(a, b)| Twist::Swap(a, b)),
        1 => (at(), any::<u8>()).prop_map(|(at, depth)| Twist::Wrap(at, depth)),
        1 => at().prop_map(Twist::Unwrap),
        1 => (at(), at()).prop_map(|(a, b)| Twist::Rename(a, b)),
        1 => (at(), at()).prop_map(|(a, b)| Twist::Inside(a, b)),
    ];
    proptest::collection::vec(twist, 1..4)
}

/// The pointers (RFC 6901) of everything in a value, itself first.
fn places(value: &Value) -> Vec<String> {
    fn go(value: &Value, at: String, found: &mut Vec<String>) {
        found.push(at.clone());
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    go(member, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(index, one)| go(one, format!("{at}/{index}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    go(value, String::new(), &mut found);
    found
}

/// The value at a place and the member or element that it is of its parent; `None` for the whole.
fn parent<'v>(value: &'v mut Value, place: &str) -> Option<(&'v mut Value, String)> {
    let (above, last) = place.rsplit_once('/')?;
    Some((value.pointer_mut(above)?, last.replace("~1", "/").replace("~0", "~")))
}

fn taken_out(value: &mut Value, place: &str) -> Option<Value> {
    let (above, name) = parent(value, place)?;
    match above {
        Value::Object(members) => members.remove(&name),
        Value::Array(list) => name.parse().ok().filter(|index| *index < list.len()).map(|index| list.remove(index)),
        _ => None,
    }
}

fn twisted(value: &mut Value, twist: &Twist) {
    let places = places(value);
    let place = |at: &u16| places[*at as usize * places.len() / 65_536].as_str();
    let get = |value: &Value, at: &u16| value.pointer(place(at)).cloned().unwrap_or_default();
    let put = |value: &mut Value, at: &u16, new: Value| {
        if let Some(slot) = value.pointer_mut(place(at)) {
            *slot = new;
        }
    };
    match twist {
        Twist::Odd(at, odd) => put(value, at, serde_json::from_str(ODD[*odd]).unwrap_or_default()),
        Twist::Out(at) => drop(taken_out(value, place(at))),
        Twist::Twice(at) => {
            let one = get(value, at);
            match parent(value, place(at)) {
                Some((Value::Array(list), _)) => list.push(one),
                _ => put(value, at, Value::Array(vec![one.clone(), one])),
            }
        }
        Twist::Swap(a, b) => {
            let (first, second) = (get(value, a), get(value, b));
            put(value, a, second);
            put(value, b, first);
        }
        Twist::Wrap(at, depth) => {
            let inner = get(value, at);
            put(value, at, (0..=*depth % 80).fold(inner, |inner, _| Value::Array(vec![inner])));
        }
        Twist::Unwrap(at) => {
            let first = match get(value, at) {
                Value::Array(list) => list.into_iter().next(),
                Value::Object(members) => members.into_iter().next().map(|(_, member)| member),
                _ => None,
            };
            put(value, at, first.unwrap_or_default());
        }
        Twist::Rename(from, to) => {
            let name = place(to).rsplit('/').next().unwrap_or_default().to_owned();
            let one = get(value, from);
            if taken_out(value, place(from)).is_some()
                && let Some((Value::Object(members), _)) = parent(value, place(from))
            {
                members.insert(name, one);
            }
        }
        Twist::Inside(one, other) => {
            let inner = get(value, one);
            match value.pointer_mut(place(other)) {
                Some(Value::Object(members)) => drop(members.insert("extension".to_owned(), inner)),
                Some(Value::Array(list)) => list.insert(0, inner),
                Some(slot) => *slot = Value::Object(Map::from_iter([("value".to_owned(), inner)])),
                None => {}
            }
        }
    }
}

/// All JSON files below a folder that hold at most 64 KiB: larger ones are bundles, and say nothing more about shapes.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json")
            && entry.metadata().is_ok_and(|about| about.len() < 65_536)
        {
            found.push(path);
        }
    }
    found.sort();
}

/// Native records and AuditEvents of three versions.
fn records() -> Vec<Value> {
    let mut texts = sound();
    if let Some(samples) = std::env::var_os("PHIWATCH_SAMPLES") {
        let mut found = Vec::new();
        files(&PathBuf::from(samples).join("fhir"), &mut found);
        texts.extend(found.iter().map(|path| std::fs::read(path).unwrap()));
    }
    texts.iter().filter_map(|text| serde_json::from_slice(text).ok()).collect()
}

thread_local! {
    static RECORDS: Vec<Value> = records();
}

proptest! {
    #[test]
    fn records_of_another_shape(which in any::<usize>(), twists in twists()) {
        let mut value = RECORDS.with(|records| records[which % records.len()].clone());
        twists.iter().for_each(|twist| twisted(&mut value, twist));
        check(&serde_json::to_vec(&value).unwrap())?;
    }
}

#[test]
fn every_place_without_what_stands_there_or_with_something_odd() {
    let records = records();
    for record in records.iter().rev().take(3) {
        for place in places(record) {
            let mut without = record.clone();
            taken_out(&mut without, &place);
            check(&serde_json::to_vec(&without).unwrap()).unwrap();
            for odd in ODD.iter().filter_map(|odd| serde_json::from_str::<Value>(odd).ok()) {
                let mut with = record.clone();
                *with.pointer_mut(&place).unwrap() = odd;
                check(&serde_json::to_vec(&with).unwrap()).unwrap();
            }
        }
    }
}
