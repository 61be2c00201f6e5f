//! Why a command stopped, for whoever has to say it and give an exit status.

use std::fmt::Display;

use crate::event::Problem;
use crate::inquiry::AskError;

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

impl From<AskError> for Stop {
    fn from(error: AskError) -> Stop {
        match error {
            AskError::Usage(what) => Stop::Usage(what),
            AskError::History(error) => Stop::failed(error),
        }
    }
}
