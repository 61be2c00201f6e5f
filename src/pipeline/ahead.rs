//! Decoding ahead: a thread of its own turns the next batches into columns while the engine is at the one before.
//!
//! Arrivals keep their order, whatever takes long: a batch that is being decoded holds its place among those that need no decoding.
//! Only a few batches are on their way at a time, so that a slow engine is felt at the source.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;
use std::time::Duration;

use crate::decode::{Decoder, Hints, Limits, RawRecord};
use crate::event::Origin;
use crate::event::effects::Decoded;
use crate::ingest::kafka::{Arrival, RawBatch, Source};

/// Batches that may wait for their turn.
const DEPTH: usize = 4;

/// A source whose batches arrive decoded.
pub(super) struct Ahead<'a> {
    /// The source itself, for what is asked of it.
    pub source: &'a mut dyn Source,
    hints: &'a dyn Fn(&str) -> Hints,
    work: SyncSender<(RawBatch, Hints)>,
    done: Receiver<(RawBatch, Decoded)>,
    /// In the order of arrival; `None` is a batch on its way.
    waiting: VecDeque<Option<Arrival>>,
}

impl<'a> Ahead<'a> {
    /// Starts the thread, which ends with this value.
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: &'a mut dyn Source,
        hints: &'a dyn Fn(&str) -> Hints,
    ) -> Ahead<'a> {
        let (work, given) = sync_channel::<(RawBatch, Hints)>(DEPTH);
        let (made, done) = sync_channel(DEPTH);
        let decoding = move || {
            let mut decoders = BTreeMap::new();
            for (raw, hints) in given {
                // Nobody takes it any more: the loop has ended.
                let decoded = decode(&mut decoders, &raw, hints);
                if made.send((raw, decoded)).is_err() {
                    break;
                }
            }
        };
        let named = std::thread::Builder::new().name("decode".to_owned());
        named.spawn_scoped(scope, decoding).expect("the system gives one more thread");
        Ahead { source, hints, work, done, waiting: VecDeque::new() }
    }

    /// The next arrival in order, a batch with what it decodes to, or `None` when `timeout` has passed without any.
    pub fn next(&mut self, timeout: Duration) -> Option<(Arrival, Option<Box<Decoded>>)> {
        while self.waiting.len() < DEPTH {
            let patience = if self.waiting.is_empty() { timeout } else { Duration::ZERO };
            match self.source.next(patience) {
                Some(Arrival::Batch(raw)) => {
                    let hints = (self.hints)(name(raw.origin()));
                    self.work.send((raw, hints)).expect("the decoding thread ends after this loop");
                    self.waiting.push_back(None);
                }
                Some(other) => self.waiting.push_back(Some(other)),
                None => break,
            }
        }
        Some(match self.waiting.pop_front()? {
            Some(other) => (other, None),
            None => {
                let (raw, decoded) = self.done.recv().expect("the decoding thread ends after this loop");
                (Arrival::Batch(raw), Some(Box::new(decoded)))
            }
        })
    }
}

fn name(origin: &Origin) -> &str {
    match origin {
        Origin::Topic { topic, .. } => topic,
        Origin::File { name } => name,
    }
}

fn decode(decoders: &mut BTreeMap<Origin, Decoder>, raw: &RawBatch, hints: Hints) -> Decoded {
    let origin = raw.origin();
    let decoder =
        decoders.entry(origin.clone()).or_insert_with(|| Decoder::new(origin.clone(), hints, Limits::default()));
    for record in raw.records() {
        decoder.push(&RawRecord { offset: record.offset, byte: 0, at: record.at, value: record.value });
    }
    decoder.finish(raw.from(), raw.to())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::kafka::{LogId, RawRecord as Arrived};
    use crate::pipeline::fixture::Listed;

    fn batch(partition: i32, from: i64, count: i64) -> RawBatch {
        let mut raw = RawBatch::new(Origin::topic("ehr", partition), from);
        for offset in from..from + count {
            let line = format!(
                r#"{{"event_id":"{offset}","time":"2026-01-05T08:00:00Z","source":"ehr","actor":{{"id":"u"}},"activity":"read"}}"#
            );
            let value = if offset % 7 == 0 { &b"{"[..] } else { line.as_bytes() };
            raw.push(Arrived { offset, at: None, value: Some(value) });
        }
        raw
    }

    #[test]
    fn everything_comes_in_the_order_of_the_source_and_as_if_it_were_decoded_at_once() {
        let mut list = VecDeque::new();
        for round in 0..40_i64 {
            list.push_back(Some(Arrival::Batch(batch((round % 3) as i32, round * 100, 1 + round * 13 % 90))));
            match round % 5 {
                0 => list.push_back(Some(Arrival::NewPartition {
                    origin: Origin::topic("ehr", round as i32),
                    log: LogId::default(),
                    from: 0,
                })),
                1 => list.push_back(None),
                2 => list.push_back(Some(Arrival::Trouble { what: round.to_string(), missing: false })),
                _ => {}
            }
        }
        let expected: Vec<Arrival> = list.iter().flatten().cloned().collect();
        let mut source = Listed { list, ended: None };
        let mut decoders = BTreeMap::new();
        std::thread::scope(|scope| {
            let hints = |topic: &str| Hints::new(topic);
            let mut ahead = Ahead::new(scope, &mut source, &hints);
            for arrival in expected {
                // A silence may come between.
                let next = ahead.next(Duration::ZERO).or_else(|| ahead.next(Duration::ZERO));
                let (found, decoded) = next.expect("there is more");
                assert!(arrival == found, "{arrival:?} was overtaken");
                if let Arrival::Batch(raw) = arrival {
                    let (naive, decoded) = (decode(&mut decoders, &raw, Hints::new("ehr")), decoded.expect("columns"));
                    assert_eq!((decoded.from, decoded.to), (naive.from, naive.to));
                    assert_eq!(decoded.batch.record(), naive.batch.record());
                    assert_eq!(decoded.rejects, naive.rejects);
                }
            }
            assert!(ahead.next(Duration::ZERO).is_none());
        });
    }
}
