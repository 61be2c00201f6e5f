//! Corrections: a revision that is settled again and says something else under the same number goes out again.

use rusqlite::{Transaction, params};

use super::{Store, StoreError};
use crate::event::Alert;

impl Store {
    /// Whether the newest revision that is known says something else under the same number: its day was settled at the end of an
    /// input and has grown since.
    pub(super) fn corrects(&self, transaction: &Transaction<'_>, alert: &Alert) -> Result<bool, StoreError> {
        let mut before = match self.latest(transaction, &alert.alert_id)? {
            Some(listed) if listed.alert.revision == alert.revision && listed.alert.settled => listed.alert,
            _ => return Ok(false),
        };
        // Other rosters in force are no news by themselves.
        before.made_by = alert.made_by.clone();
        Ok(alert.settled && before != *alert)
    }

    /// Makes room in the outbox for the correction of a revision.
    pub(super) fn take_back(
        &self,
        transaction: &Transaction<'_>,
        alert: &Alert,
        channel: &str,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM outbox WHERE alert_id = ?1 AND revision = ?2 AND channel = ?3";
        transaction.prepare_cached(sql)?.execute(params![alert.alert_id, alert.revision, channel])?;
        Ok(())
    }
}
