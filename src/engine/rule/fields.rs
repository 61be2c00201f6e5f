//! The vocabulary of rules: every field by its name, what it holds, and how it is read from a row.
//!
//! One table. `phiwatch rules fields` prints it, the documentation is checked against it, and a rule that names anything else is refused.

use std::borrow::Cow;

use rsigma_eval::EventValue;

use super::row::Row;
use crate::event::facts::{Account, Agreement, Approval, BETWEEN_PATIENTS, Encounter, Privilege, Status, WEEKDAYS};
use crate::event::{Activity, ActorKind, Kind, Outcome, Time};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// Several texts; it matches where one of them does.
    List,
    /// A whole number.
    Number,
    /// True or false.
    Truth,
    /// An instant, RFC 3339 in UTC.
    Instant,
}

impl Shape {
    /// Whether a field of this shape can ever be a value that a rule names.
    pub fn can_be(self, value: &yaml_serde::Value) -> bool {
        use yaml_serde::Value;
        match (self, value) {
            (_, Value::Null) | (Shape::Text | Shape::List | Shape::Instant, _) => true,
            (Shape::Number, Value::String(text)) => text.contains(['*', '?', '%']) || text.parse::<f64>().is_ok(),
            (Shape::Number, value) => value.is_number(),
            (Shape::Truth, Value::String(text)) => ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)),
            (Shape::Truth, value) => value.is_bool(),
        }
    }

    /// For the reference.
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::List => "list of texts",
            Shape::Number => "whole number",
            Shape::Truth => "true or false",
            Shape::Instant => "RFC 3339",
        }
    }
}

/// Takes one value after the other, until it has seen enough and says true.
pub type Take<'t, 'a> = &'t mut dyn FnMut(EventValue<'a>) -> bool;

/// Hands the values of a field to `take`; whether that said true.
pub type See = for<'a> fn(&Row<'a>, Take<'_, 'a>) -> bool;

/// One field.
pub struct FieldSpec {
    /// Its name in rules.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Every word it can hold, where they are known.
    pub words: fn() -> Vec<&'static str>,
    /// What it means.
    pub about: &'static str,
    /// How it is read.
    pub see: See,
}

impl FieldSpec {
    /// Whether it was recorded, as opposed to a fact.
    pub fn is_recorded(&self) -> bool {
        !self.name.starts_with("fact.")
    }
}

/// A field that a rule names.
#[derive(Clone)]
pub enum Field {
    /// One of the table.
    Known(&'static FieldSpec),
    /// A column of the rosters beyond the standard ones, by its whole name.
    Column(String),
}

/// What stands before the dot in the names of roster columns, with the file without its ending.
pub const COLUMNS: [(&str, &str); 9] = [
    ("user", "users"),
    ("vendor", "vendors"),
    ("account", "vendor_accounts"),
    ("patient", "patients"),
    ("relation", "relations"),
    ("shift", "shifts"),
    ("approval", "approvals"),
    ("entitlement", "entitlements"),
    ("site", "sites"),
];

/// Of these an event has a cell for each of its patients.
const BY_PATIENT: [&str; 2] = ["patient.", "relation."];

/// The roster file and the column that a name speaks of, where it speaks of one.
pub fn column_of(name: &str) -> Option<(&'static str, &str)> {
    let (table, column) = name.split_once('.')?;
    let (_, file) = COLUMNS.iter().find(|(known, _)| *known == table).filter(|_| !column.is_empty())?;
    Some((file, column))
}

/// Whether the column is one that every site has: what follows from it is a fact.
pub fn is_standard(file: &str, column: &str) -> bool {
    let known = |spec: &crate::roster::FileSpec| spec.known.contains(&column) && !spec.bare.contains(&column);
    crate::roster::FILES.iter().any(|spec| spec.name == file && known(spec))
}

impl Field {
    /// The field of that name.
    pub fn find(name: &str) -> Option<Field> {
        if let Some(known) = ALL.iter().find(|field| field.name == name) {
            return Some(Field::Known(known));
        }
        let (file, column) = column_of(name)?;
        (!is_standard(file, column)).then(|| Field::Column(name.to_owned()))
    }

    /// Its name in rules.
    pub fn name(&self) -> &str {
        match self {
            Field::Known(spec) => spec.name,
            Field::Column(name) => name,
        }
    }

