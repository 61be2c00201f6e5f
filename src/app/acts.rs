//! What people decide, and how it reaches the store and the history: through the socket of a running `run`, else by their locks.
//!
//! SQLite has one writer (DESIGN, decision 15). The socket lies in the state folder, for the same user only; a request is one line of
//! JSON, and so is the answer. Nothing goes through it that the lock would not allow: whoever may open the folder may do all this.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

use super::desk::Desk;
use super::partitions;
use crate::app::Stop;
use crate::event::{Subject, Time};
use crate::settings::Settings;
use crate::store::{Mute, Ruling, Store, StoreError, Verdict};

/// The name of the socket in the state folder.
const SOCKET: &str = "run.socket";
/// The longest request, in bytes.
const LONGEST: u64 = 64 << 10;
/// How long either side waits for the other.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// What came of an alert.
    Verdict {
        /// The alert.
        alert_id: String,
        /// What was found.
        ruling: Ruling,
        /// Why.
        reason: String,
        /// Who says so.
        who: String,
    },
    /// Quiet at the channels.
    Mute {
        /// Detections, with `*` and `?`.
        detection: String,
        /// Whom it covers; everybody where absent.
        subject: Option<Subject>,
        /// Why.
        reason: String,
        /// Who says so.
        who: String,
        /// Until when, microseconds since 1970.
        until: i64,
    },
    /// Partitions are read again, or waited for again.
    Resume {
        /// The topic.
        topic: String,
        /// One partition of it; all where absent.
        partition: Option<i32>,
        /// Why.
        reason: String,
        /// Who says so.
        who: String,
    },
    /// Time does not wait for a partition any more.
    Leave {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Why.
        reason: String,
        /// Who says so.
        who: String,
    },
}

impl Act {
    /// Whether it is about the reading, which only the loop of `run` can change.
    fn is_about_reading(&self) -> bool {
        matches!(self, Act::Resume { .. } | Act::Leave { .. })
    }

