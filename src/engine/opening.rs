//! Whether the record at the head of a partition may be taken up now. The rows of one record, such as the entries of a Bundle, stay
//! together: what leaves the engine ends between two records.

use super::gate::LaneIx;
use super::lane::{WITNESSES, is_ahead};
use super::rule::detector::place_day;
use super::stats::delayed::DELAY;
use super::{Engine, calendar, enrich};
use crate::event::flags::Flags;
use crate::event::time::DAY;
use crate::event::{Day, Event, Time};

/// So many queued rows are asked whether a leap is real.
const AROUND: usize = 4_096;

impl Engine {
    /// The rows of the record at the head of a lane; none within a record.
    fn record(&self, lane: LaneIx) -> impl Iterator<Item = Event<'_>> + Clone {
        let (stretch, row) = self.gate.front(lane);
        let offset = stretch.batch.row(row).offset();
        let is_within = row > 0 && stretch.batch.row(row - 1).offset() == offset;
        let rows = if is_within { row..row } else { row..stretch.batch.len() };
        rows.map(|index| stretch.batch.row(index)).take_while(move |event| event.offset() == offset)
    }

    /// Whether only the history knows if the record at the head is a repetition.
    pub(super) fn is_unknown(&self, lane: LaneIx) -> bool {
        !self.gate.is_answered(lane) && self.record(lane).any(|event| self.identity.is_forgotten(event.time()))
    }

    /// Where the constants of some day of the record at the head are not fixed: until when it waits for them. Its rows stay together, so
    /// that it waits as a whole; and as it waits it holds time back no longer than its last row would, nor beyond the settling of its first
    /// day: else a record of many events, such as a Bundle, would wait for a day that cannot settle before it was taken up. What lies
    /// still further ahead within one record moves time itself when its turn comes.
    pub(super) fn opens_later(&self, lane: LaneIx, flags: Flags) -> Option<Time> {
        // A head that enters no day waits for none, and neither does a row that will be flagged.
        let settled = self.settled.filter(|_| flags == 0)?;
        let counts = |event: &Event<'_>| self.settings.declares(event.source()) && !is_ahead(event);
        let earliest = self.horizon.map_or(Time::MIN, |horizon| horizon.fixed_until);
        let rows = self.record(lane).filter(counts);
        if rows.clone().all(|event| event.time() < earliest) {
            return None;
        }
        let times: Vec<Time> = rows.clone().map(|event| event.time()).collect();
        let last = match times[..] {
            [only] => only,
            _ => last_of(times, self.gate.times(lane, AROUND), self.gate.newest(lane))?,
        };
        // Days of patients, workstations and vendors are those of the place.
        let places = self.rules.set().speaks_of_places();
        let days = rows.filter(|event| event.time() <= last).flat_map(|event| {
            let place = places.then(|| place_day(&self.roster, &event));
            std::iter::once(enrich::enrich(&self.roster, &event).day).chain(place).collect::<Vec<_>>()
        });
        let open: Vec<Day> = days.filter(|day| *day > settled).collect();
        let (first, newest) = (open.iter().min()?, open.iter().max()?);
        if *newest <= settled.plus(DELAY) {
            return None;
        }
        let until = last.min(calendar::settles_at(&self.roster, &self.settings, *first).plus(-1));
        // Whoever is last waits for nobody: its later rows move time themselves.
        (self.gate.watermark() < Some(until)).then_some(until)
    }
}

