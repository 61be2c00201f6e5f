//! phiwatch audits itself: who asked what, as lines of a hash-chained file in the state folder (DESIGN, decision 14).
//!
//! Each line carries the hash of the one before it and a keyed hash of itself, so that nobody without the key can alter, take out or
//! add one unnoticed; what was asked can name a person and is sealed. An act that cannot be noted does not take place. `run` drains
//! the lines into the history: the file then begins with the last line that was drained, so that the chain goes on.
//!
//! Lines are numbered, and the newest number and hash stand a second time in a sealed file beside them, so that lines cut off at the end
//! are noticed: by the head that names a line that is gone, or by the number that the next act leaves out. Whoever puts an older copy of
//! both files back takes the same time back for both; `run` notices it where it had drained more, which it does every minute.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{now, seal};
use crate::app::Stop;
use crate::keys::write_durably;
use crate::settings::Settings;
use crate::store::{AesSeal, Seal};

/// The name of the file in the state folder.
pub(super) const AUDIT: &str = "audit.jsonl";
/// The name of the file with the newest number and hash, sealed.
pub(super) const HEAD: &str = "audit.head";
/// What stands before the keyed hash at the end of a line.
const MAC: &str = ",\"mac\":\"";

/// Notes an act on the history at `dir`: the kind of act in clear, its words sealed.
///
/// # Errors
/// Where the line cannot be made durable.
pub fn audit(settings: &Settings, dir: &Path, act: &str, words: &str) -> Result<(), Stop> {
    let state = settings.state_dir(dir);
    let seal = seal(settings, dir, &state)?;
    note(&state, &seal, act, words).map_err(|error| {
        let path = state.join(AUDIT);
        Stop::Failed(format!(
            "{}: the self-audit cannot be written, and without it nothing is done: {error}",
            path.display()
        ))
    })
}

/// Who acts, as far as the system says; `sudo` is looked through. The environment is easily made up, the number of the user is not.
pub fn who() -> String {
    let of = |name| std::env::var(name).ok().filter(|who| !who.is_empty());
    let name = match (of("SUDO_USER"), of("USER")) {
        (Some(who), Some(acting)) => format!("{who} as {acting}"),
        (who, acting) => who.or(acting).unwrap_or_else(|| "unnamed".to_owned()),
    };
    // A process belongs to its user.
    match std::fs::metadata("/proc/self") {
        Ok(own) => format!("{name} (uid {})", own.uid()),
        Err(_) => name,
    }
}

fn note(state: &Path, seal: &AesSeal, act: &str, words: &str) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let mut lines = Lines::lock(state)?;
    let words = STANDARD.encode(seal.seal(AUDIT, words.as_bytes()));
    // Where lines were cut off, the number that they leave out is in the next line for good.
    let head = Head::read(state, seal).ok().flatten();
    let last = lines.lines.last().map_or(0, |line| number_of(line));
    let number = last.max(head.map_or(0, |head| head.number)) + 1;
    let body = json!({
        "at": now().to_string(), "who": who(), "act": act, "words": words, "before": lines.head(), "number": number,
    });
    let line = signed(&body.to_string(), seal);
    lines.append(&line)?;
    Head::of(&line).write(state, seal)
}

/// The newest line, as it stands beside the lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// That of a line.
    pub fn of(line: &str) -> Head {
        Head { number: number_of(line), hash: hash_of(line) }
    }

    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// In words, where it cannot be read or was altered.
    pub fn read(state: &Path, seal: &AesSeal) -> Result<Option<Head>, String> {
        let altered = || "the head of the self-audit was altered".to_owned();
        match std::fs::read(state.join(HEAD)) {
            Ok(sealed) => {
                let plain = seal.open(HEAD, &sealed).map_err(|_| altered())?;
                serde_json::from_slice(&plain).map(Some).map_err(|_| altered())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("the head of the self-audit cannot be read: {error}")),
        }
    }

    /// Writes it, durably.
    pub fn write(&self, state: &Path, seal: &AesSeal) -> std::io::Result<()> {
        let plain = serde_json::to_vec(self).expect("a head is plain values");
        write_durably(&state.join(HEAD), &seal.seal(HEAD, &plain), 0o600)
    }
}

/// The number of a line; 0 of one that has none, as versions before this one wrote them.
fn number_of(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).ok().and_then(|line| line["number"].as_u64()).unwrap_or(0)
}

