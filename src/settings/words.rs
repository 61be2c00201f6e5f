//! Single words of the settings: a length of time, the address of a history, the name of a format.

use std::path::{Path, PathBuf};

use crate::decode::Format;

/// The folder that a history's address names.
///
/// # Errors
/// In words, where it names an object store.
pub fn local(address: &Path) -> Result<PathBuf, String> {
    let text = address.to_string_lossy();
    match text.split_once("://") {
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some((scheme, _)) => Err(format!(
            "{scheme}:// is an object store: this version keeps a history in a local folder only; name a folder, such as \"/var/lib/phiwatch/history\""
        )),
        None if text.is_empty() => Err("the folder of the history has no name".to_owned()),
        None => Ok(address.to_owned()),
    }
}

/// What to say about a format that is not known.
pub fn unknown_format(text: &str) -> String {
    let known: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
    format!("{text:?} is no format that can be read; choose one of {}", known.join(", "))
}

/// Reads `36h`, `90m`, `20s` or `2d`, in microseconds.
pub fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(local(Path::new("file:///var/h")), Ok("/var/h".into()));
        assert_eq!(local(Path::new("h")), Ok("h".into()));
        for bad in ["", "s3://bucket/x", "az://c/x"] {
            assert!(local(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("36h", Some(129_600)), ("20 s", Some(20)), ("2d", Some(172_800)), ("h", None), ("5", None)]
        {
            assert_eq!(duration(text).map(|d| d / 1_000_000), seconds, "{text}");
        }
    }
}
