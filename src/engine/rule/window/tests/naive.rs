//! The specification of correlations, followed word by word and slowly: every window is looked at whole.
//!
//! "SC" is the Sigma Correlation Rules Specification. What it leaves open is decided here, and noted.

use std::collections::{BTreeMap, BTreeSet};

use rsigma_parser::{
    ConditionExpr, ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, SigmaCollection,
    WindowMode,
};

use super::super::Evidence;
use super::hospital::{Graded, Of, Opened, Said, names_of};
use crate::event::time::SECOND;

/// An event in a group of a correlation: its rule by position, and its value.
#[derive(Debug, Clone)]
struct Hit<'a> {
    event: &'a Opened,
    position: usize,
    value: Option<String>,
    /// It comes from a correlation that speaks at settling only: it is there for windows of its own day and later ones.
    settles: bool,
}

/// What every group and day of every correlation settles as.
pub fn settled(read: &SigmaCollection, events: &[Opened]) -> BTreeMap<Of, Said> {
    let mut all = BTreeMap::new();
    for (number, rule) in read.correlations.iter().enumerate() {
        for (group, hits) in groups(read, rule, events) {
            for end in &hits {
                let Some(value) = satisfied(read, rule, &hits, end.event) else { continue };
                let of = (number, group.clone(), end.event.day());
                let to = end.event.time();
                let mut inside: Vec<_> =
                    within(rule, &hits, end.event).map(|hit| (hit.event.time(), hit.event.id)).collect();
                inside.sort_unstable();
                inside.dedup();
                let evidence = inside.into_iter().map(|(_, id)| id).collect();
                let new = Said { first: to, value, to, evidence };
                let said = all.entry(of).or_insert_with(|| new.clone());
                let first = said.first.min(to);
                // Of all windows those with the gravest event are told.
                let grade = |said: &Said| said.evidence.iter().map(|id| Graded(*id).grade()).max();
                let exceeds = if only_grows(rule) {
                    value > said.value || (value == said.value && to < said.to)
                } else {
                    to < said.to
                };
                let tells_more = grade(&new) > grade(said) || (grade(&new) == grade(said) && exceeds);
                *said = Said { first, ..if tells_more { new } else { said.clone() } };
            }
        }
    }
    all
}

/// Whether a correlation may speak inside the day.
pub fn only_grows(rule: &CorrelationRule) -> bool {
    let counts = !matches!(
        rule.correlation_type,
        CorrelationType::ValueAvg | CorrelationType::ValuePercentile | CorrelationType::ValueMedian
    );
    counts
        && match &rule.condition {
            CorrelationCondition::Threshold { predicates, .. } => predicates
                .iter()
                .all(|(operator, _)| [ConditionOperator::Gt, ConditionOperator::Gte].contains(operator)),
            CorrelationCondition::Extended(expression) => !format!("{expression}").contains("not "),
        }
}

/// The hits of each group. SC "Grouping": "treated as separate event occurrence scope"; an absent field is left open: a value of its own.
fn groups<'a>(
    read: &SigmaCollection,
    rule: &CorrelationRule,
    events: &'a [Opened],
) -> BTreeMap<Vec<Option<String>>, Vec<Hit<'a>>> {
    let mut groups: BTreeMap<_, Vec<Hit<'a>>> = BTreeMap::new();
    for (position, reference) in rule.rules.iter().enumerate() {
        let settles = settles(read, reference);
        for event in matching(read, reference, events) {
            let names = names_of(read, reference);
            let mut keys: Vec<Vec<Option<String>>> = vec![Vec::new()];
            for field in &rule.group_by {
                // SC "Field Name Aliases": "resolved to their respective field names".
                let alias = rule.aliases.iter().find(|alias| alias.alias == *field);
                let field =
                    alias.and_then(|alias| names.iter().find_map(|name| alias.mapping.get(name))).unwrap_or(field);
                let mut texts: Vec<Option<String>> = texts(event, field).into_iter().map(Some).collect();
                texts.dedup();
                if texts.is_empty() {
                    texts.push(None);
                }
                let with = |key: &Vec<_>, text: &Option<String>| [key.clone(), vec![text.clone()]].concat();
                keys = keys.iter().flat_map(|key| texts.iter().map(move |text| with(key, text))).collect();
            }
            for key in keys {
                for value in values(rule, event) {
                    groups.entry(key.clone()).or_default().push(Hit { event, position, value, settles });
                }
            }
        }
    }
    groups
}

