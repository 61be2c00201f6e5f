//! phiwatch: watches who opens whose medical record.
//!
//! ```text
//! Kafka, files ─> ingest ─> decode ─> engine (enrich, detect, triage) ─> Effects ─┬─> store, notify: alerts to people
//!                           bytes to   rosters, memory, statistics               └─> history: encrypted Parquet, asked by inquiry
//! ```
//!
//! `event` is the vocabulary that everything shares. `event`, `roster`, `decode` and `engine` are pure: they read no clock, no file and
//! no environment, start no thread and use no map with random order; `clippy.toml` bans what would break that, here below. All that can
//! fail lives in the other modules. Who may import whom is the table in `src/tidy.rs`. Read `event`, then `engine`, then `app`.

pub mod app;
#[allow(clippy::print_stdout, reason = "results of commands go to standard output")]
pub mod cli;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod decode;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod engine;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod event;
pub mod history;
pub mod ingest;
pub mod inquiry;
pub mod keys;
#[cfg(test)]
mod naive;
pub mod notify;
pub mod pipeline;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod roster;
pub mod schemas;
pub mod settings;
pub mod sim;
pub mod store;
#[cfg(test)]
mod tidy;
