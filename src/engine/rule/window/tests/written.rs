//! Correlations as they may be written, for properties: every type, operator, shape of group and kind of window.

use proptest::collection::vec;
use proptest::prelude::*;

use super::hospital::Opened;
use crate::event::time::{DAY, HOUR, MINUTE, SECOND};

/// A correlation to be written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Number of its type.
    pub kind: usize,
    /// Number of the shape of its group.
    pub group: usize,
    /// The timespan.
    pub span: &'static str,
    /// Windows at whole multiples.
    pub is_tumbling: bool,
    /// Operators by number, with their bounds.
    pub bounds: Vec<(usize, i64)>,
    /// For percentiles.
    pub percentile: u8,
    /// Number of an expression instead of bounds, for temporal types.
    pub expression: Option<usize>,
    /// How many of the rules `a`, `b`, `c` it names.
    pub rules: usize,
    /// Number of the field that is counted.
    pub field: usize,
}

/// Types of correlations.
pub const KINDS: [&str; 8] = [
    "event_count",
    "value_count",
    "value_sum",
    "value_avg",
    "value_percentile",
    "value_median",
    "temporal",
    "temporal_ordered",
];
/// Operators.
pub const OPERATORS: [&str; 6] = ["gt", "gte", "lt", "lte", "eq", "neq"];
/// Shapes of groups.
pub const GROUPS: [&str; 5] = ["[user]", "[user, host]", "[]", "[who]", "[patients]"];
/// Expressions of the rules.
pub const EXPRESSIONS: [&str; 4] = ["a and b", "a or b", "a and not b", "(a or b) and b"];

impl Written {
    /// The correlation as text, under an id.
    pub fn text(&self, id: &str) -> String {
        let rules = ["a", "b", "c"][..self.rules].join(", ");
        let kind = KINDS[self.kind];
        let field = match kind {
            "value_count" => [", field: patients", ", field: [patients, host]", ", field: host"][self.field],
            "value_sum" | "value_avg" | "value_median" => ", field: v",
            "value_percentile" => &format!(", field: v, percentile: {}", self.percentile),
            _ => "",
        };
        let bounds: Vec<String> =
            self.bounds.iter().map(|(operator, bound)| format!("{}: {bound}", OPERATORS[*operator])).collect();
        let condition = match self.expression.filter(|_| self.is_temporal()) {
            Some(expression) => EXPRESSIONS[expression].to_owned(),
            None => format!("{{{}{field}}}", bounds.join(", ")),
        };
        let window = if self.is_tumbling { "\n  window: tumbling" } else { "" };
        format!(
            "title: {id}\nid: {id}\nname: {id}\ncorrelation:\n  type: {kind}\n  rules: [{rules}]\n  group-by: {}\n  \
             aliases: {{who: {{a: user, b: account, c: user}}}}\n  timespan: {}{window}\n  condition: {condition}\n",
            GROUPS[self.group], self.span
        )
    }

    /// Whether it looks at which rules occurred.
    pub fn is_temporal(&self) -> bool {
        self.kind >= 6
    }
}

/// Any correlation whose timespan is among these.
pub fn written(spans: &'static [&'static str]) -> impl Strategy<Value = Written> {
    // Bounds near the quantities that small samples have; the operators of a range differ, as the keys of a map do.
    let bounds = prop_oneof![
        3 => (0..6_usize, 0..6_i64).prop_map(|one| vec![one]),
        1 => (0..2_usize, 0..4_i64, 2..4_usize, 2..9_i64).prop_map(|(low, from, high, to)| vec![(low, from), (high, to)]),
    ];
    let words = (proptest::option::of(0..EXPRESSIONS.len()), 2..=3_usize, 0..3_usize);
    let shape = (0..KINDS.len(), 0..GROUPS.len(), prop::sample::select(spans), prop::bool::weighted(0.2));
    (shape, bounds, 0..=100_u8, words).prop_map(|((kind, group, span, is_tumbling), bounds, percentile, words)| {
        let (expression, rules, field) = words;
        Written { kind, group, span, is_tumbling, bounds, percentile, expression, rules, field }
    })
}

/// Events of three days, close enough to meet, many at the same time; numbers may be negative, and grades below `grades`.
pub fn events(least: i64, grades: u32) -> impl Strategy<Value = Vec<Opened>> {
    // Around the ends of days in both zones, and anywhere.
    let near = prop::sample::select(vec![0, 9 * HOUR, 15 * HOUR, DAY, DAY + 15 * HOUR, 2 * DAY]);
    let at = prop_oneof![
        (near, -20..20_i64, prop::sample::select(vec![SECOND, MINUTE, 7 * MINUTE]))
            .prop_map(|(near, n, step)| near + n * step),
        (0..3 * DAY / MINUTE).prop_map(|minute| minute * MINUTE),
    ];
    let matches = prop::sample::select(vec![vec!["a"], vec!["a"], vec!["b"], vec!["c"], vec!["a", "b"], vec![]]);
    let who = (proptest::option::weighted(0.9, 0..3_u8), 0..2_u8, vec(0..4_u8, 0..3));
    let one = (at, matches, who, (proptest::option::weighted(0.9, least..12), 0..grades));
    vec(one, 0..40).prop_map(|all| {
        let opened = |(id, (at, matches, who, (quarters, grade))): (usize, (i64, Vec<&'static str>, _, _))| {
            let (user, host, mut patients): (Option<u8>, u8, Vec<u8>) = who;
            patients.sort_unstable();
            patients.dedup();
            Opened { at: at.max(0), matches, user, host, patients, quarters, id: 1_000 * grade + id as u32 }
        };
        all.into_iter().enumerate().map(opened).collect()
    })
}
