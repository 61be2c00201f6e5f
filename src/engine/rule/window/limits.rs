//! How much the windows keep, and what was left out where that was reached.

use serde::{Deserialize, Serialize};

/// How much the windows of one correlation keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Hits of one group and local day: the first so many in the order of time.
    pub hits_a_day: usize,
    /// Groups with hits that are kept.
    pub groups: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { hits_a_day: 65_536, groups: 1_000_000 }
    }
}

/// What one correlation has left out since its state began. Anything above zero is a blind spot that people have to hear of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Hits beyond the first of their group and day.
    pub hits: u64,
    /// Hits of groups for which there was no room.
    pub hits_of_new_groups: u64,
    /// Hits of an event whose lists multiply to too many groups or values.
    pub combinations: u64,
}