/// What is wrong with the end of the lines. `drained` is the newest line that is in the history: number and hash. Called with the lines
/// locked, so that nobody is between a line and its head.
pub(super) fn cut_off(lines: &[String], drained: Option<&Head>, state: &Path, seal: &AesSeal) -> Option<String> {
    let head = match Head::read(state, seal) {
        Ok(head) => head,
        Err(what) => return Some(what),
    };
    let newest = lines.last().map_or(0, |line| number_of(line)).max(drained.map_or(0, |drained| drained.number));
    let Some(head) = head else {
        return (newest > 0).then(|| "the head of the self-audit was taken out".to_owned());
    };
    let there = |line: &String| hash_of(line) == head.hash;
    if lines.iter().any(there) || drained.is_some_and(|drained| drained.hash == head.hash) {
        return None;
    }
    // A crash between a line and its head leaves the head one behind; it names a line all the same.
    let what = match head.number > newest {
        true => "lines of the self-audit were cut off: the newest was",
        false => "an older self-audit was put in its place: its newest was",
    };
    Some(format!("{what} number {}", head.number))
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

/// What is wrong with a chain of lines that begins after the line `before`, or at the very beginning: in words, with the place of the line.
pub(super) fn wrong(lines: &[String], before: Option<&Head>, seal: &AesSeal) -> Option<String> {
    let (mut before, mut last) = before.map_or_else(Default::default, |head| (head.hash.clone(), head.number));
    for (index, line) in lines.iter().enumerate() {
        let signed = line.split_once(MAC).and_then(|(body, mac)| {
            let expected = hex(&seal.hash(AUDIT, &format!("{body}}}")));
            (mac.strip_suffix("\"}")? == expected).then_some(())
        });
        if signed.is_none() {
            return Some(format!("line {} of the self-audit was altered", index + 1));
        }
        let read: Value = serde_json::from_str(line).unwrap_or_default();
        let number = read["number"].as_u64().unwrap_or(0);
        // Lines of versions before this one have no number.
        let follows = number == last + 1 || (number, last) == (0, 0);
        if read["before"].as_str() != Some(&before) || !follows {
            return Some(format!("before line {} of the self-audit something was taken out or added", index + 1));
        }
        (before, last) = (hash_of(line), number);
    }
    None
}

/// The hash by which the next line names this one.
fn hash_of(line: &str) -> String {
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
        assert_eq!((lines.len(), wrong(&lines, None, &seal())), (4, None));
        assert!(lines.iter().all(|line| !line.contains("canary")));
        let changed = |change: Change<'_>| {
            let mut lines = lines.clone();
            change(&mut lines);
            wrong(&lines, None, &seal())
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

    /// What is noticed of the end of the file, by what was done to the lines and to the head; the first `drained` lines are in the history.
    #[test]
    fn a_cut_end_is_noticed() {
        let check = |what: &str, drained: usize, change: Change<'_>, head: Option<usize>, expected: Option<&str>| {
            let (dir, mut lines) = acts();
            let in_history = drained.checked_sub(1).map(|last| Head::of(&lines[last]));
            let path = dir.path().join(HEAD);
            match head {
                Some(number) => Head::of(&lines[number - 1]).write(dir.path(), &seal()).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            change(&mut lines);
            let found = cut_off(&lines, in_history.as_ref(), dir.path(), &seal());
            match expected {
                None => assert_eq!(found, None, "{what}"),
                Some(words) => assert!(found.as_ref().is_some_and(|found| found.contains(words)), "{what}: {found:?}"),
            }
        };
        let cut = "lines of the self-audit were cut off: the newest was number 4";
        check("nothing", 0, &|_| (), Some(4), None);
        check("the last line", 0, &|lines| lines.truncate(3), Some(4), Some(cut));
        check("all lines", 0, &|lines| lines.clear(), Some(4), Some(cut));
        check("all that is not in the history", 2, &|lines| _ = lines.drain(2..), Some(4), Some(cut));
        check("drained and cut by the program", 4, &|lines| _ = lines.drain(..3), Some(4), None);
        check("a crash before the head was written", 0, &|_| (), Some(3), None);
        check("the head", 0, &|_| (), None, Some("taken out"));
        check("the head and all lines but the drained one", 2, &|lines| _ = lines.drain(2..), None, Some("taken out"));
        check("all of it, before anything was drained: nothing is left to tell", 0, &|lines| lines.clear(), None, None);
        check("an older copy", 4, &|lines| lines.truncate(2), Some(2), None);
        let (dir, lines) = acts();
        std::fs::write(dir.path().join(HEAD), b"nonsense").unwrap();
        assert!(cut_off(&lines, None, dir.path(), &seal()).unwrap().contains("altered"));
    }

    #[test]
    fn the_next_act_after_a_cut_keeps_the_trace_of_it() {
        let (dir, lines) = acts();
        std::fs::write(dir.path().join(AUDIT), format!("{}\n", lines[..2].join("\n"))).unwrap();
        note(dir.path(), &seal(), "ask", "more").unwrap();
        let after = Lines::lock(dir.path()).unwrap().lines;
        assert_eq!(cut_off(&after, None, dir.path(), &seal()), None);
        assert!(wrong(&after, None, &seal()).unwrap().starts_with("before line 3 "));
        // An older copy of lines and head, where the history has more.
        assert!(wrong(&lines[..2], Some(&Head::of(&lines[3])), &seal()).is_some());
    }

    #[test]
    fn the_chain_goes_on_after_a_cut() {
        let (dir, lines) = acts();
        Lines::lock(dir.path()).unwrap().cut().unwrap();
        note(dir.path(), &seal(), "ask", "more").unwrap();
        let after = Lines::lock(dir.path()).unwrap().lines;
        assert_eq!((after.len(), &after[0]), (2, &lines[3]));
        assert_eq!(wrong(&after[1..], Some(&Head::of(&lines[3])), &seal()), None);
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
