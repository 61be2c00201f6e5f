//! Windows against the specification.
