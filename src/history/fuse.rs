//! A fuse for tests: after so many effects on the disk, the next one fails, as if the process had died before it.

use std::cell::Cell;

use super::HistoryError;

thread_local! {
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From now on `effects` effects pass on this thread, and the one after them fails; `None` lets all pass.
pub(crate) fn set(effects: Option<usize>) {
    LEFT.set(effects);
}

/// An effect is about to take place.
pub(crate) fn pass() -> Result<(), HistoryError> {
    match LEFT.get() {
        Some(0) => Err(HistoryError::Limit("the fuse of a test has blown")),
        left => {
            LEFT.set(left.map(|left| left - 1));
            Ok(())
        }
    }
}
