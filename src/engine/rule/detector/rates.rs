//! How usual hits are: for each budgeted rule its rate within the role, shrunk to that of everybody, learnt with the delay of all
//! statistics. That rate is the rule's p-value.
//!
//! A day teaches each rule how many account-days there were and how many of them it hit. A rule that is new or has changed begins with
//! what is shipped, a rate that is held and not told: it speaks when some days of the site have borne it out. A hit that a person
//! confirms as misuse is no measure of what is usual, and is taken back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::stats::told::{InForce, Told};
use crate::engine::subjects::GroupIx;
use crate::event::{Day, Subject};

/// What is assumed of a rule before anything is known: above what the shipped budget tells, below what it holds.
const SHIPPED: f64 = 0.002;
/// So many account-days does the assumption weigh, and the rate of everybody against that of a role.
const WEIGHT: f64 = 100.0;
/// What is kept from one day to the next.
const KEEP: f64 = 0.97;

/// Account-days, and those of them that were hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    days: f64,
    hits: f64,
}

impl Sums {
    fn rate(self, above: f64) -> f64 {
        (self.hits + WEIGHT * above) / (self.days + WEIGHT)
    }

    fn fold(&mut self, step: Sums) {
        self.days = KEEP * self.days + step.days;
        self.hits = KEEP * self.hits + step.hits;
    }

    /// Takes back what is left of a hit.
    fn leave_out(&mut self, left: f64) {
        self.hits = (self.hits - left).max(0.0);
    }
}

/// What is learnt of one rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Learnt {
    /// The rule as it was: another one begins anew.
    hash: String,
    everybody: Sums,
    roles: BTreeMap<GroupIx, Sums>,
}

/// What is learnt of all rules, by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct All {
    rules: BTreeMap<String, Learnt>,
    as_of: Option<Day>,
}

/// A hit that was told: the rule as it was, and the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hit {
    hash: String,
    role: Option<GroupIx>,
}

/// What one settled day teaches: account-days by role, and for each rule in force its hits by role (`None` is outside of every role).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Step {
    /// Accounts that were there, by role.
    pub accounts: BTreeMap<GroupIx, f64>,
    /// Hash and hits of each rule by id.
    pub rules: BTreeMap<String, (String, BTreeMap<Option<GroupIx>, f64>)>,
}

impl Learn for All {
    type Step = Step;

    fn fold(&mut self, day: Day, step: &Step) {
        self.as_of = Some(day);
        let all: f64 = step.accounts.values().sum();
        self.rules.retain(|id, _| step.rules.contains_key(id));
        for (id, (hash, hits)) in &step.rules {
            let learnt = self.rules.entry(id.clone()).or_default();
            if learnt.hash != *hash {
                *learnt = Learnt { hash: hash.clone(), ..Learnt::default() };
            }
            learnt.everybody.fold(Sums { days: all, hits: hits.values().sum() });
            for (role, days) in &step.accounts {
                let hits = hits.get(&Some(*role)).copied().unwrap_or(0.0);
                learnt.roles.entry(*role).or_default().fold(Sums { days: *days, hits });
            }
        }
    }
}

/// Rates by day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rates {
    learnt: Delayed<All>,
    /// By rule and subject.
    told: Told<(String, Subject), Hit>,
    #[serde(skip)]
    as_of: RefCell<BTreeMap<Day, Arc<All>>>,
}

impl Rates {
    /// The p-value of a hit of a rule in a role on a day.
    pub fn p(&self, day: Day, id: &str, hash: &str, role: Option<GroupIx>) -> f64 {
        let known = self.as_of.borrow_mut().entry(day).or_insert_with(|| Arc::new(self.for_day(day))).clone();
        let learnt = known.rules.get(id).filter(|learnt| learnt.hash == hash);
        let Some(learnt) = learnt else { return SHIPPED };
        let everybody = learnt.everybody.rate(SHIPPED);
        role.and_then(|role| learnt.roles.get(&role)).map_or(everybody, |role| role.rate(everybody))
    }

