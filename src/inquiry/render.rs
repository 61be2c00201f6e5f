//! An answer as a table to read, as one JSON document, or as CSV for a spreadsheet.
//!
//! Values come from records that anyone may have written: control characters never reach a terminal, and no cell of a CSV file is
//! taken for a formula. People read times on the clock of their site and without the columns that are empty; programs get UTC and
//! every column.

use std::fmt::Write;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use crate::event::{Time, Zone};

/// Characters of a cell in a table for people.
const CELL: usize = 72;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One document with rows, completeness and gaps.
    Json,
    /// The rows alone; what has to be said with them is said aside.
    Csv,
}

impl Format {
    /// The format of that name.
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "table" => Some(Format::Table),
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// A written answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// For standard output; ends with a line end.
    pub text: String,
    /// For standard error: completeness, gaps and notes, where the format has no place for them.
    pub aside: Vec<String>,
}

/// Writes an answer.
pub fn render(answer: &Answer, format: Format) -> Rendered {
    match format {
        Format::Table => Rendered { text: table(answer), aside: Vec::new() },
        Format::Json => Rendered { text: document(answer), aside: Vec::new() },
        Format::Csv => Rendered { text: csv(answer), aside: said(answer) },
    }
}

/// What has to be said with the rows, one line each.
fn said(answer: &Answer) -> Vec<String> {
    let mut lines = vec![match answer.complete_to {
        Some(time) if answer.zone == Zone::utc() => format!("complete to {time}"),
        Some(time) => format!("complete to {time} ({})", answer.zone.clock(time)),
        None => "nothing is on record".into(),
    }];
    for behind in &answer.behind {
        lines.push(format!("behind: {} was read to {} only", shown(&behind.origin), behind.newest));
    }
    for gap in &answer.gaps {
        let end = |time: &Option<String>| time.clone().unwrap_or_else(|| "unknown".into());
        let (after, before) = (end(&gap.after), end(&gap.before));
        let origin = shown(&gap.origin);
        let records = gap.records.map_or("an unknown number of".to_owned(), |records| records.to_string());
        lines.push(format!("gap: {records} records of {origin} were lost between {after} and {before}"));
    }
    for unread in &answer.unread {
        let from = unread.from.as_deref().unwrap_or("its beginning");
        let until = unread.to.as_ref().map_or("until now".to_owned(), |to| format!("to {to}"));
        let what = match unread.stands {
            "stopped" => "is stopped: nothing of it was read",
            _ => "was left behind: time did not wait for it",
        };
        lines.push(format!("{}: {} {what} from {from} {until}", unread.stands, shown(&unread.origin)));
    }
    for stale in &answer.stale {
        let until = stale.to.as_ref().map_or("until now".to_owned(), |to| format!("to {to}"));
        let what = "whoever was new then is not known";
        lines.push(format!("old rosters: they were not renewed from {} {until}; {what}", stale.from));
    }
    for silence in &answer.silent {
        let (source, from, to) = (shown(&silence.source), &silence.from, &silence.to);
        let days = if from == to { format!("on {from}") } else { format!("from {from} to {to}") };
        lines.push(format!("silent: source {source} speaks daily and said nothing {days}"));
    }
    for one in &answer.learning {
        let some = if one.some > 0 { format!(" and not everybody on {}", one.some) } else { String::new() };
        let (detector, from, to) = (shown(&one.detector), &one.from, &one.to);
        let nobody = one.nobody;
        let why = if one.off { "switched off after a bug" } else { "still learning" };
        lines.push(format!(
            "{why}: {detector} judged nobody on {nobody} days{some} ({from} to {to}); no alert there means nothing"
        ));
    }
    lines.extend(answer.notes.iter().map(|note| format!("note: {}", shown(note))));
    lines
}

