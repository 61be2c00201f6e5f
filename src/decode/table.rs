//! Record batches with native column names (Parquet) as fields, row by row.
//!
//! Texts, numbers, booleans, timestamps, and lists of texts or texts joined with `;`. A timestamp without a zone is taken for UTC.
//! Whole numbers may come as floats, as some writers store columns with gaps. Columns that are not known go to `raw`.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

use super::csv::{Header, Target, cell_slot, is_object};
use super::fields::Fields;
use super::slots::{Column, Rest, RestValue, Slot};
use super::{Limits, Refusal};
use crate::event::Time;

/// A column in one of the types that slots are made of.
enum Cells {
    Texts(StringArray),
    Booleans(BooleanArray),
    Integers(Int64Array),
    Floats(Float64Array),
    /// Instants since 1970, and how many of their units are a microsecond.
    Times(Int64Array, i64),
    Lists(ListArray),
    /// A type that no field has; its texts go to `raw`.
    Other(ArrayRef),
}

/// A record batch whose columns are known.
pub struct Table {
    header: Header,
    names: Vec<String>,
    columns: Vec<Cells>,
    rows: usize,
}

impl Table {
    /// Prepares the columns of a batch.
    ///
    /// # Errors
    /// Where a column cannot be brought into one of the known types.
    pub fn new(batch: &RecordBatch, limits: &Limits) -> Result<Table, ArrowError> {
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let header = Header::new(names.iter().map(String::as_str), limits);
        let columns = batch.columns().iter().map(cells).collect::<Result<_, _>>()?;
        Ok(Table { header, names, columns, rows: batch.num_rows() })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One row as fields.
    ///
    /// # Errors
    /// The fault of the header.
    pub fn fields(&self, row: usize) -> Result<Fields<'_>, Refusal> {
        if let Some(fault) = &self.header.fault {
            return Err(fault.clone());
        }
        let mut fields = Fields::default();
        for (target, cells) in self.header.targets.iter().zip(&self.columns) {
            match target {
                Target::Field(column) => {
                    if let Some(slot) = slot(*column, cells, row) {
                        fields.fill(*column, slot);
                    }
                }
                Target::Raw => raw(cells, row, &mut fields),
                Target::Rest(name) => fields.rest.extend(rest(name, cells, row)),
            }
        }
        Ok(fields)
    }

    /// One row as a JSON object of texts, to be kept where it could not be used.
    pub fn text(&self, row: usize) -> String {
        let cells = self.names.iter().zip(&self.columns).filter_map(|(name, cells)| rest(name, cells, row));
        super::raw::render(None, &cells.collect::<Vec<_>>()).unwrap_or_else(|| "{}".into())
    }
}

fn cells(column: &ArrayRef) -> Result<Cells, ArrowError> {
    Ok(match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Cells::Texts(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
        }
        DataType::Dictionary(_, value) => cells(&cast(column, value)?)?,
        DataType::Boolean => Cells::Booleans(column.as_boolean().clone()),
        // Not all of these fit a signed number; as texts they are read like those of CSV.
        DataType::UInt64 => Cells::Texts(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
        kind if kind.is_integer() => {
            Cells::Integers(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        }
        kind if kind.is_floating() => {
            Cells::Floats(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        }
        // Coarser units go to microseconds: nanoseconds end in the year 2262.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let times = column.as_primitive::<TimestampNanosecondType>();
            Cells::Times(times.reinterpret_cast::<Int64Type>(), 1_000)
        }
        DataType::Timestamp(_, zone) => {
            let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            Cells::Times(times.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>(), 1)
        }
        DataType::List(of) | DataType::LargeList(of) | DataType::ListView(of) if is_text(of) => {
            let list = DataType::List(Field::new("item", DataType::Utf8, true).into());
            Cells::Lists(cast(column, &list)?.as_list::<i32>().clone())
        }
        _ => Cells::Other(column.clone()),
    })
}

fn is_text(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

impl Cells {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Cells::Texts(column) => column.is_null(row),
            Cells::Booleans(column) => column.is_null(row),
            Cells::Integers(column) | Cells::Times(column, _) => column.is_null(row),
            Cells::Floats(column) => column.is_null(row),
            Cells::Lists(column) => column.is_null(row),
            Cells::Other(column) => column.is_null(row),
        }
    }
}

