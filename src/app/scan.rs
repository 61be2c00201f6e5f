//! `scan`: the engine over files, side by side by event time, with or without a history.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;

use super::drain::{self, Drain};
use super::rosters::put_in_force;
use super::spool::Spool;
use super::verdicts::Verdicts;
use super::{Begun, is_there, now, own_seal, own_store, progress, runtime, set_out};
use crate::app::Stop;
use crate::decode::{Hints, Limits};
use crate::engine::Input;

use crate::event::{Disposition, Origin, Raised, Time};
use crate::history::{Change, Noted};
use crate::ingest::files::{FileError, FileReader};
use crate::ingest::known::{CHUNK_BYTES, CHUNK_ROWS, End, KnownFiles, Surveyed, fresh};
use crate::pipeline::{Keep, Outlet, Road, RoadError, Tally, read_files};
use crate::settings::Settings;
use crate::store::Store;

/// Alerts as JSON lines, and in the store where there is a history.
pub(super) struct Lines<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) store: Option<Arc<Store>>,
    /// What was printed, by alert and revision.
    pub(super) printed: BTreeSet<(String, u32)>,
}

impl Outlet for Lines<'_> {
    fn raise(&mut self, raised: &[Raised], now: Time) -> Result<(), RoadError> {
        if let Some(store) = &self.store {
            store.raise(raised, &|_| Vec::new(), now)?;
            self.printed.extend(raised.iter().map(|one| (one.alert.alert_id.clone(), one.alert.revision)));
        }
        for one in raised.iter().filter(|one| one.alert.disposition == Disposition::Notified) {
            serde_json::to_writer(&mut *self.out, &one.alert).map_err(std::io::Error::from)?;
            self.out.write_all(b"\n")?;
        }
        // Told before it is durable: a crash repeats a line and never loses one.
        self.out.flush()?;
        Ok(())
    }
}

/// The store of a history; where it was lost, what the history has is put into it again.
fn opened(
    settings: &Settings,
    history: &crate::history::Settings,
    keep: &Keep,
    runtime: &tokio::runtime::Runtime,
) -> Result<Arc<Store>, Stop> {
    let state = settings.state_dir(&history.dir);
    let store = own_store(keep, &state)?;
    if store.revisions().map_err(Stop::failed)?.is_empty() {
        let alerts = runtime.block_on(keep.history.alerts(Time::MIN)).map_err(Stop::failed)?;
        Drain::open(&keep.history, (store.clone(), &state, own_seal(keep, &state)?), &alerts, &|_| Vec::new(), now())?;
    }
    Ok(store)
}

/// Runs the engine over files; every revision of a notified alert goes to `out`, one JSON object a line.
///
/// # Errors
/// Where the rosters, an input or the history cannot be read, or something cannot be written.
pub fn scan(settings: &Settings, inputs: &[PathBuf], out: &mut dyn Write) -> Result<Tally, Stop> {
    // An input that is not there leaves no empty history behind.
    let begins = settings.history.as_ref().is_some_and(|history| !is_there(history));
    for input in inputs.iter().filter(|input| begins && input.as_os_str() != "-") {
        std::fs::metadata(input).map_err(|error| Stop::Failed(format!("{}: {error}", input.display())))?;
    }
    let runtime = runtime()?;
    let (keep, begun) = match &settings.history {
        Some(history) => set_out(settings, history, &runtime).map(|(keep, begun)| (Some(keep), begun))?,
        None => (None, Begun::anew(settings)?),
    };
    let Begun { engine, seen, before, loaded, rules } = begun;
    let store = match (&settings.history, &keep) {
        (Some(history), Some(keep)) => Some(opened(settings, history, keep, &runtime)?),
        _ => None,
    };
    let mut readers = Readers::open(settings, inputs, keep.as_ref(), &seen)?;
    let mut verdicts = match (&store, &keep) {
        (Some(store), Some(keep)) => Some(Verdicts::new(store, keep)?),
        _ => None,
    };
    let told = store.clone();
    let mut outlet = Lines { out, store: told, printed: BTreeSet::new() };
    let mut road = Road::new(engine, keep, &mut outlet, runtime.handle().clone());
    put_in_force(settings, &mut road, before.as_ref(), loaded, rules)?;
    for news in verdicts.iter_mut().flat_map(Verdicts::poll) {
        road.hear(now(), news).map_err(Stop::failed)?;
    }
    verdicts.iter_mut().try_for_each(Verdicts::taken).map_err(Stop::failed)?;
    road.keys = readers.keys();
    for origin in readers.origins() {
        road.turn(now(), Input::Open(origin)).map_err(Stop::failed)?;
    }
    loop {
        let hungry = road.engine.hungry();
        if hungry.is_empty() {
            break;
        }
        for origin in hungry {
            let input = readers.next(&origin);
            road.turn(now(), input).map_err(Stop::failed)?;
        }
        for news in road.fallen().map_err(Stop::failed)? {
            road.hear(now(), news).map_err(Stop::failed)?;
        }
    }
    road.close(now()).map_err(Stop::failed)?;
    readers.bar.finish_and_clear();
    if let Some(keep) = &mut road.keep {
        let known = known_files(&keep.history.changes().map_err(Stop::failed)?);
        if let Some(change) = read_files(readers.ends().filter(|end| !known.has(end)).cloned()) {
            keep.history.note(now(), &change, None).map_err(Stop::failed)?;
        }
    }
    let (tally, keep) = (road.tally.clone(), road.keep.take());
    drop(road);
    if let (Some(keep), Some(store)) = (&keep, &store) {
        drain::printed(&keep.history, store, &outlet.printed, now())?;
    }
    match readers.failure {
        Some(failure) => {
            eprintln!("{tally}");
            Err(Stop::Failed(failure))
        }
        None => Ok(tally),
    }
}

