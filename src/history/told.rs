//! Reads alerts back, for a store that was lost: rows of `alerts` as the alerts that they were.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};

use super::read::{Snapshot, run, session};
use super::tables::Table;
use super::{History, HistoryError};
use crate::event::alert::{Evidence, MadeBy, Patients, Window};
use crate::event::{Alert, Class, Day, Disposition, Raised, Severity, State, Subject, SubjectKind, Time};

impl History {
    /// Every revision of every alert on record whose event time is `since` or later, in the order of that time.
    pub async fn alerts(&self, since: Time) -> Result<Vec<Raised>, HistoryError> {
        let session = session(self.dir(), &self.keyring, &[Snapshot::of(self.log(Table::Alerts))?])?;
        let mut all = Vec::new();
        for rows in run(&session, "SELECT * FROM alerts ORDER BY raised_at, alert_id, revision", &[]).await? {
            for row in 0..rows.num_rows() {
                let read = Row { rows: &rows, row }.raised();
                let what = || "a row is no alert".to_string();
                all.push(read.ok_or_else(|| HistoryError::Damaged { file: "alerts".into(), what: what() })?);
            }
        }
        all.retain(|raised| raised.at >= since);
        Ok(all)
    }
}

/// One row of `alerts`.
struct Row<'a> {
    rows: &'a RecordBatch,
    row: usize,
}

impl Row<'_> {
    fn raised(&self) -> Option<Raised> {
        let at = self.time("raised_at")?;
        let day = Day(self.rows.column_by_name("day")?.as_primitive::<Date32Type>().value(self.row));
        let interrupts = self.truth("interrupts")?;
        let subject = Subject { kind: SubjectKind::parse(&self.text("subject_kind")?)?, id: self.text("subject_id")? };
        let alert = Alert {
            schema: "phiwatch.alert/1".into(),
            alert_id: self.text("alert_id")?,
            detection_id: self.text("detection_id")?,
            class: Class::parse(&self.text("class")?)?,
            title: self.text("title")?,
            severity: Severity::parse(&self.text("severity")?)?,
            subject,
            window: Window { start: self.instant("window_start"), end: self.instant("window_end") },
            raised_at: at.to_string(),
            score: self.float("score")?,
            p_value: self.float("p_value"),
            reason: self.text("reason")?,
            facts: serde_json::from_str(&self.text("facts")?).ok()?,
            evidence: Evidence {
                count: self.number("evidence_count")? as u64,
                event_ids: self.list("evidence_event_ids")?,
            },
            patients: Patients { count: self.number("patients_count")? as u64 },
            references: self.list("references")?,
            revision: u32::try_from(self.number("revision")?).ok()?,
            settled: self.truth("settled")?,
            episode: self.text("episode"),
            state: State::parse(&self.text("state")?)?,
            disposition: Disposition::parse(&self.text("disposition")?)?,
            made_by: MadeBy {
                version: self.text("made_by_version")?,
                settings: self.text("made_by_settings")?,
                rules: self.text("made_by_rules")?,
                rosters: self.text("made_by_rosters")?,
            },
        };
        Some(Raised { alert, day, at, interrupts })
    }

    fn column(&self, name: &str) -> Option<&dyn Array> {
        let column = self.rows.column_by_name(name)?;
        column.is_valid(self.row).then_some(column.as_ref())
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(self.column(name)?.as_string_opt::<i32>()?.value(self.row).to_string())
    }

    fn truth(&self, name: &str) -> Option<bool> {
        Some(self.column(name)?.as_boolean_opt()?.value(self.row))
    }

    fn number(&self, name: &str) -> Option<i64> {
        Some(self.column(name)?.as_primitive_opt::<Int64Type>()?.value(self.row))
    }

    fn float(&self, name: &str) -> Option<f64> {
        Some(self.column(name)?.as_primitive_opt::<Float64Type>()?.value(self.row))
    }

    fn time(&self, name: &str) -> Option<Time> {
        Some(Time(self.column(name)?.as_primitive_opt::<TimestampMicrosecondType>()?.value(self.row)))
    }

    fn instant(&self, name: &str) -> String {
        self.time(name).map(|time| time.to_string()).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        let values = self.column(name)?.as_list_opt::<i32>()?.value(self.row);
        Some(values.as_string_opt::<i32>()?.iter().flatten().map(str::to_string).collect())
    }
}
