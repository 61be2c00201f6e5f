//! What the reader knows of a file while it is read, and until all of it is on record.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::folder::Stamp;
use crate::event::effects::Decoded;
use crate::event::{Origin, Time};
use crate::ingest::files::FileReader;
use crate::ingest::known::End;

/// Rows by which it is seen when a file begins.
const PEEK_ROWS: usize = 64;
/// Decompressed bytes of them.
const PEEK_BYTES: u64 = 1 << 20;

/// What a file is called on record: its path, with bytes that are no UTF-8 as `\\xNN`, so that
/// names that differ in such bytes only are told apart.
pub(in crate::ingest) fn origin(path: &Path) -> Origin {
    let mut name = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        name.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| name.push_str(&format!("\\x{byte:02x}")));
    }
    Origin::file(name)
}

/// A file that is being read.
pub(super) struct Open {
    pub path: PathBuf,
    pub origin: Origin,
    pub reader: FileReader,
    pub stamp: Stamp,
    pub key: String,
    /// Stretches before this position are on record.
    pub from: i64,
    /// Last position that went down the road; 0 before any did.
    pub to: i64,
    /// Where the last stretch ended, whether it went down the road or not.
    pub next: i64,
    /// How far its records have come.
    pub time: Time,
    pub paused: bool,
}

/// A file that was read as far as it goes, and is not on record yet.
pub(super) struct Ended {
    pub path: PathBuf,
    /// The position key of what it holds; none where that is not known, or was read before.
    pub key: Option<String>,
    /// Where it ends, where it was read to there.
    pub end: Option<End>,
    /// As it was when it was opened, where it was read whole; none where it has to be tried again.
    pub read: Option<Stamp>,
    /// It may be moved away.
    pub whole: bool,
}

pub(super) fn gone_away(path: &Path) -> String {
    format!("{}: it was taken away before it was read", path.display())
}

/// The time of the earliest of the first records of a file.
pub(super) fn first(mut reader: FileReader) -> Option<Time> {
    let chunk = reader.next_chunk(PEEK_ROWS, PEEK_BYTES).ok()??;
    chunk.batch.rows().map(|event| event.time()).min()
}

/// The time of the latest record of a stretch.
pub(super) fn latest(chunk: &Decoded) -> Option<Time> {
    chunk.batch.rows().map(|event| event.time()).max()
}