fn table(answer: &Answer) -> String {
    let cells = cells(answer, Some(&answer.zone));
    let (kept, empty) = columns_with_values(answer, &cells);
    let names: Vec<String> = answer.columns.fields().iter().map(|field| shown(field.name())).collect();
    let mut cut = false;
    let rows: Vec<Vec<String>> =
        cells.iter().map(|row| kept.iter().map(|c| fit(shown(&plain(&row[*c])), &mut cut)).collect()).collect();
    let numbers: Vec<bool> =
        kept.iter().map(|c| cells.iter().all(|row| row[*c].is_number() || row[*c].is_null())).collect();
    let header: Vec<String> = kept.iter().map(|c| names[*c].clone()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String]| {
        let cells = row.iter().zip(widths.iter().zip(&numbers)).map(|(cell, (width, number))| match number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = format!("{}\n{}\n", line(&header), line(&rule));
    for row in &rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    let _ = writeln!(text, "\n{} {}", rows.len(), if rows.len() == 1 { "row" } else { "rows" });
    for line in said(answer) {
        let _ = writeln!(text, "{line}");
    }
    if has_times(answer) {
        let _ = writeln!(text, "times in the table are on the clock of {}", answer.zone.name());
    }
    if !empty.is_empty() {
        let names: Vec<&str> = empty.iter().map(|c| names[*c].as_str()).collect();
        let _ = writeln!(text, "empty columns left out: {}", names.join(", "));
    }
    if cut {
        let _ = writeln!(text, "cells that end in … are longer; --format json shows them whole");
    }
    text
}

/// A cell no wider than [`CELL`] characters; notes in `cut` where something was left out.
fn fit(text: String, cut: &mut bool) -> String {
    match text.char_indices().nth(CELL) {
        Some(_) => {
            *cut = true;
            let mut short: String = text.chars().take(CELL - 1).collect();
            short.push('…');
            short
        }
        None => text,
    }
}

/// The columns that hold something, and those that hold nothing in any row. An answer without rows keeps its columns, and so does
/// what was asked for by name.
fn columns_with_values(answer: &Answer, cells: &[Vec<Value>]) -> (Vec<usize>, Vec<usize>) {
    let all = 0..answer.columns.fields().len();
    if cells.is_empty() || answer.question == "sql" {
        return (all.collect(), Vec::new());
    }
    // That nobody is named is worth a column.
    let told = |column: &usize| answer.columns.field(*column).name() == "actor_id";
    all.partition(|column| told(column) || cells.iter().any(|row| !plain(&row[*column]).is_empty()))
}

fn has_times(answer: &Answer) -> bool {
    !answer.is_empty() && answer.columns.fields().iter().any(|f| matches!(f.data_type(), DataType::Timestamp(_, _)))
}

fn document(answer: &Answer) -> String {
    format!("{:#}\n", whole(answer))
}

/// The answer as one value.
pub(super) fn whole(answer: &Answer) -> Value {
    let names: Vec<&str> = answer.columns.fields().iter().map(|field| field.name().as_str()).collect();
    let row = |row: Vec<Value>| names.iter().map(|n| (*n).to_string()).zip(row).collect::<Map<_, _>>();
    let rows: Vec<_> = cells(answer, None).into_iter().map(row).collect();
    let time = |time: Option<Time>| time.map(|time| time.to_string());
    json!({
        "question": answer.question,
        "since": time(answer.window.since),
        "until": time(answer.window.until),
        "complete_to": time(answer.complete_to),
        "behind": answer.behind,
        "gaps": answer.gaps,
        "unread": answer.unread,
        "stale": answer.stale,
        "silent": answer.silent,
        "learning": answer.learning,
        "notes": answer.notes,
        "columns": names,
        "rows": rows,
    })
}

fn csv(answer: &Answer) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = answer.columns.fields().iter().map(|field| harmless(field.name().clone()));
    let mut wrote = writer.write_record(header);
    for row in cells(answer, None) {
        let row = row.iter().map(|value| match value {
            Value::String(text) => harmless(text.clone()),
            other => plain(other),
        });
        wrote = wrote.and(writer.write_record(row));
    }
    wrote.expect("rows of one width are written in memory");
    let bytes = writer.into_inner().expect("memory takes everything");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text that a spreadsheet would run as a formula begins with an apostrophe instead.
fn harmless(text: String) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => format!("'{text}"),
        _ => text,
    }
}

/// Without control characters and those that turn the direction of writing.
pub(super) fn shown(text: &str) -> String {
    let bad = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

/// A value as it is read: nothing for what is absent.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(";"),
        other => other.to_string(),
    }
}

/// The values row by row; times on the clock of `zone`, else in UTC.
fn cells(answer: &Answer, zone: Option<&Zone>) -> Vec<Vec<Value>> {
    let mut rows = Vec::with_capacity(answer.len());
    for batch in &answer.rows {
        let columns: Vec<Vec<Value>> = batch.columns().iter().map(|column| values(column.as_ref(), zone)).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
    }
    rows
}

/// The values of a column: numbers and truth values as such, times as instants, lists as lists, everything else as text.
fn values(column: &dyn Array, zone: Option<&Zone>) -> Vec<Value> {
    let number = |kind: &DataType| cast(column, kind).ok();
    match column.data_type() {
        DataType::Null => vec![Value::Null; column.len()],
        DataType::Boolean => column.as_boolean().iter().map(Value::from).collect(),
        kind if kind.is_integer() && *kind != DataType::UInt64 => match number(&DataType::Int64) {
            Some(c) => c.as_primitive::<arrow::datatypes::Int64Type>().iter().map(Value::from).collect(),
            None => texts(column),
        },
        DataType::UInt64 => column.as_primitive::<arrow::datatypes::UInt64Type>().iter().map(Value::from).collect(),
        kind if kind.is_floating() => match number(&DataType::Float64) {
            Some(c) => c.as_primitive::<arrow::datatypes::Float64Type>().iter().map(Value::from).collect(),
            None => texts(column),
        },
        DataType::Timestamp(_, _) => {
            let micros = number(&crate::event::schema::timestamp());
            let text = |micros: i64| zone.map_or_else(|| Time(micros).to_string(), |zone| zone.clock(Time(micros)));
            let time = |micros: Option<i64>| micros.map_or(Value::Null, |micros| Value::String(text(micros)));
            micros.map_or_else(
                || texts(column),
                |c| c.as_primitive::<TimestampMicrosecondType>().iter().map(time).collect(),
            )
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            list.iter().map(|list| list.map_or(Value::Null, |list| Value::Array(values(list.as_ref(), zone)))).collect()
        }
        // A dictionary is a way to store, not a kind of value.
        DataType::Dictionary(_, kind) => {
            cast(column, kind).map_or_else(|_| texts(column), |c| values(c.as_ref(), zone))
        }
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
            let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
            match number(&DataType::Binary) {
                Some(c) => c.as_binary::<i32>().iter().map(|bytes| bytes.map_or(Value::Null, text)).collect(),
                None => texts(column),
            }
        }
        _ => texts(column),
    }
}

/// Every kind of value has a text.
fn texts(column: &dyn Array) -> Vec<Value> {
    let options = arrow::util::display::FormatOptions::default();
    let Ok(formatter) = arrow::util::display::ArrayFormatter::try_new(column, &options) else {
        return vec![Value::Null; column.len()];
    };
    let text = |row: usize| match column.is_null(row) {
        true => Value::Null,
        false => Value::String(formatter.value(row).to_string()),
    };
    (0..column.len()).map(text).collect()
}
