//! Which rules an event may meet, found in one look at each field instead of one at each rule.
//!
//! What a rule cannot do without (a word in a field, a piece of its text, or that it is there at all) is taken out of its condition, for
//! each of its ways to hold by itself. For each field and each word or piece that some way asks for there is the set of the ways that
//! stay open, as bits; the sets of all fields of an event are intersected. What is left are candidates, which are asked in earnest: the sieve says yes too often, never too seldom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aho_corasick::AhoCorasick;
use rsigma_eval::EventValue;
use rsigma_eval::matcher::{CompiledMatcher, GroupMode};
use xxhash_rust::xxh3::xxh3_64;

use super::condition::{Node, Test};
use super::fields::{Field, Shape};
use super::{Condition, Row};
use crate::engine::stats::numbered::Numbered;

/// Longer texts are no word that a rule asks for here.
const WORD_MAX: usize = 64;

/// Conditions have so many ways to hold at most; more are taken as one.
const WAYS_MAX: usize = 8;

/// Ways to hold, as bits by their numbers.
type Bits = Vec<u64>;

/// The sieve of a rule set.
#[derive(Debug, Default)]
pub struct Sieve {
    all: Bits,
    /// The condition that each way belongs to, in order.
    conditions: Vec<u32>,
    columns: Vec<Column>,
}

/// Room that is used again from row to row.
#[derive(Debug, Default)]
pub struct Room {
    left: Bits,
    found: Bits,
}

/// Ways that ask for the same.
#[derive(Debug, Clone)]
enum Ways {
    All(Bits),
    Few(Vec<u32>),
}

/// What one field says of all ways.
#[derive(Debug)]
struct Column {
    field: Field,
    /// Ways that can do without it.
    free: Bits,
    /// Ways that ask for no more than its being there.
    present: Bits,
    /// Ways that ask for a word, by its hash; where two words have one hash both are let through.
    words: HashMap<u64, Ways, Numbered>,
    /// Ways that ask for a piece of its text, by the number of the piece.
    pieces: Option<(AhoCorasick, Vec<Ways>)>,
}

/// What a condition cannot do without in one field.
#[derive(Debug, Clone)]
enum Need {
    Present,
    /// One of these, in small ASCII letters.
    Words(BTreeSet<String>),
    /// One of these within it, in small ASCII letters.
    Pieces(BTreeSet<String>),
}

impl Sieve {
    /// The sieve of these conditions, which are numbered as they come.
    pub fn new<'c>(conditions: impl Iterator<Item = &'c Condition>) -> Sieve {
        let (mut needs, mut owners): (Vec<Needs>, Vec<u32>) = (Vec::new(), Vec::new());
        for (number, condition) in (0..).zip(conditions) {
            needs.extend(ways_of(condition));
            owners.resize(needs.len(), number);
        }
        let width = needs.len().div_ceil(64);
        let mut names: BTreeMap<&str, &Field> = BTreeMap::new();
        names.extend(needs.iter().flatten().map(|(name, (field, _))| (name.as_str(), field)));
        let mut columns: Vec<Column> =
            names.into_iter().map(|(name, field)| Column::new(name, field, &needs)).collect();
        // Those that leave the fewest come first: often nothing is left for the others to do.
        columns.sort_by_key(|column| column.free.iter().map(|bits| bits.count_ones()).sum::<u32>());
        let mut all = vec![0; width];
        (0..needs.len()).for_each(|number| set(&mut all, number));
        Sieve { all, conditions: owners, columns }
    }

    /// The numbers of the conditions that may hold for a row, in order.
    pub fn candidates<'r>(&'r self, row: &Row<'_>, room: &'r mut Room) -> impl Iterator<Item = usize> + use<'r> {
        let Room { left, found } = room;
        left.clone_from(&self.all);
        for column in &self.columns {
            if !column.narrows(left) {
                continue;
            }
            found.clone_from(&column.free);
            let mut absent = true;
            let unclear = column.field.see(row, &mut |value| {
                if std::mem::take(&mut absent) {
                    join(found, &column.present);
                }
                !column.take(&value, found)
            });
            // A value that cannot be looked up says nothing.
            if !unclear && meet(left, found) == 0 {
                break;
            }
        }
        let mut last = None;
        numbers(left)
            .map(|way| self.conditions[way])
            .filter(move |condition| last.replace(*condition) != Some(*condition))
            .map(|condition| condition as usize)
    }
}