    /// Refuses an act without a reason.
    fn given(&self) -> Result<(), String> {
        let (Act::Verdict { reason, .. }
        | Act::Mute { reason, .. }
        | Act::Resume { reason, .. }
        | Act::Leave { reason, .. }) = self;
        match reason.trim() {
            "" => Err("a reason is needed: --reason TEXT says why".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Does what is about alerts, at `now`; what was done, in a word.
///
/// # Errors
/// In one sentence, where it is refused or the store cannot be written.
fn apply(store: &Store, act: &Act, now: Time) -> Result<String, String> {
    act.given()?;
    let done = match act {
        Act::Verdict { alert_id, ruling, reason, who } => {
            let (alert_id, reason, who) = (alert_id.clone(), reason.clone(), who.clone());
            store.add_verdict(&Verdict { seq: 0, alert_id, ruling: *ruling, reason, who, at: now })
        }
        Act::Mute { detection, subject, reason, who, until } => {
            if detection.trim().is_empty() {
                return Err("a detection is needed, such as mass-query.* or *".to_owned());
            }
            if *until <= now.0 {
                return Err(format!("a mute has to end in the future; {} is over", Time(*until)));
            }
            let (detection, subject, reason, who) = (detection.clone(), subject.clone(), reason.clone(), who.clone());
            store.add_mute(&Mute { seq: 0, detection, subject, reason, who, at: now, until: Time(*until) })
        }
        Act::Resume { .. } | Act::Leave { .. } => return Err("the store has no say in what is read".to_owned()),
    };
    done.map(|_| "noted".to_owned()).map_err(|error| error.to_string())
}

/// Brings `act` to whoever can do it: through the socket in `state` where somebody listens, else as the one writer. What was done, in
/// words.
///
/// # Errors
/// Where it is refused, or nobody can write.
pub fn act(settings: &Settings, dir: &Path, state: &Path, act: &Act) -> Result<String, Stop> {
    if let Some(stream) = connect(state) {
        return ask(stream, act).map_err(Stop::Failed);
    }
    if act.is_about_reading() {
        act.given().map_err(Stop::Failed)?;
        return partitions::act(settings, dir, act);
    }
    let store = super::store(settings, dir, state, true);
    apply(&*store?, act, super::now()).map_err(Stop::Failed)
}

/// A path to the socket that is never too long for one, whatever the folder is called.
fn short(state: &Path) -> std::io::Result<(File, PathBuf)> {
    let folder = File::open(state)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// `None` where nobody listens.
fn connect(state: &Path) -> Option<UnixStream> {
    let (_folder, path) = short(state).ok()?;
    let stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).ok()?;
    Some(stream)
}

fn ask(mut stream: UnixStream, act: &Act) -> Result<String, String> {
    let gone = |error: std::io::Error| format!("`phiwatch run` does not answer on its socket: {error}");
    let request = serde_json::to_string(act).map_err(|error| error.to_string())?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(gone)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut answer).map_err(gone)?;
    serde_json::from_str::<Result<String, String>>(&answer)
        .map_err(|_| "`phiwatch run` gave no answer that this version knows".to_owned())?
}

/// Listens in `state` until the process ends. Call it inside a runtime, as the one writer of `store`.
///
/// # Errors
/// Where the socket cannot be made.
pub(super) fn listen(state: &Path, store: Arc<Store>, desk: Desk, clock: fn() -> Time) -> std::io::Result<Listening> {
    let (folder, path) = short(state)?;
    // What an earlier process left behind: it is gone, or we would not hold the lock.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
    let own = std::fs::symlink_metadata(&path)?.uid();
    tokio::spawn(async move {
        let _folder = folder;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => _ = tokio::spawn(answer(stream, own, (store.clone(), desk.clone()), clock)),
                Err(error) => {
                    warn!(%error, "the socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(Listening(state.join(SOCKET)))
}

/// Removes the socket when the process ends in good order.
pub(super) struct Listening(PathBuf);

impl Drop for Listening {
    fn drop(&mut self) {
        // One that stays is removed by the next start.
        drop(std::fs::remove_file(&self.0));
    }
}

/// One request of one peer.
async fn answer(mut stream: tokio::net::UnixStream, own: u32, (store, desk): (Arc<Store>, Desk), clock: fn() -> Time) {
    let peer = match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => peer.uid(),
        _ => return warn!("somebody else asked at the socket and was sent away"),
    };
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(LONGEST));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let Ok(Ok(1..)) = read else { return };
    let done: Result<String, String> = match serde_json::from_str::<Act>(&line) {
        Err(_) => Err("this is no act that this version knows".to_owned()),
        Ok(act) if act.is_about_reading() => match act.given() {
            Ok(()) => desk.ask(act).await,
            Err(what) => Err(what),
        },
        Ok(act) => tokio::task::spawn_blocking(move || apply(&store, &act, clock()))
            .await
            .unwrap_or_else(|_| Err(StoreError::Stopping.to_string())),
    };
    info!(peer, done = done.is_ok(), "an act came through the socket");
    let text = serde_json::to_string(&done).expect("an answer is plain text");
    let sent = tokio::time::timeout(PATIENCE, writer.write_all(format!("{text}\n").as_bytes())).await;
    if !matches!(sent, Ok(Ok(()))) {
        warn!("whoever asked at the socket did not take the answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{raised, store};

    fn verdict(alert_id: &str, reason: &str) -> Act {
        Act::Verdict { alert_id: alert_id.into(), ruling: Ruling::Justified, reason: reason.into(), who: "po".into() }
    }

    fn mute(detection: &str, reason: &str, until: i64) -> Act {
        Act::Mute { detection: detection.into(), subject: None, reason: reason.into(), who: "po".into(), until }
    }

    /// What is asked at 100, and a word of the refusal; the same by the socket and without.
    #[tokio::test(flavor = "multi_thread")]
    async fn acts_are_done_or_refused_in_words() {
        let (store, dir) = store();
        let one = raised("u1", 1);
        let id = one.alert.alert_id.clone();
        store.raise(&[one], &|_| vec![], Time(1)).unwrap();
        // Longer than what a socket's address holds.
        let state = dir.path().join("s".repeat(200));
        std::fs::create_dir(&state).unwrap();
        let listening = listen(&state, store.clone(), Desk::default(), || Time(100)).unwrap();
        let cases = [
            (verdict(&id, "asked her"), None),
            (verdict(&id, " "), Some("a reason is needed")),
            (verdict("a-none", "x"), Some("there is no alert a-none")),
            (mute("mass-query.*", "audit week", 101), None),
            (mute("mass-query.*", "audit week", 100), Some("in the future")),
            (mute("", "audit week", 101), Some("a detection is needed")),
            (mute("*", "", 101), Some("a reason is needed")),
        ];
        for (act, refusal) in cases {
            let (state, wanted) = (state.clone(), act.clone());
            let asked = tokio::task::spawn_blocking(move || ask(connect(&state).expect("somebody listens"), &wanted));
            for done in [asked.await.unwrap(), apply(&store, &act, Time(100))] {
                match (&done, refusal) {
                    (Ok(_), None) => {}
                    (Err(what), Some(word)) => assert!(what.contains(word), "{what}"),
                    _ => panic!("{act:?}: {done:?}"),
                }
            }
        }
        assert_eq!(store.show(&id).unwrap().unwrap().1.len(), 2);
        assert_eq!(store.mutes(Time(100)).unwrap().len(), 2);
        let mode = std::fs::metadata(state.join(SOCKET)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        drop(listening);
        assert!(connect(&state).is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_socket_that_was_left_behind_is_replaced_and_nonsense_is_answered() {
        let (store, dir) = store();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        assert!(connect(dir.path()).is_none(), "nobody listens there");
        let _listening = listen(dir.path(), store, Desk::default(), || Time(100)).unwrap();
        let path = dir.path().to_path_buf();
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = connect(&path).unwrap();
            stream.write_all(b"{\"delete\":\"everything\"}\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.await.unwrap().contains("no act"));
    }
}
