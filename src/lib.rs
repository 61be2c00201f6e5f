//! phiwatch: watches who opens whose medical record.

pub mod event;
pub mod ingest;
