//! Verdicts on their way from the store to the engine: each becomes news once, also where the process dies on the way.
//!
//! The store is told that a verdict was taken up only when the control log has it, and a verdict that the control log has already is
//! not taken up again.

use std::collections::BTreeSet;

use tracing::error;

use crate::app::Stop;
use crate::engine::triage::Ruled;
use crate::history::Change;
use crate::pipeline::{Keep, News};
use crate::store::{Ruling, Store, StoreError, Verdict};

/// For so many days a justified verdict excepts the subject from the family of its alert, from the first that it holds for.
const HOLDS_DAYS: i32 = 30;
/// Verdicts that are taken up at a time: all of them, before anything is read that they hold for.
const AT_ONCE: usize = 1_000_000;

/// What is noted in the store and not yet known to the engine.
pub(super) struct Verdicts<'a> {
    store: &'a Store,
    /// Those that the control log has.
    known: BTreeSet<String>,
    /// The last one that was given out; the control log has it by the time of the next call.
    given: Option<i64>,
}

impl<'a> Verdicts<'a> {
    /// Those of `store` that the control log of `keep` does not have.
    pub fn new(store: &'a Store, keep: &Keep) -> Result<Verdicts<'a>, Stop> {
        let changes = keep.history.changes().map_err(Stop::failed)?;
        let known = changes.into_iter().filter_map(|noted| match noted.change {
            Change::Verdict { id, .. } => Some(id),
            _ => None,
        });
        Ok(Verdicts { store, known: known.collect(), given: None })
    }

    /// What was noted since. Everything that the last call gave is in the control log by now.
    pub fn poll(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        if let Err(error) = self.take(&mut news) {
            error!(%error, "verdicts cannot be read; they are tried again");
        }
        news
    }

    /// Everything that was given is in the control log.
    pub fn taken(&mut self) -> Result<(), StoreError> {
        if let Some(seq) = self.given {
            self.store.drained_verdicts(seq)?;
            self.given = None;
        }
        Ok(())
    }

    fn take(&mut self, news: &mut Vec<News>) -> Result<(), StoreError> {
        self.taken()?;
        for verdict in self.store.new_verdicts(AT_ONCE)? {
            let id = format!("{}/{}/{}", verdict.seq, verdict.alert_id, verdict.at.0);
            if !self.known.contains(&id) {
                let ruled = self.ruled(&verdict)?;
                self.known.insert(id.clone());
                news.push(News::Verdict { id, ruled });
            }
            self.given = Some(verdict.seq);
        }
        Ok(())
    }

    /// What the engine goes by: a justified verdict is an exception for some time, and what is confirmed is no habit.
    fn ruled(&self, verdict: &Verdict) -> Result<Option<Ruled>, StoreError> {
        let Some((listed, _)) = self.store.show(&verdict.alert_id)? else { return Ok(None) };
        let (family, subject, day) = (listed.alert.family().to_owned(), listed.alert.subject.clone(), listed.day);
        let excepted_days = (verdict.ruling == Ruling::Justified).then_some(HOLDS_DAYS);
        Ok(Some(Ruled { family, subject, day, is_misuse: verdict.ruling == Ruling::Confirmed, excepted_days }))
    }
}
