//! `sources`: what each feed delivered, and what became of the records of its topic or file.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::FutureExt;

use super::{Answer, Archive, AskError, Asked, Spec};

/// The question.
pub static SPEC: Spec = Spec {
    name: "sources",
    arguments: "",
    about: "each source and topic: first and last event, events a day, what nobody can be named for; records, duplicates, rejects and gaps of the topic; silent days",
    words: (0, 0),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

/// Records are counted where they came from, which is the topic or the file: several sources may share it.
const SQL: &str = "WITH found AS (
       SELECT coalesce(topic, file) AS topic, source, min(time) AS first, max(time) AS last, count(*) AS events,
         count(DISTINCT date_trunc('day', time)) AS days,
         count(*) FILTER (WHERE actor_id IS NULL) AS without_actor,
         count(DISTINCT actor_id) FILTER (WHERE fact_account = 'unknown') AS unknown_accounts
       FROM events WHERE time >= $1 AND time < $2 GROUP BY coalesce(topic, file), source),
     read AS (
       SELECT coalesce(topic, file) AS topic, sum(events + duplicates + rejects + gap) AS records,
         sum(duplicates) AS duplicates, sum(rejects) AS rejects, sum(gap) AS gap
       FROM spans GROUP BY coalesce(topic, file))
     SELECT coalesce(f.topic, r.topic) AS topic, f.source, f.first, f.last, coalesce(f.events, 0) AS events,
       f.days, round(CAST(f.events AS DOUBLE) / f.days, 1) AS events_per_day, f.without_actor, f.unknown_accounts,
       r.records AS topic_records, r.duplicates AS topic_duplicates, r.rejects AS topic_rejects, r.gap AS topic_gap
     FROM found f FULL OUTER JOIN read r ON f.topic = r.topic ORDER BY 1, 2";

const REJECTS: &str = "SELECT coalesce(topic, file) AS topic, reason, count(*) AS n FROM rejects \
     GROUP BY coalesce(topic, file), reason ORDER BY 1, 3 DESC, 2";

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let window = archive.window(asked)?;
    let mut answer = archive.answer(SPEC.name, window, SQL, &[]).await?;
    answer.notes.push("topic_* count every record ever read from the topic or file, whatever its time".into());
    for rows in archive.reader.query(REJECTS, &[]).await? {
        let text = |column: usize, row: usize| rows.column(column).as_string::<i32>().value(row).to_string();
        for row in 0..rows.num_rows() {
            let count = rows.column(2).as_primitive::<Int64Type>().value(row);
            answer.notes.push(format!("rejects of {}: {count} {}", text(0, row), text(1, row)));
        }
    }
    Ok(answer)
}
