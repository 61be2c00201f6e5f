//! The drop folder of `run`: the same alerts as `scan`, through kills, with files that grow, come twice, are damaged or go away.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kill::Watched;
use crate::operate::{Running, Site};
use crate::program::{Hospital, ask, check_same, deal, done, phiwatch, settled};
use crate::start::Start;

/// Settings of a site that has no Kafka.
fn settings(hospital: &Hospital, more: &str) -> String {
    format!(
        "[budget]\nper_1000_users_per_day = 4.0\n[rosters]\ndir = {:?}\n[files]\ndir = \"in\"\nquiet = \"0s\"\n{more}\
         [history]\ndir = \"history\"\nsegment_rows = 4000\nsegment_age = 1\n[monitor]\nlisten = \"off\"\n[[channels]]\nkind = \"file\"\npath = \"alerts.jsonl\"\n",
        hospital.dir.join("rosters")
    )
}

/// The records of the hospital as a site might export them: a large file of one feed, and one a week of two others, packed in all ways.
fn export(hospital: &Hospital, dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut write = |name: String, lines: Vec<&String>| {
        let text: String = lines.into_iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let bytes = match Path::new(&name).extension().and_then(|ending| ending.to_str()) {
            Some("gz") => {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(text.as_bytes()).unwrap();
                packed.finish().unwrap()
            }
            Some("zst") => zstd::encode_all(text.as_bytes(), 1).unwrap(),
            _ => text.into_bytes(),
        };
        let path = dir.join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        files.push(path);
    };
    let of =
        |third: usize, lines: std::ops::Range<usize>| lines.filter(move |n| n % 3 == third).map(|n| &hospital.lines[n]);
    let all = hospital.lines.len();
    write("whole.jsonl".to_owned(), of(0, 0..all).collect());
    for week in 0..8 {
        let part = all * week / 8..all * (week + 1) / 8;
        write(format!("ward/{week}.jsonl.gz"), of(1, part.clone()).collect());
        write(format!("clinic/week {week}.jsonl.zst"), of(2, part).collect());
    }
    files
}

/// Every record of the files is in one span, and nothing twice.
fn check_sums(dir: &Path, records: usize) {
    let all = ask(dir, "SELECT sum(events + duplicates + rejects) AS n, sum(gap) AS gap FROM spans");
    assert_eq!((&all["n"], &all["gap"]), (&Value::from(records), &Value::from(0)));
    let rows = ask(dir, "SELECT count(*) AS n, count(DISTINCT source || ' ' || event_id) AS once FROM events");
    assert_eq!(rows["n"], rows["once"], "no record is an event twice");
}

