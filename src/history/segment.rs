//! Writes and reads one Parquet file of a table: sorted rows, bloom filters, an encrypted footer.
//!
//! The additional data of every encrypted part begins with `table/file name`. It is stored in the file, so that other programs can
//! read it; ours insists on the one that belongs to the place, so that a file that was moved or exchanged does not open. The writer
//! properties hold the data key in clear and are therefore never formatted.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::HistoryError;
use super::layout::{make_folder, random_hex, sync_folder};
use super::tables::Table;
use crate::event::time::{DAY, Day};
use crate::event::{Time, print};
use crate::keys::Keyring;

const ROW_GROUP_ROWS: usize = 32_768;

/// A file that was written and forced to the disk, but is in no commit yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Path within the folder of its table: the folder of its day, and its own name.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Rows.
    pub rows: usize,
    /// SHA-256 over the bytes as they lie on the disk, in hexadecimal digits.
    pub sha256: String,
    /// The last of the places in the order of commits that its rows had; other than the first only in joined files.
    pub through: u64,
    /// The first and the last hour of event time in it, from 1970; only of events.
    pub hours: Option<(i32, i32)>,
}

/// The column by whose values the tables are partitioned: the UTC day of arrival.
pub(super) const PARTITION: &str = "arrival_date";

/// The UTC day of arrival, from a file's path.
pub(super) fn day_of(name: &str) -> Option<Day> {
    let (folder, _) = name.split_once('/')?;
    Day::parse(folder.strip_prefix(PARTITION)?.strip_prefix('=')?)
}

/// The place of a file's rows in the order of commits, from its path; 0 for one that is not ours.
pub(super) fn number_of(name: &str) -> u64 {
    own_name(name).split('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn own_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Where a segment belongs in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// The newest arrival in it: decides the folder and the month key.
    pub arrival: Time,
    /// Its place in the order of commits: the version of the log that adds it; of joined files, the first of theirs.
    pub number: u64,
}

/// Writes `rows` of `table`, sorted, into a new file below `dir`; returns when the disk has it.
pub(super) fn write(
    dir: &Path,
    table: Table,
    rows: &RecordBatch,
    When { arrival, number }: When,
    keyring: Option<&Keyring>,
) -> Result<Segment, HistoryError> {
    let day = format!("{PARTITION}={}", Day(arrival.0.div_euclid(DAY) as i32));
    let name = format!("{day}/{number:012}-{}.parquet", random_hex()?);
    let folder = dir.join(table.name()).join(day);
    if !folder.exists() {
        make_folder(&folder)?;
    }
    let (place, aad) = (place(table, &name), aad(table, &name));
    let path = dir.join(&place);
    let wrong = |source: ParquetError| HistoryError::Parquet { file: place.clone(), source: Box::new(source) };

    let mut properties = columns(table, rows.num_rows());
    if let Some(keyring) = keyring {
        let (key, metadata) = keyring.parquet_key(arrival)?;
        let encryption = FileEncryptionProperties::builder(key.bytes().to_vec())
            .with_footer_key_metadata(metadata)
            .with_aad_prefix(aad.into_bytes())
            .with_aad_prefix_storage(true)
            .build();
        properties = properties.with_file_encryption_properties(encryption.map_err(wrong)?);
    }
    let file = File::create_new(&path).map_err(HistoryError::io(&path))?;
    let sorted = sort(table, rows).map_err(|error| wrong(error.into()))?;
    let mut writer =
        ArrowWriter::try_new(Hashed::new(file), sorted.schema(), Some(properties.build())).map_err(wrong)?;
    writer.write(&sorted).map_err(wrong)?;
    let hashed = writer.into_inner().map_err(wrong)?;
    hashed.file.sync_all().map_err(HistoryError::io(&path))?;
    sync_folder(&folder)?;
    let sha256 = digits(&hashed.hash.finalize());
    let hours = if table == Table::Events { hours(rows) } else { None };
    Ok(Segment { name, size: hashed.bytes, rows: rows.num_rows(), sha256, through: number, hours })
}

fn hours(rows: &RecordBatch) -> Option<(i32, i32)> {
    let times = rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let hour = |time: i64| print::hour(Time(time));
    Some((hour(arrow::compute::min(times)?), hour(arrow::compute::max(times)?)))
}

/// The hash of a file's bytes, as a commit holds it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    digits(&Sha256::digest(bytes))
}

