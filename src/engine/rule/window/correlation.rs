//! A correlation as it is written, checked and made ready to count: its kind, its rules by position, its fields, its condition.

use std::collections::BTreeSet;

use rsigma_parser::{ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, WindowMode};

use super::condition::{Condition, Expression};
use super::limits::Limits;
use crate::event::time::SECOND;

/// A correlation names at most this many rules.
const RULES_MAX: usize = 64;

/// The field that names the patients of an event.
const PATIENTS: &str = "patients";

/// What a correlation counts in its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Events.
    EventCount,
    /// Distinct values of a field, or tuples of several fields.
    ValueCount,
    /// The sum of a field.
    ValueSum,
    /// The mean of a field.
    ValueAvg,
    /// A percentile of a field, interpolated linearly between the two nearest ranks; the median is the 50th.
    ValuePercentile(u8),
    /// Distinct rules that occurred.
    Temporal,
    /// All rules, if they occurred in the order in which they are listed; else 0. Equal times are in order.
    TemporalOrdered,
}

impl Kind {
    /// Whether it is asked which of the rules occurred.
    pub fn asks_which(self) -> bool {
        matches!(self, Kind::Temporal | Kind::TemporalOrdered)
    }

    /// Whether it looks at a field of the event besides its group.
    pub fn takes_values(self) -> bool {
        !matches!(self, Kind::EventCount) && !self.asks_which()
    }
}

/// What is wrong with a correlation, and under which of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
}

/// A correlation that is ready to count.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// Its id, else its name, else its title.
    pub id: String,
    /// Id and name: what another correlation may call it by.
    pub names: Vec<String>,
    /// What it counts.
    pub kind: Kind,
    /// Length of the window in microseconds.
    pub span: i64,
    /// Windows begin at whole multiples of their length instead of ending in any hit.
    pub is_tumbling: bool,
    /// The references of its rules, by position.
    pub rules: Vec<String>,
    /// Names of the group's fields, as answers show them.
    pub group_by: Vec<String>,
    /// For each position the fields of an event that make up the group: aliases are resolved.
    pub group_fields: Vec<Vec<String>>,
    /// The field that is counted or summed, or the fields of a tuple.
    pub value_fields: Vec<String>,
    /// When a window is satisfied.
    pub condition: Condition,
    /// Hash of what it is made of; state is taken over only under the same hash.
    pub content: u64,
}

impl Correlation {
    /// Makes a parsed correlation ready, or says everything that is wrong with it.
    ///
    /// `names_of` gives every name (id and name) of the rule or correlation that a reference means, nothing where there is none.
    /// `content` is a hash of what decides which events its windows hold.
    pub fn compile(
        rule: &CorrelationRule,
        names_of: &dyn Fn(&str) -> Vec<String>,
        limits: &Limits,
        content: u64,
    ) -> Result<Correlation, Vec<Refused>> {
        let mut problems = Vec::new();
        let mut say =
            |key, problem: Result<(), String>| problems.extend(problem.err().map(|what| Refused { key, what }));
        say("rules", check_rules(rule, names_of));
        say("window", check_window(rule));
        say("timespan", check_span(rule));
        say("condition", check_fields(rule));
        let (kind, condition) = (kind(rule), condition(rule, names_of));
        say("condition", kind.clone().map(|_| ()));
        say("condition", condition.clone().map(|_| ()));
        let (Ok(kind), Ok(condition), true) = (kind, condition, problems.is_empty()) else { return Err(problems) };
        let names: Vec<String> = rule.id.iter().chain(&rule.name).cloned().collect();
        let correlation = Correlation {
            id: names.first().unwrap_or(&rule.title).clone(),
            names,
            kind,
            span: span(rule).unwrap_or(SECOND),
            is_tumbling: rule.window == WindowMode::Tumbling,
            rules: rule.rules.clone(),
            group_by: rule.group_by.clone(),
            group_fields: rule.rules.iter().map(|reference| group_fields(rule, &names_of(reference))).collect(),
            value_fields: value_fields(rule),
            condition,
            content,
        };
        correlation.check_limits(limits)?;
        Ok(correlation)
    }

