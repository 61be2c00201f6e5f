//! phiwatch audits itself: who asked what, as lines of a hash-chained file in the state folder (DESIGN, decision 14).
//!
//! Each line carries the hash of the one before it and a keyed hash of itself, so that nobody without the key can alter, take out or
//! add one unnoticed; what was asked can name a person and is sealed. An act that cannot be noted does not take place. `run` drains
//! the lines into the history: the file then begins with the last line that was drained, so that the chain goes on.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{now, seal};
use crate::app::Stop;
use crate::keys::write_durably;
use crate::settings::Settings;
use crate::store::{AesSeal, Seal};

/// The name of the file in the state folder.
pub(super) const AUDIT: &str = "audit.jsonl";
/// What stands before the keyed hash at the end of a line.
const MAC: &str = ",\"mac\":\"";

/// Notes an act on the history at `dir`: the kind of act in clear, its words sealed.
///
/// # Errors
/// Where the line cannot be made durable.
pub fn audit(settings: &Settings, dir: &Path, act: &str, words: &str) -> Result<(), Stop> {
    let state = settings.state_dir(dir);
    let seal = seal(settings, dir, &state)?;
    note(&state, &seal, act, words).map_err(|error| Stop::Failed(format!("the self-audit cannot be written: {error}")))
}

/// Who acts, as far as the system says; `sudo` is looked through.
pub fn who() -> String {
    let of = |name| std::env::var(name).ok().filter(|who| !who.is_empty());
    match (of("SUDO_USER"), of("USER")) {
        (Some(who), Some(acting)) => format!("{who} as {acting}"),
        (who, acting) => who.or(acting).unwrap_or_else(|| "unknown".to_owned()),
    }
}

fn note(state: &Path, seal: &AesSeal, act: &str, words: &str) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let mut lines = Lines::lock(state)?;
    let words = STANDARD.encode(seal.seal(AUDIT, words.as_bytes()));
    let body = json!({"at": now().to_string(), "who": who(), "act": act, "words": words, "before": lines.head()});
    lines.append(&signed(&body.to_string(), seal))
}

/// A line with its keyed hash at the end.
fn signed(body: &str, seal: &AesSeal) -> String {
    let mac = hex(&seal.hash(AUDIT, body));
    format!("{}{MAC}{mac}\"}}", body.strip_suffix('}').unwrap_or(body))
}

/// The file, locked against other processes.
pub(super) struct Lines {
    file: File,
    path: PathBuf,
    /// Its lines.
    pub lines: Vec<String>,
}

impl Lines {
    /// Opens and locks the file below `state`, and reads it. Where it was exchanged for another meanwhile the other is taken.
    pub fn lock(state: &Path) -> std::io::Result<Lines> {
        let path = state.join(AUDIT);
        loop {
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            file.lock()?;
            let same =
                std::fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino()));
            if same {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                // A line that a crash tore was never acknowledged; it stays and is noticed.
                let torn = !text.is_empty() && !text.ends_with('\n');
                if torn {
                    file.write_all(b"\n")?;
                }
                return Ok(Lines { file, path, lines: text.lines().map(str::to_owned).collect() });
            }
        }
    }

    /// The hash of the last line; empty where there is none.
    pub fn head(&self) -> String {
        self.lines.last().map(|line| hash_of(line)).unwrap_or_default()
    }

    fn append(&mut self, line: &str) -> std::io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.file.sync_data()
    }

    /// Lets the file begin with its last line: all others are in the history.
    pub fn cut(self) -> std::io::Result<()> {
        let last = self.lines.last().map(|line| format!("{line}\n")).unwrap_or_default();
        // The lock is held on what is exchanged: whoever waits for it looks again.
        write_durably(&self.path, last.as_bytes(), 0o600)
    }
}

/// What is wrong with a chain of lines that begins after the line of which `before` is the hash: in words, with the number of the line.
pub(super) fn wrong(lines: &[String], before: &str, seal: &AesSeal) -> Option<String> {
    let mut before = before.to_owned();
    for (index, line) in lines.iter().enumerate() {
        let signed = line.split_once(MAC).and_then(|(body, mac)| {
            let expected = hex(&seal.hash(AUDIT, &format!("{body}}}")));
            (mac.strip_suffix("\"}")? == expected).then_some(())
        });
        if signed.is_none() {
            return Some(format!("line {} of the self-audit was altered", index + 1));
        }
        let read: Value = serde_json::from_str(line).unwrap_or_default();
        if read["before"].as_str() != Some(&before) {
            return Some(format!("before line {} of the self-audit something was taken out or added", index + 1));
        }
        before = hash_of(line);
    }
    None
}

/// The hash by which the next line names this one.
pub(super) fn hash_of(line: &str) -> String {
    hex(&Sha256::digest(line.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> AesSeal {
        AesSeal::new(&[7; 32])
    }

    /// Something that is done to the lines.
    type Change<'a> = &'a dyn Fn(&mut Vec<String>);

    /// A file of four acts.
    fn acts() -> (tempfile::TempDir, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for act in ["ask", "alerts list", "alerts show", "reload"] {
            note(dir.path(), &seal(), act, "canary").unwrap();
        }
        let lines = Lines::lock(dir.path()).unwrap().lines;
        (dir, lines)
    }

    #[test]
    fn whatever_is_done_to_the_lines_is_noticed() {
        let (_dir, lines) = acts();
        assert_eq!((lines.len(), wrong(&lines, "", &seal())), (4, None));
        assert!(lines.iter().all(|line| !line.contains("canary")));
        let changed = |change: Change<'_>| {
            let mut lines = lines.clone();
            change(&mut lines);
            wrong(&lines, "", &seal())
        };
        let cases: [(&str, Change<'_>); 7] = [
            ("altered", &|lines| lines[1] = lines[1].replace("alerts list", "alerts none")),
            ("the last one altered", &|lines| lines[3] = lines[3].replace("reload", "nothing")),
            ("taken out", &|lines| _ = lines.remove(2)),
            ("the first taken out", &|lines| _ = lines.remove(0)),
            ("exchanged", &|lines| lines.swap(1, 2)),
            ("repeated", &|lines| lines.insert(1, lines[1].clone())),
            ("made with another key", &|lines| lines.push(signed("{\"before\":\"\"}", &AesSeal::new(&[8; 32])))),
        ];
        for (what, change) in cases {
            assert!(changed(change).is_some(), "{what}");
        }
    }

    #[test]
    fn the_chain_goes_on_after_a_cut() {
        let (dir, lines) = acts();
        Lines::lock(dir.path()).unwrap().cut().unwrap();
        note(dir.path(), &seal(), "ask", "more").unwrap();
        let after = Lines::lock(dir.path()).unwrap().lines;
        assert_eq!((after.len(), &after[0]), (2, &lines[3]));
        assert_eq!(wrong(&after[1..], &hash_of(&lines[3]), &seal()), None);
    }

    #[test]
    fn a_writer_that_waited_for_the_lock_writes_into_the_new_file() {
        let (dir, _) = acts();
        let lines = Lines::lock(dir.path()).unwrap();
        let state = dir.path().to_path_buf();
        let waiting = std::thread::spawn(move || note(&state, &seal(), "ask", "late").unwrap());
        std::thread::sleep(std::time::Duration::from_millis(100));
        lines.cut().unwrap();
        waiting.join().unwrap();
        assert_eq!(Lines::lock(dir.path()).unwrap().lines.len(), 2);
    }
}
