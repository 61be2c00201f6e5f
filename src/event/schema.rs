//! The Arrow schema of events: what was recorded, where it came from, and the facts that enrichment adds.
//!
//! Column order is fixed by the two lists below and is the order in the history. Names are those of the interfaces with `_` for the
//! dot; `fact_*` columns are ours. Lists of facts run parallel to `patients`.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Version of this schema; stored with the history and raised when a column changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// The Arrow type of an instant: microseconds, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))
}

use DataType::{Boolean, Date32, Int32, Int64, Utf8};

/// What was recorded and where it was found: the columns that decoding fills.
pub static RECORDED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let needed = |name: &str, kind: DataType| Field::new(name, kind, false);
    let maybe = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        needed("kind", Utf8),
        needed("event_id", Utf8),
        needed("time", timestamp()),
        maybe("recorded", timestamp()),
        needed("source", Utf8),
        maybe("site", Utf8),
        maybe("actor_id", Utf8),
        maybe("actor_kind", Utf8),
        maybe("actor_name", Utf8),
        maybe("actor_role", Utf8),
        maybe("actor_department", Utf8),
        maybe("actor_on_behalf_of", Utf8),
        needed("activity", Utf8),
        needed("patients", list()),
        maybe("resource_type", Utf8),
        maybe("resource_id", Utf8),
        maybe("result_count", Int64),
        maybe("query", Utf8),
        maybe("client_ip", Utf8),
        maybe("client_host", Utf8),
        maybe("client_app", Utf8),
        maybe("client_remote", Boolean),
        maybe("auth_method", Utf8),
        maybe("auth_mfa", Boolean),
        needed("outcome", Utf8),
        needed("purpose", list()),
        maybe("break_glass", Boolean),
        maybe("approval_ref", Utf8),
        maybe("session_id", Utf8),
        maybe("correlation_id", Utf8),
        maybe("vendor_id", Utf8),
        maybe("target_host", Utf8),
        maybe("target_account", Utf8),
        maybe("detail_command", Utf8),
        maybe("detail_bytes", Int64),
        maybe("detail_files", Int64),
        maybe("raw", Utf8),
        maybe("topic", Utf8),
        maybe("partition", Int32),
        needed("offset", Int64),
        maybe("file", Utf8),
        maybe("flags", Utf8),
    ]))
});

/// What enrichment adds (see [`super::facts::Facts`]).
pub static FACTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let maybe = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        maybe("fact_account", Utf8),
        maybe("fact_person_id", Utf8),
        maybe("fact_role", Utf8),
        maybe("fact_department", Utf8),
        maybe("fact_home_site", Utf8),
        maybe("fact_status", Utf8),
        maybe("fact_employment", Utf8),
        maybe("fact_day", Date32),
        maybe("fact_hour", Int32),
        maybe("fact_weekday", Utf8),
        maybe("fact_off_day", Boolean),
        maybe("fact_on_shift", Boolean),
        maybe("fact_outside_dates", Boolean),
        maybe("fact_privilege", Utf8),
        maybe("fact_entitlements", list()),
        maybe("fact_vendor_id", Utf8),
        maybe("fact_vendor_status", Utf8),
        maybe("fact_vendor_parent", Utf8),
        maybe("fact_baa", Utf8),
        maybe("fact_approval", Utf8),
        maybe("fact_in_window", Boolean),
        maybe("fact_patients", list()),
        maybe("fact_relations", list()),
        maybe("fact_explained_by", list()),
        maybe("fact_marks", list()),
        maybe("fact_unexplained", Int32),
        maybe("fact_days_deceased", Int32),
        maybe("fact_encounter", list()),
        maybe("fact_roster", Utf8),
        maybe("fact_extra", Utf8),
    ]))
});

/// The `events` table: what was recorded, then the facts.
pub static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields: Vec<_> = RECORDED.fields().iter().chain(FACTS.fields()).cloned().collect();
    Arc::new(Schema::new(fields))
});