/// SC "Related rules": "one or multiple Sigma or Correlations rules"; a correlation's events are those that end its satisfied windows.
fn matching<'a>(read: &SigmaCollection, reference: &str, events: &'a [Opened]) -> Vec<&'a Opened> {
    let named = |rule: &&CorrelationRule| [&rule.id, &rule.name].into_iter().flatten().any(|name| name == reference);
    let Some(below) = read.correlations.iter().find(named) else {
        return events.iter().filter(|event| event.matches.contains(&reference)).collect();
    };
    let mut ends = BTreeMap::new();
    for hits in groups(read, below, events).values() {
        for end in hits.iter().filter(|end| satisfied(read, below, hits, end.event).is_some()) {
            ends.insert(end.event.id, end.event);
        }
    }
    ends.into_values().collect()
}

/// Whether a reference leads over a correlation that speaks at settling only. SC leaves open when the events of such a one are known
/// above it: here with their own day, since before that a record that comes late may still take them back.
fn settles(read: &SigmaCollection, reference: &str) -> bool {
    let named = |rule: &&CorrelationRule| [&rule.id, &rule.name].into_iter().flatten().any(|name| name == reference);
    let below = read.correlations.iter().find(named);
    let falls = |rule: &CorrelationRule| !only_grows(rule) || rule.correlation_type == CorrelationType::ValueSum;
    below.is_some_and(|rule| falls(rule) || rule.rules.iter().any(|reference| settles(read, reference)))
}

