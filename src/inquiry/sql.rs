//! `sql "SELECT ..."`: a question in SQL over the tables, within limits of time, memory and rows.

use std::time::Duration;

use futures::FutureExt;

use super::{Answer, Archive, AskError, Asked, Spec, Window};
use crate::history::{HistoryError, Table};

/// The question.
pub static SPEC: Spec = Spec {
    name: "sql",
    arguments: "\"SELECT ...\"",
    about: "a question in SQL over the tables events, touches, alerts, rejects and spans",
    words: (1, 1),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

const ROWS: usize = 100_000;
const LIMIT: Duration = Duration::from_secs(120);

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    if asked.since.is_some() || asked.until.is_some() {
        return Err(AskError::Usage("--since and --until do not apply to sql; compare the column time instead".into()));
    }
    let found = archive.reader.user_query(&asked.words[0], ROWS, LIMIT).await;
    let (rows, more) = found.map_err(teach)?;
    let mut answer = archive.complete(SPEC.name, Window { since: None, until: None }, rows).await?;
    if more {
        answer.notes.push(format!("cut at {ROWS} rows; there are more"));
    }
    Ok(answer)
}

/// What the query engine says, and what can be done about it.
fn teach(error: HistoryError) -> AskError {
    let HistoryError::Query(said) = &error else { return error.into() };
    let is = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let advice = if is(&["DDL not supported", "DML not supported", "Statement not supported"]) {
        "only questions are answered: one SELECT, WITH, VALUES, EXPLAIN or DESCRIBE"
    } else if is(&["only supports a single SQL statement"]) {
        "ask one question at a time"
    } else if is(&["table '"]) || is(&["table function"]) || is(&["not found: table"]) {
        let tables: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
        return AskError::Usage(format!("{error}\nThere are the tables {}.", tables.join(", ")));
    } else if is(&[
        "No field named",
        "ParserError",
        "SQL error",
        "Error during planning",
        "Schema error",
        "Invalid function",
    ]) {
        "`phiwatch ask --help` lists the tables and their columns; DESCRIBE events shows types"
    } else {
        return error.into();
    };
    AskError::Usage(format!("{error}\n{advice}"))
}
