//! The tables and how an older file becomes a newer one.
//!
//! A migration, once released, is never edited: a change is a new entry at the end. `user_version` counts the entries applied.

use rusqlite::Connection;

use super::StoreError;

/// One entry per version, applied in order, each in its own transaction.
const MIGRATIONS: &[&str] = &["
    -- The latest revision of each alert. `sealed` is the alert as JSON; the other columns cannot name a person.
    CREATE TABLE alerts (
        alert_id     TEXT PRIMARY KEY,
        revision     INTEGER NOT NULL,
        detection    TEXT NOT NULL,
        class        TEXT NOT NULL,
        severity     INTEGER NOT NULL,       -- 0 informational to 4 critical
        subject_kind TEXT NOT NULL,
        subject_hash BLOB NOT NULL,          -- keyed
        disposition  TEXT NOT NULL,
        state        TEXT NOT NULL,
        score        REAL NOT NULL,
        day          INTEGER NOT NULL,       -- the subject's local day, days since 1970
        at           INTEGER NOT NULL,       -- event time, microseconds since 1970, as all times here
        settled      INTEGER NOT NULL,
        first_seen   INTEGER NOT NULL,       -- by the clock of this machine
        sealed       BLOB NOT NULL
    ) STRICT;
    CREATE INDEX alerts_by_day ON alerts (day, score);
    CREATE INDEX alerts_by_subject ON alerts (subject_hash);

    -- One revision on its way to one channel. Rows stay after delivery, without their payload: they make repeats harmless.
    CREATE TABLE outbox (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id   TEXT NOT NULL REFERENCES alerts (alert_id),
        revision   INTEGER NOT NULL,
        channel    TEXT NOT NULL,
        state      TEXT NOT NULL,            -- pending, held, sent, grouped, muted, dead
        attempts   INTEGER NOT NULL DEFAULT 0,
        next_try   INTEGER NOT NULL,
        last_error TEXT,
        delivery   TEXT,                     -- the notification that carries it, once one was formed
        interrupts INTEGER NOT NULL,
        severity   INTEGER NOT NULL,
        at         INTEGER NOT NULL,         -- event time
        queued     INTEGER NOT NULL,
        payload    BLOB,                     -- sealed
        UNIQUE (alert_id, revision, channel)
    ) STRICT;
    CREATE INDEX outbox_open ON outbox (channel, seq) WHERE state IN ('pending', 'held');

    -- What became of outbox rows, in the order in which it happened; drained into the history.
    CREATE TABLE receipts (
        seq      INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        channel  TEXT NOT NULL,
        outcome  TEXT NOT NULL,              -- sent, grouped, muted, dead
        delivery TEXT,
        note     TEXT,
        at       INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX receipts_by_channel ON receipts (channel, at);

    CREATE TABLE verdicts (
        seq      INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id TEXT NOT NULL REFERENCES alerts (alert_id),
        ruling   TEXT NOT NULL,
        sealed   BLOB NOT NULL,              -- reason and who
        at       INTEGER NOT NULL,
        drained  INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX verdicts_by_alert ON verdicts (alert_id, seq);

    CREATE TABLE mutes (
        seq       INTEGER PRIMARY KEY AUTOINCREMENT,
        detection TEXT NOT NULL,             -- pattern with * and ?
        sealed    BLOB NOT NULL,             -- subject, reason and who
        at        INTEGER NOT NULL,
        until     INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE heartbeat (
        channel TEXT PRIMARY KEY,
        at      INTEGER NOT NULL
    ) STRICT;
", "
    -- Receipts that came back from the history after the store was lost: they keep a revision from being queued again.
    ALTER TABLE receipts ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX receipts_restored ON receipts (alert_id, revision) WHERE restored = 1;

    -- How far something was drained into the history.
    CREATE TABLE marks (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT;
"];

/// The version of the file; 0 where it holds no tables yet.
pub(super) fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Brings the file to the newest version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version = version(connection)?;
    let applied = usize::try_from(version).unwrap_or(usize::MAX);
    if applied > MIGRATIONS.len() {
        return Err(StoreError::Newer { found: version, known: MIGRATIONS.len() as i64 });
    }
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(applied) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
