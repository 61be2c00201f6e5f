//! phiwatch: watches who opens whose medical record.

pub mod decode;
pub mod engine;
pub mod event;
pub mod ingest;
pub mod roster;
pub mod sim;
