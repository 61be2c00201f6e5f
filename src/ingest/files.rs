//! Files and standard input as decoded stretches, in constant memory.
//!
//! What a file is, is told by its content first (gzip and zstd frames, Parquet, JSON) and by its name second (CSV). `offset` is the
//! line, or the number of the row of Parquet, from 1; `byte` the offset in the decompressed file. Where a compressed file is damaged
//! in the middle, what was read stays, one reject says `truncated`, and then comes the failure.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

pub use super::convert::convert;
use super::frame::{Frames, Shape};
use super::lines::Lines;
use super::row_groups::RowGroups;
use crate::decode::csv::Header;
use crate::decode::{Counts, Decoder, Format, Hints, Limits, RawRecord, Refusal};
use crate::event::effects::Decoded;
use crate::event::{Origin, Reason};

/// Bytes that are asked of a stream at a time.
const BUFFER: usize = 256 << 10;
/// Bytes at the start of a stream that tell what it is.
const HEAD: usize = 4 << 10;
/// Largest Parquet file that is read from a pipe or a compressed file, which have to be held whole.
const HELD_MAX: u64 = 1 << 30;

/// A failure of the world outside.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened.
    #[error("{name}: cannot be opened: {source}")]
    Open {
        /// The file as it was named.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Reading failed for a reason of the machine.
    #[error("{name}: reading failed: {source}")]
    Read {
        /// The file as it was named.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The content is damaged; what was read before stands.
    #[error("{name}: damaged after {read} bytes of content: {what}")]
    Damaged {
        /// The file as it was named.
        name: String,
        /// Decompressed bytes that were read.
        read: u64,
        /// What is wrong.
        what: String,
    },
    /// Results cannot be written.
    #[error("results cannot be written: {source}")]
    Write {
        /// Why.
        source: io::Error,
    },
}

impl FileError {
    /// A failure to write results.
    pub fn write(source: io::Error) -> FileError {
        FileError::Write { source }
    }

    /// Whether the same may work later: not for a file that is missing, forbidden or damaged.
    pub fn retry(&self) -> bool {
        matches!(self, FileError::Read { .. })
    }
}

enum Source {
    Text(Box<Frames>),
    Parquet(Box<RowGroups>),
}

/// Reads one file.
pub struct FileReader {
    name: String,
    source: Source,
    decoder: Decoder,
    next: i64,
    taken: Arc<AtomicU64>,
    total: Option<u64>,
    done: bool,
    failure: Option<FileError>,
}

impl FileReader {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// Where it cannot be opened, or is damaged at its very start.
    pub fn open(path: impl AsRef<Path>, hints: Hints, limits: Limits) -> Result<FileReader, FileError> {
        let path = path.as_ref();
        FileReader::open_as(path, &path.to_string_lossy(), hints, limits)
    }

    /// The same under a name that is not its path.
    ///
    /// # Errors
    /// Where it cannot be opened, or is damaged at its very start.
    pub fn open_as(path: &Path, name: &str, hints: Hints, limits: Limits) -> Result<FileReader, FileError> {
        let name = name.to_owned();
        let opened = |source| FileError::Open { name: name.clone(), source };
        let taken = Arc::new(AtomicU64::new(0));
        let (input, total): (Box<dyn Read + Send>, _) = if name == "-" {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(opened)?;
            let about = file.metadata().map_err(opened)?;
            if about.is_dir() {
                return Err(opened(io::ErrorKind::IsADirectory.into()));
            }
            (Box::new(file), about.is_file().then_some(about.len()))
        };
        Self::new((path, name), Counted { input, taken }, total, hints, limits)
    }

    /// Reads what another reader gives, from its start, under this name.
    ///
    /// # Errors
    /// Where it cannot be read, or is damaged at its very start.
    pub fn of(
        name: &str,
        input: impl Read + Send + 'static,
        hints: Hints,
        limits: Limits,
    ) -> Result<FileReader, FileError> {
        let counted = Counted { input: Box::new(input), taken: Arc::new(AtomicU64::new(0)) };
        Self::new((Path::new(name), name.to_owned()), counted, None, hints, limits)
    }

    fn new(
        (path, name): (&Path, String),
        counted: Counted,
        total: Option<u64>,
        hints: Hints,
        limits: Limits,
    ) -> Result<FileReader, FileError> {
        let taken = counted.taken.clone();
        let opened = |source| FileError::Open { name: name.clone(), source };
        let (stream, compressed) = decompressed(counted).map_err(opened)?;
        let (head, stream) = peek(stream, HEAD);
        let source = if head.starts_with(b"PAR1") || head.starts_with(b"PARE") {
            parquet(path, &name, stream, compressed || total.is_none())?
        } else {
            let shape = shape(&head, &name, hints.format, &limits);
            let reader = Box::new(BufReader::with_capacity(BUFFER, stream));
            Source::Text(Box::new(Frames::new(Lines::new(reader, limits.record_bytes + 1), shape)))
        };
        let decoder = Decoder::new(Origin::file(name.as_str()), hints, limits);
        Ok(FileReader { name, source, decoder, next: 1, taken, total, done: false, failure: None })
    }

    /// The next stretch: until `rows_max` events and rejects or `bytes_max` decompressed bytes are reached, or the end; a record is
    /// never cut, so that a stretch may be somewhat larger. `None` at the end.
    ///
    /// # Errors
    /// Once, after everything that could be read was given.
    pub fn next_chunk(&mut self, rows_max: usize, bytes_max: u64) -> Result<Option<Decoded>, FileError> {
        let start = self.byte();
        while !self.done && self.wants_more(rows_max, start.saturating_add(bytes_max)) {
            self.step();
        }
        if self.decoder.pending() == 0 {
            return self.failure.take().map_or(Ok(None), Err);
        }
        let from = self.next;
        self.next = self.position().max(from);
        // Where the input ended in the middle of a line nothing more comes of it.
        if self.done {
            self.next = self.next.max(self.decoder.offset() + 1);
        }
        Ok(Some(self.decoder.finish(from, self.next)))
    }

    /// The first line, or row, of which not all records were given: at the end also past lines that hold none, wherever stretches ended.
    pub fn position(&self) -> i64 {
        match &self.source {
            Source::Text(frames) => frames.next_number(),
            Source::Parquet(rows) => rows.given() + 1,
        }
    }

    /// SHA-256 of the decompressed bytes up to the position that was reached; of Parquet, of the file and the rows that were given.
    pub fn sha256_so_far(&self) -> [u8; 32] {
        match &self.source {
            Source::Text(frames) => frames.lines.sha256(),
            Source::Parquet(rows) => rows.sha256(),
        }
    }

    /// Bytes of the file that were read, compressed as they are; for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes of the file in all, where known.
    pub fn bytes_total(&self) -> Option<u64> {
        self.total
    }

    /// What was read so far and what became of it.
    pub fn counts(&self) -> Counts {
        self.decoder.counts()
    }

    fn byte(&self) -> u64 {
        match &self.source {
            Source::Text(frames) => frames.lines.byte(),
            Source::Parquet(_) => self.bytes_read(),
        }
    }

    fn wants_more(&self, rows_max: usize, byte_max: u64) -> bool {
        // Lines that were put back have been hashed: they belong to this stretch.
        let waiting = matches!(&self.source, Source::Text(frames) if frames.lines.waiting());
        // A stretch ends between two lines: several elements of an array may stand on one.
        let within = matches!(&self.source, Source::Text(frames) if self.decoder.pending() > 0 && frames.is_within(self.decoder.offset()));
        waiting
            || within
            || (self.decoder.pending() < rows_max.max(1) && (self.byte() < byte_max || self.decoder.pending() == 0))
    }

    fn step(&mut self) {
        match &mut self.source {
            Source::Text(frames) => {
                self.done = !frames.step(&mut self.decoder);
                if let Some(error) = frames.lines.take_failure() {
                    self.failure = Some(failure(&self.name, frames.lines.byte(), error));
                }
            }
            Source::Parquet(rows) => match rows.step(&mut self.decoder) {
                Ok(more) => self.done = !more,
                Err(what) => {
                    let record = RawRecord { offset: rows.given() + 1, byte: 0, at: None, value: None };
                    self.decoder.push_reject(&record, Refusal::new(Reason::Truncated));
                    let read = self.taken.load(Ordering::Relaxed);
                    self.failure = Some(FileError::Damaged { name: self.name.clone(), read, what });
                    self.done = true;
                }
            },
        }
    }
}

/// Errors of the machine carry its number; all others come from the content.
fn failure(name: &str, read: u64, source: io::Error) -> FileError {
    match source.raw_os_error() {
        Some(_) => FileError::Read { name: name.to_owned(), source },
        None => FileError::Damaged { name: name.to_owned(), read, what: source.to_string() },
    }
}

/// Counts the bytes that are taken from a file.
struct Counted {
    input: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

type Stream = Box<dyn Read + Send>;

/// Looks at the first bytes of a stream; the stream that comes back gives them again. A failure is met when it is read.
fn peek(mut stream: impl Read + Send + 'static, length: usize) -> (Vec<u8>, Stream) {
    let mut head = Vec::new();
    let failed = stream.by_ref().take(length as u64).read_to_end(&mut head).err();
    let again = Cursor::new(head.clone());
    match failed {
        Some(error) => (head, Box::new(again.chain(Failing(Some(error))))),
        None => (head, Box::new(again.chain(stream))),
    }
}

/// A stream that fails once.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The content of a file that may be compressed; `-` is standard input. The bytes that are taken from it are added to `taken`.
pub(super) fn decompressed_file(path: &Path, taken: Arc<AtomicU64>) -> io::Result<impl Read + Send + use<>> {
    let input: Box<dyn Read + Send> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    Ok(decompressed(Counted { input, taken })?.0)
}

/// The content of a file that may be compressed, and whether it is.
fn decompressed(file: Counted) -> io::Result<(Stream, bool)> {
    let (head, stream) = peek(file, 8);
    let stream = BufReader::with_capacity(BUFFER, stream);
    let zstd_frame = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    // zstd also begins with a frame to be skipped.
    let zstd_skip = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        (Box::new(flate2::bufread::MultiGzDecoder::new(stream)), true)
    } else if zstd_frame || zstd_skip {
        (Box::new(zstd::stream::read::Decoder::with_buffer(stream)?), true)
    } else {
        (Box::new(stream), false)
    })
}

