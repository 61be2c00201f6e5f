//! The outbox: which revision of which alert still has to reach which channel, and what became of the others.
//!
//! A row enters once per (alert, revision, channel), whatever is replayed, and ends in exactly one outcome with a receipt. Which
//! row goes with which notification, and when, is decided in `notify`; this file only remembers.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Transaction, params};

use super::{Store, StoreError};
use crate::event::kind::words;
use crate::event::{Alert, Raised, Time};

words! {
    /// How an outbox row ended.
    Outcome {
        Sent = "sent",
        /// Told only as one of "and 37 more".
        Grouped = "grouped",
        /// A mute covered it.
        Muted = "muted",
        /// The other side refuses this notification for good; the alert itself stays on record.
        Dead = "dead",
    }
}

/// A revision that still has to reach a channel.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number; rows of one channel go out in this order.
    pub seq: i64,
    /// The revision.
    pub alert: Alert,
    /// When it entered the outbox, by the clock of this machine.
    pub queued: Time,
    /// Not before.
    pub next_try: Time,
    /// Failed attempts.
    pub attempts: u32,
    /// True where a person has to do something (a refused password, a wrong address); it is tried again all the same.
    pub held: bool,
    /// The notification that carries it, once one was formed; a repeat carries the same rows under the same name.
    pub delivery: Option<String>,
}

/// How a channel's outbox stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows that wait.
    pub pending: u64,
    /// Rows that wait for a person to mend something.
    pub held: u64,
    /// Rows that the other side refused for good.
    pub dead: u64,
    /// When the oldest waiting row was queued.
    pub oldest: Option<Time>,
}

