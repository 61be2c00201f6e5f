//! The edge that reads a rule folder, and the shipped rules, which are part of the program.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::rosters::{Files, FolderError, FolderWatch, Look, entries};

/// A file larger than this is taken for a mistake, in bytes.
const FILE_MAX: u64 = 8 << 20;
/// Folders deeper than this are not looked into.
const DEPTH_MAX: usize = 16;

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rules");

/// Names (with `/` between folders) and contents of the shipped files, by name.
pub fn shipped() -> Files {
    let mut files = Files::new();
    embedded(&SHIPPED, &mut files);
    files.sort();
    files
}

fn embedded(dir: &Dir<'_>, files: &mut Files) {
    for file in dir.files().filter(|file| is_ours(file.path())) {
        files.push((name(file.path()), file.contents().to_vec()));
    }
    dir.dirs().for_each(|dir| embedded(dir, files));
}

/// Reads all `.yml`, `.yaml`, `.csv` and `.md` files of a folder and those below it, by name; hidden ones are left out.
///
/// # Errors
/// Where a folder or file cannot be read.
pub fn read_folder(dir: &Path) -> Result<Files, FolderError> {
    let read = |name: String| {
        let path = dir.join(&name);
        fs::read(&path).map(|bytes| (name, bytes)).map_err(|cause| FolderError::Unreadable { path, cause })
    };
    look(dir)?.into_keys().map(read).collect()
}

/// A watch that has seen nothing of a rule folder.
pub fn watch(dir: PathBuf) -> FolderWatch {
    FolderWatch::by(dir, look, read_folder)
}

/// Size and time of change of each file, by name.
fn look(dir: &Path) -> Result<Look, FolderError> {
    let mut found = Look::new();
    below(dir, Path::new(""), 0, &mut found)?;
    Ok(found)
}

fn below(dir: &Path, inner: &Path, depth: usize, found: &mut Look) -> Result<(), FolderError> {
    for entry in entries(&dir.join(inner))? {
        let entry = entry?;
        let inner = inner.join(entry.file_name());
        let path = dir.join(&inner);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Follows links: folders of settings are often mounted through them.
        let meta = fs::metadata(&path).map_err(|cause| FolderError::Unreadable { path: path.clone(), cause })?;
        if meta.is_dir() && depth < DEPTH_MAX {
            below(dir, &inner, depth + 1, found)?;
        } else if meta.is_file() && is_ours(&inner) {
            if meta.len() > FILE_MAX {
                return Err(FolderError::TooLarge { path, bytes: meta.len(), most: FILE_MAX });
            }
            found.insert(name(&inner), (meta.len(), meta.modified().ok()));
        }
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["yml", "yaml", "csv", "md"].contains(&ending))
}

fn name(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_to_the_bottom() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["a.yml", "lists/vips.csv", "deep/er/b.yaml", "runbooks/a.md", ".hidden/c.yml", "a.yml.swp", "d.txt"]
        {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), name).unwrap();
        }
        let files = read_folder(dir.path()).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.yml", "deep/er/b.yaml", "lists/vips.csv", "runbooks/a.md"]);
        assert!(files.iter().all(|(name, bytes)| name.as_bytes() == bytes));
        assert!(matches!(read_folder(&dir.path().join("none")), Err(FolderError::Missing(_))));
    }
}
