//! Reading: the tables of one moment as a DataFusion session.
//!
//! A reader takes no lock. The tables are committed one after the other, so it goes back in the logs that are ahead until all five
//! stand at the same positions: an answer sees a segment in every table or in none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::config::{EncryptionFactoryOptions, TableParquetOptions};
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;
use tokio::task::JoinSet;

use super::log::{Positions, TableLog, url};
use super::segment::{Segment, decryption, place, sha256};
use super::tables::Table;
use super::writer::{is_mark, watermark_in};
use super::{HistoryError, layout};
use crate::event::Time;
use crate::keys::{KeySource, Keyring};

/// Memory that the queries of one reader may take together, in bytes.
const MEMORY: usize = 1 << 30;
/// For so long the file that a query has failed over is looked for.
const BLAME: Duration = Duration::from_secs(30);
/// How far a reader goes back to find a moment at which all tables stand at the same positions.
const STEPS_BACK: usize = 1_000;

/// The files of one table at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    table: Table,
    files: Vec<Segment>,
}

impl Snapshot {
    /// Those of the version at which `log` stands.
    pub fn of(log: &TableLog) -> Result<Snapshot, HistoryError> {
        Ok(Snapshot { table: log.table, files: log.files()? })
    }

    /// Some files of a table.
    pub fn some(table: Table, files: Vec<Segment>) -> Snapshot {
        Snapshot { table, files }
    }
}

/// A history that is open for reading, as of one moment.
pub struct Reader {
    pub(super) dir: PathBuf,
    pub(super) keyring: Option<Arc<Keyring>>,
    session: SessionContext,
    tables: Vec<Snapshot>,
    positions: Positions,
    watermark: Option<Time>,
}

impl Reader {
    /// Opens the history at `dir` as of now; `key` is used where it is encrypted.
    ///
    /// # Errors
    /// See [`HistoryError`]: no history, another version, a key that does not fit, a file that is missing.
    pub async fn open(dir: &Path, key: &KeySource) -> Result<Reader, HistoryError> {
        let form = layout::read_form(dir)?.ok_or_else(|| HistoryError::Absent(dir.into()))?;
        let keyring = match form.encrypted {
            true => Some(Arc::new(Keyring::open(&layout::keyring_path(dir), key.read()?)?)),
            false => None,
        };
        let mut logs = Vec::new();
        // The last table first: what it covers is in all others.
        for table in Table::ALL.into_iter().rev() {
            let missing = || HistoryError::Absent(dir.join(table.name()));
            logs.push(TableLog::open(dir, table).await?.ok_or_else(missing)?);
        }
        let mut positions = logs[0].positions().clone();
        for log in &mut logs[1..] {
            go_back(log, &positions).await?;
        }
        let watermark = watermark_in(&positions);
        positions.retain(|key, _| !is_mark(key));
        let tables = logs.iter().map(Snapshot::of).collect::<Result<Vec<_>, _>>()?;
        let session = session(dir, &keyring, &tables)?;
        Ok(Reader { dir: dir.into(), keyring, session, tables, positions, watermark })
    }

    /// The files of the table of events.
    pub(super) fn events(&self) -> &[Segment] {
        let events = self.tables.iter().find(|snapshot| snapshot.table == Table::Events);
        events.map(|snapshot| snapshot.files.as_slice()).unwrap_or_default()
    }

    /// The failure with the file that is to blame, where one is found in time: the query engine names none.
    fn blame(&self, error: HistoryError) -> HistoryError {
        if !matches!(error, HistoryError::Query(_) | HistoryError::Unreadable(_)) {
            return error;
        }
        let until = Instant::now() + BLAME;
        let files = self.tables.iter().flat_map(|Snapshot { table, files }| files.iter().map(|file| (*table, file)));
        let damaged = files.take_while(|_| Instant::now() < until).find_map(|(table, file)| {
            let place = place(table, &file.name);
            match std::fs::read(self.dir.join(&place)) {
                Ok(bytes) if sha256(&bytes) == file.sha256 => None,
                Ok(_) => Some((place, "its bytes are not those that were written".to_owned())),
                Err(error) => Some((place, error.to_string())),
            }
        });
        damaged.map_or(error, |(file, what)| HistoryError::Damaged { file, what })
    }

