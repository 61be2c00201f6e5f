//! The decoder of one origin: takes raw records, splits them into parts and gives each part to its format.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use memchr::memchr;

use super::fields::Fields;
use super::{ALL, Format, Hints, Limits, Spec, fhir, split};
use crate::event::effects::Decoded;
use crate::event::flags::Flags;
use crate::event::{Draft, EventBuilder, Origin, Reason, Reject, Time};

/// A record as it came.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Kafka offset, or line or record number in a file, from 1.
    pub offset: i64,
    /// Offset of its first byte in the decompressed file; 0 for a Kafka record.
    pub byte: u64,
    /// The broker's time; `None` for files.
    pub at: Option<Time>,
    /// Its bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// What was pushed so far and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Parts that became events.
    pub events: u64,
    /// Parts that could not be used.
    pub rejects: u64,
}

/// Why a part could not be used, and which field is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Which field, never a value.
    pub field: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal for which no single field is to blame.
    pub fn new(reason: Reason) -> Refusal {
        Refusal { reason, field: None }
    }

    /// A refusal because of `field`.
    pub fn of(reason: Reason, field: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { reason, field: Some(field.into()) }
    }

    /// What an error of the JSON reader means: the text ends too early, or it is not JSON.
    pub fn json(error: &serde_json::Error) -> Refusal {
        Refusal::new(if error.is_eof() { Reason::Truncated } else { Reason::Syntax })
    }
}

/// A part of a record: text that stands for one event, or for a composite of one format.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The text, without white space around it.
    pub text: &'a str,
    /// Offset of its first byte: in the file, or within a Kafka record.
    pub byte: u64,
}

impl<'a> Part<'a> {
    /// The part of this one that `text`, a slice of it, covers.
    pub fn within(&self, text: &'a str) -> Part<'a> {
        let start = text.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        debug_assert!(start + text.len() <= self.text.len(), "a part lies within its whole");
        Part { text, byte: self.byte + start as u64 }
    }
}

/// Where formats put their events and rejects.
pub struct Out {
    /// What is known about the feed.
    pub hints: Hints,
    /// The bounds of one record.
    pub limits: Limits,
    origin: Origin,
    builder: EventBuilder,
    rejects: Vec<Reject>,
    counts: Counts,
    offset: i64,
    at: Option<Time>,
    /// A row is being written: a bug that is met now leaves columns of different lengths.
    writing: bool,
    /// Records with this text meet a bug.
    #[cfg(test)]
    pub(super) flaw: Option<&'static str>,
}

impl Out {
    /// Takes an event of the record in hand.
    pub fn event(&mut self, draft: &Draft<'_>, flags: Flags) {
        self.writing = true;
        self.builder.push(draft, self.offset, flags);
        self.writing = false;
        self.counts.events += 1;
    }

    /// Takes a part of the record in hand that could not be used.
    pub fn reject(&mut self, refusal: Refusal, byte: u64, raw: &[u8]) {
        self.rejects.push(Reject {
            origin: self.origin.clone(),
            offset: self.offset,
            byte,
            reason: refusal.reason,
            field: refusal.field.map(Cow::into_owned),
            at: self.at,
            raw: raw[..raw.len().min(self.limits.kept_bytes)].to_vec(),
        });
        self.counts.rejects += 1;
    }

    /// Takes a part whose fields were read.
    pub fn fields(&mut self, part: Part<'_>, mut fields: Fields<'_>) {
        match fields.judge(&self.hints) {
            Ok((draft, flags)) => self.event(draft, flags),
            Err(refusal) => self.reject(refusal, part.byte, part.text.as_bytes()),
        }
    }

    /// Takes a part, as far as it could be decoded.
    pub fn outcome(&mut self, part: Part<'_>, decoded: Result<(Draft<'_>, Flags), Refusal>) {
        match decoded {
            Ok((draft, flags)) => self.event(&draft, flags),
            Err(refusal) => self.reject(refusal, part.byte, part.text.as_bytes()),
        }
    }
}

/// Decodes the records of one origin; see the module for how outcomes are counted.
pub struct Decoder {
    out: Out,
}