/// Whether text is JSON or CSV: by its first character, a header line with native names, and the name of the file.
fn shape(head: &[u8], name: &str, format: Format, limits: &Limits) -> Shape {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let has_header = || Header::new(line.trim_end().split(',').map(|name| name.trim_matches('"')), limits).is_native();
    let named = || {
        let name = name.to_ascii_lowercase();
        let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        bare.ends_with(".csv")
    };
    match format {
        Format::Csv => Shape::Csv(None),
        Format::Auto if !line.starts_with(['{', '[']) && (has_header() || named()) => Shape::Csv(None),
        _ => Shape::Json,
    }
}

/// Parquet has to be read back and forth: from the file itself, or held whole where it comes from a pipe or is compressed.
fn parquet(path: &Path, name: &str, stream: Stream, held: bool) -> Result<Source, FileError> {
    let damaged = |what| FileError::Damaged { name: name.to_owned(), read: 0, what };
    let mut hash = Sha256::new();
    let mut stream = stream.take(if held { HELD_MAX + 1 } else { u64::MAX });
    let rows = if held {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|error| failure(name, 0, error))?;
        if bytes.len() as u64 > HELD_MAX {
            return Err(damaged(format!("Parquet of more than {HELD_MAX} bytes has to be given as a plain file")));
        }
        hash.update(&bytes);
        RowGroups::open(bytes::Bytes::from(bytes), hash)
    } else {
        io::copy(&mut stream, &mut hash).map_err(|error| failure(name, 0, error))?;
        let file = File::open(path).map_err(|source| FileError::Open { name: name.to_owned(), source })?;
        RowGroups::open(file, hash)
    };
    rows.map(|rows| Source::Parquet(Box::new(rows))).map_err(damaged)
}
