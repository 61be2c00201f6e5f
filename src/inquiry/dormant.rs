//! `dormant [--days N] [--all]`: accounts that were not used for a long time and could be withdrawn.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::FutureExt;

use super::blind::times;
use super::{Answer, Archive, AskError, Asked, Spec, Window};
use crate::event::Time;
use crate::event::schema::timestamp;
use crate::event::time::DAY;
use crate::history::HistoryError;
use crate::roster::{Roster, UserKind};

/// Days without use after which an account is dormant, where none are given.
const DAYS: u32 = 90;

/// The question.
pub static SPEC: Spec = Spec {
    name: "dormant",
    arguments: "[--days N] [--all]",
    about: "accounts without use for N days (90) before the newest event, or before --until; with --all those that are ended or disabled, too",
    words: (0, 0),
    answer: |archive, asked| answer(archive, asked).boxed(),
};

/// A log-in that was refused and the end of a session are no use (`engine::detect::is_use`), and an event from the future proves nothing.
const SQL: &str = "SELECT actor_id, max(actor_name) AS name, last_value(fact_role ORDER BY time) AS role, \
     last_value(fact_department ORDER BY time) AS department, last_value(fact_account ORDER BY time) AS account, \
     max(time) AS last, count(*) AS events FROM events \
     WHERE actor_id IS NOT NULL AND activity NOT IN ('login_failed', 'logout', 'session_end') \
     AND NOT (activity IN ('login', 'session_start') AND outcome IN ('denied', 'failure')) AND coalesce(flags, '') NOT LIKE '%future%' \
     AND time >= $1 AND time < $2 GROUP BY actor_id";

/// One account, as the roster and the events know it.
#[derive(Debug, Clone, Default)]
struct Account {
    name: Option<String>,
    kind: &'static str,
    role: Option<String>,
    department: Option<String>,
    status: &'static str,
    manager_id: Option<String>,
    manager: Option<String>,
    /// When the account was made, where the roster says it.
    made: Option<Time>,
    last: Option<Time>,
    events: i64,
    /// Nobody can use it any more, or nobody could yet.
    closed: bool,
}

impl Account {
    /// Days at `present` since the last use, else since the account was made.
    fn days(&self, present: Time) -> Option<i64> {
        self.last.or(self.made).map(|since| (present.0 - since.0).div_euclid(DAY))
    }
}

async fn answer(archive: &Archive, asked: &Asked) -> Result<Answer, AskError> {
    if asked.since.is_some() {
        return Err(AskError::Usage(
            "--since does not apply to dormant; say --days N, and --until for an earlier day".into(),
        ));
    }
    let days = i64::from(asked.days.unwrap_or(DAYS));
    let window = archive.window(asked)?;
    // The end of the time asked for is the present of this question.
    let present = window.until.or(archive.newest()).unwrap_or(Time(0));
    let mut accounts = archive.roster.as_deref().map(|roster| of_roster(roster, present)).unwrap_or_default();
    used(archive, window, &mut accounts).await?;
    let idle = |account: &Account| account.days(present).is_none_or(|idle| idle >= days);
    let (closed, open): (Vec<_>, Vec<_>) =
        accounts.into_iter().filter(|(_, account)| idle(account)).partition(|(_, account)| account.closed);
    let (left_out, mut shown) = (closed.len(), open);
    if asked.all {
        shown.extend(closed);
    }
    shown.sort_by_key(|(id, account)| (std::cmp::Reverse(account.days(present)), id.clone()));
    let services = shown.iter().filter(|(_, account)| account.kind == "service").count();
    let never = shown.iter().filter(|(_, account)| account.last.is_none()).count();
    let rows = rows(&shown, present).map_err(|error| HistoryError::Query(error.to_string()))?;
    let mut answer = archive.complete(SPEC.name, window, vec![rows]).await?;
    answer.notes.push(format!("accounts without use for {days} days or more before {}", archive.zone.clock(present)));
    if archive.roster.is_none() {
        answer.notes.push("no roster is at hand: accounts that were never used are not known, nor who is ended; name one with --rosters".into());
    }
    if services > 0 {
        answer.notes.push(format!("service accounts among them: {services} (kind service)"));
    }
    if never > 0 {
        answer.notes.push(format!(
            "never used on record: {never} (no last); their days count from the day the account was made"
        ));
    }
    if !asked.all && left_out > 0 {
        answer.notes.push(format!("ended and disabled accounts left out: {left_out}; --all shows them"));
    }
    answer.notes.extend(young(archive, present, days));
    Ok(answer)
}

/// Says so where the history is too short to know.
fn young(archive: &Archive, present: Time, days: i64) -> Option<String> {
    let first = archive.oldest().filter(|first| *first < present)?;
    let held = (present.0 - first.0).div_euclid(DAY);
    let what = format!(
        "the history begins {}, {held} days before: what was used earlier is not on record",
        archive.zone.clock(first)
    );
    (held < days).then_some(what)
}

