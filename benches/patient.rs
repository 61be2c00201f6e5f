//! `who-accessed` over a long history: seconds for one patient, and what the Parquet reader touched for it.
//!
//! Patients are admitted for five days and are opened then, as charts are; segments come in order of arrival, 200,000 rows each.

use std::time::Instant;

use phiwatch::event::effects::{Applied, Enriched};
use phiwatch::event::facts::{Account, PatientFacts};
use phiwatch::event::time::{Local, Zone};
use phiwatch::event::{Activity, Draft, Effects, EventBuilder, Facts, FactsBuilder, Origin, Span, Time};
use phiwatch::history::{History, KeySource, Reader, Settings};
use phiwatch::inquiry::{Asked, Format, ask};

use crate::measure::{cpu_seconds, percentile, timed};

const PATIENTS: u64 = 500_000;
const SEGMENT: usize = 200_000;
const DAY: i64 = 86_400_000_000;
/// 2026-01-05T00:00:00Z, in microseconds.
const START: i64 = 1_767_571_200_000_000;
const DAYS: i64 = 180;

/// Writes a history of `rows` accesses and asks it about twenty patients, before and after its days are compacted.
pub fn who_accessed(rows: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("history");
    let key = KeySource::File(folder.path().join("history.key"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let settings = Settings { dir: dir.clone(), ..Settings::default() };
    let mut history = runtime.block_on(History::open_or_create(&settings, &key)).expect("a new history");
    let (bytes, spent) = timed(|| write(&mut history, &runtime, rows));
    println!(
        "{rows} rows written in {:.1} s, {:.1} CPU s ({:.0} rows/s a core), {:.1} bytes a row over all tables",
        spent.wall,
        spent.cpu,
        rows as f64 / spent.cpu,
        bytes as f64 / rows as f64
    );
    question(&runtime, &dir, &key, "as written");
    let days: Vec<_> = (0..DAYS).map(|day| phiwatch::event::Day(((START + day * DAY) / DAY) as i32)).collect();
    let (replaced, spent) = timed(|| {
        days.into_iter().map(|day| runtime.block_on(history.compact(day)).expect("a compacted day")).sum::<usize>()
    });
    println!("{replaced} files joined in {:.1} s", spent.wall);
    question(&runtime, &dir, &key, "after compaction");
}

fn question(runtime: &tokio::runtime::Runtime, dir: &std::path::Path, key: &KeySource, when: &str) {
    let (mut walls, mut rows, cpu) = (Vec::new(), 0, cpu_seconds("self"));
    for number in 0..20 {
        let asked = Asked { words: vec![patient(number * 24_967 % PATIENTS)], ..Asked::default() };
        let start = Instant::now();
        let answer = runtime.block_on(ask(dir, key, "who-accessed", &asked, Format::Csv)).expect("an answer");
        walls.push(start.elapsed().as_secs_f64());
        rows += answer.text.lines().count() - 1;
    }
    walls.sort_by(f64::total_cmp);
    println!(
        "who-accessed {when}: median {:.3} s, slowest {:.3} s, {:.3} CPU s each, {:.1} accounts each",
        percentile(&walls, 0.5),
        percentile(&walls, 1.0),
        (cpu_seconds("self") - cpu) / 20.0,
        rows as f64 / 20.0
    );
    let reader = runtime.block_on(Reader::open(dir, key)).expect("a reader");
    let sql = format!("EXPLAIN ANALYZE SELECT actor_id, time FROM touches WHERE patient_id = '{}'", patient(24_967));
    let plan = runtime.block_on(reader.query(&sql, &[])).expect("a plan");
    let text = arrow::util::pretty::pretty_format_batches(&plan).expect("a table").to_string();
    let metrics = text.split([',', '[', ']', '{', '}']).map(str::trim);
    let wanted = ["files_ranges_pruned", "row_groups_pruned", "page_index_rows", "bytes_scanned", "pushdown_rows"];
    let told: Vec<&str> = metrics.filter(|metric| wanted.iter().any(|name| metric.starts_with(name))).collect();
    println!("read for one of them: {}", told.join(", "));
}

fn patient(number: u64) -> String {
    format!("MRN{number:07}")
}

fn write(history: &mut History, runtime: &tokio::runtime::Runtime, rows: usize) -> i64 {
    let origin = Origin::topic("ehr", 0);
    let zone = Zone::get("UTC").expect("a zone of the database");
    let (mut from, mut bytes) = (0, 0);
    while from < rows {
        let to = (from + SEGMENT).min(rows);
        let (events, facts) = segment(from, to, rows, &zone);
        let span = Span {
            origin: origin.clone(),
            from: from as i64,
            to: to as i64,
            events: (to - from) as u64,
            duplicates: 0,
            rejects: 0,
            gap: 0,
        };
        let enriched = Enriched {
            batch: {
                let mut events = events;
                events.finish(&origin)
            },
            facts: {
                let mut facts = facts;
                facts.finish()
            },
        };
        let effects = Effects { applied: vec![Applied { enriched, rejects: Vec::new(), span }], ..Effects::default() };
        history.stage(&effects, |origin| origin.to_string()).expect("the next stretch");
        bytes += runtime.block_on(history.commit(at(to, rows))).expect("a commit").bytes;
        from = to;
    }
    bytes
}

fn at(row: usize, rows: usize) -> Time {
    Time(START + (row as i128 * (DAYS * DAY) as i128 / rows as i128) as i64)
}

fn segment(from: usize, to: usize, rows: usize, zone: &Zone) -> (EventBuilder, FactsBuilder) {
    let (mut events, mut facts) = (EventBuilder::default(), FactsBuilder::default());
    for row in from..to {
        let time = at(row, rows);
        let mixed = (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        // Those admitted in the last five days, a different part of all patients each day.
        let day = (time.0 - START) / DAY;
        let admitted = (day as u64 + mixed % 5) * PATIENTS / (DAYS as u64 + 5);
        let number = (admitted + (mixed >> 8) % (PATIENTS / (DAYS as u64 + 5))) % PATIENTS;
        let (patient, actor) = (patient(number), format!("u{:05}", (mixed >> 4) % 20_000));
        let mut draft = Draft::new(format!("e{row:010}"), time, "ehr", Activity::Read);
        draft.actor_id = Some(actor.as_str().into());
        draft.actor_name = Some(format!("Name {}", mixed % 20_000).into());
        draft.site = Some("main".into());
        draft.patients = vec![patient.as_str().into()];
        draft.resource_type = Some("chart".into());
        draft.resource_id = Some(format!("c{}", mixed % 3_000_000).into());
        draft.client_host = Some(format!("ws-{}", mixed % 4_000).into());
        draft.session_id = Some(format!("s{}", row / 40).into());
        events.push(&draft, row as i64, 0);
        facts.push(&known(&patient, &actor, zone.local(time)), "0123456789abcdef0123456789abcdef");
    }
    (events, facts)
}

fn known<'a>(patient: &'a str, actor: &'a str, clock: Local) -> Facts<'a> {
    let explained = PatientFacts {
        patient_id: patient,
        relations: vec!["encounter"],
        explained_by: Some("encounter"),
        ..PatientFacts::default()
    };
    Facts {
        account: Account::User,
        person_id: Some(actor),
        role: Some("nurse"),
        department: Some("unit 7"),
        home_site: Some("main"),
        status: None,
        employment: None,
        day: clock.day,
        clock,
        off_day: false,
        on_shift: None,
        outside_dates: false,
        privilege: phiwatch::event::facts::Privilege::None,
        entitlements: Vec::new(),
        vendor_id: None,
        vendor_status: None,
        vendor_parent: None,
        baa: None,
        approval: None,
        in_window: None,
        patients: vec![explained],
        extra: Default::default(),
    }
}
