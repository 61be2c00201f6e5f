//! The record as an input: segments of the history build the state anew, and marks say how far time had come.
//!
//! Rows on record say by their flags what was decided about them, so that nothing here asks in which order partitions were read or who
//! was idle. A segment is taken up by local days, and days settle as late as the constants of a row allow: a row that counted when it
//! was read finds its day open. A mark then lets time come as far as it had. What came as backfill left nothing behind that outlasts
//! the next settling, and is passed over.

use arrow::array::AsArray;
use arrow::datatypes::Date32Type;

use super::stats::delayed::DELAY;
use super::{Engine, enrich};
use crate::event::effects::Mark;
use crate::event::flags::{BACKFILL, FUTURE, UNDECLARED};
use crate::event::{Day, Effects, Enriched, Time};

impl Engine {
    /// How far time has come; `None` before it has begun.
    pub fn mark(&self) -> Option<Mark> {
        Some(Mark { watermark: self.watermark()?, settled: self.settled?, began: self.began? })
    }

    /// Takes up what is on record of one segment. The effects are on record too: the caller drops them.
    pub(super) fn recorded(&mut self, segment: &[Enriched], began: Option<Day>, effects: &mut Effects) {
        if self.settled.is_none() {
            (self.settled, self.began) = (began, began);
        }
        let mut rows: Vec<(Day, Time, usize, usize)> = Vec::new();
        for (index, stretch) in segment.iter().enumerate() {
            let days = stretch.facts.column_by_name("fact_day").map(|days| days.as_primitive::<Date32Type>());
            for (row, event) in stretch.batch.rows().enumerate() {
                self.identity.note(&event);
                self.gate.recorded(&stretch.batch.origin, &event);
                if event.flags() & (BACKFILL | FUTURE | UNDECLARED) == 0 {
                    let day = days.map(|days| Day(days.value(row)));
                    let day = day.unwrap_or_else(|| enrich::enrich(&self.roster, &event).day);
                    rows.push((day, event.time(), index, row));
                }
            }
        }
        rows.sort_unstable();
        let (roster, rules) = (self.roster.clone(), self.rules.set().clone());
        for (day, _, index, row) in rows {
            if self.settled.is_some_and(|settled| settled.plus(DELAY) < day) {
                self.settle_through(day.plus(-DELAY), effects);
            }
            let event = segment[index].batch.row(row);
            let mut facts = enrich::enrich(&roster, &event);
            enrich::columns(&roster, &event, rules.columns(), &mut facts);
            let mut watch = self.watch();
            watch.show(&event, &facts, event.flags(), effects);
        }
    }

    /// Lets time come as far as it had. The effects are on record: the caller drops them.
    pub(super) fn reach(&mut self, mark: &Mark, effects: &mut Effects) {
        self.began = Some(mark.began);
        self.settled.get_or_insert(mark.began);
        self.settle_through(mark.settled, effects);
        self.gate.reach(mark.watermark);
        self.identity.forget(mark.watermark);
        self.horizon = None;
    }
}