#[test]
fn the_alerts_are_those_of_scan() {
    let (dir, hospital) = (tempfile::tempdir().unwrap(), Hospital::busy());
    let dir = dir.path();
    std::fs::write(dir.join("phiwatch.toml"), settings(hospital, "")).unwrap();
    let files = export(hospital, dir);
    let run = || {
        let output = phiwatch(dir).args(["run", "--config", "phiwatch.toml", "--until-end"]).answer().unwrap();
        done(&output, "run");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    run();
    check_same(&hospital.expected, &settled(&dir.join("alerts.jsonl")));
    check_sums(dir, hospital.lines.len());
    assert!(files.iter().all(|file| file.exists()), "without `done` they stay");
    // Once more, one of them under another name: nothing is new.
    std::fs::rename(&files[0], dir.join("in/ward/other")).unwrap();
    let said = run();
    assert_eq!(said.matches("all of it was read before").count(), files.len(), "{said}");
    check_sums(dir, hospital.lines.len());
}

#[test]
fn killed_and_moved_away() {
    let (dir, hospital) = (tempfile::tempdir().unwrap(), Hospital::busy());
    let dir = dir.path();
    std::fs::create_dir(dir.join("done")).unwrap();
    std::fs::write(dir.join("phiwatch.toml"), settings(hospital, "done = \"done\"\n")).unwrap();
    let files = export(hospital, dir);
    let all = hospital.lines.len() as i64;
    for (effect, part) in [("outbox", 0), ("events", 1), ("spans", 3), ("snapshot", 4), ("alerts", 6)] {
        let run = Watched::start(dir, false);
        run.until(effect, all * part / 8);
        run.kill();
    }
    let run = Watched::start(dir, false);
    run.until("snapshot", all);
    run.stop();
    let left = |folder: &str| std::fs::read_dir(dir.join(folder)).unwrap().count();
    assert_eq!((left("in"), left("in/ward"), left("in/clinic")), (2, 0, 0), "only the two folders");
    assert_eq!(left("done"), files.len());
    Watched::start(dir, true).finish();
    check_sums(dir, hospital.lines.len());
    check_same(&hospital.expected, &settled(&dir.join("alerts.jsonl")));
}

/// Writes lines to a file of the drop folder.
fn put(dir: &Path, name: &str, lines: impl Iterator<Item = impl AsRef<str>>) {
    let path = dir.join("in").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    lines.for_each(|line| writeln!(file, "{}", line.as_ref()).unwrap());
}

/// Eighty clinics with a file each, over the same weeks: more than are open at a time, and time waits for those that are not.
#[test]
fn more_files_than_are_open_at_a_time() {
    let (dir, hospital) = (tempfile::tempdir().unwrap(), Hospital::busy());
    let dir = dir.path();
    std::fs::write(dir.join("phiwatch.toml"), settings(hospital, "")).unwrap();
    for clinic in 0..80 {
        put(dir, &format!("clinic-{clinic}.jsonl"), hospital.lines.iter().skip(clinic).step_by(80));
    }
    Watched::start(dir, true).finish();
    check_same(&hospital.expected, &settled(&dir.join("alerts.jsonl")));
    check_sums(dir, hospital.lines.len());
}

/// Files that lie there at the start, and a topic that is ready at once: time waits until it is known when the files begin.
#[test]
fn the_past_in_files_and_in_a_topic() {
    let (dir, hospital) = (tempfile::tempdir().unwrap(), Hospital::busy());
    let dir = dir.path();
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("ehr", 2, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    // No more than the broker inside the process keeps.
    deal(&brokers, "ehr", 2, hospital.lines.iter().step_by(50));
    let others = hospital.lines.iter().enumerate().filter(|(number, _)| number % 50 != 0);
    for (feed, third) in [("ward", 0), ("clinic", 1), ("lab", 2)] {
        let own = others.clone().filter(|(number, _)| number % 3 == third).map(|(_, line)| line);
        put(dir, &format!("{feed}/all.jsonl"), own);
    }
    let kafka = crate::program::settings(hospital, &brokers, "ehr");
    let files = "[files]\ndir = \"in\"\nquiet = \"1s\"\n[monitor]\nlisten = \"off\"\n";
    std::fs::write(dir.join("phiwatch.toml"), format!("{files}{kafka}")).unwrap();
    Watched::start(dir, true).finish();
    check_same(&hospital.expected, &settled(&dir.join("alerts.jsonl")));
    check_sums(dir, hospital.lines.len());
}

/// What was read and is not on record yet is lost by a kill: until then it is not done with, under whatever name.
#[test]
fn a_file_gets_another_name_before_it_is_on_record() {
    let site = Site::new();
    let dir = site.dir.path();
    std::fs::create_dir(dir.join("done")).unwrap();
    let settings = "[files]\ndir = \"in\"\ndone = \"done\"\nquiet = \"0s\"\n[history]\ndir = \"history\"\n[monitor]\nlisten = \"off\"\n";
    std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
    put(dir, "a.jsonl", (0..50).map(|n| line(&format!("a{n}"), 8).trim_end().to_owned()));
    let run = site.run();
    run.until("its end", || run.said("it was read to its end") == 1);
    std::fs::rename(dir.join("in/a.jsonl"), dir.join("in/b.jsonl")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(5));
    drop(run);
    assert!(dir.join("in/b.jsonl").exists(), "nothing of it is on record");
    let again = Watched::start(dir, true).finish().join("\n");
    assert!(again.contains("it was read to its end"), "{again}");
    assert_eq!(ask(dir, "SELECT sum(events) AS n FROM spans")["n"], 50);
}

/// What a program writes to a file that was moved away under its hands is read as well.
#[test]
fn a_file_is_written_to_after_it_was_moved() {
    let site = Site::new();
    let dir = site.dir.path();
    ["in", "in/er", "done"].iter().for_each(|folder| std::fs::create_dir(dir.join(folder)).unwrap());
    site.settings("[files]\ndir = \"in\"\ndone = \"done\"\nquiet = \"0s\"\n");
    (0..2).for_each(|partition| site.produce(partition, (0..20).map(|n| line(&format!("k{partition}-{n}"), 8))));
    let mut file = std::fs::File::create(dir.join("in/er/a.jsonl")).unwrap();
    file.write_all(line("f1", 8).as_bytes()).unwrap();
    let run = site.run();
    run.until("it to be moved", || dir.join("done/a.jsonl").exists());
    file.write_all((line("f2", 8) + &line("f3", 9)).as_bytes()).unwrap();
    run.until("the rest", || run.said("it was read to its end") == 2);
    run.stop();
    let counts = "SELECT sum(events) AS events, sum(duplicates) AS duplicates FROM spans WHERE topic IS NULL";
    let counts = ask(dir, counts);
    assert_eq!((&counts["events"], &counts["duplicates"]), (&3.into(), &0.into()));
}

fn line(id: &str, hour: u32) -> String {
    format!(
        r#"{{"event_id":"{id}","time":"2026-11-02T{hour:02}:00:00Z","source":"ehr","actor":{{"id":"u1"}},"activity":"read","patients":["p1"]}}"#
    ) + "\n"
}

/// Kafka and a folder at once; the folder has what a folder may have.
#[test]
fn a_folder_beside_kafka() {
    let site = Site::new();
    let dir = site.dir.path();
    for folder in ["in", "in/ward", "in/done", "in/deep", "in/deep/er"] {
        std::fs::create_dir(dir.join(folder)).unwrap();
    }
    site.settings("[files]\ndir = \"in\"\ndone = \"in/done\"\nquiet = \"1s\"\n");
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.join("in").join(name), bytes).unwrap();
    site.produce(0, [line("k1", 8), line("k2", 9)]);
    site.produce(1, [line("k3", 8)]);
    // Enough that the first records are believed at once.
    (0..2).for_each(|partition| site.produce(partition, (0..20).map(|_| line("k1", 8))));
    put("ward/a.jsonl", (line("f1", 8) + &line("k1", 8)).as_bytes());
    // More than a stretch holds, on one line.
    let many: Vec<String> = (0..9_000).map(|n| line(&format!("m{n}"), 8).trim_end().to_owned()).collect();
    put("array.json", format!("[{}]", many.join(",")).as_bytes());
    put("twin.jsonl", (line("f1", 8) + &line("k1", 8)).as_bytes());
    put("ward/empty.jsonl", b"");
    put("b.jsonl.part", line("never", 8).as_bytes());
    put(".hidden.jsonl", line("never", 8).as_bytes());
    put("deep/er/c.jsonl", line("never", 8).as_bytes());
    put("done/d.jsonl", line("never", 8).as_bytes());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..2_000).for_each(|n| packed.write_all(line(&format!("z{n}"), 9).as_bytes()).unwrap());
    let packed = packed.finish().unwrap();
    put("torn.gz", &packed[..packed.len() / 2]);
    let run: Running = site.run();
    let there = |name: &str| dir.join("in").join(name).exists();
    let moved = ["done/a.jsonl", "done/twin.jsonl", "done/empty.jsonl", "done/array.json"];
    run.until("what is whole to be moved", || moved.iter().all(|name| there(name)));
    run.until("the torn one to be told", || run.said("a file was not read to its end") == 1);
    assert!(there("torn.gz") && there("b.jsonl.part") && there("deep/er/c.jsonl") && there(".hidden.jsonl"));
    // The whole of it later: what is known of it adds nothing. A name that is taken gets a number.
    put("torn.gz", &packed);
    put("a.jsonl", line("f2", 10).as_bytes());
    run.until("the rest of it", || there("done/torn.gz") && there("done/a.jsonl.1"));
    run.until("the files to be counted", || {
        run.samples("phiwatch_records_total").iter().any(|(labels, n)| labels.contains("(files)") && *n > 11_000.0)
    });
    // What it shows is looked up every two seconds.
    run.until("no file to wait", || run.samples("phiwatch_files_waiting").values().next() == Some(&0.0));
    run.stop();
    let counts =
        ask(dir, "SELECT sum(events) AS events, sum(duplicates) > 1 AS again, sum(rejects) AS rejects FROM spans");
    // k1 to k3, f1 and f2, the 9,000 of the array and the 2,000 of the torn file, of which a part came twice; the torn end is a reject.
    assert_eq!((&counts["events"], &counts["again"], &counts["rejects"]), (&11_005.into(), &true.into(), &1.into()));
    let told = ask(dir, "SELECT count(*) AS n FROM alerts WHERE detection_id = 'operator-file'");
    assert_ne!(told["n"], 0);
}

