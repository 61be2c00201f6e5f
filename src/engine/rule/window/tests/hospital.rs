//! What the tests are made of: rules as they are written, events, and windows that are fed with them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rsigma_eval::EventValue;
use rsigma_parser::{CorrelationRule, SigmaCollection, parse_sigma_yaml};
use serde::{Deserialize, Serialize};

use super::super::{Answer, Correlation, Evidence, Limits, Match, Stage, Windows, doubled};
use crate::event::time::{DAY, HOUR, SECOND};
use crate::event::{Day, Time};

/// The first day of the tests, a Tuesday.
pub const FIRST: Day = Day(20_523);

/// The identifier of an event; every thousand of them is a grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Graded(pub u32);

impl Evidence for Graded {
    fn grade(&self) -> u8 {
        (self.0 / 1_000) as u8
    }
}

/// An event as base rules and correlations see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// When, in microseconds after the start of the first day.
    pub at: i64,
    /// Base rules that match it: `a`, `b`, `c`.
    pub matches: Vec<&'static str>,
    /// Who; absent where unknown.
    pub user: Option<u8>,
    /// Where.
    pub host: u8,
    /// Patients; a list.
    pub patients: Vec<u8>,
    /// A number, in quarters.
    pub quarters: Option<i64>,
    /// Its identifier.
    pub id: u32,
}

impl Opened {
    /// The instant.
    pub fn time(&self) -> Time {
        Time(i64::from(FIRST.0) * DAY + 4 * HOUR + self.at)
    }

    /// Users with odd numbers live nine hours ahead: days do not begin at the same time for everybody.
    pub fn day(&self) -> Day {
        self.days().into_iter().next_back().expect("there are two zones")
    }

    /// The day of this instant in both zones, its own last.
    pub fn days(&self) -> [Day; 2] {
        let day = |ahead: i64| Day(FIRST.0 + (self.at + ahead).div_euclid(DAY) as i32);
        let zones = [day(0), day(9 * HOUR)];
        if self.user.is_some_and(|user| user % 2 == 1) { zones } else { [zones[1], zones[0]] }
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<EventValue<'static>> {
        let text = |kind: &str, number: u8| EventValue::Str(Cow::Owned(format!("{kind}{number}")));
        match name {
            "user" => self.user.map(|user| text("u", user)),
            "host" => Some(text("h", self.host)),
            // The same people under another name, for aliases.
            "account" => self.user.map(|user| text("u", user)),
            "patients" => Some(EventValue::Array(self.patients.iter().map(|patient| text("p", *patient)).collect())),
            "v" => self.quarters.map(|quarters| EventValue::Float(quarters as f64 / 4.0)),
            _ => None,
        }
    }
}

/// A correlation and the base rules `a`, `b` and `c`, read.
pub fn read(correlations: &str) -> SigmaCollection {
    let base = |name: &str| {
        format!(
            "---\ntitle: {name}\nid: {name}\nname: {name}\nlogsource: {{product: phiwatch}}\n\
             detection: {{one: {{kind: {name}}}, condition: one}}\n"
        )
    };
    let text = format!("{correlations}{}{}{}", base("a"), base("b"), base("c"));
    let read = parse_sigma_yaml(&text).expect("the text is YAML");
    assert!(read.errors.is_empty(), "{:?}\n{text}", read.errors);
    read
}

/// All names of what a reference means.
pub fn names_of(read: &SigmaCollection, reference: &str) -> Vec<String> {
    let of = |id: &Option<String>, name: &Option<String>| id.iter().chain(name).cloned().collect::<Vec<_>>();
    let rules = read.rules.iter().map(|rule| of(&rule.id, &rule.name));
    let all = rules.chain(read.correlations.iter().map(|rule| of(&rule.id, &rule.name)));
    all.into_iter().find(|names| names.iter().any(|name| name == reference)).unwrap_or_default()
}

/// The correlations of a text, made ready.
pub fn compile(read: &SigmaCollection, limits: &Limits) -> Result<Vec<Correlation>, Vec<String>> {
    let one = |(at, rule): (usize, &CorrelationRule)| {
        Correlation::compile(rule, &|reference| names_of(read, reference), limits, at as u64)
            .map_err(|refused| refused.into_iter().map(|refused| refused.what).collect())
    };
    read.correlations.iter().enumerate().map(one).collect()
}

/// Windows of a text.
pub fn windows(read: &SigmaCollection, limits: Limits) -> Windows<Graded> {
    Windows::new(compile(read, &limits).expect("the correlations are right"), limits).expect("they fit together")
}

/// Offers an event to everything that its base rules feed; false where its day has settled.
pub fn offer(windows: &mut Windows<Graded>, event: &Opened) -> bool {
    let mut looked_at = true;
    for name in &event.matches {
        for feed in windows.feeds(&[(*name).to_owned()]) {
            let found = Match { time: event.time(), day: event.day(), about: 0, evidence: Graded(event.id) };
            looked_at &= windows.offer(feed, &mut |_| found, &|name| event.field(name));
        }
    }
    looked_at
}

/// Of which answer: the correlation, the group's values, the day.
pub type Of = (usize, Vec<Option<String>>, Day);

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// End of the first satisfied window.
    pub first: Time,
    /// The quantity that is told.
    pub value: f64,
    /// Where its window ends.
    pub to: Time,
    /// The events of that window.
    pub evidence: Vec<u32>,
}

/// All that was said, settled answers and the ratios of crossings in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// What settled as satisfied.
    pub settled: BTreeMap<Of, Said>,
    /// What had crossed and settled as not satisfied.
    pub taken_back: Vec<Of>,
    /// Crossings, with the ratio of each.
    pub crossed: BTreeMap<Of, Vec<f64>>,
}

impl Heard {
    /// Takes note of an answer.
    pub fn hear(&mut self, answer: &Answer<'_, Graded>) {
        let group = answer.group().iter().map(|value| value.as_deref().map(str::to_owned)).collect();
        let of = (answer.number, group, answer.day);
        match answer.stage {
            Stage::Crossing => self.crossed.entry(of).or_default().push(doubled(answer.ratio, answer.grades)),
            Stage::Settled if answer.is_satisfied => {
                let evidence = answer.evidence().into_iter().map(|(_, id)| id.0).collect();
                let said = Said { first: answer.first, value: answer.value, to: answer.to, evidence };
                assert_eq!(self.settled.insert(of, said), None, "one answer for a group and day");
            }
            Stage::Settled => self.taken_back.push(of),
        }
    }
}

/// An event some seconds after the start of the first day.
pub fn event(id: u32, seconds: i64, matches: &'static str, user: u8, number: i64) -> Opened {
    let quarters = Some(number * 4);
    Opened {
        at: seconds * SECOND,
        matches: vec![matches],
        user: Some(user),
        host: 0,
        patients: vec![id as u8],
        quarters,
        id,
    }
}
