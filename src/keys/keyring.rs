//! The keyring: the month keys of one history, wrapped by its key-encryption key, in one small file inside the history.
//!
//! A month key is on the disk before anything is wrapped by it. A check value tells a wrong key file at once from damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::durable::{write_durably, write_new};
use super::wrap::{ADDED_BYTES, DataKey, KEY_BYTES};
use super::{KeyError, KeyFile, material, month};
use crate::event::Time;

/// What sealed bytes begin with.
pub const SEALED_MAGIC: &[u8; 4] = b"PWS1";

const FORM: &str = "phiwatch.keyring/1";
const CHECK: &[u8] = b"this key opens this history";

/// The month keys of one history.
#[derive(Debug)]
pub struct Keyring {
    path: PathBuf,
    kek: KeyFile,
    months: RwLock<BTreeMap<String, DataKey>>,
}

/// The file as it stands on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    form: String,
    check: String,
    months: BTreeMap<String, String>,
}

impl Keyring {
    /// A new keyring without month keys, written to `path`; an existing one is never overwritten.
    pub fn create(path: &Path, kek: KeyFile) -> Result<Keyring, KeyError> {
        let bytes = stored_bytes(&kek, &BTreeMap::new())?;
        write_new(path, &bytes, 0o600).map_err(KeyError::io(path))?;
        Ok(Keyring { path: path.into(), kek, months: RwLock::default() })
    }

    /// The keyring at `path`, opened with `kek`.
    pub fn open(path: &Path, kek: KeyFile) -> Result<Keyring, KeyError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(KeyError::NoKeyring(path.into())),
            read => read.map_err(KeyError::io(path))?,
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| KeyError::Keyring("it is not whole"))?;
        if stored.form != FORM {
            return Err(KeyError::Keyring("it is of another version"));
        }
        let checked = unwrap_text(&kek.key, CHECK, &stored.check)?;
        let mut months = BTreeMap::new();
        for (id, wrapped) in &stored.months {
            let bytes = unwrap_text(&kek.key, &month_place(id), wrapped)?;
            months.insert(id.clone(), bytes.and_then(|bytes| DataKey::from_slice(&bytes)));
        }
        if checked.is_none() {
            // A key that opens a month is the right one.
            let is_right = months.values().any(Option::is_some);
            let mismatch = || KeyError::Mismatch(kek.path.clone());
            return Err(if is_right { KeyError::Keyring("its check was altered") } else { mismatch() });
        }
        let whole = months.into_iter().map(|(id, key)| Some((id, key?))).collect::<Option<_>>();
        let months = whole.ok_or(KeyError::Keyring("a month key was altered"))?;
        Ok(Keyring { path: path.into(), kek, months: RwLock::new(months) })
    }

    /// The months that have a key, in order.
    pub fn months(&self) -> Vec<String> {
        self.months.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A fresh data key for a Parquet file whose newest arrival is `arrival`, and the file's key metadata.
    pub fn parquet_key(&self, arrival: Time) -> Result<(DataKey, Vec<u8>), KeyError> {
        let id = month(arrival);
        let key = DataKey::random()?;
        let wrapped = self.make_month(&id)?.encrypt(id.as_bytes(), key.bytes())?;
        Ok((key, material::write(&id, &wrapped)))
    }

    /// The data key of a Parquet file, from its key metadata; `file` names it in errors.
    pub fn parquet_open(&self, file: &str, metadata: &[u8]) -> Result<DataKey, KeyError> {
        let altered = || KeyError::Altered(file.to_string());
        let (id, wrapped) = material::read(metadata).ok_or_else(altered)?;
        let bytes = self.month_key(&id)?.decrypt(id.as_bytes(), &wrapped).ok_or_else(altered)?;
        DataKey::from_slice(&bytes).ok_or_else(altered)
    }

    /// Seals `plain`, which arrived at `arrival` and belongs to `name`; under another name it does not open.
    ///
    /// Form: magic, length of the month's id (one byte), the id, the wrapped data key (60 bytes), nonce, ciphertext, tag.
    pub fn seal(&self, name: &str, arrival: Time, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let id = month(arrival);
        let key = DataKey::random()?;
        let mut sealed = SEALED_MAGIC.to_vec();
        sealed.push(u8::try_from(id.len()).map_err(|_| KeyError::Keyring("the month has no name"))?);
        sealed.extend_from_slice(id.as_bytes());
        sealed.extend(self.make_month(&id)?.encrypt(id.as_bytes(), key.bytes())?);
        let belongs = sealed_place(name, &sealed);
        sealed.extend(key.encrypt(&belongs, plain)?);
        Ok(sealed)
    }

    /// Opens what [`Keyring::seal`] made for `name`.
    pub fn open_sealed(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let altered = || KeyError::Altered(name.to_string());
        let Sealed { id, wrapped, header, body } = Sealed::split(sealed).ok_or_else(altered)?;
        let key = self.month_key(id)?.decrypt(id.as_bytes(), wrapped).and_then(|bytes| DataKey::from_slice(&bytes));
        let plain = key.ok_or_else(altered)?.decrypt(&sealed_place(name, header), body).ok_or_else(altered)?;
        Ok(plain.to_vec())
    }

    /// Wraps every month key by `fresh` instead: no file of the history changes. The old key opens nothing afterwards.
    pub fn rewrap(&mut self, fresh: KeyFile) -> Result<(), KeyError> {
        let months = self.months.get_mut().unwrap_or_else(PoisonError::into_inner).clone();
        self.store(&fresh, &months)?;
        self.kek = fresh;
        Ok(())
    }

    /// Destroys the key of `month`: nothing that arrived in it can be read again. Returns whether there was one.
    pub fn destroy(&mut self, month: &str) -> Result<bool, KeyError> {
        let mut months = self.months.get_mut().unwrap_or_else(PoisonError::into_inner).clone();
        let known = months.remove(month).is_some();
        if known {
            self.store(&self.kek, &months)?;
            self.months = RwLock::new(months);
        }
        Ok(known)
    }

    fn month_key(&self, id: &str) -> Result<DataKey, KeyError> {
        let months = self.months.read().unwrap_or_else(PoisonError::into_inner);
        months.get(id).cloned().ok_or_else(|| KeyError::NoMonth(id.to_string()))
    }

    /// The key of that month, made and stored where there is none.
    fn make_month(&self, id: &str) -> Result<DataKey, KeyError> {
        if let Ok(key) = self.month_key(id) {
            return Ok(key);
        }
        let mut months = self.months.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = months.get(id) {
            return Ok(key.clone());
        }
        let key = DataKey::random()?;
        let mut more = months.clone();
        more.insert(id.to_string(), key.clone());
        self.store(&self.kek, &more)?;
        *months = more;
        Ok(key)
    }

    fn store(&self, kek: &KeyFile, months: &BTreeMap<String, DataKey>) -> Result<(), KeyError> {
        write_durably(&self.path, &stored_bytes(kek, months)?, 0o600).map_err(KeyError::io(&self.path))
    }
}

