//! The five tables: names, columns, sort orders, bloom filters (INTERFACES, section 7).

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType::{self, Binary, Boolean, Date32, Float64, Int32, Int64, Utf8};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::event::schema::{EVENTS, timestamp};

/// A table of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// A record that could not be used.
    Rejects,
    /// One patient of one event.
    Touches,
    /// An access or vendor-session event.
    Events,
    /// A revision of an alert.
    Alerts,
    /// A range of offsets that was read.
    Spans,
}

impl Table {
    /// Every table, in the order of commits. `spans` is the last: what it covers is on record everywhere, so that it is also the
    /// table that says from where to read again.
    pub const ALL: [Table; 5] = [Table::Rejects, Table::Touches, Table::Events, Table::Alerts, Table::Spans];

    /// The name in queries, of the folder and in the additional data of encryption.
    pub fn name(self) -> &'static str {
        match self {
            Table::Rejects => "rejects",
            Table::Touches => "touches",
            Table::Events => "events",
            Table::Alerts => "alerts",
            Table::Spans => "spans",
        }
    }

    /// The columns.
    pub fn schema(self) -> SchemaRef {
        match self {
            Table::Rejects => REJECTS.clone(),
            Table::Touches => TOUCHES.clone(),
            Table::Events => EVENTS.clone(),
            Table::Alerts => ALERTS.clone(),
            Table::Spans => SPANS.clone(),
        }
    }

    /// The columns by which the rows of a file are sorted; together they leave no order to chance.
    pub(super) fn sorted_by(self) -> &'static [&'static str] {
        match self {
            Table::Rejects => &["topic", "partition", "file", "offset", "line", "byte"],
            Table::Touches => &["patient_id", "time", "event_id", "recorded_patient_id"],
            Table::Events => &["actor_id", "time", "event_id", "offset"],
            Table::Alerts => &["raised_at", "alert_id", "revision"],
            Table::Spans => &["position", "from"],
        }
    }

    /// The columns with a bloom filter. The Parquet writer leaves these filters in clear in an encrypted file, so that whoever has the
    /// disk could ask them for a name: none is kept of what can name a person, whose rows lie together by the order anyway.
    pub(super) fn blooms(self) -> &'static [&'static str] {
        match self {
            Table::Events => &["event_id"],
            _ => &[],
        }
    }
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new("item", Utf8, true)))
}

fn schema(needed: &[(&str, DataType)], maybe: &[(&str, DataType)]) -> SchemaRef {
    let field = |nullable| move |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), nullable);
    Arc::new(Schema::new(needed.iter().map(field(false)).chain(maybe.iter().map(field(true))).collect::<Vec<_>>()))
}

/// One row per event and patient, with what "who accessed" shows.
pub(super) static TOUCHES: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(
        &[
            ("patient_id", Utf8),
            ("recorded_patient_id", Utf8),
            ("time", timestamp()),
            ("event_id", Utf8),
            ("source", Utf8),
            ("activity", Utf8),
            ("outcome", Utf8),
        ],
        &[
            ("actor_id", Utf8),
            ("actor_name", Utf8),
            ("person_id", Utf8),
            ("role", Utf8),
            ("department", Utf8),
            ("vendor_id", Utf8),
            ("site", Utf8),
            ("resource_type", Utf8),
            ("resource_id", Utf8),
            ("break_glass", Boolean),
            ("relation", Utf8),
            ("explained_by", Utf8),
            ("marks", Utf8),
            ("session_id", Utf8),
            ("client_host", Utf8),
            ("client_ip", Utf8),
            ("flags", Utf8),
        ],
    )
});

/// A revision of an alert; `facts` is a JSON object, texts of times are kept as instants.
pub(super) static ALERTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(
        &[
            ("alert_id", Utf8),
            ("revision", Int64),
            ("settled", Boolean),
            ("detection_id", Utf8),
            ("class", Utf8),
            ("title", Utf8),
            ("severity", Utf8),
            ("subject_kind", Utf8),
            ("subject_id", Utf8),
            ("day", Date32),
            ("raised_at", timestamp()),
            ("score", Float64),
            ("reason", Utf8),
            ("facts", Utf8),
            ("evidence_count", Int64),
            ("evidence_event_ids", list()),
            ("patients_count", Int64),
            ("references", list()),
            ("state", Utf8),
            ("disposition", Utf8),
            ("interrupts", Boolean),
            ("made_by_version", Utf8),
            ("made_by_settings", Utf8),
            ("made_by_rules", Utf8),
            ("made_by_rosters", Utf8),
            // The order in which revisions were recorded: of one alert the last one holds.
            ("number", Int64),
            // A hash of all that the revision says.
            ("content", Int64),
        ],
        &[("window_start", timestamp()), ("window_end", timestamp()), ("p_value", Float64), ("episode", Utf8)],
    )
});

/// A record that could not be used, with its bytes.
pub(super) static REJECTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(
        &[("reason", Utf8), ("byte", Int64), ("raw", Binary)],
        &[
            ("topic", Utf8),
            ("partition", Int32),
            ("offset", Int64),
            ("file", Utf8),
            ("line", Int64),
            ("field", Utf8),
            ("at", timestamp()),
        ],
    )
});

/// A range of offsets with its sums. `position` is the key of the origin in the commits; the times are those of its events.
pub(super) static SPANS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(
        &[
            ("position", Utf8),
            ("from", Int64),
            ("to", Int64),
            ("events", Int64),
            ("duplicates", Int64),
            ("rejects", Int64),
            ("gap", Int64),
            ("arrived", timestamp()),
        ],
        &[
            ("topic", Utf8),
            ("partition", Int32),
            ("file", Utf8),
            ("first_time", timestamp()),
            ("last_time", timestamp()),
        ],
    )
});
