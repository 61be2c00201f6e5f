//! Acceptance of a folder of roster files: what is taken, what is refused, and which last good file stays.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::build::{Builder, Reading};
use super::columns::{ALL, FileSpec, Shape};
use super::lookup::Roster;
use super::text::{self, Complaint, Refused};
use super::{canonical, diff};
use crate::event::Problem;
use crate::event::time::{Time, Zone};

/// Rows of one file that are named one by one; the others are counted.
const NAMED_ROWS_MAX: usize = 50;

/// How a folder is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Intake<'a> {
    /// The last accepted version, where there is one.
    pub previous: Option<&'a Accepted>,
    /// The moment of acceptance: changes in rosters without dates count from here.
    pub at: Time,
    /// Takes files even where they shrank by more than half or are gone.
    pub allow_shrink: bool,
}

/// The roster files in force, in canonical form: the same content is the same bytes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    files: Vec<(String, Vec<u8>)>,
}

impl Accepted {
    /// Name (such as `users.csv`) and content of each file, in a fixed order.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// One piece of bytes, for storage under [`Accepted::hash`].
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("names and bytes can always be written")
    }

    /// What [`Accepted::to_bytes`] made; `None` where the bytes are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Accepted> {
        postcard::from_bytes(bytes).ok()
    }

    /// 32 hexadecimal digits over the content; the order of rows and columns in the files that came does not matter.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (name, bytes) in &self.files {
            for part in [name.as_bytes(), bytes.as_slice()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn file(&self, spec: &FileSpec) -> Option<&[u8]> {
        let name = csv_name(spec);
        self.files.iter().find(|(own, _)| *own == name).map(|(_, bytes)| bytes.as_slice())
    }
}

impl std::fmt::Debug for Accepted {
    /// Names and sizes; never content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.files.iter().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCount {
    /// Its name, as it came.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows refused.
    pub refused: u64,
    /// Whether the file was refused whole, so that the last good one stays.
    pub kept_previous: bool,
}

/// A roster, and all that is to be said about its files.
#[derive(Debug)]
pub struct Loaded {
    /// Ready to be asked.
    pub roster: Roster,
    /// What it was made of, to be stored and given to the next [`load`].
    pub accepted: Arc<Accepted>,
    /// Everything that is wrong, by file and line; never a name or record number.
    pub problems: Vec<Problem>,
    /// Rows and refused rows by file.
    pub counts: Vec<FileCount>,
}

/// Accepts the files of a roster folder: `(name, bytes)`, `.csv` or `.jsonl`.
///
/// A bad row is refused and named; a bad file is refused whole and the last good one stays. A file without dates is compared with the
/// last accepted one. Plain dates in rows without a site, and sites without a zone, are in `default_zone`.
pub fn load(files: &[(String, Vec<u8>)], default_zone: Zone, intake: &Intake<'_>) -> Loaded {
    let mut loading = Loading {
        intake,
        builder: Builder::new(default_zone),
        accepted: Accepted::default(),
        problems: strangers(files),
        counts: Vec::new(),
    };
    for spec in &ALL {
        loading.file(spec, files);
    }
    let hash = loading.accepted.hash();
    let mut problems = loading.problems;
    let roster = Roster::finish(loading.builder, hash, &mut |name, line, what| {
        problems.push(Problem { file: PathBuf::from(name), line, what });
    });
    problems.sort();
    problems.dedup();
    Loaded { roster, accepted: Arc::new(loading.accepted), problems, counts: loading.counts }
}

impl Roster {
    /// The roster of an accepted version, as [`load`] made it.
    pub fn from_accepted(accepted: &Accepted, default_zone: Zone) -> Roster {
        let mut builder = Builder::new(default_zone);
        for spec in &ALL {
            if let Some(bytes) = accepted.file(spec) {
                // What is in canonical form was read before; a damaged file leaves its table empty.
                let _ = builder.read(spec, false, bytes);
            }
        }
        Roster::finish(builder, accepted.hash(), &mut |_, _, _| {})
    }
}

struct Loading<'a> {
    intake: &'a Intake<'a>,
    builder: Builder,
    accepted: Accepted,
    problems: Vec<Problem>,
    counts: Vec<FileCount>,
}

