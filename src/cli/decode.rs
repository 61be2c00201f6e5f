//! `phiwatch decode`: any supported format in, native events out.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::app::progress;
use crate::decode::{Format, Hints, Limits};
use crate::ingest::files;
use crate::settings::unknown_format;

/// Turn records of any supported format into native events, one JSON object a line.
///
/// Inputs are .jsonl, .json, .csv or .parquet, each also .gz or .zst; - is standard input.
#[derive(Args)]
pub struct Decode {
    /// The format of the records; auto tells each record by its structure.
    #[arg(long, default_value = "auto")]
    format: String,
    /// Where records go that cannot be used, with their reason; without it they are only counted.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// What to read.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

impl Decode {
    pub(super) fn run(self) -> Result<(), Stop> {
        let format = Format::parse(&self.format).ok_or_else(|| Stop::Usage(unknown_format(&self.format)))?;
        let hints = Hints { format, ..Hints::new("") };
        let mut out = BufWriter::new(stdout().lock());
        let create = |path| super::private(path, false);
        let mut rejects = self.rejects.as_deref().map(create).transpose()?.map(BufWriter::new);
        let to = rejects.as_mut().map(|file| file as &mut dyn Write);
        let bar = progress::inputs(&self.inputs)?;
        let read = &mut |bytes| bar.inc(bytes);
        let converted = files::convert(&self.inputs, &hints, &Limits::default(), &mut out, to, read);
        bar.finish_and_clear();
        let counts = converted.map_err(Stop::failed)?;
        out.flush().map_err(Stop::failed)?;
        if let Some(mut rejects) = rejects {
            rejects.flush().map_err(Stop::failed)?;
        }
        // A line or Bundle that holds several is as many records.
        let records = counts.events + counts.rejects;
        eprintln!("{records} records: {} events, {} rejects", counts.events, counts.rejects);
        Ok(())
    }
}
