//! `phiwatch ask`: questions to the history.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Config, Stop};
use crate::app;
use crate::history::Table;
use crate::inquiry::{self, AskError, Asked, Format};

/// Ask the history a question.
///
/// Names and roles come from the newest roster that the history keeps; --rosters overrules it.
#[derive(Args)]
#[command(after_long_help = tables())]
pub struct Ask {
    #[command(flatten)]
    config: Config,
    #[arg(required = true, value_name = "QUESTION", help = questions())]
    question: Vec<String>,
    /// The history; overrules the settings.
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// The folder of the rosters; overrules those that the history keeps.
    #[arg(long, value_name = "DIR")]
    rosters: Option<PathBuf>,
    /// From then on: RFC 3339, a date (its first instant on the site's clock), or an age before the newest event, such as 12h, 90d or 4w.
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Until then; a date counts to its end.
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// For dormant: days without use, 90 where absent.
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// For dormant: ended and disabled accounts as well.
    #[arg(long)]
    all: bool,
    /// table, json or csv.
    #[arg(long, default_value = "table")]
    format: String,
}

impl Ask {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        settings.rosters = self.rosters.or(settings.rosters);
        let dir = app::history_dir(&settings, self.history.as_ref())?;
        let format = Format::parse(&self.format)
            .ok_or_else(|| Stop::Usage(format!("{:?} is no format; choose table, json or csv", self.format)))?;
        let question = &self.question[0];
        if question != "dormant" && (self.days.is_some() || self.all) {
            return Err(Stop::Usage(format!("--days and --all belong to the question dormant, not to {question}")));
        }
        let roster = match settings.rosters {
            Some(_) => Some(Arc::new(app::rosters(&settings)?.roster)),
            None => None,
        };
        let asked = Asked {
            words: self.question[1..].to_vec(),
            days: self.days,
            since: self.since,
            until: self.until,
            all: self.all,
            roster,
            zone: Some(settings.default_zone.clone()),
        };
        app::audit(&settings, &dir, "ask", &self.question.join(" "))?;
        let answer = app::runtime()?.block_on(inquiry::ask(&dir, &settings.key_source(&dir), question, &asked, format));
        let answer = answer.map_err(|error| match error {
            AskError::Usage(what) => Stop::Usage(what),
            AskError::History(error) => Stop::failed(error),
        })?;
        print!("{}", answer.text);
        answer.aside.iter().for_each(|line| eprintln!("{line}"));
        Ok(())
    }
}

/// Every question with what it shows.
fn questions() -> String {
    let lines = inquiry::ALL.iter().map(|spec| format!("{} {}\n  {}", spec.name, spec.arguments, spec.about));
    format!("The question, and what it is about:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Every table with its columns, for those who ask in SQL.
fn tables() -> String {
    let mut text = String::from("Tables for sql:");
    for table in Table::ALL {
        let schema = table.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        text.push_str(&format!("\n  {}: {}", table.name(), columns.join(", ")));
    }
    text + "\n\nTimes are UTC timestamps; patients, purpose and fact_patients are lists. For example:\n  phiwatch ask sql \"SELECT actor_id, count(*) \
            FROM touches WHERE break_glass GROUP BY 1 ORDER BY 2 DESC LIMIT 10\" --history DIR"
}
