//! Nothing that names a person stands in clear below the history or its state folder, after runs that were killed, a scan, a question
//! and a verdict. The same search with encryption switched off finds the same names, so that it is known to see.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::mocking::MockCluster;
use serde_json::Value;

use crate::kafka::{produce, to};
use crate::kill::Watched;
use crate::program::{ask, done, phiwatch};
use crate::start::Start;

/// What may be found nowhere: an account, its owner, a patient, another record number of hers, her surname, and words of a search.
const PLANTED: [&str; 6] =
    ["zq-user-7391", "Qwertzenberg", "zq-patient-5528", "zq-merged-9917", "Xylofonsky", "zq-words-4406"];

/// An access of the planted account to the planted patient; it was terminated long ago.
fn access(number: usize) -> String {
    let (day, minute) = (1 + number / 50, number % 50);
    format!(
        r#"{{"event_id":"e{number}","time":"2026-03-{day:02}T10:{minute:02}:00Z","source":"ehr","actor":{{"id":"{}","name":"{}"}},"activity":"search","patients":["{}","{}"],"query":"name={} {}"}}"#,
        PLANTED[0], PLANTED[1], PLANTED[2], PLANTED[3], PLANTED[4], PLANTED[5]
    )
}

/// A record that cannot be used.
fn broken(number: usize) -> String {
    format!(
        r#"{{"event_id":"b{number}","actor":{{"id":"{}"}},"patients":["{}"],"query":"{}"#,
        PLANTED[0], PLANTED[2], PLANTED[5]
    )
}

fn rosters(dir: &Path) {
    std::fs::create_dir(dir.join("rosters")).unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.join("rosters").join(name), text).unwrap();
    let [user, owner, patient, merged, surname, _] = PLANTED;
    write(
        "users.csv",
        format!(
            "user_id,name,role,status,terminated_at\n{user},{owner},nurse,terminated,2026-01-31\nother,Other,nurse,active,\n"
        ),
    );
    write(
        "patients.csv",
        format!("patient_id,surname,merged_into\n{patient},{surname},\n{merged},{surname},{patient}\n"),
    );
    write(
        "relations.csv",
        format!("patient_id,kind,user_id,start,end\n{patient},encounter,other,2026-01-01,2026-02-01\n"),
    );
}

/// Everything that a person at a terminal does with a history, around two runs that are killed.
fn live(dir: &Path, encrypt: bool) {
    rosters(dir);
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    std::fs::write(dir.join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    set_private(&dir.join("secret"));
    // Nobody listens there: what is to be sent stays in the outbox, with all that it says.
    let settings = format!(
        "[rosters]\ndir = \"rosters\"\n[kafka]\nbrokers = [{brokers:?}]\ntopics = [\"t\"]\n\
         [history]\ndir = \"history\"\nsegment_rows = 40\nsegment_age = 1\nencrypt = {encrypt}\n\
         [[channels]]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\nsecret = {{ file = \"secret\" }}\n\
         allow_plaintext = \"loopback\"\ndetail = \"full\"\n"
    );
    std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
    let mut produced = 0;
    for life in 0..2 {
        let records = (0..60).map(|n| if n % 20 == 9 { broken(60 * life + n) } else { access(60 * life + n) });
        produce(&to(&brokers), "t", 0, records);
        produced += 60;
        let run = Watched::start(dir, false);
        run.until("snapshot", produced);
        run.kill();
        if life == 0 {
            judge(dir);
        }
    }
    std::fs::write(dir.join("more.jsonl"), (200..220).map(access).chain([broken(200)]).collect::<Vec<_>>().join("\n"))
        .unwrap();
    done(&phiwatch(dir).args(["scan", "--config", "phiwatch.toml", "more.jsonl"]).answer().unwrap(), "scan");
    let events = ask(dir, &format!("SELECT count(*) AS n FROM touches WHERE patient_id = '{}'", PLANTED[2]));
    assert!(events["n"].as_i64() > Some(100), "{events}");
    let rejects = ask(dir, "SELECT count(*) AS n FROM rejects");
    assert_eq!(rejects["n"], 7);
}

fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A verdict with a name in its reason, which the next run takes up, a mute, and a question about a patient.
fn judge(dir: &Path) {
    let run = |words: &[&str]| {
        let (first, rest) = words.split_at(1);
        done(&phiwatch(dir).args(first).args(["--config", "phiwatch.toml"]).args(rest).answer().unwrap(), words[0])
    };
    let list = run(&["alerts", "list", "--json", "--all"]);
    let alert: Value = serde_json::from_str(list.lines().next().expect("an alert")).unwrap();
    let id = alert["alert_id"].as_str().unwrap();
    let reason = format!("{} was asked about {}", PLANTED[1], PLANTED[2]);
    run(&["alerts", "verdict", id, "justified", "--reason", &reason]);
    run(&["alerts", "mute", "mass-query", "--reason", &reason]);
    run(&["ask", "who-accessed", PLANTED[2]]);
}

/// In which files which names are found, in whatever form; the names of files count too.
fn search(dir: &Path) -> BTreeMap<&'static str, BTreeSet<String>> {
    use std::os::unix::fs::FileTypeExt;
    let mut found: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    let mut folders = vec![dir.join("history"), dir.join("history.state")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let mut forms = vec![name.clone().into_bytes()];
            // A socket that a killed run left behind has a name and no bytes.
            if !entry.file_type().unwrap().is_socket() {
                unpack(std::fs::read(&path).unwrap(), &mut forms);
            }
            for planted in PLANTED {
                if forms.iter().any(|form| disguises(planted).iter().any(|needle| holds(form, needle))) {
                    found.entry(planted).or_default().insert(name.clone());
                }
            }
        }
    }
    assert!(files > 30, "{files} files");
    found
}

