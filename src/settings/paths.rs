//! Where things lie: beside the history, never inside it, nor in the drop folder.

use std::path::{Component, Path, PathBuf};

use super::Settings;
use super::channels::{self, Place};
use super::tree::Tree;

/// Complains of what lies inside the history, whose folder is proven whole as it is, and of what is ours and lies in the drop folder, of
/// which everything is read as records, and moved away where the settings say so. `file` is that of the settings.
pub(super) fn apart<'a>(tree: &mut Tree<'a>, file: &Path, settings: &Settings, places: &[Place<'a>]) {
    let mut folders = Vec::new();
    if let Some(history) = settings.history.as_ref().map(|history| history.dir.as_path()) {
        folders.push((history, "the history, where only the history may lie"));
        let beside = [(["state", "dir"], settings.state.as_deref()), (["keys", "file"], settings.key.as_deref())];
        for (key, _) in beside.iter().filter(|(_, path)| path.is_some_and(|path| is_inside(path, history))) {
            tree.problem(key, "this lies inside the history, where only the history may lie".to_owned());
        }
        let both = settings.files.iter().flat_map(|files| [("dir", Some(&files.dir)), ("done", files.done.as_ref())]);
        let meets = |path: &PathBuf| is_inside(path, history) || is_inside(history, path);
        for (key, _) in both.filter(|(_, path)| path.is_some_and(meets)) {
            tree.problem(&["files", key], "the history and this folder may not lie in one another".to_owned());
        }
    }
    if let Some(files) = &settings.files {
        folders.push((files.dir.as_path(), "the drop folder, of which everything is read"));
        let ours = [
            ("the settings lie", Some(file)),
            ("the rosters lie", settings.rosters.as_deref()),
            ("the rules lie", settings.rules.dir.as_deref()),
            ("the state lies", settings.state.as_deref()),
            ("the key lies", settings.key.as_deref()),
        ];
        for (what, _) in ours.iter().filter(|(_, path)| path.is_some_and(|path| is_inside(path, &files.dir))) {
            tree.problem(&["files", "dir"], format!("{what} in this folder, of which everything is read as records"));
        }
    }
    channels::apart(tree, &settings.channels, places, &folders);
}

/// The folder by its whole path, so that `.` has a name that something can stand beside.
pub(super) fn whole(dir: &Path) -> PathBuf {
    std::path::absolute(dir).map(|path| path.components().collect()).unwrap_or_else(|_| dir.to_owned())
}

/// Whether a path lies below a folder, symbolic links looked through as far as there is something.
pub fn is_inside(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| {
        let mut plain = PathBuf::new();
        for part in whole(path).components() {
            match part {
                Component::ParentDir => _ = plain.pop(),
                part => plain.push(part),
            }
        }
        let there = plain.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
        there.map_or(plain.clone(), |(above, real)| real.join(plain.strip_prefix(above).unwrap_or(Path::new(""))))
    };
    real(path).starts_with(real(folder))
}
