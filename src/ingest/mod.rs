//! EDGE: what comes in from outside: Kafka, files and roster folders.

mod array;
mod convert;
pub mod files;
mod frame;
pub mod kafka;
mod lines;
pub mod rosters;
mod row_groups;
#[cfg(test)]
mod tests;
pub mod topic_id;
