//! The history at one moment, with what every question needs: the window, completeness, gaps, and quoting.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;

use super::answer::Answer;
use super::blind::{self, Reach};
use super::ledger::{Ledger, ledger};
use super::when::{Window, read_window};
use super::{AskError, Asked, people};
use crate::event::{Time, Zone};
use crate::history::{HistoryError, KeySource, Noted, Reader};
use crate::roster::{Accepted, Roster};

/// Stand for an open end: all times of events lie between.
const OPEN: (&str, &str) = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z");

/// How many rounds of merges are followed from one record number.
const MERGES: usize = 8;

/// The newest roster that the history keeps; plain dates in rows without a site are in `zone`. `None` where it keeps none.
///
/// # Errors
/// Where it cannot be read, or is damaged.
pub fn kept_roster(reader: &Reader, zone: &Zone) -> Result<Option<Roster>, HistoryError> {
    let Some(bytes) = reader.newest_roster()? else { return Ok(None) };
    let damaged = || HistoryError::Damaged { file: "blobs/roster".into(), what: "it is no roster version".into() };
    let accepted = Accepted::from_bytes(&bytes).ok_or_else(damaged)?;
    Ok(Some(Roster::from_accepted(&accepted, zone.clone())).filter(|roster| !roster.is_empty()))
}

/// The history as questions see it.
pub struct Archive {
    /// The tables.
    pub reader: Reader,
    /// Who people are, where it is known.
    pub roster: Option<Arc<Roster>>,
    /// The zone in which days are counted and people read times.
    pub zone: Zone,
    reach: Reach,
    changes: Vec<Noted>,
}

impl Archive {
    /// Opens the history at `dir` as of now.
    pub async fn open(dir: &Path, key: &KeySource, asked: &Asked) -> Result<Archive, HistoryError> {
        let reader = Reader::open(dir, key).await?;
        let changes = reader.changes()?;
        let reach = blind::reach(&reader, &changes).await?;
        let default = asked.zone.clone().unwrap_or_else(Zone::utc);
        let roster = match &asked.roster {
            Some(roster) => Some(roster.clone()),
            None => kept_roster(&reader, &default)?.map(Arc::new),
        };
        let zone = roster.as_deref().map_or(default, |roster| roster.home_zone().clone());
        Ok(Archive { reader, roster, zone, reach, changes })
    }

    /// Event time of the oldest event on record: there a history begins.
    pub fn oldest(&self) -> Option<Time> {
        self.reach.oldest
    }

    /// Event time of the newest event on record: the present of a history.
    pub fn newest(&self) -> Option<Time> {
        self.reach.newest
    }

    /// The time that was asked for.
    pub fn window(&self, asked: &Asked) -> Result<Window, AskError> {
        read_window(asked.since.as_deref(), asked.until.as_deref(), self.reach.newest, &self.zone)
    }

    /// Runs a query over a window and makes an answer of its rows, with names beside identifiers. In `sql`, `$1` is the first instant
    /// and `$2` the first after; `more` are `$3`, ...
    pub async fn answer(
        &self,
        question: &'static str,
        window: Window,
        sql: &str,
        more: &[&str],
    ) -> Result<Answer, AskError> {
        let mut values = ends(window).to_vec();
        values.extend(more.iter().map(|text| ScalarValue::from(*text)));
        let rows = self.reader.query(sql, &values).await?;
        self.complete(question, window, self.named(rows)?).await
    }

