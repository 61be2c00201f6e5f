//! Damage at rest: one file of an installation is altered, cut, emptied, exchanged or gone, and everything is tried.
//!
//! Nothing panics, no complaint names a person, and what is answered is what was there: only the Delta log is taken at its word
//! here, because it is `verify` that knows it by its hashes.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::super::*;
use super::{Site, access};
use crate::event::Raised;
use crate::history::Reader;
use crate::store::{Filter, Ruling, Verdict};

/// Names that no complaint may hold.
const SECRET: [&str; 4] = ["zq-user", "zq-patient", "zq-stranger", "Qwertzenberg"];

/// Events in all, and each once.
const COUNTS: &str = "SELECT count(*) AS n, count(DISTINCT event_id) AS m FROM events";

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    /// Bytes are overwritten.
    Bytes(Vec<(u16, u8)>),
    /// The end is missing.
    Cut(u16),
    /// Something stands behind the end.
    Longer(Vec<u8>),
    /// It has the bytes of a neighbour in its folder.
    Exchanged(u16),
    Gone,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = proptest::collection::vec((any::<u16>(), any::<u8>()), 1..3);
    prop_oneof![
        5 => bytes.prop_map(Damage::Bytes),
        2 => any::<u16>().prop_map(Damage::Cut),
        1 => proptest::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Longer),
        1 => any::<u16>().prop_map(Damage::Exchanged),
        1 => Just(Damage::Gone),
    ]
}

/// An installation with something in every file that it can have, and what it answers.
struct Sound {
    site: Site,
    files: Vec<PathBuf>,
    answers: Vec<String>,
}

/// Built once; every case works on a copy.
static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let site = Site::new();
    site.write("rosters/users.csv", "user_id,name,status\nzq-user-1,Qwertzenberg,active\nzq-user-2,Roe,active\n");
    let line = |n: usize| {
        let (time, who) = (format!("2026-02-{:02}T10:{:02}:00Z", 2 + n / 20, n % 20), n % 7);
        let who = if who == 0 { "zq-stranger".to_owned() } else { format!("zq-user-{}", 1 + who % 2) };
        access(&format!("e{n}"), &time, &who, &format!("zq-patient-{}", n % 9))
    };
    let lines = |range: std::ops::Range<usize>| range.map(line).collect::<String>();
    site.write("a.jsonl", &(lines(0..60) + "{\"event_id\":\"zq-patient-0\"\n"));
    site.write("b.jsonl", &lines(50..120));
    site.write("c.jsonl", &lines(110..150));
    site.scan(&["a.jsonl"]);
    site.write("rosters/users.csv", "user_id,name,status\nzq-user-1,Berg,active\nzq-user-2,Roe,active\n");
    site.scan(&["b.jsonl"]);
    let (dir, settings) = (site.path("history"), &site.settings);
    let state = settings.state_dir(&dir);
    let store = store(settings, &dir, &state, true).unwrap();
    let listed = store.list(&Filter::default()).unwrap();
    let raised: Vec<Raised> = listed
        .iter()
        .map(|one| Raised { alert: one.alert.clone(), day: one.day, at: one.at, interrupts: true, routing: Vec::new() })
        .collect();
    assert!(!raised.is_empty());
    store.raise(&raised, &|_| vec!["mail".to_owned()], now()).unwrap();
    let alert_id = raised[0].alert.alert_id.clone();
    let (reason, who) = ("zq-patient-3 asked".to_owned(), "officer".to_owned());
    store.add_verdict(&Verdict { seq: 0, alert_id, ruling: Ruling::Justified, reason, who, at: Time(7) }).unwrap();
    drop(store);
    audit(settings, &dir, "ask", "who-accessed zq-patient-1").unwrap();
    let mut files = Vec::new();
    list(site.dir.path(), &mut files);
    files.retain(|path| {
        let place = path.strip_prefix(site.dir.path()).unwrap();
        place.starts_with("history") || place.starts_with("history.state") || place.ends_with("history.key")
    });
    let answers = answers(settings).unwrap();
    Sound { site, files, answers }
});

/// All files below a folder, in order.
fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { list(&path, found) } else { found.push(path) }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

impl Sound {
    /// A copy with settings of its own.
    fn copied(&self) -> Site {
        let mut site = Site::new();
        copy(self.site.dir.path(), site.dir.path());
        site.settings.history.as_mut().unwrap().dir = site.path("history");
        site
    }

    fn place(&self, file: usize) -> &Path {
        self.files[file].strip_prefix(self.site.dir.path()).unwrap()
    }

