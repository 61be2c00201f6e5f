//! Composition root: builds the parts from the settings, joins them, and hands them to the loops in `app::scan` and `app::live`.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::TryRng;
use tokio::runtime::Runtime;

use self::rules::RulesNow;
use crate::engine::Engine;
use crate::event::time::HOUR;
use crate::event::{Problem, Time};
use crate::history::{History, HistoryError, Settings as HistorySettings, is_encrypted};
use crate::keys::{Keyring, write_durably};
use crate::pipeline::Keep;
use crate::roster::{Accepted, Loaded, Roster};
use crate::settings::{Settings, is_inside, local};
use crate::store::{AesSeal, Store};

mod acts;
mod audit;
mod backtest;
#[allow(clippy::print_stdout, reason = "the demo is for reading")]
pub mod demo;
mod desk;
mod drain;
mod feeds;
pub mod live;
pub mod monitor;
mod named;
mod operator;
mod partitions;
mod past;
mod places;
pub mod progress;
mod rosters;
mod rules;
mod scan;
mod spool;
mod stop;
#[cfg(test)]
mod tests;
mod upkeep;
mod verdicts;
mod watch;

pub use acts::{Act, act};
pub use audit::{audit, who};
pub use backtest::{Backtested, backtest_rules};
pub use named::named_for_nothing;
pub use rosters::{accepted_last, look_at_rosters, named_rosters, nobody, people, rosters};
pub use rules::{
    Matched, absent_columns, diff_rules, export_rules, look_at_rules, match_rules, names_nothing, unproven,
};
pub use scan::scan;
pub use stop::Stop;

/// The key of the store, sealed by the keyring of the history.
const STORE_KEY: &str = "store.key";

/// The clock: the only place where the program asks what time it is for what it stores.
pub fn now() -> Time {
    Time(jiff::Timestamp::now().as_microsecond())
}

/// The threads of whatever has to wait.
///
/// # Errors
/// Where the machine gives no threads.
pub fn runtime() -> Result<Runtime, Stop> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Stop::failed)
}

/// What a run or a scan begins with.
struct Begun {
    engine: Engine,
    /// The positions up to which the engine has seen the input.
    seen: BTreeMap<String, i64>,
    /// The roster version that was in force before.
    before: Option<Accepted>,
    /// The rosters as they are now.
    loaded: Loaded,
    /// The rules as they are now.
    rules: RulesNow,
}

impl Begun {
    /// Without any memory.
    fn anew(settings: &Settings) -> Result<Begun, Stop> {
        let loaded = look(settings, None)?;
        let engine = Engine::new(settings.engine.clone(), Arc::new(Roster::empty(settings.default_zone.clone())));
        let rules = rules::now(&settings.rules)?;
        rules.complain(settings, &loaded.roster);
        Ok(Begun { engine, seen: BTreeMap::new(), before: None, loaded, rules })
    }
}

/// The history, made where there is none yet, and what goes on from it. Rosters or rules that cannot be used leave no empty history and
/// no key behind.
fn set_out(settings: &Settings, history: &HistorySettings, runtime: &Runtime) -> Result<(Keep, Begun), Stop> {
    let looked = match is_there(history) {
        true => None,
        false => Some((look(settings, None)?, rules::now(&settings.rules)?)),
    };
    let mut keep = open_keep(settings, history, runtime)?;
    let begun = begin(settings, &mut keep, looked)?;
    Ok((keep, begun))
}

/// Whether the folder holds a history.
pub fn is_there(history: &HistorySettings) -> bool {
    history.dir.join("history.json").exists()
}

