//! Scans with a history, one after the other, as a site makes them: what is kept between them, and that nothing is there twice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::history::Reader;
use crate::pipeline::Tally;

mod backtest;
mod damage;
mod sieve;

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
    // What `check` says before anybody starts.
    let problems = |accepted: Option<Accepted>| look_at_rosters(&site.settings, accepted.as_ref()).unwrap().problems;
    assert!(problems(None).is_empty());
    let found = problems(accepted_last(&site.settings));
    assert!(found.len() == 1 && found[0].what.contains("shrank from 4 to 1"), "{found:?}");
    site.scan(&["a.jsonl"]);
    assert_eq!(site.users(), before);
    site.settings.allow_shrink = true;
    site.scan(&["a.jsonl"]);
    assert_eq!(site.users().iter().filter(|line| line.contains('*')).count(), 3, "{:?}", site.users());
}

/// Everything that opens the state folder after this was done to it; what `check --online` says.
fn check_state(damage: &dyn Fn(&Path), expected: &[&str]) {
    let site = Site::new();
    site.write("rosters/users.csv", "user_id\nu1\n");
    let input = site.write("a.jsonl", &access("1", "2026-02-02T10:00:00Z", "u1", "p1"));
    site.scan(&["a.jsonl"]);
    let (dir, settings) = (site.path("history"), &site.settings);
    let state = settings.state_dir(&dir);
    audit(settings, &dir, "ask", "reach").unwrap();
    assert_eq!(online(settings).unwrap(), []);
    damage(&state);
    let said = |stop: Stop| match stop {
        Stop::Failed(what) | Stop::Usage(what) => what,
        Stop::Problems(problems) => format!("{problems:?}"),
    };
    let problems = online(settings).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let mut told = vec![problems];
    told.push(store(settings, &dir, &state, false).map(|_| ()).map_err(said).unwrap_err());
    told.push(scan(settings, &[input], &mut Vec::new()).map(|_| ()).map_err(said).unwrap_err());
    for told in told {
        for word in expected.iter().chain(&[state.to_str().unwrap()]) {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}

#[test]
fn a_state_folder_that_does_not_open_is_named_with_what_to_do() {
    let cut = |state: &Path| {
        let path = state.join(crate::store::FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    check_state(&cut, &["phiwatch.sqlite", "damaged", "move it away"]);
    check_state(
        &|state| std::fs::write(state.join(crate::store::FILE), "garbage").unwrap(),
        &["damaged", "move it away"],
    );
    let lost = |state: &Path| std::fs::remove_file(state.join(STORE_KEY)).unwrap();
    check_state(&lost, &["store.key is missing", "phiwatch.sqlite, audit.jsonl, audit.head", "move these files away"]);
}

#[test]
fn encryption_is_chosen_once_and_check_says_so() {
    let mut site = Site::new();
    site.write("rosters/users.csv", "user_id\nu1\n");
    site.write("a.jsonl", &access("1", "2026-02-02T10:00:00Z", "u1", "p1"));
    for made in [true, false] {
        let history = site.settings.history.as_mut().unwrap();
        (history.dir, history.encrypt) = (site.dir.path().join(format!("history-{made}")), made);
        assert_eq!(encrypted_otherwise(&site.settings), None, "there is none yet");
        site.scan(&["a.jsonl"]);
        assert_eq!(encrypted_otherwise(&site.settings), None);
        site.settings.history.as_mut().unwrap().encrypt = !made;
        let what = encrypted_otherwise(&site.settings).unwrap().what;
        assert!(
            what.contains(&format!("encrypt = {}, but the history was made with encrypt = {made}", !made)),
            "{what}"
        );
    }
}

#[test]
fn a_lost_key_is_made_again_where_nothing_needs_it() {
    let site = Site::new();
    site.write("rosters/users.csv", "user_id\nu1\n");
    site.write("a.jsonl", &access("1", "2026-02-02T10:00:00Z", "u1", "p1"));
    site.scan(&["a.jsonl"]);
    let (dir, settings) = (site.path("history"), &site.settings);
    let state = settings.state_dir(&dir);
    std::fs::remove_dir_all(&state).unwrap();
    audit(settings, &dir, "ask", "reach").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(STORE_KEY))), (0o700, 0o600));
    assert_eq!(online(settings).unwrap(), []);
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o750)).unwrap();
    let problems = online(settings).unwrap();
    assert!(problems.len() == 1 && problems[0].what.contains("0750"), "{problems:?}");
}

