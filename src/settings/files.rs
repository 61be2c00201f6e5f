//! `[files]`: the drop folder, and whether it can be one.

use std::path::Path;
use std::time::Duration;

use super::duration;
use super::tree::Tree;
use crate::event::time::HOUR;
use crate::ingest::inbox::{Plan, Settings};

/// For how long a file has to stand still, where nobody says.
const QUIET: &str = "10s";

/// What `[files]` means; `folder` is that of the settings file.
pub(super) fn read(tree: &mut Tree<'_>, folder: &Path, written: Settings) -> Plan {
    let (dir, done) = (folder.join(&written.dir), written.done.map(|done| folder.join(done)));
    for (key, path) in [("dir", Some(&dir)), ("done", done.as_ref())] {
        if let Some(path) = path.filter(|path| !path.is_dir()) {
            tree.problem(&["files", key], format!("{} is no folder", path.display()));
        }
    }
    if done.as_ref().is_some_and(|done| done.canonicalize().ok() == dir.canonicalize().ok()) {
        tree.problem(&["files", "done"], "read files cannot be moved to where they are".to_owned());
    }
    let text = written.quiet.as_deref().unwrap_or(QUIET);
    let quiet = duration(text).filter(|quiet| (0..=HOUR).contains(quiet));
    if quiet.is_none() {
        let what = format!("quiet has to be a duration of at most 1h, such as \"10s\", not {text:?}");
        tree.problem(&["files", "quiet"], what);
    }
    Plan { dir, done, quiet: Duration::from_micros(quiet.unwrap_or_default().unsigned_abs()) }
}