impl Loading<'_> {
    fn file(&mut self, spec: &FileSpec, files: &[(String, Vec<u8>)]) {
        let previous = self.intake.previous.and_then(|previous| previous.file(spec));
        let csv = csv_name(spec);
        let found = files.iter().find(|(name, _)| *name == csv);
        let found = found.or_else(|| files.iter().find(|(name, _)| *name == format!("{}.jsonl", spec.name)));
        let Some((name, bytes)) = found else {
            return self.missing(spec, previous);
        };
        let json = name.ends_with(".jsonl");
        match self.builder.read(spec, json, bytes) {
            Err(Refused { line, what }) => self.keep(spec, name, previous, line, &what),
            Ok(reading) => {
                self.name_rows(name, &reading.refused, "; the row is refused");
                self.name_rows(name, &reading.warnings, "");
                let rows = reading.rows - reading.refused.len() as u64;
                if let Some(before) = previous
                    .map(|previous| living(spec, previous, self.intake.at))
                    .filter(|before| !self.intake.allow_shrink && rows * 2 < *before)
                {
                    let what =
                        format!("shrank from {before} to {rows} usable rows; refused unless shrinking is allowed");
                    return self.keep(spec, name, previous, None, &what);
                }
                self.take(spec, name, bytes, &reading, previous);
            }
        }
    }

    fn take(&mut self, spec: &FileSpec, name: &str, bytes: &[u8], reading: &Reading, previous: Option<&[u8]>) {
        let json = name.ends_with(".jsonl");
        let refused: Vec<u64> = reading.refused.iter().map(|(line, _)| *line).collect();
        let mut form = canonical::canonical(spec, json, bytes, &reading.layout, &refused);
        let mut undated = self.builder.undated_ends(spec.name);
        if let Some(previous) = previous.filter(|_| !reading.dated) {
            let spared = spared(spec, json, bytes, &refused);
            let zone = self.builder.sites[0].zone.clone();
            form = diff::diff(spec, previous, &form, &spared, self.intake.at, &zone);
            if let Ok(again) = self.builder.read(spec, false, &form) {
                debug_assert!(again.refused.is_empty(), "dated rows fit together: {:?}", again.refused);
                // The comparison gave most of them a date; a row that it closed speaks of nothing that holds now.
                let in_force =
                    self.builder.undated_ends(spec.name).into_iter().filter(|row| row.until > self.intake.at);
                let still: BTreeSet<u32> = in_force.map(|row| row.key).collect();
                undated.retain(|row| still.contains(&row.key));
            }
        }
        let undated: Vec<(u64, Complaint)> = undated.iter().map(|row| (row.line, row.complaint())).collect();
        self.name_rows(name, &undated, "");
        self.counts.push(FileCount {
            file: name.to_owned(),
            rows: reading.rows,
            refused: refused.len() as u64,
            kept_previous: false,
        });
        self.accepted.files.push((csv_name(spec), form));
    }

    /// Refuses a file whole; the last good one stays, where there is one.
    fn keep(&mut self, spec: &FileSpec, name: &str, previous: Option<&[u8]>, line: Option<u64>, what: &str) {
        let rest = if previous.is_some() { "the last good one stays" } else { "there is no earlier one" };
        self.problems.push(Problem { file: PathBuf::from(name), line, what: format!("{what}; {rest}") });
        self.counts.push(FileCount { file: name.to_owned(), rows: 0, refused: 0, kept_previous: previous.is_some() });
        self.reuse(spec, previous);
    }

    fn reuse(&mut self, spec: &FileSpec, previous: Option<&[u8]>) {
        let bytes = previous.unwrap_or_default();
        // Reading nothing at all clears what a refused file left behind.
        let _ = self.builder.read(spec, false, bytes);
        if previous.is_some() {
            self.accepted.files.push((csv_name(spec), bytes.to_vec()));
        }
    }

    fn missing(&mut self, spec: &FileSpec, previous: Option<&[u8]>) {
        let name = csv_name(spec);
        match previous {
            Some(_) if !self.intake.allow_shrink => self.keep(spec, &name, previous, None, "is gone"),
            _ if spec.name == "users" => self.problems.push(Problem {
                file: PathBuf::from(name),
                line: None,
                what: "is missing; it is the one file that every folder needs".into(),
            }),
            _ => {}
        }
    }

    fn name_rows(&mut self, name: &str, rows: &[(u64, Complaint)], verdict: &str) {
        for (line, what) in rows.iter().take(NAMED_ROWS_MAX) {
            let what = format!("{what}{verdict}");
            self.problems.push(Problem { file: PathBuf::from(name), line: Some(*line), what });
        }
        if let Some(more) = rows.len().checked_sub(NAMED_ROWS_MAX).filter(|more| *more > 0) {
            let what = format!("{more} more rows like those above{verdict}");
            self.problems.push(Problem { file: PathBuf::from(name), line: None, what });
        }
    }
}

fn csv_name(spec: &FileSpec) -> String {
    format!("{}.csv", spec.name)
}

/// Files that look like rosters and are none, or come twice.
fn strangers(files: &[(String, Vec<u8>)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, _) in files {
        let Some((stem, ending)) = name.rsplit_once('.') else { continue };
        if !matches!(ending, "csv" | "jsonl") {
            continue;
        }
        let twice = ending == "jsonl" && files.iter().any(|(other, _)| *other == format!("{stem}.csv"));
        let what = match FileSpec::get(stem) {
            None => "is none of the roster files and was not read",
            Some(_) if twice => "lies beside a CSV file of the same name and was not read",
            Some(_) => continue,
        };
        problems.push(Problem { file: PathBuf::from(name), line: None, what: what.into() });
    }
    problems
}

/// Rows of an accepted file that have not ended at `at`.
fn living(spec: &FileSpec, bytes: &[u8], at: Time) -> u64 {
    let mut rows = 0;
    let to = spec.slot("valid_to");
    let counted = text::read(spec, false, bytes, &mut |row| {
        let ended = row.get(to).and_then(Time::parse).is_some_and(|to| to <= at);
        rows += u64::from(!ended);
        Ok(())
    });
    counted.map_or(0, |_| rows)
}

/// Keys of refused rows: that their row could not be read does not mean that they are gone.
fn spared(spec: &FileSpec, json: bool, bytes: &[u8], refused: &[u64]) -> Vec<String> {
    let Shape::Keyed(width) = spec.shape else { return Vec::new() };
    let mut keys = Vec::new();
    if refused.is_empty() {
        return keys;
    }
    let again = text::read(spec, json, bytes, &mut |row| {
        if refused.binary_search(&row.line).is_ok() {
            keys.push(diff::joined((0..width).map(|slot| row.get(slot).unwrap_or_default())));
        }
        Ok(())
    });
    debug_assert!(again.is_ok(), "a file that was read once can be read again");
    keys
}
