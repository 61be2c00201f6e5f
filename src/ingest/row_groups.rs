//! The rows of a Parquet file, row group by row group.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use sha2::{Digest, Sha256};

use crate::decode::table::Table;
use crate::decode::{Decoder, RawRecord, fields};

/// Rows that are held at a time.
const ROWS: usize = 1_024;

/// Gives the rows of a Parquet file to a decoder.
pub struct RowGroups {
    reader: ParquetRecordBatchReader,
    table: Option<Table>,
    row: usize,
    given: i64,
    hash: Sha256,
}

impl RowGroups {
    /// Reads `file`, the bytes of which have the given hash.
    ///
    /// # Errors
    /// What is wrong with the file, for people.
    pub fn open(file: impl ChunkReader + 'static, hash: Sha256) -> Result<RowGroups, String> {
        let reader = guarded(|| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            builder.with_batch_size(ROWS).build()
        })?;
        Ok(RowGroups { reader, table: None, row: 0, given: 0, hash })
    }

    /// Gives the next row; false at the end.
    ///
    /// # Errors
    /// What is wrong with the file, for people.
    pub fn step(&mut self, decoder: &mut Decoder) -> Result<bool, String> {
        while self.table.as_ref().is_none_or(|table| self.row == table.rows()) {
            let Some(batch) = guarded(|| self.reader.next().transpose())? else {
                return Ok(false);
            };
            let table = guarded(|| Table::new(&batch, decoder.limits()))?;
            (self.table, self.row) = (Some(table), 0);
        }
        let Some(table) = &self.table else { return Ok(false) };
        let decoded = table.slots(self.row).and_then(|slots| fields::draft(slots, decoder.hints()));
        // The text of a row is made only where it has to be kept.
        let text = if decoded.is_err() { table.text(self.row) } else { String::new() };
        self.row += 1;
        self.given += 1;
        let record = RawRecord { offset: self.given, byte: 0, at: None, value: Some(text.as_bytes()) };
        decoder.push_row(&record, decoded);
        Ok(true)
    }

    /// How many rows were given.
    pub fn given(&self) -> i64 {
        self.given
    }

    /// SHA-256 of the file and the number of rows that were given.
    pub fn sha256(&self) -> [u8; 32] {
        self.hash.clone().chain_update(self.given.to_le_bytes()).finalize().into()
    }
}

/// Damaged files make the reader panic here and there; to us that is one more way of being damaged.
fn guarded<T, E: std::fmt::Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the file is damaged in a way that its reader does not expect".into()),
    }
}