/// The records of a ward as lines of JSON.
fn ward(seed: u64) -> Vec<String> {
    let line = |record: crate::engine::fixture::Record| {
        let line = serde_json::json!({
            "event_id": record.id, "time": record.time.to_string(), "source": "ehr", "site": "main",
            "actor": {"id": record.actor}, "activity": record.activity.as_str(), "patients": [record.patient],
        });
        format!("{line}\n")
    };
    crate::engine::fixture::ward(seed).into_iter().map(line).collect()
}

impl Site {
    /// The site of the ward.
    fn of_ward() -> Site {
        let mut site = Site::new();
        for (name, bytes) in crate::engine::fixture::roster_files("2026-03-10T12:00:00Z") {
            std::fs::write(site.path("rosters").join(name), bytes).unwrap();
        }
        site.settings.default_zone = crate::engine::fixture::zone();
        site
    }

    fn number(&self, sql: &str) -> i64 {
        use arrow::array::AsArray;
        let rows = runtime().unwrap().block_on(self.reader().query(sql, &[])).unwrap();
        let column = arrow::compute::cast(rows[0].column(0), &arrow::datatypes::DataType::Int64).unwrap();
        column.as_primitive::<arrow::datatypes::Int64Type>().value(0)
    }

    /// Every record ended in one outcome, and no event is there twice.
    fn check_sums(&self, records: usize, events: usize) {
        assert_eq!(self.number("SELECT sum(events + duplicates + rejects + gap) FROM spans"), records as i64);
        assert_eq!(self.number("SELECT sum(events) FROM spans"), events as i64);
        assert_eq!(self.number("SELECT count(*) FROM events"), events as i64);
        assert_eq!(self.number("SELECT count(DISTINCT event_id) FROM events"), events as i64);
        assert_eq!(self.number("SELECT count(*) FROM touches"), events as i64);
    }
}

/// The last settled word on each alert that stands, by id.
fn standing(lines: &[String]) -> BTreeMap<String, String> {
    let mut last = BTreeMap::new();
    for line in lines {
        let alert: crate::event::Alert = serde_json::from_str(line).unwrap();
        last.insert(alert.alert_id.clone(), (alert, line.clone()));
    }
    last.retain(|_, (alert, _)| alert.settled && alert.state != crate::event::State::Closed);
    last.into_iter().map(|(id, (_, line))| (id, line)).collect()
}

#[test]
fn a_file_that_grows_is_settled_as_if_it_had_come_at_once() {
    let records = ward(1);
    let at_once = Site::of_ward();
    at_once.write("events.jsonl", &records.concat());
    let expected = standing(&at_once.scan(&["events.jsonl"]).1);
    assert!(expected.len() >= 6, "{expected:?}");

    let site = Site::of_ward();
    // The first scan ends while the charts of the mass query are being opened, the second in the night.
    let halves = ["q97\"", "\"u05\""].map(|word| records.iter().rposition(|line| line.contains(word)).unwrap());
    let mut lines = Vec::new();
    let mut middle = Vec::new();
    for end in [halves[0].min(halves[1] - 4), halves[1] - 4, records.len()] {
        site.write("events.jsonl", &records[..end].concat());
        let (_, said) = site.scan(&["events.jsonl"]);
        lines.extend(said.clone());
        middle.push(standing(&lines));
        let again = site.scan(&["events.jsonl"]);
        assert_eq!((again.0.events, again.1), (0, vec![]), "the same again says nothing");
    }
    assert_eq!(standing(&lines), expected);
    assert!(middle[0].iter().any(|(id, line)| expected.get(id) != Some(line)), "the first word was not the last one");
    site.check_sums(records.len(), records.len());

    // The last rows on record, and what the store lists, say the same.
    let dir = site.path("history");
    let mut keep = open_keep(&site.settings, site.settings.history.as_ref().unwrap(), &runtime().unwrap()).unwrap();
    let on_record = runtime().unwrap().block_on(keep.history.alerts(Time::MIN)).unwrap();
    let as_lines: Vec<String> = on_record
        .iter()
        .filter(|raised| raised.alert.disposition == crate::event::Disposition::Notified)
        .map(|raised| serde_json::to_string(&raised.alert).unwrap())
        .collect();
    assert_eq!(standing(&as_lines), expected);
    let store = own_store(&keep, &site.settings.state_dir(&dir)).unwrap();
    for (id, line) in &expected {
        let (listed, _) = store.show(id).unwrap().unwrap();
        assert_eq!(&serde_json::to_string(&listed.alert).unwrap(), line);
    }
    // A rebuild comes to the same state.
    std::fs::remove_file(site.settings.state_dir(&dir).join("engine.snapshot")).unwrap();
    let begun = begin(&site.settings, &mut keep, None).unwrap();
    assert_eq!(begun.engine.mark(), keep.history.mark());
}

