//! The way in: `Draft`, the fields of one event, and `EventBuilder`, which puts drafts into columns.
//!
//! Decoders and the simulator fill a draft and push it; nothing else builds events.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BooleanBuilder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};

use super::batch::EventBatch;
use super::flags::{Flags, flags_text};
use super::kind::{Activity, ActorKind, Kind, Outcome};
use super::schema::RECORDED;
use super::span::Origin;
use super::time::Time;

/// The fields of one event on their way into columns. Text is borrowed from the record where it can be.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<'a> {
    /// Which native record this is.
    pub kind: Kind,
    /// Unique within `source`.
    pub event_id: Cow<'a, str>,
    /// When it happened.
    pub time: Time,
    /// When the source logged it.
    pub recorded: Option<Time>,
    /// Name of the feed.
    pub source: Cow<'a, str>,
    /// Hospital or clinic; selects the time zone.
    pub site: Option<Cow<'a, str>>,
    /// The account that acted; `None` is an unresolved identity.
    pub actor_id: Option<Cow<'a, str>>,
    /// What the source says the actor is.
    pub actor_kind: Option<ActorKind>,
    /// The actor's name, as the source claims it.
    pub actor_name: Option<Cow<'a, str>>,
    /// The actor's role, as the source claims it; the roster wins.
    pub actor_role: Option<Cow<'a, str>>,
    /// The actor's department, as the source claims it; the roster wins.
    pub actor_department: Option<Cow<'a, str>>,
    /// The principal of a proxy, assistant or delegate.
    pub actor_on_behalf_of: Option<Cow<'a, str>>,
    /// What was done.
    pub activity: Activity,
    /// Record numbers touched: none, one or many.
    pub patients: Vec<Cow<'a, str>>,
    /// What kind of thing was touched.
    pub resource_type: Option<Cow<'a, str>>,
    /// Which one.
    pub resource_id: Option<Cow<'a, str>>,
    /// Rows returned or exported, where stated.
    pub result_count: Option<i64>,
    /// The search as decoded; holds PHI.
    pub query: Option<Cow<'a, str>>,
    /// Address of the user's side.
    pub client_ip: Option<Cow<'a, str>>,
    /// Workstation of the user's side.
    pub client_host: Option<Cow<'a, str>>,
    /// Application of the user's side.
    pub client_app: Option<Cow<'a, str>>,
    /// Whether the access came from outside the premises.
    pub client_remote: Option<bool>,
    /// How the log-in was made.
    pub auth_method: Option<Cow<'a, str>>,
    /// Whether a second factor was used.
    pub auth_mfa: Option<bool>,
    /// How it ended.
    pub outcome: Outcome,
    /// Purpose-of-use codes.
    pub purpose: Vec<Cow<'a, str>>,
    /// Whether an emergency override was used; `None` is not stated.
    pub break_glass: Option<bool>,
    /// Change, ticket or approval behind an elevated act.
    pub approval_ref: Option<Cow<'a, str>>,
    /// The log-in or vendor session.
    pub session_id: Option<Cow<'a, str>>,
    /// Records of one source with the same value report one request.
    pub correlation_id: Option<Cow<'a, str>>,
    /// The vendor company, where the source knows it.
    pub vendor_id: Option<Cow<'a, str>>,
    /// Host that a vendor session went to.
    pub target_host: Option<Cow<'a, str>>,
    /// Account on that host.
    pub target_account: Option<Cow<'a, str>>,
    /// Command run in a vendor session.
    pub detail_command: Option<Cow<'a, str>>,
    /// Bytes moved in a vendor session.
    pub detail_bytes: Option<i64>,
    /// Files moved in a vendor session.
    pub detail_files: Option<i64>,
    /// One JSON object of what no column holds; the whole record for a foreign format.
    pub raw: Option<Cow<'a, str>>,
}

