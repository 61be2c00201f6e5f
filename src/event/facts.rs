//! Facts: what enrichment adds to an event, as a row and as columns.
//!
//! Facts hold as of the event's own time and are stored with it, so that investigations and replays do not depend on the rosters of
//! today. The columns are those of [`super::schema::FACTS`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Date32Builder, Int32Builder, ListBuilder, RecordBatch, StringBuilder};

use super::draft::trim;
use super::kind::words;
use super::schema::FACTS;
use super::time::{Day, Local};

/// What stands between the cells of several patients in [`Facts::extra`]. Rows of earlier versions have `;` there and no empty cells.
pub const BETWEEN_PATIENTS: &str = "\u{1f}";

words! {
    /// What kind of account acted.
    Account {
        /// Listed in `users.csv`.
        User = "user",
        /// Listed in `vendor_accounts.csv`.
        VendorAccount = "vendor_account",
        /// In no roster at the time of the event.
        Unknown = "unknown",
        /// The record names nobody.
        Unresolved = "unresolved",
        /// Listed in `users.csv` as a service account.
        Service = "service",
    }
}

words! {
    /// Status of an account or vendor at the time of the event.
    Status {
        Active = "active",
        Leave = "leave",
        Disabled = "disabled",
        Terminated = "terminated",
        Suspended = "suspended",
        Ended = "ended",
    }
}

words! {
    /// State of a vendor's business associate agreement at the time of the event.
    Agreement {
        Valid = "valid",
        Missing = "missing",
        NotYet = "not_yet",
        Expired = "expired",
    }
}

words! {
    /// State of the approval behind an elevated act.
    Approval {
        Valid = "valid",
        /// The event names none.
        Missing = "missing",
        /// The event names one that no roster has, or that belongs to another vendor.
        Unknown = "unknown",
        /// Outside its time.
        OutOfTime = "out_of_time",
        /// For another host.
        OtherHost = "other_host",
    }
}

words! {
    /// What an account holds of privileged entitlements.
    Privilege {
        /// One that is valid.
        Valid = "valid",
        /// None any more: those that it had have expired.
        Expired = "expired",
        /// None at all.
        None = "none",
    }
}

words! {
    /// The newest encounter of a patient at the time of the event.
    Encounter {
        Open = "open",
        Closed = "closed",
        /// None has begun.
        None = "none",
    }
}

/// Days of the week, from Monday.
pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What can be special about a patient of an event, in the order in which enrichment says it.
pub const MARKS: [&str; 10] = [
    "own_chart",
    "staff",
    "colleague",
    "same_surname",
    "same_address",
    "contact",
    "vip",
    "restricted",
    "deceased",
    "merged",
];

/// What is known of one patient of an event, in relation to the actor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PatientFacts<'a> {
    /// The record number that lives on after merges; as recorded where nothing is known.
    pub patient_id: &'a str,
    /// Kinds of relation found near the event's time, nearest first.
    pub relations: Vec<&'a str>,
    /// What explains the access (`encounter`, `care_team`, ..., `own_unit:encounter`); `None` is unexplained.
    pub explained_by: Option<&'a str>,
    /// Some of [`MARKS`].
    pub marks: Vec<&'a str>,
    /// Whole days since the patient died, where that is known.
    pub days_deceased: Option<i32>,
    /// The newest encounter; `None` where the site keeps no relations.
    pub encounter: Option<Encounter>,
}

