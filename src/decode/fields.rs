//! From the values of a record to a draft: the rules for native fields, one place for JSON, CSV and Parquet.
//!
//! - A required field that is missing, null or empty, and any field of the wrong type, refuses the record. An empty text in an optional
//!   field is the same as no field. `actor.id` must be there but may be null (or empty): an identity that the source could not resolve.
//! - `event_id` may be a whole number: its digits are the id. No other field takes a number for a text.
//! - An unknown `activity` or `schema` refuses the record; an unknown `outcome` or `actor.kind`, and a `recorded` that cannot be read,
//!   do not: the value becomes unknown, the original stands in `raw` and the event is flagged `partial`.
//! - A field that stands twice refuses the record (`syntax`): which of the two a reader takes would be a place to hide.
//! - Of several reasons to refuse a record, that of the first field that stands twice, or of the first group that is no object, is
//!   said; else that of the first column in the order of [`Column`].
//! - The original text of a time is kept in `raw` where something was changed: another offset than UTC, more than six fraction
//!   digits, a leap second.
//! - Fields of the other kind of record go to their columns all the same. Lists are kept as sets, in the order of the record.
//!
//! Values go straight to their places in the draft. What is wrong with them is only noted until the whole record was read, so that a
//! wrong value never hides a syntax error behind it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::slots::{Column, Rest, RestValue, Slot};
use super::{Hints, Refusal};
use crate::event::flags::{Flags, PARTIAL};
use crate::event::{Activity, ActorKind, Draft, Kind, Outcome, Reason, Time};

/// The first instant that is taken for a time of an event: 2000-01-01T00:00:00Z, in microseconds since 1970.
pub const EARLIEST: Time = Time(946_684_800_000_000);

/// A record that is being read.
#[derive(Debug)]
pub struct Fields<'a> {
    /// What no column holds.
    pub rest: Vec<Rest<'a>>,
    /// The object that the record itself brings as `raw`, JSON text.
    pub raw: Option<&'a str>,
    draft: Draft<'a>,
    /// A bit for each column that the record has, null included.
    seen: u64,
    schema: Option<Kind>,
    activity: Option<Activity>,
    time: Option<Cow<'a, str>>,
    recorded: Option<Cow<'a, str>>,
    /// Words that the vocabularies of `outcome` and `actor.kind` do not have.
    odd_outcome: Option<Cow<'a, str>>,
    odd_kind: Option<Cow<'a, str>>,
    /// Why the record is refused, and how many reasons would come before this one.
    refusal: Option<(usize, Refusal)>,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields {
            rest: Vec::new(),
            raw: None,
            draft: Draft::new("", Time(0), "", Activity::Other),
            seen: 0,
            schema: None,
            activity: None,
            time: None,
            recorded: None,
            odd_outcome: None,
            odd_kind: None,
            refusal: None,
        }
    }
}

impl<'a> Fields<'a> {
    /// Takes the value of a column.
    #[inline]
    pub fn fill(&mut self, column: Column, slot: Slot<'a>) {
        let bit = 1_u64 << column as u32;
        if self.seen & bit != 0 {
            self.twice(Some(column.as_str()));
        }
        self.seen |= bit;
        let fits = match slot {
            Slot::Null => true,
            Slot::Text(text) => self.text(column, text),
            Slot::Bool(value) => self.boolean(column, value),
            Slot::Integer(value) => self.integer(column, value),
            Slot::List(list) => self.list(column, list),
            Slot::Wrong => false,
        };
        if !fits {
            self.refuse(column, Reason::WrongType);
        }
    }

    /// Notes that a field stands twice, by its name where that is one of ours: an unknown name may say anything.
    #[cold]
    pub fn twice(&mut self, field: Option<&'static str>) {
        let refusal = Refusal { reason: Reason::Syntax, field: field.map(Cow::Borrowed) };
        self.note(0, refusal);
    }

    /// Notes that a group of fields is no object.
    #[cold]
    pub fn no_group(&mut self, group: &'static str) {
        self.note(0, Refusal::of(Reason::WrongType, group));
    }

    /// The draft, or the refusal that comes first.
    ///
    /// # Errors
    /// The first rule that the record breaks; see the module.
    pub fn draft(mut self, hints: &Hints) -> Result<(Draft<'a>, Flags), Refusal> {
        let (_, flags) = self.judge(hints)?;
        Ok((self.draft, flags))
    }

