//! One account's day by the clock: its hours, which of them lie outside of shifts, and the blocks of work that they belong to.

use serde::{Deserialize, Serialize};

use super::habit::{Limits, bits};
use crate::engine::detect::{Constants, Seen};
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::event::time::MINUTE;
use crate::event::{Day, Time};

/// Minutes around a shift that belong to it.
const SHIFT_MARGIN: i64 = 60 * MINUTE;
const SLOT: i64 = 15 * MINUTE;
/// A block of work: at least 4 hours without a gap of 90 minutes.
const BLOCK_SLOTS: u32 = 16;
const GAP_SLOTS: u32 = 6;

/// One account's day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Clock hours with activity, by bit.
    pub(super) hours: u32,
    /// Clock hours with activity outside of known shifts.
    pub(super) outside: u32,
    /// Those of them that are unusual: only of such an hour is anything told.
    pub(super) unusual: u32,
    /// Those of them that are as rare as what is told or held.
    pub(super) rare: u32,
    /// The outside hour with the highest score, the earliest clock hour of equals.
    rarest: u8,
    /// The score of that hour.
    score: f32,
    /// Quarters of an hour since the day began, by bit.
    pub(super) slots: u128,
    /// First slot of each hour, to find the block that it belongs to.
    pub(super) first_slot: [u8; 24],
    /// Hours whose date on the clock is not that of the local day: those behind midnight, and those of other zones.
    pub(super) date_after: u32,
    pub(super) date_before: u32,
    pub(super) shifts_known: bool,
    pub(super) told: Option<u8>,
    /// Use at unusual hours; few accounts have any.
    pub(super) evidence: Option<Box<Evidence>>,
}

/// The evidence of an account's day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Evidence {
    pub(super) events: Events,
    pub(super) patients: Distinct,
}

impl Tally {
    /// Notes the hour of an event; says whether it lies outside of known shifts.
    pub(super) fn add(&mut self, seen: &Seen<'_>, constants: &Constants<'_>) -> bool {
        let hour = seen.facts.clock.hour;
        let time = seen.event.time();
        let slot = ((time.0 - seen.presence.start.0) / SLOT).clamp(0, 127) as u8;
        self.slots |= 1 << slot;
        let (date, day) = (seen.facts.clock.date, seen.facts.day);
        self.date_after |= u32::from(date > day) << hour;
        self.date_before |= u32::from(date < day) << hour;
        let first = self.hours & (1 << hour) == 0;
        self.hours |= 1 << hour;
        if first || slot < self.first_slot[usize::from(hour)] {
            self.first_slot[usize::from(hour)] = slot;
        }
        let actor = seen.event.actor_id().unwrap_or_default();
        let on_shift = match seen.facts.on_shift {
            None => false,
            Some(on) => {
                self.shifts_known = true;
                on || near_shift(constants.roster.shifts(actor), time)
            }
        };
        if !on_shift {
            self.outside |= 1 << hour;
        }
        !on_shift
    }

    /// The date on the clock at that hour.
    pub(super) fn date(&self, day: Day, hour: usize) -> Day {
        let is_in = |hours: u32| i32::from(hours & (1 << hour) != 0);
        day.plus(is_in(self.date_after) - is_in(self.date_before))
    }

    /// Takes up the score of an outside hour that had no use before.
    pub(super) fn rate(&mut self, hour: usize, surprise: f32, limits: &Limits) {
        if f64::from(surprise) >= limits.unusual {
            self.unusual |= 1 << hour;
        }
        if f64::from(surprise) >= limits.rare {
            self.rare |= 1 << hour;
        }
        let is_earlier = hour < usize::from(self.rarest);
        if surprise > self.score || (surprise == self.score && surprise > 0.0 && is_earlier) {
            (self.rarest, self.score) = (hour as u8, surprise);
        }
    }

    /// The outside hour with the highest score, and that score; the earliest clock hour of equals.
    pub(super) fn rarest(&self) -> (usize, f64) {
        (usize::from(self.rarest), f64::from(self.score))
    }
}

