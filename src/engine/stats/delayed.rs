//! Learning with a delay: what is learnt from day d is first used for day d+3, whether or not it was ready earlier (DESIGN, section 5).
//!
//! A state is kept as of the oldest day that is still needed, with the one or two later steps beside it. Asking as of a day folds
//! those steps into a copy, so that three open days see three different pasts and none depends on when a day happened to settle.

use serde::{Deserialize, Serialize};

use crate::event::Day;

/// Days between a day that teaches and the first day that uses it.
pub const DELAY: i32 = 3;
/// Steps that some open day may not use yet: those of the newest settled day and of the one before it.
const KEPT: usize = DELAY as usize - 1;

/// A state that takes up one step for each settled day.
pub trait Learn: Clone + Default {
    /// What one settled day teaches.
    type Step: Clone;

    /// Takes up what `day` taught; days come in rising order.
    fn fold(&mut self, day: Day, step: &Self::Step);
}

/// A state with the steps that are too young to be used everywhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(
    serialize = "L: Serialize, L::Step: Serialize",
    deserialize = "L: Deserialize<'de>, L::Step: Deserialize<'de>"
))]
pub struct Delayed<L: Learn> {
    base: L,
    /// Oldest first.
    steps: [Option<(Day, L::Step)>; KEPT],
}

impl<L: Learn> Default for Delayed<L> {
    fn default() -> Delayed<L> {
        Delayed { base: L::default(), steps: [None, None] }
    }
}

impl<L: Learn> Delayed<L> {
    /// Notes what the settled `day` taught, and folds away the steps that every open day may use.
    ///
    /// After `day` has settled the oldest open day is `day + 1`, whose constants know the days up to `day - 2`.
    pub fn teach(&mut self, day: Day, step: L::Step) {
        debug_assert!(self.steps.iter().flatten().all(|(taught, _)| *taught < day), "days settle in order");
        for place in &mut self.steps {
            if let Some((taught, step)) = place.take_if(|(taught, _)| *taught <= day.plus(1 - DELAY)) {
                self.base.fold(taught, &step);
            }
        }
        if self.steps[0].is_none() {
            self.steps.rotate_left(1);
        }
        let free = self.steps.iter_mut().find(|place| place.is_none());
        *free.expect("every older step was folded away") = Some((day, step));
    }

    /// The state that shapes the constants of `day`: everything learnt from days up to `day - 3`.
    pub fn for_day(&self, day: Day) -> L {
        let mut state = self.base.clone();
        for (taught, step) in self.steps.iter().flatten().take_while(|(taught, _)| *taught <= day.plus(-DELAY)) {
            state.fold(*taught, step);
        }
        state
    }

    /// Everything learnt so far; for what is summed over days in order at settling.
    pub fn newest(&self) -> L {
        let mut state = self.base.clone();
        for (taught, step) in self.steps.iter().flatten() {
            state.fold(*taught, step);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default, Debug, PartialEq)]
    struct Sum(Vec<i32>);

    impl Learn for Sum {
        type Step = i32;
        fn fold(&mut self, day: Day, step: &i32) {
            assert_eq!(day.0, *step);
            self.0.push(*step);
        }
    }

    #[test]
    fn open_days_see_what_is_three_days_old() {
        let mut sum = Delayed::<Sum>::default();
        for day in [1, 2, 3, 5, 9, 10, 11] {
            sum.teach(Day(day), day);
            for open in day + 1..=day + 3 {
                let expected: Vec<i32> =
                    [1, 2, 3, 5, 9, 10, 11].into_iter().filter(|d| *d <= day && *d <= open - 3).collect();
                assert_eq!(sum.for_day(Day(open)).0, expected, "day {open} after {day} settled");
            }
        }
        assert_eq!(sum.newest().0, [1, 2, 3, 5, 9, 10, 11]);
    }
}
