//! What leaves of a stretch: the rows that were taken up in a step, with their facts and flags, its rejects and its offsets.

use super::gate::LaneIx;
use super::{Engine, notice};
use crate::event::effects::{Applied, Decoded};
use crate::event::flags::Flags;
use crate::event::{Effects, Enriched, FactsBuilder, Reason, Reject, Span, Time};

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
fn applied(stretch: &Decoded, mut run: Run, from: i64, to: i64) -> Applied {
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

impl Engine {
    /// The first stretch of a lane is used up: its rows, rejects and offsets leave together.
    pub(super) fn finish_stretch(&mut self, lane: LaneIx, run: Run, effects: &mut Effects) {
        let from = self.position(lane, &run);
        let stretch = self.gate.pop(lane);
        let to = stretch.to;
        let applied = applied(&stretch, run, from, to);
        self.notice_bugs(&applied.rejects, effects);
        effects.applied.push(applied);
    }

    /// Rows of a stretch that is not used up leave with the offsets before the next row.
    pub(super) fn flush(&mut self, lane: LaneIx, run: Run, effects: &mut Effects) {
        let from = self.position(lane, &run);
        let (stretch, row) = self.gate.front(lane);
        let to = if row < stretch.batch.len() { stretch.batch.row(row).offset() } else { stretch.to };
        let applied = applied(stretch, run, from, to);
        self.notice_bugs(&applied.rejects, effects);
        effects.applied.push(applied);
    }

    /// Records that met a bug of decoding are nobody's fault but ours: that is said.
    fn notice_bugs(&self, rejects: &[Reject], effects: &mut Effects) {
        let at = self.watermark().unwrap_or(Time::MIN);
        for reject in rejects.iter().filter(|reject| reject.reason == Reason::Bug) {
            notice(effects, "undecoded", &reject.origin.to_string(), at);
        }
    }

    /// The first offset that has not left yet.
    fn position(&self, lane: LaneIx, run: &Run) -> i64 {
        let (stretch, row) = self.gate.front(lane);
        let start = if run.keep.is_empty() { row } else { run.start };
        if start == 0 {
            stretch.from
        } else if start < stretch.batch.len() {
            stretch.batch.row(start).offset()
        } else {
            stretch.to
        }
    }
}
