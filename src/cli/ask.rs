//! `phiwatch ask`: questions to the history.

use std::path::PathBuf;

use clap::Args;

use super::{Config, Stop};
use crate::app;
use crate::inquiry::{self, AskError, Asked, Format};

/// Ask the history a question.
///
/// who-accessed PATIENT | patient-timeline PATIENT | user-timeline USER | vendor-sessions [VENDOR] | dormant [--days N] |
/// break-glass | sources | sql "SELECT ..."
///
/// Tables for sql: events, touches, alerts, rejects, spans.
#[derive(Args)]
pub struct Ask {
    #[command(flatten)]
    config: Config,
    /// The question, and what it is about.
    #[arg(required = true, value_name = "QUESTION")]
    question: Vec<String>,
    /// The history; overrules the settings.
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// The folder of the rosters: accounts that were never used are found there.
    #[arg(long, value_name = "DIR")]
    rosters: Option<PathBuf>,
    /// From then on: RFC 3339, a date, or an age such as 90d.
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Until then.
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// For dormant: days without use.
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// table, json or csv.
    #[arg(long, default_value = "table")]
    format: String,
}

impl Ask {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        settings.rosters = self.rosters.or(settings.rosters);
        let dir = app::present_history(&settings, self.history.as_ref())?;
        let format = Format::parse(&self.format)
            .ok_or_else(|| Stop::Usage(format!("{:?} is no format; choose table, json or csv", self.format)))?;
        let roster = app::rosters(&settings)?.roster;
        let accounts = roster.user_ids().chain(roster.vendor_account_ids()).map(str::to_owned).collect();
        let asked = Asked {
            words: self.question[1..].to_vec(),
            days: self.days,
            since: self.since,
            until: self.until,
            accounts,
        };
        app::audit(&settings, &dir, "ask", &self.question.join(" "))?;
        let answer =
            app::runtime()?.block_on(inquiry::ask(&dir, &settings.key_source(&dir), &self.question[0], &asked, format));
        let answer = answer.map_err(|error| match error {
            AskError::Usage(what) => Stop::Usage(what),
            AskError::History(error) => Stop::failed(error),
        })?;
        print!("{}", answer.text);
        answer.aside.iter().for_each(|line| eprintln!("{line}"));
        Ok(())
    }
}
