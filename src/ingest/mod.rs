//! EDGE: what comes in from outside.

pub mod rosters;
