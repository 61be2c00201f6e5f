//! Scans with a history, one after the other, as a site makes them: what is kept between them, and that nothing is there twice.

use std::path::{Path, PathBuf};

use super::*;
use crate::history::Reader;
use crate::pipeline::Tally;

/// A site in a folder of its own.
pub(super) struct Site {
    dir: tempfile::TempDir,
    pub settings: Settings,
}

impl Site {
    pub fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        let history = HistorySettings { dir: dir.path().join("history"), ..HistorySettings::default() };
        (settings.rosters, settings.history) = (Some(dir.path().join("rosters")), Some(history));
        std::fs::create_dir(dir.path().join("rosters")).unwrap();
        Site { dir, settings }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Scans files; what came of the records, and the lines of alerts.
    pub fn scan(&self, inputs: &[&str]) -> (Tally, Vec<String>) {
        let inputs: Vec<PathBuf> = inputs.iter().map(|name| self.path(name)).collect();
        let mut out = Vec::new();
        let tally = scan(&self.settings, &inputs, &mut out).unwrap_or_else(|stop| panic!("{stop:?}"));
        (tally, String::from_utf8(out).unwrap().lines().map(str::to_owned).collect())
    }

    pub fn reader(&self) -> Reader {
        let dir = self.path("history");
        runtime().unwrap().block_on(Reader::open(&dir, &self.settings.key_source(&dir))).unwrap()
    }

    /// The users of the newest accepted roster version, a line each, without the header.
    fn users(&self) -> Vec<String> {
        let accepted = Accepted::from_bytes(&self.reader().newest_roster().unwrap().unwrap()).unwrap();
        let (_, bytes) = accepted.files().iter().find(|(name, _)| name == "users.csv").unwrap();
        let lines = String::from_utf8(bytes.clone()).unwrap();
        // Moments of acceptance come from the clock.
        let dated =
            |cell: &str| if cell.contains("T") && cell.ends_with('Z') { "*".to_owned() } else { cell.to_owned() };
        let line = |line: &str| line.split(',').map(dated).collect::<Vec<_>>().join(",");
        lines.lines().skip(1).map(line).collect()
    }
}

/// An access as a line of JSON.
pub(super) fn access(id: &str, time: &str, actor: &str, patient: &str) -> String {
    let line = serde_json::json!({
        "event_id": id, "time": time, "source": "ehr", "actor": {"id": actor}, "activity": "read",
        "patients": [patient], "outcome": "success",
    });
    format!("{line}\n")
}

fn blobs(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("blobs/roster")).unwrap().count()
}

#[test]
fn nightly_dumps_become_dated_rows_from_one_scan_to_the_next() {
    let site = Site::new();
    site.write("a.jsonl", &access("1", "2026-02-02T10:00:00Z", "u1", "p1"));
    site.write("rosters/users.csv", "user_id,role\nu1,nurse\nu2,clerk\n");
    site.scan(&["a.jsonl"]);
    let first = site.users();
    assert_eq!(first.len(), 2);
    assert_eq!(blobs(&site.path("history")), 1);

    // The same dump again is the same version.
    site.write("rosters/users.csv", "role,user_id\nclerk,u2\nnurse,u1\n");
    site.scan(&["a.jsonl"]);
    assert_eq!((site.users(), blobs(&site.path("history"))), (first.clone(), 1));

    site.write("rosters/users.csv", "user_id,role\nu1,doctor\nu2,clerk\nu3,porter\n");
    site.scan(&["a.jsonl"]);
    let dated = site.users();
    assert_eq!(dated.len(), 4, "u1 has an old and a new row: {dated:?}");
    assert_eq!(dated.iter().filter(|line| line.contains('*')).count(), 3, "{dated:?}");
    assert!(dated.contains(&first[1]), "u2 has not changed: {dated:?}");
    assert_eq!(blobs(&site.path("history")), 2);

    // Without a folder the last version stays.
    let mut without = Site { dir: site.dir, settings: site.settings };
    without.settings.rosters = None;
    without.scan(&["a.jsonl"]);
    assert_eq!(without.users(), dated);
}

#[test]
fn a_roster_that_lost_half_of_its_rows_is_refused_from_one_scan_to_the_next() {
    let mut site = Site::new();
    site.write("a.jsonl", &access("1", "2026-02-02T10:00:00Z", "u1", "p1"));
    site.write("rosters/users.csv", "user_id\nu1\nu2\nu3\nu4\n");
    site.scan(&["a.jsonl"]);
    let before = site.users();
    site.write("rosters/users.csv", "user_id\nu1\n");
    site.scan(&["a.jsonl"]);
    assert_eq!(site.users(), before);
    site.settings.allow_shrink = true;
    site.scan(&["a.jsonl"]);
    assert_eq!(site.users().iter().filter(|line| line.contains('*')).count(), 3, "{:?}", site.users());
}