    /// Hands its values to `take`; whether that said true.
    pub fn see<'a>(&self, row: &Row<'a>, take: Take<'_, 'a>) -> bool {
        match self {
            Field::Known(spec) => (spec.see)(row, take),
            Field::Column(name) => {
                let cells = row.facts.extra.get(name.as_str()).map_or("", |cells| cells.as_ref());
                let is_by_patient = BY_PATIENT.iter().any(|table| name.starts_with(table));
                let own = row.only.filter(|_| is_by_patient).and_then(|index| {
                    // Rows of earlier versions do not say whose a cell is.
                    let is_said = cells.split(BETWEEN_PATIENTS).count() == row.facts.patients.len();
                    cells.split(BETWEEN_PATIENTS).nth(index).filter(|_| is_said)
                });
                let cells = own.unwrap_or(cells).split(BETWEEN_PATIENTS).flat_map(|cell| cell.split(';'));
                let mut cells = cells.filter(|cell| !cell.is_empty());
                cells.any(|cell| take(EventValue::Str(Cow::Borrowed(cell))))
            }
        }
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn text<'a>(value: Option<&'a str>, take: Take<'_, 'a>) -> bool {
    value.is_some_and(|value| take(EventValue::Str(Cow::Borrowed(value))))
}

fn texts<'a>(mut values: impl Iterator<Item = &'a str>, take: Take<'_, 'a>) -> bool {
    values.any(|value| take(EventValue::Str(Cow::Borrowed(value))))
}

fn number(value: Option<i64>, take: Take<'_, '_>) -> bool {
    value.is_some_and(|value| take(EventValue::Int(value)))
}

fn truth(value: Option<bool>, take: Take<'_, '_>) -> bool {
    value.is_some_and(|value| take(EventValue::Bool(value)))
}

fn instant(value: Option<Time>, take: Take<'_, '_>) -> bool {
    value.is_some_and(|value| take(EventValue::Str(Cow::Owned(value.to_string()))))
}

/// Each word once, in the order of the patients.
fn distinct<'a>(words: impl Iterator<Item = &'a str>, take: Take<'_, 'a>) -> bool {
    let mut seen: [Option<&str>; 16] = [None; 16];
    for word in words {
        if seen.contains(&Some(word)) {
            continue;
        }
        if let Some(free) = seen.iter_mut().find(|place| place.is_none()) {
            *free = Some(word);
        }
        if take(EventValue::Str(Cow::Borrowed(word))) {
            return true;
        }
    }
    false
}

fn no_words() -> Vec<&'static str> {
    Vec::new()
}

/// The words of a closed vocabulary.
macro_rules! words_of {
    ($of:ident) => {
        || $of::ALL.iter().map(|word| word.as_str()).collect()
    };
}

macro_rules! field {
    ($name:literal, $shape:ident, $about:literal, $see:expr) => {
        field!($name, $shape, no_words, $about, $see)
    };
    ($name:literal, $shape:ident, $words:expr, $about:literal, $see:expr) => {
        FieldSpec { name: $name, shape: Shape::$shape, words: $words, about: $about, see: $see }
    };
}

