//! When a window is satisfied: thresholds on an exact quantity, or an expression of the rules that occurred.

use rsigma_parser::{ConditionExpr, ConditionOperator};

/// Numbers of events are held in billionths.
pub const BILLION: i128 = 1_000_000_000;
/// Larger numbers are held here, so that a sum of all hits of a group fits.
const LARGEST: f64 = 1e18;

/// A number in whole billionths: sums of them are exact and the same in every order.
///
/// Whole numbers below 2^53 and decimals of nine digits come through unchanged. `None` for what is no finite number.
pub fn billionths(number: f64) -> Option<i128> {
    let number = number.is_finite().then(|| number.clamp(-LARGEST, LARGEST))?;
    let fraction = (number.fract() * BILLION as f64).round();
    Some(number.trunc() as i128 * BILLION + fraction as i128)
}

/// What a window comes to, as the fraction `units / per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// The numerator.
    pub units: i128,
    /// The denominator, above zero.
    pub per: i128,
}

impl Quantity {
    /// A count.
    pub fn count(count: usize) -> Quantity {
        Quantity { units: count as i128, per: 1 }
    }

    /// For people; conditions are checked on the fraction.
    pub fn value(self) -> f64 {
        self.units as f64 / self.per as f64
    }
}

/// When a window is satisfied.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Every comparison of the quantity holds.
    Thresholds(Vec<(ConditionOperator, i64)>),
    /// The expression is true of the rules that occurred in the window.
    Expression(Expression),
}

/// A boolean expression of the rules of a temporal correlation, by their positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// Every part.
    All(Vec<Expression>),
    /// At least one part.
    Any(Vec<Expression>),
    /// Not the part.
    Not(Box<Expression>),
    /// The rule at this position occurred.
    Rule(u8),
}

impl Condition {
    /// Whether the quantity satisfies it; an expression looks at `occurred` instead.
    pub fn holds(&self, quantity: Quantity, occurred: &dyn Fn(u8) -> bool) -> bool {
        match self {
            Condition::Thresholds(all) => all.iter().all(|(operator, bound)| compare(quantity, *operator, *bound)),
            Condition::Expression(expression) => expression.is_true(occurred),
        }
    }

    /// Whether a window that is satisfied stays so as its quantity grows and more rules occur in it.
    pub fn only_grows(&self) -> bool {
        match self {
            Condition::Thresholds(all) => {
                all.iter().all(|(operator, _)| matches!(operator, ConditionOperator::Gt | ConditionOperator::Gte))
            }
            Condition::Expression(expression) => expression.only_grows(),
        }
    }

    /// The first bound that is named; none for expressions.
    pub fn first(&self) -> Option<i64> {
        let Condition::Thresholds(all) = self else { return None };
        all.first().map(|(_, bound)| *bound)
    }

    /// The quantity at which a growing condition is first met: the threshold of the day, for ratios. Counts are whole.
    pub fn least(&self, is_whole: bool) -> Option<i64> {
        let Condition::Thresholds(all) = self else { return None };
        let least = |(operator, bound): &(ConditionOperator, i64)| match operator {
            ConditionOperator::Gte => Some(*bound),
            ConditionOperator::Gt => Some(bound.saturating_add(i64::from(is_whole))),
            _ => None,
        };
        all.iter().map(least).collect::<Option<Vec<i64>>>()?.into_iter().max()
    }
}

/// Exact for every threshold: both sides fit, since `per` is at most the number of hits times a billion.
fn compare(quantity: Quantity, operator: ConditionOperator, bound: i64) -> bool {
    let ordering = quantity.units.cmp(&(i128::from(bound) * quantity.per));
    match operator {
        ConditionOperator::Lt => ordering.is_lt(),
        ConditionOperator::Lte => ordering.is_le(),
        ConditionOperator::Gt => ordering.is_gt(),
        ConditionOperator::Gte => ordering.is_ge(),
        ConditionOperator::Eq => ordering.is_eq(),
        ConditionOperator::Neq => ordering.is_ne(),
    }
}

impl Expression {
    /// Reads an expression; `position` finds a rule by its reference. The error names what cannot be read.
    pub fn read(expression: &ConditionExpr, position: &dyn Fn(&str) -> Option<u8>) -> Result<Expression, String> {
        let all = |parts: &[ConditionExpr]| {
            let parts = parts.iter().map(|part| Expression::read(part, position));
            parts.collect::<Result<Vec<Expression>, String>>()
        };
        match expression {
            ConditionExpr::And(parts) => Ok(Expression::All(all(parts)?)),
            ConditionExpr::Or(parts) => Ok(Expression::Any(all(parts)?)),
            ConditionExpr::Not(part) => Ok(Expression::Not(Box::new(Expression::read(part, position)?))),
            ConditionExpr::Identifier(name) => position(name)
                .map(Expression::Rule)
                .ok_or_else(|| format!("{name}: not among the rules of the correlation")),
            ConditionExpr::Selector { .. } => Err(format!("`{expression}`: name the rules, with and, or and not")),
        }
    }

    fn is_true(&self, occurred: &dyn Fn(u8) -> bool) -> bool {
        match self {
            Expression::All(parts) => parts.iter().all(|part| part.is_true(occurred)),
            Expression::Any(parts) => parts.iter().any(|part| part.is_true(occurred)),
            Expression::Not(part) => !part.is_true(occurred),
            Expression::Rule(position) => occurred(*position),
        }
    }

    fn only_grows(&self) -> bool {
        match self {
            Expression::All(parts) | Expression::Any(parts) => parts.iter().all(Expression::only_grows),
            Expression::Not(_) => false,
            Expression::Rule(_) => true,
        }
    }
}
