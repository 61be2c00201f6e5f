//! What rules need of the record: which columns they read, and which rows cannot meet them.
//!
//! A [`Narrow`] follows from a rule and lets through every row that the rule may match, and others: a scan of the history is narrowed
//! by it, and the survivors are asked in earnest. Whatever it cannot say, a negation above all, is [`Narrow::Anything`].

use std::collections::BTreeSet;

use rsigma_eval::matcher::CompiledMatcher;

use super::condition::{Node, Test};
use super::fields::{self, Field, Shape};
use super::{Condition, Rule, RuleSet, meta::About};
use crate::event::schema::{EVENTS, RECORDED};
use crate::event::stored::NEEDED;

/// Which rows of the table of events may match.
#[derive(Debug, Clone, PartialEq)]
pub enum Narrow {
    /// Every row.
    Anything,
    /// Those that pass all of these.
    All(Vec<Narrow>),
    /// Those that pass one of these.
    Any(Vec<Narrow>),
    /// Those whose text in this column is one of these words, which are in small ASCII letters.
    Words {
        /// The column.
        column: String,
        /// The words.
        words: Vec<String>,
        /// The column holds small letters only, from a closed list.
        closed: bool,
    },
    /// Those whose list in this column holds one of these words, which are in small ASCII letters; several may stand in one text of
    /// the list, with `;` between.
    Holds(String, Vec<String>),
    /// Those with this truth value.
    Is(String, bool),
    /// Those whose number compares so.
    Number(String, Compare, f64),
    /// Those with a value.
    Present(String),
    /// Those without one.
    Absent(String),
}

/// How a number compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Above.
    Above,
    /// Equal or above.
    AtLeast,
    /// Below.
    Below,
    /// Equal or below.
    AtMost,
}

/// Facts that every event has: where their column is empty, as in rows that are older than it, they read as something all the same.
const ALWAYS: [&str; 7] = [
    "fact.account",
    "fact.hour",
    "fact.weekday",
    "fact.off_day",
    "fact.outside_dates",
    "fact.privilege",
    "fact.unexplained",
];
/// Fields whose words come from sources or sites as they write them.
const FREE: [&str; 1] = ["fact.employment"];

impl Narrow {
    fn all(parts: Vec<Narrow>) -> Narrow {
        let mut parts: Vec<Narrow> = parts.into_iter().filter(|part| *part != Narrow::Anything).collect();
        match parts.len() {
            0 => Narrow::Anything,
            1 => parts.remove(0),
            _ => Narrow::All(parts),
        }
    }

    fn any(mut parts: Vec<Narrow>) -> Narrow {
        if parts.contains(&Narrow::Anything) {
            return Narrow::Anything;
        }
        if parts.len() == 1 { parts.remove(0) } else { Narrow::Any(parts) }
    }

    /// What either lets through.
    pub fn or(self, other: Narrow) -> Narrow {
        Narrow::any(vec![self, other])
    }
}

impl Condition {
    /// Which rows may meet it.
    pub fn narrow(&self) -> Narrow {
        let kind = self.kind().map_or(Narrow::Anything, |kind| Narrow::Words {
            column: "kind".to_owned(),
            words: vec![kind.as_str().to_owned()],
            closed: true,
        });
        Narrow::all(vec![kind, narrow(self.node())])
    }

    /// Hands out every field that it reads; false where it may read any.
    pub(super) fn fields(&self, take: &mut dyn FnMut(&str)) -> bool {
        fields_of(self.node(), take)
    }
}

impl RuleSet {
    /// Which rows one of its rules may match.
    pub fn narrow(&self) -> Narrow {
        Narrow::any(self.plain.iter().map(|plain| plain.condition.narrow()).collect())
    }

