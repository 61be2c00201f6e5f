//! The edge that reads the roster folder: once, and again whenever it has changed and come to rest.
//!
//! Sizes and times of change are compared from poll to poll, since notices from the kernel do not cross network file systems. A folder
//! that still changes between two polls is being written and is left alone. Nothing here looks into a file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

/// A roster file larger than this is taken for a mistake, in bytes.
pub const FILE_MAX: u64 = 8 << 30;

/// Names and contents of the files of a roster folder, by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// Why the folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no such folder.
    #[error("the folder {0} does not exist")]
    Missing(PathBuf),
    /// The system refused or failed.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Larger than any such file should be.
    #[error("{path} has {bytes} bytes; a file here has at most {most}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What it may have.
        most: u64,
    },
}

impl FolderError {
    /// Whether the next poll may go better without anybody doing something.
    pub fn retry(&self) -> bool {
        match self {
            // A folder that is being replaced, or a mount that comes back.
            FolderError::Missing(_) => true,
            FolderError::Unreadable { cause, .. } => cause.kind() != io::ErrorKind::PermissionDenied,
            FolderError::TooLarge { .. } => false,
        }
    }
}

/// Reads all `.csv` and `.jsonl` files of a folder, by name; hidden files are left out.
pub fn read_folder(dir: &Path) -> Result<Files, FolderError> {
    let mut files = Vec::new();
    for name in look(dir)?.into_keys() {
        let path = dir.join(&name);
        let bytes = fs::read(&path).map_err(|cause| FolderError::Unreadable { path, cause })?;
        files.push((name, bytes));
    }
    Ok(files)
}

/// What lies in a folder.
pub(super) fn entries(dir: &Path) -> Result<impl Iterator<Item = Result<fs::DirEntry, FolderError>>, FolderError> {
    let unreadable = |cause| FolderError::Unreadable { path: dir.to_owned(), cause };
    let entries = fs::read_dir(dir).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(dir.to_owned()),
        _ => unreadable(cause),
    })?;
    Ok(entries.map(move |entry| entry.map_err(unreadable)))
}

/// Size and time of change of each file, by name.
pub(super) type Look = BTreeMap<String, (u64, Option<SystemTime>)>;

/// Watches a folder of rosters, or of rules, by polling.
#[derive(Debug)]
pub struct FolderWatch {
    dir: PathBuf,
    look: fn(&Path) -> Result<Look, FolderError>,
    read: fn(&Path) -> Result<Files, FolderError>,
    last: Option<Look>,
    taken: Option<Look>,
    content: Option<[u8; 32]>,
}

impl FolderWatch {
    /// A watch that has seen nothing: the second quiet poll gives the folder as it is.
    pub fn new(dir: impl Into<PathBuf>) -> FolderWatch {
        FolderWatch::by(dir.into(), look, read_folder)
    }

    /// A watch that knows the folder as it stands: whoever reads it after this need not read it again.
    pub fn standing(dir: impl Into<PathBuf>) -> FolderWatch {
        let mut watch = FolderWatch::new(dir);
        watch.last = look(&watch.dir).ok();
        watch.taken.clone_from(&watch.last);
        watch
    }

    /// A watch of a folder that is looked at and read in another way.
    pub(super) fn by(
        dir: PathBuf,
        look: fn(&Path) -> Result<Look, FolderError>,
        read: fn(&Path) -> Result<Files, FolderError>,
    ) -> FolderWatch {
        FolderWatch { dir, look, read, last: None, taken: None, content: None }
    }

    /// Whether the folder was taken as it stood when it was looked at last.
    pub fn is_settled(&self) -> bool {
        self.last == self.taken
    }

    /// What was taken could not be used: the next quiet poll gives it again.
    pub fn forget(&mut self) {
        (self.taken, self.content) = (None, None);
    }

    /// The folder's content where it has changed since the last answer and stood still for two polls.
    ///
    /// # Errors
    /// Where the folder cannot be read; the watch stays as it is and the next poll tries again.
    pub fn poll(&mut self) -> Result<Option<Files>, FolderError> {
        if self.has_changed()? { self.take() } else { Ok(None) }
    }

    /// Whether the folder has changed since the last answer and stood still for two polls; nothing is read for that.
    ///
    /// # Errors
    /// Where the folder cannot be looked at.
    pub fn has_changed(&mut self) -> Result<bool, FolderError> {
        let now = (self.look)(&self.dir)?;
        let still = self.last.as_ref() == Some(&now);
        let known = self.taken.as_ref() == Some(&now);
        self.last = Some(now);
        Ok(still && !known)
    }

