//! Receipts: what became of outbox rows, and how a store that was lost is made again from those that the history keeps.

use std::collections::BTreeMap;

use rusqlite::{Row as Found, params};
use serde::{Deserialize, Serialize};

use super::outbox::Outcome;
use super::{Store, StoreError};
use crate::event::Time;

/// A receipt with this channel says that nobody else has to be told: the revision was printed by a `scan`.
pub const EVERY_CHANNEL: &str = "*";

/// What became of an outbox row; drained into the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its number, from 1.
    pub seq: i64,
    /// The alert.
    pub alert_id: String,
    /// Its revision.
    pub revision: u32,
    /// The channel.
    pub channel: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The notification that carried it.
    pub delivery: Option<String>,
    /// What the other side said, such as a status; never a person's name.
    pub note: Option<String>,
    /// When, by the clock of this machine.
    pub at: Time,
}

impl Store {
    /// When each notification since `since` reached the channel.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn deliveries(&self, channel: &str, since: Time) -> Result<Vec<Time>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT MIN(at) FROM receipts WHERE channel = ?1 AND at >= ?2 AND outcome = 'sent' AND delivery IS NOT NULL
             GROUP BY delivery ORDER BY 1",
        )?;
        let times = statement.query_map(params![channel, since.0], |row| Ok(Time(row.get(0)?)))?;
        Ok(times.collect::<Result<_, _>>()?)
    }

    /// When a notification last reached each channel.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn last_sent(&self) -> Result<BTreeMap<String, Time>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT channel, MAX(at) FROM receipts WHERE outcome = 'sent' GROUP BY channel")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, Time(row.get(1)?))))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Receipts with a number above `seq`, in their order, at most `limit`.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn receipts_since(&self, seq: i64, limit: usize) -> Result<Vec<Receipt>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT seq, alert_id, revision, channel, outcome, delivery, note, at FROM receipts WHERE seq > ?1
             ORDER BY seq LIMIT ?2",
        )?;
        let mut found = statement.query(params![seq, limit as i64])?;
        let mut receipts = Vec::new();
        while let Some(row) = found.next()? {
            receipts.push(receipt(row)?);
        }
        Ok(receipts)
    }

    /// Takes up, in a store that was lost and made again, the receipts that the history keeps: rows of the outbox that they are about
    /// end, and a revision that is raised later is not queued again for a channel that had it. Call it before the channels start.
    ///
    /// Returns how many rows it ended.
    ///
    /// # Errors
    /// Where the disk refuses; nothing was written then.
    pub fn restore(&self, receipts: &[Receipt]) -> Result<usize, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let mut ended = 0;
        for receipt in receipts {
            let Receipt { seq, alert_id, revision, channel, outcome, delivery, note, at } = receipt;
            let values = params![seq, alert_id, revision, channel, outcome.as_str(), delivery, note, at.0];
            if channel == EVERY_CHANNEL {
                // What a `scan` has printed has no number of this store.
                let sql = "INSERT INTO receipts (seq, alert_id, revision, channel, outcome, delivery, note, at, restored)
                           SELECT (SELECT MIN(0, COALESCE(MIN(seq), 0), ?1) - 1 FROM receipts), ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1
                           WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE alert_id = ?2 AND revision = ?3
                                               AND channel = ?4 AND restored = 1)";
                transaction.prepare_cached(sql)?.execute(values)?;
                continue;
            }
            let sql = "INSERT INTO receipts (seq, alert_id, revision, channel, outcome, delivery, note, at, restored)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1) ON CONFLICT DO NOTHING";
            transaction.prepare_cached(sql)?.execute(values)?;
            let sql = "UPDATE outbox SET state = ?4, payload = NULL, delivery = ?5
                       WHERE alert_id = ?1 AND revision = ?2 AND channel = ?3 AND state IN ('pending', 'held')";
            let values = params![alert_id, revision, channel, outcome.as_str(), delivery];
            ended += transaction.prepare_cached(sql)?.execute(values)?;
        }
        transaction.commit()?;
        Ok(ended)
    }

    /// A number that is kept under a name, such as how far something was drained; 0 where it was never set.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn mark(&self, name: &str) -> Result<i64, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT value FROM marks WHERE name = ?1")?;
        let mut found = statement.query([name])?;
        Ok(found.next()?.map(|row| row.get(0)).transpose()?.unwrap_or(0))
    }

    /// Keeps numbers under names, all or none.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn set_marks(&self, marks: &[(&str, i64)]) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for (name, value) in marks {
            let sql = "INSERT INTO marks VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            transaction.prepare_cached(sql)?.execute(params![name, value])?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn receipt(row: &Found<'_>) -> Result<Receipt, StoreError> {
    Ok(Receipt {
        seq: row.get(0)?,
        alert_id: row.get(1)?,
        revision: row.get(2)?,
        channel: row.get(3)?,
        outcome: Outcome::parse(&row.get::<_, String>(4)?).ok_or(StoreError::Unreadable("receipts"))?,
        delivery: row.get(5)?,
        note: row.get(6)?,
        at: Time(row.get(7)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{raised, store};
    use super::*;
    use crate::event::Raised;

    fn everywhere(_: &Raised) -> Vec<String> {
        vec!["file".to_owned(), "mail".to_owned()]
    }

    /// Waiting rows of both channels, as (alert, revision).
    fn waiting(store: &Store) -> Vec<(String, u32)> {
        let rows = ["file", "mail"].into_iter().flat_map(|channel| store.waiting(channel, 100).unwrap());
        rows.map(|row| (row.alert.alert_id, row.alert.revision)).collect()
    }

    #[test]
    fn a_lost_store_is_alerts_less_receipts() {
        let batch = [raised("u1", 1), raised("u2", 1), raised("u1", 2)];
        let (store, _dir) = store();
        store.raise(&batch, &everywhere, Time(1)).unwrap();
        let file: Vec<i64> = store.waiting("file", 100).unwrap().iter().map(|row| row.seq).collect();
        store.close(&file[..2], Outcome::Sent, None, Time(2)).unwrap();
        let mail = store.waiting("mail", 100).unwrap()[2].seq;
        store.close(&[mail], Outcome::Muted, None, Time(3)).unwrap();
        let (left, receipts) = (waiting(&store), store.receipts_since(0, 100).unwrap());
        assert_eq!((left.len(), receipts.len()), (3, 3));
        // Whether alerts or receipts come first, and however often: the same rows wait.
        for alerts_first in [true, false] {
            let (fresh, _dir) = super::super::fixture::store();
            if alerts_first {
                fresh.raise(&batch, &everywhere, Time(9)).unwrap();
            }
            for _ in 0..2 {
                fresh.restore(&receipts).unwrap();
                fresh.raise(&batch, &everywhere, Time(9)).unwrap();
            }
            assert_eq!(waiting(&fresh), left);
            assert_eq!(fresh.receipts_since(0, 100).unwrap(), receipts, "the numbers go on");
            let more = fresh.waiting("mail", 1).unwrap()[0].seq;
            fresh.close(&[more], Outcome::Sent, None, Time(10)).unwrap();
            assert_eq!(fresh.receipts_since(3, 9).unwrap()[0].seq, 4);
        }
    }

    #[test]
    fn what_a_scan_has_printed_is_told_to_no_channel() {
        let printed = |one: &Raised| Receipt {
            seq: 0,
            alert_id: one.alert.alert_id.clone(),
            revision: one.alert.revision,
            channel: EVERY_CHANNEL.into(),
            outcome: Outcome::Sent,
            delivery: None,
            note: None,
            at: Time(1),
        };
        let (store, _dir) = store();
        let batch = [raised("u1", 1), raised("u2", 1)];
        store.restore(&[printed(&batch[0]), printed(&raised("u3", 1))]).unwrap();
        store.raise(&batch, &everywhere, Time(9)).unwrap();
        let id = batch[1].alert.alert_id.clone();
        assert_eq!(waiting(&store), [(id.clone(), 1), (id, 1)]);
    }

    #[test]
    fn marks_are_kept() {
        let (store, _dir) = store();
        assert_eq!(store.mark("journal").unwrap(), 0);
        store.set_marks(&[("journal", 3), ("receipts", 9)]).unwrap();
        store.set_marks(&[("journal", 4)]).unwrap();
        assert_eq!((store.mark("journal").unwrap(), store.mark("receipts").unwrap()), (4, 9));
    }
}
