//! Files that `run` has read: each is noted in the control log once everything of it is on record, and forgotten by the road then.

use super::{Road, RoadError};
use crate::event::{Origin, Time};
use crate::history::{Change, FileRead};
use crate::ingest::known::End;

/// A file of which nothing more comes.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    /// The file.
    pub origin: Origin,
    /// First position that did not go down the road; 0 where none did.
    pub to: i64,
    /// Where it ends, where it was read to there.
    pub end: Option<End>,
}

/// What the control log says of files that were read; none where there are none.
pub fn read_files(ends: impl Iterator<Item = End>) -> Option<Change> {
    let files: Vec<FileRead> = ends.map(|End { sha256, next }| FileRead { sha256, next }).collect();
    (!files.is_empty()).then_some(Change::Files { files })
}

impl Road<'_> {
    /// Nothing more comes of a file.
    pub(super) fn pass(&mut self, passed: Passed) {
        self.passed.push(passed);
    }

    /// Notes the files of which everything is on record by now. A note that comes before its rows would lose them in a crash.
    ///
    /// # Errors
    /// Where the history cannot be written.
    pub fn note_files(&mut self, now: Time) -> Result<Vec<Origin>, RoadError> {
        if self.passed.is_empty() {
            return Ok(Vec::new());
        }
        let positions = self.keep.as_ref().map(|keep| keep.history.positions()).unwrap_or_default();
        let at = |origin: &Origin| self.keys.get(origin).and_then(|key| positions.get(key)).copied();
        let is_durable = |passed: &Passed| passed.to == 0 || at(&passed.origin) >= Some(passed.to);
        let (durable, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.passed).into_iter().partition(is_durable);
        self.passed = others;
        if let Some(change) = read_files(durable.iter().filter_map(|passed| passed.end.clone())) {
            self.note(now, &change, None)?;
        }
        let origins: Vec<Origin> = durable.into_iter().map(|passed| passed.origin).collect();
        origins.iter().for_each(|origin| _ = self.keys.remove(origin));
        Ok(origins)
    }
}