    /// Does the damage to a file of a copy; whether anything has changed.
    fn damaged(&self, site: &Site, file: usize, damage: &Damage) -> bool {
        let path = site.dir.path().join(self.place(file));
        let before = std::fs::read(&path).unwrap();
        let mut bytes = before.clone();
        match damage {
            Damage::Bytes(changes) => {
                for (at, byte) in changes {
                    let at = *at as usize * bytes.len() / 65_536;
                    bytes.get_mut(at).into_iter().for_each(|slot| *slot = *byte);
                }
            }
            Damage::Cut(at) => bytes.truncate(*at as usize * bytes.len() / 65_536),
            Damage::Longer(more) => bytes.extend(more),
            Damage::Exchanged(other) => {
                let near: Vec<_> = self.files.iter().filter(|it| it.parent() == self.files[file].parent()).collect();
                bytes = std::fs::read(near[*other as usize * near.len() / 65_536]).unwrap();
            }
            Damage::Gone => {
                std::fs::remove_file(&path).unwrap();
                return true;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        bytes != before
    }
}

/// What the tables hold, one text a table; or the first complaint.
fn answers(settings: &Settings) -> Result<Vec<String>, String> {
    let tables = [
        "SELECT * FROM events ORDER BY source, event_id",
        "SELECT * FROM touches ORDER BY patient_id, event_id",
        "SELECT * FROM alerts ORDER BY number",
        "SELECT * FROM rejects ORDER BY line",
        "SELECT * FROM spans ORDER BY position, \"from\"",
    ];
    tables.iter().map(|sql| answer(settings, sql)).collect()
}

fn answer(settings: &Settings, sql: &str) -> Result<String, String> {
    let dir = &settings.history.as_ref().unwrap().dir;
    let rows = runtime().unwrap().block_on(async {
        let reader = Reader::open(dir, &settings.key_source(dir)).await?;
        reader.changes()?;
        reader.query(sql, &[]).await
    });
    let rows = rows.map_err(|error| error.to_string())?;
    Ok(arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string())
}

/// What the state folder holds, or the first complaint.
fn looked_up(settings: &Settings) -> Result<(), String> {
    let dir = &settings.history.as_ref().unwrap().dir;
    let store = store(settings, dir, &settings.state_dir(dir), false).map_err(said)?;
    let failed = |error: crate::store::StoreError| error.to_string();
    store.list(&Filter::default()).map_err(failed)?;
    store.waiting("mail", 99).map_err(failed)?;
    store.new_verdicts(99).map_err(failed)?;
    Ok(())
}

fn said(stop: Stop) -> String {
    match stop {
        Stop::Failed(what) | Stop::Usage(what) => what,
        Stop::Problems(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

/// Tries everything on a copy with this damage.
fn check(sound: &Sound, file: usize, damage: &Damage) -> Result<(), TestCaseError> {
    let site = sound.copied();
    let place = sound.place(file).display().to_string();
    if !sound.damaged(&site, file, damage) {
        return Ok(());
    }
    // The Delta library reads what it is given; the rest is authenticated or says itself that it cannot be read.
    let trusted = place.contains("_delta_log");
    let mut complaints = Vec::new();
    match answers(&site.settings) {
        Ok(found) => prop_assert!(trusted || found == sound.answers, "{place}: {damage:?}: another answer"),
        Err(complaint) => complaints.push(complaint),
    }
    complaints.extend(looked_up(&site.settings).err());
    let mut out = Vec::new();
    match scan(&site.settings, &[site.path("c.jsonl")], &mut out) {
        // It goes on where nothing is missing that it needs; what is damaged else is told by who asks for it.
        Ok(_) if !trusted => match answer(&site.settings, COUNTS) {
            Ok(counts) => prop_assert!(counts.contains("| 150 | 150 |"), "{place}: {damage:?}: {counts}"),
            Err(complaint) => complaints.push(complaint),
        },
        Ok(_) => {}
        Err(stop) => complaints.push(said(stop)),
    }
    for complaint in complaints {
        for secret in SECRET {
            prop_assert!(!complaint.contains(secret), "{place}: {damage:?}: a complaint names somebody");
        }
        prop_assert!(!complaint.is_empty(), "{place}: {damage:?}: no word");
    }
    Ok(())
}

proptest! {
    // A case is two openings of a history and a scan.
    #![proptest_config(Config { cases: Config::default().cases.div_ceil(16), ..Config::default() })]
    #[test]
    fn an_installation_with_a_damaged_file(file in any::<u16>(), damage in damage()) {
        let sound = &*SOUND;
        check(sound, file as usize * sound.files.len() / 65_536, &damage)?;
    }
}
