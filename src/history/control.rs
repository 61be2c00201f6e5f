//! The control log: every input of the engine that is no event, in the order in which it takes effect.
//!
//! Entries are appended and forced to the disk before anything that depends on them leaves. Files hold frames of `length (u32) ·
//! first 8 bytes of SHA-256 · body`; a body is sealed (or plain where encryption is off) and holds its number and the hash of the
//! body before it, so that an entry that was taken out, exchanged or put elsewhere is noticed. A torn last frame was never
//! acknowledged and is cut off (and kept beside) when the log is opened for writing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{HistoryError, layout};
use crate::event::Time;
use crate::keys::{Keyring, write_new};

/// A file is followed by the next when it has this many bytes.
const FILE_BYTES: u64 = 8 << 20;
/// Bytes before the body of a frame.
const FRAME: usize = 12;

/// One entry of the control log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number, from 1, without a hole.
    pub number: u64,
    /// What kind of input; the words belong to the caller.
    pub kind: String,
    /// When it was appended.
    pub at: Time,
    /// The input, in the caller's form.
    pub bytes: Vec<u8>,
    /// Hash of the body before.
    before: [u8; 32],
}

/// The control log, open for appending.
pub(super) struct Control {
    /// The name of its folder; entries are sealed for it.
    name: &'static str,
    folder: PathBuf,
    keyring: Option<Arc<Keyring>>,
    last: u64,
    hash: [u8; 32],
    /// The file that is appended to, and where its last whole frame ends; `None` where there is no file yet.
    end: Option<(PathBuf, u64)>,
}

impl Control {
    /// Opens the log `name` below `dir`, cutting a torn last frame.
    pub fn open(dir: &Path, name: &'static str, keyring: Option<Arc<Keyring>>) -> Result<Control, HistoryError> {
        let folder = dir.join(name);
        layout::make_folder(&folder)?;
        let mut control = Control { name, folder, keyring, last: 0, hash: [0; 32], end: None };
        let files = files(&control.folder)?;
        for (index, path) in files.iter().enumerate() {
            let whole = control.follow(path, &mut |_| {})?;
            if whole < length(path)? {
                if index + 1 < files.len() {
                    return Err(damaged(path, "a frame in the middle of the log is not whole"));
                }
                cut(path, whole)?;
            }
            control.end = Some((path.clone(), whole));
        }
        Ok(control)
    }

    /// Appends an entry; when this returns, the disk has it. Gives back its number.
    pub fn append(&mut self, kind: &str, at: Time, bytes: &[u8]) -> Result<u64, HistoryError> {
        let number = self.last + 1;
        let entry = Entry { number, kind: kind.into(), at, bytes: bytes.into(), before: self.hash };
        let plain = postcard::to_stdvec(&entry).expect("an entry is written in memory");
        let body = match &self.keyring {
            Some(keyring) => keyring.seal(&self.place(number), at, &plain)?,
            None => plain,
        };
        let hash: [u8; 32] = Sha256::digest(&body).into();
        let mut frame = u32::try_from(body.len()).map_err(|_| too_long())?.to_le_bytes().to_vec();
        frame.extend_from_slice(&hash[..8]);
        frame.extend_from_slice(&body);
        self.append_frame(number, &frame)?;
        (self.last, self.hash) = (number, hash);
        Ok(number)
    }

    /// Every entry in order.
    pub fn read(dir: &Path, name: &'static str, keyring: Option<Arc<Keyring>>) -> Result<Vec<Entry>, HistoryError> {
        let mut control = Control { name, folder: dir.join(name), keyring, last: 0, hash: [0; 32], end: None };
        let mut entries = Vec::new();
        let files = files(&control.folder)?;
        for (index, path) in files.iter().enumerate() {
            let whole = control.follow(path, &mut |entry| entries.push(entry))?;
            // A writer may be in the middle of its last frame, of no other.
            if index + 1 < files.len() && whole < length(path)? {
                return Err(damaged(path, "a frame in the middle of the log is not whole"));
            }
        }
        Ok(entries)
    }

    /// Where an entry stands, for its sealing.
    fn place(&self, number: u64) -> String {
        format!("{}/{number}", self.name)
    }