fn texts(event: &Opened, field: &str) -> Vec<String> {
    use rsigma_eval::EventValue;
    let text = |value: &EventValue<'_>| value.as_str().map(|text| text.into_owned());
    match event.field(field) {
        Some(EventValue::Array(list)) => list.iter().filter_map(text).collect(),
        Some(value) => text(&value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The values that an event counts with; several fields are counted as tuples; without the field it is no hit.
fn values(rule: &CorrelationRule, event: &Opened) -> Vec<Option<String>> {
    let CorrelationCondition::Threshold { field: Some(fields), .. } = &rule.condition else { return vec![None] };
    let mut all: Vec<String> = vec![String::new()];
    for field in fields {
        let mut texts = texts(event, field);
        texts.dedup();
        all = all.iter().flat_map(|start| texts.iter().map(move |text| format!("{start}|{text}"))).collect();
    }
    all.into_iter().map(Some).collect()
}

/// SC "Time Selection": the hits in the time frame that ends with this hit; "should not be restricted to boundaries".
fn within<'h, 'a>(rule: &CorrelationRule, hits: &'h [Hit<'a>], last: &Opened) -> impl Iterator<Item = &'h Hit<'a>> {
    let (end, day) = (last.time().0, last.day());
    let span = rule.timespan.seconds as i64 * SECOND;
    let from = match rule.window {
        WindowMode::Tumbling => end.div_euclid(span) * span,
        _ => end - span,
    };
    let is_known = move |hit: &&Hit<'a>| !hit.settles || hit.event.day() <= day;
    hits.iter().filter(move |hit| (from..=end).contains(&hit.event.time().0)).filter(is_known)
}

/// The quantity of the window that ends at `end`, if it satisfies the condition.
fn satisfied(read: &SigmaCollection, rule: &CorrelationRule, hits: &[Hit<'_>], last: &Opened) -> Option<f64> {
    let mut inside: Vec<&Hit<'_>> = Vec::new();
    for hit in within(rule, hits, last) {
        // SC counts "events": one that several rules match is one, unless it is asked which rules occurred.
        let is_same = |known: &&Hit<'_>| (known.event.id, &known.value) == (hit.event.id, &hit.value);
        let is_other = |known: &&Hit<'_>| is_same(known) && known.position != hit.position;
        if is_temporal(rule) || !inside.iter().any(is_other) {
            inside.push(hit);
        }
    }
    // Numerator and denominator.
    let (value, per) = quantity(rule, &inside);
    let holds = match &rule.condition {
        // SC "Temporal Proximity": "All events defined by the rules referred by the rule field must occur".
        CorrelationCondition::Threshold { predicates, .. }
            if is_temporal(rule) && predicates[..] == [(ConditionOperator::Gte, 1)] =>
        {
            value == rule.rules.len() as i64
        }
        CorrelationCondition::Threshold { predicates, .. } => {
            predicates.iter().all(|(operator, bound)| meets(*operator, value, *bound as i64 * per))
        }
        CorrelationCondition::Extended(expression) => {
            let in_order = rule.correlation_type == CorrelationType::Temporal || value > 0;
            in_order && is_true(read, rule, expression, &inside)
        }
    };
    holds.then(|| value as f64 / per as f64)
}

/// Whether a quantity is as the operator asks.
pub fn meets<T: PartialOrd>(operator: ConditionOperator, value: T, bound: T) -> bool {
    match operator {
        ConditionOperator::Lt => value < bound,
        ConditionOperator::Lte => value <= bound,
        ConditionOperator::Gt => value > bound,
        ConditionOperator::Gte => value >= bound,
        ConditionOperator::Eq => value == bound,
        ConditionOperator::Neq => value != bound,
    }
}

fn is_temporal(rule: &CorrelationRule) -> bool {
    matches!(rule.correlation_type, CorrelationType::Temporal | CorrelationType::TemporalOrdered)
}

fn is_true(read: &SigmaCollection, rule: &CorrelationRule, expression: &ConditionExpr, inside: &[&Hit<'_>]) -> bool {
    match expression {
        ConditionExpr::And(parts) => parts.iter().all(|part| is_true(read, rule, part, inside)),
        ConditionExpr::Or(parts) => parts.iter().any(|part| is_true(read, rule, part, inside)),
        ConditionExpr::Not(part) => !is_true(read, rule, part, inside),
        ConditionExpr::Identifier(name) => {
            inside.iter().any(|hit| names_of(read, &rule.rules[hit.position]).contains(name))
        }
        ConditionExpr::Selector { .. } => panic!("not generated"),
    }
}

/// SC "Condition": what each type counts. SC "Ordered Temporal Proximity": "in addition that the events appear in the order provided";
/// equal times are left open: they are in order.
fn quantity(rule: &CorrelationRule, inside: &[&Hit<'_>]) -> (i64, i64) {
    let quarters = || {
        let number = |hit: &&Hit<'_>| hit.event.quarters.expect("a hit has its value");
        let mut all: Vec<i64> = inside.iter().map(number).collect();
        all.sort_unstable();
        all
    };
    let percentile = |percent: usize| {
        let (sorted, rank) = (quarters(), percent * (inside.len() - 1));
        let (below, above) = (sorted[rank / 100], sorted[rank.div_ceil(100)]);
        (below * 100 + (above - below) * (rank % 100) as i64, 400)
    };
    match (rule.correlation_type, &rule.condition) {
        (CorrelationType::EventCount, _) => (inside.len() as i64, 1),
        (CorrelationType::ValueCount, _) => {
            (inside.iter().map(|hit| &hit.value).collect::<BTreeSet<_>>().len() as i64, 1)
        }
        (CorrelationType::ValueSum, _) => (quarters().iter().sum(), 4),
        (CorrelationType::ValueAvg, _) => (quarters().iter().sum(), 4 * inside.len() as i64),
        (CorrelationType::ValueMedian, _) => percentile(50),
        (CorrelationType::ValuePercentile, CorrelationCondition::Threshold { percentile: Some(percent), .. }) => {
            percentile(*percent as usize)
        }
        (CorrelationType::Temporal, _) => {
            (inside.iter().map(|hit| hit.position).collect::<BTreeSet<_>>().len() as i64, 1)
        }
        (CorrelationType::TemporalOrdered, _) => {
            let times =
                |position: usize| inside.iter().filter(move |hit| hit.position == position).map(|hit| hit.event.time());
            // The earliest end of a chain up to each rule, from every possible beginning: any chain will do.
            let chain = (0..rule.rules.len()).try_fold(None, |before, position| {
                times(position).filter(|time| before.is_none_or(|before| *time >= before)).min().map(Some)
            });
            (if chain.is_some() { rule.rules.len() as i64 } else { 0 }, 1)
        }
        (CorrelationType::ValuePercentile, _) => panic!("not generated"),
    }
}