impl Store {
    /// Remembers revisions for triage and puts each into the outbox of the channels that `routes` names for it.
    ///
    /// What is already there is left as it is, so the same revisions may be raised any number of times. All or nothing.
    /// Returns how many outbox rows are new.
    ///
    /// # Errors
    /// Where the disk refuses; nothing was written then.
    pub fn raise(
        &self,
        raised: &[Raised],
        routes: &dyn Fn(&Raised) -> Vec<String>,
        now: Time,
    ) -> Result<usize, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let mut inserted = 0;
        for one in raised {
            let corrects = self.corrects(&transaction, &one.alert)?;
            self.remember(&transaction, one, now)?;
            for channel in routes(one) {
                if corrects {
                    self.take_back(&transaction, &one.alert, &channel)?;
                }
                inserted += self.queue(&transaction, &one.alert, &channel, one.interrupts, one.at, now)?;
            }
        }
        transaction.commit()?;
        Ok(inserted)
    }

    /// The waiting rows of a channel in their order, at most `limit`; whether their time has come is for the caller to judge.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn waiting(&self, channel: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT seq, alert_id, revision, queued, next_try, attempts, state, delivery, payload FROM outbox
             WHERE channel = ?1 AND state IN ('pending', 'held') ORDER BY seq LIMIT ?2",
        )?;
        let mut found = statement.query(params![channel, limit as i64])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let (alert_id, revision): (String, u32) = (row.get(1)?, row.get(2)?);
            let sealed: Vec<u8> = row.get(8)?;
            let plain = self.seal.open(&payload_place(&alert_id, revision, channel), &sealed)?;
            rows.push(Row {
                seq: row.get(0)?,
                alert: serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable("outbox"))?,
                queued: Time(row.get(3)?),
                next_try: Time(row.get(4)?),
                attempts: row.get(5)?,
                held: row.get::<_, String>(6)? == "held",
                delivery: row.get(7)?,
            });
        }
        Ok(rows)
    }

    /// The waiting rows of all channels whose time has come, as (channel, number), oldest first, at most `limit`.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn due(&self, now: Time, limit: usize) -> Result<Vec<(String, i64)>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT channel, seq FROM outbox WHERE state IN ('pending', 'held') AND next_try <= ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![now.0, limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Binds rows to the notification `delivery`, before its first attempt.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn assign(&self, rows: &[i64], delivery: &str) -> Result<(), StoreError> {
        self.on_each(rows, "UPDATE outbox SET delivery = ?2 WHERE seq = ?1", &[delivery.to_owned().into()])
    }

    /// Notes a failed attempt: the rows wait until `next_try`.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn mark_failed(&self, rows: &[i64], next_try: Time, error: &str) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET state = 'pending', attempts = attempts + 1, next_try = ?2, last_error = ?3
                   WHERE seq = ?1 AND state IN ('pending', 'held')";
        self.on_each(rows, sql, &[next_try.0.into(), error.to_owned().into()])
    }

    /// Notes a failure that a person has to mend; the rows are tried again at `next_try` all the same.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn mark_held(&self, rows: &[i64], next_try: Time, error: &str) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET state = 'held', attempts = attempts + 1, next_try = ?2, last_error = ?3
                   WHERE seq = ?1 AND state IN ('pending', 'held')";
        self.on_each(rows, sql, &[next_try.0.into(), error.to_owned().into()])
    }

    /// Lets the held rows of a channel be tried at once: after a start, since that is when settings change.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn release(&self, channel: &str, now: Time) -> Result<usize, StoreError> {
        let sql = "UPDATE outbox SET next_try = ?2 WHERE channel = ?1 AND state = 'held'";
        Ok(self.connection().execute(sql, params![channel, now.0])?)
    }

    /// Ends rows and writes their receipts; rows that have ended before are left as they are.
    ///
    /// # Errors
    /// Where the disk refuses; nothing was written then, and the caller repeats (a notification may then go out twice).
    pub fn close(&self, rows: &[i64], outcome: Outcome, note: Option<&str>, now: Time) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for &seq in rows {
            let receipt = "INSERT INTO receipts (alert_id, revision, channel, outcome, delivery, note, at)
                           SELECT alert_id, revision, channel, ?2, delivery, ?3, ?4 FROM outbox
                           WHERE seq = ?1 AND state IN ('pending', 'held')";
            transaction.prepare_cached(receipt)?.execute(params![seq, outcome.as_str(), note, now.0])?;
            let end = "UPDATE outbox SET state = ?2, payload = NULL WHERE seq = ?1 AND state IN ('pending', 'held')";
            transaction.prepare_cached(end)?.execute(params![seq, outcome.as_str()])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// How the outbox stands, by channel; channels that never had a row are missing.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn counters(&self) -> Result<BTreeMap<String, Counters>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT channel, state, COUNT(*), MIN(queued) FROM outbox GROUP BY channel, state")?;
        let mut found = statement.query([])?;
        let mut channels: BTreeMap<String, Counters> = BTreeMap::new();
        while let Some(row) = found.next()? {
            let counters = channels.entry(row.get(0)?).or_default();
            let (state, count, oldest): (String, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let waits = match state.as_str() {
                "pending" => Some(&mut counters.pending),
                "held" => Some(&mut counters.held),
                "dead" => {
                    counters.dead = count.unsigned_abs();
                    None
                }
                _ => None,
            };
            if let Some(slot) = waits {
                *slot = count.unsigned_abs();
                counters.oldest = Some(counters.oldest.map_or(Time(oldest), |known| known.min(Time(oldest))));
            }
        }
        Ok(channels)
    }

    /// Queues for `to` the alerts of at least `severity` that `channel` was told of before `before` and that nobody has ruled on;
    /// each alert at most once. Returns how many.
    ///
    /// # Errors
    /// Where the disk refuses or a value does not open.
    pub fn escalate(
        &self,
        channel: &str,
        to: &str,
        severity: crate::event::Severity,
        before: Time,
        now: Time,
    ) -> Result<usize, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let ids: Vec<String> = {
            let mut statement = transaction.prepare_cached(
                "SELECT DISTINCT r.alert_id FROM receipts r JOIN alerts a USING (alert_id)
                 WHERE r.channel = ?1 AND r.outcome IN ('sent', 'grouped') AND r.at <= ?2
                   AND a.severity >= ?3 AND a.state = 'open'
                   AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.alert_id = r.alert_id)
                   AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.alert_id = r.alert_id AND o.channel = ?4)
                 ORDER BY r.alert_id",
            )?;
            let found = statement.query_map(params![channel, before.0, severity as i64, to], |row| row.get(0))?;
            found.collect::<Result<_, _>>()?
        };
        for id in &ids {
            let listed = self.latest(&transaction, id)?.ok_or_else(|| StoreError::NoSuchAlert(id.clone()))?;
            self.queue(&transaction, &listed.alert, to, true, listed.at, now)?;
        }
        transaction.commit()?;
        Ok(ids.len())
    }

    /// When the channel last sent its heartbeat.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn last_heartbeat(&self, channel: &str) -> Result<Option<Time>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT at FROM heartbeat WHERE channel = ?1")?;
        let mut found = statement.query([channel])?;
        Ok(found.next()?.map(|row| row.get(0)).transpose()?.map(Time))
    }

    /// Notes that the channel has sent its heartbeat.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn beat(&self, channel: &str, at: Time) -> Result<(), StoreError> {
        let sql = "INSERT INTO heartbeat VALUES (?1, ?2) ON CONFLICT (channel) DO UPDATE SET at = excluded.at";
        self.connection().execute(sql, params![channel, at.0])?;
        Ok(())
    }

    /// Adds a row unless the same revision was queued for the channel before, also in a store that was lost; returns how many were
    /// added.
    fn queue(
        &self,
        transaction: &Transaction<'_>,
        alert: &Alert,
        channel: &str,
        interrupts: bool,
        at: Time,
        now: Time,
    ) -> Result<usize, StoreError> {
        let plain = serde_json::to_vec(alert).map_err(|_| StoreError::Unreadable("an alert"))?;
        let payload = self.seal.seal(&payload_place(&alert.alert_id, alert.revision, channel), &plain);
        let sql = "INSERT INTO outbox
                   (alert_id, revision, channel, state, next_try, interrupts, severity, at, queued, payload)
                   SELECT ?1, ?2, ?3, 'pending', ?4, ?5, ?6, ?7, ?4, ?8
                   WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE alert_id = ?1 AND revision = ?2
                                       AND channel IN (?3, '*') AND restored = 1)
                   ON CONFLICT DO NOTHING";
        let severity = alert.severity as i64;
        let values = params![alert.alert_id, alert.revision, channel, now.0, interrupts, severity, at.0, payload];
        Ok(transaction.prepare_cached(sql)?.execute(values)?)
    }

    /// Runs `sql` for each row in one transaction; `?1` is the row's number, the rest follow.
    fn on_each(&self, rows: &[i64], sql: &str, rest: &[Value]) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for &seq in rows {
            let values = std::iter::once(Value::from(seq)).chain(rest.iter().cloned());
            transaction.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Where a payload stands, for its sealing.
fn payload_place(alert_id: &str, revision: u32, channel: &str) -> String {
    format!("outbox/{alert_id}/{revision}/{channel}")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{raised, store};
    use super::super::{Ruling, Verdict};
    use super::*;
    use crate::event::{Severity, State};

    fn to(channels: &'static [&'static str]) -> impl Fn(&Raised) -> Vec<String> {
        move |_| channels.iter().map(|name| (*name).to_owned()).collect()
    }

    fn seqs(store: &Store, channel: &str) -> Vec<i64> {
        store.waiting(channel, 100).unwrap().iter().map(|row| row.seq).collect()
    }

    #[test]
    fn a_revision_enters_once_per_channel_whatever_became_of_it() {
        let (store, _dir) = store();
        let batch = [raised("u1", 1), raised("u2", 1), raised("u1", 2)];
        assert_eq!(store.raise(&batch, &to(&["file", "mail"]), Time(1)).unwrap(), 6);
        assert_eq!(store.raise(&batch, &to(&["file", "mail"]), Time(2)).unwrap(), 0);
        store.close(&seqs(&store, "mail"), Outcome::Sent, None, Time(3)).unwrap();
        assert_eq!(store.raise(&batch, &to(&["file", "mail", "kafka"]), Time(4)).unwrap(), 3, "only the new channel");
        assert_eq!(seqs(&store, "mail"), Vec::<i64>::new());
        let rows = store.waiting("file", 100).unwrap();
        let alerts: Vec<_> = rows.iter().map(|row| row.alert.clone()).collect();
        assert_eq!(alerts, batch.map(|one| one.alert), "in the order in which they were raised");
        assert_eq!(rows[0].queued, Time(1));
    }

    #[test]
    fn a_settled_revision_that_says_something_else_goes_out_again() {
        let (store, _dir) = store();
        let said = |score: f64, rosters: &str| {
            let mut one = raised("u1", 2);
            (one.alert.settled, one.alert.score, one.alert.made_by.rosters) = (true, score, rosters.to_owned());
            one
        };
        let raise = |one: &Raised| store.raise(std::slice::from_ref(one), &to(&["file"]), Time(1)).unwrap();
        let ended = |seq: i64| store.close(&[seq], Outcome::Sent, None, Time(2));
        for (score, rosters, new) in [(1.0, "a", 1), (1.0, "a", 0), (1.0, "b", 0), (2.0, "b", 1), (2.0, "b", 0)] {
            assert_eq!(raise(&said(score, rosters)), new, "{score} {rosters}");
            let waiting = store.waiting("file", 9).unwrap();
            assert_eq!(waiting.len(), new);
            for row in waiting {
                assert_eq!(row.alert.score, score);
                ended(row.seq).unwrap();
            }
        }
        assert_eq!(store.show(&said(1.0, "a").alert.alert_id).unwrap().unwrap().0.alert.score, 2.0);
    }

    #[test]
    fn every_row_ends_once_with_one_receipt() {
        let (store, _dir) = store();
        store.raise(&[raised("u1", 1), raised("u2", 1)], &to(&["mail"]), Time(1)).unwrap();
        let rows = seqs(&store, "mail");
        store.assign(&rows, "d-1").unwrap();
        store.close(&rows[..1], Outcome::Sent, Some("250"), Time(7)).unwrap();
        store.close(&rows, Outcome::Grouped, None, Time(8)).unwrap();
        store.mark_failed(&rows, Time(9), "late").unwrap();
        let receipts = store.receipts_since(0, 10).unwrap();
        let seen: Vec<_> =
            receipts.iter().map(|r| (r.outcome, r.at, r.note.as_deref(), r.delivery.as_deref())).collect();
        assert_eq!(
            seen,
            [(Outcome::Sent, Time(7), Some("250"), Some("d-1")), (Outcome::Grouped, Time(8), None, Some("d-1"))]
        );
        assert_eq!(store.receipts_since(receipts[0].seq, 10).unwrap(), receipts[1..]);
        assert_eq!(store.deliveries("mail", Time(0)).unwrap(), [Time(7)], "one notification, however many rows");
        assert_eq!(store.deliveries("mail", Time(8)).unwrap(), []);
    }

    #[test]
    fn failures_wait_and_are_counted() {
        let (store, _dir) = store();
        store.raise(&[raised("u1", 1), raised("u2", 1), raised("u3", 1)], &to(&["hook"]), Time(1)).unwrap();
        let rows = seqs(&store, "hook");
        store.mark_failed(&rows[..1], Time(50), "503").unwrap();
        store.mark_held(&rows[1..2], Time(60), "401").unwrap();
        store.close(&rows[2..], Outcome::Dead, Some("413"), Time(2)).unwrap();
        let due = |now| store.due(Time(now), 9).unwrap().into_iter().map(|(_, seq)| seq).collect::<Vec<_>>();
        assert_eq!(due(49), Vec::<i64>::new());
        assert_eq!(due(60), rows[..2]);
        let counters = store.counters().unwrap()["hook"].clone();
        assert_eq!(counters, Counters { pending: 1, held: 1, dead: 1, oldest: Some(Time(1)) });
        let waiting = store.waiting("hook", 9).unwrap();
        assert_eq!(waiting.iter().map(|row| (row.attempts, row.held)).collect::<Vec<_>>(), [(1, false), (1, true)]);
        assert_eq!(store.release("hook", Time(3)).unwrap(), 1);
        assert_eq!(due(3), rows[1..2]);
    }

    #[test]
    fn a_lost_store_is_rebuilt_from_alerts_and_receipts() {
        let batch = [raised("u1", 1), raised("u2", 1)];
        let (lost, _dir) = store();
        lost.raise(&batch, &to(&["mail", "file"]), Time(1)).unwrap();
        lost.close(&seqs(&lost, "mail")[..1], Outcome::Sent, None, Time(2)).unwrap();
        let receipts = lost.receipts_since(0, 10).unwrap();
        let (made_again, _dir) = store();
        made_again.raise(&batch, &to(&["mail", "file"]), Time(9)).unwrap();
        assert_eq!(made_again.restore(&receipts).unwrap(), 1);
        let left: Vec<_> = made_again.waiting("mail", 9).unwrap().into_iter().map(|row| row.alert).collect();
        assert_eq!(left, [batch[1].alert.clone()]);
        assert_eq!(made_again.waiting("file", 9).unwrap().len(), 2);
    }

    #[test]
    fn unanswered_critical_alerts_escalate_once() {
        let (store, _dir) = store();
        let mut critical = raised("u1", 1);
        critical.alert.severity = Severity::Critical;
        let mut answered = raised("u2", 1);
        answered.alert.severity = Severity::Critical;
        let mut explained = raised("u3", 1);
        explained.alert.severity = Severity::Critical;
        explained.alert.state = State::Explained;
        let batch = [critical.clone(), answered.clone(), explained, raised("u4", 1)];
        store.raise(&batch, &to(&["mail"]), Time(1)).unwrap();
        let escalate =
            |before, now| store.escalate("mail", "mail/escalated", Severity::Critical, Time(before), Time(now));
        assert_eq!(escalate(100, 100).unwrap(), 0, "nobody was told yet");
        store.close(&seqs(&store, "mail"), Outcome::Sent, None, Time(10)).unwrap();
        let verdict = Verdict {
            seq: 0,
            alert_id: answered.alert.alert_id,
            ruling: Ruling::Justified,
            reason: "on call".into(),
            who: "officer".into(),
            at: Time(11),
        };
        store.add_verdict(&verdict).unwrap();
        assert_eq!(escalate(9, 39).unwrap(), 0, "too early");
        assert_eq!(escalate(10, 40).unwrap(), 1);
        assert_eq!(escalate(50, 80).unwrap(), 0, "once");
        let rows = store.waiting("mail/escalated", 9).unwrap();
        assert_eq!(rows.iter().map(|row| &row.alert).collect::<Vec<_>>(), [&critical.alert]);
    }

    #[test]
    fn heartbeats_are_remembered() {
        let (store, _dir) = store();
        assert_eq!(store.last_heartbeat("mail").unwrap(), None);
        store.beat("mail", Time(3)).unwrap();
        store.beat("mail", Time(7)).unwrap();
        assert_eq!(store.last_heartbeat("mail").unwrap(), Some(Time(7)));
    }
}
