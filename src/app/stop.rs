//! Why a command stopped, for whoever has to say it and give an exit status.

use std::fmt::Display;

use crate::event::Problem;

/// Why a command stopped.
#[derive(Debug)]
pub enum Stop {
    /// The world failed: exit 1.
    Failed(String),
    /// Bad settings, rosters or rules, all of them: exit 2.
    Problems(Vec<Problem>),
    /// Bad usage: exit 2.
    Usage(String),
}

impl Stop {
    /// A failure of the world, in its own words.
    pub fn failed(error: impl Display) -> Stop {
        Stop::Failed(error.to_string())
    }
}