    /// The columns of the table of events without which its rules would find or say something else.
    pub fn reads(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut take = |name: &str| _ = names.insert(name.to_owned());
        let mut all = true;
        for plain in &self.plain {
            all &= plain.condition.fields(&mut take);
        }
        for rule in &self.rules {
            rule.meta.sentence.fields().for_each(|field| take(field.name()));
            for (condition, _) in &rule.meta.severity {
                all &= condition.fields(&mut take);
            }
            if rule.meta.about == About::Host {
                take("client.host");
            }
        }
        // Both tell the reports of one request from requests of their own.
        if !self.correlations.is_empty() || self.rules.iter().any(|rule| rule.meta.suppress.is_some()) {
            ["correlation_id", "patients"].into_iter().for_each(&mut take);
        }
        for correlation in &self.correlations {
            correlation.group_fields.iter().flatten().chain(&correlation.value_fields).for_each(|name| take(name));
        }
        if !all {
            fields::ALL.iter().for_each(|field| take(field.name));
        }
        // An alert counts its patients, and says their numbers as they live on.
        let needed = NEEDED.iter().copied().chain(["fact_patients"]).map(str::to_owned);
        needed.chain(names.iter().flat_map(|name| columns_of(name))).collect()
    }

    /// Fields of facts and of the rosters that its rules name.
    pub fn facts(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut take = |name: &str| {
            if !RECORDED.fields().iter().any(|field| *field.name() == name.replace('.', "_")) {
                names.insert(name.to_owned());
            }
        };
        for plain in &self.plain {
            plain.condition.fields(&mut take);
        }
        for (condition, _) in self.rules.iter().flat_map(|rule| &rule.meta.severity) {
            condition.fields(&mut take);
        }
        names
    }

    /// The longest span of its windows, in microseconds.
    pub fn longest_window(&self) -> i64 {
        self.correlations.iter().map(|correlation| correlation.span).sum()
    }

    /// These rules alone, with whatever they lean on, which then does not speak.
    pub fn only(&self, keep: &dyn Fn(&Rule) -> bool) -> RuleSet {
        let kept = |rule: &Option<std::sync::Arc<Rule>>| rule.clone().filter(|rule| keep(rule));
        let mut wanted: BTreeSet<usize> =
            (0..self.correlations.len()).filter(|at| kept(&self.speaks[*at]).is_some()).collect();
        loop {
            let named = |name: &String| wanted.iter().any(|at| self.correlations[*at].rules.contains(name));
            let more: Vec<usize> = (0..self.correlations.len())
                .filter(|at| !wanted.contains(at) && self.correlations[*at].names.iter().any(named))
                .collect();
            if more.is_empty() {
                break;
            }
            wanted.extend(more);
        }
        let mut set = RuleSet {
            rules: self.rules.iter().filter(|rule| keep(rule)).cloned().collect(),
            plain: self.plain.clone(),
            correlations: wanted.iter().map(|at| self.correlations[*at].clone()).collect(),
            speaks: wanted.iter().map(|at| kept(&self.speaks[*at])).collect(),
            ..RuleSet::default()
        };
        for plain in &mut set.plain {
            plain.speaks = kept(&plain.speaks);
        }
        set.close();
        set
    }
}

