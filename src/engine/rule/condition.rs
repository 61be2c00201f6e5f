//! The condition of a rule, compiled: what Sigma means is rsigma's, how it is asked of a row is ours.
//!
//! `rsigma_eval` parses modifiers and makes matchers; here its tree is taken over with fields that are found once instead of by name
//! for each event, values that are lent instead of gathered, and words that are compared without a copy. What this file cannot take
//! over (blocks over the members of a list) is left to rsigma's own walk. The whole of it is tested against that walk.

use rsigma_eval::compiler::{CompiledDetection, CompiledDetectionItem, CompiledRule};
use rsigma_eval::matcher::CompiledMatcher;
use rsigma_eval::{EventValue, evaluate_rule};
use rsigma_parser::{ConditionExpr, Quantifier};

use super::fields::Field;
use super::row::{Row, joined};
use crate::event::{Activity, Kind};

/// Whether a row meets what a rule describes.
#[derive(Debug, Clone)]
pub struct Condition {
    node: Node,
    /// Only events of this kind.
    kind: Option<Kind>,
    activities: u32,
}

/// What a condition is made of.
#[derive(Debug, Clone)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    AtLeast(u64, Vec<Node>),
    Not(Box<Node>),
    Test(Box<Test>),
    /// A text anywhere in what was recorded.
    Anywhere(Box<CompiledMatcher>),
    /// Left to rsigma.
    Whole(Box<CompiledRule>),
}

/// One field against its values.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub field: Field,
    pub exists: Option<bool>,
    pub matcher: CompiledMatcher,
    /// It holds for a list where it holds for one of its values.
    pub each: bool,
    /// The matcher is nothing but these words, in small ASCII letters and without regard to case.
    pub words: Vec<String>,
}

/// Every activity.
const ANY_ACTIVITY: u32 = u32::MAX;

impl Condition {
    /// Takes over a compiled rule. Every field in it is known by now.
    pub fn new(rule: &CompiledRule, kind: Option<Kind>) -> Condition {
        let conditions =
            rule.conditions.iter().map(|condition| expression(condition, &|name| detection(rule, name), rule));
        let node = conditions.collect::<Option<Vec<Node>>>().map(Node::Any);
        let node = cheapest_first(node.unwrap_or_else(|| Node::Whole(Box::new(rule.clone()))));
        let activities = activities(&node);
        Condition { node, kind, activities }
    }

    /// The same, where another condition is met as well.
    pub fn and(self, other: Option<Condition>) -> Condition {
        let Some(other) = other else { return self };
        let node = cheapest_first(Node::All(vec![other.node, self.node]));
        let activities = activities(&node);
        Condition { node, kind: self.kind.or(other.kind), activities }
    }

    /// Whether the row meets it.
    pub fn holds(&self, row: &Row<'_>) -> bool {
        self.kind.is_none_or(|kind| row.event.kind() == kind) && holds(&self.node, row)
    }

    /// What it is made of.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Only events of this kind meet it.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Columns of the rosters that it names, those included with which others are compared.
    pub fn columns(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.fields(&mut |name| found.extend(Field::find(name).as_ref().and_then(column)));
        found
    }

    /// Whether an event with this activity may meet it: may say true too often, never too seldom.
    pub fn may_hold(&self, activity: Activity) -> bool {
        self.activities & bit(activity) != 0
    }
}

fn detection(rule: &CompiledRule, name: &str) -> Option<Node> {
    // A condition that names what is not there was refused at loading.
    rule.detections.get(name).map_or(Some(Node::Any(Vec::new())), tree)
}

fn expression(condition: &ConditionExpr, named: &dyn Fn(&str) -> Option<Node>, rule: &CompiledRule) -> Option<Node> {
    let several =
        |parts: &[ConditionExpr]| parts.iter().map(|part| expression(part, named, rule)).collect::<Option<_>>();
    Some(match condition {
        ConditionExpr::And(parts) => Node::All(several(parts)?),
        ConditionExpr::Or(parts) => Node::Any(several(parts)?),
        ConditionExpr::Not(part) => Node::Not(Box::new(expression(part, named, rule)?)),
        ConditionExpr::Identifier(name) => named(name)?,
        ConditionExpr::Selector { quantifier, pattern } => {
            let mut names: Vec<&String> =
                rule.detections.keys().filter(|name| pattern.matches_detection_name(name)).collect();
            names.sort_unstable();
            let nodes = names.into_iter().map(|name| named(name)).collect::<Option<Vec<Node>>>()?;
            match quantifier {
                Quantifier::Any => Node::Any(nodes),
                Quantifier::All => Node::All(nodes),
                Quantifier::Count(count) => Node::AtLeast(*count, nodes),
            }
        }
    })
}

/// A detection as nodes; `None` where it has to be left to rsigma.
fn tree(detection: &CompiledDetection) -> Option<Node> {
    let several = |parts: &[CompiledDetection]| parts.iter().map(tree).collect::<Option<Vec<Node>>>();
    Some(match detection {
        CompiledDetection::AllOf(items) => Node::All(items.iter().map(item).collect::<Option<_>>()?),
        CompiledDetection::AnyOf(parts) => Node::Any(several(parts)?),
        CompiledDetection::And(parts) => Node::All(several(parts)?),
        CompiledDetection::Keywords(matcher) => Node::Anywhere(Box::new(matcher.clone())),
        CompiledDetection::ArrayMatch { .. } | CompiledDetection::Conditional { .. } => return None,
    })
}

