//! `phiwatch run`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::app;

/// Watch Kafka and the drop folder: records in, alerts and history out, until SIGTERM or Ctrl-C.
///
/// The topics are those of [kafka], the folder that of [files]; one of the two is enough. SIGHUP reads the settings and the rosters again.
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
        let tally = app::live::run(&self.config, self.until_end, self.accept_rosters)?;
        eprintln!("{tally}");
        Ok(())
    }
}