    /// Puts the names of the roster beside identifiers.
    pub fn named(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, AskError> {
        let Some(roster) = &self.roster else { return Ok(rows) };
        let present = self.reach.newest.unwrap_or(Time(0));
        let named = rows.iter().map(|rows| people::named(rows, roster, present)).collect::<Result<_, ArrowError>>();
        named.map_err(|error| HistoryError::Query(error.to_string()).into())
    }

    /// Makes an answer of rows that were found.
    pub async fn complete(
        &self,
        question: &'static str,
        window: Window,
        rows: Vec<RecordBatch>,
    ) -> Result<Answer, AskError> {
        let columns = rows[0].schema();
        let Ledger { unread, stale, learning, gaps: old_logs } =
            ledger(&self.reader, &self.changes, window, &self.zone).await?;
        let gaps = blind::gaps(&self.reader, window).await?.into_iter().chain(old_logs).collect();
        let Reach { complete_to, behind, .. } = self.reach.clone();
        let silent = blind::silences(&self.reader, window, complete_to).await?;
        Ok(Answer {
            question,
            columns,
            rows,
            window,
            complete_to,
            behind,
            gaps,
            unread,
            stale,
            silent,
            learning,
            notes: self.before(window).into_iter().collect(),
            zone: self.zone.clone(),
        })
    }

    /// Says so where a part of the window lies before everything on record.
    fn before(&self, window: Window) -> Option<String> {
        let first = self.oldest()?;
        let is_early =
            window.since.is_some_and(|since| since < first) || window.until.is_some_and(|until| until <= first);
        is_early.then(|| format!("the history begins {}: nothing before that is on record", self.zone.clock(first)))
    }

    /// Who an account is, or that nobody knows it: for an answer about one account.
    pub fn about_account(&self, id: &str, found: bool) -> Vec<String> {
        let present = self.reach.newest.unwrap_or(Time(0));
        match self.roster.as_deref().map(|roster| people::about(roster, id, present)) {
            Some(Some(about)) => vec![about],
            Some(None) if found => vec![format!("{id} is in no roster")],
            Some(None) => vec![format!(
                "no event on record names account {id} in this time, and no roster does: is it spelt right?"
            )],
            None if found => Vec::new(),
            None => vec![format!("no event on record names account {id} in this time")],
        }
    }

    /// Who a patient is, which numbers were taken together, and whether the number is known at all.
    pub async fn about_patient(&self, id: &str, same: &BTreeSet<String>, found: bool) -> Result<Vec<String>, AskError> {
        let mut notes = Vec::new();
        let present = self.reach.newest.unwrap_or(Time(0));
        let patient = self.roster.as_deref().and_then(|roster| roster.patient(id, present));
        if let Some(surname) = patient.and_then(|patient| patient.surname) {
            notes.push(format!("{id} is {surname}"));
        }
        if same.len() > 1 {
            let names = same.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            notes.push(format!("merged record numbers are taken together: {names}"));
        }
        if !found {
            let sql = format!("SELECT count(*) AS n FROM touches WHERE patient_id IN ({})", list(same));
            let rows = self.reader.query(&sql, &[]).await?;
            let ever = rows[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0) > 0;
            notes.push(match (ever, patient.is_some()) {
                (true, _) => {
                    format!("nobody touched the record of {id} in this time; there are touches at other times")
                }
                (false, true) => format!("{id} is in the roster; no touch of the record is on record"),
                (false, false) => {
                    format!("patient {id} is unknown: no event names the number, and no roster that is at hand does")
                }
            });
        }
        Ok(notes)
    }

    /// Every record number that means the same person as `patient`, itself included, by the roster and as far as rows were recorded
    /// under both.
    pub async fn same_patient(&self, patient: &str) -> Result<BTreeSet<String>, AskError> {
        let mut all = BTreeSet::from([patient.to_string()]);
        let merged = self.roster.as_deref().map(|roster| roster.merged(patient)).unwrap_or_default();
        all.extend(merged.into_iter().map(str::to_string));
        for _ in 0..MERGES {
            let known = list(&all);
            let mut found = BTreeSet::new();
            for (wanted, other) in [("patient_id", "recorded_patient_id"), ("recorded_patient_id", "patient_id")] {
                let sql = format!("SELECT DISTINCT {other} FROM touches WHERE {wanted} IN ({known})");
                for rows in self.reader.query(&sql, &[]).await? {
                    found.extend(rows.column(0).as_string::<i32>().iter().flatten().map(str::to_string));
                }
            }
            let before = all.len();
            all.append(&mut found);
            if all.len() == before {
                break;
            }
        }
        Ok(all)
    }
}

/// Both ends of a window as values of a query; open ends lie beyond all events.
pub(super) fn ends(window: Window) -> [ScalarValue; 2] {
    let value = |time: Option<Time>, open: &str| {
        let time = time.or(Time::parse(open)).map(|time| time.0);
        ScalarValue::TimestampMicrosecond(time, Some("UTC".into()))
    };
    [value(window.since, OPEN.0), value(window.until, OPEN.1)]
}

/// Texts as a list of SQL literals.
pub(super) fn list(texts: &BTreeSet<String>) -> String {
    texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ")
}

/// A text as a SQL literal.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