    /// As [`Fields::draft`], where the draft may stay in its place.
    ///
    /// # Errors
    /// The first rule that the record breaks; see the module.
    pub fn judge(&mut self, hints: &Hints) -> Result<(&Draft<'a>, Flags), Refusal> {
        self.require(Column::EventId, !self.draft.event_id.is_empty());
        self.require(Column::Time, self.time.is_some());
        self.require(Column::Source, !self.draft.source.is_empty());
        self.require(Column::ActorId, self.seen & 1 << Column::ActorId as u32 != 0);
        self.require(Column::Activity, self.activity.is_some());
        if let Some(text) = &self.time {
            match instant(text) {
                Some(time) => self.draft.time = time,
                None => self.refuse(Column::Time, Reason::BadTime),
            }
        }
        if let Some((_, refusal)) = self.refusal.take() {
            return Err(refusal);
        }
        self.draft.activity = self.activity.unwrap_or(Activity::Other);
        self.draft.kind = self.kind(hints)?;
        let flags = self.keep_originals();
        self.draft.raw = super::raw::render(self.raw, &self.rest).map(Cow::Owned);
        Ok((&self.draft, flags))
    }

    fn require(&mut self, column: Column, present: bool) {
        if !present {
            self.refuse(column, Reason::MissingField);
        }
    }

    #[cold]
    fn refuse(&mut self, column: Column, reason: Reason) {
        self.note(1 + column as usize, Refusal::of(reason, column.as_str()));
    }

    fn note(&mut self, rank: usize, refusal: Refusal) {
        if self.refusal.as_ref().is_none_or(|(first, _)| rank < *first) {
            self.refusal = Some((rank, refusal));
        }
    }

    /// Takes a text; false where the column has none.
    fn text(&mut self, column: Column, text: Cow<'a, str>) -> bool {
        let draft = &mut self.draft;
        let place = match column {
            Column::Schema => return self.schema(&text),
            Column::EventId => return replace(&mut draft.event_id, text),
            Column::Source => return replace(&mut draft.source, text),
            Column::Activity => return self.activity(&text),
            Column::Outcome => return self.outcome(text),
            Column::ActorKind => return self.actor_kind(text),
            Column::Time => &mut self.time,
            Column::Recorded => &mut self.recorded,
            Column::ActorId => &mut draft.actor_id,
            Column::Site => &mut draft.site,
            Column::ActorName => &mut draft.actor_name,
            Column::ActorRole => &mut draft.actor_role,
            Column::ActorDepartment => &mut draft.actor_department,
            Column::ActorOnBehalfOf => &mut draft.actor_on_behalf_of,
            Column::ResourceType => &mut draft.resource_type,
            Column::ResourceId => &mut draft.resource_id,
            Column::Query => &mut draft.query,
            Column::ClientIp => &mut draft.client_ip,
            Column::ClientHost => &mut draft.client_host,
            Column::ClientApp => &mut draft.client_app,
            Column::AuthMethod => &mut draft.auth_method,
            Column::ApprovalRef => &mut draft.approval_ref,
            Column::SessionId => &mut draft.session_id,
            Column::CorrelationId => &mut draft.correlation_id,
            Column::VendorId => &mut draft.vendor_id,
            Column::TargetHost => &mut draft.target_host,
            Column::TargetAccount => &mut draft.target_account,
            Column::DetailCommand => &mut draft.detail_command,
            Column::Patients | Column::Purpose => return false,
            Column::ResultCount | Column::DetailBytes | Column::DetailFiles => return false,
            Column::ClientRemote | Column::AuthMfa | Column::BreakGlass => return false,
        };
        *place = (!text.is_empty()).then_some(text);
        true
    }

    fn boolean(&mut self, column: Column, value: bool) -> bool {
        let place = match column {
            Column::ClientRemote => &mut self.draft.client_remote,
            Column::AuthMfa => &mut self.draft.auth_mfa,
            Column::BreakGlass => &mut self.draft.break_glass,
            _ => return false,
        };
        *place = Some(value);
        true
    }

    fn integer(&mut self, column: Column, value: i64) -> bool {
        let place = match column {
            Column::EventId => return replace(&mut self.draft.event_id, Cow::Owned(value.to_string())),
            Column::ResultCount => &mut self.draft.result_count,
            Column::DetailBytes => &mut self.draft.detail_bytes,
            Column::DetailFiles => &mut self.draft.detail_files,
            _ => return false,
        };
        *place = Some(value);
        true
    }

