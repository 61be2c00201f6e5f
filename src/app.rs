//! Composition root: builds the parts from the settings, joins them, and runs them to the end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Stop;
use crate::decode::Limits;
use crate::engine::{Engine, Input};
use crate::event::{Disposition, Effects, Origin, Time};
use crate::ingest::files::FileReader;
use crate::ingest::rosters::read_folder;
use crate::roster::{Intake, Loaded, load};
use crate::settings::Settings;

/// Rows and bytes of a stretch that is decoded at once.
const CHUNK_ROWS: usize = 8_192;
const CHUNK_BYTES: u64 = 8 << 20;

/// Loads the rosters that the settings name; none is an empty roster.
///
/// # Errors
/// Where the folder cannot be read. Problems in the files are in the answer.
pub fn rosters(settings: &Settings) -> Result<Loaded, Stop> {
    let files = settings.rosters.as_deref().map(read_folder).transpose().map_err(Stop::failed)?.unwrap_or_default();
    let intake = Intake { previous: None, at: Time::MIN, allow_shrink: false };
    let mut loaded = load(&files, settings.default_zone.clone(), &intake);
    if settings.rosters.is_none() {
        loaded.problems.clear();
    }
    Ok(loaded)
}

/// What a scan did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Repeated records.
    pub duplicates: u64,
    /// Records that could not be used.
    pub rejects: u64,
    /// Settled alerts, by what was done with them.
    pub alerts: BTreeMap<&'static str, u64>,
    /// What an operator should know, by kind and what it is about.
    pub notices: BTreeMap<(&'static str, String), u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, {} duplicates, {} rejects", self.events, self.duplicates, self.rejects)?;
        for (disposition, count) in &self.alerts {
            write!(f, ", {count} alerts {disposition}")?;
        }
        for ((kind, about), count) in &self.notices {
            write!(f, "\n{kind}: {count} records of {about}")?;
        }
        Ok(())
    }
}

impl Summary {
    fn add(&mut self, effects: &Effects) {
        for applied in &effects.applied {
            self.events += applied.span.events;
            self.duplicates += applied.span.duplicates;
            self.rejects += applied.span.rejects;
        }
        for raised in effects.raised.iter().filter(|raised| raised.alert.settled) {
            *self.alerts.entry(raised.alert.disposition.as_str()).or_default() += 1;
        }
        for notice in &effects.notices {
            *self.notices.entry((notice.kind, notice.about.clone())).or_default() += notice.count;
        }
    }
}

/// Runs the engine over files, side by side by event time; every revision of a notified alert goes to `out`, one JSON object a line.
///
/// # Errors
/// Where the rosters or an input cannot be read, or `out` cannot be written.
pub fn scan(settings: &Settings, inputs: &[PathBuf], out: &mut dyn Write) -> Result<Summary, Stop> {
    let loaded = rosters(settings)?;
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    let mut engine = Engine::new(settings.engine.clone(), Arc::new(loaded.roster));
    let mut readers = Readers::open(settings, inputs)?;
    let mut summary = Summary::default();
    let mut step = |engine: &mut Engine, input: Input| -> Result<(), Stop> {
        let effects = engine.step(Time::MIN, input);
        summary.add(&effects);
        write_alerts(&effects, out)
    };
    for origin in readers.origins() {
        step(&mut engine, Input::Open(origin))?;
    }
    loop {
        let hungry = engine.hungry();
        if hungry.is_empty() {
            break;
        }
        for origin in hungry {
            let input = readers.next(&origin)?;
            step(&mut engine, input)?;
        }
    }
    step(&mut engine, Input::Close)?;
    readers.bar.finish_and_clear();
    if let Some(failure) = readers.failure {
        eprintln!("{summary}");
        return Err(Stop::Failed(failure));
    }
    Ok(summary)
}

fn write_alerts(effects: &Effects, out: &mut dyn Write) -> Result<(), Stop> {
    for raised in effects.raised.iter().filter(|raised| raised.alert.disposition == Disposition::Notified) {
        serde_json::to_writer(&mut *out, &raised.alert).map_err(Stop::failed)?;
        out.write_all(b"\n").map_err(Stop::failed)?;
    }
    Ok(())
}

/// The open input files.
struct Readers {
    files: BTreeMap<Origin, FileReader>,
    bar: ProgressBar,
    /// The first damage that was met; what could be read before it was read.
    failure: Option<String>,
}

impl Readers {
    fn open(settings: &Settings, inputs: &[PathBuf]) -> Result<Readers, Stop> {
        let mut files = BTreeMap::new();
        for path in inputs {
            let name = path.to_string_lossy().into_owned();
            let short = path.file_name().map_or_else(|| name.clone(), |short| short.to_string_lossy().into_owned());
            let reader = FileReader::open(path, settings.hints(&short), Limits::default()).map_err(Stop::failed)?;
            if files.insert(Origin::file(name.as_str()), reader).is_some() {
                return Err(Stop::Usage(format!("{name} is given twice")));
            }
        }
        let total: Option<u64> = files.values().map(FileReader::bytes_total).sum();
        let style = ProgressStyle::with_template("{wide_bar} {binary_bytes}/{binary_total_bytes} {eta}")
            .map_err(Stop::failed)?;
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style);
        Ok(Readers { files, bar, failure: None })
    }

    fn origins(&self) -> Vec<Origin> {
        self.files.keys().cloned().collect()
    }

    /// The next stretch of a file, or its end. Damage ends a file; the others are read on.
    fn next(&mut self, origin: &Origin) -> Result<Input, Stop> {
        let reader = self.files.get_mut(origin).expect("the engine asks for files that were opened");
        let input = match reader.next_chunk(CHUNK_ROWS, CHUNK_BYTES) {
            Ok(Some(decoded)) => Input::Decoded(Box::new(decoded)),
            Ok(None) => Input::End(origin.clone()),
            Err(error) => {
                self.failure.get_or_insert(error.to_string());
                Input::End(origin.clone())
            }
        };
        self.bar.set_position(self.files.values().map(FileReader::bytes_read).sum());
        Ok(input)
    }
}
