//! EDGE: what comes in from outside: Kafka, files, roster and rule folders.

mod array;
mod convert;
pub mod files;
mod frame;
pub mod inbox;
pub mod kafka;
pub mod known;
mod lines;
pub mod rosters;
mod row_groups;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod topic_id;
pub mod values;
