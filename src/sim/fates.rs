//! Turnover: who leaves, comes, moves, goes on leave, and which accounts lie unused. All of it belongs to the clean world.

use super::dice::Dice;
use super::roles::{Pattern, Role};
use super::staff::{Fate, Staff};

/// Decides what becomes of every account in a run of so many days.
///
/// Kinds of fate that misuse feeds on are `misuses` times as many, where that is above 1.
pub fn assign(staff: &mut Staff, days: i32, misuses: f64, dice: &mut Dice) {
    let mut order: Vec<usize> = (0..staff.people.len()).collect();
    dice.shuffle(&mut order);
    let months = f64::from(days) / 30.0;
    let users = staff.people.len() as f64;
    let share = |rate: f64, least: usize| ((users * rate).round() as usize).max(least);
    let more = |count: usize| (count as f64 * misuses.max(1.0)).round() as usize;
    let wanted = [
        more(share(0.012 * months, 3)),
        share(0.012 * months, 2),
        share(0.002 * months, 1),
        more(share(0.004 * months, 3)),
        more(share(0.012, 3)),
        more(share(0.010, 3)),
        share(0.010 * months, 2),
        share(0.003 * months, 1),
    ];
    // A small hospital must not consist of fates: at most a third of it has one.
    let allowed = order.len() / 3;
    let mut slots = order.into_iter().take(allowed);
    for turn in 0..wanted.iter().copied().max().unwrap_or(0) {
        for (kind, count) in wanted.iter().enumerate() {
            if turn < *count
                && let Some(person) = slots.next()
            {
                staff.people[person].fate = fate(staff, person, kind, turn, days, dice);
            }
        }
    }
    for index in 0..staff.people.len() {
        let (chance, from, length) = (dice.chance(0.12 * months), dice.between(2, days.into()), dice.between(5, 15));
        let person = &mut staff.people[index];
        if chance && matches!(person.fate, Fate::Steady) {
            person.leave = Some((from as i32, (from + length) as i32));
        }
    }
}

fn fate(staff: &Staff, person: usize, kind: usize, turn: usize, days: i32, dice: &mut Dice) -> Fate {
    // The first few fall after the weeks in which nothing is planted, where the run is long enough.
    let low = if turn < 3 && days > 28 { 22 } else { 2 };
    let some_day = dice.between(low, i64::from(days - 3).max(low + 1)) as i32;
    let early = dice.between(3, 9) as i32;
    match kind {
        0 => Fate::Leaves(some_day),
        1 => Fate::Hired(dice.between(1, i64::from(days.max(3))) as i32),
        2 if days > 50 => {
            let day = dice.between(5, i64::from(days - 40)) as i32;
            Fate::Returns(day, day + dice.between(20, 35) as i32)
        }
        3 => Fate::Disabled(some_day),
        4 => Fate::Lapses(early),
        5 => Fate::Unused(early - 3),
        6 => moves(staff, person, some_day, dice),
        7 if staff.people[person].role == Role::Nurse => Fate::Promoted(some_day),
        _ => Fate::Steady,
    }
}

/// Only ward and clinic people move; everybody else stays.
fn moves(staff: &Staff, person: usize, day: i32, dice: &mut Dice) -> Fate {
    let person = &staff.people[person];
    let others = staff.of_kind(person.site, staff.units[person.unit as usize].kind);
    let movable = matches!(person.role, Role::Nurse | Role::Assistant) && person.pattern != Pattern::Float;
    if !movable || others.len() < 2 {
        return Fate::Steady;
    }
    let unit = *dice.pick(&others);
    if unit == person.unit { Fate::Steady } else { Fate::Moves(day, unit) }
}