#[test]
fn a_file_under_another_name_that_overlaps_adds_no_row_twice() {
    let records = ward(2);
    let (half, third) = (records.len() / 2, records.len() / 3);
    let site = Site::of_ward();
    site.write("january.jsonl", &records[..half].concat());
    site.write("again.jsonl", &records[..half].iter().map(|line| line.replace("\n", " \n")).collect::<String>());
    site.write("february.jsonl", &records[third..].concat());
    site.scan(&["january.jsonl"]);
    let (tally, _) = site.scan(&["february.jsonl"]);
    assert_eq!((tally.events, tally.duplicates), ((records.len() - half) as u64, (half - third) as u64));
    // By now all of it is older than what the engine holds.
    let (tally, _) = site.scan(&["again.jsonl"]);
    assert_eq!((tally.events, tally.duplicates), (0, half as u64));
    site.check_sums(records.len() + half - third + half, records.len());
}

/// A pipe gives each byte once, and is looked at twice.
#[test]
fn a_pipe_with_a_name_is_read_whole() {
    let site = Site::of_ward();
    let lines = ward(1).concat();
    let pipe = site.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let records = lines.lines().count();
    let writer = std::thread::spawn(move || std::fs::write(pipe, lines).unwrap());
    let (tally, _) = site.scan(&["pipe"]);
    writer.join().unwrap();
    assert_eq!((tally.events + tally.duplicates, tally.rejects), (records as u64, 0));
    site.check_sums(records, tally.events as usize);
}

#[test]
fn a_verdict_is_taken_up_once_wherever_the_process_dies() {
    let site = Site::new();
    site.write("rosters/users.csv", "user_id,status,terminated_at\nu1,terminated,2026-01-10T10:00:00Z\nu2,active,\n");
    let lines = ["2026-02-02T10:00:00Z", "2026-02-03T10:00:00Z"].map(|time| access(time, time, "u1", "p1"));
    site.write("a.jsonl", &lines.concat());
    let (_, alerts) = site.scan(&["a.jsonl"]);
    let alert: crate::event::Alert = serde_json::from_str(&alerts[0]).unwrap();
    let (settings, dir) = (&site.settings, site.path("history"));
    let runtime = runtime().unwrap();
    let mut keep = open_keep(settings, settings.history.as_ref().unwrap(), &runtime).unwrap();
    let store = own_store(&keep, &settings.state_dir(&dir)).unwrap();
    let ruling = crate::store::Ruling::Justified;
    let verdict = |reason: &str| crate::store::Verdict {
        seq: 0,
        alert_id: alert.alert_id.clone(),
        ruling,
        reason: reason.to_owned(),
        who: "officer".to_owned(),
        at: Time(7),
    };
    store.add_verdict(&verdict("rehired")).unwrap();
    store.add_verdict(&verdict("rehired, really")).unwrap();

    // It dies before the control log has them: they are not lost.
    for _ in 0..2 {
        assert_eq!(verdicts::Verdicts::new(&store, &keep).unwrap().poll().len(), 2);
    }
    // It dies after the control log has the first, before the store was told.
    let first = verdicts::Verdicts::new(&store, &keep).unwrap().poll().remove(0);
    let begun = begin(settings, &mut keep, None).unwrap();
    let mut out = Vec::new();
    let mut outlet = scan::Lines { out: &mut out, store: None, printed: BTreeSet::new() };
    let mut road = crate::pipeline::Road::new(begun.engine, Some(keep), &mut outlet, runtime.handle().clone());
    road.hear(now(), first).unwrap();
    let keep = road.keep.take().unwrap();
    drop(road);
    let mut again = verdicts::Verdicts::new(&store, &keep).unwrap();
    assert_eq!(again.poll().len(), 1);
    assert_eq!(store.new_verdicts(9).unwrap().len(), 2, "the control log may not have them yet");
    again.taken().unwrap();
    assert_eq!(store.new_verdicts(9).unwrap(), []);
}