/// Every field, recorded ones first.
pub static ALL: &[FieldSpec] = &[
    field!("kind", Text, words_of!(Kind), "which native record it is", |r, t| text(Some(r.event.kind().as_str()), t)),
    field!("event_id", Text, "unique within the source", |r, t| text(Some(r.event.event_id()), t)),
    field!("time", Instant, "when it happened", |r, t| instant(Some(r.event.time()), t)),
    field!("recorded", Instant, "when the source logged it", |r, t| instant(r.event.recorded(), t)),
    field!("source", Text, "name of the feed", |r, t| text(Some(r.event.source()), t)),
    field!("site", Text, "hospital or clinic", |r, t| text(r.event.site(), t)),
    field!("actor.id", Text, "the account that acted", |r, t| text(r.event.actor_id(), t)),
    field!("actor.kind", Text, words_of!(ActorKind), "what the source says the actor is", |r, t| {
        text(r.event.actor_kind().map(ActorKind::as_str), t)
    }),
    field!("actor.name", Text, "name, as the source claims it", |r, t| text(r.event.actor_name(), t)),
    field!("actor.role", Text, "role, as the source claims it", |r, t| text(r.event.actor_role(), t)),
    field!("actor.department", Text, "department, as the source claims it", |r, t| text(r.event.actor_department(), t)),
    field!("actor.on_behalf_of", Text, "principal of a proxy or delegate", |r, t| text(
        r.event.actor_on_behalf_of(),
        t
    )),
    field!("activity", Text, words_of!(Activity), "what was done", |r, t| text(Some(r.event.activity().as_str()), t)),
    field!("patients", List, "record numbers touched", |r, t| texts(r.record_numbers(), t)),
    field!("patients.count", Number, "how many patients were touched", |r, t| {
        number(Some(r.event.patients().len() as i64), t)
    }),
    field!("resource.type", Text, "what kind of thing was touched", |r, t| text(r.event.resource_type(), t)),
    field!("resource.id", Text, "which one", |r, t| text(r.event.resource_id(), t)),
    field!("result_count", Number, "rows returned or exported", |r, t| number(r.event.result_count(), t)),
    field!("query", Text, "the search; holds PHI", |r, t| text(r.event.query(), t)),
    field!("client.ip", Text, "address of the user's side", |r, t| text(r.event.client_ip(), t)),
    field!("client.host", Text, "workstation of the user's side", |r, t| text(r.event.client_host(), t)),
    field!("client.app", Text, "application of the user's side", |r, t| text(r.event.client_app(), t)),
    field!("client.remote", Truth, "from outside the premises", |r, t| truth(r.event.client_remote(), t)),
    field!("auth.method", Text, "how the log-in was made", |r, t| text(r.event.auth_method(), t)),
    field!("auth.mfa", Truth, "a second factor was used", |r, t| truth(r.event.auth_mfa(), t)),
    field!("outcome", Text, words_of!(Outcome), "how it ended", |r, t| text(Some(r.event.outcome().as_str()), t)),
    field!("purpose", List, "purpose-of-use codes", |r, t| texts(r.event.purpose(), t)),
    field!("break_glass", Truth, "an emergency override was used", |r, t| truth(r.event.break_glass(), t)),
    field!("approval_ref", Text, "change, ticket or approval behind the act", |r, t| text(r.event.approval_ref(), t)),
    field!("session_id", Text, "the log-in or vendor session", |r, t| text(r.event.session_id(), t)),
    field!("correlation_id", Text, "records with the same one report one request", |r, t| {
        text(r.event.correlation_id(), t)
    }),
    field!("vendor_id", Text, "the vendor, where the source knows it", |r, t| text(r.event.vendor_id(), t)),
    field!("target.host", Text, "host that a vendor session went to", |r, t| text(r.event.target_host(), t)),
    field!("target.account", Text, "account on that host", |r, t| text(r.event.target_account(), t)),
    field!("detail.command", Text, "command run in a vendor session", |r, t| text(r.event.detail_command(), t)),
    field!("detail.bytes", Number, "bytes moved in a vendor session", |r, t| number(r.event.detail_bytes(), t)),
    field!("detail.files", Number, "files moved in a vendor session", |r, t| number(r.event.detail_files(), t)),
    field!("fact.account", Text, words_of!(Account), "what kind of account acted", |r, t| {
        text(Some(r.facts.account.as_str()), t)
    }),
    field!("fact.role", Text, "role by the roster, else as claimed", |r, t| text(r.facts.role, t)),
    field!("fact.department", Text, "department by the roster, else as claimed", |r, t| text(r.facts.department, t)),
    field!("fact.home_site", Text, "home site of the account", |r, t| text(r.facts.home_site, t)),
    field!("fact.employment", Text, employments, "kind of employment", |r, t| text(r.facts.employment, t)),
    field!("fact.status", Text, account_statuses, "status of the account at that time", |r, t| {
        text(r.facts.status.map(Status::as_str), t)
    }),
    field!(
        "fact.hour",
        Number,
        "hour by the clock at the site of the event, of the vendor for its accounts",
        |r, t| { number(Some(i64::from(r.facts.clock.hour)), t) }
    ),
    field!("fact.weekday", Text, weekdays, "day of the week by the same clock", |r, t| text(
        Some(r.facts.weekday()),
        t
    )),
    field!("fact.off_day", Truth, "weekend or holiday at the home site", |r, t| truth(Some(r.facts.off_day), t)),
    field!("fact.on_shift", Truth, "on shift; absent where shifts are unknown", |r, t| truth(r.facts.on_shift, t)),
    field!("fact.outside_dates", Truth, "used before it began or after it ended by the roster", |r, t| {
        truth(Some(r.facts.outside_dates), t)
    }),
    field!("fact.privilege", Text, words_of!(Privilege), "privileged entitlements at that time", |r, t| {
        text(Some(r.facts.privilege.as_str()), t)
    }),
    field!("fact.entitlements", List, "entitlements valid at that time", |r, t| {
        texts(r.facts.entitlements.iter().copied(), t)
    }),
    field!("fact.vendor_id", Text, "the vendor: as recorded, else by the account", |r, t| text(r.facts.vendor_id, t)),
    field!("fact.vendor_status", Text, vendor_statuses, "status of the vendor at that time", |r, t| {
        text(r.facts.vendor_status.map(Status::as_str), t)
    }),
    field!("fact.vendor_parent", Text, "the company that the vendor is a subcontractor of", |r, t| {
        text(r.facts.vendor_parent, t)
    }),
    field!("fact.baa", Text, words_of!(Agreement), "the vendor's business associate agreement", |r, t| {
        text(r.facts.baa.map(Agreement::as_str), t)
    }),
    field!("fact.approval", Text, words_of!(Approval), "the approval; absent where none is needed or kept", |r, t| {
        text(r.facts.approval.map(Approval::as_str), t)
    }),
    field!("fact.in_window", Truth, "inside the access window; absent where there is none", |r, t| {
        truth(r.facts.in_window, t)
    }),
    field!("fact.marks", List, marks, "what is special about the patients", |r, t| {
        distinct(r.patients().iter().flat_map(|patient| patient.marks.iter().copied()), t)
    }),
    field!("fact.unexplained_marks", List, marks, "the same, of patients whose opening nothing explains", |r, t| {
        let unexplained = r.patients().iter().filter(|patient| patient.explained_by.is_none());
        distinct(unexplained.flat_map(|patient| patient.marks.iter().copied()), t)
    }),
    field!("fact.explained_by", List, "what explains the openings", |r, t| {
        distinct(r.patients().iter().filter_map(|patient| patient.explained_by), t)
    }),
    field!("fact.relations", List, "relations found near that time", |r, t| {
        distinct(r.patients().iter().flat_map(|patient| patient.relations.iter().copied()), t)
    }),
    field!("fact.unexplained", Number, "how many of its patients nothing explains", |r, t| {
        number(Some(r.facts.unexplained() as i64), t)
    }),
    field!(
        "fact.days_deceased",
        Number,
        "most whole days since death among its patients; absent where none died",
        |r, t| { number(r.patients().iter().filter_map(|patient| patient.days_deceased).max().map(i64::from), t) }
    ),
    field!("fact.encounter", List, words_of!(Encounter), "the newest encounter of each patient", |r, t| {
        distinct(r.patients().iter().filter_map(|patient| patient.encounter).map(|encounter| encounter.as_str()), t)
    }),
];

