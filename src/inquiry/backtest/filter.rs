//! What a rule needs of a row, as an expression that the scan of the history understands.

use arrow::datatypes::DataType;
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::{Expr, cast, col, lit};
use datafusion::prelude::{in_list, not};

use crate::engine::rule::narrow::{Compare, Narrow};
use crate::event::Time;
use crate::inquiry::blind::instant;

/// Events from `from` on and before `until` that may match.
pub fn filter(narrow: &Narrow, from: Option<Time>, until: Option<Time>) -> Expr {
    let ends = [
        from.map(|from| col("time").gt_eq(lit(instant(from)))),
        until.map(|until| col("time").lt(lit(instant(until)))),
    ];
    ends.into_iter().flatten().chain(expression(narrow)).reduce(Expr::and).unwrap_or(lit(true))
}

/// `None` where every row passes.
fn expression(narrow: &Narrow) -> Option<Expr> {
    Some(match narrow {
        Narrow::Anything => return None,
        Narrow::All(parts) => return parts.iter().filter_map(expression).reduce(Expr::and),
        Narrow::Any(parts) => {
            let parts: Option<Vec<Expr>> = parts.iter().map(expression).collect();
            parts?.into_iter().reduce(Expr::or).unwrap_or(lit(false))
        }
        Narrow::Words { column, words, closed } => {
            let column = if *closed { col(column) } else { lower(col(column)) };
            in_list(column, words.iter().map(|word| lit(word.as_str())).collect(), false)
        }
        Narrow::Is(column, true) => col(column),
        Narrow::Is(column, false) => not(col(column)),
        Narrow::Number(column, compare, value) => {
            let (column, value) = (cast(col(column), DataType::Float64), lit(*value));
            match compare {
                Compare::Equal => column.eq(value),
                Compare::Above => column.gt(value),
                Compare::AtLeast => column.gt_eq(value),
                Compare::Below => column.lt(value),
                Compare::AtMost => column.lt_eq(value),
            }
        }
        Narrow::Present(column) => col(column).is_not_null(),
        Narrow::Absent(column) => col(column).is_null(),
    })
}
