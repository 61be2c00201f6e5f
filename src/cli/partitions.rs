//! `phiwatch partitions`: what an operator decides about what is read.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Stop;
use crate::app::{self, Act};
use crate::settings::Settings;

/// Decide about a partition that is stopped, or that time waits for in vain.
///
/// Each decision is an entry of the control log with its reason, and a line of the self-audit. A running `run` takes it up at once;
/// without one it holds from the next start on.
#[derive(Args)]
pub struct Partitions {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Read a stopped partition again.
    ///
    /// `run` stops a partition where its log is not the one that was read before: the topic was made again under its name, the cluster
    /// was restored or is another one, or the log ends before our position. Find out why before you resume. The log that is there now is
    /// read from its beginning (one that was read before goes on where it was left); records that were read already are recognised by
    /// their identifiers. What the old log still held is on record as a gap of unknown size, and every answer over that time says so.
    ///
    /// A topic that was made again is resumed as a whole. Of a partition that was left behind (`leave`), time waits for it again.
    Resume {
        /// The topic.
        topic: String,
        /// One partition of it; without it all that are stopped.
        partition: Option<i32>,
        /// Why.
        #[arg(long, value_parser = super::words)]
        reason: String,
        /// The settings file.
        #[arg(long, value_name = "FILE", default_value = "phiwatch.toml")]
        config: PathBuf,
    },
    /// Let time go on without a partition that holds it back.
    ///
    /// Days cannot settle while a partition with more to read stands still or lags far behind. Left behind, it is read all the same:
    /// records of days that are still open count as ever, those of settled days are backfill. When its records have caught up, or with
    /// `resume`, time waits for it again. `[monitor] leave_after` does the same by itself.
    Leave {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Why.
        #[arg(long, value_parser = super::words)]
        reason: String,
        /// The settings file.
        #[arg(long, value_name = "FILE", default_value = "phiwatch.toml")]
        config: PathBuf,
    },
}

impl Partitions {
    pub(super) fn run(self) -> Result<(), Stop> {
        let who = app::who();
        let (config, name, words, act) = match self.command {
            What::Resume { topic, partition, reason, config } => {
                let which = partition.map_or_else(|| topic.clone(), |partition| format!("{topic}/{partition}"));
                (config, "partitions resume", which, Act::Resume { topic, partition, reason, who })
            }
            What::Leave { topic, partition, reason, config } => {
                let which = format!("{topic}/{partition}");
                (config, "partitions leave", which, Act::Leave { topic, partition, reason, who })
            }
        };
        let settings = Settings::load(&config).map_err(Stop::Problems)?;
        let dir = app::history_dir(&settings, None)?;
        app::audit(&settings, &dir, name, &words)?;
        super::say(&format!("{}\n", app::act(&settings, &dir, &settings.state_dir(&dir), &act)?))
    }
}
