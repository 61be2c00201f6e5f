//! `phiwatch alerts`: triage from the terminal.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Config, Stop};
use crate::app::{self, Act};
use crate::event::time::DAY;
use crate::store::{Filter, Ruling};

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
        /// JSON lines instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show one alert with its numbers, evidence and verdicts.
    Show {
        /// Its id.
        id: String,
    },
    /// Say what came of an alert.
    Verdict {
        /// Its id.
        id: String,
        /// What was found.
        ruling: Finding,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Keep the channels quiet about a detection for some days; everything is recorded all the same.
    Mute {
        /// The detection or family, with * and ?.
        detection: String,
        /// For how many days.
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Finding {
    Confirmed,
    Justified,
    FalseAlarm,
}

impl Alerts {
    pub(super) fn run(self) -> Result<(), Stop> {
        let settings = self.config.load()?;
        let dir = app::present_history(&settings, self.history.as_ref())?;
        let state = settings.state_dir(&dir);
        let look = || app::store(&settings, &dir, &state, false);
        match self.command {
            What::List { detection, limit, all, json } => {
                app::audit(&settings, &dir, "alerts list", detection.as_deref().unwrap_or("*"))?;
                let mut filter = Filter { detection, limit, ..Filter::default() };
                if !all {
                    filter.disposition = Some(crate::event::Disposition::Notified);
                    filter.state = Some(crate::event::State::Open);
                }
                list(&look()?.list(&filter).map_err(Stop::failed)?, json)
            }
            What::Show { id } => {
                app::audit(&settings, &dir, "alerts show", &id)?;
                let found = look()?.show(&id).map_err(Stop::failed)?;
                let (listed, verdicts) = found.ok_or_else(|| Stop::Failed(format!("there is no alert {id}")))?;
                println!("{}", serde_json::to_string_pretty(&listed.alert).map_err(Stop::failed)?);
                for verdict in verdicts {
                    println!("{} {} by {}: {}", verdict.at, verdict.ruling.as_str(), verdict.who, verdict.reason);
                }
                Ok(())
            }
            What::Verdict { id, ruling, reason } => {
                app::audit(&settings, &dir, "alerts verdict", &id)?;
                let ruling = match ruling {
                    Finding::Confirmed => Ruling::Confirmed,
                    Finding::Justified => Ruling::Justified,
                    Finding::FalseAlarm => Ruling::FalseAlarm,
                };
                let act = Act::Verdict { alert_id: id, ruling, reason, who: app::who() };
                app::act(&settings, &dir, &state, &act)?;
                println!("noted");
                Ok(())
            }
            What::Mute { detection, days, reason } => {
                app::audit(&settings, &dir, "alerts mute", &detection)?;
                let until = app::now().plus(i64::from(days) * DAY);
                let act = Act::Mute { detection, subject: None, reason, who: app::who(), until: until.0 };
                app::act(&settings, &dir, &state, &act)?;
                println!("muted until {until}");
                Ok(())
            }
        }
    }
}

fn list(alerts: &[crate::store::Listed], json: bool) -> Result<(), Stop> {
    for listed in alerts {
        let alert = &listed.alert;
        if json {
            println!("{}", serde_json::to_string(alert).map_err(Stop::failed)?);
            continue;
        }
        let ruling = listed.ruling.map_or("", Ruling::as_str);
        println!(
            "{}  {:>5.1}  {:<8}  {}  {:<28} {ruling}",
            listed.day,
            alert.score,
            alert.severity.as_str(),
            alert.alert_id,
            alert.detection_id
        );
        println!("    {}", alert.reason);
    }
    if alerts.is_empty() && !json {
        eprintln!("no alerts");
    }
    Ok(())
}
