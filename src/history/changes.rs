//! What the control log tells: every input of the engine that is no record, with the place at which it takes effect.
//!
//! An entry is written before anything that depends on it leaves. Rosters, settings, verdicts and partitions that time leaves behind take
//! effect between two segments:
//! everything before is in commits, so that a rebuild reads the segments up to `Place::segment`, lets time come as far as `Place::mark`
//! says, and only then applies the change. The other entries are for those who want to know what was done and why; a rebuild does
//! without them, because rows say by their flags what was decided about them.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::control::Control;
use super::log::Positions;
use super::tables::Table;
use super::{History, HistoryError, Reader, blobs};
use crate::event::effects::Mark;
use crate::event::{Day, Origin, Time};
use crate::keys::Keyring;

/// The kind of blob under which roster versions are kept.
const ROSTER: &str = "roster";
/// The kind of blob under which versions of the rules are kept.
const RULES: &str = "rules";
/// The kind of blob under which sealed snapshots are kept.
const SNAPSHOT: &str = "snapshot";

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Another roster version is in force; its bytes are kept under `hash`.
    Roster {
        /// Hash of the version.
        hash: String,
        /// The zone of plain dates in rows without a site, by its IANA name.
        zone: String,
    },
    /// Other rules are in force; their files are kept under `hash`.
    Rules {
        /// Hash of the version.
        hash: String,
    },
    /// Other settings of the engine are in force.
    Settings {
        /// The settings, as JSON.
        json: String,
    },
    /// A person's verdict on an alert.
    Verdict {
        /// What names this verdict, and no other.
        id: String,
        /// What the engine goes by, as JSON; none where the alert is not known any more.
        #[serde(default)]
        ruled: Option<String>,
    },
    /// Time went on although no record came.
    Advance {
        /// How far it has come.
        to: Time,
        /// Why: `idle`, `ended`, `left` or `passed`.
        why: String,
    },
    /// The reading of a partition begins of which nothing was read before.
    Begun {
        /// The partition.
        origin: Origin,
        /// The position key under which it is read.
        key: String,
        /// First offset that is read.
        from: i64,
    },
    /// A partition is not read any more, because its log is not the one that was read before. Told once for each stop.
    Stopped {
        /// The partition.
        origin: Origin,
        /// The position key under which it was read.
        key: String,
        /// First offset that was not read.
        position: i64,
        /// It was another log by its ids; else it ended too early.
        #[serde(default)]
        other: bool,
    },
    /// A person has decided that a stopped partition is read again.
    Resumed(Resumed),
    /// Time no longer waits for a partition that holds it back, or waits for it again. Its records are read all the same.
    Left {
        /// The partition.
        origin: Origin,
        /// Whether it is left behind from now on.
        left: bool,
        /// Who decided it; a setting counts as `run`.
        who: String,
        /// Why.
        reason: String,
    },
    /// The rosters were not renewed for long, so that whoever is new is not known.
    Stale {
        /// Since when: the last renewal, and the time that the site allows.
        since: Time,
        /// When they were renewed; `None` while they are old.
        until: Option<Time>,
    },
    /// A detector could not judge everybody on a settled day. Told again where a day settles again; the last word counts.
    Unjudged {
        /// The family.
        detector: String,
        /// The local day.
        day: Day,
        /// Accounts that it judged.
        judged: u64,
        /// Accounts that it did not.
        unjudged: u64,
        /// It is switched off.
        #[serde(default)]
        off: bool,
    },
    /// A detector or a rule met a bug, and nothing is asked of it any more.
    Off {
        /// The family of the detector, or the id of the rule.
        part: String,
        /// The version that met it: that of the program, or the hash of the rule.
        version: String,
    },
    /// What the engine remembers at this place is sealed for good, so that a rebuild can begin here; a crash may have kept it from being
    /// written.
    Sealed {
        /// Under which name.
        name: String,
        /// How far time had come.
        watermark: Time,
    },
    /// Everything settled at the end of the input, on a copy of the engine.
    Close,
    /// Input files were read.
    Files {
        /// The files.
        files: Vec<FileRead>,
    },
    /// An input file was read, as earlier versions wrote it.
    File {
        /// Hash of its decompressed bytes up to the position, in hexadecimal digits.
        sha256: String,
        /// The position: number of the next line or record.
        next: i64,
    },
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRead {
    /// Hash of its decompressed bytes up to the position, in hexadecimal digits.
    pub sha256: String,
    /// The position: number of the next line or record.
    pub next: i64,
}