impl Column {
    fn new(name: &str, field: &Field, needs: &[Needs]) -> Column {
        let width = needs.len().div_ceil(64);
        let mut column = Column {
            field: field.clone(),
            free: vec![0; width],
            present: vec![0; width],
            words: HashMap::default(),
            pieces: None,
        };
        let (mut words, mut pieces) = (BTreeMap::<u64, Bits>::new(), BTreeMap::<&str, Bits>::new());
        for (number, needs) in needs.iter().enumerate() {
            match needs.get(name).map(|(_, need)| need) {
                None => set(&mut column.free, number),
                Some(Need::Present) => set(&mut column.present, number),
                Some(Need::Words(asked)) => asked.iter().for_each(|word| {
                    set(words.entry(xxh3_64(word.as_bytes())).or_insert_with(|| vec![0; width]), number);
                }),
                Some(Need::Pieces(asked)) => asked.iter().for_each(|piece| {
                    set(pieces.entry(piece).or_insert_with(|| vec![0; width]), number);
                }),
            }
        }
        column.words = words.into_iter().map(|(hash, bits)| (hash, Ways::of(bits))).collect();
        let built = AhoCorasick::builder().ascii_case_insensitive(true).build(pieces.keys());
        match built {
            Ok(automaton) if !pieces.is_empty() => {
                column.pieces = Some((automaton, pieces.into_values().map(Ways::of).collect()));
            }
            // More than it holds: every way that asks for a piece stays open wherever there is a text.
            _ => pieces.values().for_each(|bits| join(&mut column.present, bits)),
        }
        column
    }

    /// Whether some way that is left asks for the field.
    fn narrows(&self, left: &Bits) -> bool {
        left.iter().zip(&self.free).any(|(left, free)| left & !free != 0)
    }

    /// Lets the ways through that ask for a value; false where it has to let everything through.
    fn take(&self, value: &EventValue<'_>, found: &mut Bits) -> bool {
        let mut small = [0; WORD_MAX];
        let word = match value {
            EventValue::Str(text) if !text.is_ascii() => return false,
            EventValue::Str(text) => {
                if let Some((automaton, pieces)) = &self.pieces {
                    let within = automaton.find_overlapping_iter(text.as_bytes());
                    within.for_each(|piece| pieces[piece.pattern()].join(found));
                }
                if text.len() > WORD_MAX {
                    return true;
                }
                let small = &mut small[..text.len()];
                small.copy_from_slice(text.as_bytes());
                small.make_ascii_lowercase();
                &*small
            }
            EventValue::Bool(truth) => truth_word(*truth).as_bytes(),
            // Only words are asked for.
            _ => return true,
        };
        if let Some(rules) = self.words.get(&xxh3_64(word)) {
            rules.join(found);
        }
        true
    }
}

impl Ways {
    fn of(bits: Bits) -> Ways {
        let count: u32 = bits.iter().map(|bits| bits.count_ones()).sum();
        if count as usize >= bits.len() {
            return Ways::All(bits);
        }
        Ways::Few(numbers(&bits).map(|number| number as u32).collect())
    }

    fn join(&self, found: &mut Bits) {
        match self {
            Ways::All(bits) => join(found, bits),
            Ways::Few(numbers) => numbers.iter().for_each(|number| set(found, *number as usize)),
        }
    }
}

/// The numbers that are set, in order.
fn numbers(bits: &Bits) -> impl Iterator<Item = usize> {
    bits.iter().enumerate().flat_map(|(at, bits)| {
        let mut rest = *bits;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(at * 64 + bit)
        })
    })
}

fn set(bits: &mut Bits, number: usize) {
    bits[number / 64] |= 1 << (number % 64);
}

fn join(bits: &mut Bits, more: &Bits) {
    bits.iter_mut().zip(more).for_each(|(bits, more)| *bits |= more);
}

/// What both have; whether there is any of it, as bits.
fn meet(bits: &mut Bits, others: &Bits) -> u64 {
    bits.iter_mut().zip(others).fold(0, |any, (bits, others)| {
        *bits &= others;
        any | *bits
    })
}

