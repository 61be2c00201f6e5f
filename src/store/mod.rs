//! EDGE: the small durable store beside the history: outbox and receipts, alerts for triage, verdicts, mutes, heartbeats.
//!
//! SQLite with one writer (DESIGN, decision 15), behind one struct with plain methods, so that PostgreSQL can stand here later.
//! Columns that can name a person are sealed. No method reads a clock: the present is an argument. What is here may be lost whole:
//! alerts come again from the history, and [`Store::restore`] says which of them people have already heard of.
//!
//! `schema` holds the tables, `seal` the sealing, `outbox` what goes to the channels, `receipts` what became
//! of it, `triage` what people look up and decide, `again` how a lost store comes back.

mod again;
mod corrections;
mod outbox;
mod receipts;
mod schema;
mod seal;
mod triage;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use outbox::{Counters, Outcome, Row};
pub use receipts::{EVERY_CHANNEL, Receipt};
pub use seal::{AesSeal, Seal, SealError};
pub use triage::{Filter, Listed, Mute, News, Ruling, Verdict};

/// The name of the file in the state folder.
pub const FILE: &str = "phiwatch.sqlite";

/// The open store. Calls block for a few milliseconds (a commit waits for the disk); from async code use a blocking thread.
pub struct Store {
    connection: Mutex<Connection>,
    seal: Arc<dyn Seal>,
    /// Held for as long as the writer lives; `None` for a reader.
    _lock: Option<File>,
}

/// What went wrong with the store, and whether it is worth another try.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process writes.
    #[error("the store {0} is in use by another process; try again when it has ended")]
    Locked(PathBuf),
    /// There is no store at that place.
    #[error("there is no store {0} yet; `phiwatch run` or `phiwatch scan --history` makes it")]
    Missing(PathBuf),
    /// The file was written by a newer version.
    #[error("the store has format {found}, this version knows {known}: use the newer phiwatch that wrote it")]
    Newer {
        /// What the file says.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// A sealed value did not open.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// No alert has that id.
    #[error("there is no alert {0}")]
    NoSuchAlert(String),
    /// The folder or a file cannot be used.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no database any more, or a part of one.
    #[error(
        "the store {path} is damaged ({error}): move it away with the files beside it that begin with its name; `phiwatch run` makes it \
         again from the history, without what was not drained in the last minute before"
    )]
    Damaged {
        /// The file; its name alone where it is found later than at the opening.
        path: PathBuf,
        /// What the database says.
        error: rusqlite::Error,
    },
    /// The database refuses; disk full and busy are worth another try.
    #[error("the store: {0}")]
    Database(rusqlite::Error),
    /// The program is stopping.
    #[error("the program is stopping")]
    Stopping,
    /// A stored value is not what this program writes.
    #[error("the store holds a value that cannot be read in {0}")]
    Unreadable(&'static str),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { path: FILE.into(), error }
            }
            _ => StoreError::Database(error),
        }
    }
}