/// The hour with the highest score, and that score; the earliest clock hour of equals.
pub(super) fn rarest(hours: u32, score: impl Fn(usize) -> f64) -> (usize, f64) {
    let mut best = (0, 0.0);
    for hour in bits(hours) {
        let score = score(hour);
        if score > best.1 {
            best = (hour, score);
        }
    }
    best
}

fn near_shift(shifts: &[(Time, Time)], time: Time) -> bool {
    let after = shifts.partition_point(|(start, _)| start.plus(-SHIFT_MARGIN) <= time);
    shifts[..after].iter().rev().take(4).any(|(_, end)| time < end.plus(SHIFT_MARGIN))
}

/// First and last slot of the work around a slot, without a gap of 90 minutes.
fn run(slots: u128, slot: u32) -> (u32, u32) {
    let busy = |slot: u32| slots & (1 << slot) != 0;
    let (mut start, mut end, mut gap) = (slot, slot, 0);
    for earlier in (0..slot).rev() {
        (start, gap) = if busy(earlier) { (earlier, 0) } else { (start, gap + 1) };
        if gap >= GAP_SLOTS {
            break;
        }
    }
    gap = 0;
    for later in slot + 1..128 {
        (end, gap) = if busy(later) { (later, 0) } else { (end, gap + 1) };
        if gap >= GAP_SLOTS {
            break;
        }
    }
    (start, end)
}

/// Quarters of an hour of the work that reaches the end of a day of this length: one on which clocks change is shorter or longer.
pub(super) fn late(slots: u128, length: i64) -> u8 {
    let last = 127 - slots.leading_zeros().min(127);
    if slots == 0 || i64::from(last + GAP_SLOTS) * SLOT < length {
        return 0;
    }
    let (start, end) = run(slots, last);
    (end - start + 1) as u8
}

/// Whether the hour lies in a block of at least four hours; one that begins with the day goes on from the day before.
pub(super) fn block(tally: &Tally, hour: usize, late_before: u8) -> bool {
    let (start, end) = run(tally.slots, u32::from(tally.first_slot[hour]));
    let before = if start < GAP_SLOTS { u32::from(late_before) } else { 0 };
    end - start + 1 + before >= BLOCK_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::{DAY, HOUR};

    /// Slots with work between two hours after 04:00.
    fn work(from: u32, to: u32) -> u128 {
        (4 * from..4 * to).step_by(3).fold(0, |slots, slot| slots | 1 << slot)
    }

    /// A night shift is one block, although a day ends at 04:00 in the middle of it.
    #[test]
    fn blocks_go_on_across_the_end_of_a_day() {
        let check = |before: u128, slots: u128, hour: usize, expected: bool| {
            let mut tally = Tally { slots, ..Tally::default() };
            tally.first_slot[hour] = ((hour + 20) % 24 * 4) as u8;
            assert_eq!(block(&tally, hour, late(before, DAY)), expected, "{before:b} {slots:b} {hour}");
        };
        // From 19:00 to 04:00, and on to 07:00.
        check(0, work(15, 24), 2, true);
        check(work(15, 24), work(0, 3), 5, true);
        check(0, work(0, 3), 5, false);
        // The evening before ended at 22:00: the hour from 04:00 on is another matter.
        check(work(12, 18), work(0, 1), 4, false);
        // An hour at 02:00 belongs to no block of the day that began at 04:00.
        check(0, work(4, 13) | work(22, 23), 2, false);
        // Four hours up to the end.
        let late = |slots: u128, hours: i64| late(slots, hours * HOUR) / 4;
        assert_eq!([late(0, 24), late(work(4, 13), 24), late(work(20, 24), 24)], [0, 0, 4]);
        // Where clocks change, a day is an hour shorter or longer.
        assert_eq!([late(work(20, 22), 23), late(work(20, 21), 23)], [1, 0]);
        assert_eq!([late(work(21, 24), 24), late(work(21, 24), 25), late(work(20, 25), 25)], [2, 0, 4]);
    }
}