    fn for_day(&self, day: Day) -> All {
        let mut all = self.learnt.for_day(day);
        for ((id, _), taught, hit, rulings) in self.told.ruled() {
            if !rulings.leave_out(taught, day) {
                continue;
            }
            let Some(learnt) = all.rules.get_mut(id).filter(|learnt| learnt.hash == hit.hash) else { continue };
            let left = KEEP.powi(all.as_of.map_or(0, |as_of| as_of.0 - taught.0));
            learnt.everybody.leave_out(left);
            hit.role.and_then(|role| learnt.roles.get_mut(&role)).into_iter().for_each(|role| role.leave_out(left));
        }
        all
    }

    /// Notes a settled day.
    pub fn teach(&mut self, day: Day, step: Step) {
        self.as_of.get_mut().clear();
        self.learnt.teach(day, step);
        self.told.forget(day);
    }

    /// Notes a hit that people hear of, on a day that settles.
    pub fn tell(&mut self, (id, hash): (&str, &str), subject: &Subject, day: Day, role: Option<GroupIx>) {
        self.told.note((id.to_owned(), subject.clone()), day, Hit { hash: hash.to_owned(), role }, false);
    }

    /// A person ruled on a hit: it holds for the days from `from` on.
    pub fn rule(&mut self, id: String, subject: Subject, day: Day, ruling: InForce) {
        self.as_of.get_mut().clear();
        self.told.rule((id, subject), day, ruling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(hits: f64) -> Step {
        let hits = BTreeMap::from([(Some(1), hits)]);
        Step {
            accounts: BTreeMap::from([(1, 100.0), (2, 900.0)]),
            rules: BTreeMap::from([("r".to_owned(), ("h".to_owned(), hits))]),
        }
    }

    #[test]
    fn a_rate_is_learnt_within_the_role_and_three_days_later() {
        let mut rates = Rates::default();
        assert_eq!(rates.p(Day(1), "r", "h", Some(1)), SHIPPED);
        for day in 1..60 {
            rates.teach(Day(day), step(20.0));
        }
        // 20 of 100 in the role, none of 900 elsewhere: 2 % of everybody.
        let p = |role, hash| rates.p(Day(60), "r", hash, role);
        assert!((0.18..0.21).contains(&p(Some(1), "h")), "{}", p(Some(1), "h"));
        assert!((0.018..0.021).contains(&p(None, "h")), "{}", p(None, "h"));
        assert!(p(Some(2), "h") < 0.001, "{}", p(Some(2), "h"));
        assert_eq!(p(Some(1), "another"), SHIPPED);
        let mut young = Rates::default();
        young.teach(Day(1), step(20.0));
        assert_eq!(young.p(Day(3), "r", "h", None), SHIPPED);
        assert!(young.p(Day(4), "r", "h", None) > SHIPPED);
    }

    /// One hit in 3,000 account-days of a role, told and confirmed: the rate is what it would be without it.
    #[test]
    fn what_is_confirmed_is_no_measure() {
        let subject = Subject { kind: crate::event::SubjectKind::User, id: "u1".to_owned() };
        let (mut rates, mut without) = (Rates::default(), Rates::default());
        for day in 1..60 {
            rates.teach(Day(day), step(f64::from(u8::from(day == 40))));
            without.teach(Day(day), step(0.0));
            if day == 40 {
                rates.tell(("r", "h"), &subject, Day(40), Some(1));
            }
        }
        let known = |rates: &Rates, day| rates.p(Day(day), "r", "h", Some(1));
        let before = [61, 62].map(|day| known(&rates, day));
        assert!(before[0] > 2.0 * known(&without, 61), "{before:?}");
        let ruling = InForce { from: Day(62), is_misuse: true, excepted_until: None };
        rates.rule("r".to_owned(), subject.clone(), Day(40), ruling);
        assert_eq!(known(&rates, 61), before[0]);
        assert!((known(&rates, 62) / known(&without, 62) - 1.0).abs() < 1e-9);
        rates.rule("r".to_owned(), subject, Day(40), InForce { is_misuse: false, ..ruling });
        assert_eq!(known(&rates, 62), before[1]);
    }
}
