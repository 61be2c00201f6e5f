//! The mathematics that detectors share: count tails, calibration of scores, exact bounded sets, requests, and learning with a delay.

pub mod calibration;
pub mod counts;
pub mod delayed;
pub mod dense;
pub mod distinct;
pub mod evidence;
pub mod groups;
pub mod numbered;
pub mod open;
pub mod requests;
pub mod told;