/// A whole number that a float stands for.
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9.0e15).then_some(value as i64)
}

fn slot(column: Column, cells: &Cells, row: usize) -> Option<Slot<'_>> {
    if cells.is_null(row) {
        return (column == Column::ActorId).then_some(Slot::Null);
    }
    Some(match cells {
        Cells::Texts(texts) => return cell_slot(column, texts.value(row)),
        Cells::Booleans(values) => Slot::Bool(values.value(row)),
        Cells::Integers(values) => number(column, values.value(row)),
        Cells::Floats(values) => whole(values.value(row)).map_or(Slot::Wrong, |value| number(column, value)),
        Cells::Times(values, unit) => Slot::Text(Cow::Owned(time_text(values.value(row), *unit))),
        Cells::Lists(lists) => list(lists, row),
        Cells::Other(_) => Slot::Wrong,
    })
}

/// A number in a column of any type: identifiers that a writer stored as numbers are texts again.
fn number(column: Column, value: i64) -> Slot<'static> {
    match cell_slot(column, &value.to_string()) {
        Some(Slot::Text(text)) => Slot::Text(Cow::Owned(text.into_owned())),
        Some(Slot::List(list)) => Slot::List(list.into_iter().map(|text| Cow::Owned(text.into_owned())).collect()),
        Some(Slot::Integer(value)) => Slot::Integer(value),
        Some(Slot::Bool(value)) => Slot::Bool(value),
        _ => Slot::Wrong,
    }
}

fn list(lists: &ListArray, row: usize) -> Slot<'_> {
    let texts = lists.values().as_string::<i32>();
    let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
    if range.clone().any(|index| texts.is_null(index)) {
        return Slot::Wrong;
    }
    Slot::List(range.map(|index| Cow::Borrowed(texts.value(index))).collect())
}

/// RFC 3339 with the digits beyond the microsecond where there are any, so that they are kept like those of other formats.
fn time_text(value: i64, unit: i64) -> String {
    let text = Time(value.div_euclid(unit)).to_string();
    match value.rem_euclid(unit) {
        0 => text,
        beyond => {
            let bare = text.trim_end_matches('Z');
            let micros = if bare.contains('.') { "" } else { ".000000" };
            format!("{bare}{micros}{beyond:03}Z")
        }
    }
}

fn raw<'a>(cells: &'a Cells, row: usize, fields: &mut Fields<'a>) {
    match cells {
        _ if cells.is_null(row) => {}
        Cells::Texts(texts) if is_object(texts.value(row)) => fields.raw = Some(texts.value(row)),
        _ => fields.rest.extend(rest("raw", cells, row)),
    }
}

fn rest<'a>(name: &'a str, cells: &'a Cells, row: usize) -> Option<Rest<'a>> {
    if cells.is_null(row) {
        return None;
    }
    let json = |text: String| RestValue::Json(Cow::Owned(text));
    let value = match cells {
        Cells::Texts(texts) if texts.value(row).is_empty() => return None,
        Cells::Texts(texts) => RestValue::Text(Cow::Borrowed(texts.value(row))),
        Cells::Booleans(values) => json(values.value(row).to_string()),
        Cells::Integers(values) => json(values.value(row).to_string()),
        Cells::Floats(values) if values.value(row).is_finite() => json(values.value(row).to_string()),
        Cells::Floats(values) => RestValue::Text(Cow::Owned(values.value(row).to_string())),
        Cells::Times(values, unit) => RestValue::Text(Cow::Owned(time_text(values.value(row), *unit))),
        Cells::Lists(lists) => RestValue::Text(Cow::Owned(array_value_to_string(lists, row).ok()?)),
        Cells::Other(column) => RestValue::Text(Cow::Owned(array_value_to_string(column, row).ok()?)),
    };
    Some(Rest { group: "", key: Cow::Borrowed(name), value })
}
