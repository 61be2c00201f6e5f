//! A file of JSON lines, one alert a line: appended, mode 0600, on disk before it counts as delivered.
//!
//! At least once: the key of a line is alert_id and revision. A line that a crash or a full disk left without its end is cut before
//! anything is appended, so a reader never sees two alerts on one line. The file is opened for each batch, so it can be rotated.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{Failure, Sender, Sent, Spec, lines};
use crate::notify::render::Notification;
use crate::notify::routing::Hears;
use crate::notify::settings::{Detail, FileSettings};

/// The kind.
pub const SPEC: Spec = Spec {
    kind: "file",
    about: "every revision of a notified alert, one JSON line each, appended to a file",
    hears: Hears::Everything,
    detail: Detail::Full,
};

/// What is wrong with the settings.
pub fn wrongs(settings: &FileSettings) -> Vec<String> {
    let path = &settings.path;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut wrongs = Vec::new();
    if path.as_os_str().is_empty() {
        wrongs.push("path: name the file to append to".to_owned());
    } else if path.exists() && !path.is_file() {
        wrongs.push(format!("path: {} is not a file", path.display()));
    } else if !folder.is_dir() {
        wrongs.push(format!("path: there is no folder {}; make it first", folder.display()));
    }
    wrongs
}

/// Whether the file, where it is there, can be appended to.
///
/// # Errors
/// In words, where it cannot.
pub fn greet(settings: &FileSettings) -> Result<(), String> {
    match OpenOptions::new().append(true).open(&settings.path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("path: {}: {error}", settings.path.display())),
        _ => Ok(()),
    }
}

/// Appends to the file.
pub struct Appender {
    path: PathBuf,
    detail: Detail,
}

impl Appender {
    /// Nothing is opened yet.
    pub fn new(settings: &FileSettings, detail: Detail) -> Appender {
        Appender { path: settings.path.clone(), detail }
    }
}

#[async_trait]
impl Sender for Appender {
    async fn send(&mut self, notification: &Notification) -> Sent {
        let text: String = lines(notification, self.detail).into_iter().map(|(_, line)| line + "\n").collect();
        let path = self.path.clone();
        let appended = tokio::task::spawn_blocking(move || append(&path, text.as_bytes())).await;
        match appended {
            Ok(Ok(())) => Sent::all(notification, None),
            Ok(Err(error)) => Sent::none(failure(&self.path, &error)),
            Err(_) => Sent::none(Failure::later("the program is stopping")),
        }
    }
}

/// Appends whole lines and waits for the disk.
fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "not a file"));
    }
    file.lock()?;
    file.set_permissions(PermissionsExt::from_mode(0o600))?;
    let whole = cut_torn_tail(&mut file)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        // What got through may end in the middle of a line; the next batch would cut it, but a reader may come first.
        let _ = file.set_len(whole);
        return written;
    }
    if new && let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Cuts what follows the last line end; returns the length that is left.
fn cut_torn_tail(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut block = [0; 8 * 1024];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidInput => Failure::Held(what),
        _ => Failure::later(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[u8], expected: &[u8]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.jsonl");
        std::fs::write(&path, before).unwrap();
        append(&path, b"{\"new\":1}\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [expected, b"{\"new\":1}\n"].concat());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_tail_is_cut() {
        check(b"", b"");
        check(b"{}\n", b"{}\n");
        check(b"{}\n{\"ha", b"{}\n");
        check(b"{\"half", b"");
        let long = [b"{}\n".as_slice(), &[b'x'; 20_000]].concat();
        check(&long, b"{}\n");
        check(&[b'x'; 8 * 1024], b"");
        let exact = [&[b'y'; 8 * 1024 - 1], b"\n".as_slice(), &[b'x'; 8 * 1024]].concat();
        check(&exact, &exact[..8 * 1024]);
    }

    #[test]
    fn a_new_file_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.jsonl");
        append(&path, b"{}\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_person_has_to_mend_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let error = append(dir.path(), b"{}\n").unwrap_err();
        assert!(matches!(failure(dir.path(), &error), Failure::Held(_)), "{error:?}");
        let missing = dir.path().join("none/alerts.jsonl");
        let error = append(&missing, b"{}\n").unwrap_err();
        assert!(matches!(failure(&missing, &error), Failure::Held(_)), "{error:?}");
        let full = std::io::Error::from(ErrorKind::StorageFull);
        assert!(matches!(failure(&missing, &full), Failure::Later { .. }));
    }

    #[test]
    fn a_full_disk_leaves_no_half_line() {
        // /dev/full takes nothing, and it is no file: the check on the kind of file comes first.
        let error = append(Path::new("/dev/full"), b"{}\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
