//! The one writer of a history: opens or makes it, stages effects, commits segments.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::close::Closed;
use super::control::{Control, Entry};
use super::known::Lookup;
use super::log::{Positions, TableLog};
use super::stage::Stage;
use super::tables::Table;
use super::told::Told;
use super::{HistoryError, Settings, blobs, layout};
use crate::event::effects::Mark;
use crate::event::{Day, Effects, Origin, Time};
use crate::keys::{KeyError, KeySource, Keyring};

/// A history that is open for writing. There is one at a time: a lock refuses a second.
pub struct History {
    pub(super) dir: PathBuf,
    pub(super) settings: Settings,
    pub(super) keyring: Option<Arc<Keyring>>,
    /// In the order of commits: one for each of [`Table::ALL`].
    pub(super) logs: Vec<TableLog>,
    pub(super) stage: Stage,
    /// A segment that is encoded while the next one is staged.
    pub(super) closed: Option<Closed>,
    pub(super) next_mark: Option<Mark>,
    pub(super) lookup: Lookup,
    control: Control,
    /// The positions of the newest change that this writer noted; `None` before its first.
    pub(super) noted: Option<Positions>,
    /// Which alerts are on record; read when the first alert is asked for.
    pub(super) told: Option<Told>,
    made_key: Option<PathBuf>,
    _lock: File,
}

/// What waits for the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Rows of events and rejects, those of a closed segment included.
    pub rows: usize,
    /// About how many bytes of memory they take.
    pub bytes: usize,
    /// Whether the open segment should be closed now: by rows or bytes. Age is the caller's to watch.
    pub full: bool,
}

