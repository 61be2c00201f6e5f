//! phiwatch: watches who opens whose medical record.

pub mod app;
pub mod cli;
pub mod decode;
pub mod engine;
pub mod event;
pub mod history;
pub mod ingest;
pub mod inquiry;
pub mod keys;
pub mod notify;
pub mod roster;
pub mod settings;
pub mod sim;
pub mod store;
