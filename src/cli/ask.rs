//! `phiwatch ask`: questions to the history.

use clap::Args;

use super::over::Over;
use super::{Config, Stop};
use crate::app;
use crate::history::Table;
use crate::inquiry::{self, Asked};

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
    /// For dormant: days without use, 90 where absent.
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// For dormant: ended and disabled accounts as well.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    over: Over,
}

impl Ask {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.config.load()?;
        settings.rosters = self.over.rosters.clone().or(settings.rosters);
        let dir = app::history_dir(&settings, self.over.history.as_ref())?;
        let format = self.over.format()?;
        let question = &self.question[0];
        if question != "dormant" && (self.days.is_some() || self.all) {
            return Err(Stop::Usage(format!("--days and --all belong to the question dormant, not to {question}")));
        }
        let roster = app::named_rosters(&settings)?;
        let asked = Asked {
            words: self.question[1..].to_vec(),
            days: self.days,
            since: self.over.since,
            until: self.over.until,
            all: self.all,
            roster,
            zone: Some(settings.default_zone.clone()),
        };
        app::audit(&settings, &dir, "ask", &self.question.join(" "))?;
        let answer =
            app::runtime()?.block_on(inquiry::ask(&dir, &settings.key_source(&dir), question, &asked, format))?;
        super::say(&answer.text)?;
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
