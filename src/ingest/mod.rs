//! EDGE: what comes in from outside: files and roster folders.

mod array;
mod convert;
pub mod files;
mod frame;
mod lines;
pub mod rosters;
mod row_groups;
#[cfg(test)]
mod tests;
