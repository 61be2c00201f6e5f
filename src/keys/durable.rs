//! Files that are whole or absent, whatever happens to the machine in between.
//!
//! A file is written under another name, forced to the disk, given its name, and the folder is forced too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Replaces or creates `path` with `bytes`: afterwards it holds the old or the new content, never a part.
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = fresh_name(path);
    write_file(&fresh, bytes, mode)?;
    std::fs::rename(&fresh, path).inspect_err(|_| drop(std::fs::remove_file(&fresh)))?;
    sync_folder(path)
}

/// Creates `path` with `bytes`; fails with `AlreadyExists` where it is there, and never leaves a part of it.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = fresh_name(path);
    write_file(&fresh, bytes, mode)?;
    let linked = std::fs::hard_link(&fresh, path);
    std::fs::remove_file(&fresh)?;
    linked?;
    sync_folder(path)
}

/// Ends in `.tmp`, which every listing of ours leaves out.
fn fresh_name(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What a killed process left under this name is of no use to anybody.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    whole(&mut options.open(path)?, path, bytes)
}

/// Writes all of an open file, or takes it away: on a full disk every try would leave a part behind, and the disk would stay full.
fn whole(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| drop(std::fs::remove_file(path)))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_durably(&path, b"before", 0o600).unwrap();
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        // Another file has the name already.
        assert!(write_new(&path, b"after", 0o600).is_err());
        // A folder that is not empty cannot be replaced.
        std::fs::create_dir_all(dir.path().join("folder/inner")).unwrap();
        assert!(write_durably(&dir.path().join("folder"), b"after", 0o600).is_err());
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"before".to_vec(), 2));
        // The device takes no byte: the name under which it was begun is gone.
        std::os::unix::fs::symlink("/dev/full", dir.path().join("full")).unwrap();
        let mut full = OpenOptions::new().write(true).open(dir.path().join("full")).unwrap();
        assert!(whole(&mut full, &dir.path().join("full"), b"after").is_err());
        assert_eq!(names(), 2);
    }
}
