//! What is learnt of groups, and what each open day may know of it, worked out once a day and group.
//!
//! A day's constants ask for the same few groups once for every member. A state as of a day folds steps and copies histograms; kept
//! beside the groups until the next day settles, it costs that once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, ScoreHistory, Tail, calibrate};
use super::delayed::{Delayed, Learn};
use super::told::{Rulings, Told};
use crate::engine::subjects::{GroupIx, SubjectIx, Subjects};
use crate::event::Day;

/// A state of a group that holds the scores of its members.
pub trait Scored: Learn {
    /// What one account-day has taught.
    type Part: Clone;
    /// The scores.
    fn scores(&self) -> &ScoreHistory;
    /// Takes back what is left of what an account-day has taught.
    fn leave_out(&mut self, taught: Day, part: &Self::Part);
}

impl Scored for ScoreHistory {
    /// The bin of its score.
    type Part = u8;
    fn scores(&self) -> &ScoreHistory {
        self
    }
    fn leave_out(&mut self, taught: Day, bin: &u8) {
        self.take_back(taught, *bin);
    }
}

/// Account-days that were ruled on, by group: when each was, what it had taught, and what was ruled.
pub type Ruled<P> = BTreeMap<GroupIx, Vec<(Day, P, Rulings)>>;

/// What every account-day that was ruled on had taught the groups of its account: `part` says what, of a group in which scores are
/// ranked or of one below it.
pub fn ruled<T, P>(
    told: &Told<SubjectIx, T>,
    subjects: &Subjects,
    group: impl Fn(&T) -> GroupIx,
    part: impl Fn(&T, bool) -> Option<P>,
) -> Ruled<P> {
    let mut all = Ruled::new();
    for (_, day, taught, rulings) in told.ruled() {
        let ranked: Vec<GroupIx> = subjects.chain(subjects.role(group(taught))).collect();
        for group in subjects.chain(group(taught)) {
            if let Some(part) = part(taught, ranked.contains(&group)) {
                all.entry(group).or_default().push((day, part, rulings.clone()));
            }
        }
    }
    all
}

/// All groups.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(
    serialize = "G: Serialize, G::Step: Serialize, G::Part: Serialize",
    deserialize = "G: Deserialize<'de>, G::Step: Deserialize<'de>, G::Part: Deserialize<'de>"
))]
pub struct Groups<G: Scored> {
    learnt: BTreeMap<GroupIx, Delayed<G>>,
    ruled: Ruled<G::Part>,
    #[serde(skip)]
    as_of: RefCell<BTreeMap<(Day, GroupIx), Arc<G>>>,
    #[serde(skip)]
    maps: RefCell<BTreeMap<(Day, GroupIx), Arc<Calibration>>>,
}

impl<G: Scored> Default for Groups<G> {
    fn default() -> Groups<G> {
        Groups { learnt: BTreeMap::new(), ruled: BTreeMap::new(), as_of: RefCell::default(), maps: RefCell::default() }
    }
}

impl<G: Scored> Groups<G> {
    /// The group as `day` may know it; one that nothing was learnt of is a fresh one.
    pub fn as_of(&self, group: GroupIx, day: Day) -> Arc<G> {
        let mut known = self.as_of.borrow_mut();
        let fresh = || {
            let mut state = self.learnt.get(&group).map(|learnt| learnt.for_day(day)).unwrap_or_default();
            let ruled = self.ruled.get(&group).into_iter().flatten();
            for (taught, part, _) in ruled.filter(|(taught, _, rulings)| rulings.leave_out(*taught, day)) {
                state.leave_out(*taught, part);
            }
            Arc::new(state)
        };
        known.entry((day, group)).or_insert_with(fresh).clone()
    }

    /// Notes every account-day that was ruled on, in place of those that were noted before.
    pub fn rule(&mut self, ruled: Ruled<G::Part>) {
        self.as_of.get_mut().clear();
        self.maps.get_mut().clear();
        self.ruled = ruled;
    }

    /// Notes what the settled `day` taught of a group.
    pub fn teach(&mut self, group: GroupIx, day: Day, step: G::Step) {
        self.as_of.get_mut().clear();
        self.maps.get_mut().clear();
        self.learnt.entry(group).or_default().teach(day, step);
    }

    /// The map from scores to p-values of a group, drawn to those of the groups above it and to what is shipped, which stands alone
    /// where the chain is empty.
    pub fn calibration(&self, chain: &[GroupIx], day: Day, shipped: &Tail) -> Arc<Calibration> {
        let mut known = self.maps.borrow_mut();
        let fresh = || {
            let states: Vec<Arc<G>> = chain.iter().map(|ix| self.as_of(*ix, day)).collect();
            Arc::new(calibrate(states.iter().map(|state| state.scores()), shipped))
        };
        match chain.first() {
            Some(group) => known.entry((day, *group)).or_insert_with(fresh).clone(),
            None => fresh(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stats::calibration::ScoreStep;

    #[test]
    fn what_is_kept_is_what_would_be_worked_out_anew() {
        let (mut groups, mut naive) =
            (Groups::<ScoreHistory>::default(), BTreeMap::<GroupIx, Delayed<ScoreHistory>>::new());
        for day in 1..30 {
            for group in 0..3 {
                let mut step = ScoreStep::default();
                (0..40 * group).for_each(|score| step.add(f64::from(score % 7) / 3.0));
                groups.teach(group, Day(day), step.clone());
                naive.entry(group).or_default().teach(Day(day), step);
            }
            for (group, open) in [(0, 1), (1, 2), (2, 3), (2, 1), (1, 1), (9, 1), (2, 3)] {
                let (found, open) = (groups.as_of(group, Day(day + open)), Day(day + open));
                let expected = naive.get(&group).map(|learnt| learnt.for_day(open)).unwrap_or_default();
                assert_eq!(*found, expected);
                let shipped = Tail { knee: 1.3, excess: 0.43 };
                for _ in 0..2 {
                    let map = groups.calibration(&[group], open, &shipped);
                    assert_eq!(*map, calibrate([&expected].into_iter(), &shipped));
                }
            }
        }
    }
}
