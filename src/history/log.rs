//! One Delta table: its files, its positions, and commits that either land once or not at all.
//!
//! The Delta library accepts an old `txn` version without complaint and may report an error for a commit that landed. Therefore
//! positions are read from the same version of the log that a commit is based on, the library never retries on its own, and after
//! every error the log is read again before anything is decided. Log cleaning is off, and nothing sets a retention for `txn`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, DataType, StructField, StructType, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use super::layout::{sync_file, sync_folder};
use super::read::go_back;
use super::segment::{PARTITION, Segment, day_of, number_of};
use super::tables::Table;
use super::{HistoryError, layout};

/// Next offset of each origin, by its key.
pub(super) type Positions = BTreeMap<String, i64>;

/// The tag of a file that holds its hash.
const SHA256_TAG: &str = "phiwatch.sha256";
/// The tag of a joined file that holds the number of the last file in it.
const THROUGH_TAG: &str = "phiwatch.through";
/// The tag of a file of events that holds its first and last hour of event time: it names nobody.
const HOURS_TAG: &str = "phiwatch.hours";

/// The position of an origin that this table does not know any more: a `txn` cannot be removed.
const GONE: i64 = i64::MIN;

/// One table, as of one version of its log.
pub(super) struct TableLog {
    pub table: Table,
    folder: PathBuf,
    delta: DeltaTable,
    positions: Positions,
}

impl TableLog {
    /// Opens the table below `dir` at its newest version; `None` where it was never made.
    pub async fn open(dir: &Path, table: Table) -> Result<Option<TableLog>, HistoryError> {
        let folder = dir.join(table.name());
        if !folder.join("_delta_log").join(format!("{:020}.json", 0)).exists() {
            return Ok(None);
        }
        let wrong = |source| delta(table, source);
        let opened = DeltaTableBuilder::from_url(url(&folder)?).map_err(wrong)?.load().await.map_err(wrong)?;
        let mut log = TableLog { table, folder, delta: opened, positions: Positions::new() };
        log.positions = log.read_positions()?;
        Ok(Some(log))
    }

    /// Makes the table below `dir`.
    pub async fn create(dir: &Path, table: Table) -> Result<TableLog, HistoryError> {
        let folder = dir.join(table.name());
        layout::make_folder(&folder)?;
        let wrong = |source| delta(table, source);
        let schema: StructType =
            table.schema().as_ref().try_into_kernel().map_err(|error| wrong(DeltaTableError::from(error)))?;
        let settings = [
            // Statistics of columns could name a person.
            ("delta.dataSkippingNumIndexedCols".to_string(), Some("0".to_string())),
            ("delta.enableExpiredLogCleanup".to_string(), Some("false".to_string())),
            ("delta.checkpointInterval".to_string(), Some("20".to_string())),
        ];
        let created = CreateBuilder::new()
            .with_location(url(&folder)?.as_str())
            .with_columns(schema.fields().cloned().chain([StructField::nullable(PARTITION, DataType::DATE)]))
            .with_partition_columns([PARTITION])
            .with_configuration(settings)
            .await
            .map_err(wrong)?;
        let log = TableLog { table, folder, delta: created, positions: Positions::new() };
        log.force(0)?;
        Ok(log)
    }

    /// Version of the log.
    pub fn version(&self) -> u64 {
        self.delta.version().unwrap_or_default()
    }

    /// Positions at this version.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The files at this version, in the order of the commits that first added their rows.
    pub fn files(&self) -> Result<Vec<Segment>, HistoryError> {
        let state = self.delta.snapshot().map_err(|source| delta(self.table, source))?;
        let mut files: Vec<Segment> = state
            .log_data()
            .iter()
            .map(|file| {
                #[allow(deprecated, reason = "the public accessors leave the tags out; this conversion keeps them")]
                let add = file.add_action();
                let tags = add.tags.unwrap_or_default();
                let sha256 = tags.get(SHA256_TAG).cloned().flatten().unwrap_or_default();
                let hours = tags.get(HOURS_TAG).and_then(|text| text.as_deref()?.split_once(' '));
                let hours = hours.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
                let through = tags.get(THROUGH_TAG).and_then(|text| text.as_deref()?.parse().ok());
                let through = through.unwrap_or_else(|| number_of(&add.path));
                Segment {
                    rows: file.num_records().unwrap_or(0),
                    name: add.path,
                    size: add.size,
                    sha256,
                    through,
                    hours,
                }
            })
            .collect();
        files.sort_by(|a, b| (number_of(&a.name), &a.name).cmp(&(number_of(&b.name), &b.name)));
        Ok(files)
    }

