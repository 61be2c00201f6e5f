//! Killing `run` at the boundaries of its effects: the log says which effect was the last one before the death.
//!
//! `run` logs at debug level when alerts are in the outbox, when each table has its commit, and when the snapshot is written. A kill
//! is aimed by killing as soon as such a line is read, and judged by the last line that the dead left behind. Nothing here sleeps.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::program::phiwatch;
use crate::start::Start;

/// The effects in the order in which a segment has them.
const EFFECTS: [&str; 7] = ["outbox", "rejects", "touches", "events", "alerts", "spans", "snapshot"];
/// The last table that is committed: between it and the snapshot the snapshot lies behind the history.
const COMMITTED: &str = "spans";

/// One line of the log that tells of an effect.
#[derive(Debug, Clone)]
struct Effect {
    name: String,
    /// Records of the input that are on record by now; the outbox says nothing of it.
    records: Option<i64>,
}

/// A `run` whose effects are listened to.
pub struct Watched {
    child: Child,
    effects: Receiver<Effect>,
    listener: std::thread::JoinHandle<Vec<String>>,
}

impl Watched {
    /// Starts `phiwatch run` with the settings in `dir`.
    pub fn start(dir: &Path, until_end: bool) -> Watched {
        let mut command = phiwatch(dir);
        command.args(["run", "--config", "phiwatch.toml"]).args(until_end.then_some("--until-end"));
        let log = "phiwatch=info,phiwatch::pipeline=debug,phiwatch::history=debug,error";
        let mut child = command.env("PHIWATCH_LOG", log).stderr(Stdio::piped()).start().unwrap();
        let (sender, effects) = channel();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let listener = std::thread::spawn(move || {
            let mut others = Vec::new();
            for line in pipe.lines() {
                let line = line.unwrap();
                let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
                match parsed["fields"]["effect"].as_str() {
                    Some(name) => {
                        let effect = Effect { name: name.to_owned(), records: parsed["fields"]["records"].as_i64() };
                        // Nobody listens to a run that is left alone.
                        let _ = sender.send(effect);
                    }
                    None => others.push(line),
                }
            }
            others
        });
        Watched { child, effects, listener }
    }

    /// Waits for the end of a run that ends by itself; gives back what it said beside its effects.
    pub fn finish(mut self) -> Vec<String> {
        let status = self.child.wait().unwrap();
        let said = self.listener.join().unwrap();
        assert!(status.success(), "{}", said.join("\n"));
        said
    }

    /// Waits for this effect with at least so many records on record.
    pub fn until(&self, name: &str, records: i64) {
        while let Ok(effect) = self.effects.recv() {
            if effect.name == name && effect.records.unwrap_or(0) >= records {
                return;
            }
        }
        panic!("run ended before {records} records were on record");
    }

    /// Kills it; gives back what it said beside its effects.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.listener.join().unwrap()
    }

    /// Asks it to stop, as systemd would, and waits.
    pub fn stop(self) -> Vec<String> {
        // The standard library only knows SIGKILL.
        let asked = std::process::Command::new("kill").arg(self.child.id().to_string()).finish();
        assert!(asked.unwrap().success());
        self.finish()
    }
}

/// One death.
struct Kill {
    aimed: &'static str,
    fell: String,
    records: i64,
    lag: i64,
}

/// All deaths of a test.
pub struct Kills {
    kills: Vec<Kill>,
    rng: ChaCha8Rng,
    /// Records on record when it was last heard.
    records: i64,
}

impl Kills {
    /// None yet; `seed` chooses where the random ones fall.
    pub fn new(seed: u64) -> Kills {
        Kills { kills: Vec::new(), rng: ChaCha8Rng::seed_from_u64(seed), records: 0 }
    }

    /// Starts and kills `run` until there are `count` deaths in all, and at least `each` of either kind that is asked for; never
    /// when more than `before` of the `total` records are on record, so that each falls while there is lag.
    pub fn strike(&mut self, dir: &Path, until_end: bool, (count, each): (usize, usize), before: i64, total: i64) {
        while self.records < before && (self.kills.len() < count || self.wanted(each).is_some()) {
            assert!(self.kills.len() < 3 * count, "{}", self.table());
            // Alerts come late in the input, so their turn is later; committing goes on meanwhile.
            let aimed = match self.wanted(each) {
                Some("outbox") if self.kills.len() < count / 3 => EFFECTS[self.rng.random_range(1..EFFECTS.len())],
                Some(wanted) => wanted,
                None => EFFECTS[self.rng.random_range(0..EFFECTS.len())],
            };
            let mut run = Watched::start(dir, until_end);
            let mut fell = None;
            while let Ok(effect) = run.effects.recv() {
                self.hear(&effect);
                let hit = effect.name == aimed || self.records >= before;
                fell = Some(effect.name);
                if hit {
                    break;
                }
            }
            run.child.kill().unwrap();
            run.child.wait().unwrap();
            let said = run.listener.join().unwrap();
            for effect in run.effects.try_iter() {
                self.hear(&effect);
                fell = Some(effect.name);
            }
            let fell = fell.unwrap_or_else(|| panic!("run had no effect: {}", said.join("\n")));
            self.kills.push(Kill { aimed, fell, records: self.records, lag: total - self.records });
        }
    }

    fn hear(&mut self, effect: &Effect) {
        self.records = effect.records.unwrap_or(self.records);
    }

    /// A kind of death of which there are too few.
    fn wanted(&self, each: usize) -> Option<&'static str> {
        [COMMITTED, "outbox"].into_iter().find(|effect| self.fell(effect) < each)
    }

    fn fell(&self, effect: &str) -> usize {
        self.kills.iter().filter(|kill| kill.fell == effect).count()
    }

    fn table(&self) -> String {
        let mut table = "kill  aimed at   fell after  on record       lag\n".to_owned();
        for (number, kill) in self.kills.iter().enumerate() {
            table +=
                &format!("{:4}  {:9}  {:10}  {:9} {:9}\n", number + 1, kill.aimed, kill.fell, kill.records, kill.lag);
        }
        table
    }

    /// Prints every death and checks that they fell where they should.
    pub fn check(&self, name: &str, count: usize, each: usize) {
        println!("{name}\n{}", self.table());
        assert!(self.kills.len() >= count, "{} kills", self.kills.len());
        assert!(self.kills.iter().all(|kill| kill.lag > 0), "each falls while there is lag");
        assert!(self.fell("outbox") >= each, "between outbox and commit");
        assert!(self.fell(COMMITTED) >= each, "between commit and snapshot");
    }
}
