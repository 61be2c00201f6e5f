//! What is measured: wall time, CPU time of the process, memory by a counting allocator, and how figures are printed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Counts live bytes while it is asked to; otherwise it only passes calls on.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ASKED: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator can be written in no other way; every call goes to the system's")]
// SAFETY: memory comes from `System` and goes back to it with the layouts that came in; counting touches none of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if ASKED.load(Ordering::Relaxed) {
            LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if ASKED.load(Ordering::Relaxed) {
            LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        grow(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

fn grow(size: usize) {
    if ASKED.load(Ordering::Relaxed) {
        LIVE.fetch_add(size, Ordering::Relaxed);
    }
}

/// Begins to count live bytes; what was allocated before does not count, and must not be freed meanwhile.
pub fn count_bytes() {
    LIVE.store(0, Ordering::Relaxed);
    ASKED.store(true, Ordering::Relaxed);
}

/// Bytes allocated and not freed since [`count_bytes`].
pub fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// What a piece of work took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Seconds on the wall.
    pub wall: f64,
    /// CPU seconds of all threads of the process, ended ones included; to a hundredth.
    pub cpu: f64,
}

/// Does a piece of work and says what it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    let (start, cpu) = (Instant::now(), cpu_seconds("self"));
    let done = work();
    (done, Spent { wall: start.elapsed().as_secs_f64(), cpu: cpu_seconds("self") - cpu })
}

/// CPU seconds of a process so far.
pub fn cpu_seconds(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks(&stat) as f64 / 100.0
}

/// CPU seconds of each thread of a process so far, by the threads' names, the largest first.
pub fn cpu_of_threads(pid: &str) -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some((start, end)) = stat.find('(').zip(stat.rfind(')')) else { continue };
        found.push((format!("{} {}", &stat[start + 1..end], task.file_name().to_string_lossy()), ticks(&stat)));
    }
    found
}

/// User and system time in a line of `stat`, in hundredths of a second.
fn ticks(stat: &str) -> u64 {
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// A line of `status`, in bytes: `VmRSS`, `VmHWM`.
pub fn memory(pid: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// Prints a rate of things a second, by the wall and by the CPU, and the aim by the CPU of one core.
pub fn rate(what: &str, things: usize, spent: Spent, aim: Option<f64>) {
    let (wall, cpu) = (things as f64 / spent.wall.max(1e-9), things as f64 / spent.cpu.max(1e-9));
    let aim = aim.map_or(String::new(), |aim| format!("  aim {aim:.0}: {}", if cpu >= aim { "met" } else { "MISSED" }));
    println!(
        "{what}: {things} in {:.2} s ({wall:.0}/s), {:.2} CPU s ({cpu:.0}/s a core, {:.2} us each){aim}",
        spent.wall,
        spent.cpu,
        spent.cpu * 1e6 / things as f64
    );
}

/// Prints a value with its aim, which is an upper bound.
pub fn at_most(what: &str, value: f64, unit: &str, aim: f64) {
    println!("{what}: {value:.2} {unit}  aim <= {aim} {unit}: {}", if value <= aim { "met" } else { "MISSED" });
}

/// The value below which a share of the sorted values lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}