/// What is known of an event at its own time.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts<'a> {
    /// What kind of account acted.
    pub account: Account,
    /// The person behind the account: `person_id` of the roster, else the account itself.
    pub person_id: Option<&'a str>,
    /// Role by the roster, else as claimed.
    pub role: Option<&'a str>,
    /// Department by the roster, else as claimed.
    pub department: Option<&'a str>,
    /// Home site of the account.
    pub home_site: Option<&'a str>,
    /// Status of the account.
    pub status: Option<Status>,
    /// `employee`, `contractor`, `student` or `agency`.
    pub employment: Option<&'a str>,
    /// The subject's local day, in the zone of the home site.
    pub day: Day,
    /// The clock at the site of the event (of the vendor, for vendor accounts).
    pub clock: Local,
    /// Weekend or holiday at the home site.
    pub off_day: bool,
    /// On shift, where shifts are known for the person near that time.
    pub on_shift: Option<bool>,
    /// Used before it was created or hired, or after its rows end.
    pub outside_dates: bool,
    /// What it holds of entitlements marked privileged.
    pub privilege: Privilege,
    /// Entitlements valid at that time.
    pub entitlements: Vec<&'a str>,
    /// Vendor: as recorded, else by the account.
    pub vendor_id: Option<&'a str>,
    /// Status of the vendor.
    pub vendor_status: Option<Status>,
    /// The company that the vendor is a subcontractor of.
    pub vendor_parent: Option<&'a str>,
    /// The vendor's agreement.
    pub baa: Option<Agreement>,
    /// The approval of a vendor's access, where one is named or needed.
    pub approval: Option<Approval>,
    /// Inside the access window of the vendor account, where it has one.
    pub in_window: Option<bool>,
    /// One for each of the event's patients, in their order.
    pub patients: Vec<PatientFacts<'a>>,
    /// Columns of the rosters beyond the standard ones, by name, as far as somebody asks for them.
    /// The name has its table before it (`user.union`); the cells of several patients stand in their order, [`BETWEEN_PATIENTS`] between them.
    pub extra: BTreeMap<&'a str, Cow<'a, str>>,
}

impl Facts<'_> {
    /// Patients whose opening nothing explains.
    pub fn unexplained(&self) -> usize {
        self.patients.iter().filter(|patient| patient.explained_by.is_none()).count()
    }

    /// Day of the week by the clock.
    pub fn weekday(&self) -> &'static str {
        WEEKDAYS[usize::from(self.clock.date.weekday())]
    }

    /// The largest number of whole days since death among its patients.
    pub fn days_deceased(&self) -> Option<i32> {
        self.patients.iter().filter_map(|patient| patient.days_deceased).max()
    }
}

/// Builds the fact columns of one batch.
#[derive(Default)]
pub struct FactsBuilder {
    account: StringBuilder,
    person_id: StringBuilder,
    role: StringBuilder,
    department: StringBuilder,
    home_site: StringBuilder,
    status: StringBuilder,
    employment: StringBuilder,
    day: Date32Builder,
    hour: Int32Builder,
    weekday: StringBuilder,
    off_day: BooleanBuilder,
    on_shift: BooleanBuilder,
    outside_dates: BooleanBuilder,
    privilege: StringBuilder,
    entitlements: ListBuilder<StringBuilder>,
    vendor_id: StringBuilder,
    vendor_status: StringBuilder,
    vendor_parent: StringBuilder,
    baa: StringBuilder,
    approval: StringBuilder,
    in_window: BooleanBuilder,
    patients: ListBuilder<StringBuilder>,
    relations: ListBuilder<StringBuilder>,
    explained_by: ListBuilder<StringBuilder>,
    marks: ListBuilder<StringBuilder>,
    unexplained: Int32Builder,
    days_deceased: Int32Builder,
    encounter: ListBuilder<StringBuilder>,
    roster: StringBuilder,
    extra: StringBuilder,
}

impl FactsBuilder {
    /// Adds the facts of one event; `roster` is the hash of the roster they come from.
    pub fn push(&mut self, facts: &Facts<'_>, roster: &str) {
        self.account.append_value(facts.account.as_str());
        self.person_id.append_option(facts.person_id);
        self.role.append_option(facts.role);
        self.department.append_option(facts.department);
        self.home_site.append_option(facts.home_site);
        self.status.append_option(facts.status.map(Status::as_str));
        self.employment.append_option(facts.employment);
        self.day.append_value(facts.day.0);
        self.hour.append_value(i32::from(facts.clock.hour));
        self.weekday.append_value(facts.weekday());
        self.off_day.append_value(facts.off_day);
        self.on_shift.append_option(facts.on_shift);
        self.outside_dates.append_value(facts.outside_dates);
        self.privilege.append_value(facts.privilege.as_str());
        push_list(&mut self.entitlements, facts.entitlements.iter().map(|e| Some(*e)));
        self.vendor_id.append_option(facts.vendor_id);
        self.vendor_status.append_option(facts.vendor_status.map(Status::as_str));
        self.vendor_parent.append_option(facts.vendor_parent);
        self.baa.append_option(facts.baa.map(Agreement::as_str));
        self.approval.append_option(facts.approval.map(Approval::as_str));
        self.in_window.append_option(facts.in_window);
        push_list(&mut self.patients, facts.patients.iter().map(|p| Some(p.patient_id)));
        push_joined(&mut self.relations, facts.patients.iter().map(|p| p.relations.as_slice()));
        push_list(&mut self.explained_by, facts.patients.iter().map(|p| p.explained_by));
        push_joined(&mut self.marks, facts.patients.iter().map(|p| p.marks.as_slice()));
        self.unexplained.append_value(facts.unexplained() as i32);
        self.days_deceased.append_option(facts.days_deceased());
        push_list(&mut self.encounter, facts.patients.iter().map(|p| p.encounter.map(Encounter::as_str)));
        self.roster.append_value(roster);
        let extra = serde_json::to_string(&facts.extra).expect("texts are written as JSON");
        self.extra.append_option((!facts.extra.is_empty()).then_some(extra));
    }

