//! Looks up old identifiers, for the recognition of duplicates that come too late for the engine's own memory.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampMicrosecondType;

use super::read::{Snapshot, run, session};
use super::tables::Table;
use super::{History, HistoryError};
use crate::event::{Activity, Time};

/// How many identifiers one query looks for.
const AT_ONCE: usize = 500;

/// What an event on record says, as far as a duplicate has to agree with it (INTERFACES, section 7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// When it happened.
    pub time: Time,
    /// The account that acted.
    pub actor_id: Option<String>,
    /// What was done.
    pub activity: Activity,
    /// Record numbers touched, as recorded.
    pub patients: Vec<String>,
    /// What kind of thing was touched.
    pub resource_type: Option<String>,
    /// Which one.
    pub resource_id: Option<String>,
}

impl History {
    /// The events on record, or staged, under each `(source, event_id)` of `wanted`: several where identifiers were used twice.
    /// Identifiers that are not known are left out.
    pub async fn known(
        &self,
        wanted: &BTreeSet<(String, String)>,
    ) -> Result<BTreeMap<(String, String), Vec<Known>>, HistoryError> {
        let mut found = BTreeMap::new();
        for events in self.staged_events() {
            take(events, wanted, &mut found);
        }
        let session = session(self.dir(), &self.keyring, &[Snapshot::of(self.log(Table::Events))?])?;
        let ids: Vec<&str> = wanted.iter().map(|(_, id)| id.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
        for some in ids.chunks(AT_ONCE) {
            let quoted: Vec<String> = some.iter().map(|id| format!("'{}'", id.replace('\'', "''"))).collect();
            let sql = format!(
                "SELECT source, event_id, time, actor_id, activity, patients, resource_type, resource_id \
                 FROM events WHERE event_id IN ({})",
                quoted.join(", ")
            );
            for rows in run(&session, &sql, &[]).await? {
                take(&rows, wanted, &mut found);
            }
        }
        for known in found.values_mut() {
            known.sort();
        }
        Ok(found)
    }
}

fn take(rows: &RecordBatch, wanted: &BTreeSet<(String, String)>, found: &mut BTreeMap<(String, String), Vec<Known>>) {
    let text = |name: &str| -> Option<&StringArray> { rows.column_by_name(name)?.as_string_opt() };
    let (Some(sources), Some(ids)) = (text("source"), text("event_id")) else {
        return;
    };
    for row in 0..rows.num_rows() {
        let key = (sources.value(row).to_string(), ids.value(row).to_string());
        if let Some(known) = wanted.contains(&key).then(|| known(rows, row)).flatten() {
            found.entry(key).or_default().push(known);
        }
    }
}

fn known(rows: &RecordBatch, row: usize) -> Option<Known> {
    let text = |name: &str| {
        let column: &StringArray = rows.column_by_name(name)?.as_string_opt()?;
        column.is_valid(row).then(|| column.value(row).to_string())
    };
    let times = rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let patients: &ListArray = rows.column_by_name("patients")?.as_list_opt()?;
    let patients = patients.value(row);
    Some(Known {
        time: Time(times.value(row)),
        actor_id: text("actor_id"),
        activity: Activity::parse(&text("activity")?)?,
        patients: patients.as_string_opt::<i32>()?.iter().flatten().map(str::to_string).collect(),
        resource_type: text("resource_type"),
        resource_id: text("resource_id"),
    })
}
