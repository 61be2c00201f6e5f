//! Secrets by file: read when they are used, never kept in settings, never printed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Longer than any password, token or key that a channel takes.
const LONGEST: u64 = 64 * 1024;

/// Names the file that holds a secret: `{ file = "/run/secrets/smtp" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SecretFile {
    /// The file; mode 0600 or narrower.
    pub file: PathBuf,
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretFile, D::Error> {
        deserializer.deserialize_any(Named)
    }
}

/// Reads the table. Whoever writes the secret itself in its place gets an error that does not repeat it.
struct Named;

const INSTEAD: &str = "a secret is never written here; write { file = \"...\" } and put it into that file";

impl<'de> Visitor<'de> for Named {
    type Value = SecretFile;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{ file = \"...\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<SecretFile, A::Error> {
        let mut file = None;
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "file" if file.is_none() => file = Some(fields.next_value()?),
                _ => return Err(A::Error::custom(INSTEAD)),
            }
        }
        file.map(|file| SecretFile { file }).ok_or_else(|| A::Error::custom(INSTEAD))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretFile, E> {
        Err(E::custom(INSTEAD))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretFile, E> {
        Err(E::custom(INSTEAD))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretFile, E> {
        Err(E::custom(INSTEAD))
    }
}

impl SecretFile {
    /// The secret: the file's text without the line end at its end.
    ///
    /// # Errors
    /// In words, where the file is missing, is readable to others than its owner, is empty, too long or not UTF-8.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let path = self.file.display();
        let file = File::open(&self.file).map_err(|error| format!("{path}: {error}"))?;
        let about = file.metadata().map_err(|error| format!("{path}: {error}"))?;
        if !about.is_file() {
            return Err(format!("{path} is not a file"));
        }
        if about.mode() & 0o077 != 0 {
            let mode = about.mode() & 0o777;
            return Err(format!("{path} has mode {mode:04o}: others can read a secret; run `chmod 600 {path}`"));
        }
        let mut secret = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
        let read = file.take(LONGEST + 1).read_to_string(&mut secret);
        let length = read.map_err(|_| format!("{path} is not UTF-8 text"))?;
        if length as u64 > LONGEST {
            return Err(format!("{path} is longer than {LONGEST} bytes: not a secret"));
        }
        let kept = secret.trim_end_matches(['\r', '\n']).len();
        secret.truncate(kept);
        if secret.is_empty() {
            return Err(format!("{path} is empty"));
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(content: &[u8], mode: u32, expected: Result<&str, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let read = SecretFile { file: path }.read();
        match expected {
            Ok(secret) => assert_eq!(read.unwrap().as_str(), secret),
            Err(part) => assert!(read.unwrap_err().contains(part), "{part}"),
        }
    }

    #[test]
    fn reads_only_what_only_the_owner_can_read() {
        check(b"s3cret\n", 0o600, Ok("s3cret"));
        check(b" s3 cret\r\n", 0o400, Ok(" s3 cret"));
        check(b"s3cret", 0o640, Err("mode 0640"));
        check(b"s3cret", 0o604, Err("chmod 600"));
        check(b"\n", 0o600, Err("is empty"));
        check(b"\xff\xfe", 0o600, Err("not UTF-8"));
        check(&[b'x'; 70_000], 0o600, Err("longer"));
        assert!(SecretFile { file: "/".into() }.read().unwrap_err().contains("not a file"));
    }
}
