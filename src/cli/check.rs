//! `phiwatch check`: every problem in settings and rosters at once.

use std::path::PathBuf;

use clap::Args;

use super::{Config, Stop};
use crate::app;

/// Name every problem in settings and rosters at once.
///
/// With --online it also tries the broker, the topics, the rights to read them, and the key of the history.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    config: Config,
    /// The folder of the rosters; overrules the settings.
    #[arg(long, value_name = "DIR")]
    rosters: Option<PathBuf>,
    /// Tries what the settings name: the broker, its topics, and the key.
    #[arg(long)]
    online: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        settings.rosters = self.rosters.or(settings.rosters);
        let loaded = app::rosters(&settings)?;
        for count in &loaded.counts {
            eprintln!("{}: {} rows, {} refused", count.file, count.rows, count.refused);
        }
        let mut problems = loaded.problems;
        problems.extend(app::spread(&settings, &loaded.roster));
        if self.online {
            problems.extend(app::online(&settings));
        }
        if problems.is_empty() {
            eprintln!("no problems");
            return Ok(());
        }
        Err(Stop::Problems(problems))
    }
}