    /// Reads the newest version of the log.
    pub async fn reload(&mut self) -> Result<(), HistoryError> {
        self.delta.update_state().await.map_err(|source| delta(self.table, source))?;
        self.positions = self.read_positions()?;
        Ok(())
    }

    /// Goes back to the version before; `false` at the first.
    pub async fn step_back(&mut self) -> Result<bool, HistoryError> {
        let Some(before) = self.version().checked_sub(1) else {
            return Ok(false);
        };
        self.delta.load_version(before).await.map_err(|source| delta(self.table, source))?;
        self.positions = self.read_positions()?;
        Ok(true)
    }

    /// Adds a file (where there are rows) and moves the positions, in one commit that lands once or not at all.
    pub async fn append(&mut self, segment: Option<&Segment>, to: &Positions) -> Result<(), HistoryError> {
        let actions: Vec<Action> = segment.iter().map(|segment| Action::Add(add(segment))).collect();
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        self.commit(actions, to, operation).await
    }

    /// Replaces `old` files by one with the same rows.
    pub async fn replace(&mut self, old: &[Segment], new: &Segment) -> Result<(), HistoryError> {
        let state = self.delta.snapshot().map_err(|source| delta(self.table, source))?;
        let mut added = add(new);
        added.data_change = false;
        let mut actions = vec![Action::Add(added)];
        for file in state.log_data().iter() {
            if old.iter().any(|segment| segment.name == file.path()) {
                actions.push(Action::Remove(file.remove_action(false)));
            }
        }
        let target_size = old.iter().map(|segment| segment.size).sum();
        #[cfg(test)]
        super::fuse::pass()?;
        self.commit(actions, &Positions::new(), DeltaOperation::Optimize { predicate: None, target_size }).await
    }

    /// Takes back what lies beyond `whole`: a commit that was broken off before every table had it. What it added is named no more, so
    /// that the same records can be read again as if they never had been.
    pub async fn take_back(&mut self, dir: &Path, whole: &Positions) -> Result<(), HistoryError> {
        let ahead = |(key, next): (&String, &i64)| whole.get(key).is_none_or(|at| next > at);
        if !self.positions.iter().any(ahead) {
            return Ok(());
        }
        let missing = || HistoryError::Absent(dir.join(self.table.name()));
        let mut before = TableLog::open(dir, self.table).await?.ok_or_else(missing)?;
        go_back(&mut before, whole).await?;
        let kept = before.files()?;
        let state = self.delta.snapshot().map_err(|source| delta(self.table, source))?;
        let added = state.log_data().into_iter().filter(|file| kept.iter().all(|kept| kept.name != file.path()));
        let actions: Vec<Action> = added.map(|file| Action::Remove(file.remove_action(true))).collect();
        let to: Positions = self
            .positions
            .iter()
            .filter(|(key, next)| before.positions.get(*key) != Some(next))
            .map(|(key, _)| (key.clone(), before.positions.get(key).copied().unwrap_or(GONE)))
            .collect();
        #[cfg(test)]
        super::fuse::pass()?;
        self.commit(actions, &to, DeltaOperation::Delete { predicate: None }).await
    }

    async fn commit(
        &mut self,
        actions: Vec<Action>,
        to: &Positions,
        operation: DeltaOperation,
    ) -> Result<(), HistoryError> {
        let before = self.positions.clone();
        let transactions = to.iter().map(|(key, next)| Transaction::new(key, *next)).collect();
        let properties = CommitProperties::default()
            .with_application_transactions(transactions)
            .with_cleanup_expired_logs(Some(false))
            .with_max_retries(0);
        let snapshot = self.delta.snapshot().map_err(|source| delta(self.table, source))?.snapshot().clone();
        let outcome = CommitBuilder::from(properties)
            .with_actions(actions.clone())
            .build(Some(&snapshot), self.delta.log_store(), operation)
            .await;
        let reloaded = self.reload().await;
        match outcome {
            Ok(done) => {
                reloaded?;
                self.force(done.version())
            }
            Err(error) => {
                reloaded?;
                self.after_failure(&before, &actions, to, error)
            }
        }
    }

    /// An error was reported: looks into the log, which alone knows whether the commit landed.
    fn after_failure(
        &self,
        before: &Positions,
        actions: &[Action],
        to: &Positions,
        error: DeltaTableError,
    ) -> Result<(), HistoryError> {
        let files = self.files()?;
        let present = |action: &Action| match action {
            Action::Add(add) => files.iter().any(|file| file.name == add.path),
            _ => true,
        };
        let moved = to.iter().all(|(key, next)| self.positions.get(key) == Some(next));
        if moved && actions.iter().all(present) && (!actions.is_empty() || !to.is_empty()) {
            return self.force(self.version());
        }
        match *before == self.positions {
            true => Err(delta(self.table, error)),
            false => Err(HistoryError::Overtaken { table: self.table.name() }),
        }
    }

