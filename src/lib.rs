//! phiwatch: watches who opens whose medical record.

pub mod decode;
pub mod event;
pub mod ingest;