/// Names that are no UTF-8 and differ in nothing else.
#[test]
fn names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("in")).unwrap();
    for (name, id) in [(&b"in/day\xff.jsonl"[..], "x"), (b"in/day\xfe.jsonl", "y")] {
        std::fs::write(dir.join(std::ffi::OsStr::from_bytes(name)), line(id, 8)).unwrap();
    }
    let settings = "[files]\ndir = \"in\"\nquiet = \"0s\"\n[history]\ndir = \"history\"\n[monitor]\nlisten = \"off\"\n";
    std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
    let output = phiwatch(dir).args(["run", "--config", "phiwatch.toml", "--until-end"]).answer().unwrap();
    done(&output, "run");
    assert_eq!(ask(dir, "SELECT sum(events) AS n FROM spans")["n"], 2);
}

/// Without `done` a file may grow in its place.
#[test]
fn a_file_that_grows_is_read_on() {
    let site = Site::new();
    let dir = site.dir.path();
    std::fs::create_dir(dir.join("in")).unwrap();
    site.settings("[files]\ndir = \"in\"\nquiet = \"0s\"\n");
    let path = dir.join("in/log.jsonl");
    std::fs::write(&path, line("g1", 8)).unwrap();
    // Time does not wait for partitions of which the first record is known.
    (0..2).for_each(|partition| site.produce(partition, (0..20).map(|n| line(&format!("k{partition}-{n}"), 8))));
    let run = site.run();
    run.until("its beginning", || run.said("it was read to its end") == 1);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all((line("g2", 9) + &line("g3", 9)).as_bytes()).unwrap();
    run.until("its end", || run.said("it was read to its end") == 2);
    run.stop();
    let counts = "SELECT sum(events) AS events, sum(duplicates) AS duplicates FROM spans WHERE topic IS NULL";
    let counts = ask(dir, counts);
    assert_eq!((&counts["events"], &counts["duplicates"]), (&3.into(), &0.into()), "nothing of it is read twice");
}
