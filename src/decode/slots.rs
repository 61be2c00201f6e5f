//! The native columns and the values that may stand in them, borrowed from the record.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::event::kind::words;

words! {
    /// The fields of the two native records, in the order in which they are judged.
    Column {
        Schema = "schema",
        EventId = "event_id",
        Time = "time",
        Source = "source",
        ActorId = "actor.id",
        Activity = "activity",
        Recorded = "recorded",
        Outcome = "outcome",
        ActorKind = "actor.kind",
        Site = "site",
        ActorName = "actor.name",
        ActorRole = "actor.role",
        ActorDepartment = "actor.department",
        ActorOnBehalfOf = "actor.on_behalf_of",
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

/// What stands in a column where the record has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot<'a> {
    /// Null.
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

/// Reads any JSON value and gives it, as a slot, to a function.
pub struct Give<F>(pub F);

impl<'de, F: FnOnce(Slot<'de>)> DeserializeSeed<'de> for Give<F> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnOnce(Slot<'de>)> Visitor<'de> for Give<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        (self.0)(Slot::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.0)(Slot::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        (self.0)(Slot::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        (self.0)(Slot::Integer(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        (self.0)(i64::try_from(value).map_or(Slot::Wrong, Slot::Integer));
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        (self.0)(Slot::Wrong);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        (self.0)(Slot::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut list, mut element) = (Vec::new(), Slot::Null);
        loop {
            let mut take = |slot| element = slot;
            // A function behind a pointer, so that lists in lists do not ask for ever new kinds of it.
            let take: &mut dyn FnMut(Slot<'de>) = &mut take;
            if seq.next_element_seed(Give(take))?.is_none() {
                break;
            }
            let Slot::Text(text) = std::mem::replace(&mut element, Slot::Null) else {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                (self.0)(Slot::Wrong);
                return Ok(());
            };
            list.push(text);
        }
        (self.0)(Slot::List(list));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        (self.0)(Slot::Wrong);
        Ok(())
    }
}