fn item(item: &CompiledDetectionItem) -> Option<Node> {
    let Some(name) = &item.field else {
        // Without a field, `exists` asks for something anywhere: nobody means that, and rsigma knows.
        return item.exists.is_none().then(|| Node::Anywhere(Box::new(item.matcher.clone())));
    };
    let field = Field::find(name)?;
    let matcher = item.matcher.clone();
    let words = words(&matcher).unwrap_or_default();
    Some(Node::Test(Box::new(Test { field, exists: item.exists, each: for_each(&matcher), words, matcher })))
}

/// The same, with what is asked quickly before what takes long: a single word before a search in a text.
fn cheapest_first(node: Node) -> Node {
    let sorted = |parts: Vec<Node>| {
        let mut parts: Vec<Node> = parts.into_iter().map(cheapest_first).collect();
        parts.sort_by_key(cost);
        parts
    };
    match node {
        Node::All(parts) => Node::All(sorted(parts)),
        Node::Any(parts) => Node::Any(sorted(parts)),
        Node::AtLeast(count, parts) => Node::AtLeast(count, sorted(parts)),
        Node::Not(part) => Node::Not(Box::new(cheapest_first(*part))),
        other => other,
    }
}

/// How long it takes to ask, in no unit.
fn cost(node: &Node) -> usize {
    match node {
        Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => parts.iter().map(cost).sum(),
        Node::Not(part) => cost(part),
        Node::Test(test) if test.exists.is_some() => 1,
        Node::Test(test) => match &test.matcher {
            CompiledMatcher::BoolEq(_) | CompiledMatcher::Null => 1,
            CompiledMatcher::NumericEq(_)
            | CompiledMatcher::NumericGt(_)
            | CompiledMatcher::NumericGte(_)
            | CompiledMatcher::NumericLt(_)
            | CompiledMatcher::NumericLte(_) => 2,
            _ if !test.words.is_empty() => 2 + test.words.len() / 4,
            _ => 20,
        },
        Node::Anywhere(_) => 200,
        Node::Whole(_) => 400,
    }
}

/// The words that a matcher is made of, where it is made of nothing else.
fn words(matcher: &CompiledMatcher) -> Option<Vec<String>> {
    match matcher {
        CompiledMatcher::Exact { value, case_insensitive: true } => value.is_ascii().then(|| vec![value.clone()]),
        CompiledMatcher::AnyOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, mode: rsigma_eval::matcher::GroupMode::Any } => {
            let parts: Option<Vec<Vec<String>>> = parts.iter().map(words).collect();
            parts.map(|parts| parts.concat())
        }
        _ => None,
    }
}

/// Whether a matcher holds for a list exactly where it holds for one of its values.
fn for_each(matcher: &CompiledMatcher) -> bool {
    match matcher {
        CompiledMatcher::AnyOf(parts) => parts.iter().all(for_each),
        CompiledMatcher::AllOf(_)
        | CompiledMatcher::Not(_)
        | CompiledMatcher::FieldRef { .. }
        | CompiledMatcher::Exists(_) => false,
        _ => true,
    }
}

fn holds(node: &Node, row: &Row<'_>) -> bool {
    match node {
        Node::All(parts) => parts.iter().all(|part| holds(part, row)),
        Node::Any(parts) => parts.iter().any(|part| holds(part, row)),
        Node::AtLeast(count, parts) => parts.iter().filter(|part| holds(part, row)).count() as u64 >= *count,
        Node::Not(part) => !holds(part, row),
        Node::Test(test) => test.holds(row),
        Node::Anywhere(matcher) => matcher.matches_keyword(row),
        Node::Whole(rule) => evaluate_rule(rule, row).is_some(),
    }
}

impl Test {
    fn holds(&self, row: &Row<'_>) -> bool {
        if let Some(expected) = self.exists {
            return self.field.see(row, &mut |_| true) == expected;
        }
        let is_null = || matches!(self.matcher, CompiledMatcher::Null);
        if self.each {
            let mut absent = true;
            let found = self.field.see(row, &mut |value| {
                absent = false;
                self.takes(&value, row)
            });
            return found || (absent && is_null());
        }
        joined(row.values(&self.field)).map_or_else(is_null, |value| self.matcher.matches(&value, row))
    }

    fn takes(&self, value: &EventValue<'_>, row: &Row<'_>) -> bool {
        match value {
            EventValue::Str(text) if !self.words.is_empty() && text.is_ascii() => {
                self.words.iter().any(|word| word.eq_ignore_ascii_case(text))
            }
            _ => self.matcher.matches(value, row),
        }
    }
}

/// The name of a field that is a column of the rosters.
pub fn column(field: &Field) -> Option<String> {
    if let Field::Column(name) = field { Some(name.clone()) } else { None }
}

fn bit(activity: Activity) -> u32 {
    1 << activity as u32
}

/// The activities with which a node may hold.
fn activities(node: &Node) -> u32 {
    match node {
        Node::All(parts) => parts.iter().map(activities).fold(ANY_ACTIVITY, |all, part| all & part),
        Node::Any(parts) => parts.iter().map(activities).fold(0, |all, part| all | part),
        Node::AtLeast(0, _) => ANY_ACTIVITY,
        Node::AtLeast(_, parts) => parts.iter().map(activities).fold(0, |all, part| all | part),
        Node::Test(test) if test.field.name() == "activity" && !test.words.is_empty() => {
            let named = |activity: &&Activity| test.words.iter().any(|word| word == activity.as_str());
            Activity::ALL.iter().filter(named).fold(0, |all, activity| all | bit(*activity))
        }
        _ => ANY_ACTIVITY,
    }
}
