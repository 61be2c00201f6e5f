//! Any JSON as values, one record after the other: lines, documents over several lines, and lists of records.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::files::{FileError, decompressed_file};
use super::frame::Nesting;
use super::lines::{End, Lines};

/// A record longer than this is not JSON that anybody wrote, in bytes.
const RECORD_MAX: usize = 64 << 20;

/// Calls `take` with each record of a file (`-` is standard input), compressed or not; `None` stands for one that is no JSON. `read`
/// hears of bytes of the file as they are read.
///
/// # Errors
/// Where the file cannot be read, or `take` fails.
pub fn values(
    path: &Path,
    take: &mut dyn FnMut(Option<Value>) -> Result<(), FileError>,
    read: &mut dyn FnMut(u64),
) -> Result<(), FileError> {
    let name = path.to_string_lossy().into_owned();
    let opened = |source| FileError::Open { name: name.clone(), source };
    let taken = Arc::<AtomicU64>::default();
    let stream = decompressed_file(path, taken.clone()).map_err(opened)?;
    let mut lines = Lines::new(Box::new(BufReader::new(stream)), RECORD_MAX);
    let (mut record, mut nesting) = (Vec::new(), Nesting::default());
    while let Some(line) = lines.next_line() {
        // Bytes come by the buffer: most lines bring none.
        let bytes = taken.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            read(bytes);
        }
        let bytes = line.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line.bytes);
        // What cannot go on begins anew with this line: the one before it was broken off.
        if !record.is_empty() && !nesting.goes_on(line.first()) {
            take(None)?;
            (record, nesting) = (Vec::new(), Nesting::default());
        }
        record.extend_from_slice(bytes);
        record.push(b'\n');
        nesting.scan(bytes);
        if nesting.is_open() == Some(true) && line.end == End::Break && record.len() < RECORD_MAX {
            continue;
        }
        if line.end == End::Bound {
            lines.skip();
        }
        give(&record, take)?;
        (record, nesting) = (Vec::new(), Nesting::default());
    }
    give(&record, take)?;
    lines.take_failure().map_or(Ok(()), |source| Err(FileError::Read { name, source }))
}

fn give(record: &[u8], take: &mut dyn FnMut(Option<Value>) -> Result<(), FileError>) -> Result<(), FileError> {
    if record.trim_ascii().is_empty() {
        return Ok(());
    }
    // One line may hold several values, one after the other.
    for value in serde_json::Deserializer::from_slice(record).into_iter::<Value>() {
        match value {
            Ok(Value::Array(elements)) => elements.into_iter().try_for_each(|element| take(Some(element)))?,
            Ok(value) => take(Some(value))?,
            Err(_) => return take(None),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        let mut found = Vec::new();
        let mut take = |value: Option<Value>| {
            found.push(value.map_or("broken".to_owned(), |value| value.to_string()));
            Ok(())
        };
        let mut read = 0;
        values(&path, &mut take, &mut |bytes| read += bytes).unwrap();
        assert_eq!(read, text.len() as u64);
        assert_eq!(found.join(" "), expected, "{text}");
    }

    #[test]
    fn records() {
        check("{\"a\":1}\n\n{\"a\":2}\n", r#"{"a":1} {"a":2}"#);
        check("{\n \"a\": 1\n}\n{\n \"a\": [\n2]}", r#"{"a":1} {"a":[2]}"#);
        check("[{\"a\":1},\n{\"a\":2}]\n{\"a\":3}", r#"{"a":1} {"a":2} {"a":3}"#);
        check("{\"a\":1}{\"a\":2}", r#"{"a":1} {"a":2}"#);
        check("{\"a\":\n{\"a\":2}\n", "broken");
        check("{\"a\":1\n{\"a\":2}\nnonsense\n{\"a\":3}", r#"broken {"a":2} broken {"a":3}"#);
        check("", "");
    }
}
