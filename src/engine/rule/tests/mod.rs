//! Rules from their texts to their alerts.

pub(crate) mod conditions;
mod engine;
mod loading;
mod samples;
mod watching;
