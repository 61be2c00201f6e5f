//! The writer of native JSON: an event as one line that decodes back to the same event.

use super::raw::{compact, push_text};
use crate::event::{Event, Kind};

/// Appends the event as one native JSON object with a line break; fields without a value are left out, `actor.id` is not.
///
/// What is kept in `raw` is written as the field `raw`. Flags and the place where the event was found are not written.
pub fn write(event: &Event<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open();
    object.text("schema", Some(schema(event.kind())));
    object.text("event_id", Some(event.event_id()));
    object.text("time", Some(&event.time().to_string()));
    object.text("recorded", event.recorded().map(|t| t.to_string()).as_deref());
    object.text("source", Some(event.source()));
    object.text("site", event.site());
    object.group("actor", |actor| {
        match event.actor_id() {
            Some(id) => actor.text("id", Some(id)),
            None => actor.json("id", "null"),
        }
        actor.text("kind", event.actor_kind().map(|kind| kind.as_str()));
        actor.text("name", event.actor_name());
        actor.text("role", event.actor_role());
        actor.text("department", event.actor_department());
        actor.text("on_behalf_of", event.actor_on_behalf_of());
    });
    object.text("activity", Some(event.activity().as_str()));
    object.texts("patients", event.patients());
    object.group("resource", |resource| {
        resource.text("type", event.resource_type());
        resource.text("id", event.resource_id());
    });
    object.number("result_count", event.result_count());
    object.text("query", event.query());
    rest(event, &mut object);
    out.extend_from_slice(object.text.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// The fields after `query`, in the order of the interfaces.
fn rest(event: &Event<'_>, object: &mut Object) {
    object.group("client", |client| {
        client.text("ip", event.client_ip());
        client.text("host", event.client_host());
        client.text("app", event.client_app());
        client.boolean("remote", event.client_remote());
    });
    object.group("auth", |auth| {
        auth.text("method", event.auth_method());
        auth.boolean("mfa", event.auth_mfa());
    });
    object.text("outcome", Some(event.outcome().as_str()));
    object.texts("purpose", event.purpose());
    object.boolean("break_glass", event.break_glass());
    object.text("approval_ref", event.approval_ref());
    object.text("session_id", event.session_id());
    object.text("correlation_id", event.correlation_id());
    object.text("vendor_id", event.vendor_id());
    object.group("target", |target| {
        target.text("host", event.target_host());
        target.text("account", event.target_account());
    });
    object.group("detail", |detail| {
        detail.text("command", event.detail_command());
        detail.number("bytes", event.detail_bytes());
        detail.number("files", event.detail_files());
    });
    if let Some(raw) = event.raw() {
        object.json("raw", &compact(raw));
    }
}

fn schema(kind: Kind) -> &'static str {
    match kind {
        Kind::Access => "phiwatch.access/1",
        Kind::VendorSession => "phiwatch.vendor_session/1",
    }
}

/// A JSON object on its way out.
struct Object {
    text: String,
}

impl Object {
    fn open() -> Object {
        Object { text: String::from("{") }
    }

    fn key(&mut self, key: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        push_text(&mut self.text, key);
        self.text.push(':');
    }

    fn json(&mut self, key: &str, json: &str) {
        self.key(key);
        self.text.push_str(json);
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(key);
            push_text(&mut self.text, value);
        }
    }

    fn number(&mut self, key: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.json(key, &value.to_string());
        }
    }

    fn boolean(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.json(key, if value { "true" } else { "false" });
        }
    }

    fn texts<'a>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        if values.len() == 0 {
            return;
        }
        self.json(key, "[");
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            push_text(&mut self.text, value);
        }
        self.text.push(']');
    }

    /// An object within this one; left out where it stays empty.
    fn group(&mut self, key: &str, fill: impl FnOnce(&mut Object)) {
        let before = self.text.len();
        self.json(key, "{");
        let opened = self.text.len();
        fill(self);
        if self.text.len() == opened {
            self.text.truncate(before);
        } else {
            self.text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::write;
    use crate::decode::tests::naive::draft_of;
    use crate::decode::{Decoder, Hints, Limits, RawRecord};
    use crate::event::{Activity, ActorKind, Draft, EventBuilder, Kind, Origin, Outcome, Time};

    /// Any draft that decoding can make.
    fn any_draft() -> impl Strategy<Value = Draft<'static>> {
        let texts = proptest::collection::vec(proptest::option::of("\\PC{1,12}|[\\x01-\\x1f\"\\\\]{1,4}"), 20);
        let times = (
            946_684_800_000_000..253_402_300_799_999_999_i64,
            proptest::option::of(946_684_800_000_000..4_000_000_000_000_000_i64),
        );
        let words = (
            0..Activity::ALL.len(),
            0..Outcome::ALL.len(),
            proptest::option::of(0..ActorKind::ALL.len()),
            any::<bool>(),
        );
        let lists = (
            proptest::collection::btree_set("[a-z0-9^&é]{1,8}", 0..5),
            proptest::collection::btree_set("[A-Z]{1,6}", 0..3),
        );
        let numbers = (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>());
        let marks =
            (any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<bool>>(), proptest::option::of("[a-z]{1,5}"));
        (texts, times, words, lists, numbers, marks).prop_map(|(mut texts, times, words, lists, numbers, marks)| {
            let mut text = || texts.pop().flatten().map(Cow::Owned);
            let activity = Activity::ALL[words.0];
            let fallback = if words.3 { Kind::VendorSession } else { Kind::Access };
            Draft {
                kind: activity.kind().unwrap_or(fallback),
                recorded: times.1.map(Time),
                site: text(),
                actor_id: text(),
                actor_kind: words.2.map(|i| ActorKind::ALL[i]),
                actor_name: text(),
                actor_role: text(),
                actor_department: text(),
                actor_on_behalf_of: text(),
                patients: lists.0.into_iter().map(Cow::Owned).collect(),
                resource_type: text(),
                resource_id: text(),
                result_count: numbers.0,
                query: text(),
                client_ip: text(),
                client_host: text(),
                client_app: text(),
                client_remote: marks.0,
                auth_method: text(),
                auth_mfa: marks.1,
                outcome: Outcome::ALL[words.1],
                purpose: lists.1.into_iter().map(Cow::Owned).collect(),
                break_glass: marks.2,
                approval_ref: text(),
                session_id: text(),
                correlation_id: text(),
                vendor_id: text(),
                target_host: text(),
                target_account: text(),
                detail_command: text(),
                detail_bytes: numbers.1,
                detail_files: numbers.2,
                raw: marks.3.map(|key| Cow::Owned(format!(r#"{{"{key}":[1,"x y"]}}"#))),
                ..Draft::new(text().unwrap_or("e".into()), Time(times.0), "s", activity)
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_decodes_back(draft in any_draft()) {
            let mut builder = EventBuilder::default();
            builder.push(&draft, 1, 0);
            let batch = builder.finish(&Origin::file("f"));
            let mut line = Vec::new();
            write(&batch.row(0), &mut line);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let mut decoder = Decoder::new(Origin::file("f"), Hints::new("f"), Limits::default());
            decoder.push(&RawRecord { offset: 1, byte: 0, at: None, value: Some(&line) });
            let decoded = decoder.finish(1, 2);
            prop_assert_eq!(&decoded.rejects, &[]);
            prop_assert_eq!(draft_of(decoded.batch.row(0)), draft);
        }
    }
}
