//! Names and roles beside identifiers, from the roster, as of the time that a row speaks of.
//!
//! A question selects `actor_id` and what the source itself claimed; here the roster's word takes its place where the roster has one.
//! Facts that were stored with an event stay as they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::event::Time;
use crate::roster::Roster;

/// Columns of which the first that is there says as of when a row is to be read.
const AS_OF: [&str; 3] = ["time", "last", "started"];

/// What may be filled from the roster for one identifier.
#[derive(Clone, Copy)]
enum Word {
    Name,
    Role,
    Department,
    Vendor,
}

/// Identifier, the column beside it, what goes there, and whether the roster overrules what stands there.
const BESIDE: [(&str, &str, Word, bool); 5] = [
    ("actor_id", "name", Word::Name, true),
    ("actor_id", "role", Word::Role, false),
    ("actor_id", "department", Word::Department, false),
    ("actor_on_behalf_of", "on_behalf_of_name", Word::Name, true),
    ("vendor_id", "vendor", Word::Vendor, true),
];

/// Adds names to `rows`: a column that is missing stands behind the identifier. Rows without a time are read as of `present`.
pub(super) fn named(rows: &RecordBatch, roster: &Roster, present: Time) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().to_vec();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    let as_of = as_of(rows, present);
    for (id, beside, word, overrules) in BESIDE {
        let place = |wanted: &str| fields.iter().position(|field| field.name() == wanted);
        let Some(at) = place(id) else { continue };
        let there = place(beside);
        if there.is_none() && matches!(word, Word::Role | Word::Department) {
            continue;
        }
        let ids = cast(&columns[at], &DataType::Utf8)?;
        let before = there.map(|there| cast(&columns[there], &DataType::Utf8)).transpose()?;
        let filled = fill(roster, &ids, before.as_ref(), &as_of, (word, overrules));
        let field = Arc::new(Field::new(beside, DataType::Utf8, true));
        match there {
            Some(there) => (fields[there], columns[there]) = (field, filled),
            None => {
                fields.insert(at + 1, field);
                columns.insert(at + 1, filled);
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// One line about an account: who it is as of `at`, or `None` where no roster has it.
pub(super) fn about(roster: &Roster, id: &str, at: Time) -> Option<String> {
    let name = word(roster, id, at, Word::Name).unwrap_or("no name");
    if let Some(user) = roster.user(id, at) {
        let parts = [user.role, user.department, user.site, Some(user.status.as_str())];
        let rest = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        return Some(format!("{id} is {name} ({rest})"));
    }
    let account = roster.vendor_account(id, at)?;
    let vendor = roster.vendor(account.vendor_id, at).and_then(|vendor| vendor.name).unwrap_or(account.vendor_id);
    Some(format!("{id} is {name} (vendor account of {vendor}, {})", account.status.as_str()))
}

fn as_of(rows: &RecordBatch, present: Time) -> Vec<Time> {
    let column = AS_OF.iter().find_map(|name| rows.column_by_name(name));
    let column = column.and_then(|column| cast(column, &crate::event::schema::timestamp()).ok());
    match column {
        Some(column) => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            times.iter().map(|time| time.map_or(present, Time)).collect()
        }
        None => vec![present; rows.num_rows()],
    }
}

fn fill(
    roster: &Roster,
    ids: &ArrayRef,
    before: Option<&ArrayRef>,
    as_of: &[Time],
    (what, overrules): (Word, bool),
) -> ArrayRef {
    let ids = ids.as_string::<i32>();
    let before = before.map(|before| before.as_string::<i32>());
    let value = |row: usize| {
        let there = before.filter(|before| before.is_valid(row)).map(|before| before.value(row));
        let ours = || ids.is_valid(row).then(|| word(roster, ids.value(row), as_of[row], what)).flatten();
        if overrules { ours().or(there) } else { there.or_else(ours) }
    };
    Arc::new((0..ids.len()).map(value).collect::<StringArray>())
}

fn word<'a>(roster: &'a Roster, id: &str, at: Time, word: Word) -> Option<&'a str> {
    if matches!(word, Word::Vendor) {
        return roster.vendor(id, at)?.name;
    }
    match (roster.user(id, at), word) {
        (Some(user), Word::Name) => user.name,
        (Some(user), Word::Role) => user.role,
        (Some(user), _) => user.department,
        (None, Word::Name) => roster.vendor_account(id, at)?.person,
        (None, _) => None,
    }
}
