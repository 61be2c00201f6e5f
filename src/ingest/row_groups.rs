//! The rows of a Parquet file, row group by row group.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use sha2::{Digest, Sha256};

use crate::decode::table::Table;
use crate::decode::{Decoder, RawRecord};

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
        let decoded = table.fields(self.row).and_then(|fields| fields.draft(decoder.hints()));
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

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
        TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use crate::decode::{Hints, Limits};
    use crate::ingest::files::{FileError, FileReader};
    use crate::ingest::tests::{check, file, gzip, read_path};

    fn parquet_file(columns: Vec<(&str, ArrayRef)>, rows_in_group: usize) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_in_group)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    pub(in crate::ingest) fn sample_parquet() -> Vec<u8> {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("p1"), Some("p2")]);
        lists.append_null();
        lists.append_value([Some("p1"), None]);
        let text = |values: [Option<&str>; 3]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        let second = 1_772_359_200_000_000_000_i64;
        parquet_file(
            vec![
                ("event_id", text([Some("a"), Some("b"), Some("c")])),
                (
                    "time",
                    Arc::new(
                        TimestampNanosecondArray::from(vec![second + 1_234, second, second]).with_timezone("+02:00"),
                    ),
                ),
                ("recorded", Arc::new(TimestampMillisecondArray::from(vec![Some(253_402_300_799_000), None, None]))),
                ("source", text([Some("s"), Some("s"), Some("s")])),
                ("actor.id", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(1)]))),
                ("activity", text([Some("read"), Some("search"), Some("read")])),
                ("patients", Arc::new(lists.finish())),
                ("purpose", text([Some("TREAT;BTG"), None, None])),
                ("result_count", Arc::new(Float64Array::from(vec![Some(12.0), None, None]))),
                ("session_id", Arc::new(Int64Array::from(vec![Some(77), None, None]))),
                ("break_glass", Arc::new(BooleanArray::from(vec![Some(true), None, None]))),
                ("ward", Arc::new(Int64Array::from(vec![Some(4), None, None]))),
            ],
            2,
        )
    }

    #[test]
    fn parquet_rows() {
        let bytes = sample_parquet();
        check("f.parquet", &bytes, &["1 a", "2 b", "3 wrong_type"]);
        check("f", gzip(&bytes), &["1 a", "2 b", "3 wrong_type"]);
        let (_folder, path) = file("f", &bytes);
        let mut reader = FileReader::open(&path, Hints::new("f"), Limits::default()).unwrap();
        let chunk = reader.next_chunk(10, u64::MAX).unwrap().unwrap();
        let event = chunk.batch.row(0);
        assert_eq!(event.time().to_string(), "2026-03-01T10:00:00.000001Z");
        assert_eq!(event.recorded().unwrap().to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(event.actor_id(), Some("18446744073709551615"));
        assert_eq!(event.patients().collect::<Vec<_>>(), ["p1", "p2"]);
        assert_eq!(event.purpose().collect::<Vec<_>>(), ["TREAT", "BTG"]);
        assert_eq!((event.result_count(), event.session_id(), event.break_glass()), (Some(12), Some("77"), Some(true)));
        assert_eq!(event.raw(), Some(r#"{"ward":4,"time":"2026-03-01T10:00:00.000001234Z"}"#));
        assert_eq!(chunk.batch.row(1).actor_id(), None);
        let kept: serde_json::Value = serde_json::from_slice(&chunk.rejects[0].raw).unwrap();
        assert_eq!(kept["event_id"], "c");
    }

    #[test]
    fn damaged_parquet_is_told() {
        let bytes = sample_parquet();
        for cut in [4, 8, bytes.len() / 2, bytes.len() - 1] {
            let (_folder, path) = file("f.parquet", &bytes[..cut]);
            let outcome = read_path(&path, Limits::default(), 10, u64::MAX);
            assert!(matches!(outcome.failure, Some(FileError::Damaged { .. })), "cut at {cut}");
        }
    }
}
