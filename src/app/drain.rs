//! What the state folder would lose with it goes into the journal of the history: receipts, mutes, verdicts, and the lines of the self-audit.
//!
//! A lost or older SQLite file is made again at the start of `run`: alerts on record less receipts, so that nothing is told twice and
//! nothing that was not told is lost. An entry is durable before anything is marked as drained: a crash between drains it twice, and
//! receipts are known by their numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::info;

use super::audit::{self, Head, Lines};
use super::operator::{self, Seen};
use crate::app::Stop;
use crate::event::{Raised, Time};
use crate::history::{Entry, History, HistoryError, Journal};
use crate::store::{AesSeal, Mute, Outcome, Receipt, Store, StoreError, Verdict};

/// Receipts in one entry.
const AT_ONCE: usize = 10_000;
/// Kinds of entries.
const RECEIPTS: &str = "receipts";
const MUTES: &str = "mutes";
const VERDICTS: &str = "verdicts";
const ACTS: &str = "audit";
/// How far this store knows the journal.
const JOURNAL: &str = "journal";

/// Why something could not be drained.
#[derive(Debug, thiserror::Error)]
pub(super) enum DrainError {
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the self-audit: {0}")]
    Audit(#[from] std::io::Error),
}

impl DrainError {
    fn stop(self) -> Stop {
        Stop::failed(self)
    }
}

/// The way from the state folder into the journal.
pub(super) struct Drain {
    journal: Journal,
    store: Arc<Store>,
    state: PathBuf,
    seal: AesSeal,
    /// The last line of the self-audit that the journal has.
    drained: Option<Head>,
    /// What was said to be wrong with the self-audit: it is said once.
    said: Option<String>,
    /// The store knows more of the journal than is in it: the history was put back from an older copy.
    is_older: bool,
}

/// What a round has brought in.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Lines of the self-audit.
    pub lines: u64,
    /// Receipts.
    pub receipts: u64,
    /// What is wrong with the self-audit.
    pub wrong: Option<Seen>,
}

impl Drain {
    /// Opens the journal, and makes the store again where it lacks what the journal and the history have. Call it before any channel
    /// starts. `alerts` are those on record, `routes` says which channels a revision goes to.
    ///
    /// # Errors
    /// Where the journal is damaged or the store cannot be written.
    pub(super) fn open(
        history: &History,
        (store, state, seal): (Arc<Store>, &Path, AesSeal),
        alerts: &[Raised],
        routes: &dyn Fn(&Raised) -> Vec<String>,
        now: Time,
    ) -> Result<Drain, Stop> {
        let journal = Journal::open(history).map_err(Stop::failed)?;
        let entries = journal.read().map_err(Stop::failed)?;
        let last = entries.iter().rev().find(|entry| entry.kind == ACTS);
        let drained = last.and_then(|entry| String::from_utf8_lossy(&entry.bytes).lines().last().map(Head::of));
        let newest = entries.last().map_or(0, |entry| entry.number as i64);
        let is_older = store.mark(JOURNAL).map_err(Stop::failed)? > newest;
        let drain = Drain { journal, store, state: state.to_path_buf(), seal, drained, said: None, is_older };
        drain.restore(&entries, alerts, routes, now).map_err(DrainError::stop)?;
        Ok(drain)
    }

    fn restore(
        &self,
        entries: &[Entry],
        alerts: &[Raised],
        routes: &dyn Fn(&Raised) -> Vec<String>,
        now: Time,
    ) -> Result<(), DrainError> {
        let known = self.store.mark(JOURNAL)?.unsigned_abs();
        let news: Vec<&Entry> = entries.iter().filter(|entry| entry.number > known).collect();
        let of = |kind: &'static str| news.iter().filter(move |entry| entry.kind == kind).map(|entry| &entry.bytes);
        let receipts: Vec<Receipt> = of(RECEIPTS).flat_map(|bytes| read(bytes)).collect();
        let mutes: Vec<Mute> = of(MUTES).flat_map(|bytes| read(bytes)).collect();
        let verdicts: Vec<Verdict> = of(VERDICTS).flat_map(|bytes| read(bytes)).collect();
        self.store.restore(&receipts)?;
        self.store.restore_mutes(&mutes)?;
        let revisions = self.store.revisions()?;
        let missing = |one: &&Raised| {
            let known = revisions.get(&one.alert.alert_id);
            known.is_none_or(|revision| *revision < one.alert.revision)
        };
        let missing: Vec<Raised> = alerts.iter().filter(missing).cloned().collect();
        let queued = self.store.raise(&missing, routes, now)?;
        self.store.restore_verdicts(&verdicts)?;
        if let Some(last) = news.last() {
            let numbers = [
                (RECEIPTS, receipts.iter().map(|receipt| receipt.seq).max()),
                (MUTES, mutes.iter().map(|mute| mute.seq).max()),
                (VERDICTS, verdicts.iter().map(|verdict| verdict.seq).max()),
                (JOURNAL, Some(last.number as i64)),
            ];
            for (name, highest) in numbers {
                self.store.set_marks(&[(name, self.store.mark(name)?.max(highest.unwrap_or(0)))])?;
            }
        }
        if !missing.is_empty() {
            info!(
                alerts = missing.len(),
                receipts = receipts.len(),
                queued,
                "the store was made again from the history"
            );
        }
        Ok(())
    }

