//! PURE: events in, effects out.

pub mod enrich;