impl Change {
    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::Roster { .. } => ROSTER,
            Change::Rules { .. } => RULES,
            Change::Settings { .. } => "settings",
            Change::Verdict { .. } => "verdict",
            Change::Advance { .. } => "advance",
            Change::Begun { .. } => "begun",
            Change::Stopped { .. } => "stopped",
            Change::Resumed(_) => "resumed",
            Change::Left { .. } => "left",
            Change::Stale { .. } => "stale",
            Change::Unjudged { .. } => "unjudged",
            Change::Off { .. } => "off",
            Change::Sealed { .. } => "sealed",
            Change::Close => "close",
            Change::File { .. } | Change::Files { .. } => "file",
        }
    }

    /// Whether a rebuild of the engine has to apply it, and at its place.
    pub fn is_barrier(&self) -> bool {
        use Change::*;
        matches!(self, Roster { .. } | Rules { .. } | Settings { .. } | Verdict { .. } | Left { .. } | Off { .. })
    }

    /// Whether segments before it must not be joined with those behind it: a rebuild reads up to it, or from it on.
    pub fn divides(&self) -> bool {
        self.is_barrier() || matches!(self, Change::Sealed { .. })
    }
}

/// A stopped partition that is read again: as the log that is there now, under a position key of its own. How many records the old log
/// held behind the position nobody knows, which is a recorded gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The partition.
    pub origin: Origin,
    /// The position key under which it was read before.
    pub before: String,
    /// Where the old log was left: first offset that was not read.
    pub position: i64,
    /// The position key under which it is read now.
    pub key: String,
    /// The offset at which reading begins.
    pub from: i64,
    /// Who decided it.
    pub who: String,
    /// Why.
    pub reason: String,
}

impl Resumed {
    /// Whether it is the log that was read before, from where it was left: nothing of it is lost.
    pub fn goes_on(&self) -> bool {
        (&self.before, self.position) == (&self.key, self.from)
    }
}

/// Where a change takes effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The next offset of each origin, by position key.
    pub positions: Positions,
    /// Written are only the positions that have moved since the change before; whoever reads the log is given all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) moved: bool,
    /// The segments of events up to this number lie before it.
    pub segment: u64,
    /// How far time had come; `None` before it has begun.
    pub mark: Option<Mark>,
}

/// One change of the control log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its number in the log, from 1.
    pub number: u64,
    /// Where it takes effect.
    pub place: Place,
    /// What changed.
    pub change: Change,
}

impl History {
    /// Appends a change to the control log, at the place up to which effects were staged; when this returns, the disk has it.
    ///
    /// # Errors
    /// Where the disk refuses: the change must not take effect then.
    pub fn note(&mut self, at: Time, change: &Change, mark: Option<Mark>) -> Result<u64, HistoryError> {
        let reached = self.reached();
        // A drop folder has a position for each of its files, so that the log would grow with the square of their number.
        let before = self.noted.as_ref();
        let has_moved = |(key, next): &(&String, &i64)| before.is_none_or(|before| before.get(*key) != Some(*next));
        let positions = reached.iter().filter(has_moved).map(|(key, next)| (key.clone(), *next)).collect();
        let place = Place { positions, moved: before.is_some(), segment: self.log(Table::Events).version(), mark };
        let bytes = serde_json::to_vec(&(place, change)).expect("a change is plain values");
        let number = self.control_append(change.kind(), at, &bytes)?;
        self.noted = Some(reached);
        Ok(number)
    }

    /// Every change of the control log, in order.
    ///
    /// # Errors
    /// Where the log cannot be read or was altered.
    pub fn changes(&self) -> Result<Vec<Noted>, HistoryError> {
        changes(self.dir(), self.keyring.clone())
    }