/// The file for these month keys.
fn stored_bytes(kek: &KeyFile, months: &BTreeMap<String, DataKey>) -> Result<Vec<u8>, KeyError> {
    let wrap = |place: &[u8], plain: &[u8]| kek.key.encrypt(place, plain).map(|bytes| STANDARD.encode(bytes));
    let months = months.iter().map(|(id, key)| Ok((id.clone(), wrap(&month_place(id), key.bytes())?)));
    let check = wrap(CHECK, CHECK)?;
    let stored = Stored { form: FORM.into(), check, months: months.collect::<Result<_, KeyError>>()? };
    Ok(serde_json::to_vec_pretty(&stored).expect("plain texts are written as JSON"))
}

fn month_place(id: &str) -> Vec<u8> {
    format!("{FORM}/{id}").into_bytes()
}

/// The name of the sealed thing and its header: neither can be exchanged.
fn sealed_place(name: &str, header: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\0", header].concat()
}

fn unwrap_text(key: &DataKey, place: &[u8], wrapped: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let bytes = STANDARD.decode(wrapped).map_err(|_| KeyError::Keyring("it is not whole"))?;
    Ok(key.decrypt(place, &bytes))
}

/// The parts of sealed bytes.
struct Sealed<'a> {
    /// The month's id.
    id: &'a str,
    /// The data key under the month key.
    wrapped: &'a [u8],
    /// Everything before the body.
    header: &'a [u8],
    /// The plain bytes under the data key.
    body: &'a [u8],
}

