//! What went down the road, for the words at the end of a scan or a run: sums, and what the silence of a detector does not mean.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::AsArray;
use xxhash_rust::xxh3::xxh3_64;

use crate::event::{Day, Effects, Enriched, Unjudged};

/// What went down the road.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Repeated records.
    pub duplicates: u64,
    /// Records that could not be used.
    pub rejects: u64,
    /// Offsets that were lost before they could be read.
    pub gap: u64,
    /// Settled alerts, by what was done with them.
    pub alerts: BTreeMap<&'static str, u64>,
    /// What an operator should know, by kind and what it is about.
    pub notices: BTreeMap<(&'static str, String), u64>,
    /// Rejects by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Events that name nobody.
    pub without_actor: u64,
    /// Accounts that no roster has, by a hash of their name, with their events.
    pub unknown: BTreeMap<u64, u64>,
    /// What detectors could not judge, and whether that is because they are switched off.
    pub blind: BTreeMap<(String, bool), Blind>,
    /// Of that, what is not yet in the control log.
    unjudged: Vec<Unjudged>,
}

/// Days on which a detector could not judge everybody, because too little is known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blind {
    /// First and last of them.
    pub days: (Day, Day),
    /// Days on which it judged nobody at all.
    pub whole: u64,
    /// Days on which it judged some and others not.
    pub part: u64,
    /// Accounts it did not judge, summed over the days.
    pub unjudged: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, {} duplicates, {} rejects", self.events, self.duplicates, self.rejects)?;
        if self.gap > 0 {
            write!(f, ", {} offsets lost", self.gap)?;
        }
        for (disposition, count) in &self.alerts {
            write!(f, ", {count} alerts {disposition}")?;
        }
        for ((kind, about), count) in &self.notices {
            write!(f, "\n{kind}: {count} records of {about}")?;
        }
        for (reason, count) in &self.reasons {
            write!(f, "\nrejected, {reason}: {count}")?;
        }
        if self.without_actor > 0 {
            write!(f, "\nevents that name nobody: {}", self.without_actor)?;
        }
        if !self.unknown.is_empty() {
            let events: u64 = self.unknown.values().sum();
            write!(f, "\naccounts in no roster: {}, with {events} events", self.unknown.len())?;
        }
        for ((detector, off), blind) in &self.blind {
            let Blind { days: (first, last), whole, part, unjudged } = blind;
            let why = if *off { "switched off after a bug" } else { "still learning" };
            write!(f, "\n{why}: {detector} judged nobody on {whole} days")?;
            if *part > 0 {
                write!(f, " and not everybody on {part}")?;
            }
            write!(f, " ({first} to {last}, {unjudged} account-days): its silence there means nothing")?;
        }
        Ok(())
    }
}

impl Tally {
    pub(super) fn add(&mut self, effects: &Effects) {
        for applied in &effects.applied {
            self.events += applied.span.events;
            self.duplicates += applied.span.duplicates;
            self.rejects += applied.span.rejects;
            self.gap += applied.span.gap;
            self.nameless(&applied.enriched);
            for reject in &applied.rejects {
                *self.reasons.entry(reject.reason.as_str()).or_default() += 1;
            }
        }
        for one in &effects.unjudged {
            let fresh = Blind { days: (one.day, one.day), whole: 0, part: 0, unjudged: 0 };
            let blind = self.blind.entry((one.detector.clone(), one.off)).or_insert(fresh);
            blind.days = (blind.days.0.min(one.day), blind.days.1.max(one.day));
            *(if one.judged == 0 { &mut blind.whole } else { &mut blind.part }) += 1;
            blind.unjudged += one.unjudged;
            self.unjudged.push(one.clone());
        }
        for raised in effects.raised.iter().filter(|raised| raised.alert.settled) {
            *self.alerts.entry(raised.alert.disposition.as_str()).or_default() += 1;
        }
        for notice in &effects.notices {
            *self.notices.entry((notice.kind, notice.about.clone())).or_default() += notice.count;
        }
    }

    /// What detectors could not judge since the last call, for the control log.
    pub(super) fn take_unjudged(&mut self) -> Vec<Unjudged> {
        std::mem::take(&mut self.unjudged)
    }

    /// Counts events whose account nobody can be found for.
    fn nameless(&mut self, enriched: &Enriched) {
        let Some(accounts) = enriched.facts.column_by_name("fact_account") else { return };
        for (account, event) in accounts.as_string::<i32>().iter().zip(enriched.batch.rows()) {
            match (account, event.actor_id()) {
                (_, None) => self.without_actor += 1,
                (Some("unknown"), Some(id)) => *self.unknown.entry(xxh3_64(id.as_bytes())).or_default() += 1,
                _ => {}
            }
        }
    }
}
