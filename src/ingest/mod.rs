//! EDGE: where records come in.
//!
//! `kafka` reads all partitions of the topics and hands out batches of raw bytes with their offsets. Nothing here decodes a record
//! or decides what it means, and no position is kept here: it lies in the history (DESIGN section 4.1).

pub mod kafka;
mod topic_id;