    /// Whether it tells patients apart by the events of the rule at this position.
    pub fn parts_patients(&self, position: u8) -> bool {
        self.group_fields[usize::from(position)].iter().any(|field| field == PATIENTS)
    }

    /// Which of the group's fields is the patient, where one is.
    pub fn patient_field(&self) -> Option<usize> {
        let is_patient = |at: &usize| self.group_fields.iter().any(|fields| fields[*at] == PATIENTS);
        (0..self.group_by.len()).find(is_patient)
    }

    /// The earliest time that the window which ends at `end` holds.
    pub fn from(&self, end: i64) -> i64 {
        if self.is_tumbling { end - end.rem_euclid(self.span) } else { end.saturating_sub(self.span) }
    }

    /// Whether its quantity never falls as more hits come, and a satisfied window stays so. A sum: as long as no value is negative.
    pub fn only_grows(&self) -> bool {
        !matches!(self.kind, Kind::ValueAvg | Kind::ValuePercentile(_)) && self.condition.only_grows()
    }

    /// The quantity at which a condition that only grows is met; none for expressions, where there is nothing to be a multiple of.
    pub fn threshold(&self) -> Option<i64> {
        match self.kind {
            Kind::EventCount | Kind::ValueCount => self.condition.least(true),
            Kind::ValueSum => self.condition.least(false),
            _ => None,
        }
    }

    /// The number that an answer names beside its value: the threshold, else the first bound of the condition; 1 where rules have to occur.
    pub fn bound(&self) -> i64 {
        self.threshold().or_else(|| self.condition.first()).unwrap_or(1)
    }

    /// A count that the limits never let a window reach would be a rule that cannot fire.
    fn check_limits(&self, limits: &Limits) -> Result<(), Vec<Refused>> {
        let counts = matches!(self.kind, Kind::EventCount | Kind::ValueCount);
        let most = limits.hits_a_day as i64;
        match self.condition.least(true).filter(|least| counts && *least > most) {
            Some(least) => {
                let what = format!("a count of {least} is never reached: {most} hits of a group and day are kept");
                Err(vec![Refused { key: "condition", what }])
            }
            None => Ok(()),
        }
    }
}

fn check_rules(rule: &CorrelationRule, names_of: &dyn Fn(&str) -> Vec<String>) -> Result<(), String> {
    let distinct: BTreeSet<&String> = rule.rules.iter().collect();
    let unknown = rule.rules.iter().find(|reference| names_of(reference).is_empty());
    match unknown {
        _ if rule.rules.is_empty() => Err("names no rules".to_owned()),
        _ if rule.rules.len() > RULES_MAX => Err(format!("names more than {RULES_MAX} rules")),
        _ if distinct.len() < rule.rules.len() => Err("names a rule twice".to_owned()),
        Some(reference) => Err(format!("{reference}: there is no rule of this id or name")),
        None => Ok(()),
    }
}

/// The length of the window in microseconds, where it is one that can be used.
fn span(rule: &CorrelationRule) -> Option<i64> {
    let seconds = i64::try_from(rule.timespan.seconds).ok().filter(|seconds| *seconds > 0)?;
    seconds.checked_mul(SECOND)
}

fn check_window(rule: &CorrelationRule) -> Result<(), String> {
    match rule.window {
        // A session begins where a silence ended, maybe long before every day that is open: its answers would depend on what is kept.
        WindowMode::Session => Err("windows by session are not supported: use sliding or tumbling".to_owned()),
        WindowMode::Sliding | WindowMode::Tumbling => Ok(()),
    }
}

fn check_span(rule: &CorrelationRule) -> Result<(), String> {
    match span(rule) {
        None => Err(format!("timespan `{}`: at least a second", rule.timespan.original)),
        Some(_) => Ok(()),
    }
}