impl Sealed<'_> {
    fn split(sealed: &[u8]) -> Option<Sealed<'_>> {
        let rest = sealed.strip_prefix(SEALED_MAGIC)?;
        let (length, rest) = rest.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (wrapped, body) = rest.split_at_checked(KEY_BYTES + ADDED_BYTES)?;
        let header = &sealed[..sealed.len() - body.len()];
        Some(Sealed { id: std::str::from_utf8(id).ok()?, wrapped, header, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeySource;

    const NOVEMBER: Time = Time(1_795_000_000_000_000);

    fn fresh(dir: &Path, name: &str) -> KeyFile {
        KeySource::File(dir.join(name)).create().unwrap()
    }

    #[test]
    fn sealed_bytes_open_only_where_they_belong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        let keyring = Keyring::create(&path, fresh(dir.path(), "a.key")).unwrap();
        let sealed = keyring.seal("control/1", NOVEMBER, b"patient P1").unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"patient"));
        let again = Keyring::open(&path, KeySource::File(dir.path().join("a.key")).read().unwrap()).unwrap();
        assert_eq!(again.open_sealed("control/1", &sealed).unwrap(), b"patient P1");
        assert!(matches!(again.open_sealed("control/2", &sealed), Err(KeyError::Altered(_))));
        for i in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[i] ^= 1;
            assert!(again.open_sealed("control/1", &broken).is_err(), "byte {i} was changed");
            assert!(again.open_sealed("control/1", &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn wrong_key_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        Keyring::create(&path, fresh(dir.path(), "a.key")).unwrap();
        let error = Keyring::open(&path, fresh(dir.path(), "b.key")).unwrap_err();
        assert!(
            error.to_string().starts_with("this key does not open this history: ")
                && error.to_string().contains("b.key")
        );
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        let kek = KeySource::File(dir.path().join("a.key")).read().unwrap();
        assert!(matches!(Keyring::open(&path, kek), Err(KeyError::Keyring(_))));
    }

    /// What is said of the keyring of a history that has a month key, after a change of its text.
    fn check_damage(change: &dyn Fn(&Path, &mut Stored), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        let keyring = Keyring::create(&path, fresh(dir.path(), "a.key")).unwrap();
        keyring.seal("control/1", NOVEMBER, b"x").unwrap();
        let mut stored: Stored = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        change(&path, &mut stored);
        let kek = KeySource::File(dir.path().join("a.key")).read().unwrap();
        let error = Keyring::open(&path, kek).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn damage_of_the_keyring_is_not_blamed_on_the_key() {
        let write = |path: &Path, stored: &Stored| std::fs::write(path, serde_json::to_vec(stored).unwrap()).unwrap();
        // Another letter in the middle: base64 still, and other bytes.
        let alter = |text: &mut String| {
            let other = if &text[20..21] == "A" { "B" } else { "A" };
            text.replace_range(20..21, other);
        };
        check_damage(&|_, _| (), "keyring.json is missing: without it nothing of this history can be read");
        check_damage(
            &|path, stored| {
                alter(&mut stored.check);
                write(path, stored);
            },
            "its check was altered; put it back",
        );
        check_damage(
            &|path, stored| {
                stored.months.values_mut().for_each(alter);
                write(path, stored);
            },
            "a month key was altered",
        );
        check_damage(
            &|path, stored| {
                alter(&mut stored.check);
                stored.months.clear();
                write(path, stored);
            },
            "a.key is the key of another one, or keyring.json in the history is damaged",
        );
    }

    #[test]
    fn rotation_rewraps_and_destruction_is_final() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        let mut keyring = Keyring::create(&path, fresh(dir.path(), "a.key")).unwrap();
        let (key, metadata) = keyring.parquet_key(NOVEMBER).unwrap();
        keyring.rewrap(fresh(dir.path(), "b.key")).unwrap();
        let old = KeySource::File(dir.path().join("a.key")).read().unwrap();
        assert!(matches!(Keyring::open(&path, old), Err(KeyError::Mismatch(_))));
        let new = KeySource::File(dir.path().join("b.key")).read().unwrap();
        let mut again = Keyring::open(&path, new).unwrap();
        assert_eq!(again.parquet_open("f", &metadata).unwrap().bytes(), key.bytes());
        assert_eq!(again.months(), ["2026-11"]);
        assert!(again.destroy("2026-11").unwrap());
        assert!(matches!(again.parquet_open("f", &metadata), Err(KeyError::NoMonth(_))));
    }

    #[test]
    fn key_files_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str, mode: u32, expected: &str| {
            let path = dir.path().join("k");
            write_durably(&path, text.as_bytes(), mode).unwrap();
            let said = match KeySource::File(path).read() {
                Ok(_) => "read",
                Err(KeyError::Exposed { .. }) => "exposed",
                Err(KeyError::NotAKey(_)) => "not a key",
                Err(_) => "other",
            };
            assert_eq!(said, expected, "{text:?} {mode:o}");
        };
        let digits = "0123456789abcdef".repeat(4);
        check(&format!("# header\n{digits}\n"), 0o600, "read");
        check(&format!("# header\n{digits}\n"), 0o400, "read");
        check(&format!("# header\n{}\n", STANDARD.encode([7; 32])), 0o600, "read");
        check(&format!("# header\n{digits}\n"), 0o640, "exposed");
        check(&format!("# header\n{digits}\n"), 0o604, "exposed");
        check("# header\n", 0o600, "not a key");
        check("# header\nabc\n", 0o600, "not a key");
        check(&format!("# header\n{}\n", STANDARD.encode([7; 31])), 0o600, "not a key");
        check(&format!("# header\n{}\n", "é".repeat(32)), 0o600, "not a key");
        let missing = KeySource::File(dir.path().join("none")).read();
        assert!(matches!(missing, Err(KeyError::Missing(_))));
    }

    #[test]
    fn a_key_file_is_never_overwritten_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let source = KeySource::beside(&dir.path().join("history"));
        assert_eq!(source.path(), dir.path().join("history.key"));
        let key = source.create().unwrap();
        assert!(source.create().is_err());
        assert_eq!(source.read().unwrap().key.bytes(), key.key.bytes());
        let keyring = Keyring::create(&dir.path().join("keyring.json"), key).unwrap();
        keyring.seal("x", NOVEMBER, b"").unwrap();
        let printed = format!("{keyring:?}");
        let bytes = format!("{:?}", keyring.kek.key.bytes());
        assert!(!printed.contains(bytes.trim_matches(['[', ']'])));
        assert!(printed.contains("KeyFile(..)") && printed.contains("DataKey(..)"));
    }
}
