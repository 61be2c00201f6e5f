//! Rows on record, read back: events and facts of those columns that somebody asked for.
//!
//! A column that was not asked for reads as absent, so whoever asks for too few sees less; what every reader of rules needs is in
//! [`NEEDED`]. Facts come back as they were stored, with what storing leaves out: of several patients who have died each has the
//! number of days of the one who died first, and the minute of the clock is that of UTC.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Date32Type, Field, Int32Type};

use super::facts::{Account, Agreement, Approval, Encounter, Privilege, Status, WEEKDAYS};
use super::schema::RECORDED;
use super::time::{DAY, HOUR, MINUTE};
use super::{Day, EventBatch, Facts, Local, Origin, PatientFacts, Time};

/// The columns without which a row is none: who, when, what, on which day, and how it was counted.
pub const NEEDED: [&str; 15] = [
    "kind",
    "event_id",
    "time",
    "source",
    "site",
    "actor_id",
    "actor_kind",
    "activity",
    "outcome",
    "offset",
    "flags",
    "fact_account",
    "fact_home_site",
    "fact_day",
    "fact_vendor_id",
];

/// The events of rows; columns that they do not hold read as absent. Whoever leaves out one of [`NEEDED`] must not ask for it.
pub fn events(rows: &RecordBatch) -> EventBatch {
    let columns = RECORDED.fields().iter().map(|field| match rows.column_by_name(field.name()) {
        Some(column) => column.clone(),
        None => absent(field, rows.num_rows()),
    });
    let record =
        RecordBatch::try_new(RECORDED.clone(), columns.collect()).expect("a column has the type of its schema");
    EventBatch::new(Origin::file("record"), record)
}

/// A column that was not asked for.
fn absent(field: &Field, rows: usize) -> ArrayRef {
    match field.data_type() {
        DataType::List(of) if !field.is_nullable() => {
            let offsets = OffsetBuffer::new_zeroed(rows);
            Arc::new(ListArray::new(of.clone(), offsets, new_empty_array(of.data_type()), None))
        }
        DataType::Utf8 if !field.is_nullable() => {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n("", rows)))
        }
        DataType::Int64 if !field.is_nullable() => Arc::new(Int64Array::from_value(0, rows)),
        DataType::Timestamp(..) if !field.is_nullable() => {
            Arc::new(TimestampMicrosecondArray::from_value(0, rows).with_timezone("UTC"))
        }
        kind => new_null_array(kind, rows),
    }
}

/// A column of texts, where it was asked for.
struct Texts(Option<StringArray>);

impl Texts {
    fn get(&self, row: usize) -> Option<&str> {
        self.0.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }
}

/// A column of lists of texts, where it was asked for.
struct Lists(Option<ListArray>);

impl Lists {
    fn len(&self, row: usize) -> usize {
        self.0.as_ref().filter(|column| column.is_valid(row)).map_or(0, |column| column.value_length(row) as usize)
    }

    fn get(&self, row: usize, at: usize) -> Option<&str> {
        let column = self.0.as_ref().filter(|_| at < self.len(row))?;
        let (values, place) = (column.values().as_string::<i32>(), column.value_offsets()[row] as usize + at);
        values.is_valid(place).then(|| values.value(place))
    }

    fn all(&self, row: usize) -> impl Iterator<Item = &str> {
        (0..self.len(row)).filter_map(move |at| self.get(row, at))
    }
}

/// The columns of facts of some rows.
pub struct StoredFacts {
    account: Texts,
    person_id: Texts,
    role: Texts,
    department: Texts,
    home_site: Texts,
    status: Texts,
    employment: Texts,
    day: Option<ArrayRef>,
    hour: Option<Int32Array>,
    weekday: Texts,
    off_day: Option<BooleanArray>,
    on_shift: Option<BooleanArray>,
    outside_dates: Option<BooleanArray>,
    privilege: Texts,
    entitlements: Lists,
    vendor_id: Texts,
    vendor_status: Texts,
    vendor_parent: Texts,
    baa: Texts,
    approval: Texts,
    in_window: Option<BooleanArray>,
    patients: Lists,
    relations: Lists,
    explained_by: Lists,
    marks: Lists,
    days_deceased: Option<Int32Array>,
    encounter: Lists,
    extra: Texts,
}

impl StoredFacts {
    /// The columns of facts among those of `rows`.
    pub fn of(rows: &RecordBatch) -> StoredFacts {
        let column = |name: &str| rows.column_by_name(name);
        let texts = |name: &str| Texts(column(name).map(|column| column.as_string::<i32>().clone()));
        let lists = |name: &str| Lists(column(name).map(|column| column.as_list::<i32>().clone()));
        let truths = |name: &str| column(name).map(|column| column.as_boolean().clone());
        let numbers = |name: &str| column(name).map(|column| column.as_primitive::<Int32Type>().clone());
        StoredFacts {
            account: texts("fact_account"),
            person_id: texts("fact_person_id"),
            role: texts("fact_role"),
            department: texts("fact_department"),
            home_site: texts("fact_home_site"),
            status: texts("fact_status"),
            employment: texts("fact_employment"),
            day: column("fact_day").cloned(),
            hour: numbers("fact_hour"),
            weekday: texts("fact_weekday"),
            off_day: truths("fact_off_day"),
            on_shift: truths("fact_on_shift"),
            outside_dates: truths("fact_outside_dates"),
            privilege: texts("fact_privilege"),
            entitlements: lists("fact_entitlements"),
            vendor_id: texts("fact_vendor_id"),
            vendor_status: texts("fact_vendor_status"),
            vendor_parent: texts("fact_vendor_parent"),
            baa: texts("fact_baa"),
            approval: texts("fact_approval"),
            in_window: truths("fact_in_window"),
            patients: lists("fact_patients"),
            relations: lists("fact_relations"),
            explained_by: lists("fact_explained_by"),
            marks: lists("fact_marks"),
            days_deceased: numbers("fact_days_deceased"),
            encounter: lists("fact_encounter"),
            extra: texts("fact_extra"),
        }
    }