fn employments() -> Vec<&'static str> {
    vec!["employee", "contractor", "student", "agency"]
}

fn account_statuses() -> Vec<&'static str> {
    [Status::Active, Status::Leave, Status::Disabled, Status::Terminated].map(Status::as_str).to_vec()
}

fn vendor_statuses() -> Vec<&'static str> {
    [Status::Active, Status::Suspended, Status::Ended].map(Status::as_str).to_vec()
}

fn weekdays() -> Vec<&'static str> {
    WEEKDAYS.to_vec()
}

/// Every mark, in the order in which enrichment gives them.
fn marks() -> Vec<&'static str> {
    crate::event::facts::MARKS.to_vec()
}

/// The vocabulary as a table of Markdown, as it stands in the documentation.
pub fn reference() -> String {
    let mut text = "| field | holds | meaning |\n|---|---|---|\n".to_owned();
    let mut line = |name: &str, holds: &str, about: &str| text.push_str(&format!("| `{name}` | {holds} | {about} |\n"));
    for FieldSpec { name, shape, words, about, .. } in ALL {
        let words: Vec<String> = words().iter().map(|word| format!("`{word}`")).collect();
        let holds = if words.is_empty() { shape.as_str().to_owned() } else { words.join(" ") };
        line(name, &holds, about);
    }
    for (table, file) in COLUMNS {
        line(
            &format!("{table}.COLUMN"),
            "text",
            &format!("a column of `{file}.csv` beyond the standard ones, whose facts stand above"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_are_those_of_the_columns() {
        for field in ALL {
            assert!(matches!(Field::find(field.name), Some(Field::Known(found)) if found.name == field.name));
            let column = field.name.replace('.', "_");
            let known = crate::event::schema::EVENTS.field_with_name(&column).is_ok();
            // Two follow from columns that are there.
            let derived = ["patients.count", "fact.unexplained_marks"].contains(&field.name);
            assert!(known || derived, "{} is a column of the history", field.name);
        }
        assert!(
            Field::find("user.union").is_some() && Field::find("user.").is_none() && Field::find("usr.union").is_none()
        );
        // Every site has these, and what follows from them is a fact.
        for standard in ["user.role", "vendor.status", "account.person", "patient.vip", "user.valid_from"] {
            assert!(Field::find(standard).is_none(), "{standard}");
        }
    }

    #[test]
    fn the_documentation_has_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&reference()), "put the output of `phiwatch rules fields` into docs/rules.md");
    }
}
