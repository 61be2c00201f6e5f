//! Over what a question to the history goes, and how it is answered.

use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::inquiry::Format;

/// The history, the time that is asked for, and the form of the answer.
#[derive(Args)]
pub struct Over {
    /// The history; overrules the settings.
    #[arg(long, value_name = "DIR")]
    pub history: Option<PathBuf>,
    /// The folder of the rosters; overrules those that the history keeps.
    #[arg(long, value_name = "DIR")]
    pub rosters: Option<PathBuf>,
    /// From then on: RFC 3339, a date (its first instant on the site's clock), or an age before the newest event, such as 12h, 90d or 4w.
    #[arg(long, value_name = "T")]
    pub since: Option<String>,
    /// Until then; a date counts to its end.
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
    /// table, json or csv.
    #[arg(long, default_value = "table")]
    format: String,
}

impl Over {
    /// The form of the answer.
    ///
    /// # Errors
    /// Where there is no such form.
    pub fn format(&self) -> Result<Format, Stop> {
        let unknown = || Stop::Usage(format!("{:?} is no format; choose table, json or csv", self.format));
        Format::parse(&self.format).ok_or_else(unknown)
    }
}