fn truth_word(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

/// What a way to hold cannot do without, by the name of the field.
type Needs = BTreeMap<String, (Field, Need)>;

/// The ways in which a condition can hold.
fn ways_of(condition: &Condition) -> Vec<Needs> {
    let mut found = ways(condition.node());
    if let Some(kind) = condition.kind() {
        let field = Field::find("kind").expect("it is in the vocabulary");
        let need = Need::Words(BTreeSet::from([kind.as_str().to_owned()]));
        let kind = Needs::from([("kind".to_owned(), (field, need))]);
        found = found.into_iter().map(|way| both(way, kind.clone())).collect();
    }
    found
}

fn ways(node: &Node) -> Vec<Needs> {
    match node {
        Node::All(parts) => parts.iter().map(ways).fold(vec![Needs::new()], |found, more| {
            // Where there are too many together, what all ways of a part have in common is enough.
            let more = if found.len() * more.len() > WAYS_MAX { vec![common(more)] } else { more };
            found.iter().flat_map(|one| more.iter().map(|other| both(one.clone(), other.clone()))).collect()
        }),
        Node::Any(parts) | Node::AtLeast(1.., parts) => bounded(parts.iter().flat_map(ways).collect()),
        Node::Test(test) => {
            let need = need(test).map(|need| (test.field.name().to_owned(), (test.field.clone(), need)));
            vec![need.into_iter().collect()]
        }
        Node::AtLeast(0, _) | Node::Not(_) | Node::Anywhere(_) | Node::Whole(_) => vec![Needs::new()],
    }
}

fn bounded(ways: Vec<Needs>) -> Vec<Needs> {
    if (1..=WAYS_MAX).contains(&ways.len()) { ways } else { vec![common(ways)] }
}

/// What all ways ask for.
fn common(ways: Vec<Needs>) -> Needs {
    ways.into_iter().reduce(either).unwrap_or_default()
}

/// Where both parts ask for something in one field, one of them is enough here: the one that leaves less.
fn both(mut one: Needs, other: Needs) -> Needs {
    for (name, (field, need)) in other {
        let known = one.entry(name).or_insert((field, Need::Present));
        let is_narrower = match (&known.1, &need) {
            (Need::Present, _) | (Need::Pieces(_), Need::Words(_)) => true,
            (Need::Words(known), Need::Words(words)) => words.len() < known.len(),
            (Need::Pieces(known), Need::Pieces(pieces)) => shortest(pieces) > shortest(known),
            (Need::Words(_) | Need::Pieces(_), _) => false,
        };
        if is_narrower {
            known.1 = need;
        }
    }
    one
}

/// Where one of two is enough, only what both ask for is needed.
fn either(one: Needs, mut other: Needs) -> Needs {
    let joined = |(name, (field, need)): (String, (Field, Need))| {
        let need = match (need, other.remove(&name)?.1) {
            (Need::Words(mut words), Need::Words(more)) => {
                words.extend(more);
                Need::Words(words)
            }
            // A word is a piece of itself.
            (Need::Words(mut pieces) | Need::Pieces(mut pieces), Need::Words(more) | Need::Pieces(more)) => {
                pieces.extend(more);
                if shortest(&pieces) > 0 { Need::Pieces(pieces) } else { Need::Present }
            }
            _ => Need::Present,
        };
        Some((name, (field, need)))
    };
    one.into_iter().filter_map(joined).collect()
}

fn need(test: &Test) -> Option<Need> {
    match test.exists {
        Some(true) => return Some(Need::Present),
        Some(false) => return None,
        None => {}
    }
    let shape = match &test.field {
        Field::Known(spec) => spec.shape,
        Field::Column(_) => Shape::Text,
    };
    // A list that is looked at as a whole, and what takes an absent field, may hold without any value.
    let is_sought = test.each || (shape == Shape::Text && matches!(test.matcher, CompiledMatcher::AllOf(_)));
    if !is_sought || matches!(test.matcher, CompiledMatcher::Null) {
        return None;
    }
    let is_text = matches!(shape, Shape::Text | Shape::List);
    if is_text && !test.words.is_empty() && test.words.iter().all(|word| word.len() <= WORD_MAX) {
        return Some(Need::Words(test.words.iter().cloned().collect()));
    }
    if let (Shape::Truth, CompiledMatcher::BoolEq(truth)) = (shape, &test.matcher) {
        return Some(Need::Words(BTreeSet::from([truth_word(*truth).to_owned()])));
    }
    let pieces = pieces(&test.matcher).filter(|pieces| is_text && shortest(pieces) > 0);
    Some(pieces.map_or(Need::Present, Need::Pieces))
}

/// Pieces of text of which a value has one wherever the matcher holds, in small ASCII letters; `None` where that cannot be said.
fn pieces(matcher: &CompiledMatcher) -> Option<BTreeSet<String>> {
    let one = |text: &str| text.is_ascii().then(|| BTreeSet::from([text.to_ascii_lowercase()]));
    match matcher {
        CompiledMatcher::Exact { value, .. }
        | CompiledMatcher::Contains { value, .. }
        | CompiledMatcher::StartsWith { value, .. }
        | CompiledMatcher::EndsWith { value, .. } => one(value),
        CompiledMatcher::AhoCorasickSet { needles, .. } => all(needles.iter().map(|needle| one(needle))),
        CompiledMatcher::AnyOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, mode: GroupMode::Any } => {
            all(parts.iter().map(pieces))
        }
        CompiledMatcher::AllOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, mode: GroupMode::All } => {
            parts.iter().filter_map(pieces).max_by_key(shortest)
        }
        _ => None,
    }
}

/// All of several sets, where each is known.
fn all(sets: impl Iterator<Item = Option<BTreeSet<String>>>) -> Option<BTreeSet<String>> {
    Some(sets.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Bytes of the shortest of them: nothing is narrowed by a piece that every text has.
fn shortest(pieces: &BTreeSet<String>) -> usize {
    pieces.iter().map(String::len).min().unwrap_or(0)
}
