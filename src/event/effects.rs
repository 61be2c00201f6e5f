//! What goes into a step of the engine and all that comes out of it.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::alert::Raised;
use super::batch::EventBatch;
use super::reject::Reject;
use super::schema::EVENTS;
use super::span::{Origin, Span};
use super::time::{Day, Time};

/// A decoded stretch of one origin: every record in `from..to` is an event of the batch, a reject or a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The events, by rising offset.
    pub batch: EventBatch,
    /// The records that could not be used, by rising offset.
    pub rejects: Vec<Reject>,
    /// First offset of the stretch.
    pub from: i64,
    /// First offset after it.
    pub to: i64,
    /// Offsets in it that were lost before they could be read.
    pub gap: u64,
}

impl Decoded {
    /// What lies before offset `at`, and what lies at it or beyond; `at` lies inside the stretch.
    pub fn split(self, at: i64) -> (Decoded, Decoded) {
        let rows = self.batch.len();
        let before = (0..rows).take_while(|row| self.batch.row(*row).offset() < at).count();
        let (known, fresh) = self.rejects.into_iter().partition(|reject| reject.offset < at);
        let (head, tail) = (self.batch.slice(0, before), self.batch.slice(before, rows - before));
        let first = Decoded { batch: head, rejects: known, from: self.from, to: at, gap: 0 };
        (first, Decoded { batch: tail, rejects: fresh, from: at, to: self.to, gap: self.gap })
    }
}

/// How far time had come in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The watermark.
    pub watermark: Time,
    /// The newest settled day.
    pub settled: Day,
    /// What was the newest settled day when time began.
    pub began: Day,
}

/// Events with their facts, duplicates taken out.
#[derive(Debug, Clone)]
pub struct Enriched {
    /// What was recorded.
    pub batch: EventBatch,
    /// The facts, with the columns of [`super::schema::FACTS`], row by row.
    pub facts: RecordBatch,
}

impl Enriched {
    /// Both side by side, with the columns of [`EVENTS`].
    pub fn table(&self) -> RecordBatch {
        let columns = self.batch.record().columns().iter().chain(self.facts.columns()).cloned().collect();
        RecordBatch::try_new(EVENTS.clone(), columns).expect("events and facts have the same rows")
    }
}

/// A stretch of an origin that the engine has taken up.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its events.
    pub enriched: Enriched,
    /// Its rejects.
    pub rejects: Vec<Reject>,
    /// Its offsets and their outcomes.
    pub span: Span,
}

/// Something that an operator should know; never a name or record number of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Stable slug, such as `id-conflict`.
    pub kind: &'static str,
    /// The source or partition concerned.
    pub about: String,
    /// How many records are concerned.
    pub count: u64,
    /// Event time.
    pub at: Time,
}

/// What a detector could not judge on a settled day because too little is known yet: its silence means nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The family, or the id of a rule.
    pub detector: String,
    /// The local day.
    pub day: Day,
    /// Accounts that it judged.
    pub judged: u64,
    /// Accounts that it did not.
    pub unjudged: u64,
    /// It met a bug and is switched off, so that it judges nobody.
    pub off: bool,
}

/// Everything that one step asks of the world.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Stretches to be stored, in the order in which they were taken up.
    pub applied: Vec<Applied>,
    /// Revisions of alerts.
    pub raised: Vec<Raised>,
    /// Local days that settled.
    pub settled: Vec<Day>,
    /// What detectors could not judge on those days.
    pub unjudged: Vec<Unjudged>,
    /// Old records wait for what the history knows of them; the step is not done before it has said so.
    pub asks: bool,
    /// Partitions to stop reading for now.
    pub pause: Vec<Origin>,
    /// Partitions to read again.
    pub resume: Vec<Origin>,
    /// What an operator should know.
    pub notices: Vec<Notice>,
}

/// Something wrong with a settings, roster or rule file; all of them are reported at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line from 1, where one is to blame.
    pub line: Option<u64>,
    /// What is wrong and what to do; never a person's name or record number.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}