    /// A frame that was not acknowledged is taken back, whatever of it the disk has: what follows it would not be found. Where taking
    /// back fails too, the next append does it first.
    fn append_frame(&mut self, number: u64, frame: &[u8]) -> Result<(), HistoryError> {
        let (path, whole) = match &self.end {
            Some((path, whole)) if *whole < FILE_BYTES => (path.clone(), *whole),
            _ => (self.folder.join(format!("{number:012}.log")), 0),
        };
        let wrong = || HistoryError::io(&path);
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file: File = options.open(&path).map_err(wrong())?;
        if length(&path)? > whole {
            file.set_len(whole).and_then(|()| file.sync_all()).map_err(wrong())?;
        }
        let written = file.write_all(frame).and_then(|()| file.sync_all()).map_err(wrong());
        if let Err(error) = written.and_then(|()| layout::sync_folder(&self.folder)) {
            drop(file.set_len(whole));
            return Err(error);
        }
        self.end = Some((path, whole + frame.len() as u64));
        Ok(())
    }

    /// Reads the whole frames of one file, checking the chain; returns where they end.
    fn follow(&mut self, path: &Path, take: &mut dyn FnMut(Entry)) -> Result<u64, HistoryError> {
        let bytes = std::fs::read(path).map_err(HistoryError::io(path))?;
        let mut rest = bytes.as_slice();
        while let Some((body, after)) = frame(rest) {
            let hash: [u8; 32] = Sha256::digest(body).into();
            if hash[..8] != rest[4..FRAME] {
                // Only the very end can be torn; elsewhere it was altered.
                match after.is_empty() {
                    true => break,
                    false => return Err(damaged(path, "a frame was altered")),
                }
            }
            let number = self.last + 1;
            let plain = match &self.keyring {
                Some(keyring) => keyring.open_sealed(&self.place(number), body)?,
                None => body.to_vec(),
            };
            let entry: Entry = postcard::from_bytes(&plain).map_err(|_| damaged(path, "an entry cannot be read"))?;
            if entry.number != number || entry.before != self.hash {
                return Err(damaged(path, "an entry does not follow the one before it"));
            }
            take(entry);
            (self.last, self.hash, rest) = (number, hash, after);
        }
        if holds_a_frame(rest) {
            return Err(damaged(path, "a frame in the middle of the log is not whole"));
        }
        Ok((bytes.len() - rest.len()) as u64)
    }
}

/// The body of the first frame and what follows it, where it is whole.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    bytes.get(FRAME..)?.split_at_checked(length)
}

/// Whether a whole frame lies behind the start of what looks like a torn end: nothing was ever appended behind one, so that it was
/// altered. To cut it off would lose what follows.
fn holds_a_frame(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| {
        let body = frame(&bytes[at..]).map(|(body, _)| body).filter(|body| !body.is_empty());
        body.is_some_and(|body| Sha256::digest(body)[..8] == bytes[at + 4..at + FRAME])
    })
}