    /// The columns of all rows pushed since the last call.
    pub fn finish(&mut self) -> RecordBatch {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.account.finish()),
            Arc::new(self.person_id.finish()),
            Arc::new(self.role.finish()),
            Arc::new(self.department.finish()),
            Arc::new(self.home_site.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.employment.finish()),
            Arc::new(self.day.finish()),
            Arc::new(self.hour.finish()),
            Arc::new(self.weekday.finish()),
            Arc::new(self.off_day.finish()),
            Arc::new(self.on_shift.finish()),
            Arc::new(self.outside_dates.finish()),
            Arc::new(self.privilege.finish()),
            Arc::new(self.entitlements.finish()),
            Arc::new(self.vendor_id.finish()),
            Arc::new(self.vendor_status.finish()),
            Arc::new(self.vendor_parent.finish()),
            Arc::new(self.baa.finish()),
            Arc::new(self.approval.finish()),
            Arc::new(self.in_window.finish()),
            Arc::new(self.patients.finish()),
            Arc::new(self.relations.finish()),
            Arc::new(self.explained_by.finish()),
            Arc::new(self.marks.finish()),
            Arc::new(self.unexplained.finish()),
            Arc::new(self.days_deceased.finish()),
            Arc::new(self.encounter.finish()),
            Arc::new(self.roster.finish()),
            Arc::new(self.extra.finish()),
        ];
        trim(&mut columns);
        RecordBatch::try_new(FACTS.clone(), columns).expect("the builder follows the schema")
    }
}

fn push_list<'s>(builder: &mut ListBuilder<StringBuilder>, values: impl Iterator<Item = Option<&'s str>>) {
    for value in values {
        builder.values().append_option(value);
    }
    builder.append(true);
}

/// A list of words joined with `;`, one text for each list of words; none for an empty one.
fn push_joined<'s>(builder: &mut ListBuilder<StringBuilder>, values: impl Iterator<Item = &'s [&'s str]>) {
    for words in values {
        match words {
            [] => builder.values().append_null(),
            [word] => builder.values().append_value(word),
            several => builder.values().append_value(several.join(";")),
        }
    }
    builder.append(true);
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::event::time::{Time, Zone};

    #[test]
    fn columns_that_are_asked_for_are_one_json_object() {
        let clock = Zone::utc().local(Time(0));
        let mut facts = Facts {
            account: Account::User,
            person_id: None,
            role: None,
            department: None,
            home_site: None,
            status: None,
            employment: None,
            day: clock.day,
            clock,
            off_day: false,
            on_shift: None,
            outside_dates: false,
            privilege: Privilege::None,
            entitlements: Vec::new(),
            vendor_id: None,
            vendor_status: None,
            vendor_parent: None,
            baa: None,
            approval: None,
            in_window: None,
            patients: Vec::new(),
            extra: BTreeMap::new(),
        };
        let mut builder = FactsBuilder::default();
        builder.push(&facts, "r");
        facts.extra = BTreeMap::from([("union", "yes".into()), ("cost \"centre\"", "7".into())]);
        builder.push(&facts, "r");
        let rows = builder.finish();
        let extra = rows.column_by_name("fact_extra").unwrap().as_string::<i32>();
        assert!(extra.is_null(0));
        assert_eq!(extra.value(1), r#"{"cost \"centre\"":"7","union":"yes"}"#);
    }
}
