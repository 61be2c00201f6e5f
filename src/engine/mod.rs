//! PURE: one step turns an input into effects.

pub mod stats;