    /// The facts of the event of row `row`, which happened at `time`; of the columns of the rosters those in `names`.
    pub fn row<'a>(&'a self, row: usize, time: Time, names: &'a [String]) -> Facts<'a> {
        let clock = self.clock(row, time);
        let status = |texts: &Texts| texts.get(row).and_then(Status::parse);
        Facts {
            account: self.account.get(row).and_then(Account::parse).unwrap_or(Account::Unresolved),
            person_id: self.person_id.get(row),
            role: self.role.get(row),
            department: self.department.get(row),
            home_site: self.home_site.get(row),
            status: status(&self.status),
            employment: self.employment.get(row),
            day: clock.day,
            clock,
            off_day: truth(&self.off_day, row).unwrap_or(false),
            on_shift: truth(&self.on_shift, row),
            outside_dates: truth(&self.outside_dates, row).unwrap_or(false),
            privilege: self.privilege.get(row).and_then(Privilege::parse).unwrap_or(Privilege::None),
            entitlements: self.entitlements.all(row).collect(),
            vendor_id: self.vendor_id.get(row),
            vendor_status: status(&self.vendor_status),
            vendor_parent: self.vendor_parent.get(row),
            baa: self.baa.get(row).and_then(Agreement::parse),
            approval: self.approval.get(row).and_then(Approval::parse),
            in_window: truth(&self.in_window, row),
            patients: self.patients(row),
            extra: self.extra(row, names),
        }
    }

    /// The clock there: its hour and day of the week are stored, and the date follows from them, being nearest to that of UTC.
    fn clock(&self, row: usize, time: Time) -> Local {
        let hour = self.hour.as_ref().filter(|hours| hours.is_valid(row)).map(|hours| hours.value(row));
        let hour = hour.map_or_else(|| time.0.div_euclid(HOUR).rem_euclid(24), i64::from);
        let weekday = self.weekday.get(row).and_then(|word| WEEKDAYS.iter().position(|day| *day == word));
        let utc = Day(time.0.div_euclid(DAY) as i32);
        let far = |date: &Day| (i64::from(date.0) * DAY + hour * HOUR - time.0).abs();
        let dates = [utc.plus(-1), utc, utc.plus(1)];
        let fits = |date: &Day| weekday.is_none_or(|weekday| usize::from(date.weekday()) == weekday);
        let date = dates.into_iter().filter(fits).min_by_key(far).unwrap_or(utc);
        let minute = (time.0.rem_euclid(HOUR) / MINUTE) as u8;
        let before_four = date.plus(if hour < 4 { -1 } else { 0 });
        let days = self.day.as_ref().map(|days| days.as_primitive::<Date32Type>()).filter(|days| days.is_valid(row));
        Local { day: days.map_or(before_four, |days| Day(days.value(row))), date, hour: hour as u8, minute }
    }

    fn patients(&self, row: usize) -> Vec<PatientFacts<'_>> {
        let words = |lists, at| split(Lists::get(lists, row, at));
        let mut patients: Vec<PatientFacts<'_>> = (0..self.patients.len(row))
            .map(|at| PatientFacts {
                patient_id: self.patients.get(row, at).unwrap_or(""),
                relations: words(&self.relations, at),
                explained_by: self.explained_by.get(row, at),
                marks: words(&self.marks, at),
                days_deceased: None,
                encounter: self.encounter.get(row, at).and_then(Encounter::parse),
            })
            .collect();
        let days = self.days_deceased.as_ref().filter(|days| days.is_valid(row)).map(|days| days.value(row));
        if days.is_some() {
            let has_died = |patient: &PatientFacts<'_>| patient.marks.contains(&"deceased");
            let anybody = patients.iter().any(has_died);
            for patient in patients.iter_mut().filter(|patient| !anybody || has_died(patient)) {
                patient.days_deceased = days;
            }
        }
        patients
    }

    fn extra<'a>(&'a self, row: usize, names: &'a [String]) -> BTreeMap<&'a str, Cow<'a, str>> {
        let Some(text) = self.extra.get(row).filter(|_| !names.is_empty()) else { return BTreeMap::new() };
        let mut cells: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
        let cell = |name: &'a String| cells.remove(name).map(|cell| (name.as_str(), Cow::Owned(cell)));
        names.iter().filter_map(cell).collect()
    }
}

fn truth(column: &Option<BooleanArray>, row: usize) -> Option<bool> {
    column.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn split(words: Option<&str>) -> Vec<&str> {
    words.map(|words| words.split(';').collect()).unwrap_or_default()
}