    /// Reads the folder; nothing where it changes meanwhile, or holds what it held before.
    ///
    /// # Errors
    /// Where the folder cannot be read; the watch stays as it is and the next poll tries again.
    pub fn take(&mut self) -> Result<Option<Files>, FolderError> {
        let now = (self.look)(&self.dir)?;
        if self.last.as_ref() != Some(&now) {
            self.last = Some(now);
            return Ok(None);
        }
        let files = (self.read)(&self.dir)?;
        let after = (self.look)(&self.dir)?;
        if after != now {
            self.last = Some(after);
            return Ok(None);
        }
        self.taken = Some(now);
        let content = Some(fingerprint(&files));
        // Written again with the same content: nothing has changed.
        if self.content == content {
            return Ok(None);
        }
        self.content = content;
        Ok(Some(files))
    }
}

fn look(dir: &Path) -> Result<Look, FolderError> {
    let mut found = Look::new();
    for entry in entries(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !(name.ends_with(".csv") || name.ends_with(".jsonl")) {
            continue;
        }
        let path = entry.path();
        // Follows links: rosters are often mounted through them.
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(FolderError::Unreadable { path, cause }),
        };
        if !meta.is_file() {
            continue;
        }
        if meta.len() > FILE_MAX {
            return Err(FolderError::TooLarge { path, bytes: meta.len(), most: FILE_MAX });
        }
        found.insert(name, (meta.len(), meta.modified().ok()));
    }
    Ok(found)
}

fn fingerprint(files: &[(String, Vec<u8>)]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (name, bytes) in files {
        for part in [name.as_bytes(), bytes.as_slice()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Writes a file with a time of change of its own, so that no test hangs on the clock.
    fn write(dir: &Path, name: &str, text: &str, second: u64) {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
    }

    fn polled(watch: &mut FolderWatch) -> Option<String> {
        let files = watch.poll().unwrap()?;
        let shown: Vec<String> =
            files.iter().map(|(name, bytes)| format!("{name}={}", String::from_utf8_lossy(bytes))).collect();
        Some(shown.join(" "))
    }

    #[test]
    fn reads_what_looks_like_a_roster() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "users.csv", "b", 1);
        write(dir.path(), "patients.jsonl", "a", 1);
        write(dir.path(), ".users.csv.swp", "x", 1);
        write(dir.path(), "users.csv.tmp", "x", 1);
        fs::create_dir(dir.path().join("old.csv")).unwrap();
        let files = read_folder(dir.path()).unwrap();
        assert_eq!(files, [("patients.jsonl".into(), b"a".to_vec()), ("users.csv".into(), b"b".to_vec())]);
        let gone = read_folder(&dir.path().join("none")).unwrap_err();
        assert!(matches!(gone, FolderError::Missing(_)) && gone.retry());
    }

    #[test]
    fn waits_until_the_folder_is_still() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new(dir.path());
        write(dir.path(), "users.csv", "half", 1);
        assert_eq!(polled(&mut watch), None, "seen for the first time");
        write(dir.path(), "users.csv", "half and more", 2);
        assert_eq!(polled(&mut watch), None, "it grew");
        assert_eq!(polled(&mut watch).as_deref(), Some("users.csv=half and more"));
        assert_eq!(polled(&mut watch), None, "nothing new");
        write(dir.path(), "users.csv", "half and less", 3);
        assert_eq!(polled(&mut watch), None, "same size, other time");
        assert_eq!(polled(&mut watch).as_deref(), Some("users.csv=half and less"));
        write(dir.path(), "users.csv", "half and less", 4);
        assert_eq!([polled(&mut watch), polled(&mut watch), polled(&mut watch)], [None, None, None], "same content");
        fs::remove_file(dir.path().join("users.csv")).unwrap();
        write(dir.path(), "sites.csv", "s", 5);
        assert_eq!(polled(&mut watch), None);
        assert_eq!(polled(&mut watch).as_deref(), Some("sites.csv=s"));
    }

    #[test]
    fn what_stood_at_the_beginning_is_told_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "users.csv", "x", 1);
        let mut watch = FolderWatch::standing(dir.path());
        assert_eq!([polled(&mut watch), polled(&mut watch), polled(&mut watch)], [None, None, None]);
        write(dir.path(), "users.csv", "y", 2);
        assert_eq!(polled(&mut watch), None);
        assert_eq!(polled(&mut watch).as_deref(), Some("users.csv=y"));
        let mut missing = FolderWatch::standing(dir.path().join("later"));
        assert!(missing.poll().is_err());
    }
}
