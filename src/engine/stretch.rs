//! What leaves of a stretch: the rows that were taken up in a step, with their facts and flags, its rejects and its offsets.

use super::gate::LaneIx;
use super::{Engine, notice};
use crate::event::effects::{Applied, Decoded};
use crate::event::flags::Flags;
use crate::event::{Effects, Enriched, FactsBuilder, Reason, Span, Time};

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
        self.leave(applied(&stretch, run, from, to), effects);
    }

    /// Rows of a stretch that is not used up leave with the offsets before the next row.
    pub(super) fn flush(&mut self, lane: LaneIx, run: Run, effects: &mut Effects) {
        let from = self.position(lane, &run);
        let (stretch, row) = self.gate.front(lane);
        let to = if row < stretch.batch.len() { stretch.batch.row(row).offset() } else { stretch.to };
        self.leave(applied(stretch, run, from, to), effects);
    }

    /// Records that met a bug of decoding are nobody's fault but ours: that is said.
    fn leave(&self, applied: Applied, effects: &mut Effects) {
        let at = self.watermark().unwrap_or(Time::MIN);
        for reject in applied.rejects.iter().filter(|reject| reject.reason == Reason::Bug) {
            notice(effects, "undecoded", &reject.origin.to_string(), at);
        }
        effects.applied.push(applied);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Input;
    use crate::engine::fixture::{decoded, roster, ward};
    use crate::engine::settings::Settings;
    use crate::event::{Origin, Reject};

    #[test]
    fn a_record_that_met_a_bug_is_told_of_and_no_other_reject_is() {
        let origin = Origin::topic("ehr", 0);
        let mut stretch = decoded(&origin, 0, &ward(1)[..3]);
        let refused = |offset, reason| Reject {
            origin: origin.clone(),
            offset,
            byte: 0,
            reason,
            field: None,
            at: None,
            raw: b"{".to_vec(),
        };
        stretch.rejects = vec![refused(3, Reason::Syntax), refused(4, Reason::Bug), refused(5, Reason::Bug)];
        stretch.to = 6;
        let mut engine = Engine::new(Settings::default(), roster());
        engine.step(Time(0), Input::Open(origin.clone()));
        // A few records may be too few to judge the first of them by: with the end of the input they are taken up.
        let steps = [Input::Decoded(Box::new(stretch)), Input::End(origin)];
        let all = steps.map(|input| engine.step(Time(0), input));
        let notices = all.iter().flat_map(|effects| &effects.notices);
        let told: Vec<_> = notices.filter(|notice| notice.kind == "undecoded").collect();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].about.as_str(), told[0].count), ("ehr/0", 2));
        let applied = all.iter().flat_map(|effects| &effects.applied);
        assert_eq!(applied.map(|applied| applied.span.rejects).sum::<u64>(), 3);
    }
}
