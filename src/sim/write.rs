//! The simulator's files: `events.jsonl.zst`, `rosters/` and `labels.jsonl` in one folder. The only place here that touches a disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::dice::Dice;
use super::{Plan, generate};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Lines in `events.jsonl.zst`, duplicates included.
    pub events: u64,
    /// Lines in `labels.jsonl`.
    pub labels: u64,
}

/// Simulates the plan into the folder `out`, which is made where it is missing; files of the same names are replaced.
///
/// `progress` hears the number of events written so far, now and then and at the end. The error is that of the file system.
pub fn write(plan: &Plan, out: &Path, mut progress: impl FnMut(u64)) -> io::Result<Summary> {
    let hospital = generate(plan);
    let rosters = out.join("rosters");
    fs::create_dir_all(&rosters)?;
    for (name, bytes) in hospital.small_rosters() {
        fs::write(rosters.join(name), bytes)?;
    }
    let file = |name: &str| File::create(rosters.join(name)).map(BufWriter::new);
    hospital.write_care(file("relations.csv")?, file("shifts.csv")?)?;
    let labels = hospital.labels();
    let mut file = BufWriter::new(File::create(out.join("labels.jsonl"))?);
    for label in &labels {
        serde_json::to_writer(&mut file, label)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    let mut broken = Dice::new(plan.seed, "broken lines", &[]);
    let mut file = zstd::Encoder::new(BufWriter::new(File::create(out.join("events.jsonl.zst"))?), 3)?;
    let mut events = 0;
    for event in hospital.events() {
        let cut = if plan.broken > 0.0 && broken.chance(plan.broken) { event.line.len() / 2 } else { event.line.len() };
        file.write_all(&event.line[..cut])?;
        file.write_all(b"\n")?;
        events += 1;
        if events % 10_000 == 0 {
            progress(events);
        }
    }
    file.finish()?.flush()?;
    progress(events);
    Ok(Summary { events, labels: labels.len() as u64 })
}
