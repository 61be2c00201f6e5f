//! `phiwatch scan`: the engine over files.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use clap::Args;

use super::{Config, Stop};
use crate::app;

/// Watch recorded accesses: read files, raise alerts as JSON lines, then exit.
///
/// Inputs are .jsonl, .json, .csv or .parquet, each also .gz or .zst; - is standard input. Several are read side by side by event time.
/// Alerts go to standard output, or to FILE: every revision, the last one with "settled": true.
#[derive(Args)]
pub struct Scan {
    #[command(flatten)]
    config: Config,
    /// The folder of the rosters; overrules the settings.
    #[arg(long, value_name = "DIR")]
    rosters: Option<PathBuf>,
    /// Take the rosters as they are, even where a file shrank by more than half or is gone.
    #[arg(long)]
    accept_rosters: bool,
    /// Keep the history here, and go on from it; overrules the settings. Without one nothing is stored.
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Where alerts go; standard output without it.
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
    /// What to read.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

impl Scan {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        settings.rosters = self.rosters.or(settings.rosters);
        settings.allow_shrink = self.accept_rosters;
        if let Some(dir) = self.history {
            let dir = crate::settings::local(&dir).map_err(Stop::Usage)?;
            settings.history = Some(crate::history::Settings { dir, ..settings.history.unwrap_or_default() });
        }
        if let (Some(path), Some(history)) = (&self.alerts, &settings.history)
            && crate::settings::is_inside(path, &history.dir)
        {
            return Err(Stop::Usage("--alerts lies inside the history, where only the history may lie".to_owned()));
        }
        let mut out: Box<dyn Write> = match &self.alerts {
            Some(path) => {
                // With a history the scan goes on from an earlier one, and so does the file.
                let goes_on = settings.history.is_some();
                Box::new(BufWriter::new(super::private(path, goes_on)?))
            }
            None => Box::new(BufWriter::new(stdout().lock())),
        };
        let summary = app::scan(&settings, &self.inputs, &mut out)?;
        out.flush().map_err(Stop::failed)?;
        eprintln!("{summary}");
        Ok(())
    }
}
