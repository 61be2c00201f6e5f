//! The one binary of integration tests: each module is an area, so that the libraries are linked once.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]
#![allow(clippy::print_stdout, reason = "what a test saw is shown where it fails, or with --nocapture")]

mod bad_input;
mod catch_up;
mod clear;
mod drop_folder;
mod kafka;
mod kill;
mod mock_kafka;
mod operate;
mod partitions;
mod program;
mod real_kafka;
mod road;
mod rules;
mod smtp;
mod start;
