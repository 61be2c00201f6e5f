//! What lies in the drop folder, and which of it has come to rest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::Plan;
use crate::ingest::rosters::FolderError;

/// What ends the name of a file that somebody else is still writing.
const UNFINISHED: [&str; 7] = ["~", ".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp"];

/// By what a file is seen to change: its size, its time of change and its number on the disk.
pub(super) type Stamp = (u64, Option<SystemTime>, u64);

/// The files of the folder and of the folders directly below it, whoever has finished them or not. Hidden ones, those with the name of
/// something unfinished and what was moved away are left out.
pub(super) fn look(plan: &Plan) -> Result<BTreeMap<PathBuf, Stamp>, FolderError> {
    let mut found = BTreeMap::new();
    let done = plan.done.as_ref().and_then(|done| done.canonicalize().ok());
    for folder in into(&plan.dir, &mut found)? {
        if folder.canonicalize().ok().as_ref() != done.as_ref() || done.is_none() {
            into(&folder, &mut found)?;
        }
    }
    Ok(found)
}

/// Adds the files of one folder; the folders in it.
fn into(dir: &Path, found: &mut BTreeMap<PathBuf, Stamp>) -> Result<Vec<PathBuf>, FolderError> {
    let unreadable = |path: &Path, cause| FolderError::Unreadable { path: path.to_owned(), cause };
    let entries = fs::read_dir(dir).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(dir.to_owned()),
        _ => unreadable(dir, cause),
    })?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|cause| unreadable(dir, cause))?;
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
    (about.len(), about.modified().ok(), about.ino())
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

    /// Those of them that may be read now: they have not changed for as long as `quiet`, by our looks or by the clock of whoever wrote.
    pub fn ready(&self, quiet: Duration, (now, clock): (Instant, SystemTime)) -> Vec<PathBuf> {
        let stands = |seen: &Seen| {
            let aged = seen.stamp.1.and_then(|changed| clock.duration_since(changed).ok());
            now.saturating_duration_since(seen.since) >= quiet || aged.is_some_and(|age| age >= quiet)
        };
        let may = |seen: &Seen| seen.not_before.is_none_or(|at| now >= at) && stands(seen);
        self.unread().filter(|path| may(&self.0[*path])).map(Path::to_owned).collect()
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

/// Moves a file away; a name that is taken there gets a number.
pub(super) fn put_away(path: &Path, done: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let mut to = done.join(name);
    for number in 1.. {
        if !to.try_exists()? {
            break;
        }
        to = done.join(format!("{}.{number}", name.to_string_lossy()));
    }
    fs::rename(path, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A file of which each look sees this size, changed so many seconds before the first look by the clock of whoever wrote it; the
    /// looks are a second apart. Whether it may be read after each of them, where ten seconds are asked for.
    fn check(sizes: &[u64], changed: u32, expected: &[bool]) {
        let (begin, clock) = (Instant::now(), SystemTime::now());
        let mut files = Files::default();
        let path = PathBuf::from("in/a");
        let found: Vec<bool> = sizes
            .iter()
            .zip(0..)
            .map(|(size, at)| {
                let written = if *size == sizes[0] { clock - changed * SECOND } else { clock + at * SECOND };
                files.look([(path.clone(), (*size, Some(written), 1))].into(), begin + at * SECOND);
                !files.ready(10 * SECOND, (begin + at * SECOND, clock + at * SECOND)).is_empty()
            })
            .collect();
        assert_eq!(found, expected, "{sizes:?}, {changed} s old");
    }

    #[test]
    fn what_stands_still_may_be_read() {
        check(&[5], 10, &[true]);
        check(&[5, 5], 9, &[false, true]);
        check(&[5, 6, 6], 60, &[true, false, false]);
        let still = [5; 12];
        let mut expected = [false; 12];
        expected[10] = true;
        expected[11] = true;
        check(&still, 0, &expected);
    }

    /// A clock that runs ahead on the machine that writes: our own looks decide.
    #[test]
    fn a_time_in_the_future_says_nothing() {
        let (begin, clock) = (Instant::now(), SystemTime::now());
        let mut files = Files::default();
        for (second, expected) in [(0, 0), (9, 0), (10, 1)] {
            let stamp = (5, Some(clock + 3_600 * SECOND), 1);
            files.look([(PathBuf::from("in/a"), stamp)].into(), begin + second * SECOND);
            let ready = files.ready(10 * SECOND, (begin + second * SECOND, clock + second * SECOND));
            assert_eq!(ready.len(), expected, "after {second} s");
        }
    }

    #[test]
    fn what_was_read_is_left_until_it_changes_and_what_failed_for_a_while() {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let path = PathBuf::from("in/a");
        let mut files = Files::default();
        let look = |files: &mut Files, size: u64, at: u32| {
            files.look([(path.clone(), (size, Some(clock - 60 * SECOND), 1))].into(), now + at * SECOND);
            files.ready(10 * SECOND, (now + at * SECOND, clock)).len()
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
        let found = |plan: &Plan| look(plan).unwrap().into_keys().collect::<Vec<_>>();
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