/// Every account of the roster that has begun by `present`.
fn of_roster(roster: &Roster, present: Time) -> BTreeMap<String, Account> {
    let mut accounts = BTreeMap::new();
    for user in roster.user_ids().filter_map(|id| roster.user(id, present)) {
        let begins = user.created.or(user.hired).or(user.row_from);
        let to_come = user.outside_rows && user.row_from.is_some_and(|from| from > present);
        let left = user.outside_rows && !to_come;
        let manager = user.manager_id.and_then(|id| roster.user(id, present)).and_then(|manager| manager.name);
        let account = Account {
            name: user.name.map(str::to_string),
            kind: match user.kind {
                UserKind::Human => "human",
                UserKind::Service => "service",
            },
            role: user.role.map(str::to_string),
            department: user.department.map(str::to_string),
            status: status(user.undated_end, left, user.status.as_str()),
            manager_id: user.manager_id.map(str::to_string),
            manager: manager.map(str::to_string),
            made: begins,
            closed: user.undated_end || left || user.ended.is_some(),
            ..Account::default()
        };
        if begins.is_none_or(|begins| begins <= present) {
            accounts.insert(user.id.to_string(), account);
        }
    }
    for vendor in roster.vendor_account_ids().filter_map(|id| roster.vendor_account(id, present)) {
        let begins = vendor.created.or(vendor.row_from);
        let left = vendor.outside_rows && vendor.row_from.is_none_or(|from| from <= present);
        let company = roster.vendor(vendor.vendor_id, present).and_then(|company| company.name);
        let account = Account {
            name: vendor.person.map(str::to_string),
            kind: "vendor",
            department: Some(company.unwrap_or(vendor.vendor_id).to_string()),
            status: status(vendor.undated_end, left, vendor.status.as_str()),
            made: begins,
            closed: vendor.undated_end || left || vendor.ended.is_some(),
            ..Account::default()
        };
        if begins.is_none_or(|begins| begins <= present) {
            accounts.insert(vendor.id.to_string(), account);
        }
    }
    accounts
}

fn status(undated_end: bool, left: bool, status: &'static str) -> &'static str {
    match (undated_end, left) {
        (true, _) => "ended, since when is not said",
        (_, true) => "its rows have ended",
        _ => status,
    }
}

/// Adds the last use of each account, and accounts that only events name.
async fn used(archive: &Archive, window: Window, accounts: &mut BTreeMap<String, Account>) -> Result<(), AskError> {
    let ends = super::archive::ends(window);
    for rows in archive.reader.query(SQL, &ends).await? {
        let texts: Vec<ArrayRef> = (0..5)
            .map(|column| cast(rows.column(column), &DataType::Utf8))
            .collect::<Result<_, _>>()
            .map_err(|error| HistoryError::Query(error.to_string()))?;
        let text = |column: usize, row: usize| {
            let column = texts[column].as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_string())
        };
        let (last, events) = (times(&rows, 5), rows.column(6).as_primitive::<Int64Type>());
        for row in 0..rows.num_rows() {
            let Some(id) = text(0, row) else { continue };
            // Without a roster at hand the events still tell whether one knew the account.
            let status = match (archive.roster.is_some(), text(4, row).as_deref()) {
                (false, Some("user" | "vendor_account")) => "",
                _ => "in no roster",
            };
            let stranger = || Account {
                name: text(1, row),
                role: text(2, row),
                department: text(3, row),
                status,
                ..Account::default()
            };
            let account = accounts.entry(id).or_insert_with(stranger);
            (account.last, account.events) = (last[row], events.value(row));
        }
    }
    Ok(())
}

fn rows(accounts: &[(String, Account)], present: Time) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |value: fn(&Account) -> Option<&str>| -> ArrayRef {
        Arc::new(
            accounts.iter().map(|(_, account)| value(account).filter(|text| !text.is_empty())).collect::<StringArray>(),
        )
    };
    let last: TimestampMicrosecondArray = accounts.iter().map(|(_, account)| account.last.map(|time| time.0)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("actor_id", Arc::new(StringArray::from_iter_values(accounts.iter().map(|(id, _)| id)))),
        ("name", text(|account| account.name.as_deref())),
        ("kind", text(|account| Some(account.kind))),
        ("role", text(|account| account.role.as_deref())),
        ("department", text(|account| account.department.as_deref())),
        ("status", text(|account| Some(account.status))),
        ("manager_id", text(|account| account.manager_id.as_deref())),
        ("manager", text(|account| account.manager.as_deref())),
        ("last", cast(&last.with_timezone("UTC"), &timestamp())?),
        ("days", Arc::new(accounts.iter().map(|(_, account)| account.days(present)).collect::<Int64Array>())),
        ("events", Arc::new(Int64Array::from_iter_values(accounts.iter().map(|(_, account)| account.events)))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
}