    /// The next offset of each origin at this moment, by position key.
    pub fn positions(&self) -> &std::collections::BTreeMap<String, i64> {
        &self.positions
    }

    /// How far time had come in the engine at this moment; `None` before it has begun.
    pub fn watermark(&self) -> Option<Time> {
        self.watermark
    }

    /// Runs a query of ours; `$1`, `$2`, ... in it stand for `values`.
    pub async fn query(&self, sql: &str, values: &[ScalarValue]) -> Result<Vec<RecordBatch>, HistoryError> {
        run(&self.session, sql, values).await.map_err(|error| self.blame(error))
    }

    /// Runs a query of a user, for at most `limit` and up to `rows` rows; tells whether there were more.
    ///
    /// # Errors
    /// [`HistoryError::Query`] with the query engine's words, also for every statement that is no question;
    /// [`HistoryError::Damaged`]; and [`HistoryError::Limit`].
    pub async fn user_query(
        &self,
        sql: &str,
        rows: usize,
        limit: Duration,
    ) -> Result<(Vec<RecordBatch>, bool), HistoryError> {
        let frame = self.session.sql_with_options(sql, read_only()).await.map_err(failed)?;
        let frame = frame.limit(0, Some(rows + 1)).map_err(failed)?;
        let collected = tokio::time::timeout(limit, collect(frame)).await;
        let collected = collected.map_err(|_| HistoryError::Limit("it took longer than a question may take"))?;
        // A question of a user mostly fails because of its words.
        let mut batches = match collected {
            Err(error @ HistoryError::Unreadable(_)) => return Err(self.blame(error)),
            collected => collected?,
        };
        let mut left = rows;
        let mut more = false;
        for batch in &mut batches {
            more |= batch.num_rows() > left;
            *batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
        }
        Ok((batches, more))
    }
}

/// Only questions: no statement that defines, changes, copies or sets anything.
fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Runs a query of ours.
pub(super) async fn run(
    session: &SessionContext,
    sql: &str,
    values: &[ScalarValue],
) -> Result<Vec<RecordBatch>, HistoryError> {
    let mut frame = session.sql_with_options(sql, read_only()).await.map_err(failed)?;
    if !values.is_empty() {
        let values = values.iter().map(|value| value.clone().into()).collect();
        frame = frame.with_param_values(ParamValues::List(values)).map_err(failed)?;
    }
    collect(frame).await
}

/// Collects in a task of its own, so that a damaged file cannot take more than the answer with it. There is always a batch, with
/// the columns of the answer.
async fn collect(frame: DataFrame) -> Result<Vec<RecordBatch>, HistoryError> {
    let schema = Arc::new(frame.schema().as_arrow().clone());
    // A set of tasks stops them when it is dropped: a query that nobody waits for any more ends.
    let mut task = JoinSet::new();
    task.spawn(frame.collect());
    let damaged = || HistoryError::Unreadable("reading ended early".into());
    let collected = task.join_next().await.and_then(Result::ok).ok_or_else(damaged)?;
    let mut batches = collected.map_err(failed)?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

pub(super) fn failed(error: DataFusionError) -> HistoryError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => HistoryError::Limit("it needs more memory than a question may take"),
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            HistoryError::Unreadable(error.strip_backtrace())
        }
        DataFusionError::ArrowError(arrow, _) if matches!(**arrow, ArrowError::ParquetError(_)) => {
            HistoryError::Unreadable(error.strip_backtrace())
        }
        _ => HistoryError::Query(error.strip_backtrace()),
    }
}

/// Goes back in a log that is ahead of `positions`. A compaction does not move them.
pub(super) async fn go_back(log: &mut TableLog, positions: &Positions) -> Result<(), HistoryError> {
    for _ in 0..STEPS_BACK {
        let ahead = log.positions().iter().any(|(key, next)| positions.get(key).is_none_or(|at| next > at));
        if !ahead || !log.step_back().await? {
            return Ok(());
        }
    }
    let what = "it is far ahead of the table spans".into();
    Err(HistoryError::Damaged { file: format!("{}/_delta_log", log.table.name()), what })
}

