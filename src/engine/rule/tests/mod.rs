//! Rules from their texts to their alerts.

mod conditions;
mod engine;
mod loading;
mod samples;