/// The engine as everything on record has left it, and the rosters and rules, where nobody has `looked` at them yet.
fn begin(settings: &Settings, keep: &mut Keep, looked: Option<(Loaded, RulesNow)>) -> Result<Begun, Stop> {
    let before = rosters::accepted(keep)?;
    // Rosters and settings were noted before the first row.
    if before.is_none() && keep.history.newest_segment() > 0 {
        let what = "the control log is missing or empty, and the tables are not; put it back from a copy";
        return Err(Stop::Failed(format!("{}: {what}", keep.history.dir().join("control").display())));
    }
    let (loaded, rules) = match looked {
        Some(looked) => looked,
        None => (look(settings, before.as_ref())?, rules::now(&settings.rules)?),
    };
    rules.complain(settings, &loaded.roster);
    let bar = ProgressBar::hidden();
    let style = "building the engine anew  {wide_bar} {human_pos} of {human_len} events  {eta}";
    bar.set_style(ProgressStyle::with_template(style).map_err(Stop::failed)?);
    let mut progress = |done, all| {
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_length(all);
        bar.set_position(done);
    };
    let engine = keep.engine(&settings.engine, &settings.default_zone, now(), &mut progress);
    bar.finish_and_clear();
    let seen = keep.history.positions();
    Ok(Begun { engine: engine.map_err(Stop::failed)?, seen, before, loaded, rules })
}

/// Loads the rosters and says what is wrong with them.
fn look(settings: &Settings, previous: Option<&Accepted>) -> Result<Loaded, Stop> {
    let loaded = rosters::rosters_after(settings, previous)?;
    rosters::complain(&loaded);
    match spread(settings, &loaded.roster) {
        Some(problem) => Err(Stop::Problems(vec![problem])),
        None => Ok(loaded),
    }
}

/// `settle` and the spread of the sites' zones have to leave a day its constants before anybody enters it (DESIGN, section 5).
pub fn spread(settings: &Settings, roster: &Roster) -> Option<Problem> {
    let day = roster.zone(None).local(now()).date;
    let starts = roster.zones().iter().map(|zone| zone.day_start(day).0);
    let (first, last) = starts.fold((i64::MAX, i64::MIN), |(first, last), at| (first.min(at), last.max(at)));
    let sum = settings.engine.settle() + last.saturating_sub(first).max(0);
    (sum > 47 * HOUR).then(|| Problem {
        file: PathBuf::from("sites.csv"),
        line: None,
        what: format!(
            "the largest settle ({} h) and the spread of the sites' time zones ({} h) add up to more than 47 h; a shorter [sources.NAME] settle \
             for every source makes room",
            settings.engine.settle() / HOUR,
            (last - first) / HOUR
        ),
    })
}

/// What is wrong with the world that the settings name: broker, topics, rights, channels, key, store.
///
/// # Errors
/// Where the machine gives no threads.
pub fn online(settings: &Settings) -> Result<Vec<Problem>, Stop> {
    let mut problems = settings.kafka.as_ref().map(crate::ingest::kafka::probe).unwrap_or_default();
    let greeted = runtime()?.block_on(crate::notify::greet(&settings.channels));
    problems.extend(greeted.into_iter().map(|(channel, wrong)| Problem {
        file: PathBuf::from(format!("channel {channel}")),
        line: None,
        what: wrong,
    }));
    if let Some(history) = &settings.history {
        problems.extend(kept(settings, &history.dir));
    }
    Ok(problems)
}

