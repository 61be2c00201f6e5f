//! Days that people heard of, with what each had taught, so that those that a person confirms as misuse are left out again.
//!
//! A day teaches when it settles, and the verdict on it comes later: "never feed confirmed incidents" (`notes/detection.md`, section 5.9)
//! means to take back. A ruling holds for the constants of the first day that nobody has entered and of all later ones, so that what an
//! open day may know never changes. What was never told taught nothing unusual, and nobody can rule on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::delayed::DELAY;
use crate::event::Day;

/// For so many days after a day has settled what it taught is remembered: a verdict that comes later takes nothing back.
const WAITS_DAYS: i32 = 45;
/// After so many days next to nothing is left of what a day has taught.
const COUNTS_DAYS: i32 = 300;

/// What was ruled on one day, in the order in which it was: the first day that it holds for, and whether the day is misuse.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rulings(Vec<(Day, bool)>);

impl Rulings {
    /// Whether the constants of `day` leave out what `taught` has taught, which they would know otherwise.
    pub fn leave_out(&self, taught: Day, day: Day) -> bool {
        taught <= day.plus(-DELAY) && self.is_misuse(day)
    }

    /// Whether what holds for `day` is that it was misuse.
    fn is_misuse(&self, day: Day) -> bool {
        let newest = self.0.iter().rev().find(|(from, _)| *from <= day);
        newest.is_some_and(|(_, is_misuse)| *is_misuse)
    }
}

/// Days that were told, by whom they are about, with what they taught.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Ord, T: Serialize",
    deserialize = "K: Deserialize<'de> + Ord, T: Deserialize<'de>"
))]
pub struct Told<K, T> {
    days: BTreeMap<(K, Day), T>,
    ruled: BTreeMap<(K, Day), Rulings>,
}

impl<K, T> Default for Told<K, T> {
    fn default() -> Told<K, T> {
        Told { days: BTreeMap::new(), ruled: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, T> Told<K, T> {
    /// Notes what a settled day has taught; whether it was ruled on before it settled.
    pub fn note(&mut self, key: K, day: Day, taught: T) -> bool {
        let key = (key, day);
        let is_ruled = self.ruled.contains_key(&key);
        self.days.insert(key, taught);
        is_ruled
    }

    /// Notes a ruling that holds from `from` on. To take back what nobody had confirmed changes nothing.
    pub fn rule(&mut self, key: K, day: Day, from: Day, is_misuse: bool) {
        let key = (key, day);
        if is_misuse || self.ruled.contains_key(&key) {
            self.ruled.entry(key).or_default().0.push((from, is_misuse));
        }
    }

    /// What the days of one of them have taught.
    pub fn of_mut(&mut self, key: &K) -> impl Iterator<Item = (Day, &mut T)> {
        self.days.range_mut(all_days(key)).map(|((_, day), taught)| (*day, taught))
    }

    /// What the constants of `day` leave out of what one of them has taught.
    pub fn left_out<'a>(&'a self, key: &K, day: Day) -> impl Iterator<Item = (Day, &'a T)> + use<'a, K, T> {
        let ruled = (!self.ruled.is_empty()).then(|| self.ruled.range(all_days(key)));
        let out = ruled.into_iter().flatten().filter(move |((_, taught), rulings)| rulings.leave_out(*taught, day));
        out.filter_map(|(key, _)| self.days.get(key).map(|taught| (key.1, taught)))
    }

    /// Whether it holds for `day` that one of them was misused on `on`.
    pub fn is_misuse(&self, key: K, on: Day, day: Day) -> bool {
        self.ruled.get(&(key, on)).is_some_and(|rulings| rulings.is_misuse(day))
    }

    /// Everything that has taught something and was ruled on.
    pub fn ruled(&self) -> impl Iterator<Item = (&K, Day, &T, &Rulings)> {
        let all = self.ruled.iter();
        all.filter_map(|(key, rulings)| self.days.get(key).map(|taught| (&key.0, key.1, taught, rulings)))
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

    #[test]
    fn what_is_confirmed_is_left_out_from_the_day_that_the_verdict_holds_for() {
        let mut told = Told::default();
        assert!(!told.note(1, Day(10), "night"));
        told.note(2, Day(10), "another's");
        told.rule(1, Day(10), Day(20), true);
        assert_eq!((left_out(&told, 1, 19), left_out(&told, 1, 20)), (vec![], vec![(10, "night")]));
        assert_eq!(left_out(&told, 2, 20), []);
        // Somebody thinks better of it, and of that.
        told.rule(1, Day(10), Day(23), false);
        told.rule(1, Day(10), Day(25), true);
        let days = [22, 23, 24, 25].map(|day| left_out(&told, 1, day).len());
        assert_eq!(days, [1, 0, 0, 1]);
        // What was never confirmed is not taken back.
        told.rule(2, Day(10), Day(20), false);
        assert_eq!(told.ruled().count(), 1);
    }

    #[test]
    fn a_day_is_not_left_out_before_it_would_be_known() {
        let mut told = Told::default();
        told.rule(1, Day(10), Day(11), true);
        assert_eq!(left_out(&told, 1, 11), []);
        assert!(told.note(1, Day(10), "night"));
        assert_eq!((left_out(&told, 1, 12), left_out(&told, 1, 13)), (vec![], vec![(10, "night")]));
    }

    #[test]
    fn what_was_ruled_on_is_remembered_longer() {
        let mut told = Told::default();
        [(1, 10), (1, 12), (2, 10)].into_iter().for_each(|(key, day)| _ = told.note(key, Day(day), "x"));
        told.rule(1, Day(10), Day(20), true);
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