/// One input file and how far it is known.
struct Input1 {
    reader: FileReader,
    /// Position key: the hash of the whole file, with a history.
    key: String,
    whole: Option<End>,
    /// Stretches before this position are on record.
    from: i64,
}

/// The open input files.
struct Readers {
    files: BTreeMap<Origin, Input1>,
    bar: ProgressBar,
    /// The first damage that was met; what could be read before it was read.
    failure: Option<String>,
}

impl Readers {
    fn open(
        settings: &Settings,
        inputs: &[PathBuf],
        keep: Option<&Keep>,
        seen: &BTreeMap<String, i64>,
    ) -> Result<Readers, Stop> {
        let known = keep.map(|keep| keep.history.changes().map_err(Stop::failed)).transpose()?;
        let known = known.map(|changes| known_files(&changes));
        let mut files = BTreeMap::new();
        for path in inputs {
            let name = path.to_string_lossy().into_owned();
            // What has to be recognised when it comes again is read twice.
            let spool = keep.filter(|_| !is_kept(path)).map(|keep| spooled(path, keep)).transpose()?;
            let reader = || match &spool {
                Some(spool) => FileReader::of(&name, spool.reader(), hints(settings, path), Limits::default()),
                None => open(settings, path),
            };
            let reader = || reader().map_err(Stop::failed);
            let mut input = Input1 { reader: reader()?, key: name.clone(), whole: None, from: 0 };
            if let Some(known) = &known {
                // Damage is told when the file is read in earnest.
                let Surveyed { end, from, .. } = known.survey(reader()?, &|| true).expect("nothing breaks it off");
                input.key = end.key();
                // A scan that was broken off goes on where the snapshot stands.
                input.from = seen.get(&input.key).copied().unwrap_or(from);
                input.whole = Some(end);
            }
            if files.insert(Origin::file(name.as_str()), input).is_some() {
                return Err(Stop::Usage(format!("{name} is given twice")));
            }
        }
        let total: Option<u64> = files.values().map(|file| file.reader.bytes_total()).sum();
        Ok(Readers { files, bar: progress::bytes(total)?, failure: None })
    }

    fn origins(&self) -> Vec<Origin> {
        self.files.keys().cloned().collect()
    }

    fn keys(&self) -> BTreeMap<Origin, String> {
        self.files.iter().map(|(origin, file)| (origin.clone(), file.key.clone())).collect()
    }

    fn ends(&self) -> impl Iterator<Item = &End> {
        self.files.values().filter_map(|file| file.whole.as_ref())
    }

    /// The next stretch of a file, or its end. Damage ends a file; the others are read on.
    fn next(&mut self, origin: &Origin) -> Input {
        let file = self.files.get_mut(origin).expect("the engine asks for files that were opened");
        let input = loop {
            match file.reader.next_chunk(CHUNK_ROWS, CHUNK_BYTES) {
                Ok(Some(decoded)) => {
                    if let Some(fresh) = fresh(decoded, file.from) {
                        break Input::Decoded(Box::new(fresh));
                    }
                }
                Ok(None) => break Input::End(origin.clone()),
                Err(error) => {
                    self.failure.get_or_insert(error.to_string());
                    break Input::End(origin.clone());
                }
            }
        };
        self.bar.set_position(self.files.values().map(|file| file.reader.bytes_read()).sum());
        input
    }
}

/// Whether it can be read once more: standard input, a pipe and the like give each byte once.
fn is_kept(path: &Path) -> bool {
    path.as_os_str() != "-" && std::fs::metadata(path).is_ok_and(|about| about.is_file() || about.is_dir())
}

/// What gives each byte once, read to its end.
fn spooled(path: &Path, keep: &Keep) -> Result<Spool, Stop> {
    let wrong = |error| Stop::Failed(format!("{}: {error}", path.display()));
    match path.as_os_str() == "-" {
        true => Spool::take(std::io::stdin(), keep.state()).map_err(Stop::failed),
        false => Spool::take(std::fs::File::open(path).map_err(wrong)?, keep.state()).map_err(wrong),
    }
}

/// What is known of the records of an input, by its name without the folder.
fn hints(settings: &Settings, path: &Path) -> Hints {
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    settings.hints(&name)
}

fn open(settings: &Settings, path: &Path) -> Result<FileReader, FileError> {
    FileReader::open(path, hints(settings, path), Limits::default())
}

/// The files that a history has read, by its control log.
pub(super) fn known_files(changes: &[Noted]) -> KnownFiles {
    let end = |sha256: &String, next: &i64| End { sha256: sha256.clone(), next: *next };
    let files = |noted: &Noted| match &noted.change {
        Change::Files { files } => files.iter().map(|file| end(&file.sha256, &file.next)).collect(),
        Change::File { sha256, next } => vec![end(sha256, next)],
        _ => Vec::new(),
    };
    changes.iter().flat_map(files).collect()
}