    fn list(&mut self, column: Column, list: Vec<Cow<'a, str>>) -> bool {
        let place = match column {
            Column::Patients => &mut self.draft.patients,
            Column::Purpose => &mut self.draft.purpose,
            _ => return false,
        };
        *place = set(list);
        true
    }

    fn schema(&mut self, text: &str) -> bool {
        match text {
            "" => {}
            "phiwatch.access/1" => self.schema = Some(Kind::Access),
            "phiwatch.vendor_session/1" => self.schema = Some(Kind::VendorSession),
            _ => self.refuse(Column::Schema, Reason::UnknownSchema),
        }
        true
    }

    fn activity(&mut self, text: &str) -> bool {
        self.activity = Activity::parse(text);
        if self.activity.is_none() && !text.is_empty() {
            self.refuse(Column::Activity, Reason::UnknownValue);
        }
        true
    }

    fn outcome(&mut self, text: Cow<'a, str>) -> bool {
        match Outcome::parse(&text) {
            Some(outcome) => self.draft.outcome = outcome,
            None => self.odd_outcome = (!text.is_empty()).then_some(text),
        }
        true
    }

    fn actor_kind(&mut self, text: Cow<'a, str>) -> bool {
        match ActorKind::parse(&text) {
            Some(kind) => self.draft.actor_kind = Some(kind),
            None if text.is_empty() => {}
            None => (self.draft.actor_kind, self.odd_kind) = (Some(ActorKind::Unknown), Some(text)),
        }
        true
    }

    /// Puts into `rest` what the columns do not say as it was said.
    fn keep_originals(&mut self) -> Flags {
        let mut flags = 0;
        if let Some(text) = self.time.take_if(|text| is_changed(text)) {
            self.keep("", "time", text);
        }
        if let Some(text) = self.recorded.take() {
            self.draft.recorded = instant(&text);
            if self.draft.recorded.is_none() {
                flags |= PARTIAL;
            }
            if self.draft.recorded.is_none() || is_changed(&text) {
                self.keep("", "recorded", text);
            }
        }
        if let Some(text) = self.odd_outcome.take() {
            flags |= PARTIAL;
            self.keep("", "outcome", text);
        }
        if let Some(text) = self.odd_kind.take() {
            flags |= PARTIAL;
            self.keep("actor", "kind", text);
        }
        flags
    }

    fn keep(&mut self, group: &'static str, key: &'static str, text: Cow<'a, str>) {
        self.rest.push(Rest { group, key: key.into(), value: RestValue::Text(text) });
    }

    /// Which native record it is (INTERFACES, section 2, last paragraph).
    fn kind(&self, hints: &Hints) -> Result<Kind, Refusal> {
        let (draft, decided) = (&self.draft, self.draft.activity.kind());
        let Some(schema) = self.schema else {
            let vendor = draft.vendor_id.is_some() || draft.target_host.is_some() || draft.target_account.is_some();
            let carries = hints.carries.unwrap_or(Kind::Access);
            return Ok(decided.unwrap_or(if vendor { Kind::VendorSession } else { carries }));
        };
        match decided {
            Some(decided) if decided != schema => Err(Refusal::of(Reason::UnknownValue, Column::Activity.as_str())),
            _ => Ok(schema),
        }
    }
}

fn replace<'a>(place: &mut Cow<'a, str>, text: Cow<'a, str>) -> bool {
    *place = text;
    true
}

/// The values without empty ones and without repeats, in their order.
pub fn set(mut list: Vec<Cow<'_, str>>) -> Vec<Cow<'_, str>> {
    if list.len() <= 1 {
        list.retain(|text| !text.is_empty());
        return list;
    }
    let mut seen = BTreeSet::new();
    list.retain(|text| !text.is_empty() && seen.insert(text.clone()));
    list
}

/// The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999999Z. Another offset may name a later one.
const LATEST: Time = Time(253_402_300_799_999_999);

/// Reads RFC 3339; `None` where it cannot be read, lies before 2000, or beyond what it can write in UTC.
pub fn instant(text: &str) -> Option<Time> {
    Time::parse(text).filter(|time| (EARLIEST..=LATEST).contains(time))
}

/// Whether the column of a time does not say all that its text says.
fn is_changed(text: &str) -> bool {
    let b = text.as_bytes();
    let fraction = if b[19] == b'.' { b[20..].iter().take_while(|d| d.is_ascii_digit()).count() } else { 0 };
    let utc = matches!(b[b.len() - 1], b'Z' | b'z') || text.ends_with("+00:00");
    !utc || fraction > 6 || &b[17..19] == b"60"
}
