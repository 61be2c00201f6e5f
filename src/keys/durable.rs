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
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
