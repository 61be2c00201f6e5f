//! Starting processes from tests, never in the moment in which a mock broker goes down. A child has a copy of every descriptor of this process
//! until it executes its program; a copy of the broker's listener holds the port, and librdkafka aborts where it cannot bind it again.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// Held shared by who starts a process, alone by who takes a broker down.
static STARTING: RwLock<()> = RwLock::new(());

/// What `Command` has, for tests of this binary: they use nothing else to start a process.
pub trait Start {
    /// `Command::spawn`.
    fn start(&mut self) -> io::Result<Child>;
    /// `Command::output`.
    fn answer(&mut self) -> io::Result<Output>;
    /// `Command::status`.
    fn finish(&mut self) -> io::Result<ExitStatus>;
}

impl Start for Command {
    fn start(&mut self) -> io::Result<Child> {
        let _shared = STARTING.read().unwrap_or_else(PoisonError::into_inner);
        let child = self.spawn()?;
        until_it_shares_nothing(child.id());
        Ok(child)
    }

    fn answer(&mut self) -> io::Result<Output> {
        self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).start()?.wait_with_output()
    }

    fn finish(&mut self) -> io::Result<ExitStatus> {
        self.start()?.wait()
    }
}

/// Waits until a child has closed what it had of our sockets: it is started before it has, for the kernel wakes the parent first.
fn until_it_shares_nothing(id: u32) {
    let sockets = |process: &str| -> BTreeSet<PathBuf> {
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        let links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).collect()
    };
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until && !sockets("self").is_disjoint(&sockets(&id.to_string())) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes the one broker of a mock cluster down: whoever is connected is cut off, and nobody gets in.
pub fn take_down(cluster: &MockCluster<'_, DefaultProducerContext>) {
    let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    cluster.broker_down(1).expect("a broker that can go down");
}

#[test]
fn a_broker_goes_down_whatever_starts_beside_it() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    assert!(Command::new("true").finish().unwrap().success());
                }
            });
        }
        for _ in 0..30 {
            take_down(&cluster);
            cluster.broker_up(1).expect("up");
        }
        ended.store(true, Relaxed);
    });
}