impl<'a> Draft<'a> {
    /// A draft with the required fields and nothing else; the outcome is unknown.
    pub fn new(
        event_id: impl Into<Cow<'a, str>>,
        time: Time,
        source: impl Into<Cow<'a, str>>,
        activity: Activity,
    ) -> Draft<'a> {
        Draft {
            kind: activity.kind().unwrap_or(Kind::Access),
            event_id: event_id.into(),
            time,
            recorded: None,
            source: source.into(),
            site: None,
            actor_id: None,
            actor_kind: None,
            actor_name: None,
            actor_role: None,
            actor_department: None,
            actor_on_behalf_of: None,
            activity,
            patients: Vec::new(),
            resource_type: None,
            resource_id: None,
            result_count: None,
            query: None,
            client_ip: None,
            client_host: None,
            client_app: None,
            client_remote: None,
            auth_method: None,
            auth_mfa: None,
            outcome: Outcome::Unknown,
            purpose: Vec::new(),
            break_glass: None,
            approval_ref: None,
            session_id: None,
            correlation_id: None,
            vendor_id: None,
            target_host: None,
            target_account: None,
            detail_command: None,
            detail_bytes: None,
            detail_files: None,
            raw: None,
        }
    }
}

/// A column of texts in which what is absent costs nothing before the next text, or the end of the batch.
#[derive(Default)]
struct Texts(StringBuilder);

impl Texts {
    #[inline]
    fn put(&mut self, row: usize, text: Option<&str>) {
        if let Some(text) = text {
            self.fill(row);
            self.0.append_value(text);
        }
    }

    /// Brings the column to `rows` rows.
    #[inline]
    fn fill(&mut self, rows: usize) {
        let absent = rows - self.0.len();
        if absent > 0 {
            self.0.append_nulls(absent);
        }
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        Arc::new(self.0.finish())
    }
}

/// Gives back what small columns do not need: builders begin with room for a thousand rows, and many small batches may wait for a segment.
pub(super) fn trim(columns: &mut [ArrayRef]) {
    if columns.first().is_some_and(|column| column.len() < 1_024) {
        columns.iter_mut().for_each(Array::shrink_to_fit);
    }
}

/// Builds the columns of one batch, row by row.
#[derive(Default)]
pub struct EventBuilder {
    rows: usize,
    kind: StringBuilder,
    event_id: StringBuilder,
    time: TimestampMicrosecondBuilder,
    recorded: TimestampMicrosecondBuilder,
    source: StringBuilder,
    site: Texts,
    actor_id: Texts,
    actor_kind: Texts,
    actor_name: Texts,
    actor_role: Texts,
    actor_department: Texts,
    actor_on_behalf_of: Texts,
    activity: StringBuilder,
    patients: ListBuilder<StringBuilder>,
    resource_type: Texts,
    resource_id: Texts,
    result_count: Int64Builder,
    query: Texts,
    client_ip: Texts,
    client_host: Texts,
    client_app: Texts,
    client_remote: BooleanBuilder,
    auth_method: Texts,
    auth_mfa: BooleanBuilder,
    outcome: StringBuilder,
    purpose: ListBuilder<StringBuilder>,
    break_glass: BooleanBuilder,
    approval_ref: Texts,
    session_id: Texts,
    correlation_id: Texts,
    vendor_id: Texts,
    target_host: Texts,
    target_account: Texts,
    detail_command: Texts,
    detail_bytes: Int64Builder,
    detail_files: Int64Builder,
    raw: Texts,
    offset: Int64Builder,
    flags: Texts,
}