impl StoreError {
    /// The same with the whole path of a damaged file.
    fn at(self, path: &Path) -> StoreError {
        match self {
            StoreError::Damaged { error, .. } => StoreError::Damaged { path: path.to_owned(), error },
            other => other,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything here.
    pub fn retry(&self) -> bool {
        match self {
            StoreError::Database(rusqlite::Error::SqliteFailure(failure, _)) => matches!(
                failure.code,
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
            ),
            StoreError::Locked(_) => true,
            _ => false,
        }
    }
}

impl Store {
    /// Opens the store in `dir` for writing and makes it where it is missing: folder 0700, file 0600, WAL, every commit on disk.
    ///
    /// # Errors
    /// Where another process writes, the file is of a newer version, or the disk refuses.
    pub fn open(dir: &Path, seal: Arc<dyn Seal>) -> Result<Store, StoreError> {
        let at = |path: &Path, error| StoreError::File { path: path.to_path_buf(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| at(dir, e))?;
        let lock = lock(&dir.join("store.lock"))?;
        let path = dir.join(FILE);
        // Made by us first, so that it and the files that SQLite puts beside it are never readable to others.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(|e| at(&path, e))?;
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(|e| at(&path, e))?;
        let connection = writing(&path).map_err(|error| error.at(&path))?;
        Ok(Store { connection: Mutex::new(connection), seal, _lock: Some(lock) })
    }

    /// Looks through the whole store in `dir` for damage.
    ///
    /// # Errors
    /// Where there is any, or the store cannot be read.
    pub fn verify(dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE);
        let found = reading(&path).and_then(|connection| {
            Ok(connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?)
        });
        match found.map_err(|error| error.at(&path))?.as_str() {
            "ok" => Ok(()),
            wrong => {
                let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                let error = rusqlite::Error::SqliteFailure(failure, Some(wrong.to_owned()));
                Err(StoreError::Damaged { path, error })
            }
        }
    }

    /// Whether there is a store in a folder.
    pub fn is_there(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Opens the store in `dir` for looking things up while another process may be writing.
    ///
    /// # Errors
    /// Where it is missing or unreadable; writing methods fail on what this returns.
    pub fn read(dir: &Path, seal: Arc<dyn Seal>) -> Result<Store, StoreError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(StoreError::Missing(path));
        }
        let connection = reading(&path).map_err(|error| error.at(&path))?;
        Ok(Store { connection: Mutex::new(connection), seal, _lock: None })
    }

    /// A short name for a subject that says nothing without the key: the same person has the same one in every notification.
    pub fn pseudonym(&self, subject: &crate::event::Subject) -> String {
        let hash = self.seal.hash("pseudonym", &format!("{}/{}", subject.kind.as_str(), subject.id));
        let digits: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{digits}", subject.kind.as_str())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic in another thread cannot leave SQLite half-way: an unfinished transaction was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

fn writing(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    common(&connection)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

fn reading(path: &Path) -> Result<Connection, StoreError> {
    // WAL needs write access to the shared-memory file beside it even for reading; the pragma below refuses our own writes.
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    common(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    // SQLite opens anything: that it is no database, or cut off, shows when it is read.
    match schema::version(&connection)? {
        0 => Err(StoreError::Missing(path.to_owned())),
        _ => Ok(connection),
    }
}

fn common(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let at = |error| StoreError::File { path: path.to_path_buf(), error };
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(at(error)),
    }
}

/// What the tests of this module and of `notify` start from.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use crate::event::alert::{Evidence, MadeBy, Patients, Window};
    use crate::event::{Alert, Class, Day, Disposition, Raised, Severity, State, Subject, SubjectKind, Time};

    /// A store in a folder of its own, gone with the returned guard.
    pub fn store() -> (Arc<Store>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Arc::new(AesSeal::new(&[1; 32]))).unwrap();
        (Arc::new(store), dir)
    }

    /// A high, notified, interrupting alert on one user.
    pub fn raised(user: &str, revision: u32) -> Raised {
        let subject = Subject { kind: SubjectKind::User, id: user.to_owned() };
        let day = Day(20_000);
        let alert = Alert {
            schema: "phiwatch.alert/1".into(),
            alert_id: Alert::id("mass-query", &subject, day),
            detection_id: "mass-query.distinct-patients".into(),
            class: Class::Budgeted,
            title: "Unusually many patients".into(),
            severity: Severity::High,
            subject,
            window: Window { start: "2024-10-04T09:00:00Z".into(), end: "2024-10-05T09:00:00Z".into() },
            raised_at: "2024-10-04T15:00:00Z".into(),
            score: 80.0,
            p_value: Some(1e-6),
            reason: format!("{user} opened 412 charts on Friday; usual is 31."),
            facts: serde_json::Map::new(),
            evidence: Evidence { count: 412, event_ids: vec!["e1".into()] },
            patients: Patients { count: 412 },
            references: vec!["45 CFR 164.308(a)(1)(ii)(D)".into()],
            revision,
            settled: false,
            episode: None,
            state: State::Open,
            disposition: Disposition::Notified,
            made_by: MadeBy { version: "0.1.0".into(), settings: "s".into(), rules: "r".into(), rosters: "o".into() },
        };
        let at = Time::parse("2024-10-04T15:00:00Z").unwrap();
        Raised { alert, day, at, interrupts: true, routing: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Arc<dyn Seal> {
        Arc::new(AesSeal::new(&[1; 32]))
    }

    #[test]
    fn one_writer_and_any_number_of_readers() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("history.state");
        assert!(matches!(Store::read(&state, seal()), Err(StoreError::Missing(_))));
        let writer = Store::open(&state, seal()).unwrap();
        let second = Store::open(&state, seal()).unwrap_err();
        assert!(matches!(second, StoreError::Locked(_)) && second.retry());
        let reader = Store::read(&state, seal()).unwrap();
        assert_eq!(reader.list(&Filter::default()).unwrap().len(), 0);
        drop(writer);
        Store::open(&state, seal()).unwrap();
    }

    #[test]
    fn files_are_readable_to_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let store = Store::open(&state, seal()).unwrap();
        store.raise(&[fixture::raised("u1", 1)], &|_| vec![], crate::event::Time(0)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        for entry in std::fs::read_dir(&state).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), seal()).unwrap());
        let raw = Connection::open(dir.path().join(FILE)).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
        drop(raw);
        assert!(matches!(Store::open(dir.path(), seal()), Err(StoreError::Newer { found: 99, .. })));
    }

    #[test]
    fn a_damaged_file_is_named_with_what_to_do() {
        let check = |damage: &dyn Fn(&mut Vec<u8>)| {
            let dir = tempfile::tempdir().unwrap();
            drop(Store::open(dir.path(), seal()).unwrap());
            let path = dir.path().join(FILE);
            assert!(Store::verify(dir.path()).is_ok());
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let opened = [
                Store::open(dir.path(), seal()).unwrap_err(),
                Store::read(dir.path(), seal()).unwrap_err(),
                Store::verify(dir.path()).unwrap_err(),
            ];
            for error in opened {
                let said = error.to_string();
                assert!(
                    !error.retry() && said.contains(path.to_str().unwrap()) && said.contains("move it away"),
                    "{said}"
                );
            }
        };
        check(&|bytes| bytes.fill(b'x'));
        check(&|bytes| bytes.truncate(bytes.len() / 2));
    }

    #[test]
    fn a_page_that_is_damaged_is_found_by_who_looks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), seal()).unwrap());
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let page = bytes.len() - 4096;
        bytes[page..].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Store::verify(dir.path()), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn nothing_on_disk_names_a_person() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), seal()).unwrap();
        let now = crate::event::Time(5);
        let raised = fixture::raised("canary-user", 1);
        store.raise(std::slice::from_ref(&raised), &|_| vec!["mail".into()], now).unwrap();
        let verdict = Verdict {
            seq: 0,
            alert_id: raised.alert.alert_id.clone(),
            ruling: Ruling::Justified,
            reason: "canary-reason".into(),
            who: "canary-officer".into(),
            at: now,
        };
        store.add_verdict(&verdict).unwrap();
        store
            .add_mute(&Mute {
                seq: 0,
                detection: "*".into(),
                subject: Some(raised.alert.subject.clone()),
                reason: "canary-why".into(),
                who: "canary-officer".into(),
                at: now,
                until: crate::event::Time(9),
            })
            .unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"canary"));
        }
    }
}
