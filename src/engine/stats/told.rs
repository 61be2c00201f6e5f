//! Days that people heard of, with what each had taught, so that it can be left out again.
//!
//! A day teaches when it settles, and the verdict on it comes later, if ever (`notes/detection.md`, section 5.9: "never feed confirmed
//! incidents", and "no learning from alerted buckets until closed"). So what was told is left out of the account's own habit for four
//! weeks, or until somebody says that it was nothing; what somebody confirms as misuse is left out of everything, for good. After four
//! weeks without a word it counts: work that changed becomes a habit, only later. What a group has learnt of its members stays until it
//! is confirmed: a tail without the days that were told would call the next ones rarer than they are.
//!
//! A ruling holds for the constants of the first day that nobody has entered and of all later ones, so that what an open day may know
//! never changes. What was never told taught nothing unusual, and nobody can rule on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::delayed::DELAY;
use crate::event::Day;

/// For so many days after a day has settled what it taught is remembered: a verdict that comes later takes nothing back.
pub const WAITS_DAYS: i32 = 45;
/// For so many days the account's habit waits for a word on a day that was told.
const AWAITS_DAYS: i32 = 28;
/// After so many days next to nothing is left of what a day has taught.
const COUNTS_DAYS: i32 = 300;

/// A ruling on one day, as long as it holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// The first day whose constants it holds for.
    pub from: Day,
    /// Whether the day was misuse.
    pub is_misuse: bool,
    /// Whoever it is about is excepted from the day ruled on up to this one: what is like it teaches at once.
    pub excepted_until: Option<Day>,
}

/// What was ruled on one day, in the order in which it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rulings(Vec<InForce>);

impl Rulings {
    /// Whether the constants of `day` leave out what `taught` has taught, which they would know otherwise.
    pub fn leave_out(&self, taught: Day, day: Day) -> bool {
        is_known(taught, day) && self.is_misuse(day)
    }

    /// What holds for `day`.
    fn held(&self, day: Day) -> Option<&InForce> {
        self.0.iter().rev().find(|held| held.from <= day)
    }

    /// Whether what holds for `day` is that it was misuse.
    fn is_misuse(&self, day: Day) -> bool {
        self.held(day).is_some_and(|held| held.is_misuse)
    }

    /// Whether what holds for `day` of what was ruled on `about` excepts `taught`.
    fn excepts(&self, about: Day, taught: Day, day: Day) -> bool {
        let until = self.held(day).and_then(|held| held.excepted_until);
        until.is_some_and(|until| (about..until).contains(&taught))
    }
}

/// Whether the constants of `day` know what `taught` has taught.
fn is_known(taught: Day, day: Day) -> bool {
    taught <= day.plus(-DELAY)
}

/// What a day has taught, and whether the account's habit waits for a word on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noted<T> {
    taught: T,
    awaits: bool,
}

/// Days that were told, by whom they are about, with what they taught.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Ord, T: Serialize",
    deserialize = "K: Deserialize<'de> + Ord, T: Deserialize<'de>"
))]
pub struct Told<K, T> {
    days: BTreeMap<(K, Day), Noted<T>>,
    ruled: BTreeMap<(K, Day), Rulings>,
}

