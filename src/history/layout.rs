//! The folder of a history: its form file, its lock, and names inside it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HistoryError;
use crate::keys::{DataKey, write_new};

/// The form that this program writes and reads.
pub(super) const FORM: &str = "phiwatch.history/2";

/// What `history.json` says. It is written once and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    /// Name and version of the form.
    pub form: String,
    /// Whether everything in the history is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Version of the schema of events.
    #[serde(default)]
    pub schema: u32,
}

/// The file that says what the folder is.
pub(super) fn form_path(dir: &Path) -> PathBuf {
    dir.join("history.json")
}

/// The file of wrapped month keys.
pub(super) fn keyring_path(dir: &Path) -> PathBuf {
    dir.join("keyring.json")
}

/// What the folder says of itself; `None` where it is no history yet.
pub(super) fn read_form(dir: &Path) -> Result<Option<Form>, HistoryError> {
    let path = form_path(dir);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HistoryError::io(&path)(error)),
    };
    let form: Form = serde_json::from_slice(&bytes)
        .map_err(|_| HistoryError::Damaged { file: "history.json".into(), what: "it is not whole".into() })?;
    if form.form != FORM || form.schema > crate::event::schema::SCHEMA_VERSION {
        let found = format!("{}, schema {}", form.form, form.schema);
        return Err(HistoryError::OtherVersion { path: dir.into(), found, known: FORM });
    }
    Ok(Some(form))
}

/// Whether the history at `dir` is encrypted; `None` where there is none.
///
/// # Errors
/// Where it cannot be read, or is of another version.
pub fn is_encrypted(dir: &Path) -> Result<Option<bool>, HistoryError> {
    Ok(read_form(dir)?.map(|form| form.encrypted))
}

/// Says what the folder is, once.
pub(super) fn write_form(dir: &Path, encrypted: bool) -> Result<Form, HistoryError> {
    let form = Form { form: FORM.into(), encrypted, schema: crate::event::schema::SCHEMA_VERSION };
    let bytes = serde_json::to_vec_pretty(&form).expect("plain texts are written as JSON");
    let path = form_path(dir);
    write_new(&path, &bytes, 0o600).map_err(HistoryError::io(&path))?;
    Ok(form)
}

/// Takes the writer's lock; it is held as long as the file is open, and the system frees it when the process ends.
pub(super) fn lock(dir: &Path) -> Result<File, HistoryError> {
    let path = form_path(dir);
    let file = File::open(&path).map_err(HistoryError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HistoryError::Locked(dir.into())),
        Err(TryLockError::Error(error)) => Err(HistoryError::io(&path)(error)),
    }
}

/// Makes a folder that only its owner may enter, and forces its name to the disk.
pub(super) fn make_folder(path: &Path) -> Result<(), HistoryError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(HistoryError::io(path))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Forces the names in a folder to the disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), HistoryError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(HistoryError::io(path))
}

/// Forces a file to the disk where it exists.
pub(super) fn sync_file(path: &Path) -> Result<(), HistoryError> {
    match File::open(path) {
        Ok(file) => file.sync_all().map_err(HistoryError::io(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(HistoryError::io(path)(error)),
    }
}

/// 16 hexadecimal digits that no other file has.
pub(super) fn random_hex() -> Result<String, HistoryError> {
    let key = DataKey::random()?;
    Ok(key.bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
