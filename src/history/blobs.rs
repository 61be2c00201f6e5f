//! Whole files that the history keeps under a name: roster and rule versions by hash, sealed snapshots by segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{HistoryError, layout};
use crate::event::Time;
use crate::keys::{Keyring, write_new};

/// Rosters come every night and are mostly the same words again.
const LEVEL: i32 = 1;
/// How a packed file begins (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Writes `bytes` under `kind` and `hash`; one that is there already stays as it is, and they are not asked for.
pub(super) fn put(
    dir: &Path,
    keyring: &Option<Arc<Keyring>>,
    (kind, hash): (&str, &str),
    arrival: Time,
    bytes: &dyn Fn() -> Vec<u8>,
) -> Result<(), HistoryError> {
    let path = path_of(dir, kind, hash)?;
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        layout::make_folder(&dir.join("blobs"))?;
        layout::make_folder(folder)?;
    }
    let packed = zstd::bulk::compress(&bytes(), LEVEL).map_err(HistoryError::io(&path))?;
    let stored = match keyring {
        Some(keyring) => keyring.seal(&name(kind, hash), arrival, &packed)?,
        None => packed,
    };
    write_new(&path, &stored, 0o600).map_err(HistoryError::io(&path))
}

/// The bytes under `kind` and `hash`, or `None` where there are none.
pub(super) fn get(
    dir: &Path,
    keyring: &Option<Arc<Keyring>>,
    kind: &str,
    hash: &str,
) -> Result<Option<Vec<u8>>, HistoryError> {
    let path = path_of(dir, kind, hash)?;
    let stored = match std::fs::read(&path) {
        Ok(stored) => stored,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HistoryError::io(&path)(error)),
    };
    let packed = match keyring {
        Some(keyring) => keyring.open_sealed(&name(kind, hash), &stored)?,
        None => stored,
    };
    // Earlier versions kept them as they were, and nothing that is kept begins like a packed one.
    if !packed.starts_with(&MAGIC) {
        return Ok(Some(packed));
    }
    let damaged = |error: std::io::Error| HistoryError::Damaged { file: name(kind, hash), what: error.to_string() };
    zstd::stream::decode_all(packed.as_slice()).map(Some).map_err(damaged)
}

/// The hashes under `kind`, in order.
pub(super) fn list(dir: &Path, kind: &str) -> Result<Vec<String>, HistoryError> {
    let folder = dir.join("blobs").join(kind);
    let listed = match std::fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HistoryError::io(&folder)(error)),
    };
    let mut hashes = Vec::new();
    for entry in listed {
        let name = entry.map_err(HistoryError::io(&folder))?.file_name().to_string_lossy().into_owned();
        if is_word(&name) {
            hashes.push(name);
        }
    }
    hashes.sort();
    Ok(hashes)
}

fn name(kind: &str, hash: &str) -> String {
    format!("blobs/{kind}/{hash}")
}

fn path_of(dir: &Path, kind: &str, hash: &str) -> Result<PathBuf, HistoryError> {
    match is_word(kind) && is_word(hash) {
        true => Ok(dir.join("blobs").join(kind).join(hash)),
        false => Err(HistoryError::Location(name(kind, hash))),
    }
}

/// Lower-case letters, digits and hyphens: nothing that leads out of the folder.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeySource;

    #[test]
    fn kept_under_their_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let kek = KeySource::File(dir.path().join("k.key")).create().unwrap();
        let keyring = Some(Arc::new(Keyring::create(&dir.path().join("keyring.json"), kek).unwrap()));
        let get = |kind: &str, hash: &str| get(dir.path(), &keyring, kind, hash);
        put(dir.path(), &keyring, ("roster", "ab12"), Time(0), &|| b"patient-77".to_vec()).unwrap();
        put(dir.path(), &keyring, ("roster", "ab12"), Time(0), &|| b"other".to_vec()).unwrap();
        assert_eq!(get("roster", "ab12").unwrap().unwrap(), b"patient-77");
        assert_eq!(get("roster", "ab13").unwrap(), None);
        assert_eq!(list(dir.path(), "roster").unwrap(), ["ab12"]);
        let path = dir.path().join("blobs/roster/ab12");
        let stored = std::fs::read(&path).unwrap();
        assert!(!stored.windows(10).any(|window| window == b"patient-77"));
        std::fs::rename(&path, dir.path().join("blobs/roster/ab99")).unwrap();
        assert!(get("roster", "ab99").is_err());
        for bad in ["", "..", "../x", "a/b", "A", "a.b"] {
            assert!(get(bad, "ab12").is_err() && get("roster", bad).is_err(), "{bad}");
        }
    }
}
