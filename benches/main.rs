//! The figures of docs/performance.md, each measured on inputs that it makes itself from a seed.
//!
//! ```text
//! cargo bench                                  every figure that needs nothing else, at its full size
//! cargo bench -- decode engine=200000          these two, the second on so many events
//! tests/kafka/start run cargo bench -- kafka   figures that need a broker
//! ```
//!
//! Each is a rate over a large input rather than a mean of small ones, because what matters here (maps that grow, days that settle,
//! segments that close) does not show in a small one. CPU seconds stand beside wall seconds: on a shared machine only they compare.

#![allow(clippy::print_stdout, reason = "figures go to standard output")]

mod backtest;
mod decode;
mod engine;
mod hospital;
mod kafka;
mod measure;
mod patient;
mod rosters;
mod rules;
mod state;
mod windows;

/// A figure: its name, its full size, whether it needs a broker, and how it is measured.
type Figure = (&'static str, usize, bool, fn(usize));

const ALL: [Figure; 11] = [
    ("decode", 1_000_000, false, decode::native),
    ("fhir", 300_000, false, decode::fhir),
    ("engine", 3_000_000, false, engine::of_hospital),
    ("rosters", 10_000_000, false, rosters::load_all),
    ("state", 100_000, false, state::per_user),
    ("windows", 400_000, false, windows::sliding),
    ("rules", 1_000_000, false, rules::against_rsigma),
    ("who-accessed", 10_000_000, false, patient::who_accessed),
    ("backtest", 5_000_000, false, backtest::over_history),
    ("kafka", 2_000_000, true, kafka::end_to_end),
    ("latency", 60_000, true, kafka::latency),
];

fn main() {
    // Cargo itself adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let broker = std::env::var_os("PHIWATCH_KAFKA").is_some();
    for word in &asked {
        let name = word.split('=').next().unwrap_or_default();
        assert!(
            ALL.iter().any(|figure| figure.0 == name),
            "there is no figure {name}: {:?}",
            ALL.map(|figure| figure.0)
        );
    }
    for (name, full, needs_broker, figure) in ALL {
        let words = || asked.iter().filter(|word| word.split('=').next() == Some(name));
        if !asked.is_empty() && words().next().is_none() {
            continue;
        }
        if needs_broker && !broker {
            println!("{name}: not measured, it needs a broker: tests/kafka/start run cargo bench -- {name}");
            continue;
        }
        let size = words().find_map(|word| word.split_once('=')).map(|(_, size)| size.replace('_', ""));
        let size = size.map_or(full, |size| size.parse().expect("a size is a whole number"));
        println!("== {name}={size}");
        figure(size);
    }
}