/// The bytes themselves, and what they are packed from: gzip, zstd, or the values of a Parquet file.
fn unpack(bytes: Vec<u8>, forms: &mut Vec<Vec<u8>>) {
    let mut plain = Vec::new();
    if flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).is_ok() && !plain.is_empty() {
        unpack(std::mem::take(&mut plain), forms);
    }
    if let Ok(plain) = zstd::decode_all(bytes.as_slice())
        && !plain.is_empty()
    {
        unpack(plain, forms);
    }
    if let Ok(parquet) = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone())) {
        for rows in parquet.build().unwrap() {
            forms.push(format!("{:?}", rows.unwrap()).into_bytes());
        }
    }
    forms.push(bytes);
}

/// A name in clear, in base64 (however it falls on the groups of three), in hexadecimal digits, and in UTF-16.
fn disguises(planted: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![planted.as_bytes().to_vec()];
    for lead in 0..3 {
        let padded = [&b"\0\0\0"[..lead], planted.as_bytes()].concat();
        let code = STANDARD.encode(&padded[..padded.len() / 3 * 3]).into_bytes();
        // The first group holds the padding.
        forms.push(code[if lead == 0 { 0 } else { 4 }..].to_vec());
    }
    forms.push(planted.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
    forms.push(planted.encode_utf16().flat_map(u16::to_le_bytes).collect());
    forms
}

fn holds(form: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(form, needle).is_some()
}

#[test]
fn no_name_stands_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), true);
    assert_eq!(search(dir.path()), BTreeMap::new());
    // The killed runs left the journals of SQLite behind, so they were searched too.
    let kept: Vec<String> = std::fs::read_dir(dir.path().join("history.state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    for expected in ["engine.snapshot", "audit.jsonl", "store.key"] {
        assert!(kept.iter().any(|name| name == expected), "{kept:?}");
    }
}

#[test]
fn the_same_search_finds_the_names_without_encryption() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), false);
    let found = search(dir.path());
    assert_eq!(found.len(), PLANTED.len(), "{found:#?}");
    let places: BTreeSet<String> = found.values().flatten().cloned().collect();
    for place in [
        "history/events/",
        "history/touches/",
        "history/rejects/",
        "history/alerts/",
        "history/blobs/roster/",
        "history/control/",
        "history.state/engine.snapshot",
    ] {
        assert!(places.iter().any(|name| name.starts_with(place)), "{place}: {places:#?}");
    }
}