impl Decoder {
    /// A decoder for the records of `origin`.
    pub fn new(origin: Origin, hints: Hints, limits: Limits) -> Decoder {
        let out = Out {
            hints,
            limits,
            origin,
            builder: EventBuilder::default(),
            rejects: Vec::new(),
            counts: Counts::default(),
            offset: 0,
            at: None,
            writing: false,
            #[cfg(test)]
            flaw: None,
        };
        Decoder { out }
    }

    /// Takes one record; offsets rise.
    pub fn push(&mut self, record: &RawRecord<'_>) {
        self.begin(record);
        let before = self.out.counts;
        let (raw, refusal) = match record.value {
            None => (&[][..], Reason::Tombstone),
            Some(value) if value.len() > self.out.limits.record_bytes => (value, Reason::TooLarge),
            Some(value) => return self.push_value(record.byte, value, before),
        };
        self.out.reject(Refusal::new(refusal), record.byte, raw);
    }

    /// Takes one JSON value that was spread over many lines; its bound is [`Limits::document_bytes`].
    pub fn push_document(&mut self, record: &RawRecord<'_>) {
        self.begin(record);
        let before = self.out.counts;
        self.push_value(record.byte, record.value.unwrap_or_default(), before);
    }

    /// Takes a record that could not be brought into a shape to decode; `raw` are its first bytes.
    pub fn push_reject(&mut self, record: &RawRecord<'_>, refusal: Refusal) {
        self.begin(record);
        self.out.reject(refusal, record.byte, record.value.unwrap_or_default());
    }

    /// Takes one row of a table, as far as it could be decoded; `record` holds the bytes to keep where it could not.
    pub fn push_row(&mut self, record: &RawRecord<'_>, decoded: Result<(Draft<'_>, Flags), Refusal>) {
        match decoded {
            Ok((draft, flags)) => {
                self.begin(record);
                self.out.event(&draft, flags);
            }
            Err(refusal) => self.push_reject(record, refusal),
        }
    }

    /// What is known about the feed.
    pub fn hints(&self) -> &Hints {
        &self.out.hints
    }

    /// The bounds of one record.
    pub fn limits(&self) -> &Limits {
        &self.out.limits
    }

    /// Everything pushed since this decoder was made.
    pub fn counts(&self) -> Counts {
        self.out.counts
    }

    /// Offset of the newest record.
    pub fn offset(&self) -> i64 {
        self.out.offset
    }

    /// Events and rejects that wait for [`Decoder::finish`].
    pub fn pending(&self) -> usize {
        self.out.builder.len() + self.out.rejects.len()
    }

    /// Everything pushed since the last call, as the stretch `from..to` of offsets.
    pub fn finish(&mut self, from: i64, to: i64) -> Decoded {
        let batch = self.out.builder.finish(&self.out.origin);
        Decoded { batch, rejects: std::mem::take(&mut self.out.rejects), from, to, gap: 0 }
    }

    fn begin(&mut self, record: &RawRecord<'_>) {
        self.out.offset = record.offset;
        self.out.at = record.at;
        self.out.counts.records += 1;
    }

    fn push_value(&mut self, byte: u64, value: &[u8], before: Counts) {
        match text_of(value) {
            Ok(text) => {
                let start = text.as_ptr().addr() - value.as_ptr().addr();
                self.decode(Part { text, byte: byte + start as u64 });
            }
            Err(reason) => self.out.reject(Refusal::new(reason), byte, value),
        }
        // Every record has an outcome.
        let after = self.out.counts;
        if after.events + after.rejects == before.events + before.rejects {
            self.out.reject(Refusal::new(Reason::Bug), byte, value);
        }
    }

    /// Decodes a whole record. One that meets a bug would meet it again at the next start and nothing behind it would ever be read: it is
    /// a reject, after those of its parts that were decoded before (DESIGN, decision 16).
    fn decode(&mut self, whole: Part<'_>) {
        if let Err(bug) = catch_unwind(AssertUnwindSafe(|| decode(whole, &mut self.out))) {
            if self.out.writing {
                resume_unwind(bug);
            }
            self.out.reject(Refusal::new(Reason::Bug), whole.byte, whole.text.as_bytes());
        }
    }

    /// Makes records with this text meet a bug.
    #[cfg(test)]
    pub(crate) fn flaw(&mut self, text: &'static str) {
        self.out.flaw = Some(text);
    }
}