/// The files of the log in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, HistoryError> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HistoryError::io(folder)(error)),
    };
    let mut files = Vec::new();
    for entry in listed {
        let path = entry.map_err(HistoryError::io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Cuts a file at `whole`. What is cut is kept beside it: a damaged length looks like a torn end and may be worth a look.
fn cut(path: &Path, whole: u64) -> Result<(), HistoryError> {
    let bytes = std::fs::read(path).map_err(HistoryError::io(path))?;
    let torn = path.with_extension(format!("{whole}-{}.torn", layout::random_hex()?));
    write_new(&torn, &bytes[whole as usize..], 0o600).map_err(HistoryError::io(&torn))?;
    tracing::warn!(kept = %torn.display(), "the log ended in a part of an entry, as after a power cut; it was cut off and kept");
    let file = OpenOptions::new().write(true).open(path).map_err(HistoryError::io(path))?;
    file.set_len(whole).and_then(|()| file.sync_all()).map_err(HistoryError::io(path))
}

fn length(path: &Path) -> Result<u64, HistoryError> {
    Ok(std::fs::metadata(path).map_err(HistoryError::io(path))?.len())
}

fn damaged(path: &Path, what: &str) -> HistoryError {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = format!("{}/{}", path.parent().map(name).unwrap_or_default(), name(path));
    HistoryError::Damaged { file, what: what.into() }
}

fn too_long() -> HistoryError {
    HistoryError::Damaged { file: "control".into(), what: "an entry of more than 4 GiB was refused".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeySource;

    fn keyring(dir: &Path) -> Option<Arc<Keyring>> {
        let kek = KeySource::File(dir.join("k.key"));
        let path = dir.join("keyring.json");
        let opened = match kek.read() {
            Ok(kek) => Keyring::open(&path, kek),
            Err(_) => Keyring::create(&path, kek.create().unwrap()),
        };
        Some(Arc::new(opened.unwrap()))
    }

    fn kinds(dir: &Path) -> Result<Vec<String>, HistoryError> {
        let entries = Control::read(dir, "control", keyring(dir))?;
        Ok(entries.into_iter().map(|entry| format!("{} {}", entry.number, entry.kind)).collect())
    }

    #[test]
    fn a_torn_end_is_cut_and_the_rest_is_kept() {
        let whole = {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Control::open(dir.path(), "control", None).unwrap();
            log.append("a", Time(0), b"one").unwrap();
            let first = length(&dir.path().join("control/000000000001.log")).unwrap();
            log.append("b", Time(0), b"two").unwrap();
            (first, std::fs::read(dir.path().join("control/000000000001.log")).unwrap())
        };
        for end in 0..=whole.1.len() {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("control")).unwrap();
            std::fs::write(dir.path().join("control/000000000001.log"), &whole.1[..end]).unwrap();
            let mut log = Control::open(dir.path(), "control", None).unwrap();
            log.append("c", Time(0), b"three").unwrap();
            let kept = if end == whole.1.len() { 2 } else { usize::from(end as u64 >= whole.0) };
            let entries = Control::read(dir.path(), "control", None).unwrap();
            assert_eq!(entries.len(), kept + 1, "cut at {end}");
            assert_eq!(entries[kept].bytes, b"three");
        }
    }

    /// What a full disk, or a write that was reported as failed, may leave behind the last whole frame.
    #[test]
    fn what_a_failed_append_left_is_taken_back_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Control::open(dir.path(), "control", keyring(dir.path())).unwrap();
        log.append("a", Time(0), b"one").unwrap();
        let path = dir.path().join("control/000000000001.log");
        let whole = std::fs::read(&path).unwrap();
        for left in [&whole[..], &whole[..5], b"x"] {
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, [&before, left].concat()).unwrap();
            log.append("b", Time(0), b"two").unwrap();
        }
        assert_eq!(kinds(dir.path()).unwrap(), ["1 a", "2 b", "3 b", "4 b"]);
        drop(log);
        // The same in the file that a first append would have made.
        let dir = tempfile::tempdir().unwrap();
        let mut log = Control::open(dir.path(), "control", None).unwrap();
        std::fs::write(dir.path().join("control/000000000001.log"), &whole[..9]).unwrap();
        log.append("a", Time(0), b"one").unwrap();
        assert_eq!(Control::read(dir.path(), "control", None).unwrap().len(), 1);
    }

    #[test]
    fn an_altered_or_exchanged_entry_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Control::open(dir.path(), "control", keyring(dir.path())).unwrap();
        for kind in ["roster", "verdict", "idle"] {
            log.append(kind, Time(1_795_000_000_000_000), b"patient-77").unwrap();
        }
        assert_eq!(kinds(dir.path()).unwrap(), ["1 roster", "2 verdict", "3 idle"]);
        let path = dir.path().join("control/000000000001.log");
        let whole = std::fs::read(&path).unwrap();
        assert!(!whole.windows(10).any(|window| window == b"patient-77"));
        let (first, rest) = frame(&whole).unwrap();
        let first_end = FRAME + first.len();
        let second_end = first_end + FRAME + frame(rest).unwrap().0.len();
        for i in (0..FRAME).chain((FRAME..first_end).step_by(7)) {
            let mut broken = whole.clone();
            broken[i] ^= 1;
            std::fs::write(&path, &broken).unwrap();
            assert!(kinds(dir.path()).is_err(), "byte {i}");
            // Nor is it taken for a torn end, which would be cut off with all that follows.
            assert!(Control::open(dir.path(), "control", keyring(dir.path())).is_err(), "byte {i}");
            assert_eq!(std::fs::read(&path).unwrap(), broken);
        }
        let exchanged = [&whole[first_end..second_end], &whole[..first_end], &whole[second_end..]].concat();
        std::fs::write(&path, exchanged).unwrap();
        assert!(kinds(dir.path()).is_err());
        std::fs::write(&path, [&whole[..first_end], &whole[second_end..]].concat()).unwrap();
        assert!(kinds(dir.path()).is_err(), "an entry was taken out");
    }
}
