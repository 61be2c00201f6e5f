//! Files that are on record are moved away, once nobody has written to them for a while; and looked at afterwards, since a program that
//! has a file open goes on writing to it wherever it lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Plan;
use super::folder::{self, RETRY, Stamp};

/// A file has to stand still for so many times as long before it is moved as before it is read.
const STILL: u32 = 6;
/// For how long a file is looked at after it was moved.
const WATCHED: Duration = Duration::from_secs(3_600);

/// A file on record.
#[derive(Debug)]
struct Leaving {
    /// As it was read.
    stamp: Stamp,
    /// Why it could not be moved.
    why: Option<String>,
    not_before: Instant,
}

/// A file that was moved.
#[derive(Debug)]
struct Moved {
    /// Where it was.
    from: PathBuf,
    stamp: Stamp,
    at: Instant,
}

/// What leaves the drop folder.
#[derive(Debug)]
pub(super) struct Away {
    done: Option<PathBuf>,
    still: Duration,
    leaving: BTreeMap<PathBuf, Leaving>,
    moved: BTreeMap<PathBuf, Moved>,
}

impl Away {
    pub fn new(plan: &Plan) -> Away {
        let (leaving, moved) = (BTreeMap::new(), BTreeMap::new());
        Away { done: plan.done.clone(), still: STILL * plan.quiet, leaving, moved }
    }

    /// A file is on record as it stood at `stamp`.
    pub fn add(&mut self, path: PathBuf, stamp: Stamp, now: Instant) {
        if let Some(done) = &self.done
            && path.parent() != Some(done)
        {
            self.leaving.insert(path, Leaving { stamp, why: None, not_before: now });
        }
    }

    /// Moves what has stood still for long enough. What has changed since it was read is not done with: it is read on.
    pub fn turn(&mut self, now: Instant) {
        let Some(done) = &self.done else { return };
        for (path, mut leaving) in std::mem::take(&mut self.leaving) {
            if folder::stamp(&path) != Some(leaving.stamp) {
                continue;
            }
            if now < leaving.not_before || folder::age(leaving.stamp) < self.still {
                self.leaving.insert(path, leaving);
                continue;
            }
            match folder::put_away(&path, done) {
                Ok(to) => {
                    info!(file = %path.display(), "it is on record and was moved away");
                    if let Some((_, changed, number)) = folder::stamp(&to) {
                        // The size is that which was read: somebody may have written to it in the very moment.
                        let stamp = (leaving.stamp.0, changed, number);
                        self.moved.insert(to, Moved { from: path, stamp, at: now });
                    }
                }
                Err(error) => {
                    let what = format!("{} cannot be moved to {}: {error}", path.display(), done.display());
                    if leaving.why.is_none() {
                        warn!("{what}");
                    }
                    (leaving.why, leaving.not_before) = (Some(what), now + RETRY);
                    self.leaving.insert(path, leaving);
                }
            }
        }
        self.moved.retain(|_, moved| now.saturating_duration_since(moved.at) < WATCHED);
    }

    /// Moved files that somebody has written to since.
    pub fn changed(&self) -> impl Iterator<Item = (PathBuf, Stamp)> + '_ {
        let now = |(path, moved): (&PathBuf, &Moved)| {
            let stamp = folder::stamp(path).filter(|stamp| *stamp != moved.stamp)?;
            Some((path.clone(), stamp))
        };
        self.moved.iter().filter_map(now)
    }

    /// Where a file was before it was moved; the file itself where it was not.
    pub fn from<'p>(&'p self, path: &'p Path) -> &'p Path {
        self.moved.get(path).map_or(path, |moved| moved.from.as_path())
    }

    /// Why files could not be moved.
    pub fn trouble(&self) -> Option<String> {
        let mut all = self.leaving.values().filter_map(|leaving| leaving.why.as_ref());
        let first = all.next()?.clone();
        let others = all.count();
        Some(if others > 0 { format!("{first}, and {others} more") } else { first })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_written_after_the_move_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let plan = |quiet| Plan { dir: dir.path().to_owned(), done: Some(dir.path().join("done")), quiet };
        fs::create_dir(dir.path().join("done")).unwrap();
        let path = dir.path().join("a.jsonl");
        let mut writer = fs::File::create(&path).unwrap();
        let (stamp, now) = (folder::stamp(&path).unwrap(), Instant::now());
        // It was written a moment ago.
        let mut away = Away::new(&plan(Duration::from_secs(10)));
        away.add(path.clone(), stamp, now);
        away.turn(now);
        assert!(path.exists() && away.trouble().is_none());
        let mut away = Away::new(&plan(Duration::ZERO));
        away.add(path.clone(), stamp, now);
        away.turn(now);
        let moved = dir.path().join("done/a.jsonl");
        assert!(!path.exists() && moved.exists());
        assert_eq!((away.changed().count(), away.from(&moved)), (0, path.as_path()));
        writer.write_all(b"more").unwrap();
        assert_eq!(away.changed().map(|(path, _)| path).collect::<Vec<_>>(), [moved]);
        away.turn(now + WATCHED);
        assert_eq!(away.changed().count(), 0);
    }

    #[test]
    fn what_has_changed_since_it_was_read_stays() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan { dir: dir.path().to_owned(), done: Some(dir.path().join("done")), quiet: Duration::ZERO };
        let path = dir.path().join("a.jsonl");
        fs::write(&path, "1").unwrap();
        let (stamp, now) = (folder::stamp(&path).unwrap(), Instant::now());
        let mut away = Away::new(&plan);
        away.add(path.clone(), stamp, now);
        away.turn(now);
        assert!(away.trouble().is_some_and(|what| what.contains("cannot be moved")), "there is no such folder");
        fs::write(&path, "12").unwrap();
        away.turn(now + RETRY);
        assert!(path.exists() && away.trouble().is_none());
    }

    #[test]
    fn a_link_goes_on_leading_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for folder in ["in", "data", "done"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        fs::write(dir.join("data/x"), "1").unwrap();
        let link = dir.join("in/x.jsonl");
        std::os::unix::fs::symlink("../data/x", &link).unwrap();
        let to = folder::put_away(&link, &dir.join("done")).unwrap();
        assert_eq!(fs::read_to_string(to).unwrap(), "1");
        assert!(!link.is_symlink() && dir.join("data/x").exists());
    }
}
