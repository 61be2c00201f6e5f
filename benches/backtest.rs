//! Rules over a long history: seconds for one rule that a filter narrows well, for one that it cannot narrow, for a correlation with rates,
//! and for all shipped rules at once, with what that comes to for a hundred million events.

use std::path::Path;
use std::sync::Arc;

use phiwatch::decode::{Decoder, Hints, Limits};
use phiwatch::engine::rule::{RuleSet, load};
use phiwatch::engine::settings::Settings as EngineSettings;
use phiwatch::engine::{Engine, Input};
use phiwatch::event::{Origin, Time};
use phiwatch::history::{History, KeySource, Settings};
use phiwatch::ingest::rules::shipped;
use phiwatch::inquiry::backtest::{Plan, backtest};
use phiwatch::inquiry::{Archive, Asked};
use phiwatch::sim::Hospital;
use tokio::runtime::Runtime;

use crate::hospital::{STRETCH, hospital, push, roster};
use crate::measure::{memory, rate, timed};

/// Rows of a segment, as `run` closes them where it catches up.
const SEGMENT: usize = 200_000;
/// What is asked for: so many events
const MANY: f64 = 100e6;
/// in so many seconds on two cores, which is what "minutes" is taken for.
const SECONDS: f64 = 600.0;

/// Writes a history of `events` events of a hospital with 5,000 users and tries rules on it.
pub fn over_history(events: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("history");
    let key = KeySource::File(folder.path().join("history.key"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let days = (events / 40_000).clamp(7, 400) as u32;
    let hospital = hospital(5_000, days);
    let (written, spent) = timed(|| write(&hospital, &runtime, (&dir, &key), events));
    rate("written, engine included", written, spent, None);
    let all = load(&shipped()).set;
    let one = |id: &str| all.only(&|rule| rule.id == id);
    let tried: [(&str, RuleSet); 4] = [
        ("elevated-without-approval, narrowed well", one("elevated-without-approval")),
        ("staff-chart-other-unit, hardly narrowed", one("staff-chart-other-unit")),
        ("print-run, a correlation with rates", one("print-run")),
        ("all shipped rules", all.only(&|_| true)),
    ];
    for (what, rules) in tried {
        assert!(!rules.rules().is_empty(), "{what}: the rule is there");
        let plan = Plan { name: what.into(), rules: Arc::new(rules), against: None, per_1000: 2.0, known: Vec::new() };
        let (found, spent) = timed(|| {
            runtime.block_on(async {
                let asked = Asked::default();
                let archive = Archive::open(&dir, &key, &asked).await.expect("an archive");
                backtest(&archive, &asked, &plan, &mut |_| true).await.expect("an answer")
            })
        });
        let summary = found.summary;
        rate(what, summary.events, spent, None);
        let seconds = spent.wall * MANY / summary.events as f64;
        let verdict = if seconds <= SECONDS { "met" } else { "MISSED" };
        println!(
            "  {} of them passed the filter, {} alerts; 100 million at this rate: {seconds:.0} s  aim <= {SECONDS} s: {verdict}",
            summary.asked_of, summary.alerts
        );
    }
    println!("most memory of the process so far: {} MiB", memory("self", "VmHWM") >> 20);
}

fn write(hospital: &Hospital, runtime: &Runtime, (dir, key): (&Path, &KeySource), events: usize) -> usize {
    let settings = Settings { dir: dir.to_owned(), ..Settings::default() };
    let mut history = runtime.block_on(History::open_or_create(&settings, key)).expect("a new history");
    let origin = Origin::topic("ehr", 0);
    let mut engine = Engine::new(EngineSettings::default(), roster(hospital));
    engine.step(Time(0), Input::Open(origin.clone()));
    let mut decoder = Decoder::new(origin.clone(), Hints::new("ehr"), Limits::default());
    let mut lines = hospital.events().take(events).map(|event| event.line);
    let (mut from, mut waiting, mut newest) = (0_usize, 0, Time(0));
    loop {
        let chunk: Vec<Vec<u8>> = lines.by_ref().take(STRETCH).collect();
        if !chunk.is_empty() {
            push(&mut decoder, &chunk, from as i64);
            let decoded = decoder.finish(from as i64, (from + chunk.len()) as i64);
            newest = decoded.batch.rows().last().map_or(newest, |event| event.time());
            let effects = engine.step(Time(0), Input::Decoded(Box::new(decoded)));
            history.stage(&effects, |origin| origin.to_string()).expect("the next stretch");
        }
        from += chunk.len();
        waiting += chunk.len();
        if waiting >= SEGMENT || (chunk.is_empty() && waiting > 0) {
            runtime.block_on(history.commit(newest)).expect("a commit");
            waiting = 0;
        }
        if chunk.is_empty() {
            return from;
        }
    }
}