impl History {
    /// Opens the history that `settings` name, or makes it; the key lies in `key` (made with a new history, never later).
    ///
    /// # Errors
    /// See [`HistoryError`]; above all a key that does not fit, a history of another version, and a second writer.
    pub async fn open_or_create(settings: &Settings, key: &KeySource) -> Result<History, HistoryError> {
        let dir = folder_of(&settings.dir)?;
        let (form, made_key) = match layout::read_form(&dir)? {
            Some(form) => (form, None),
            None => {
                layout::make_folder(&dir)?;
                let made = if settings.encrypt { first_key(&dir, key)? } else { None };
                (layout::write_form(&dir, settings.encrypt)?, made)
            }
        };
        if form.encrypted != settings.encrypt {
            return Err(HistoryError::Encryption { asked: settings.encrypt, made: form.encrypted });
        }
        let lock = layout::lock(&dir)?;
        let keyring = match form.encrypted {
            true => Some(Arc::new(Keyring::open(&layout::keyring_path(&dir), key.read()?)?)),
            false => None,
        };
        let mut logs = open_tables(&dir).await?;
        let whole = smallest(&logs);
        for log in &mut logs {
            log.take_back(&dir, &whole).await?;
        }
        let control = Control::open(&dir, "control", keyring.clone())?;
        let (settings, stage) = (settings.clone(), Stage::default());
        Ok(History {
            dir,
            settings,
            keyring,
            logs,
            stage,
            closed: None,
            next_mark: None,
            lookup: Lookup::default(),
            control,
            noted: None,
            told: None,
            made_key,
            _lock: lock,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The keyring, for whoever seals things of this history elsewhere; `None` where encryption is off.
    pub fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keyring.as_ref()
    }

    /// The key file that was made with this history, to be said aloud with the advice to keep a copy elsewhere.
    pub fn made_key(&self) -> Option<&Path> {
        self.made_key.as_deref()
    }

    /// The next offset to read, by position key: the smallest over the tables. An origin that a table does not know is left out.
    pub fn positions(&self) -> BTreeMap<String, i64> {
        let mut smallest = smallest(&self.logs);
        smallest.retain(|key, _| !is_mark(key));
        smallest
    }

    /// How far time had come in the engine at the newest commit.
    pub fn mark(&self) -> Option<Mark> {
        let smallest = smallest(&self.logs);
        let [watermark, settled, began] = MARKS.map(|key| smallest.get(key).copied());
        let day = |number: i64| i32::try_from(number).ok().map(Day);
        Some(Mark { watermark: Time(watermark?), settled: day(settled?)?, began: day(began?)? })
    }

    /// The next commit says that time has come this far.
    pub fn set_mark(&mut self, mark: Option<Mark>) {
        self.next_mark = mark;
    }

    /// The next offset of each origin, by position key, what is staged included.
    pub fn reached(&self) -> BTreeMap<String, i64> {
        let mut reached = self.closed_at();
        reached.extend(self.stage.ends().iter().map(|(key, next)| (key.clone(), *next)));
        reached
    }

    /// As [`Self::positions`], a closed segment included.
    fn closed_at(&self) -> Positions {
        let mut positions = self.positions();
        let ends = self.closed.iter().flat_map(|closed| closed.stage().ends());
        positions.extend(ends.map(|(key, next)| (key.clone(), *next)));
        positions
    }

    /// Takes up the effects of a step; `key_of` gives the position key of an origin. Nothing is durable until [`Self::commit`].
    ///
    /// A stretch that is on record already is left out.
    ///
    /// # Errors
    /// [`HistoryError::NotNext`] where a stretch does not begin where its origin ends here. Nothing of the effects is kept then.
    pub fn stage(&mut self, effects: &Effects, key_of: impl Fn(&Origin) -> String) -> Result<Staged, HistoryError> {
        let closed_at = self.closed_at();
        self.stage.extend(&effects.applied, key_of, &closed_at)?;
        self.stage.raise(&effects.raised);
        if let Some(told) = &mut self.told {
            told.stage(&effects.raised);
        }
        Ok(self.staged())
    }

    /// What waits for the next commit.
    pub fn staged(&self) -> Staged {
        let (rows, bytes) = (self.stage.rows(), self.stage.bytes());
        let full = rows >= self.settings.segment_rows || bytes >= self.settings.segment_bytes;
        let closed = self.closed.as_ref().map_or((0, 0), |closed| (closed.stage().rows(), closed.stage().bytes()));
        Staged { rows: rows + closed.0, bytes: bytes + closed.1, full }
    }

    /// Appends to the control log and gives back the entry's number; when this returns, the disk has it. `at` is the time of the
    /// entry by the clock and decides its month key.
    pub fn control_append(&mut self, kind: &str, at: Time, bytes: &[u8]) -> Result<u64, HistoryError> {
        #[cfg(test)]
        super::fuse::write()?;
        self.control.append(kind, at, bytes)
    }

    /// Every entry of the control log, in order.
    pub fn control_read(&self) -> Result<Vec<Entry>, HistoryError> {
        Control::read(&self.dir, "control", self.keyring.clone())
    }

    /// Keeps `bytes` under `kind` and `hash` (lower-case letters, digits, hyphens); one that is there already stays as it is.
    pub fn put_blob(&self, kind: &str, hash: &str, at: Time, bytes: &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> {
        #[cfg(test)]
        super::fuse::write()?;
        blobs::put(&self.dir, &self.keyring, (kind, hash), at, bytes)
    }

    /// What is kept under `kind` and `hash`.
    pub fn get_blob(&self, kind: &str, hash: &str) -> Result<Option<Vec<u8>>, HistoryError> {
        blobs::get(&self.dir, &self.keyring, kind, hash)
    }

    /// The hashes kept under `kind`, in order.
    pub fn list_blobs(&self, kind: &str) -> Result<Vec<String>, HistoryError> {
        blobs::list(&self.dir, kind)
    }

    /// What the commit says of time, as positions; nothing where nothing is staged.
    pub(super) fn marks(&self) -> Positions {
        match self.next_mark.filter(|_| !self.stage.is_empty()) {
            Some(mark) => {
                let values = [mark.watermark.0, i64::from(mark.settled.0), i64::from(mark.began.0)];
                MARKS.iter().map(|key| (*key).to_owned()).zip(values).collect()
            }
            None => Positions::new(),
        }
    }

    pub(super) fn log(&self, table: Table) -> &TableLog {
        self.logs.iter().find(|log| log.table == table).expect("every table is open")
    }

    /// What is in no commit yet, in order.
    pub(super) fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.closed.iter().map(Closed::stage).chain([&self.stage])
    }
}

/// The smallest position of each origin over the tables; one that a table does not know is left out.
fn smallest(logs: &[TableLog]) -> Positions {
    let mut smallest = logs[0].positions().clone();
    for log in &logs[1..] {
        smallest.retain(|key, next| match log.positions().get(key) {
            Some(other) => {
                *next = (*next).min(*other);
                true
            }
            None => false,
        });
    }
    smallest
}

/// How far time had come stands in the commits like the position of an origin.
const MARKS: [&str; 3] = ["engine:watermark", "engine:settled", "engine:began"];

/// How far time had come, as the commits say.
pub(super) fn watermark_in(positions: &Positions) -> Option<Time> {
    positions.get(MARKS[0]).copied().map(Time)
}

/// Whether a position key is no origin but says how far time had come.
pub(super) fn is_mark(key: &str) -> bool {
    MARKS.contains(&key)
}

/// The folder as it was given; an address of another kind is refused.
fn folder_of(dir: &Path) -> Result<PathBuf, HistoryError> {
    match dir.to_str() {
        Some(text) if text.contains("://") => Err(HistoryError::Location(text.into())),
        _ => Ok(dir.into()),
    }
}

/// Makes the keyring of a new history, and the key file where there is none; gives back the path of a key file that was made.
fn first_key(dir: &Path, key: &KeySource) -> Result<Option<PathBuf>, HistoryError> {
    let path = layout::keyring_path(dir);
    let (kek, made) = match key.read() {
        Ok(kek) => (kek, None),
        // A keyring without its key is an accident that a fresh key would hide.
        Err(KeyError::Missing(missing)) if path.exists() => return Err(KeyError::Missing(missing).into()),
        Err(KeyError::Missing(_)) => (key.create()?, Some(key.path().to_path_buf())),
        Err(error) => return Err(error.into()),
    };
    if !path.exists() {
        Keyring::create(&path, kek)?;
    }
    Ok(made)
}

/// Opens the tables, and makes those that a crash right after the making of the history left out.
async fn open_tables(dir: &Path) -> Result<Vec<TableLog>, HistoryError> {
    let mut found = Vec::new();
    for table in Table::ALL {
        found.push((table, TableLog::open(dir, table).await?));
    }
    let used = found.iter().flat_map(|(_, log)| log).any(|log| log.version() > 0);
    let mut logs = Vec::new();
    for (table, log) in found {
        logs.push(match log {
            Some(log) => log,
            None if used => {
                let file = format!("{}/_delta_log", table.name());
                return Err(HistoryError::Damaged { file, what: "it is missing".into() });
            }
            None => TableLog::create(dir, table).await?,
        });
    }
    Ok(logs)
}