/// The columns in which a field is stored, with those that its reading leans on.
pub fn columns_of(name: &str) -> Vec<String> {
    let columns: &[&str] = match name {
        "patients.count" => &["patients"],
        "fact.unexplained" => &["fact_explained_by", "fact_patients"],
        "fact.unexplained_marks" => &["fact_marks", "fact_explained_by", "fact_patients"],
        "fact.days_deceased" => &["fact_days_deceased", "fact_marks", "fact_patients"],
        "fact.hour" | "fact.weekday" => &["fact_hour", "fact_weekday"],
        _ => return vec![column_of(name)],
    };
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn column_of(name: &str) -> String {
    let column = name.replace('.', "_");
    if EVENTS.field_with_name(&column).is_ok() { column } else { "fact_extra".to_owned() }
}

fn narrow(node: &Node) -> Narrow {
    let several = |parts: &[Node]| parts.iter().map(narrow).collect::<Vec<_>>();
    match node {
        Node::All(parts) => Narrow::all(several(parts)),
        Node::Any(parts) => Narrow::any(several(parts)),
        Node::AtLeast(0, _) | Node::Not(_) | Node::Anywhere(_) | Node::Whole(_) => Narrow::Anything,
        Node::AtLeast(_, parts) => Narrow::any(several(parts)),
        Node::Test(test) => narrow_test(test),
    }
}

fn narrow_test(test: &Test) -> Narrow {
    let Field::Known(spec) = &test.field else {
        // Cells of the rosters stand in one column, whose words are not looked at.
        let has_words = test.exists.is_none() && test.each && !test.words.is_empty();
        return if has_words { Narrow::Present("fact_extra".to_owned()) } else { Narrow::Anything };
    };
    let column = column_of(spec.name);
    if spec.shape == Shape::List && test.exists.is_none() && test.each && !test.words.is_empty() {
        let column = if spec.name == "fact.unexplained_marks" { "fact_marks".to_owned() } else { column };
        return Narrow::Holds(column, test.words.clone());
    }
    if spec.shape == Shape::List || spec.shape == Shape::Instant || column == "fact_extra" {
        return Narrow::Anything;
    }
    let always = ALWAYS.contains(&spec.name);
    if let Some(expected) = test.exists {
        return match (always, expected) {
            (true, _) => Narrow::Anything,
            (false, true) => Narrow::Present(column),
            (false, false) => Narrow::Absent(column),
        };
    }
    if !test.each {
        return Narrow::Anything;
    }
    let closed = !(spec.words)().is_empty() && !FREE.contains(&spec.name);
    let found = if spec.shape == Shape::Text && !test.words.is_empty() {
        Narrow::Words { column: column.clone(), words: test.words.clone(), closed }
    } else {
        narrow_matcher(&test.matcher, &column, spec.shape)
    };
    if always && found != Narrow::Anything { found.or(Narrow::Absent(column)) } else { found }
}

fn narrow_matcher(matcher: &CompiledMatcher, column: &str, shape: Shape) -> Narrow {
    let number = |compare, value: &f64| Narrow::Number(column.to_owned(), compare, *value);
    match (matcher, shape) {
        (CompiledMatcher::AnyOf(parts), _) => {
            Narrow::any(parts.iter().map(|part| narrow_matcher(part, column, shape)).collect())
        }
        (CompiledMatcher::BoolEq(truth), Shape::Truth) => Narrow::Is(column.to_owned(), *truth),
        (CompiledMatcher::NumericEq(value), Shape::Number) => number(Compare::Equal, value),
        (CompiledMatcher::NumericGt(value), Shape::Number) => number(Compare::Above, value),
        (CompiledMatcher::NumericGte(value), Shape::Number) => number(Compare::AtLeast, value),
        (CompiledMatcher::NumericLt(value), Shape::Number) => number(Compare::Below, value),
        (CompiledMatcher::NumericLte(value), Shape::Number) => number(Compare::AtMost, value),
        (CompiledMatcher::Null, _) => Narrow::Absent(column.to_owned()),
        _ => Narrow::Anything,
    }
}

fn fields_of(node: &Node, take: &mut dyn FnMut(&str)) -> bool {
    match node {
        Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => {
            parts.iter().fold(true, |all, part| fields_of(part, take) & all)
        }
        Node::Not(part) => fields_of(part, take),
        Node::Test(test) => {
            take(test.field.name());
            fields_in(&test.matcher, take)
        }
        Node::Anywhere(_) | Node::Whole(_) => false,
    }
}

/// Other fields that a matcher compares with; false where it may read any.
fn fields_in(matcher: &CompiledMatcher, take: &mut dyn FnMut(&str)) -> bool {
    match matcher {
        CompiledMatcher::FieldRef { field, .. } => {
            take(field);
            true
        }
        CompiledMatcher::Expand { .. } => false,
        CompiledMatcher::Not(inner) => fields_in(inner, take),
        CompiledMatcher::TimestampPart { inner, .. } => fields_in(inner, take),
        CompiledMatcher::AnyOf(parts)
        | CompiledMatcher::AllOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, .. } => {
            parts.iter().fold(true, |all, part| fields_in(part, take) & all)
        }
        _ => true,
    }
}