impl EventBuilder {
    /// Rows pushed since the last `finish`.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row was pushed.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row that was found at `offset` of the origin: a Kafka offset, or the line or record number of a file (from 1).
    pub fn push(&mut self, draft: &Draft<'_>, offset: i64, flags: Flags) {
        let row = self.rows;
        self.rows += 1;
        self.kind.append_value(draft.kind.as_str());
        self.event_id.append_value(&draft.event_id);
        self.time.append_value(draft.time.0);
        self.recorded.append_option(draft.recorded.map(|t| t.0));
        self.source.append_value(&draft.source);
        self.site.put(row, draft.site.as_deref());
        self.actor_id.put(row, draft.actor_id.as_deref());
        self.actor_kind.put(row, draft.actor_kind.map(ActorKind::as_str));
        self.actor_name.put(row, draft.actor_name.as_deref());
        self.actor_role.put(row, draft.actor_role.as_deref());
        self.actor_department.put(row, draft.actor_department.as_deref());
        self.actor_on_behalf_of.put(row, draft.actor_on_behalf_of.as_deref());
        self.activity.append_value(draft.activity.as_str());
        push_list(&mut self.patients, &draft.patients);
        self.resource_type.put(row, draft.resource_type.as_deref());
        self.resource_id.put(row, draft.resource_id.as_deref());
        self.result_count.append_option(draft.result_count);
        self.query.put(row, draft.query.as_deref());
        self.client_ip.put(row, draft.client_ip.as_deref());
        self.client_host.put(row, draft.client_host.as_deref());
        self.client_app.put(row, draft.client_app.as_deref());
        self.client_remote.append_option(draft.client_remote);
        self.auth_method.put(row, draft.auth_method.as_deref());
        self.auth_mfa.append_option(draft.auth_mfa);
        self.outcome.append_value(draft.outcome.as_str());
        push_list(&mut self.purpose, &draft.purpose);
        self.break_glass.append_option(draft.break_glass);
        self.approval_ref.put(row, draft.approval_ref.as_deref());
        self.session_id.put(row, draft.session_id.as_deref());
        self.correlation_id.put(row, draft.correlation_id.as_deref());
        self.vendor_id.put(row, draft.vendor_id.as_deref());
        self.target_host.put(row, draft.target_host.as_deref());
        self.target_account.put(row, draft.target_account.as_deref());
        self.detail_command.put(row, draft.detail_command.as_deref());
        self.detail_bytes.append_option(draft.detail_bytes);
        self.detail_files.append_option(draft.detail_files);
        self.raw.put(row, draft.raw.as_deref());
        self.offset.append_value(offset);
        self.flags.put(row, flags_text(flags).as_deref());
    }

    /// The batch of all rows pushed since the last call.
    pub fn finish(&mut self, origin: &Origin) -> EventBatch {
        let rows = std::mem::take(&mut self.rows);
        let (topic, partition, file) = origin.columns(rows);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.kind.finish()),
            Arc::new(self.event_id.finish()),
            Arc::new(self.time.finish().with_timezone("UTC")),
            Arc::new(self.recorded.finish().with_timezone("UTC")),
            Arc::new(self.source.finish()),
            self.site.finish(rows),
            self.actor_id.finish(rows),
            self.actor_kind.finish(rows),
            self.actor_name.finish(rows),
            self.actor_role.finish(rows),
            self.actor_department.finish(rows),
            self.actor_on_behalf_of.finish(rows),
            Arc::new(self.activity.finish()),
            Arc::new(self.patients.finish()),
            self.resource_type.finish(rows),
            self.resource_id.finish(rows),
            Arc::new(self.result_count.finish()),
            self.query.finish(rows),
            self.client_ip.finish(rows),
            self.client_host.finish(rows),
            self.client_app.finish(rows),
            Arc::new(self.client_remote.finish()),
            self.auth_method.finish(rows),
            Arc::new(self.auth_mfa.finish()),
            Arc::new(self.outcome.finish()),
            Arc::new(self.purpose.finish()),
            Arc::new(self.break_glass.finish()),
            self.approval_ref.finish(rows),
            self.session_id.finish(rows),
            self.correlation_id.finish(rows),
            self.vendor_id.finish(rows),
            self.target_host.finish(rows),
            self.target_account.finish(rows),
            self.detail_command.finish(rows),
            Arc::new(self.detail_bytes.finish()),
            Arc::new(self.detail_files.finish()),
            self.raw.finish(rows),
            topic,
            partition,
            Arc::new(self.offset.finish()),
            file,
            self.flags.finish(rows),
        ];
        trim(&mut columns);
        let record = RecordBatch::try_new(RECORDED.clone(), columns).expect("the builder follows the schema");
        EventBatch::new(origin.clone(), record)
    }
}

fn push_list(builder: &mut ListBuilder<StringBuilder>, values: &[Cow<'_, str>]) {
    for value in values {
        builder.values().append_value(value);
    }
    builder.append(true);
}
