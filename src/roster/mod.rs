//! PURE: dated tables and as-of look-up.

pub mod cell;
pub mod columns;
pub mod keys;
pub mod text;
