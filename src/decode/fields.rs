//! From slots to a draft: the rules for native fields, one place for JSON, CSV and Parquet.
//!
//! - A required field that is missing, null or empty, and any field of the wrong type, refuses the record. An empty text in an optional
//!   field is the same as no field. `actor.id` must be there but may be null (or empty): an identity that the source could not resolve.
//! - `event_id` may be a whole number: its digits are the id. No other field takes a number for a text.
//! - An unknown `activity` or `schema` refuses the record; an unknown `outcome` or `actor.kind`, and a `recorded` that cannot be read,
//!   do not: the value becomes unknown, the original stands in `raw` and the event is flagged `partial`.
//! - A field that stands twice refuses the record (`syntax`): which of the two a reader takes would be a place to hide.
//! - The original text of a time is kept in `raw` where something was changed: another offset than UTC, more than six fraction
//!   digits, a leap second.
//! - Fields of the other kind of record go to their columns all the same. Lists are kept as sets, in the order of the record.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::slots::{Column, Rest, RestValue, Slot, Slots};
use super::{Hints, Refusal};
use crate::event::flags::{Flags, PARTIAL};
use crate::event::{Activity, ActorKind, Draft, Kind, Outcome, Reason, Time};

/// The first instant that is taken for a time of an event: 2000-01-01T00:00:00Z, in microseconds since 1970.
pub const EARLIEST: Time = Time(946_684_800_000_000);

/// Makes a draft of a record in slots.
///
/// # Errors
/// The first rule that the record breaks; see the module.
pub fn draft<'a>(mut slots: Slots<'a>, hints: &Hints) -> Result<(Draft<'a>, Flags), Refusal> {
    if let Some(fault) = slots.fault.take() {
        return Err(fault);
    }
    let schema = schema(slots.take(Column::Schema))?;
    let event_id = event_id(slots.take(Column::EventId))?;
    let time = time(&mut slots)?;
    let source = required(text(&mut slots, Column::Source)?, Column::Source)?;
    let actor_id = actor_id(&mut slots)?;
    let activity = activity(&mut slots)?;
    let mut draft = Draft::new(event_id, time, source, activity);
    let mut flags = recorded(&mut slots, &mut draft)?;
    draft.actor_id = actor_id;
    flags |= vocabularies(&mut slots, &mut draft)?;
    optional(&mut slots, &mut draft)?;
    draft.kind = kind(schema, &draft, hints)?;
    draft.raw = super::raw::render(slots.raw, &slots.rest).map(Cow::Owned);
    Ok((draft, flags))
}

fn wrong(column: Column) -> Refusal {
    Refusal::of(Reason::WrongType, column.as_str())
}

fn missing(column: Column) -> Refusal {
    Refusal::of(Reason::MissingField, column.as_str())
}

fn required<T>(value: Option<T>, column: Column) -> Result<T, Refusal> {
    value.ok_or_else(|| missing(column))
}

/// The text of a column; absent, null and empty are `None`.
fn text<'a>(slots: &mut Slots<'a>, column: Column) -> Result<Option<Cow<'a, str>>, Refusal> {
    match slots.take(column) {
        Slot::Absent | Slot::Null => Ok(None),
        Slot::Text(text) => Ok((!text.is_empty()).then_some(text)),
        _ => Err(wrong(column)),
    }
}

fn boolean(slots: &mut Slots<'_>, column: Column) -> Result<Option<bool>, Refusal> {
    match slots.take(column) {
        Slot::Absent | Slot::Null => Ok(None),
        Slot::Bool(value) => Ok(Some(value)),
        _ => Err(wrong(column)),
    }
}

fn integer(slots: &mut Slots<'_>, column: Column) -> Result<Option<i64>, Refusal> {
    match slots.take(column) {
        Slot::Absent | Slot::Null => Ok(None),
        Slot::Integer(value) => Ok(Some(value)),
        _ => Err(wrong(column)),
    }
}

fn list<'a>(slots: &mut Slots<'a>, column: Column) -> Result<Vec<Cow<'a, str>>, Refusal> {
    match slots.take(column) {
        Slot::Absent | Slot::Null => Ok(Vec::new()),
        Slot::List(list) => Ok(set(list)),
        _ => Err(wrong(column)),
    }
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

fn schema(slot: Slot<'_>) -> Result<Option<Kind>, Refusal> {
    match slot {
        Slot::Absent | Slot::Null => Ok(None),
        Slot::Text(text) => match &*text {
            "" => Ok(None),
            "phiwatch.access/1" => Ok(Some(Kind::Access)),
            "phiwatch.vendor_session/1" => Ok(Some(Kind::VendorSession)),
            _ => Err(Refusal::of(Reason::UnknownSchema, "schema")),
        },
        _ => Err(wrong(Column::Schema)),
    }
}