/// The text of a record without byte order mark and white space around it.
fn text_of(value: &[u8]) -> Result<&str, Reason> {
    if memchr(0, value).is_some() {
        return Err(Reason::Encoding);
    }
    let text = std::str::from_utf8(value).map_err(|_| Reason::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() { Err(Reason::Empty) } else { Ok(text) }
}

/// Decodes a whole record, splitting it where it holds several parts.
fn decode(whole: Part<'_>, out: &mut Out) {
    match whole.text.as_bytes()[0] {
        b'[' => elements(whole, out),
        b'{' => objects(whole, out),
        _ => decode_bounded(whole, out),
    }
}

/// Decodes one part, unless it is beyond the bounds; of a Bundle each entry is held to them by itself.
fn decode_bounded(part: Part<'_>, out: &mut Out) {
    match out.limits.check(part.text) {
        Ok(_) => decode_part(part, out),
        Err(_) if fhir::bundle_by_brackets(part, out) => {}
        Err(reason) => out.reject(Refusal::new(reason), part.byte, part.text.as_bytes()),
    }
}

/// Decodes one part in the format that the hints ask for, or the one that its structure tells.
pub(super) fn decode_part(part: Part<'_>, out: &mut Out) {
    #[cfg(test)]
    assert!(out.flaw.is_none_or(|flaw| !part.text.contains(flaw)), "the bug that was asked for");
    match spec_of(part.text, out.hints.format) {
        Some(spec) => (spec.decode)(part, out),
        // One that is no JSON is told by its brackets.
        None if fhir::bundle_by_brackets(part, out) => {}
        None => out.reject(Refusal::new(reason_unknown(part.text)), part.byte, part.text.as_bytes()),
    }
}

fn spec_of(text: &str, format: Format) -> Option<&'static Spec> {
    let fits = |spec: &&&Spec| if format == Format::Auto { (spec.sniff)(text) } else { spec.format == format };
    ALL.iter().find(fits).copied()
}

/// Why a text in no known format could not be used: it is broken JSON, or something else.
fn reason_unknown(text: &str) -> Reason {
    if !text.starts_with(['{', '[']) {
        return Reason::UnknownFormat;
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_or_else(|e| Refusal::json(&e).reason, |_| Reason::UnknownFormat)
}

/// Decodes concatenated JSON objects one by one, each held to the bounds by itself; what cannot be told apart is one reject, up to the
/// end of the record.
fn objects(whole: Part<'_>, out: &mut Out) {
    // Nearly every record is one object.
    if out.limits.check(whole.text) == Ok(false) {
        return decode_part(whole, out);
    }
    let (found, rest) = split::objects(whole.text);
    if found.is_empty() {
        return decode_bounded(whole, out);
    }
    found.into_iter().for_each(|text| decode_bounded(whole.within(text), out));
    refuse_rest(whole, rest, out);
}

/// Decodes the elements of a JSON array one by one; what cannot be told apart is one reject, up to the end of the record.
fn elements(whole: Part<'_>, out: &mut Out) {
    let (found, rest) = split::elements(whole.text);
    if found.is_empty() && rest.is_none() {
        return out.reject(Refusal::new(Reason::NotAnEvent), whole.byte, whole.text.as_bytes());
    }
    for text in found {
        let part = whole.within(text);
        match text.as_bytes().first() {
            None => out.reject(Refusal::new(Reason::Syntax), part.byte, b""),
            // Between some of them a comma may be missing.
            Some(b'{') => objects(part, out),
            Some(_) => decode_bounded(part, out),
        }
    }
    refuse_rest(whole, rest, out);
}

fn refuse_rest(whole: Part<'_>, rest: split::Rest<'_>, out: &mut Out) {
    if let Some((text, reason)) = rest {
        let part = whole.within(text);
        out.reject(Refusal::new(reason), part.byte, text.as_bytes());
    }
}
