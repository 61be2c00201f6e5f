//! Windows against the specification.

mod cases;
mod hospital;
mod naive;
mod properties;
mod written;
