//! A record that could not be used, kept with its reason and its bytes.

use super::kind::words;
use super::span::Origin;
use super::time::Time;

words! {
    /// Why a record could not be used. The list is closed: each reason is counted by itself.
    Reason {
        /// Nothing but white space.
        Empty = "empty",
        /// A Kafka record without a value.
        Tombstone = "tombstone",
        /// Longer than the limit of one record.
        TooLarge = "too_large",
        /// Nested deeper than the limit.
        TooDeep = "too_deep",
        /// More values in a list, or more fields, than the limit.
        TooMany = "too_many",
        /// Not UTF-8.
        Encoding = "encoding",
        /// Not well-formed JSON, CSV or Parquet.
        Syntax = "syntax",
        /// The input ends inside the record.
        Truncated = "truncated",
        /// Well formed, but none of the known formats.
        UnknownFormat = "unknown_format",
        /// Names a `schema` that this version does not know.
        UnknownSchema = "unknown_schema",
        /// A required field is missing or empty.
        MissingField = "missing_field",
        /// A field has a value of the wrong type.
        WrongType = "wrong_type",
        /// A field has a value outside its vocabulary.
        UnknownValue = "unknown_value",
        /// A time cannot be read, or lies before 2000.
        BadTime = "bad_time",
        /// The record is of a kind that is no access and no vendor session.
        NotAnEvent = "not_an_event",
        /// A bug of this program met it: it is kept until a version without that bug reads it.
        Bug = "bug",
    }
}

/// A record that could not be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    /// Where it was found.
    pub origin: Origin,
    /// Kafka offset, or line or record number in a file.
    pub offset: i64,
    /// Offset of its first byte in the (decompressed) file, or of the part that was refused within a Kafka record.
    pub byte: u64,
    /// Why.
    pub reason: Reason,
    /// Which field, where one is to blame; never a value, which could name a person.
    pub field: Option<String>,
    /// When it was read: the broker's time of a Kafka record; `None` for files.
    pub at: Option<Time>,
    /// The bytes as they came, cut at the limit of one record.
    pub raw: Vec<u8>,
}
