//! `phiwatch check`: every problem in settings and rosters at once.

use std::path::PathBuf;

use clap::Args;

use super::{Config, Stop};
use crate::app;
use crate::settings::Settings;

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
    /// Only asks the `run` of these settings how it is, and prints what /healthz says: for container health checks.
    #[arg(long, conflicts_with_all = ["online", "rosters"])]
    live: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        if self.live {
            return live(&settings);
        }
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

fn live(settings: &Settings) -> Result<(), Stop> {
    let off = || Stop::Usage("[monitor] listen is off: nobody can be asked".to_owned());
    let address = settings.monitor.listen.ok_or_else(off)?;
    let answer = app::monitor::ask(address);
    let (well, body) = answer.map_err(|error| Stop::Failed(format!("nobody answers at {address}: {error}")))?;
    println!("{body}");
    if well { Ok(()) } else { Err(Stop::Failed("it does not do its work".to_owned())) }
}
