//! What a rule needs of a row, as an expression that the scan of the history understands.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
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
        // The reader of Parquet evaluates expressions over lists only where it knows a part of them, as it knows this test for
        // what is absent: other columns are then read of those rows alone that pass.
        Narrow::Holds(column, words) => {
            let holds = HOLDS.call(vec![col(column), lit(words.join(BETWEEN))]);
            col(column).is_null().or(holds)
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

/// What stands between words that are handed over as one text.
const BETWEEN: &str = "\u{1f}";

/// Whether a list of texts holds one of some words.
static HOLDS: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let list =
        crate::event::schema::EVENTS.field_with_name("patients").expect("events have patients").data_type().clone();
    let types = vec![list, DataType::Utf8];
    create_udf("holds_word", types, DataType::Boolean, Volatility::Immutable, Arc::new(holds_word))
});

fn holds_word(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let words = match &arguments[1] {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(words))) => words.clone(),
        _ => String::new(),
    };
    let words: Vec<&str> = words.split(BETWEEN).collect();
    let lists: ArrayRef = arguments[0].to_array(1)?;
    let lists = lists.as_list::<i32>();
    let (values, offsets) = (lists.values().as_string::<i32>(), lists.value_offsets());
    let is_one = |text: &str| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    // Letters beyond ASCII have more than one way to be small: those are looked at in earnest.
    let may = |text: &str| is_one(text) || !text.is_ascii() || (text.contains(';') && text.split(';').any(is_one));
    let held = |row: usize| {
        let mut places = offsets[row] as usize..offsets[row + 1] as usize;
        lists.is_null(row) || places.any(|at| values.is_valid(at) && may(values.value(at)))
    };
    let held: BooleanArray = (0..lists.len()).map(|row| Some(held(row))).collect();
    Ok(ColumnarValue::Array(Arc::new(held)))
}
