//! The way in: `Draft`, the fields of one event, and `EventBuilder`, which puts drafts into columns.
//!
//! Decoders and the simulator fill a draft and push it; nothing else builds events.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int64Builder, ListBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
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

/// Builds the columns of one batch, row by row.
#[derive(Default)]
pub struct EventBuilder {
    rows: usize,
    kind: StringBuilder,
    event_id: StringBuilder,
    time: TimestampMicrosecondBuilder,
    recorded: TimestampMicrosecondBuilder,
    source: StringBuilder,
    site: StringBuilder,
    actor_id: StringBuilder,
    actor_kind: StringBuilder,
    actor_name: StringBuilder,
    actor_role: StringBuilder,
    actor_department: StringBuilder,
    actor_on_behalf_of: StringBuilder,
    activity: StringBuilder,
    patients: ListBuilder<StringBuilder>,
    resource_type: StringBuilder,
    resource_id: StringBuilder,
    result_count: Int64Builder,
    query: StringBuilder,
    client_ip: StringBuilder,
    client_host: StringBuilder,
    client_app: StringBuilder,
    client_remote: BooleanBuilder,
    auth_method: StringBuilder,
    auth_mfa: BooleanBuilder,
    outcome: StringBuilder,
    purpose: ListBuilder<StringBuilder>,
    break_glass: BooleanBuilder,
    approval_ref: StringBuilder,
    session_id: StringBuilder,
    correlation_id: StringBuilder,
    vendor_id: StringBuilder,
    target_host: StringBuilder,
    target_account: StringBuilder,
    detail_command: StringBuilder,
    detail_bytes: Int64Builder,
    detail_files: Int64Builder,
    raw: StringBuilder,
    offset: Int64Builder,
    flags: StringBuilder,
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
        self.rows += 1;
        self.kind.append_value(draft.kind.as_str());
        self.event_id.append_value(&draft.event_id);
        self.time.append_value(draft.time.0);
        self.recorded.append_option(draft.recorded.map(|t| t.0));
        self.source.append_value(&draft.source);
        self.site.append_option(draft.site.as_deref());
        self.actor_id.append_option(draft.actor_id.as_deref());
        self.actor_kind.append_option(draft.actor_kind.map(ActorKind::as_str));
        self.actor_name.append_option(draft.actor_name.as_deref());
        self.actor_role.append_option(draft.actor_role.as_deref());
        self.actor_department.append_option(draft.actor_department.as_deref());
        self.actor_on_behalf_of.append_option(draft.actor_on_behalf_of.as_deref());
        self.activity.append_value(draft.activity.as_str());
        push_list(&mut self.patients, &draft.patients);
        self.resource_type.append_option(draft.resource_type.as_deref());
        self.resource_id.append_option(draft.resource_id.as_deref());
        self.result_count.append_option(draft.result_count);
        self.query.append_option(draft.query.as_deref());
        self.client_ip.append_option(draft.client_ip.as_deref());
        self.client_host.append_option(draft.client_host.as_deref());
        self.client_app.append_option(draft.client_app.as_deref());
        self.client_remote.append_option(draft.client_remote);
        self.auth_method.append_option(draft.auth_method.as_deref());
        self.auth_mfa.append_option(draft.auth_mfa);
        self.outcome.append_value(draft.outcome.as_str());
        push_list(&mut self.purpose, &draft.purpose);
        self.break_glass.append_option(draft.break_glass);
        self.approval_ref.append_option(draft.approval_ref.as_deref());
        self.session_id.append_option(draft.session_id.as_deref());
        self.correlation_id.append_option(draft.correlation_id.as_deref());
        self.vendor_id.append_option(draft.vendor_id.as_deref());
        self.target_host.append_option(draft.target_host.as_deref());
        self.target_account.append_option(draft.target_account.as_deref());
        self.detail_command.append_option(draft.detail_command.as_deref());
        self.detail_bytes.append_option(draft.detail_bytes);
        self.detail_files.append_option(draft.detail_files);
        self.raw.append_option(draft.raw.as_deref());
        self.offset.append_value(offset);
        self.flags.append_option(flags_text(flags));
    }

    /// The batch of all rows pushed since the last call.
    pub fn finish(&mut self, origin: &Origin) -> EventBatch {
        let rows = std::mem::take(&mut self.rows);
        let (topic, partition, file) = origin.columns(rows);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.kind.finish()),
            Arc::new(self.event_id.finish()),
            Arc::new(self.time.finish().with_timezone("UTC")),
            Arc::new(self.recorded.finish().with_timezone("UTC")),
            Arc::new(self.source.finish()),
            Arc::new(self.site.finish()),
            Arc::new(self.actor_id.finish()),
            Arc::new(self.actor_kind.finish()),
            Arc::new(self.actor_name.finish()),
            Arc::new(self.actor_role.finish()),
            Arc::new(self.actor_department.finish()),
            Arc::new(self.actor_on_behalf_of.finish()),
            Arc::new(self.activity.finish()),
            Arc::new(self.patients.finish()),
            Arc::new(self.resource_type.finish()),
            Arc::new(self.resource_id.finish()),
            Arc::new(self.result_count.finish()),
            Arc::new(self.query.finish()),
            Arc::new(self.client_ip.finish()),
            Arc::new(self.client_host.finish()),
            Arc::new(self.client_app.finish()),
            Arc::new(self.client_remote.finish()),
            Arc::new(self.auth_method.finish()),
            Arc::new(self.auth_mfa.finish()),
            Arc::new(self.outcome.finish()),
            Arc::new(self.purpose.finish()),
            Arc::new(self.break_glass.finish()),
            Arc::new(self.approval_ref.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.correlation_id.finish()),
            Arc::new(self.vendor_id.finish()),
            Arc::new(self.target_host.finish()),
            Arc::new(self.target_account.finish()),
            Arc::new(self.detail_command.finish()),
            Arc::new(self.detail_bytes.finish()),
            Arc::new(self.detail_files.finish()),
            Arc::new(self.raw.finish()),
            topic,
            partition,
            Arc::new(self.offset.finish()),
            file,
            Arc::new(self.flags.finish()),
        ];
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
