//! What a day amounts to when it settles: its hits, what the windows say of it, and what is learnt of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rates::{Rates, Step};
use super::tally::Tally;
use super::{BACKFILL, Crossed, Key, Reached, Watcher, p, say, taken};
use crate::engine::budget::Alphas;
use crate::engine::detect::{Findings, Stage, Verdict};
use crate::engine::off::is_sound;
use crate::engine::rule::Rule;
use crate::engine::subjects::{GroupIx, Presence, Subjects};
use crate::event::{Class, Day, Subject};

/// For so many days late hits are added to what was said of a day.
const LATE_DAYS: i32 = 14;

impl Watcher {
    /// Settles a day: what its hits amount to, then what is learnt of them. `present` are the accounts that were there.
    pub fn settle(&mut self, day: Day, alphas: Alphas, present: &[Presence], subjects: &Subjects, out: &mut Findings) {
        let first = out.len();
        let mut step = Step::default();
        for presence in present {
            *step.accounts.entry(subjects.role(presence.group)).or_default() += 1.0;
        }
        for rule in self.set.rules().iter().filter(|rule| rule.meta.class == Class::Budgeted) {
            step.rules.insert(rule.id.clone(), (rule.hash.clone(), BTreeMap::new()));
        }
        let mut teach = |id: &str, role: Option<GroupIx>| {
            if let Some((_, hits)) = step.rules.get_mut(id) {
                *hits.entry(role).or_default() += 1.0;
            }
        };
        for ((id, subject), tally) in self.open.remove(&day).unwrap_or_default() {
            let Some(rule) = self.set.get(&id).filter(|_| !self.off.contains_key(&id)) else { continue };
            teach(&id, tally.role);
            let before = out.len();
            if !is_sound(|| settle_tally(&self.rates, rule, &subject, day, &tally, alphas, out)) {
                out.truncate(before);
                self.off.insert(id, rule.hash.clone());
            } else if out.len() > before {
                if rule.meta.class == Class::Budgeted {
                    self.rates.tell((&id, &rule.hash), &subject, day, tally.role);
                }
                let said = tally.all_said(rule);
                self.settled.entry(day).or_default().insert((id, subject), said);
            }
        }
        let (before, mut reached) = (out.len(), Vec::new());
        let sound = is_sound(|| {
            reached = self.windows_settle(day);
            reached.iter().for_each(|(reached, all)| settle_reached(&self.rates, reached, all.quantity(), alphas, out));
        });
        if sound {
            for (Reached { rule, target, .. }, _) in &reached {
                teach(&rule.id, target.role);
                if rule.meta.class == Class::Budgeted {
                    self.rates.tell((&rule.id, &rule.hash), &target.subject, day, target.role);
                }
            }
        } else {
            out.truncate(before);
            self.let_windows_go();
        }
        let passed = |finding: &&crate::engine::detect::Finding| {
            finding.p.is_some() && matches!(finding.stage, Stage::Settled(Verdict { passes: true, .. }))
        };
        self.tests = out[first..].iter().filter(passed).count() as f64 / alphas.told.max(1e-9);
        if !present.is_empty() {
            self.rates.teach(day, step);
        }
        self.crossed = self.crossed.split_off(&day.plus(1));
        self.open = self.open.split_off(&day.plus(1));
        self.settled = self.settled.split_off(&day.plus(-LATE_DAYS));
        self.say_late(alphas, out);
    }

    /// Says once more what late hits have made of days that had settled, where they did not cross by themselves.
    fn say_late(&mut self, alphas: Alphas, out: &mut Findings) {
        for ((why, day), tallies) in std::mem::take(&mut self.aside) {
            for ((id, subject), tally) in tallies.into_iter().filter(|_| why == BACKFILL) {
                let Some(rule) = self.set.get(&id).filter(|_| !self.off.contains_key(&id)) else { continue };
                let before = out.len();
                let has_grown = tally.events.count() > tally.said;
                let say = || settle_tally(&self.rates, rule, &subject, day, &tally, alphas, out);
                if has_grown && !is_sound(say) {
                    out.truncate(before);
                    self.off.insert(id, rule.hash.clone());
                    continue;
                }
                out[before..].iter_mut().for_each(|finding| finding.aside = Some(why));
                let said = tally.all_said(rule);
                self.settled.entry(day).or_default().insert((id, subject), said);
            }
        }
    }

    /// What the windows say of a day: one answer for each rule and subject, the gravest and of those the one that reached furthest, and
    /// what all of them come to.
    fn windows_settle(&mut self, day: Day) -> Vec<(Reached, Crossed)> {
        let set = self.set.clone();
        let mut best: BTreeMap<Key, (Reached, Crossed)> = BTreeMap::new();
        self.windows.settle(day, &mut |answer| {
            if let Some(reached) = taken(&set, answer) {
                let key = (reached.rule.id.clone(), reached.target.subject.clone());
                if reached.target.day != day {
                    return;
                }
                let mut all = best.get(&key).map(|(_, all)| *all).unwrap_or_default();
                all.add(&reached);
                let known = best.remove(&key).map(|(known, _)| known).filter(|known| !reached.is_beyond(known));
                best.insert(key, (known.unwrap_or(reached), all));
            }
        });
        best.into_values().collect()
    }
}

pub(super) fn settle_tally(
    rates: &Rates,
    rule: &Arc<Rule>,
    subject: &Subject,
    day: Day,
    tally: &Tally,
    alphas: Alphas,
    out: &mut Findings,
) {
    let p = p(rates, rule, day, tally.role);
    let told = p.is_none_or(|p| p <= alphas.told);
    if told || p.is_some_and(|p| p <= alphas.held) {
        let ratio = if told { tally.quantity(rule) } else { 0.0 };
        let mut finding = say::tally(rule, subject, day, tally, p);
        finding.stage = Stage::Settled(Verdict { ratio, times: ratio, passes: told, held: !told });
        out.push(finding);
    }
}

fn settle_reached(rates: &Rates, reached: &Reached, quantity: f64, alphas: Alphas, out: &mut Findings) {
    let (rule, target) = (&reached.rule, &reached.target);
    let p = p(rates, rule, target.day, target.role);
    let told = p.is_none_or(|p| p <= alphas.told);
    if told || p.is_some_and(|p| p <= alphas.held) {
        let ratio = if told { quantity } else { 0.0 };
        let mut finding = say::reached(reached, p);
        finding.stage = Stage::Settled(Verdict { ratio, times: ratio, passes: told && reached.holds, held: !told });
        out.push(finding);
    }
}
