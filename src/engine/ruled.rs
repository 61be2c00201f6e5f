//! What a person's verdict changes: an exception begins or ends, and what was confirmed as misuse is learnt from no more.

use super::detect::Ruling;
use super::stats::told::InForce;
use super::triage::{Exception, Ruled};
use super::{Engine, off};

impl Engine {
    /// Takes up a verdict. It holds from the first local day that nobody has entered.
    pub(super) fn rule(&mut self, ruled: Ruled) {
        let Ruled { family, subject, day, is_misuse, excepted_days } = ruled;
        let entered = self.subjects.open_days().last().copied().max(self.settled);
        let from = day.max(entered.unwrap_or(day)).plus(1);
        self.triage.no_longer((&family, &subject), day, from);
        let excepted_until = excepted_days.map(|days| from.plus(days));
        if let Some(until) = excepted_until {
            let (family, subject) = (family.clone(), subject.clone());
            self.triage.except(Exception { family, subject, about: day, from, until });
        }
        let in_force = InForce { from, is_misuse, excepted_until };
        let subjects = &self.subjects;
        let number = subjects.find(subject.kind, &subject.id);
        let ruling = Ruling { about: &subject, subject: number, day, in_force, subjects };
        off::run(&mut self.detectors, &family, &mut Vec::new(), |detector, _| detector.ruled(&ruling));
        self.rules.ruled(family, subject, day, in_force);
    }
}