/// A session with these tables and nothing else to read from: no spill files, which would lie in clear.
pub(super) fn session(
    dir: &Path,
    keyring: &Option<Arc<Keyring>>,
    snapshots: &[Snapshot],
) -> Result<SessionContext, HistoryError> {
    let config = SessionConfig::new()
        .set_bool("datafusion.execution.parquet.pushdown_filters", true)
        .set_bool("datafusion.execution.parquet.reorder_filters", true)
        .set_bool("datafusion.execution.collect_statistics", false)
        // With several extremes in one question the filter of the first takes rows away from the others (DataFusion 54).
        .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(MEMORY, 1.0)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .map_err(failed)?;
    let session = SessionContext::new_with_config_rt(config, runtime);
    let mut options = TableParquetOptions::new();
    if let Some(keyring) = keyring {
        let factory = Decryption { keyring: keyring.clone() };
        session.runtime_env().register_parquet_encryption_factory("phiwatch", Arc::new(factory));
        options.crypto.factory_id = Some("phiwatch".into());
    }
    for snapshot in snapshots {
        register(&session, dir, snapshot, options.clone())?;
    }
    Ok(session)
}

fn register(
    session: &SessionContext,
    dir: &Path,
    snapshot: &Snapshot,
    options: TableParquetOptions,
) -> Result<(), HistoryError> {
    let Snapshot { table, files } = snapshot;
    if files.is_empty() {
        let empty = MemTable::try_new(table.schema(), vec![vec![]]).map_err(failed)?;
        session.register_table(table.name(), Arc::new(empty)).map_err(failed)?;
        return Ok(());
    }
    let folder = url(&dir.join(table.name()))?;
    let mut urls = Vec::with_capacity(files.len());
    for file in files {
        check_size(&dir.join(table.name()).join(&file.name), *table, file)?;
        let address = folder.join(&file.name).map_err(|_| HistoryError::Location(file.name.clone()))?;
        urls.push(ListingTableUrl::parse(address.as_str()).map_err(failed)?);
    }
    let format = Arc::new(ParquetFormat::default().with_options(options));
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(ListingOptions::new(format).with_file_extension(".parquet"))
        .with_schema(table.schema());
    let listing = ListingTable::try_new(config).map_err(failed)?;
    session.register_table(table.name(), Arc::new(listing)).map_err(failed)?;
    Ok(())
}

/// A listing leaves out a file that is not there; an answer that leaves it out would be a lie.
fn check_size(path: &Path, table: Table, file: &Segment) -> Result<(), HistoryError> {
    let damaged =
        |what: &str| HistoryError::Damaged { file: super::segment::place(table, &file.name), what: what.into() };
    match std::fs::metadata(path) {
        Ok(found) if found.len() as i64 == file.size => Ok(()),
        Ok(_) => Err(damaged("it has another size than when it was written")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(damaged("it is missing")),
        Err(error) => Err(HistoryError::io(path)(error)),
    }
}

/// What DataFusion asks for each file that it opens: the path decides which prefix must be in it.
#[derive(Debug)]
struct Decryption {
    keyring: Arc<Keyring>,
}

#[async_trait]
impl EncryptionFactory for Decryption {
    async fn get_file_encryption_properties(
        &self,
        _: &EncryptionFactoryOptions,
        _: &SchemaRef,
        _: &object_store::path::Path,
    ) -> datafusion::error::Result<Option<Arc<FileEncryptionProperties>>> {
        Ok(None)
    }

    async fn get_file_decryption_properties(
        &self,
        _: &EncryptionFactoryOptions,
        path: &object_store::path::Path,
    ) -> datafusion::error::Result<Option<Arc<FileDecryptionProperties>>> {
        // The table, the day of arrival, and the file's own name.
        let parts: Vec<_> = path.parts().collect();
        let [.., table, _, name] = parts.as_slice() else {
            return Err(DataFusionError::Internal(format!("{path} is no file of a table")));
        };
        Ok(Some(decryption(&format!("{}/{}", table.as_ref(), name.as_ref()), &self.keyring)?))
    }
}
