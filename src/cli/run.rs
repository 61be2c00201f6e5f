//! `phiwatch run`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::app;
use crate::settings::Settings;

/// Watch Kafka: records in, alerts and history out, until SIGTERM or Ctrl-C.
#[derive(Args)]
pub struct Run {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Read up to the ends found at the start, end the input as scan does, and exit.
    #[arg(long)]
    until_end: bool,
    /// Take the rosters as they are, even where a file shrank by more than half or is gone.
    #[arg(long)]
    accept_rosters: bool,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = Settings::load(&self.config).map_err(Stop::Problems)?;
        settings.allow_shrink = self.accept_rosters;
        let tally = app::live::run(&settings, self.until_end)?;
        eprintln!("{tally}");
        Ok(())
    }
}
