//! Alerts on record: which revisions are new, and all of them back as they were.
//!
//! A revision is recognised by the id of its alert, its number and its content. The same number may come again with other content,
//! where a day was settled at the end of an input and then grew: both stay on record, and of all rows of an alert the one with the
//! highest `number` holds.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::read::{Snapshot, run, session};
use super::tables::Table;
use super::{History, HistoryError};
use crate::event::alert::{Evidence, MadeBy, Patients, Window};
use crate::event::{Alert, Class, Day, Disposition, Raised, Severity, State, Subject, SubjectKind, Time};

/// What is on record of alerts, as far as it is needed to recognise them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The last content of each revision on record.
    contents: HashMap<u128, u64>,
    /// The last content of each revision that is staged.
    staged: HashMap<u128, u64>,
    /// The number of the next row.
    pub next: i64,
}

impl Told {
    /// Those of `raised` that are not what was recorded last of their revision.
    pub fn choose<'a>(&self, raised: &'a [Raised]) -> Vec<&'a Raised> {
        self.choose_after(raised, &HashMap::new())
    }

    fn choose_after<'a>(&self, raised: &'a [Raised], staged: &HashMap<u128, u64>) -> Vec<&'a Raised> {
        let mut since: HashMap<u128, u64> = HashMap::new();
        let mut chosen = Vec::new();
        for one in raised {
            let (key, content) = (revision_key(&one.alert), content(one));
            let last = since.get(&key).or(staged.get(&key)).or(self.contents.get(&key));
            if last != Some(&content) {
                since.insert(key, content);
                chosen.push(one);
            }
        }
        chosen
    }

    /// These are staged, in this order.
    pub fn stage(&mut self, raised: &[Raised]) {
        self.staged.extend(raised.iter().map(|one| (revision_key(&one.alert), content(one))));
    }

    /// These are on record, as `rows` rows; `staged` still wait.
    pub fn record(&mut self, rows: usize, recorded: &[Raised], staged: &[Raised]) {
        self.next += rows as i64;
        self.contents.extend(recorded.iter().map(|one| (revision_key(&one.alert), content(one))));
        self.staged.clear();
        self.stage(staged);
    }
}

impl History {
    /// Those of `raised` that say something new: they are neither on record nor staged.
    ///
    /// # Errors
    /// Where the alerts on record cannot be read.
    pub async fn news(&mut self, raised: &[Raised]) -> Result<Vec<Raised>, HistoryError> {
        self.know_told().await?;
        let told = self.told.as_ref().expect("it was just read");
        Ok(told.choose_after(raised, &told.staged).into_iter().cloned().collect())
    }

    /// The alerts that stand settled although their day is later than `day`, by id: they were settled at the end of an input. Alerts
    /// to the operator and those that were taken back are left out.
    ///
    /// # Errors
    /// Where the alerts on record cannot be read.
    pub async fn provisional(&self, day: Day) -> Result<BTreeMap<String, Raised>, HistoryError> {
        let mut last: BTreeMap<String, Raised> = BTreeMap::new();
        for raised in self.alerts(Time::MIN).await?.into_iter().filter(|raised| raised.day > day) {
            last.insert(raised.alert.alert_id.clone(), raised);
        }
        let of_operator = |alert: &Alert| matches!(alert.subject.kind, SubjectKind::System | SubjectKind::Source);
        last.retain(|_, raised| {
            let alert = &raised.alert;
            alert.settled && alert.state != State::Closed && !of_operator(alert)
        });
        Ok(last)
    }

    /// Every revision of every alert on record whose event time is `since` or later, in the order in which they were recorded.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn alerts(&self, since: Time) -> Result<Vec<Raised>, HistoryError> {
        let session = session(self.dir(), &self.keyring, &[Snapshot::of(self.log(Table::Alerts))?])?;
        let mut all = Vec::new();
        for rows in run(&session, "SELECT * FROM alerts ORDER BY number", &[]).await? {
            for row in 0..rows.num_rows() {
                let read = Row { rows: &rows, row }.raised();
                let what = || "a row is no alert".to_string();
                all.push(read.ok_or_else(|| HistoryError::Damaged { file: "alerts".into(), what: what() })?);
            }
        }
        all.retain(|raised| raised.at >= since);
        Ok(all)
    }

    /// Reads which alerts are on record, once.
    pub(super) async fn know_told(&mut self) -> Result<(), HistoryError> {
        if self.told.is_some() {
            return Ok(());
        }
        let session = session(self.dir(), &self.keyring, &[Snapshot::of(self.log(Table::Alerts))?])?;
        let mut told = Told::default();
        for rows in run(&session, "SELECT alert_id, revision, content, number FROM alerts ORDER BY number", &[]).await?
        {
            let ids = rows.column(0).as_string::<i32>();
            let [revisions, contents, numbers] = [1, 2, 3].map(|at| rows.column(at).as_primitive::<Int64Type>());
            for row in 0..rows.num_rows() {
                let key = hash_revision(ids.value(row), revisions.value(row));
                told.contents.insert(key, contents.value(row) as u64);
                told.next = told.next.max(numbers.value(row) + 1);
            }
        }
        self.stages().for_each(|stage| told.stage(stage.raised()));
        self.told = Some(told);
        Ok(())
    }
}

/// A hash of all that a revision says.
pub(super) fn content(raised: &Raised) -> u64 {
    let alert = serde_json::to_vec(&raised.alert).expect("an alert is plain values");
    xxh3_64(&alert)
}

fn revision_key(alert: &Alert) -> u128 {
    hash_revision(&alert.alert_id, i64::from(alert.revision))
}

fn hash_revision(id: &str, revision: i64) -> u128 {
    xxh3_128(format!("{revision}/{id}").as_bytes())
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
        Some(Raised { alert, day, at, interrupts, routing: Vec::new() })
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
