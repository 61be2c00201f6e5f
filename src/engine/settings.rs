//! The settings that the engine reads; their hash stands in every alert.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Time;
use crate::event::time::HOUR;

/// What the engine is told by the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Budgeted alerts per 1,000 human accounts and day.
    pub per_1000_users_per_day: f64,
    /// Declared sources and how late their records may come, in microseconds; empty declares every source.
    pub sources: BTreeMap<String, i64>,
    /// An account counts as dormant after this many days without use.
    pub dormant_after_days: i32,
    /// The zone of everything that names none, as the rosters were loaded with it: a part of the hash, read there.
    #[serde(default)]
    pub default_timezone: String,
    /// An account that was never used counts as forgotten this many days after it was made.
    pub never_used_after_days: i32,
}

/// How late records may come where no source says otherwise.
pub const SETTLE: i64 = 36 * HOUR;

impl Default for Settings {
    /// The shipped defaults.
    fn default() -> Settings {
        Settings {
            per_1000_users_per_day: 2.0,
            default_timezone: "UTC".to_owned(),
            sources: BTreeMap::new(),
            dormant_after_days: 45,
            never_used_after_days: 30,
        }
    }
}

impl Settings {
    /// Whether records of this source may move time and count in a day.
    pub fn declares(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.contains_key(source)
    }

    /// The largest `settle` of the declared sources, in microseconds.
    pub fn settle(&self) -> i64 {
        self.sources.values().copied().max().unwrap_or(SETTLE)
    }

    /// When a day that ends at `end` settles.
    pub fn settles_at(&self, end: Time) -> Time {
        end.plus(self.settle())
    }

    /// Hash of everything here: 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        let text = serde_json::to_string(self).expect("settings are plain values");
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
