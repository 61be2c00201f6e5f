//! `phiwatch alerts`: triage from the terminal.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{Config, Stop, shown};
use crate::app::{self, Act};
use crate::engine::stats::told::WAITS_DAYS;
use crate::event::time::DAY;
use crate::settings::Settings;
use crate::store::{Filter, Ruling, Store};

/// Look at alerts, and say what came of them.
#[derive(Args)]
pub struct Alerts {
    #[command(flatten)]
    config: Config,
    /// The history beside which the alerts are kept; overrules the settings.
    #[arg(long, value_name = "DIR", global = true)]
    history: Option<PathBuf>,
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// List alerts, newest day first, the one to read first on top.
    List {
        /// A detection or family, with * and ?.
        #[arg(long)]
        detection: Option<String>,
        /// At most so many; 0 is all.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Those that were held, explained or not told as well.
        #[arg(long)]
        all: bool,
        /// text, or json for one JSON object a line.
        #[arg(long, value_enum, default_value_t = Form::Text)]
        format: Form,
        /// The same as --format json.
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Show one alert with its numbers, evidence and verdicts.
    Show {
        /// Its id.
        id: String,
        /// text, or json for one JSON document.
        #[arg(long, value_enum, default_value_t = Form::Text)]
        format: Form,
    },
    /// Say what came of an alert.
    Verdict {
        /// Its id.
        id: String,
        /// What was found.
        ruling: Finding,
        /// Why.
        #[arg(long, value_parser = super::words)]
        reason: String,
    },
    /// Keep the channels quiet about a detection for some days; everything is recorded all the same.
    Mute {
        /// The detection or family, with * and ?.
        detection: String,
        /// For how many days.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
        /// Why.
        #[arg(long, value_parser = super::words)]
        reason: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Finding {
    Confirmed,
    Justified,
    FalseAlarm,
}

impl Alerts {
    /// The settings file, where one is named.
    #[cfg(test)]
    pub(super) fn settings_file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    pub(super) fn run(self) -> Result<(), Stop> {
        let settings = self.config.load()?;
        let dir = app::history_dir(&settings, self.history.as_ref())?;
        let state = settings.state_dir(&dir);
        let look = || app::store(&settings, &dir, &state, false);
        match self.command {
            What::List { detection, limit, all, format, json } => {
                app::audit(&settings, &dir, "alerts list", detection.as_deref().unwrap_or("*"))?;
                let mut filter = Filter { detection, limit, ..Filter::default() };
                if !all {
                    filter.disposition = Some(crate::event::Disposition::Notified);
                    filter.state = Some(crate::event::State::Open);
                }
                let found = look()?.list(&filter).map_err(Stop::failed)?;
                if json || format == Form::Json {
                    return super::say(&shown::json_lines(&found)?);
                }
                if found.is_empty() {
                    eprintln!("no alerts");
                }
                super::say(&shown(&settings, &dir, |shown| shown.list(&found))?)
            }
            What::Show { id, format } => {
                app::audit(&settings, &dir, "alerts show", &id)?;
                let found = look()?.show(&id).map_err(Stop::failed)?;
                let (listed, verdicts) = found.ok_or_else(|| Stop::Failed(format!("there is no alert {id}")))?;
                match format {
                    Form::Json => super::say(&shown::json_document(&listed, &verdicts)?),
                    Form::Text => super::say(&shown(&settings, &dir, |shown| shown.one(&listed, &verdicts))?),
                }
            }
            What::Verdict { id, ruling, reason } => {
                app::audit(&settings, &dir, "alerts verdict", &id)?;
                let ruling = match ruling {
                    Finding::Confirmed => Ruling::Confirmed,
                    Finding::Justified => Ruling::Justified,
                    Finding::FalseAlarm => Ruling::FalseAlarm,
                };
                let act = Act::Verdict { alert_id: id.clone(), ruling, reason, who: app::who() };
                super::say(&format!("{}\n", app::act(&settings, &dir, &state, &act)?))?;
                if ruling == Ruling::Confirmed && is_late(&*look()?, &id)? {
                    eprintln!("the day lies more than {WAITS_DAYS} days back: what it has taught is not taken back");
                }
                Ok(())
            }
            What::Mute { detection, days, reason } => {
                app::audit(&settings, &dir, "alerts mute", &detection)?;
                if app::names_nothing(&settings, &detection) {
                    eprintln!(
                        "nothing in force is called {detection}: see `phiwatch rules list` and docs/detections.md"
                    );
                }
                let until = app::now().plus(i64::from(days) * DAY);
                let act = Act::Mute { detection, subject: None, reason, who: app::who(), until: until.0 };
                app::act(&settings, &dir, &state, &act)?;
                super::say(&format!("muted until {until}\n"))
            }
        }
    }
}

/// Whether the day of an alert lies so far before the newest alert that what it taught is no longer remembered.
fn is_late(store: &Store, id: &str) -> Result<bool, Stop> {
    let about = store.show(id).map_err(Stop::failed)?;
    let newest = store.list(&Filter { limit: 1, ..Filter::default() }).map_err(Stop::failed)?;
    let days = about.zip(newest.first()).map(|((about, _), newest)| newest.day.0 - about.day.0);
    Ok(days.is_some_and(|days| days > WAITS_DAYS))
}

/// Writes alerts with the names and the clock of the site.
fn shown(settings: &Settings, dir: &Path, write: impl FnOnce(&shown::Shown<'_>) -> String) -> Result<String, Stop> {
    let roster = app::people(settings, dir)?;
    let zone = roster.as_ref().map_or_else(|| settings.default_zone.clone(), |roster| roster.home_zone().clone());
    Ok(write(&shown::Shown { roster: roster.as_deref(), zone, width: shown::width() }))
}
