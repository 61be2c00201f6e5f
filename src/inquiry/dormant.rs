//! `dormant [--days N]`: accounts that were not used for a long time.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray, new_null_array};
use futures::FutureExt;

use super::{Answer, Archive, AskError, Asked, Spec, Window};
use crate::event::time::DAY;

/// Days without use after which an account is dormant, where none are given.
const DAYS: u32 = 90;

/// The question.
pub static SPEC: Spec = Spec {
    name: "dormant",
    arguments: "[--days N]",
    about: "accounts whose last use is older than N days (90), counted from the newest event",
    words: (0, 0),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

/// A log-in that failed is no use, and an event from the future proves nothing.
const SQL: &str = "SELECT actor_id, max(actor_name) AS name, last_value(fact_role ORDER BY time) AS role, \
     last_value(fact_department ORDER BY time) AS department, min(time) AS first, max(time) AS last, \
     count(*) AS events FROM events \
     WHERE actor_id IS NOT NULL AND activity <> 'login_failed' AND coalesce(flags, '') NOT LIKE '%future%' \
     AND time >= $1 AND time < $2 GROUP BY actor_id";

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let days = asked.days.unwrap_or(DAYS);
    let window = archive.window(asked)?;
    // The end of the time asked for is the present of this question.
    let present = window.until.or(archive.newest);
    let limit = present.map(|present| present.plus(-i64::from(days) * DAY));
    let limit = Window { since: None, until: limit };
    let [_, limit] = super::archive::ends(limit);
    let [since, until] = super::archive::ends(window);
    let dormant = format!("SELECT * FROM ({SQL}) WHERE last < $3 ORDER BY last, actor_id");
    let mut rows = archive.reader.query(&dormant, &[since.clone(), until.clone(), limit]).await?;
    if !asked.accounts.is_empty() {
        let used = format!("SELECT actor_id FROM ({SQL})");
        let mut seen = BTreeSet::new();
        for batch in archive.reader.query(&used, &[since, until]).await? {
            seen.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_string));
        }
        rows.push(never(&rows[0], asked.accounts.iter().filter(|account| !seen.contains(*account)))?);
    }
    let mut answer = archive.complete(SPEC.name, window, rows).await?;
    answer.notes.push(match asked.accounts.is_empty() {
        true => format!("accounts unused for {days} days; those that were never used are not known without rosters"),
        false => format!("accounts unused for {days} days; without times: never used in the history"),
    });
    Ok(answer)
}

/// Rows for accounts that no event names.
fn never<'a>(like: &RecordBatch, accounts: impl Iterator<Item = &'a String>) -> Result<RecordBatch, AskError> {
    let accounts: BTreeSet<&String> = accounts.collect();
    let ids = Arc::new(StringArray::from_iter_values(accounts.iter()));
    let schema = like.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    let mut columns: Vec<arrow::array::ArrayRef> = vec![ids];
    columns.extend(schema.fields()[1..].iter().map(|field| new_null_array(field.data_type(), accounts.len())));
    RecordBatch::try_new(schema, columns).map_err(|error| crate::history::HistoryError::Query(error.to_string()).into())
}
