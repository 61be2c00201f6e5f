//! What lies in the drop folder, and which of it has come to rest.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Plan;
use crate::ingest::rosters::{FolderError, entries};

/// What ends the name of a file that somebody else is still writing.
const UNFINISHED: [&str; 7] = ["~", ".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp"];

/// What failed with a file is tried again after this.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// By what a file is seen to change: its size, when its content or anything else of it changed, which nobody can set, and its number on
/// the disk.
pub(super) type Stamp = (u64, SystemTime, u64);

/// What lies in the drop folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// Folders below that cannot be looked at, and why; the others were.
    pub unread: Vec<(PathBuf, FolderError)>,
}

impl Found {
    /// The files, and the folders whose files nobody knows.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys().chain(self.unread.iter().map(|(path, _)| path))
    }
}

/// The files of the folder and of the folders directly below it, whoever has finished them or not. Hidden ones, those with the name of
/// something unfinished and what was moved away are left out.
pub(super) fn look(plan: &Plan) -> Result<Found, FolderError> {
    let mut found = Found::default();
    let done = plan.done.as_ref().and_then(|done| done.canonicalize().ok());
    for folder in into(&plan.dir, &mut found.files)? {
        let is_done = done.is_some() && folder.canonicalize().ok() == done;
        if !is_done && let Err(trouble) = into(&folder, &mut found.files) {
            found.unread.push((folder, trouble));
        }
    }
    Ok(found)
}

/// Adds the files of one folder; the folders in it.
fn into(dir: &Path, found: &mut BTreeMap<PathBuf, Stamp>) -> Result<Vec<PathBuf>, FolderError> {
    let mut folders = Vec::new();
    for entry in entries(dir)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy().to_ascii_lowercase();
        if name.starts_with('.') || UNFINISHED.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        // Follows links; what has gone meanwhile is not there.
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() {
            folders.push(path);
        } else if about.is_file() {
            found.insert(path, stamp_of(&about));
        }
    }
    Ok(folders)
}

fn stamp_of(about: &fs::Metadata) -> Stamp {
    let seconds = Duration::new(about.ctime().unsigned_abs(), about.ctime_nsec().unsigned_abs() as u32);
    (about.len(), UNIX_EPOCH + seconds, about.ino())
}

/// For how long a file stands like this, by the clock of this machine.
pub(super) fn age((_, changed, _): Stamp) -> Duration {
    SystemTime::now().duration_since(changed).unwrap_or_default()
}

/// How a file stands at this moment.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|about| stamp_of(&about))
}

/// A file as it was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    stamp: Stamp,
    /// Since when it stands like this, as far as anybody looked.
    since: Instant,
    /// As it was when it was read.
    read: Option<Stamp>,
    /// After a failure it is left alone until then.
    not_before: Option<Instant>,
}

/// All files, from look to look.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<PathBuf, Seen>);

impl Files {
    /// Takes note of what is there now.
    pub fn look(&mut self, found: BTreeMap<PathBuf, Stamp>, now: Instant) {
        self.0.retain(|path, _| found.contains_key(path));
        for (path, stamp) in found {
            let seen = self.0.entry(path).or_insert(Seen { stamp, since: now, read: None, not_before: None });
            if seen.stamp != stamp {
                (seen.stamp, seen.since) = (stamp, now);
            }
        }
    }

    /// Those that were not read as they are.
    pub fn unread(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|(_, seen)| seen.read != Some(seen.stamp)).map(|(path, _)| path.as_path())
    }

    /// Those of them that may be read now: they have not changed for as long as `quiet`, by our own looks. Times of change are those of
    /// another clock, or what somebody has set.
    pub fn ready(&self, quiet: Duration, now: Instant) -> Vec<PathBuf> {
        let stands = |seen: &Seen| now.saturating_duration_since(seen.since) >= quiet;
        let may = |seen: &Seen| seen.not_before.is_none_or(|at| now >= at) && stands(seen);
        self.unread().filter(|path| may(&self.0[*path])).map(Path::to_owned).collect()
    }

    /// Whether it was never read, and nothing has kept it from being read.
    pub fn is_untried(&self, path: &Path) -> bool {
        self.0.get(path).is_some_and(|seen| seen.read.is_none() && seen.not_before.is_none())
    }

    /// How the file stands now.
    pub fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.0.get(path).map(|seen| seen.stamp)
    }

    /// It was read as it stood at `stamp`.
    pub fn set_read(&mut self, path: &Path, stamp: Stamp) {
        if let Some(seen) = self.0.get_mut(path) {
            (seen.read, seen.not_before) = (Some(stamp), None);
        }
    }

    /// It could not be read: it is left alone until `at`.
    pub fn put_off(&mut self, path: &Path, at: Instant) {
        if let Some(seen) = self.0.get_mut(path) {
            seen.not_before = Some(at);
        }
    }
}