impl<K, T> Default for Told<K, T> {
    fn default() -> Told<K, T> {
        Told { days: BTreeMap::new(), ruled: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, T> Told<K, T> {
    /// Notes what a settled day has taught; whether it was ruled on before it settled. A day that `awaits` a word is left out until
    /// there is one.
    pub fn note(&mut self, key: K, day: Day, taught: T, awaits: bool) -> bool {
        let key = (key, day);
        let is_ruled = self.ruled.contains_key(&key);
        self.days.insert(key, Noted { taught, awaits });
        is_ruled
    }

    /// Notes a ruling.
    pub fn rule(&mut self, key: K, day: Day, ruling: InForce) {
        self.ruled.entry((key, day)).or_default().0.push(ruling);
    }

    /// What the days of one of them have taught.
    pub fn of_mut(&mut self, key: &K) -> impl Iterator<Item = (Day, &mut T)> {
        self.days.range_mut(all_days(key)).map(|((_, day), noted)| (*day, &mut noted.taught))
    }

    /// What the constants of `day` leave out of what one of them has taught.
    pub fn left_out<'a>(&'a self, key: &'a K, day: Day) -> impl Iterator<Item = (Day, &'a T)> + use<'a, K, T> {
        let days = self.days.range(all_days(key));
        let out = days.filter(move |((_, taught), noted)| {
            let ruled = self.ruled.get(&(key.clone(), *taught)).and_then(|rulings| rulings.held(day));
            let waits = || noted.awaits && day.0 - taught.0 <= AWAITS_DAYS && !self.is_excepted(key, *taught, day);
            is_known(*taught, day) && ruled.map_or_else(waits, |held| held.is_misuse)
        });
        out.map(|((_, taught), noted)| (*taught, &noted.taught))
    }

    /// Whether it holds for `day` that `taught` lies in what a ruling on another day excepts.
    fn is_excepted(&self, key: &K, taught: Day, day: Day) -> bool {
        self.ruled.range(all_days(key)).any(|((_, about), rulings)| rulings.excepts(*about, taught, day))
    }

    /// Whether it holds for `day` that one of them was misused on `on`.
    pub fn is_misuse(&self, key: K, on: Day, day: Day) -> bool {
        self.ruled.get(&(key, on)).is_some_and(|rulings| rulings.is_misuse(day))
    }

    /// Everything that has taught something and was ruled on.
    pub fn ruled(&self) -> impl Iterator<Item = (&K, Day, &T, &Rulings)> {
        let all = self.ruled.iter();
        all.filter_map(|(key, rulings)| self.days.get(key).map(|noted| (&key.0, key.1, &noted.taught, rulings)))
    }

    /// Forgets what lies too far back when `settled` has settled.
    pub fn forget(&mut self, settled: Day) {
        self.ruled.retain(|(_, day), _| settled.0 - day.0 <= COUNTS_DAYS);
        let ruled = &self.ruled;
        self.days.retain(|key, _| settled.0 - key.1.0 <= WAITS_DAYS || ruled.contains_key(key));
    }
}

fn all_days<K: Clone>(key: &K) -> std::ops::RangeInclusive<(K, Day)> {
    (key.clone(), Day(i32::MIN))..=(key.clone(), Day(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(told: &Told<u32, &'static str>, key: u32, day: i32) -> Vec<(i32, &'static str)> {
        told.left_out(&key, Day(day)).map(|(day, taught)| (day.0, *taught)).collect()
    }

    fn ruling(from: i32, is_misuse: bool) -> InForce {
        InForce { from: Day(from), is_misuse, excepted_until: None }
    }

    #[test]
    fn what_is_confirmed_is_left_out_from_the_day_that_the_verdict_holds_for() {
        let mut told = Told::default();
        assert!(!told.note(1, Day(10), "night", false));
        told.note(2, Day(10), "another's", false);
        told.rule(1, Day(10), ruling(20, true));
        assert_eq!((left_out(&told, 1, 19), left_out(&told, 1, 20)), (vec![], vec![(10, "night")]));
        assert_eq!(left_out(&told, 2, 20), []);
        // Somebody thinks better of it, and of that.
        told.rule(1, Day(10), ruling(23, false));
        told.rule(1, Day(10), ruling(25, true));
        let days = [22, 23, 24, 25].map(|day| left_out(&told, 1, day).len());
        assert_eq!(days, [1, 0, 0, 1]);
    }

    #[test]
    fn a_day_is_not_left_out_before_it_would_be_known() {
        let mut told = Told::default();
        told.rule(1, Day(10), ruling(11, true));
        assert_eq!(left_out(&told, 1, 11), []);
        assert!(told.note(1, Day(10), "night", true));
        assert_eq!((left_out(&told, 1, 12), left_out(&told, 1, 13)), (vec![], vec![(10, "night")]));
    }

    #[test]
    fn what_nobody_has_ruled_on_waits_for_four_weeks() {
        let mut told = Told::default();
        told.note(1, Day(10), "night", true);
        told.note(2, Day(10), "another's", true);
        let out = |told: &Told<_, _>, key: u32, days: [i32; 4]| days.map(|day| left_out(told, key, day).len());
        assert_eq!(out(&told, 1, [12, 13, 38, 39]), [0, 1, 1, 0]);
        // A word that it was nothing lets it teach at once; that it was misuse, never.
        told.rule(1, Day(10), ruling(20, false));
        told.rule(2, Day(10), ruling(20, true));
        assert_eq!(out(&told, 1, [13, 19, 20, 38]), [1, 1, 0, 0]);
        assert_eq!(out(&told, 2, [13, 19, 20, 200]), [1, 1, 1, 1]);
    }

    #[test]
    fn what_is_excepted_waits_for_nothing() {
        let mut told = Told::default();
        [8, 10, 13, 40, 50].into_iter().for_each(|day| _ = told.note(1, Day(day), "night", true));
        let justified = InForce { excepted_until: Some(Day(45)), ..ruling(15, false) };
        told.rule(1, Day(10), justified);
        let days = |told: &Told<_, _>, day| left_out(told, 1, day).into_iter().map(|(day, _)| day).collect::<Vec<_>>();
        // Before the verdict holds, and then: what came before the day ruled on still waits, and what comes after the exception.
        assert_eq!((days(&told, 14), days(&told, 16)), (vec![8, 10], vec![8]));
        assert_eq!(days(&told, 55), [50]);
        // Somebody thinks better of it.
        told.rule(1, Day(10), ruling(20, true));
        assert_eq!(days(&told, 20), [8, 10, 13]);
    }

    #[test]
    fn what_was_ruled_on_is_remembered_longer() {
        let mut told = Told::default();
        [(1, 10), (1, 12), (2, 10)].into_iter().for_each(|(key, day)| _ = told.note(key, Day(day), "x", false));
        told.rule(1, Day(10), ruling(20, true));
        told.forget(Day(56));
        assert_eq!(told.of_mut(&1).map(|(day, _)| day.0).collect::<Vec<_>>(), [10, 12]);
        assert_eq!(told.of_mut(&2).count(), 0);
        told.forget(Day(58));
        assert_eq!(left_out(&told, 1, 60), [(10, "x")]);
        assert_eq!(told.of_mut(&1).count(), 1);
        told.forget(Day(311));
        assert_eq!((left_out(&told, 1, 400), told.of_mut(&1).count()), (vec![], 0));
    }
}
