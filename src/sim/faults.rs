//! Faults on the input, each a function of records and a seed: what feeds, brokers and operators do to a stream.
//!
//! Each function says whether the promise of DESIGN section 5 survives it: some faults may change nothing at all, others lose what they
//! destroy and must still be counted. They work on lines and know nothing of the engine.

use super::SimEvent;
use super::dice::Dice;
use super::rig::Partition;
use crate::event::time::HOUR;

/// A record and when it arrives, in microseconds since 1970.
pub type Arriving = (i64, Vec<u8>);

/// The events of a hospital as they arrive.
pub fn arriving(events: impl Iterator<Item = SimEvent>) -> Vec<Arriving> {
    events.map(|event| (event.arrival.0, event.line)).collect()
}

/// All in one partition, in order of arrival.
pub fn one(records: &[Arriving]) -> Vec<Partition> {
    spread(records, 1, 0)
}

/// Over `count` partitions at random, each in order of arrival. Changes nothing.
pub fn spread(records: &[Arriving], count: usize, seed: u64) -> Vec<Partition> {
    let mut sorted: Vec<&Arriving> = records.iter().collect();
    sorted.sort_by_key(|(arrival, _)| *arrival);
    let mut dice = Dice::new(seed, "spread", &[]);
    let mut partitions = vec![Partition::new(); count];
    sorted.into_iter().for_each(|(_, line)| partitions[dice.below(count)].push(Some(line.clone())));
    partitions
}

/// Partitions that stand still: each in turn holds back everything that arrives in one of `count` equal parts of the time until that
/// part is over. Changes nothing where a part is shorter than `settle`.
pub fn stopped(records: &[Arriving], count: usize, seed: u64) -> Vec<Partition> {
    let first = records.iter().map(|(arrival, _)| *arrival).min().unwrap_or(0);
    let part = 20 * HOUR;
    let mut dice = Dice::new(seed, "stopped", &[]);
    let mut partitions: Vec<Vec<Arriving>> = vec![Vec::new(); count];
    for (arrival, line) in records {
        let (partition, turn) = (dice.below(count), (arrival - first) / part);
        let held = turn as usize % count == partition;
        let arrival = if held { first + (turn + 1) * part } else { *arrival };
        partitions[partition].push((arrival, line.clone()));
    }
    partitions.iter().flat_map(|records| one(records)).collect()
}

/// A share of the records comes again, up to a day later. Changes nothing.
pub fn doubled(records: &[Arriving], share: f64, seed: u64) -> Vec<Arriving> {
    let mut dice = Dice::new(seed, "doubled", &[]);
    let mut all = Vec::with_capacity(records.len() * 5 / 4);
    for (arrival, line) in records {
        all.push((*arrival, line.clone()));
        while dice.chance(share) {
            all.push((arrival + dice.between(0, 24 * HOUR), line.clone()));
        }
    }
    all
}

/// Every record arrives up to `within` microseconds later than it did. Changes nothing where lateness stays within `settle`.
pub fn shuffled(records: &[Arriving], within: i64, seed: u64) -> Vec<Arriving> {
    let mut dice = Dice::new(seed, "shuffled", &[]);
    records.iter().map(|(arrival, line)| (arrival + dice.between(0, within), line.clone())).collect()
}

/// Rubbish between the records: tombstones, empty values, cut copies, bytes that are no text, values beyond every limit, JSON that is
/// no event. Returns how many were added; each is a reject, and nothing else changes.
pub fn littered(partitions: &mut [Partition], share: f64, seed: u64) -> usize {
    let mut dice = Dice::new(seed, "litter", &[]);
    let mut added = 0;
    for partition in partitions {
        let records = std::mem::take(partition);
        for record in records {
            while dice.chance(share) {
                partition.push(rubbish(record.as_deref().unwrap_or_default(), &mut dice));
                added += 1;
            }
            partition.push(record);
        }
    }
    added
}

fn rubbish(record: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let cut = 1 + dice.below(record.len().max(3) - 2);
    Some(match dice.below(9) {
        0 => return None,
        1 => b" \r\n".to_vec(),
        2 => record[..cut.min(record.len())].to_vec(),
        3 => [&record[..cut.min(record.len())], &[0xff, 0xfe], b"}"].concat(),
        4 => vec![b'['; 70 + dice.below(1_000)],
        5 => vec![b'x'; (1 << 20) + 1],
        6 => br#"{"schema":"phiwatch.access/9"}"#.to_vec(),
        7 => b"[]".to_vec(),
        _ => br#"{"resourceType":"Patient","id":"x"}"#.to_vec(),
    })
}

/// Some records are cut short or have a byte overwritten: what they said is lost or changed. They are still counted.
pub fn damaged(partitions: &mut [Partition], share: f64, seed: u64) {
    let mut dice = Dice::new(seed, "damage", &[]);
    for record in partitions.iter_mut().flatten().flatten().filter(|record| !record.is_empty()) {
        if !dice.chance(share) {
            continue;
        }
        let at = dice.below(record.len());
        if dice.chance(0.5) {
            record.truncate(at);
        } else {
            record[at] = dice.below(256) as u8;
        }
    }
}
