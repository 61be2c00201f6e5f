//! One value per native column, borrowed from the record: what every format with native names is read into first.
//!
//! Reading fills slots without judging them, so that a wrong value never hides a syntax error behind it; [`super::fields`] judges.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::event::kind::words;

words! {
    /// The fields of the two native records.
    Column {
        Schema = "schema",
        EventId = "event_id",
        Time = "time",
        Recorded = "recorded",
        Source = "source",
        Site = "site",
        ActorId = "actor.id",
        ActorKind = "actor.kind",
        ActorName = "actor.name",
        ActorRole = "actor.role",
        ActorDepartment = "actor.department",
        ActorOnBehalfOf = "actor.on_behalf_of",
        Activity = "activity",
        Patients = "patients",
        ResourceType = "resource.type",
        ResourceId = "resource.id",
        ResultCount = "result_count",
        Query = "query",
        ClientIp = "client.ip",
        ClientHost = "client.host",
        ClientApp = "client.app",
        ClientRemote = "client.remote",
        AuthMethod = "auth.method",
        AuthMfa = "auth.mfa",
        Outcome = "outcome",
        Purpose = "purpose",
        BreakGlass = "break_glass",
        ApprovalRef = "approval_ref",
        SessionId = "session_id",
        CorrelationId = "correlation_id",
        VendorId = "vendor_id",
        TargetHost = "target.host",
        TargetAccount = "target.account",
        DetailCommand = "detail.command",
        DetailBytes = "detail.bytes",
        DetailFiles = "detail.files",
    }
}

/// How many columns there are.
pub const COLUMNS: usize = Column::DetailFiles as usize + 1;

/// The value of one column.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Slot<'a> {
    /// Not in the record.
    #[default]
    Absent,
    /// Present and null.
    Null,
    /// A text.
    Text(Cow<'a, str>),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A list of texts.
    List(Vec<Cow<'a, str>>),
    /// A value of a type that no column has.
    Wrong,
}

/// What no column holds, on its way into `raw`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest<'a> {
    /// The object that the field stands in, or empty.
    pub group: &'static str,
    /// Its name there.
    pub key: Cow<'a, str>,
    /// Its value.
    pub value: RestValue<'a>,
}

/// A value on its way into `raw`.
#[derive(Debug, Clone, PartialEq)]
pub enum RestValue<'a> {
    /// JSON text, as it came.
    Json(Cow<'a, str>),
    /// A text that is not JSON yet.
    Text(Cow<'a, str>),
}

/// A record in slots.
#[derive(Debug)]
pub struct Slots<'a> {
    /// One value per column, by the number of the column.
    pub values: [Slot<'a>; COLUMNS],
    /// What no column holds.
    pub rest: Vec<Rest<'a>>,
    /// The object that the record itself brings as `raw`, JSON text.
    pub raw: Option<&'a str>,
    /// A field that stands twice, or a group that is no object: such a record is refused.
    pub fault: Option<super::Refusal>,
}

impl Default for Slots<'_> {
    fn default() -> Self {
        Slots { values: [const { Slot::Absent }; COLUMNS], rest: Vec::new(), raw: None, fault: None }
    }
}

impl<'a> Slots<'a> {
    /// Takes the value of a column out.
    pub fn take(&mut self, column: Column) -> Slot<'a> {
        std::mem::take(&mut self.values[column as usize])
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Slot<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Slot<'a>, D::Error> {
        deserializer.deserialize_any(SlotVisitor)
    }
}

struct SlotVisitor;

impl<'de> Visitor<'de> for SlotVisitor {
    type Value = Slot<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Slot<'de>, E> {
        Ok(Slot::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Slot<'de>, E> {
        Ok(Slot::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Slot<'de>, E> {
        Ok(Slot::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Slot<'de>, E> {
        Ok(Slot::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Slot<'de>, E> {
        Ok(i64::try_from(value).map_or(Slot::Wrong, Slot::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Slot<'de>, E> {
        Ok(Slot::Wrong)
    }

    fn visit_unit<E>(self) -> Result<Slot<'de>, E> {
        Ok(Slot::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Slot<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element::<Slot<'de>>()? {
            let Slot::Text(text) = element else {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Slot::Wrong);
            };
            list.push(text);
        }
        Ok(Slot::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slot<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Slot::Wrong)
    }
}
