//! `who-accessed PATIENT`: everyone who touched a patient's record, with what ties them to the patient.

use futures::FutureExt;

use super::archive::{ends, list};
use super::later::{beside, by_actor, text, value};
use super::{Answer, Archive, AskError, Asked, Spec};
use crate::history::HistoryError;

/// The question.
pub static SPEC: Spec = Spec {
    name: "who-accessed",
    arguments: "PATIENT",
    about: "everyone who touched the record of a patient: when, how often, and what explains it",
    words: (1, 1),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let window = archive.window(asked)?;
    let same = archive.same_patient(&asked.words[0]).await?;
    let sql = format!(
        "SELECT actor_id, max(actor_name) AS name, last_value(role ORDER BY time) AS role, \
         last_value(department ORDER BY time) AS department, last_value(vendor_id ORDER BY time) AS vendor_id, min(time) AS first, max(time) AS last, \
         count(DISTINCT concat(source, '/', event_id)) AS events, \
         array_to_string(array_sort(array_agg(DISTINCT activity)), ';') AS activities, \
         array_to_string(array_sort(array_agg(DISTINCT relation) FILTER (WHERE relation IS NOT NULL)), ';') AS relations, \
         array_to_string(array_sort(array_agg(DISTINCT explained_by) FILTER (WHERE explained_by IS NOT NULL)), ';') \
         AS explained_by, \
         count(*) FILTER (WHERE explained_by IS NULL) AS unexplained, \
         count(*) FILTER (WHERE break_glass) AS break_glass, \
         count(DISTINCT concat(source, '/', event_id)) FILTER (WHERE outcome IN ('denied', 'failure')) AS refused \
         FROM touches WHERE patient_id IN ({}) AND time >= $1 AND time < $2 \
         GROUP BY actor_id ORDER BY last DESC, actor_id",
        list(&same)
    );
    let mut answer = archive.answer(SPEC.name, window, &sql, &[]).await?;
    let sql = format!(
        "SELECT DISTINCT actor_id, role, department, time FROM touches \
         WHERE patient_id IN ({}) AND time >= $1 AND time < $2 AND explained_by IS NULL",
        list(&same)
    );
    let unexplained = archive.reader.query(&sql, &ends(window)).await?;
    let later = by_actor(&unexplained, archive.roster.as_deref(), &asked.words[0])
        .map_err(|error| HistoryError::Query(error.to_string()))?;
    answer.change(|rows| {
        let actors = text(rows, "actor_id")?;
        beside(rows, |row| later.get(value(&actors, row)?).map(String::as_str))
    })?;
    let found = !answer.is_empty();
    answer.notes.extend(archive.about_patient(&asked.words[0], &same, found).await?);
    Ok(answer)
}
