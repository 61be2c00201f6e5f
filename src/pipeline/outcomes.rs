//! What became of the records, in numbers that agree with the table `spans`: by partition, by reason, by source.
//!
//! Numbers are counted when a step asks for rows to be stored and become the truth only when the commit has landed, so that at any
//! moment what is told outside is what `ask sql` would sum up. Stretches that were on record before are not counted again.

use std::collections::BTreeMap;

use crate::event::{Effects, EventBatch, Origin, Reason, Time};

/// What became of the records of one origin.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Repeated records.
    pub duplicates: u64,
    /// Records that could not be used.
    pub rejects: u64,
    /// Offsets that were lost before they could be read.
    pub gap: u64,
}

/// What became of the records of all origins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// By origin.
    pub lanes: BTreeMap<Origin, Counts>,
    /// Rejects by reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Events, and the newest event time, by source.
    pub sources: BTreeMap<String, (u64, Time)>,
    /// Revisions of alerts, by family and disposition.
    pub alerts: BTreeMap<(String, &'static str), u64>,
}

impl Outcomes {
    /// Counts what a step asks to be stored; `is_new` says of an origin and an end of a stretch whether it is not on record.
    pub(super) fn add(&mut self, effects: &Effects, is_new: impl Fn(&Origin, i64) -> bool) {
        for applied in effects.applied.iter().filter(|applied| is_new(&applied.span.origin, applied.span.to)) {
            let span = &applied.span;
            self.lanes.entry(span.origin.clone()).or_default().add(Counts {
                events: span.events,
                duplicates: span.duplicates,
                rejects: span.rejects,
                gap: span.gap,
            });
            for reject in &applied.rejects {
                *self.reasons.entry(reject.reason).or_default() += 1;
            }
            self.add_sources(&applied.enriched.batch);
        }
        for raised in &effects.raised {
            let alert = &raised.alert;
            *self.alerts.entry((alert.family().to_owned(), alert.disposition.as_str())).or_default() += 1;
        }
    }

    /// Neighbours mostly have one source: it is looked up once for all of them.
    fn add_sources(&mut self, batch: &EventBatch) {
        let mut rows = batch.rows().peekable();
        while let Some(first) = rows.next() {
            let (mut count, mut newest) = (1, first.time());
            while let Some(event) = rows.next_if(|event| event.source() == first.source()) {
                count += 1;
                newest = newest.max(event.time());
            }
            let known = self.sources.entry(first.source().to_owned()).or_insert((0, Time::MIN));
            *known = (known.0 + count, known.1.max(newest));
        }
    }

    /// Takes up what has become durable.
    pub(super) fn take(&mut self, other: Outcomes) {
        for (origin, counts) in other.lanes {
            self.lanes.entry(origin).or_default().add(counts);
        }
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (source, (count, newest)) in other.sources {
            let known = self.sources.entry(source).or_insert((0, Time::MIN));
            *known = (known.0 + count, known.1.max(newest));
        }
        for (kind, count) in other.alerts {
            *self.alerts.entry(kind).or_default() += count;
        }
    }
}

impl Counts {
    /// Adds the counts of another stretch.
    pub fn add(&mut self, other: Counts) {
        self.events += other.events;
        self.duplicates += other.duplicates;
        self.rejects += other.rejects;
        self.gap += other.gap;
    }
}