    /// Forces a commit and what came with it to the disk, before anything is built on it.
    fn force(&self, version: u64) -> Result<(), HistoryError> {
        let log = self.folder.join("_delta_log");
        sync_file(&log.join(format!("{version:020}.json")))?;
        sync_file(&log.join(format!("{version:020}.checkpoint.parquet")))?;
        sync_file(&log.join("_last_checkpoint"))?;
        sync_folder(&log)
    }

    /// All `txn` actions up to this version: those of the newest checkpoint, then those of the commits after it.
    fn read_positions(&self) -> Result<Positions, HistoryError> {
        let log = self.folder.join("_delta_log");
        let version = self.version();
        let mut positions = Positions::new();
        let mut next = 0;
        let checkpoint = |v: &u64| log.join(format!("{v:020}.checkpoint.parquet"));
        if let Some(newest) = (0..=version).rev().find(|v| checkpoint(v).exists()) {
            read_checkpoint(self.table, &checkpoint(&newest), &mut positions)?;
            next = newest + 1;
        }
        for v in next..=version {
            let path = log.join(format!("{v:020}.json"));
            let text = std::fs::read_to_string(&path).map_err(HistoryError::io(&path))?;
            for line in text.lines().filter(|line| line.contains("\"txn\"")) {
                if let Ok(Line { txn: Some(txn) }) = serde_json::from_str(line) {
                    positions.insert(txn.app_id, txn.version);
                }
            }
        }
        positions.retain(|_, next| *next != GONE);
        Ok(positions)
    }
}

/// A line of a commit, as far as it is read here.
#[derive(Deserialize)]
struct Line {
    txn: Option<Transaction>,
}

fn read_checkpoint(table: Table, path: &Path, positions: &mut Positions) -> Result<(), HistoryError> {
    let wrong = |source| HistoryError::Parquet { file: format!("{}/_delta_log", table.name()), source };
    let file = std::fs::File::open(path).map_err(HistoryError::io(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| wrong(Box::new(e)))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["txn.appId", "txn.version"]);
    let reader = builder.with_projection(mask).build().map_err(|e| wrong(Box::new(e)))?;
    for batch in reader {
        let batch: RecordBatch = batch.map_err(|e| wrong(Box::new(e.into())))?;
        let Some(txn) = batch.column_by_name("txn").and_then(|column| column.as_struct_opt()) else {
            continue;
        };
        let (Some(ids), Some(versions)) = (txn.column_by_name("appId"), txn.column_by_name("version")) else {
            continue;
        };
        let (ids, versions) = (ids.as_string::<i32>(), versions.as_primitive::<Int64Type>());
        for row in (0..batch.num_rows()).filter(|row| txn.is_valid(*row) && ids.is_valid(*row)) {
            positions.insert(ids.value(row).to_string(), versions.value(row));
        }
    }
    Ok(())
}

fn add(segment: &Segment) -> Add {
    let mut tags = HashMap::from([(SHA256_TAG.to_string(), Some(segment.sha256.clone()))]);
    if segment.through > number_of(&segment.name) {
        tags.insert(THROUGH_TAG.to_string(), Some(segment.through.to_string()));
    }
    if let Some((first, last)) = segment.hours {
        tags.insert(HOURS_TAG.to_string(), Some(format!("{first} {last}")));
    }
    Add {
        path: segment.name.clone(),
        partition_values: HashMap::from([(PARTITION.to_owned(), day_of(&segment.name).map(|day| day.to_string()))]),
        size: segment.size,
        modification_time: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64),
        data_change: true,
        // A row count and nothing else: statistics of columns could name a person.
        stats: Some(format!(r#"{{"numRecords":{}}}"#, segment.rows)),
        tags: Some(tags),
        ..Default::default()
    }
}

/// The address of a folder.
pub(super) fn url(folder: &Path) -> Result<url::Url, HistoryError> {
    let whole = std::fs::canonicalize(folder).map_err(HistoryError::io(folder))?;
    url::Url::from_directory_path(whole).map_err(|()| HistoryError::Location(folder.display().to_string()))
}

fn delta(table: Table, source: DeltaTableError) -> HistoryError {
    HistoryError::Delta { table: table.name(), source: Box::new(source) }
}
