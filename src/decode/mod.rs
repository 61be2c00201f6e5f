//! PURE: bytes in, rows or rejects out.
//!
//! One file per wire format, each with a `SPEC`, listed in [`ALL`]; the format of a record is told by its structure, never by a
//! file name or a header. Decoding reads no clock, no file and no environment, and never fails: what cannot be used is a
//! [`Reject`](crate::event::Reject).
//!
//! ```text
//! RawRecord ──> limits, encoding ──> split (several objects, arrays, Bundles) ──> SPEC.decode ──> Draft or Reject
//! ```
//!
//! **How outcomes are counted.** A record is split into *parts*: one for a plain record, one for each element of a JSON array, for
//! each of several concatenated objects, and for each entry of a Bundle. Every part ends as exactly one event or one reject, all with
//! the offset of their record. A record that holds no part (an empty array) is one reject, so each record has at least one outcome,
//! and events + rejects of a stretch = its records + the extra parts of its composite records.

pub mod csv;
pub mod fhir;
pub mod fields;
pub mod limits;
pub mod native;
mod raw;
mod record;
pub mod reject;
pub mod slots;
mod split;
pub mod table;
#[cfg(test)]
mod tests;
mod write;

pub use limits::Limits;
pub use record::{Counts, Decoder, Out, Part, RawRecord, Refusal};
pub use reject::reject_line;

use crate::event::Kind;
use crate::event::kind::words;

words! {
    /// The formats that can be asked for.
    Format {
        /// Each record is told by its structure.
        Auto = "auto",
        /// The native JSON of both kinds.
        Native = "native",
        /// FHIR AuditEvent, single or in a Bundle.
        Fhir = "fhir",
        /// CSV with native column names; a format of files only.
        Csv = "csv",
    }
}

/// What is known about a feed besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hints {
    /// The format of its records; [`Format::Auto`] tells each by its structure.
    pub format: Format,
    /// Which of the two native records it carries, where a record does not say.
    pub carries: Option<Kind>,
    /// The name of the source for formats that name none.
    pub source: Option<String>,
    /// The name of the topic or file, for a record that names no source where `source` is not set either.
    pub fallback_source: String,
}

impl Hints {
    /// Hints that know nothing but the name of the topic or file.
    pub fn new(fallback_source: impl Into<String>) -> Hints {
        Hints { format: Format::Auto, carries: None, source: None, fallback_source: fallback_source.into() }
    }

    /// The source of a record that names none.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.fallback_source)
    }
}

/// A wire format of single records.
pub struct Spec {
    /// Its name in settings and on the command line.
    pub name: &'static str,
    /// The format that selects it.
    pub format: Format,
    /// Whether a text looks like it, by structure; cheap, and true only where no other format can be meant.
    pub sniff: fn(&str) -> bool,
    /// Decodes one part into events or rejects, at least one of them.
    pub decode: fn(Part<'_>, &mut Out),
}

/// Every format of single records, in the order in which they are tried. CSV and Parquet are read as tables (`ingest::files`).
pub static ALL: &[&Spec] = &[&fhir::SPEC, &native::SPEC];