/// What is wrong with the history at `dir`, its key and its state folder.
fn kept(settings: &Settings, dir: &Path) -> Vec<Problem> {
    let problem = |file: &Path, stop: Stop| {
        let what = match stop {
            Stop::Failed(what) | Stop::Usage(what) => what,
            Stop::Problems(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        Problem { file: file.to_owned(), line: None, what }
    };
    if !dir.join("history.json").exists() {
        let stop = foreign(dir).map(|what| problem(dir, Stop::Usage(what)));
        return stop.into_iter().chain(unwritable(nearest_folder(dir))).collect();
    }
    let state = settings.state_dir(dir);
    let read = runtime().and_then(|runtime| {
        let reader = runtime.block_on(crate::history::Reader::open(dir, &settings.key_source(dir)));
        reader.map(drop).map_err(Stop::failed)
    });
    let mut problems: Vec<Problem> = read.err().map(|stop| problem(dir, stop)).into_iter().collect();
    if problems.is_empty() && (state.join(STORE_KEY).exists() || !sealed_files(&state).is_empty()) {
        let opened = seal(settings, dir, &state).and_then(|_| match Store::is_there(&state) {
            true => Store::verify(&state).map_err(Stop::failed),
            false => Ok(()),
        });
        problems.extend(opened.err().map(|stop| problem(&state, stop)));
    }
    problems.extend(open_to_others(&state));
    problems.extend([nearest_folder(dir), nearest_folder(&state)].into_iter().filter_map(unwritable));
    problems
}

/// The problem of a state folder into which others can look.
fn open_to_others(state: &Path) -> Option<Problem> {
    let mode = std::fs::metadata(state).ok()?.permissions().mode() & 0o777;
    let what = format!("others can look into this folder (mode {mode:04o}); chmod 0700 keeps them out");
    (mode & 0o077 != 0).then(|| Problem { file: state.to_owned(), line: None, what })
}

/// The folder itself, or the nearest one above it that is there.
fn nearest_folder(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// The problem of a folder in which we may not write: found by writing a file and taking it away again.
fn unwritable(folder: PathBuf) -> Option<Problem> {
    let path = folder.join(format!(".phiwatch-check-{}", std::process::id()));
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let removed = written.and_then(|_| std::fs::remove_file(&path));
    removed.err().map(|error| Problem { file: folder, line: None, what: format!("cannot be written: {error}") })
}

/// What is in a folder that should become a history and is not empty.
fn foreign(dir: &Path) -> Option<String> {
    let full = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    full.then(|| format!("{} is not empty and holds no history; name another folder", dir.display()))
}

/// The folder of a history that is there: as given, else as the settings say.
///
/// # Errors
/// Where neither names one, or where there is none.
pub fn history_dir(settings: &Settings, given: Option<&PathBuf>) -> Result<PathBuf, Stop> {
    let named = given.or(settings.history.as_ref().map(|history| &history.dir));
    let named = named.ok_or("name the history: --history DIR, or [history] in the settings".to_owned());
    let dir = named.and_then(|dir| local(dir)).map_err(Stop::Usage)?;
    // Before anything is noted beside it: a misspelt name must not leave a folder behind.
    match dir.join("history.json").try_exists() {
        Ok(true) => Ok(dir),
        Ok(false) => Err(Stop::Failed(format!("{} holds no history", dir.display()))),
        Err(error) => Err(Stop::Failed(format!("{}: {error}", dir.display()))),
    }
}

/// Opens the history for writing, with its state folder; says aloud where a fresh key lies.
fn open_keep(settings: &Settings, history: &HistorySettings, runtime: &Runtime) -> Result<Keep, Stop> {
    if !is_there(history)
        && let Some(what) = foreign(&history.dir)
    {
        return Err(Stop::Usage(what));
    }
    // The command line may have named another history than the settings did, where this was looked at.
    let (key, state) = (settings.key_source(&history.dir), settings.state_dir(&history.dir));
    for (what, path) in [("the key", settings.key.as_ref()), ("the state folder", Some(&state))] {
        if let Some(path) = path.filter(|path| is_inside(path, &history.dir)) {
            let what = format!("{}: {what} lies inside the history, where only the history may lie", path.display());
            return Err(Stop::Usage(what));
        }
    }
    let opened = runtime.block_on(History::open_or_create(history, &key)).map_err(Stop::failed)?;
    if let Some(path) = opened.made_key() {
        eprintln!(
            "A fresh key for this history is in {}. Without it nobody can read the history: keep a copy elsewhere.",
            path.display()
        );
    }
    Keep::new(opened, state).map_err(Stop::failed)
}

/// Opens the store of alerts beside a history, for writing or for looking.
///
/// # Errors
/// Where the history, its key or the store cannot be opened.
pub fn store(settings: &Settings, dir: &Path, state: &Path, writes: bool) -> Result<Arc<Store>, Stop> {
    let seal = Arc::new(seal(settings, dir, state)?);
    let opened = if writes { Store::open(state, seal) } else { Store::read(state, seal) };
    opened.map(Arc::new).map_err(Stop::failed)
}

/// Opens the store for the one who writes the history.
fn own_store(keep: &Keep, state: &Path) -> Result<Arc<Store>, Stop> {
    Store::open(state, Arc::new(own_seal(keep, state)?)).map(Arc::new).map_err(Stop::failed)
}

/// What seals the state folder, for the one who writes the history: there must be no second keyring while the history has one.
fn own_seal(keep: &Keep, state: &Path) -> Result<AesSeal, Stop> {
    Ok(AesSeal::new(&store_key(keep.history.keyring().map(Arc::as_ref), state)?))
}

/// What seals the state folder of a history.
fn seal(settings: &Settings, dir: &Path, state: &Path) -> Result<AesSeal, Stop> {
    Ok(AesSeal::new(&store_key(keyring(settings, dir)?.as_ref(), state)?))
}

/// The keyring of a history; `None` where encryption is off.
fn keyring(settings: &Settings, dir: &Path) -> Result<Option<Keyring>, Stop> {
    // That it is missing is no sign of that: without it nothing can be read, and it has to be named.
    if is_encrypted(dir).map_err(Stop::failed)? != Some(true) {
        return Ok(None);
    }
    let key = settings.key_source(dir).read().map_err(Stop::failed)?;
    Keyring::open(&dir.join("keyring.json"), key).map(Some).map_err(Stop::failed)
}

/// The problem of settings that say another thing about encryption than the history that is there was made with.
pub fn encrypted_otherwise(settings: &Settings) -> Option<Problem> {
    let history = settings.history.as_ref()?;
    let made = is_encrypted(&history.dir).ok()??;
    let wrong = HistoryError::Encryption { asked: history.encrypt, made };
    (made != history.encrypt).then(|| Problem { file: history.dir.clone(), line: None, what: wrong.to_string() })
}

/// What in the state folder opens with its key alone.
fn sealed_files(state: &Path) -> Vec<&'static str> {
    let holds = |name: &&str| std::fs::metadata(state.join(name)).is_ok_and(|found| found.len() > 0);
    [crate::store::FILE, audit::AUDIT, audit::HEAD].into_iter().filter(holds).collect()
}

/// The key of the store: made at first, sealed like everything else beside the history. With a fresh one in the place of one that was
/// lost nothing in the folder would ever open again.
fn store_key(keyring: Option<&Keyring>, state: &Path) -> Result<[u8; 32], Stop> {
    let path = state.join(STORE_KEY);
    let found = match std::fs::read(&path) {
        Ok(sealed) => Some(match keyring {
            Some(keyring) => keyring.open_sealed(STORE_KEY, &sealed).map_err(Stop::failed)?,
            None => sealed,
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Stop::Failed(format!("{}: {error}", path.display()))),
    };
    if let Some(bytes) = found {
        return bytes.try_into().map_err(|_| Stop::Failed(format!("{}: damaged", path.display())));
    }
    let sealed = sealed_files(state);
    if !sealed.is_empty() {
        return Err(Stop::Failed(format!(
            "{} is missing, and what lies beside it is sealed with it: {}. Put it back from a copy. Where there is none move these files \
             away: `phiwatch run` makes the store again from the history, without what was not drained in the last minute before, and \
             nobody can check those lines of the self-audit",
            path.display(),
            sealed.join(", ")
        )));
    }
    let mut key = [0_u8; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut key).map_err(Stop::failed)?;
    let bytes = match keyring {
        Some(keyring) => keyring.seal(STORE_KEY, now(), &key).map_err(Stop::failed)?,
        None => key.to_vec(),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(Stop::failed)?;
    write_durably(&path, &bytes, 0o600).map_err(Stop::failed)?;
    Ok(key)
}
