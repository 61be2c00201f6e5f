//! Closing a segment and committing it.
//!
//! A closed segment is encoded on a thread of its own while the next one is staged. Its files are all on the disk before the first
//! commit names one; the commits come one after the other, in the order of the tables, on the caller's thread. There is one closed
//! segment at a time, so that segments are committed in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::encode::{Encoded, Encoder};
use super::stage::Stage;
use super::tables::Table;
use super::{History, HistoryError};
use crate::event::Time;

/// What [`History::commit`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rows added to each table, by its name.
    pub rows: BTreeMap<&'static str, usize>,
    /// Bytes of the new files.
    pub bytes: i64,
}

impl Committed {
    fn add(&mut self, other: Committed) {
        for (table, rows) in other.rows {
            *self.rows.entry(table).or_default() += rows;
        }
        self.bytes += other.bytes;
    }
}

/// A segment that takes nothing more and is being encoded.
pub(super) struct Closed {
    stage: Arc<Stage>,
    /// `None` once it was waited for.
    encoding: Option<JoinHandle<Result<Vec<Encoded>, HistoryError>>>,
}

impl Closed {
    /// What is in it.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    fn wait(&mut self) -> Result<Vec<Encoded>, HistoryError> {
        let encoding = self.encoding.take().expect("a segment is waited for once");
        encoding.join().expect("an encoder has no fault")
    }
}

impl Drop for Closed {
    /// Nothing writes below the folder once its history is gone.
    fn drop(&mut self) {
        if let Some(encoding) = self.encoding.take() {
            drop(encoding.join());
        }
    }
}

impl History {
    /// Closes the segment: what is staged is encoded on a thread of its own, and what is staged from now on is for the next one.
    ///
    /// `arrival` is the time of the newest arrival among what is staged; it decides the month key and the day of compaction. An
    /// earlier segment that is still closed is committed first.
    ///
    /// # Errors
    /// As [`Self::commit`]; nothing is closed then.
    pub async fn close_segment(&mut self, arrival: Time) -> Result<Committed, HistoryError> {
        let committed = self.commit_closed().await?.unwrap_or_default();
        if !self.stage.raised().is_empty() {
            self.know_told().await?;
        }
        if !self.stage.is_empty() {
            let alerts = self.told.as_ref().map(|told| self.stage.alerts(told));
            let (marks, stage) = (self.marks(), Arc::new(std::mem::take(&mut self.stage)));
            let tables = self.logs.iter().map(|log| (log.table, log.version() + 1, log.positions().clone())).collect();
            let (dir, keyring) = (self.dir.clone(), self.keyring.clone());
            let encoder = Encoder { dir, keyring, stage: stage.clone(), arrival, alerts, marks, tables };
            self.closed = Some(Closed { stage, encoding: Some(std::thread::spawn(move || encoder.all())) });
        }
        Ok(committed)
    }

    /// Whether a closed segment waits for nothing but its commit.
    pub fn is_encoded(&self) -> bool {
        let encoding = self.closed.as_ref().and_then(|closed| closed.encoding.as_ref());
        encoding.is_some_and(JoinHandle::is_finished)
    }

    /// Makes the closed segment durable, one commit for each table that has something new; `None` where there is none.
    ///
    /// # Errors
    /// After an error what was closed is staged as before, ahead of what was staged since: [`Self::commit`] may be tried where
    /// [`HistoryError::retry`] says so.
    pub async fn commit_closed(&mut self) -> Result<Option<Committed>, HistoryError> {
        self.commit_tables(self.logs.len()).await
    }

    /// Makes everything staged durable: one file and one commit for each table that has something new.
    ///
    /// `arrival` as in [`Self::close_segment`].
    ///
    /// # Errors
    /// After an error the stage is as it was: the same call may be made again where [`HistoryError::retry`] says so.
    pub async fn commit(&mut self, arrival: Time) -> Result<Committed, HistoryError> {
        let mut committed = self.close_segment(arrival).await?;
        committed.add(self.commit_closed().await?.unwrap_or_default());
        Ok(committed)
    }

    /// As [`Self::commit`], but the process "dies" after `tables` tables: for tests of what is left behind.
    #[cfg(test)]
    pub(super) async fn commit_and_die(mut self, arrival: Time, tables: usize) -> Result<(), HistoryError> {
        self.close_segment(arrival).await?;
        self.commit_tables(tables).await.map(|_| ())
    }

    /// Commits the first `tables` tables. A file whose commit did not come to pass is one that no commit names: it is cleared away
    /// later.
    async fn commit_tables(&mut self, tables: usize) -> Result<Option<Committed>, HistoryError> {
        let Some(mut closed) = self.closed.take() else { return Ok(None) };
        let committed = match closed.wait() {
            Ok(encoded) => self.append(encoded, tables, &closed.stage).await,
            Err(error) => Err(error),
        };
        if committed.is_err() {
            let mut stage = std::mem::take(&mut closed.stage);
            let again = Arc::get_mut(&mut stage).expect("the encoder has ended");
            again.append(std::mem::take(&mut self.stage));
            self.stage = std::mem::take(again);
        }
        committed.map(Some)
    }

    async fn append(&mut self, encoded: Vec<Encoded>, tables: usize, stage: &Stage) -> Result<Committed, HistoryError> {
        let mut committed = Committed::default();
        for (index, news) in encoded.into_iter().enumerate().take(tables) {
            if news.segment.is_none() && news.ahead.is_empty() {
                continue;
            }
            let table = self.logs[index].table;
            #[cfg(test)]
            super::fuse::write()?;
            self.logs[index].append(news.segment.as_ref(), &news.ahead).await?;
            let records: i64 = self.positions().values().sum();
            tracing::debug!(effect = table.name(), records, "the table has a commit");
            let rows = news.segment.as_ref().map_or(0, |segment| segment.rows);
            if let (Table::Alerts, Some(told)) = (table, &mut self.told) {
                told.record(rows, stage.raised(), self.stage.raised());
            }
            if let Some(segment) = news.segment {
                committed.rows.insert(table.name(), segment.rows);
                committed.bytes += segment.size;
            }
        }
        Ok(committed)
    }
}
