//! `vendor-sessions [VENDOR]`: sessions of vendors from start to end, with what happened in them and in the EHR meanwhile.

use futures::FutureExt;

use super::archive::quote;
use super::{Answer, Archive, AskError, Asked, Spec, Window};
use crate::event::Time;
use crate::event::time::DAY;

/// The question.
pub static SPEC: Spec = Spec {
    name: "vendor-sessions",
    arguments: "[VENDOR]",
    about: "sessions of a vendor (by id or name), or of all, from start to end: commands, files, bytes, and EHR records opened meanwhile",
    words: (0, 1),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

/// How long before the time asked for a session may have begun, and after it have ended, to be paired.
const REACH: i64 = 7 * DAY;

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    let window = archive.window(asked)?;
    let reach =
        Window { since: window.since.map(|time| time.plus(-REACH)), until: window.until.map(|time| time.plus(REACH)) };
    let [since, until] = super::archive::ends(window);
    let [from, to] = super::archive::ends(reach);
    let named = asked.words.first().map(|word| by_name(archive, word));
    let vendor = named.as_ref().map_or(String::new(), |vendor| format!("WHERE vendor_id = {}", quote(vendor)));
    // A session of which no end is on record counts for half a day after the last that is known of it.
    let sql = format!(
        "WITH sessions AS (
           SELECT source, coalesce(session_id, event_id) AS session_id,
             max(coalesce(vendor_id, fact_vendor_id)) AS vendor_id, max(actor_id) AS actor_id,
             max(coalesce(fact_person_id, actor_id)) AS person, max(actor_name) AS name,
             min(time) FILTER (WHERE activity = 'session_start') AS started,
             max(time) FILTER (WHERE activity = 'session_end') AS ended,
             min(time) AS first, max(time) AS last, max(target_host) AS target_host,
             max(target_account) AS target_account, max(approval_ref) AS approval_ref,
             first_value(fact_approval ORDER BY time) AS approval, first_value(fact_baa ORDER BY time) AS agreement,
             bool_and(fact_in_window) AS in_window,
             count(*) FILTER (WHERE activity = 'command') AS commands,
             coalesce(sum(detail_files), 0) AS files, coalesce(sum(detail_bytes), 0) AS bytes,
             count(*) FILTER (WHERE activity = 'login_failed') AS failed_logins
           FROM events WHERE kind = 'vendor_session' AND time >= $1 AND time < $2
           GROUP BY source, coalesce(session_id, event_id)),
         opens AS (
           SELECT coalesce(fact_person_id, actor_id) AS person, time, event_id, unnest(patients) AS patient FROM events
           WHERE kind = 'access' AND cardinality(patients) > 0 AND time >= $1 AND time < $2)
         SELECT s.vendor_id, s.actor_id, s.name, s.session_id, s.started, s.ended,
           CASE WHEN s.started IS NULL THEN 'no start' WHEN s.ended IS NULL THEN 'no end' ELSE 'whole' END AS state,
           round((CAST(arrow_cast(s.ended, 'Int64') AS DOUBLE) - CAST(arrow_cast(s.started, 'Int64') AS DOUBLE)) / 60e6, 1)
             AS minutes,
           s.target_host, s.target_account, s.approval_ref, s.approval, s.agreement, s.in_window, s.commands, s.files, s.bytes,
           s.failed_logins, count(DISTINCT o.event_id) AS ehr_opens, count(DISTINCT o.patient) AS ehr_patients, s.source
         FROM (SELECT * FROM sessions {vendor}) s LEFT JOIN opens o ON o.person = s.person
           AND o.time >= coalesce(s.started, s.first) AND o.time < coalesce(s.ended, s.last + INTERVAL '12 hours')
         WHERE s.last >= $3 AND s.first < $4
         GROUP BY s.vendor_id, s.actor_id, s.name, s.session_id, s.started, s.ended, s.target_host, s.target_account,
           s.approval_ref, s.approval, s.agreement, s.in_window, s.commands, s.files, s.bytes, s.failed_logins, s.source, s.first
         ORDER BY s.first, s.session_id"
    );
    let rows = archive.reader.query(&sql, &[from, to, since, until]).await?;
    let mut answer = archive.complete(SPEC.name, window, archive.named(rows)?).await?;
    if let (Some(vendor), true) = (&named, answer.is_empty()) {
        let known = archive.roster.as_deref().is_some_and(|roster| roster.vendor_ids().any(|id| id == vendor));
        let also = if known { "it is in the roster" } else { "no roster at hand has it" };
        answer.notes.push(format!("no session of vendor {vendor} is on record in this time; {also}"));
    }
    Ok(answer)
}

/// The identifier of the vendor that is meant: the word itself, or the vendor that has it for a name.
fn by_name(archive: &Archive, word: &str) -> String {
    let roster = archive.roster.as_deref();
    let present = archive.newest().unwrap_or(Time(0));
    let called = |id: &&str| {
        let name = roster.and_then(|roster| roster.vendor(id, present)).and_then(|vendor| vendor.name);
        name.is_some_and(|name| name.eq_ignore_ascii_case(word))
    };
    let ids: Vec<&str> = roster.map(|roster| roster.vendor_ids().collect()).unwrap_or_default();
    match ids.contains(&word) {
        true => word.to_string(),
        false => ids.into_iter().find(called).unwrap_or(word).to_string(),
    }
}
