//! PURE: who the people, vendors and patients are and what ties them together, as of any moment.
//!
//! Bytes of roster files go in ([`load`]), an immutable [`Roster`] comes out. Reading order: `columns` says which files and columns there
//! are, `text` cuts bytes into rows, `cell` reads single cells, `build` makes typed rows (`rows`), `finish` ties them together, `lookup`
//! answers as of a time, `extras` what a site has added, `diff` gives dates to dumps that have none, `canonical` is the form that is stored and hashed.
//! Nothing here reads a clock or a file.

mod build;
mod canonical;
mod cell;
mod columns;
mod diff;
mod extras;
mod finish;
mod keys;
mod load;
mod lookup;
mod people;
mod rows;
mod text;
mod ties;

pub use cell::AccessWindow;
pub use columns::{ALL as FILES, FileSpec};
pub use load::{Accepted, FileCount, Intake, Loaded, load};
pub use lookup::{Patient, Roster, User, Vendor, VendorAccount};
pub use people::is_billing;
pub use rows::{NEAR_AFTER, NEAR_BEFORE, RelationKind, UserKind};
pub use ties::{Actor, Chart, Near};

#[cfg(test)]
mod tests;
