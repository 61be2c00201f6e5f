//! phiwatch: watches who opens whose medical record.

pub mod event;
pub mod history;
pub mod inquiry;
pub mod keys;
