//! EDGE: records from the outside world, in order, as decoded stretches.

mod array;
mod convert;
pub mod files;
mod frame;
mod lines;
mod row_groups;
#[cfg(test)]
mod tests;