/// The latest of the times of one record that is no leap of more than a day from the `newest` before it, or is borne out by others of the
/// queue, which are `around`: one that is not may be wrong, and nobody waits for it.
fn last_of(mut times: Vec<Time>, mut around: Vec<Time>, newest: Option<Time>) -> Option<Time> {
    times.sort_unstable();
    around.sort_unstable();
    // Not itself.
    let witnesses =
        |time: Time| (around.len() - around.partition_point(|other| *other < time.plus(-DAY))).saturating_sub(1);
    let is_near = |time: Time| newest.is_some_and(|newest| time <= newest.plus(DAY));
    times.into_iter().rev().find(|time| is_near(*time) || witnesses(*time) * 2 >= WITNESSES)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::engine::fixture::{Record, decoded, roster, ward};
    use crate::engine::settings::Settings;
    use crate::engine::tests::{check_same, settled};
    use crate::engine::{Engine, Input};
    use crate::event::effects::Decoded;
    use crate::event::time::HOUR;
    use crate::event::{Effects, EventBatch, Origin};

    #[test]
    fn the_last_time_of_a_record_leaves_out_what_leaps() {
        let check = |hours: &[i64], following: &[i64], last: i64| {
            let times: Vec<Time> = hours.iter().map(|hour| Time(hour * HOUR)).collect();
            let around = times.iter().copied().chain(following.iter().map(|hour| Time(hour * HOUR))).collect();
            let found = last_of(times.clone(), around, Some(times[0]));
            assert_eq!(found, Some(Time(last * HOUR)), "{hours:?} {following:?}");
        };
        check(&[5], &[], 5);
        check(&[5, 29, 3], &[], 29);
        check(&[5, 30], &[], 5);
        // A Monday in a record of a Friday, with what follows on Monday, and a wrong year.
        check(&[5, 69], &[70; 16], 69);
        check(&[5, 69, 9_000], &[70; 16], 69);
        check(&[5, 69], &[70; 15], 5);
        check(&[[5; 20], [69; 20]].concat(), &[], 69);
        assert_eq!(last_of(Vec::new(), Vec::new(), None), None);
    }

    /// A record with a wrong clock, or of a source that nobody declared, moves no time and waits for nobody, however many events it holds.
    #[test]
    fn a_record_that_enters_no_day_moves_no_time() {
        let origin = Origin::topic("ehr", 0);
        let hours = |time: Time| time.0 / HOUR;
        let run = |odd: &dyn Fn(&mut Record), flagged: bool| {
            let records = ward(1);
            let mut engine = Engine::new(Settings::default(), roster());
            let now = Time(0);
            engine.step(now, Input::Open(origin.clone()));
            engine.step(now, Input::Decoded(Box::new(decoded(&origin, 0, &records[..3_000]))));
            let before = engine.watermark().expect("time has begun");
            let mut bundle: Vec<Record> = records[3_000..3_010].to_vec();
            bundle.iter_mut().for_each(odd);
            let stretch = packed(&origin, 3_000, &bundle, bundle.len());
            let mut all = vec![engine.step(now, Input::Decoded(Box::new(stretch)))];
            all.push(engine.step(now, Input::Decoded(Box::new(decoded(&origin, 3_001, &records[3_010..3_300])))));
            let after = engine.watermark().expect("time has begun");
            assert!(hours(after) - hours(before) < 48, "{before} {after}");
            let rows =
                all.iter().flat_map(|effects| &effects.applied).flat_map(|applied| applied.enriched.batch.rows());
            let future = rows.filter(|event| event.flags() & crate::event::flags::FUTURE != 0).count();
            assert_eq!(future, if flagged { bundle.len() } else { 0 });
        };
        run(&|_| {}, false);
        run(&|record| record.time = record.time.plus(5 * 365 * DAY), true);
        run(&|record| record.time = record.time.plus(40 * DAY), true);
    }

    /// Consecutive records of a feed as one record of many events each, `size` of them.
    fn packed(origin: &Origin, from: i64, records: &[Record], size: usize) -> Decoded {
        let plain = decoded(origin, 0, records);
        let mut columns = plain.batch.record().columns().to_vec();
        let place = plain.batch.record().schema().index_of("offset").expect("a column");
        let offsets = (0..records.len()).map(|row| from + (row / size) as i64);
        columns[place] = std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(offsets));
        let record =
            arrow::array::RecordBatch::try_new(plain.batch.record().schema(), columns).expect("the same shape");
        let to = from + records.len().div_ceil(size) as i64;
        Decoded { batch: EventBatch::new(origin.clone(), record), rejects: Vec::new(), from, to, gap: 0 }
    }

    /// Partitions with records of so many events, each fed with so many records at a time.
    fn run(partitions: &[(Vec<Record>, usize)], cut: usize) -> Vec<Effects> {
        let mut engine = Engine::new(Settings::default(), roster());
        let origins: Vec<Origin> = (0..partitions.len()).map(|p| Origin::topic("ehr", p as i32)).collect();
        let now = Time(0);
        let mut all: Vec<Effects> =
            origins.iter().map(|origin| engine.step(now, Input::Open(origin.clone()))).collect();
        let mut next = vec![(0_usize, 0_i64); partitions.len()];
        loop {
            let hungry = engine.hungry();
            if hungry.is_empty() {
                break;
            }
            for (index, origin) in origins.iter().enumerate().filter(|(_, origin)| hungry.contains(origin)) {
                let (records, size) = &partitions[index];
                let (at, offset) = next[index];
                let part = &records[at..records.len().min(at + cut * size)];
                let input = if part.is_empty() {
                    Input::End(origin.clone())
                } else {
                    let stretch = packed(origin, offset, part, *size);
                    next[index] = (at + part.len(), stretch.to);
                    Input::Decoded(Box::new(stretch))
                };
                all.push(engine.step(now, input));
            }
        }
        assert_eq!(engine.queued(), 0, "everything was taken up");
        all.push(engine.step(now, Input::Close));
        for applied in all.iter().flat_map(|effects| &effects.applied) {
            let span = &applied.span;
            let inside = |row: Event<'_>| (span.from..span.to).contains(&row.offset());
            assert!(applied.enriched.batch.rows().all(inside), "{}..{} holds its records", span.from, span.to);
        }
        all
    }

    /// Bundles of hours and of days beside a feed of single records: nobody waits for ever, and the alerts are those of the single ones.
    #[test]
    fn records_of_many_events_change_nothing() {
        for seed in 1..4 {
            let records = ward(seed);
            let single = settled(&run(&[(records.clone(), 1)], 500));
            assert!(single.len() >= 6);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            // A third of a working day of the ward has some 120 events; a record goes over two of them, and over a weekend.
            for sizes in [[1, 50, 7], [1, 120, 1], [110, 120, 30], [1, 90, 60]] {
                let mut partitions = sizes.map(|size| (Vec::new(), size));
                records.iter().for_each(|record| partitions[rng.random_range(0..3)].0.push(record.clone()));
                for cut in [1, 40] {
                    check_same(&single, &run(&partitions, cut), &format!("seed {seed}, {sizes:?}, {cut} at a time"));
                }
            }
        }
    }

    /// A feed that has nothing behind a record in which time leaps: the record is asked about as a whole, not in its middle.
    #[test]
    fn a_record_in_which_time_leaps_is_never_cut() {
        let records = ward(3);
        let leap = records.windows(2).position(|pair| pair[1].time > pair[0].time.plus(2 * DAY)).expect("a weekend");
        for before in [1, 20, 200] {
            // So many rows of a Friday and a few of the Monday in one record, and nothing behind it for a while.
            let from = leap + 1 - before;
            let few = [&records[from - 40..from], &records[from..leap + 5]].concat();
            run(&[(few[..40].to_vec(), 1), (few[40..].to_vec(), before + 4)], 1);
            run(&[(few, 40)], 1);
        }
    }

    /// A record that goes over more days than can be open at once, beside a feed of single ones: it is taken up all the same.
    #[test]
    fn a_record_of_a_month_is_taken_up() {
        let (even, odd): (Vec<_>, Vec<_>) = ward(2).into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
        let of = |half: Vec<(usize, Record)>| half.into_iter().map(|(_, record)| record).collect::<Vec<_>>();
        let all = run(&[(of(even), 1), (of(odd), 4_000)], 100);
        let rows: usize = all.iter().flat_map(|effects| &effects.applied).map(|a| a.enriched.batch.len()).sum();
        assert_eq!(rows, ward(2).len());
    }
}
