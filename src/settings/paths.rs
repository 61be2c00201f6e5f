//! Where things lie: beside the history, never inside it.

use std::path::{Component, Path, PathBuf};

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
