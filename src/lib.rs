//! phiwatch: watches who opens whose medical record.

pub mod engine;
pub mod event;
pub mod ingest;
pub mod roster;