/// Moves a file away, and says to where; a name that is taken there gets a number. To another file system it is copied, whole and
/// durable before it goes. A link is moved as a link to the same file.
pub(super) fn put_away(path: &Path, done: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default();
    let mut to = done.join(name);
    for number in 1.. {
        if !to.try_exists()? {
            break;
        }
        let mut numbered = name.to_os_string();
        numbered.push(format!(".{number}"));
        to = done.join(numbered);
    }
    if fs::symlink_metadata(path)?.is_symlink() {
        symlink(fs::canonicalize(path)?, &to)?;
        fs::remove_file(path)?;
        return Ok(to);
    }
    match fs::rename(path, &to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let mut hidden = OsString::from(".");
            hidden.push(to.file_name().unwrap_or_default());
            let part = done.join(hidden);
            let copied = fs::copy(path, &part).and_then(|bytes| match fs::metadata(path)?.len() == bytes {
                true => fs::File::open(&part)?.sync_all(),
                false => Err(io::Error::other("somebody writes to it")),
            });
            if let Err(error) = copied.and_then(|()| fs::rename(&part, &to)) {
                // Half a copy helps nobody, and it may be what fills the disk.
                let _ = fs::remove_file(&part);
                return Err(error);
            }
            fs::remove_file(path)?;
        }
        moved => moved?,
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A file of which each look sees this size; the looks are a second apart. Whether it may be read after each of them, where ten
    /// seconds are asked for, whatever the clock of whoever wrote it says.
    fn check(sizes: &[u64], expected: &[bool]) {
        for changed in [UNIX_EPOCH, SystemTime::now() + 3_600 * SECOND] {
            let begin = Instant::now();
            let mut files = Files::default();
            let found: Vec<bool> = (0..)
                .zip(sizes)
                .map(|(at, size)| {
                    files.look([(PathBuf::from("in/a"), (*size, changed, 1))].into(), begin + at * SECOND);
                    !files.ready(10 * SECOND, begin + at * SECOND).is_empty()
                })
                .collect();
            assert_eq!(found, expected, "{sizes:?}");
        }
    }

    #[test]
    fn what_stands_still_may_be_read() {
        check(&[5], &[false]);
        check(&[5; 12], &[[false; 10].as_slice(), &[true; 2]].concat());
        check(&[[5; 9].as_slice(), &[6; 3]].concat(), &[false; 12]);
    }

    #[test]
    fn what_was_read_is_left_until_it_changes_and_what_failed_for_a_while() {
        let now = Instant::now();
        let path = PathBuf::from("in/a");
        let mut files = Files::default();
        let look = |files: &mut Files, size: u64, at: u32| {
            files.look([(path.clone(), (size, UNIX_EPOCH, 1))].into(), now + at * SECOND);
            files.ready(Duration::ZERO, now + at * SECOND).len()
        };
        assert_eq!(look(&mut files, 5, 0), 1);
        files.put_off(&path, now + 60 * SECOND);
        assert_eq!((look(&mut files, 5, 59), look(&mut files, 5, 60)), (0, 1));
        let stamp = files.stamp(&path).unwrap();
        files.set_read(&path, stamp);
        assert_eq!((look(&mut files, 5, 90), files.unread().count()), (0, 0));
        assert_eq!((look(&mut files, 6, 91), files.unread().count()), (1, 1));
        files.look(BTreeMap::new(), now);
        assert_eq!((files.stamp(&path), files.unread().count()), (None, 0), "what is gone is forgotten");
    }

    #[test]
    fn hidden_and_unfinished_files_and_those_of_deeper_folders_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for folder in ["done", "ward/deep", ".git"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let names = ["a.jsonl", "ward/b.CSV", "ward/c.part", "d.TMP", "e~", ".f", "done/g", "ward/deep/h", ".git/i"];
        for name in names {
            fs::write(dir.join(name), "x").unwrap();
        }
        let plan = |done: Option<&str>| Plan {
            dir: dir.to_owned(),
            done: done.map(|done| dir.join(done)),
            quiet: Duration::ZERO,
        };
        let found = |plan: &Plan| look(plan).unwrap().files.into_keys().collect::<Vec<_>>();
        assert_eq!(found(&plan(Some("done"))), [dir.join("a.jsonl"), dir.join("ward/b.CSV")]);
        assert_eq!(found(&plan(None)), [dir.join("a.jsonl"), dir.join("done/g"), dir.join("ward/b.CSV")]);
        let missing = Plan { dir: dir.join("nowhere"), done: None, quiet: Duration::ZERO };
        assert!(matches!(look(&missing), Err(FolderError::Missing(_))));
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        fs::create_dir(&done).unwrap();
        for content in ["1", "2", "3"] {
            let path = dir.path().join("a.jsonl");
            fs::write(&path, content).unwrap();
            put_away(&path, &done).unwrap();
        }
        let found = ["a.jsonl", "a.jsonl.1", "a.jsonl.2"].map(|name| fs::read_to_string(done.join(name)).unwrap());
        assert_eq!(found, ["1", "2", "3"]);
        assert!(put_away(&dir.path().join("gone"), &done).is_err());
    }
}
