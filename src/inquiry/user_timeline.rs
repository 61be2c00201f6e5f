//! `user-timeline USER`: everything an account did, in order.

use futures::FutureExt;

use super::{Answer, Archive, AskError, Asked, Spec};

/// The question.
pub static SPEC: Spec = Spec {
    name: "user-timeline",
    arguments: "USER",
    about: "everything an account did, in order of time",
    words: (1, 1),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

const SQL: &str = "SELECT time, activity, array_to_string(patients, ';') AS patients, resource_type, resource_id, \
     result_count, query, outcome, break_glass, array_to_string(fact_explained_by, ';') AS explained_by, \
     fact_unexplained AS unexplained, fact_role AS role, fact_department AS department, site, client_host, client_ip, \
     client_app, session_id, target_host, target_account, detail_command, actor_on_behalf_of, source, event_id, flags \
     FROM events WHERE actor_id = $3 AND time >= $1 AND time < $2 ORDER BY time, source, event_id";

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let window = archive.window(asked)?;
    let mut answer = archive.answer(SPEC.name, window, SQL, &[&asked.words[0]]).await?;
    answer.notes.extend(archive.about_account(&asked.words[0], !answer.is_empty()));
    Ok(answer)
}
