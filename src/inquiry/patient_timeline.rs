//! `patient-timeline PATIENT`: every touch of a patient's record, in order.

use futures::FutureExt;

use super::archive::list;
use super::{Answer, Archive, AskError, Asked, Spec, later};

/// The question.
pub static SPEC: Spec = Spec {
    name: "patient-timeline",
    arguments: "PATIENT",
    about: "every touch of a patient's record, in order of time",
    words: (1, 1),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let window = archive.window(asked)?;
    let same = archive.same_patient(&asked.words[0]).await?;
    let sql = format!(
        "SELECT time, actor_id, actor_name AS name, role, department, vendor_id, activity, resource_type, resource_id, outcome, \
         break_glass, relation, explained_by, marks, recorded_patient_id, site, client_host, client_ip, session_id, \
         source, event_id, flags \
         FROM touches WHERE patient_id IN ({}) AND time >= $1 AND time < $2 ORDER BY time, source, event_id",
        list(&same)
    );
    let mut answer = archive.answer(SPEC.name, window, &sql, &[]).await?;
    answer.change(|rows| {
        let (before, roster) = (later::text(rows, "explained_by")?, archive.roster.as_deref());
        let now = later::explanations(rows, roster, &asked.words[0])?;
        later::beside(rows, |row| now[row].filter(|_| later::value(&before, row).is_none()))
    })?;
    let found = !answer.is_empty();
    answer.notes.extend(archive.about_patient(&asked.words[0], &same, found).await?);
    Ok(answer)
}
