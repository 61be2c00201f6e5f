//! `sql "SELECT ..."`: a question in SQL over the tables, within limits of time, memory and rows.

use std::time::Duration;

use futures::FutureExt;

use super::{Answer, Archive, AskError, Asked, Spec, Window};

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
    let (rows, more) = archive.reader.user_query(&asked.words[0], ROWS, LIMIT).await?;
    let mut answer = archive.complete(SPEC.name, Window { since: None, until: None }, rows).await?;
    if more {
        answer.notes.push(format!("cut at {ROWS} rows; there are more"));
    }
    Ok(answer)
}