fn value_fields(rule: &CorrelationRule) -> Vec<String> {
    match &rule.condition {
        CorrelationCondition::Threshold { field: Some(fields), .. } => fields.clone(),
        _ => Vec::new(),
    }
}

fn check_fields(rule: &CorrelationRule) -> Result<(), String> {
    let (fields, name) = (value_fields(rule), rule.correlation_type.as_str());
    match rule.correlation_type {
        CorrelationType::EventCount | CorrelationType::Temporal | CorrelationType::TemporalOrdered => Ok(()),
        _ if fields.is_empty() => Err(format!("{name} needs a `field` in its condition")),
        CorrelationType::ValueCount => Ok(()),
        _ if fields.len() > 1 => Err(format!("{name} takes one field")),
        _ => Ok(()),
    }
}

fn kind(rule: &CorrelationRule) -> Result<Kind, String> {
    let percentile = match &rule.condition {
        CorrelationCondition::Threshold { percentile, .. } => *percentile,
        CorrelationCondition::Extended(_) => None,
    };
    Ok(match rule.correlation_type {
        CorrelationType::EventCount => Kind::EventCount,
        CorrelationType::ValueCount => Kind::ValueCount,
        CorrelationType::ValueSum => Kind::ValueSum,
        CorrelationType::ValueAvg => Kind::ValueAvg,
        CorrelationType::ValueMedian => Kind::ValuePercentile(50),
        CorrelationType::ValuePercentile => match percentile {
            // The specification does not say which percentile is meant; a guess would be an answer to another question.
            None => return Err("value_percentile needs `percentile` (0 to 100) in its condition".to_owned()),
            Some(above) if above > 100 => return Err(format!("percentile {above}: 0 to 100")),
            Some(percentile) => Kind::ValuePercentile(percentile as u8),
        },
        CorrelationType::Temporal => Kind::Temporal,
        CorrelationType::TemporalOrdered => Kind::TemporalOrdered,
    })
}

fn condition(rule: &CorrelationRule, names_of: &dyn Fn(&str) -> Vec<String>) -> Result<Condition, String> {
    let is_temporal = matches!(rule.correlation_type, CorrelationType::Temporal | CorrelationType::TemporalOrdered);
    match &rule.condition {
        CorrelationCondition::Extended(expression) if is_temporal => {
            let means =
                |reference: &String, name: &str| reference == name || names_of(reference).iter().any(|n| n == name);
            let position =
                |name: &str| rule.rules.iter().position(|reference| means(reference, name)).map(|at| at as u8);
            Expression::read(expression, &position).map(Condition::Expression)
        }
        CorrelationCondition::Extended(_) => Err(format!("{} takes thresholds only", rule.correlation_type.as_str())),
        // The parser writes this where a temporal correlation has no condition, which means that all its rules must occur.
        CorrelationCondition::Threshold { predicates, .. }
            if is_temporal && predicates[..] == [(ConditionOperator::Gte, 1)] =>
        {
            Ok(Condition::Thresholds(vec![(ConditionOperator::Gte, rule.rules.len() as i64)]))
        }
        // The parser hands negative thresholds on as their two's complement.
        CorrelationCondition::Threshold { predicates, .. } => {
            Ok(Condition::Thresholds(predicates.iter().map(|(operator, bound)| (*operator, *bound as i64)).collect()))
        }
    }
}

/// The fields of an event that make up the group, for a rule of these names.
fn group_fields(rule: &CorrelationRule, names: &[String]) -> Vec<String> {
    let resolve = |field: &String| {
        let alias = rule.aliases.iter().find(|alias| alias.alias == *field);
        let named = alias.and_then(|alias| names.iter().find_map(|name| alias.mapping.get(name)));
        named.unwrap_or(field).clone()
    };
    rule.group_by.iter().map(resolve).collect()
}
