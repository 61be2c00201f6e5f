//! Tests against the outside: each module says what it needs.

mod smtp;
