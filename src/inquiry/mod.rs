//! READ: questions to the history, one file each.
//!
//! A question is a [`Spec`] in [`ALL`]: its name, its arguments, and a function from an [`Archive`] (the history at one moment) and
//! what was [`Asked`] to an [`Answer`]. `backtest` asks what rules would have said. Every answer says up to when it is complete and what it cannot see (`blind`). Questions change nothing; recording that one was asked is the caller's part.

mod answer;
mod archive;
pub mod backtest;
mod blind;
mod break_glass;
mod dormant;
mod later;
mod ledger;
mod patient_timeline;
mod people;
mod render;
mod sources;
mod sql;
mod user_timeline;
mod vendor_sessions;
mod when;
mod who_accessed;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::event::Zone;
use crate::history::{HistoryError, KeySource};
use crate::roster::Roster;

pub use answer::{Answer, Gap};
pub use archive::{Archive, kept_roster};
pub use blind::{Behind, Silence};
pub use ledger::{Learning, Stale, Unread};
pub use render::{Format, Rendered, render};
pub use when::{Window, read_window};

/// Every question, in the order in which they are listed.
pub static ALL: &[&Spec] = &[
    &who_accessed::SPEC,
    &patient_timeline::SPEC,
    &user_timeline::SPEC,
    &vendor_sessions::SPEC,
    &dormant::SPEC,
    &break_glass::SPEC,
    &sources::SPEC,
    &sql::SPEC,
];

/// A question that can be asked.
pub struct Spec {
    /// The word on the command line.
    pub name: &'static str,
    /// Its arguments, as the help shows them.
    pub arguments: &'static str,
    /// One sentence: what the answer shows.
    pub about: &'static str,
    /// How many words may follow it: at least, at most.
    pub words: (usize, usize),
    /// Finds the answer.
    pub answer: for<'a> fn(&'a Archive, &'a Asked) -> BoxFuture<'a, Result<Answer, AskError>>,
}

/// What was asked, beside the name of the question.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The words after the name.
    pub words: Vec<String>,
    /// `--days`.
    pub days: Option<u32>,
    /// `--since`, as it was written.
    pub since: Option<String>,
    /// `--until`, as it was written.
    pub until: Option<String>,
    /// `--all`: ended and disabled accounts too.
    pub all: bool,
    /// Rosters that overrule the version kept in the history.
    pub roster: Option<Arc<Roster>>,
    /// The zone where neither a roster nor a site says; UTC where absent.
    pub zone: Option<Zone>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It was not asked in a form that can be understood; the text says what is expected.
    #[error("{0}")]
    Usage(String),
    /// The history could not be read, or refused the query.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Asks `question` of the history at `dir` and writes the answer in `format`.
///
/// # Errors
/// [`AskError::Usage`] for an unknown question, missing words or times that cannot be read; else what the history says.
pub async fn ask(
    dir: &Path,
    key: &KeySource,
    question: &str,
    asked: &Asked,
    format: Format,
) -> Result<Rendered, AskError> {
    let spec = find(question)?;
    let (least, most) = spec.words;
    if !(least..=most).contains(&asked.words.len()) {
        return Err(AskError::Usage(format!("usage: ask {} {}", spec.name, spec.arguments)));
    }
    let archive = Archive::open(dir, key, asked).await?;
    let answer = (spec.answer)(&archive, asked).await?;
    Ok(render(&answer, format))
}

fn find(question: &str) -> Result<&'static Spec, AskError> {
    let names = || ALL.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|spec| spec.name == question);
    found.copied().ok_or_else(|| AskError::Usage(format!("there is no such question; there are {}", names())))
}
