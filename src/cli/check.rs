//! `phiwatch check`: every problem in settings and rosters at once.

use std::path::PathBuf;

use clap::Args;

use super::{Config, Stop};
use crate::app;

/// Name every problem in settings and rosters at once.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    config: Config,
    /// The folder of the rosters; overrules the settings.
    #[arg(long, value_name = "DIR")]
    rosters: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        settings.rosters = self.rosters.or(settings.rosters);
        let loaded = app::rosters(&settings)?;
        for count in &loaded.counts {
            eprintln!("{}: {} rows, {} refused", count.file, count.rows, count.refused);
        }
        if loaded.problems.is_empty() {
            eprintln!("no problems");
            return Ok(());
        }
        Err(Stop::Problems(loaded.problems))
    }
}