fn event_id(slot: Slot<'_>) -> Result<Cow<'_, str>, Refusal> {
    match slot {
        Slot::Text(text) if !text.is_empty() => Ok(text),
        Slot::Integer(id) => Ok(Cow::Owned(id.to_string())),
        Slot::Absent | Slot::Null | Slot::Text(_) => Err(missing(Column::EventId)),
        _ => Err(wrong(Column::EventId)),
    }
}

fn time(slots: &mut Slots<'_>) -> Result<Time, Refusal> {
    let text = required(text(slots, Column::Time)?, Column::Time)?;
    let time = instant(&text).ok_or_else(|| Refusal::of(Reason::BadTime, Column::Time.as_str()))?;
    keep_original(&mut slots.rest, "time", text);
    Ok(time)
}

/// Reads RFC 3339; `None` where it cannot be read or lies before 2000.
pub fn instant(text: &str) -> Option<Time> {
    Time::parse(text).filter(|time| *time >= EARLIEST)
}

/// Keeps the original of a time in `raw` where the column does not say all of it.
fn keep_original<'a>(rest: &mut Vec<Rest<'a>>, key: &'static str, text: Cow<'a, str>) {
    let b = text.as_bytes();
    let fraction = if b[19] == b'.' { b[20..].iter().take_while(|d| d.is_ascii_digit()).count() } else { 0 };
    let utc = matches!(b[b.len() - 1], b'Z' | b'z') || text.ends_with("+00:00");
    if !utc || fraction > 6 || &b[17..19] == b"60" {
        rest.push(Rest { group: "", key: key.into(), value: RestValue::Text(text) });
    }
}

fn recorded<'a>(slots: &mut Slots<'a>, draft: &mut Draft<'a>) -> Result<Flags, Refusal> {
    let Some(value) = text(slots, Column::Recorded)? else {
        return Ok(0);
    };
    draft.recorded = instant(&value);
    if draft.recorded.is_some() {
        keep_original(&mut slots.rest, "recorded", value);
        return Ok(0);
    }
    slots.rest.push(Rest { group: "", key: "recorded".into(), value: RestValue::Text(value) });
    Ok(PARTIAL)
}

fn actor_id<'a>(slots: &mut Slots<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    match slots.take(Column::ActorId) {
        Slot::Absent => Err(missing(Column::ActorId)),
        Slot::Null => Ok(None),
        Slot::Text(text) => Ok((!text.is_empty()).then_some(text)),
        _ => Err(wrong(Column::ActorId)),
    }
}

fn activity(slots: &mut Slots<'_>) -> Result<Activity, Refusal> {
    let text = required(text(slots, Column::Activity)?, Column::Activity)?;
    Activity::parse(&text).ok_or_else(|| Refusal::of(Reason::UnknownValue, Column::Activity.as_str()))
}

/// The two vocabularies in which an unknown word does not refuse the record.
fn vocabularies<'a>(slots: &mut Slots<'a>, draft: &mut Draft<'a>) -> Result<Flags, Refusal> {
    let mut flags = 0;
    if let Some(text) = text(slots, Column::Outcome)? {
        draft.outcome = Outcome::parse(&text).unwrap_or_else(|| {
            flags |= PARTIAL;
            slots.rest.push(Rest { group: "", key: "outcome".into(), value: RestValue::Text(text) });
            Outcome::Unknown
        });
    }
    if let Some(text) = text(slots, Column::ActorKind)? {
        draft.actor_kind = Some(ActorKind::parse(&text).unwrap_or_else(|| {
            flags |= PARTIAL;
            slots.rest.push(Rest { group: "actor", key: "kind".into(), value: RestValue::Text(text) });
            ActorKind::Unknown
        }));
    }
    Ok(flags)
}

fn optional<'a>(slots: &mut Slots<'a>, draft: &mut Draft<'a>) -> Result<(), Refusal> {
    draft.site = text(slots, Column::Site)?;
    draft.actor_name = text(slots, Column::ActorName)?;
    draft.actor_role = text(slots, Column::ActorRole)?;
    draft.actor_department = text(slots, Column::ActorDepartment)?;
    draft.actor_on_behalf_of = text(slots, Column::ActorOnBehalfOf)?;
    draft.patients = list(slots, Column::Patients)?;
    draft.resource_type = text(slots, Column::ResourceType)?;
    draft.resource_id = text(slots, Column::ResourceId)?;
    draft.result_count = integer(slots, Column::ResultCount)?;
    draft.query = text(slots, Column::Query)?;
    draft.client_ip = text(slots, Column::ClientIp)?;
    draft.client_host = text(slots, Column::ClientHost)?;
    draft.client_app = text(slots, Column::ClientApp)?;
    draft.client_remote = boolean(slots, Column::ClientRemote)?;
    draft.auth_method = text(slots, Column::AuthMethod)?;
    draft.auth_mfa = boolean(slots, Column::AuthMfa)?;
    draft.purpose = list(slots, Column::Purpose)?;
    draft.break_glass = boolean(slots, Column::BreakGlass)?;
    draft.approval_ref = text(slots, Column::ApprovalRef)?;
    draft.session_id = text(slots, Column::SessionId)?;
    draft.correlation_id = text(slots, Column::CorrelationId)?;
    draft.vendor_id = text(slots, Column::VendorId)?;
    draft.target_host = text(slots, Column::TargetHost)?;
    draft.target_account = text(slots, Column::TargetAccount)?;
    draft.detail_command = text(slots, Column::DetailCommand)?;
    draft.detail_bytes = integer(slots, Column::DetailBytes)?;
    draft.detail_files = integer(slots, Column::DetailFiles)?;
    Ok(())
}

/// Which native record it is (INTERFACES, section 2, last paragraph).
fn kind(schema: Option<Kind>, draft: &Draft<'_>, hints: &Hints) -> Result<Kind, Refusal> {
    let decided = draft.activity.kind();
    let Some(schema) = schema else {
        let vendor = draft.vendor_id.is_some() || draft.target_host.is_some() || draft.target_account.is_some();
        return Ok(decided.unwrap_or(if vendor { Kind::VendorSession } else { hints.carries.unwrap_or(Kind::Access) }));
    };
    match decided {
        Some(decided) if decided != schema => Err(Refusal::of(Reason::UnknownValue, Column::Activity.as_str())),
        _ => Ok(schema),
    }
}
