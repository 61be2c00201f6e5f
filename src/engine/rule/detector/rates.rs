//! How usual hits are: for each budgeted rule its rate within the role, shrunk to that of everybody, learnt with the delay of all
//! statistics. That rate is the rule's p-value.
//!
//! A day teaches each rule how many account-days there were and how many of them it hit. A rule that is new or has changed begins with
//! what is shipped, a rate that is held and not told: it speaks when some days of the site have borne it out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::subjects::GroupIx;
use crate::event::Day;

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
struct All(BTreeMap<String, Learnt>);

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

    fn fold(&mut self, _: Day, step: &Step) {
        let all: f64 = step.accounts.values().sum();
        self.0.retain(|id, _| step.rules.contains_key(id));
        for (id, (hash, hits)) in &step.rules {
            let learnt = self.0.entry(id.clone()).or_default();
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
    #[serde(skip)]
    as_of: RefCell<BTreeMap<Day, Arc<All>>>,
}

impl Rates {
    /// The p-value of a hit of a rule in a role on a day.
    pub fn p(&self, day: Day, id: &str, hash: &str, role: Option<GroupIx>) -> f64 {
        let known = self.as_of.borrow_mut().entry(day).or_insert_with(|| Arc::new(self.learnt.for_day(day))).clone();
        let learnt = known.0.get(id).filter(|learnt| learnt.hash == hash);
        let Some(learnt) = learnt else { return SHIPPED };
        let everybody = learnt.everybody.rate(SHIPPED);
        role.and_then(|role| learnt.roles.get(&role)).map_or(everybody, |role| role.rate(everybody))
    }

    /// Notes a settled day.
    pub fn teach(&mut self, day: Day, step: Step) {
        self.as_of.get_mut().clear();
        self.learnt.teach(day, step);
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
}
