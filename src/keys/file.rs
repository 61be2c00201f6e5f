//! The key-encryption key in a file of its own, outside the history.
//!
//! The file has a header line and the 32 bytes as hexadecimal digits or base64. Only its owner may read it; a wider mode is refused,
//! because such a key has to be taken as known to others.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::durable::write_new;
use super::wrap::{DataKey, KEY_BYTES};
use super::{KeyError, material::hex};

const HEADER: &str =
    "# phiwatch key-encryption key 1: whoever has this file can read the history, and nobody can without it";

/// Where the key-encryption key of a history is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In this file.
    File(PathBuf),
}

impl KeySource {
    /// The file beside a history: `DIR.key`.
    pub fn beside(history: &Path) -> KeySource {
        let mut name = history.file_name().unwrap_or_default().to_os_string();
        name.push(".key");
        KeySource::File(history.with_file_name(name))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            KeySource::File(path) => path,
        }
    }

    /// Reads the key; see [`KeyError`] for what is refused.
    pub fn read(&self) -> Result<KeyFile, KeyError> {
        let path = self.path();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(KeyError::Missing(path.into())),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(KeyError::NotAKey(path.into()));
            }
            Err(error) => return Err(KeyError::io(path)(error)),
        };
        refuse_wide_mode(path)?;
        let key = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
        let bytes = key.and_then(|line| decode(line.trim())).ok_or_else(|| KeyError::NotAKey(path.into()))?;
        let key = DataKey::from_slice(&bytes).ok_or_else(|| KeyError::NotAKey(path.into()))?;
        Ok(KeyFile { key, path: self.path().into() })
    }

    /// Makes a fresh key with mode 0600; an existing file is never overwritten.
    pub fn create(&self) -> Result<KeyFile, KeyError> {
        let key = DataKey::random()?;
        let text = Zeroizing::new(format!("{HEADER}\n{}\n", *hex(key.bytes())));
        write_new(self.path(), text.as_bytes(), 0o600).map_err(KeyError::io(self.path()))?;
        Ok(KeyFile { key, path: self.path().into() })
    }
}

/// The key-encryption key; wiped on drop and never printed.
#[derive(Clone)]
pub struct KeyFile {
    pub(super) key: DataKey,
    /// Where it lies, for complaints.
    pub(super) path: PathBuf,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(..)")
    }
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() != 2 * KEY_BYTES {
        return STANDARD.decode(text).ok().map(Zeroizing::new);
    }
    let digits = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

#[cfg(unix)]
fn refuse_wide_mode(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(KeyError::io(path))?.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(KeyError::Exposed { path: path.into(), mode }),
    }
}

#[cfg(not(unix))]
fn refuse_wide_mode(_: &Path) -> Result<(), KeyError> {
    Ok(())
}
