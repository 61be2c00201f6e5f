//! `break-glass`: every emergency override, with what explains it.

use futures::FutureExt;

use super::{Answer, Archive, AskError, Asked, Spec};

/// The question.
pub static SPEC: Spec = Spec {
    name: "break-glass",
    arguments: "",
    about: "every emergency override: who, on whom, with which purpose, and whether a relation explains it",
    words: (0, 0),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

const SQL: &str = "SELECT time, actor_id, actor_name AS name, fact_role AS role, fact_department AS department, \
     fact_vendor_id AS vendor_id, activity, \
     array_to_string(patients, ';') AS patients, array_to_string(purpose, ';') AS purpose, \
     array_to_string(fact_explained_by, ';') AS explained_by, fact_unexplained AS unexplained, resource_type, outcome, \
     site, client_host, session_id, source, event_id \
     FROM events WHERE (break_glass OR activity = 'break_glass') AND time >= $1 AND time < $2 \
     ORDER BY time, source, event_id";

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let window = archive.window(asked)?;
    archive.answer(SPEC.name, window, SQL, &[]).await
}
