//! Any supported format in, native events out: what `phiwatch decode` does.

use std::io::Write;
use std::path::PathBuf;

use super::files::{FileError, FileReader};
use crate::decode::{Counts, Hints, Limits, native, reject_line};

/// Rows and bytes that are held at a time.
const ROWS: usize = 8_192;
const BYTES: u64 = 8 << 20;

/// Writes the events of all inputs as native JSON lines to `out`, and what could not be used as JSON lines to `rejects`.
///
/// A damaged input does not keep the others from being read. `read` hears of bytes of the inputs as they are read.
///
/// # Errors
/// The first failure, after all inputs were read as far as they can be; at once where `out` or `rejects` cannot be written.
pub fn convert(
    inputs: &[PathBuf],
    hints: &Hints,
    limits: &Limits,
    out: &mut dyn Write,
    mut rejects: Option<&mut dyn Write>,
    read: &mut dyn FnMut(u64),
) -> Result<Counts, FileError> {
    let mut counts = Counts::default();
    let mut failure = None;
    for input in inputs {
        let name = input.file_name().map_or_else(|| input.to_string_lossy(), |name| name.to_string_lossy());
        let hints = Hints { fallback_source: name.into_owned(), ..hints.clone() };
        let opened = FileReader::open(input, hints, limits.clone());
        match opened.and_then(|reader| convert_one(reader, out, &mut rejects, &mut counts, read)) {
            Ok(()) => {}
            Err(error @ FileError::Write { .. }) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    out.flush().map_err(FileError::write)?;
    failure.map_or(Ok(counts), Err)
}

fn convert_one(
    mut reader: FileReader,
    out: &mut dyn Write,
    rejects: &mut Option<&mut dyn Write>,
    counts: &mut Counts,
    read: &mut dyn FnMut(u64),
) -> Result<(), FileError> {
    let (mut lines, mut known) = (Vec::new(), 0);
    loop {
        let chunk = reader.next_chunk(ROWS, BYTES);
        read(reader.bytes_read() - known);
        known = reader.bytes_read();
        if !matches!(chunk, Ok(Some(_))) {
            let of_input = reader.counts();
            counts.records += of_input.records;
            counts.events += of_input.events;
            counts.rejects += of_input.rejects;
        }
        let Some(chunk) = chunk? else { return Ok(()) };
        lines.clear();
        chunk.batch.rows().for_each(|event| native::write(&event, &mut lines));
        out.write_all(&lines).map_err(FileError::write)?;
        if let Some(rejects) = rejects {
            for reject in &chunk.rejects {
                writeln!(rejects, "{}", reject_line(reject)).map_err(FileError::write)?;
            }
        }
    }
}
