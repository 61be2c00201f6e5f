//! phiwatch audits itself: who asked what, as lines of a hash-chained file in the state folder (DESIGN, decision 14).
//!
//! Each line carries the hash of the one before it; what was asked can name a person and is sealed. An act that cannot be noted does
//! not take place.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{now, seal};
use crate::cli::Stop;
use crate::settings::Settings;
use crate::store::Seal;

const AUDIT: &str = "audit.jsonl";

/// Notes an act on the history at `dir`: the kind of act in clear, its words sealed.
///
/// # Errors
/// Where the line cannot be made durable.
pub fn audit(settings: &Settings, dir: &Path, act: &str, words: &str) -> Result<(), Stop> {
    let state = settings.state_dir(dir);
    let failed = |error: std::io::Error| Stop::Failed(format!("the self-audit cannot be written: {error}"));
    std::fs::create_dir_all(&state).map_err(failed)?;
    let path = state.join(AUDIT);
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    file.lock().map_err(failed)?;
    let previous = last_line(&mut file).map_err(failed)?;
    let before = previous.map(|line| hex(&Sha256::digest(line.as_bytes()))).unwrap_or_default();
    let who = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let words = STANDARD.encode(seal(settings, dir, &state)?.seal(AUDIT, words.as_bytes()));
    let line = json!({"at": now().to_string(), "who": who, "act": act, "words": words, "before": before});
    file.write_all(format!("{line}\n").as_bytes()).map_err(failed)?;
    file.sync_data().map_err(failed)
}

fn last_line(file: &mut File) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().last().map(str::to_owned))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
