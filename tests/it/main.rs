//! The one binary of integration tests: each module is an area, so that the libraries are linked once.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod kafka;
mod kill;
mod mock_kafka;
mod program;
mod real_kafka;
mod road;
mod smtp;
