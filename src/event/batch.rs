//! Events in columns: `EventBatch` and the rows it lends out.
//!
//! One batch makes the whole trip from decoding to the history; a detector reads [`Event`], a row that borrows from the columns and
//! reads as if it were a plain value.

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::flags::{Flags, flags_parse, flags_text};
use super::kind::{Activity, ActorKind, Kind, Outcome};
use super::schema::RECORDED;
use super::span::Origin;
use super::time::Time;

/// A batch of events of one origin, in the order in which they were found.
///
/// The record batch has the columns of [`RECORDED`], in that order.
#[derive(Debug, Clone)]
pub struct EventBatch {
    /// Where the rows were found.
    pub origin: Origin,
    record: RecordBatch,
    kind: StringArray,
    event_id: StringArray,
    time: TimestampMicrosecondArray,
    recorded: TimestampMicrosecondArray,
    source: StringArray,
    site: StringArray,
    actor_id: StringArray,
    actor_kind: StringArray,
    actor_name: StringArray,
    actor_role: StringArray,
    actor_department: StringArray,
    actor_on_behalf_of: StringArray,
    activity: StringArray,
    patients: ListArray,
    resource_type: StringArray,
    resource_id: StringArray,
    result_count: Int64Array,
    query: StringArray,
    client_ip: StringArray,
    client_host: StringArray,
    client_app: StringArray,
    client_remote: BooleanArray,
    auth_method: StringArray,
    auth_mfa: BooleanArray,
    outcome: StringArray,
    purpose: ListArray,
    break_glass: BooleanArray,
    approval_ref: StringArray,
    session_id: StringArray,
    correlation_id: StringArray,
    vendor_id: StringArray,
    target_host: StringArray,
    target_account: StringArray,
    detail_command: StringArray,
    detail_bytes: Int64Array,
    detail_files: Int64Array,
    raw: StringArray,
    offset: Int64Array,
    flags: StringArray,
}

impl PartialEq for EventBatch {
    /// The same rows of the same origin: all else follows from the record.
    fn eq(&self, other: &EventBatch) -> bool {
        self.origin == other.origin && self.record == other.record
    }
}

impl EventBatch {
    /// Wraps a record batch with the columns of [`RECORDED`].
    ///
    /// # Panics
    /// Where a column is missing or of another type: that is a bug of the caller.
    pub fn new(origin: Origin, record: RecordBatch) -> EventBatch {
        assert_eq!(record.schema().fields(), RECORDED.fields(), "an event batch has the recorded columns");
        let c = record.columns();
        EventBatch {
            origin,
            kind: c[0].as_string::<i32>().clone(),
            event_id: c[1].as_string::<i32>().clone(),
            time: c[2].as_primitive::<TimestampMicrosecondType>().clone(),
            recorded: c[3].as_primitive::<TimestampMicrosecondType>().clone(),
            source: c[4].as_string::<i32>().clone(),
            site: c[5].as_string::<i32>().clone(),
            actor_id: c[6].as_string::<i32>().clone(),
            actor_kind: c[7].as_string::<i32>().clone(),
            actor_name: c[8].as_string::<i32>().clone(),
            actor_role: c[9].as_string::<i32>().clone(),
            actor_department: c[10].as_string::<i32>().clone(),
            actor_on_behalf_of: c[11].as_string::<i32>().clone(),
            activity: c[12].as_string::<i32>().clone(),
            patients: c[13].as_list::<i32>().clone(),
            resource_type: c[14].as_string::<i32>().clone(),
            resource_id: c[15].as_string::<i32>().clone(),
            result_count: c[16].as_primitive::<Int64Type>().clone(),
            query: c[17].as_string::<i32>().clone(),
            client_ip: c[18].as_string::<i32>().clone(),
            client_host: c[19].as_string::<i32>().clone(),
            client_app: c[20].as_string::<i32>().clone(),
            client_remote: c[21].as_boolean().clone(),
            auth_method: c[22].as_string::<i32>().clone(),
            auth_mfa: c[23].as_boolean().clone(),
            outcome: c[24].as_string::<i32>().clone(),
            purpose: c[25].as_list::<i32>().clone(),
            break_glass: c[26].as_boolean().clone(),
            approval_ref: c[27].as_string::<i32>().clone(),
            session_id: c[28].as_string::<i32>().clone(),
            correlation_id: c[29].as_string::<i32>().clone(),
            vendor_id: c[30].as_string::<i32>().clone(),
            target_host: c[31].as_string::<i32>().clone(),
            target_account: c[32].as_string::<i32>().clone(),
            detail_command: c[33].as_string::<i32>().clone(),
            detail_bytes: c[34].as_primitive::<Int64Type>().clone(),
            detail_files: c[35].as_primitive::<Int64Type>().clone(),
            raw: c[36].as_string::<i32>().clone(),
            offset: c[39].as_primitive::<Int64Type>().clone(),
            flags: c[41].as_string::<i32>().clone(),
            record,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.record.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns, as [`RECORDED`] names them.
    pub fn record(&self) -> &RecordBatch {
        &self.record
    }

    /// The rows from `start`, `length` of them, without copying.
    pub fn slice(&self, start: usize, length: usize) -> EventBatch {
        EventBatch::new(self.origin.clone(), self.record.slice(start, length))
    }

    /// The rows marked in `keep`, with `flags` for each row that is kept.
    pub fn keep(&self, keep: &[bool], flags: &[Flags]) -> EventBatch {
        // Nearly always everything is kept, and nothing needs to be copied.
        let kept = if keep.iter().all(|keep| *keep) && keep.len() == self.len() {
            self.record.clone()
        } else {
            let mask = BooleanArray::from(keep.to_vec());
            arrow::compute::filter_record_batch(&self.record, &mask).expect("one mark for each row")
        };
        let mut columns = kept.columns().to_vec();
        let last = columns.len() - 1;
        columns[last] = Arc::new(flags.iter().map(|flags| flags_text(*flags)).collect::<StringArray>());
        let record = RecordBatch::try_new(kept.schema(), columns).expect("flags have one value for each kept row");
        EventBatch::new(self.origin.clone(), record)
    }

    /// Row `index`.
    pub fn row(&self, index: usize) -> Event<'_> {
        debug_assert!(index < self.len());
        Event { batch: self, index }
    }

    /// All rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Event<'_>> {
        (0..self.len()).map(|index| self.row(index))
    }
}