    /// Brings in what has come since; each part by itself, so that one that fails does not keep the others.
    ///
    /// # Errors
    /// Where the disk refuses; the next round tries again.
    pub(super) fn round(&mut self, now: Time) -> Result<Round, DrainError> {
        let mut round = Round { receipts: self.receipts(now)?, ..Round::default() };
        self.words(now)?;
        self.acts(now, &mut round)?;
        Ok(round)
    }

    fn receipts(&mut self, now: Time) -> Result<u64, DrainError> {
        let mut all = 0;
        loop {
            let from = self.store.mark(RECEIPTS)?;
            let receipts = self.store.receipts_since(from, AT_ONCE)?;
            let Some(last) = receipts.last() else { return Ok(all) };
            let number = self.journal.append(RECEIPTS, now, &write(&receipts))?;
            self.store.set_marks(&[(RECEIPTS, last.seq), (JOURNAL, number as i64)])?;
            all += receipts.len() as u64;
        }
    }

    /// Mutes and verdicts.
    fn words(&mut self, now: Time) -> Result<(), DrainError> {
        let mutes = self.store.mutes_since(self.store.mark(MUTES)?)?;
        if let Some(last) = mutes.last() {
            let number = self.journal.append(MUTES, now, &write(&mutes))?;
            self.store.set_marks(&[(MUTES, last.seq), (JOURNAL, number as i64)])?;
        }
        let verdicts = self.store.verdicts_since(self.store.mark(VERDICTS)?)?;
        if let Some(last) = verdicts.last() {
            let number = self.journal.append(VERDICTS, now, &write(&verdicts))?;
            self.store.set_marks(&[(VERDICTS, last.seq), (JOURNAL, number as i64)])?;
        }
        Ok(())
    }

    /// The lines of the self-audit. Whatever was done to them, they are kept as they are.
    fn acts(&mut self, now: Time, round: &mut Round) -> Result<(), DrainError> {
        let file = Lines::lock(&self.state)?;
        // What stands up to the line that was drained last is in the journal, also where a crash kept it from being cut.
        let drained = self.drained.as_ref();
        let is_known = |line: &String| Some(Head::of(line)).as_ref() == drained;
        let fresh = &file.lines[file.lines.iter().rposition(is_known).map_or(0, |at| at + 1)..];
        let gone = (file.lines.is_empty() && drained.is_some())
            .then(|| "all lines of the self-audit were taken out".to_owned());
        let wrong = gone.or_else(|| audit::wrong(fresh, drained, &self.seal));
        let wrong = wrong.or_else(|| audit::cut_off(&file.lines, drained, &self.state, &self.seal));
        if let Some(what) = wrong.clone().filter(|what| self.said.as_ref() != Some(what)) {
            let why = match self.is_older {
                true => {
                    "The history is older than the state folder: it was put back from a copy, and this may follow from that alone."
                }
                false => {
                    "Somebody wrote to the state folder, or the history or the state folder was put back from an older copy."
                }
            };
            let what = format!("{}: {what}. {why}", self.state.join(audit::AUDIT).display());
            round.wrong = Some(Seen { kind: &operator::AUDIT, about: "self-audit".into(), what, count: 0 });
        }
        self.said = wrong;
        let Some(last) = fresh.last() else {
            // From here the chain begins anew: it is told once.
            self.drained = self.drained.take().filter(|_| !file.lines.is_empty());
            return Ok(());
        };
        let number = self.journal.append(ACTS, now, format!("{}\n", fresh.join("\n")).as_bytes())?;
        let head = Head::of(last);
        round.lines = fresh.len() as u64;
        self.store.set_marks(&[(JOURNAL, number as i64)])?;
        // A crash may have left the head on a line that is cut off now. A head that tells of lines that are gone stays as it is.
        if self.said.is_none() {
            head.write(&self.state, &self.seal)?;
        }
        self.drained = Some(head);
        Ok(file.cut()?)
    }
}

/// Notes that nobody has to be told of these by a channel: a `scan` has printed them.
///
/// # Errors
/// Where the journal cannot be written.
pub(super) fn printed(
    history: &History,
    store: &Store,
    raised: &BTreeSet<(String, u32)>,
    now: Time,
) -> Result<(), Stop> {
    if raised.is_empty() {
        return Ok(());
    }
    let receipt = |(alert_id, revision): &(String, u32)| Receipt {
        seq: 0,
        alert_id: alert_id.clone(),
        revision: *revision,
        channel: crate::store::EVERY_CHANNEL.to_owned(),
        outcome: Outcome::Sent,
        delivery: None,
        note: None,
        at: now,
    };
    let receipts: Vec<Receipt> = raised.iter().map(receipt).collect();
    let mut journal = Journal::open(history).map_err(Stop::failed)?;
    journal.append(RECEIPTS, now, &write(&receipts)).map_err(Stop::failed)?;
    store.restore(&receipts).map(|_| ()).map_err(Stop::failed)
}

fn write<T: Serialize>(rows: &[T]) -> Vec<u8> {
    serde_json::to_vec(rows).expect("rows are plain values")
}

/// What an entry of another version holds may be left out: it only says who was told.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Vec<T> {
    serde_json::from_slice(bytes).unwrap_or_default()
}
