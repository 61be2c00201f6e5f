//! `phiwatch simulate`: a labelled synthetic hospital in a folder.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::Stop;
use crate::event::Day;
use crate::sim::{self, Plan};

/// Write a labelled synthetic hospital: events.jsonl.zst, rosters/ and labels.jsonl.
///
/// The same seed writes the same bytes. Try it with:
/// phiwatch simulate --seed 7 --users 300 --days 60 --out hospital
/// phiwatch scan --rosters hospital/rosters hospital/events.jsonl.zst
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Simulate {
    /// Everything follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Human accounts.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    users: u64,
    /// Calendar days of events.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// The first day, YYYY-MM-DD.
    #[arg(long, default_value = "2026-01-05", value_parser = |text: &str| Day::parse(text).ok_or("write a date as YYYY-MM-DD"))]
    start: Day,
    /// Plants no misuse: the same hospital, all clean.
    #[arg(long)]
    clean: bool,
    /// How many misuses against the usual number; 10 lets a short run speak of everything.
    #[arg(long, default_value_t = 1.0, value_parser = misuses, conflicts_with = "clean")]
    misuses: f64,
    /// The folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn misuses(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or("write a number from 0 to 100")
}

impl Simulate {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut plan = Plan::new(self.seed, self.users as usize, self.days);
        plan.start = self.start;
        plan.misuse = !self.clean;
        plan.misuses = self.misuses;
        let style = ProgressStyle::with_template("{spinner} {human_pos} events  {per_sec}").map_err(Stop::failed)?;
        let bar = ProgressBar::new_spinner().with_style(style);
        let summary = sim::write(&plan, &self.out, |events| bar.set_position(events)).map_err(Stop::failed)?;
        bar.finish_and_clear();
        eprintln!("{} events and {} labels in {}", summary.events, summary.labels, self.out.display());
        Ok(())
    }
}