/// One event: a row that borrows from its batch.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    batch: &'a EventBatch,
    index: usize,
}

fn text(column: &StringArray, index: usize) -> Option<&str> {
    (!column.is_null(index)).then(|| column.value(index))
}

fn texts<'a>(column: &'a ListArray, index: usize) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
    let values: &'a StringArray = column.values().as_string::<i32>();
    let offsets = column.value_offsets();
    (offsets[index] as usize..offsets[index + 1] as usize).map(move |i| values.value(i))
}

impl<'a> Event<'a> {
    /// Kafka offset, or line or record number in a file.
    pub fn offset(&self) -> i64 {
        self.batch.offset.value(self.index)
    }

    /// Where the event was found.
    pub fn origin(&self) -> &'a Origin {
        &self.batch.origin
    }

    /// What was noticed about the record on its way in.
    pub fn flags(&self) -> Flags {
        text(&self.batch.flags, self.index).map_or(0, flags_parse)
    }

    /// Which native record this is.
    pub fn kind(&self) -> Kind {
        Kind::parse(self.batch.kind.value(self.index)).expect("columns hold known words")
    }

    /// Unique within `source`.
    pub fn event_id(&self) -> &'a str {
        self.batch.event_id.value(self.index)
    }

    /// When it happened.
    pub fn time(&self) -> Time {
        Time(self.batch.time.value(self.index))
    }

    /// When the source logged it.
    pub fn recorded(&self) -> Option<Time> {
        let column = &self.batch.recorded;
        (!column.is_null(self.index)).then(|| Time(column.value(self.index)))
    }

    /// Name of the feed.
    pub fn source(&self) -> &'a str {
        self.batch.source.value(self.index)
    }

    /// Hospital or clinic; selects the time zone.
    pub fn site(&self) -> Option<&'a str> {
        text(&self.batch.site, self.index)
    }

    /// The account that acted; `None` is an unresolved identity.
    pub fn actor_id(&self) -> Option<&'a str> {
        text(&self.batch.actor_id, self.index)
    }

    /// What the source says the actor is.
    pub fn actor_kind(&self) -> Option<ActorKind> {
        text(&self.batch.actor_kind, self.index).and_then(ActorKind::parse)
    }

    /// The actor's name, as the source claims it.
    pub fn actor_name(&self) -> Option<&'a str> {
        text(&self.batch.actor_name, self.index)
    }

    /// The actor's role, as the source claims it; the roster wins.
    pub fn actor_role(&self) -> Option<&'a str> {
        text(&self.batch.actor_role, self.index)
    }

    /// The actor's department, as the source claims it; the roster wins.
    pub fn actor_department(&self) -> Option<&'a str> {
        text(&self.batch.actor_department, self.index)
    }

    /// The principal of a proxy, assistant or delegate.
    pub fn actor_on_behalf_of(&self) -> Option<&'a str> {
        text(&self.batch.actor_on_behalf_of, self.index)
    }

    /// What was done.
    pub fn activity(&self) -> Activity {
        Activity::parse(self.batch.activity.value(self.index)).expect("columns hold known words")
    }

    /// Record numbers touched: none, one or many.
    pub fn patients(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        texts(&self.batch.patients, self.index)
    }

    /// What kind of thing was touched.
    pub fn resource_type(&self) -> Option<&'a str> {
        text(&self.batch.resource_type, self.index)
    }

    /// Which one.
    pub fn resource_id(&self) -> Option<&'a str> {
        text(&self.batch.resource_id, self.index)
    }

    /// Rows returned or exported, where stated.
    pub fn result_count(&self) -> Option<i64> {
        let column = &self.batch.result_count;
        (!column.is_null(self.index)).then(|| column.value(self.index))
    }

    /// The search as decoded; holds PHI.
    pub fn query(&self) -> Option<&'a str> {
        text(&self.batch.query, self.index)
    }

    /// Address of the user's side.
    pub fn client_ip(&self) -> Option<&'a str> {
        text(&self.batch.client_ip, self.index)
    }

    /// Workstation of the user's side.
    pub fn client_host(&self) -> Option<&'a str> {
        text(&self.batch.client_host, self.index)
    }

    /// Application of the user's side.
    pub fn client_app(&self) -> Option<&'a str> {
        text(&self.batch.client_app, self.index)
    }

    /// Whether the access came from outside the premises.
    pub fn client_remote(&self) -> Option<bool> {
        let column = &self.batch.client_remote;
        (!column.is_null(self.index)).then(|| column.value(self.index))
    }

    /// How the log-in was made.
    pub fn auth_method(&self) -> Option<&'a str> {
        text(&self.batch.auth_method, self.index)
    }

    /// Whether a second factor was used.
    pub fn auth_mfa(&self) -> Option<bool> {
        let column = &self.batch.auth_mfa;
        (!column.is_null(self.index)).then(|| column.value(self.index))
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        Outcome::parse(self.batch.outcome.value(self.index)).expect("columns hold known words")
    }

    /// Purpose-of-use codes.
    pub fn purpose(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        texts(&self.batch.purpose, self.index)
    }

    /// Whether an emergency override was used; `None` is not stated.
    pub fn break_glass(&self) -> Option<bool> {
        let column = &self.batch.break_glass;
        (!column.is_null(self.index)).then(|| column.value(self.index))
    }

    /// Change, ticket or approval behind an elevated act.
    pub fn approval_ref(&self) -> Option<&'a str> {
        text(&self.batch.approval_ref, self.index)
    }

    /// The log-in or vendor session.
    pub fn session_id(&self) -> Option<&'a str> {
        text(&self.batch.session_id, self.index)
    }

    /// Records of one source with the same value report one request.
    pub fn correlation_id(&self) -> Option<&'a str> {
        text(&self.batch.correlation_id, self.index)
    }

    /// The vendor company, where the source knows it.
    pub fn vendor_id(&self) -> Option<&'a str> {
        text(&self.batch.vendor_id, self.index)
    }

    /// Host that a vendor session went to.
    pub fn target_host(&self) -> Option<&'a str> {
        text(&self.batch.target_host, self.index)
    }

    /// Account on that host.
    pub fn target_account(&self) -> Option<&'a str> {
        text(&self.batch.target_account, self.index)
    }

    /// Command run in a vendor session.
    pub fn detail_command(&self) -> Option<&'a str> {
        text(&self.batch.detail_command, self.index)
    }

    /// Bytes moved in a vendor session.
    pub fn detail_bytes(&self) -> Option<i64> {
        let column = &self.batch.detail_bytes;
        (!column.is_null(self.index)).then(|| column.value(self.index))
    }

    /// Files moved in a vendor session.
    pub fn detail_files(&self) -> Option<i64> {
        let column = &self.batch.detail_files;
        (!column.is_null(self.index)).then(|| column.value(self.index))
    }

    /// One JSON object of what no column holds; the whole record for a foreign format.
    pub fn raw(&self) -> Option<&'a str> {
        text(&self.batch.raw, self.index)
    }
}
