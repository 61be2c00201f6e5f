//! Tests against the outside: each module says what it needs.

mod smtp;
//! The one binary of integration tests: each module is an area, so that the libraries are linked once.

mod kafka;
mod mock_kafka;
mod real_kafka;
