//! `phiwatch channels`: where alerts go.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Stop;
use crate::app;
use crate::notify;
use crate::settings::Settings;

/// Try the channels that alerts go to.
#[derive(Args)]
pub struct Channels {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Send one marked test alert through a channel, or through all.
    Test {
        /// The channel; all without it.
        name: Option<String>,
        /// The settings file.
        #[arg(long, value_name = "FILE", default_value = "phiwatch.toml")]
        config: PathBuf,
    },
}

impl Channels {
    pub(super) fn run(self) -> Result<(), Stop> {
        let What::Test { name, config } = self.command;
        let settings = Settings::load(&config).map_err(Stop::Problems)?;
        if settings.channels.0.is_empty() {
            return Err(Stop::Usage(format!("{} has no [[channels]]", config.display())));
        }
        let sent = app::runtime()?.block_on(notify::test(&settings.channels, name.as_deref(), app::now()));
        let mut failed = 0;
        for (channel, result) in sent.map_err(Stop::Usage)? {
            match result {
                Ok(note) => {
                    let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
                    super::say(&format!("{channel}: sent{note}\n"))?;
                }
                Err(what) => {
                    failed += 1;
                    super::say(&format!("{channel}: NOT sent: {what}\n"))?;
                }
            }
        }
        if failed == 0 { Ok(()) } else { Err(Stop::Failed(format!("{failed} channels could not be reached"))) }
    }
}