    /// Keeps an accepted roster version, encrypted, under its hash; `bytes` are asked for where it is not kept yet.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn put_roster(&self, hash: &str, at: Time, bytes: &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> {
        self.put_blob(ROSTER, hash, at, bytes)
    }

    /// Keeps roster versions from another thread, before they are in force.
    pub fn roster_keeper(
        &self,
    ) -> impl Fn(&str, Time, &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> + Send + use<> {
        self.keeper(ROSTER)
    }

    /// Keeps sealed snapshots from another thread, under the names that the control log has.
    pub fn snapshot_keeper(
        &self,
    ) -> impl Fn(&str, Time, &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> + Send + use<> {
        self.keeper(SNAPSHOT)
    }

    fn keeper(
        &self,
        kind: &'static str,
    ) -> impl Fn(&str, Time, &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> + Send + use<> {
        let (dir, keyring) = (self.dir().to_owned(), self.keyring.clone());
        move |name, at, bytes| blobs::put(&dir, &keyring, (kind, name), at, bytes)
    }

    /// The sealed snapshot with this name; `None` where it was not written.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn sealed(&self, name: &str) -> Result<Option<Vec<u8>>, HistoryError> {
        self.get_blob(SNAPSHOT, name)
    }

    /// Names of the sealed snapshots that were written, in order.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn seals(&self) -> Result<Vec<String>, HistoryError> {
        self.list_blobs(SNAPSHOT)
    }

    /// The bytes of the roster version with this hash.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] where they are not there: whoever asks has the hash from the control log.
    pub fn roster(&self, hash: &str) -> Result<Vec<u8>, HistoryError> {
        kept(self.dir(), &self.keyring, ROSTER, hash)
    }

    /// Keeps the files of a version of the rules, encrypted, under its hash.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn put_rules(&self, hash: &str, at: Time, bytes: &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> {
        self.put_blob(RULES, hash, at, bytes)
    }

    /// The files of the version of the rules with this hash.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] where they are not there: whoever asks has the hash from the control log.
    pub fn rules(&self, hash: &str) -> Result<Vec<u8>, HistoryError> {
        kept(self.dir(), &self.keyring, RULES, hash)
    }
}

impl Reader {
    /// Every change of the control log, in order.
    ///
    /// # Errors
    /// Where the log cannot be read or was altered.
    pub fn changes(&self) -> Result<Vec<Noted>, HistoryError> {
        changes(&self.dir, self.keyring.clone())
    }

    /// The bytes of the newest accepted roster version; `None` where there never was one.
    ///
    /// # Errors
    /// Where the control log or the version cannot be read.
    pub fn newest_roster(&self) -> Result<Option<Vec<u8>>, HistoryError> {
        let changes = self.changes()?;
        newest_roster(&changes).map(|(hash, _)| kept(&self.dir, &self.keyring, ROSTER, hash)).transpose()
    }
}

/// Hash and zone of the roster version that is in force after these changes.
pub fn newest_roster(changes: &[Noted]) -> Option<(&str, &str)> {
    changes.iter().rev().find_map(|noted| match &noted.change {
        Change::Roster { hash, zone } => Some((hash.as_str(), zone.as_str())),
        _ => None,
    })
}

fn changes(dir: &Path, keyring: Option<Arc<Keyring>>) -> Result<Vec<Noted>, HistoryError> {
    let (mut changes, mut reached) = (Vec::new(), Positions::new());
    for entry in Control::read(dir, "control", keyring)? {
        let read = serde_json::from_slice(&entry.bytes);
        let (mut place, change): (Place, Change) = read.map_err(|_| HistoryError::Damaged {
            file: "control".into(),
            what: format!("entry {} is none that this version knows", entry.number),
        })?;
        match std::mem::take(&mut place.moved) {
            true => reached.extend(std::mem::take(&mut place.positions)),
            false => reached = std::mem::take(&mut place.positions),
        }
        place.positions = reached.clone();
        changes.push(Noted { number: entry.number, place, change });
    }
    Ok(changes)
}

fn kept(dir: &Path, keyring: &Option<Arc<Keyring>>, kind: &str, hash: &str) -> Result<Vec<u8>, HistoryError> {
    blobs::get(dir, keyring, kind, hash)?.ok_or_else(|| HistoryError::Damaged {
        file: format!("blobs/{kind}/{hash}"),
        what: "it is missing, and the control log names it".into(),
    })
}
