//! `phiwatch demo`: a simulated hospital through the whole pipeline.

use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::app;
use crate::sim::Plan;

/// Show the whole pipeline on a simulated hospital: nothing else is needed.
///
/// Records go through Kafka's own client (and a broker inside the process) to the engine, alerts to the screen, everything to an
/// encrypted history that answers two questions.
#[derive(Args)]
pub struct Demo {
    /// Everything follows from it.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Human accounts.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(10..=2_000))]
    users: u64,
    /// Calendar days of events.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u32).range(5..=365))]
    days: u32,
    /// Where everything is kept; a fresh folder in the system's temporary folder without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Stop> {
        let fresh = || std::env::temp_dir().join(format!("phiwatch-demo-{}", std::process::id()));
        let out = self.out.unwrap_or_else(fresh);
        if out.join("history").exists() {
            return Err(Stop::Usage(format!("{} holds a history already; name another folder", out.display())));
        }
        app::demo::demo(&Plan::new(self.seed, self.users as usize, self.days), &out).map(|_| ())
    }
}
