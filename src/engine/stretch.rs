//! What leaves of a stretch: the rows that were taken up in a step, with their facts and flags, its rejects and its offsets.

use crate::event::effects::{Applied, Decoded};
use crate::event::flags::Flags;
use crate::event::{Enriched, FactsBuilder, Span};

/// Rows of one stretch that were taken up in this step.
#[derive(Default)]
pub(super) struct Run {
    pub start: usize,
    pub keep: Vec<bool>,
    pub flags: Vec<Flags>,
    pub facts: FactsBuilder,
    pub duplicates: u64,
}

/// What leaves of a stretch: the kept rows with their facts and flags, the rejects and the span of `from..to`.
pub(super) fn applied(stretch: &Decoded, mut run: Run, from: i64, to: i64) -> Applied {
    let rows = stretch.batch.slice(run.start, run.keep.len());
    let batch = rows.keep(&run.keep, &run.flags);
    let rejects: Vec<_> =
        stretch.rejects.iter().filter(|reject| (from..to).contains(&reject.offset)).cloned().collect();
    let span = Span {
        origin: stretch.batch.origin.clone(),
        from,
        to,
        events: batch.len() as u64,
        duplicates: run.duplicates,
        rejects: rejects.len() as u64,
        gap: if from == stretch.from { stretch.gap } else { 0 },
    };
    Applied { enriched: Enriched { batch, facts: run.facts.finish() }, rejects, span }
}
