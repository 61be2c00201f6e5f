//! `phiwatch check`: every problem in settings, rosters and rules at once.

use std::path::PathBuf;

use clap::Args;

use super::{Config, Stop};
use crate::app;
use crate::event::Problem;
use crate::keys::KeySource;
use crate::settings::Settings;

/// Name every problem in settings, rosters and rules at once.
///
/// Where the settings name a history that can be read, rosters are compared with the version that it accepted last, as `run` does.
/// With --online it also tries the broker, the topics and the rights to read them, the mail server, webhooks and collectors (nothing
/// is sent), and the history with its key and state folder.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    config: Config,
    /// The folder of the rosters; overrules the settings.
    #[arg(long, value_name = "DIR")]
    rosters: Option<PathBuf>,
    /// Tries what the settings name, too.
    #[arg(long)]
    online: bool,
    /// Only asks the `run` of these settings how it is, and prints what /healthz says: for container health checks.
    #[arg(long, conflicts_with_all = ["online", "rosters"])]
    live: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Stop> {
        if self.live {
            return live(&self.config.load()?);
        }
        let (mut settings, mut problems) = self.config.read();
        settings.rosters = self.rosters.or(settings.rosters);
        let accepted = app::accepted_last(&settings);
        let rosters = match app::look_at_rosters(&settings, accepted.as_ref()) {
            Ok(loaded) => {
                for count in &loaded.counts {
                    eprintln!("{}: {} rows, {} refused", count.file, count.rows, count.refused);
                }
                problems.extend(app::nobody(&settings, &loaded));
                problems.extend(app::spread(&settings, &loaded.roster));
                problems.extend(loaded.problems);
                Some(loaded.roster)
            }
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        match app::look_at_rules(&settings.rules) {
            Ok((files, loaded)) => {
                eprintln!("{} rules", loaded.set.rules().len());
                // A rule that cannot be loaded is no name that is lost.
                if loaded.problems.is_empty() {
                    problems.extend(app::named_for_nothing(&settings, &loaded.set));
                }
                problems.extend(loaded.problems);
                let absent = |roster| app::absent_columns(&settings.rules, &loaded.set, &files, roster);
                problems.extend(rosters.iter().flat_map(absent));
            }
            Err(problem) => problems.push(problem),
        }
        problems.extend(key(&settings));
        problems.extend(app::encrypted_otherwise(&settings));
        if self.online {
            problems.extend(app::online(&settings)?);
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
    super::say(&format!("{body}\n"))?;
    if well { Ok(()) } else { Err(Stop::Failed("it does not do its work".to_owned())) }
}

/// The problem of a key that the settings name and that cannot be read; one that is not there is made with the history.
fn key(settings: &Settings) -> Option<Problem> {
    let file = settings.key.clone().filter(|file| file.exists())?;
    let wrong = KeySource::File(file.clone()).read().err()?;
    Some(Problem { file, line: None, what: wrong.to_string() })
}