fn digits(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a file lies below the folder of the history, and how it is named in errors.
pub(super) fn place(table: Table, name: &str) -> String {
    format!("{}/{name}", table.name())
}

/// What a file's encrypted parts are bound to: `table/file name`.
pub(super) fn aad(table: Table, name: &str) -> String {
    format!("{}/{}", table.name(), own_name(name))
}

/// How to open a file whose parts are bound to `aad`.
pub(super) fn decryption(aad: &str, keyring: &Arc<Keyring>) -> Result<Arc<FileDecryptionProperties>, ParquetError> {
    let retriever = Retriever { keyring: keyring.clone(), place: aad.to_string() };
    FileDecryptionProperties::with_key_retriever(Arc::new(retriever)).with_aad_prefix(aad.as_bytes().to_vec()).build()
}

fn columns(table: Table, rows: usize) -> WriterPropertiesBuilder {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by("phiwatch".into());
    // Nearly every row has its own: a dictionary of them is built to be thrown away.
    for column in ["event_id", "offset", "time", "recorded", "raw"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    for column in table.blooms() {
        let column = ColumnPath::from(*column);
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), 0.01)
            .set_column_bloom_filter_max_ndv(column, rows.clamp(1, ROW_GROUP_ROWS) as u64);
    }
    properties
}

fn sort(table: Table, rows: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let options = Some(SortOptions { descending: false, nulls_first: true });
    let columns: Vec<SortColumn> = table
        .sorted_by()
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(|values| SortColumn { values: values.clone(), options })
        .collect();
    take_record_batch(rows, &lexsort_to_indices(&columns, None)?)
}

/// Finds the data key of one file through the keyring.
struct Retriever {
    keyring: Arc<Keyring>,
    place: String,
}

impl KeyRetriever for Retriever {
    fn retrieve_key(&self, metadata: &[u8]) -> parquet::errors::Result<Vec<u8>> {
        let key = self.keyring.parquet_open(&self.place, metadata);
        key.map(|key| key.bytes().to_vec()).map_err(|error| ParquetError::General(error.to_string()))
    }
}

/// A file that is hashed and counted while it is written.
struct Hashed {
    file: File,
    hash: Sha256,
    bytes: i64,
}

impl Hashed {
    fn new(file: File) -> Hashed {
        Hashed { file, hash: Sha256::new(), bytes: 0 }
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as i64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// All rows of one file below `dir`; the bytes are those that were committed.
///
/// # Errors
/// [`HistoryError::Damaged`] where they are not.
pub(super) fn read(
    dir: &Path,
    table: Table,
    file: &Segment,
    keyring: Option<&Arc<Keyring>>,
) -> Result<Vec<RecordBatch>, HistoryError> {
    let place = place(table, &file.name);
    let path = dir.join(&place);
    let bytes = std::fs::read(&path).map_err(HistoryError::io(&path))?;
    if sha256(&bytes) != file.sha256 {
        return Err(HistoryError::Damaged { file: place, what: "its bytes are not those that were written".into() });
    }
    let wrong = |source: ParquetError| HistoryError::Parquet { file: place.clone(), source: Box::new(source) };
    let mut options = ArrowReaderOptions::new();
    if let Some(keyring) = keyring {
        options = options.with_file_decryption_properties(decryption(&aad(table, &file.name), keyring).map_err(wrong)?);
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::from(bytes), options);
    let reader = builder.and_then(|builder| builder.build()).map_err(wrong)?;
    reader.map(|rows| rows.map_err(|error| wrong(error.into()))).collect()
}
