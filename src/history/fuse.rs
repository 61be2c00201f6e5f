//! A fuse for tests: after so many effects on the disk, the next one fails, as if the process had died before it, or as on a full disk.

use std::cell::Cell;

use super::HistoryError;

thread_local! {
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    static REFUSALS: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// After `effects` writes to the history on this thread the disk is full for `times` writes, and then there is room again.
pub(crate) fn fill(effects: usize, times: usize) {
    REFUSALS.set(Some((effects, times)));
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

/// Something is about to be written to the history: as [`pass`], and there has to be room for it.
pub(super) fn write() -> Result<(), HistoryError> {
    match REFUSALS.get() {
        Some((_, 0)) => REFUSALS.set(None),
        Some((0, times)) => {
            REFUSALS.set(Some((0, times - 1)));
            return Err(HistoryError::io("the disk of a test".as_ref())(std::io::ErrorKind::StorageFull.into()));
        }
        Some((effects, times)) => REFUSALS.set(Some((effects - 1, times))),
        None => {}
    }
    pass()
}
