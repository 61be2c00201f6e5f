//! Detectors: what needs memory, statistics or an absence. One file each, with a `SPEC`, listed in `ALL`.
//!
//! A detector sees every event of the open days, in any order, and may raise a *crossing* as soon as a quantity that only grows
//! reaches a constant of the day. When the day settles it sums over everybody (`sums`), then judges each subject once more
//! (`settle`): that verdict is a function of the day's events alone. It learns with the delay of [`super::stats::delayed`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::budget::Alphas;
use super::rule::{Rule, Standing};
use super::settings::Settings;
use super::stats::evidence::Events;
use super::stats::told::InForce;
use super::subjects::{Presence, Sizes, SubjectIx, Subjects};
use crate::event::{Activity, Class, Day, Event, Facts, Outcome, Severity, Subject, SubjectKind, Time, Zone};
use crate::roster::Roster;

pub mod account;
pub mod dormant;
pub mod hours;
pub mod volume;

/// Every detector, in the order in which they see an event.
pub static ALL: &[&Spec] = &[&volume::SPEC, &hours::SPEC, &dormant::SPEC, &account::SPEC];

/// What a detector is, for people and for the registry.
pub struct Spec {
    /// The family: what stands before the dot in the ids of its detections.
    pub family: &'static str,
    /// Its detections.
    pub detections: &'static [Detection],
    /// How it speaks: as soon as a quantity crosses, or only when the day has settled.
    pub speaks: Speaks,
    /// A detector without any memory yet.
    pub new: fn() -> Box<dyn Detector>,
}

/// When a detector may raise an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Inside the day, and once more at settling.
    Crossing,
    /// At settling only.
    Settled,
}

/// One detection of a family.
#[derive(Debug, PartialEq)]
pub struct Detection {
    /// Stable slug: family, dot, member.
    pub id: &'static str,
    /// A few words.
    pub title: &'static str,
    /// Whether it is held to the budget.
    pub class: Class,
    /// Severity when the quantity reaches 1, 2, 4 and 8 times the constant of the day.
    pub severity: [Severity; 4],
    /// Regulation clauses and runbook.
    pub references: &'static [&'static str],
}

/// What has found something: one detection of a detector, or a rule with the severity of its hits.
#[derive(Debug, Clone)]
pub enum Detected {
    /// A detector.
    Detector(&'static Detection),
    /// A rule.
    Rule(Arc<Rule>, Severity),
}

impl Detected {
    /// Stable slug; the family stands before its dot.
    pub fn id(&self) -> &str {
        match self {
            Detected::Detector(detection) => detection.id,
            Detected::Rule(rule, _) => &rule.id,
        }
    }

    /// A few words.
    pub fn title(&self) -> &str {
        match self {
            Detected::Detector(detection) => detection.title,
            Detected::Rule(rule, _) => &rule.title,
        }
    }

    /// Whether it is held to the budget.
    pub fn class(&self) -> Class {
        match self {
            Detected::Detector(detection) => detection.class,
            Detected::Rule(rule, _) => rule.meta.class,
        }
    }

    /// Severity when the quantity has doubled so many times.
    pub fn severity(&self, level: u32) -> Severity {
        match self {
            Detected::Detector(detection) => detection.severity[(level as usize).min(3)],
            Detected::Rule(_, severity) => *severity,
        }
    }

    /// Regulation clauses and runbook.
    pub fn references(&self) -> Vec<String> {
        match self {
            Detected::Detector(detection) => detection.references.iter().map(|text| (*text).to_owned()).collect(),
            Detected::Rule(rule, _) => rule.references.iter().cloned().chain(rule.meta.runbook_reference()).collect(),
        }
    }

    /// Words that channels may ask for: those of a rule.
    pub fn routing(&self) -> Vec<String> {
        match self {
            Detected::Detector(_) => Vec::new(),
            Detected::Rule(rule, _) => rule.meta.routing.clone(),
        }
    }

    /// Whether it is on trial, so that nobody hears of it.
    pub fn is_shadow(&self) -> bool {
        matches!(self, Detected::Rule(rule, _) if rule.standing == Standing::Shadow)
    }
}

/// An event on its way through the detectors.
pub struct Seen<'a> {
    /// What was recorded.
    pub event: &'a Event<'a>,
    /// What is known of it.
    pub facts: &'a Facts<'a>,
    /// Whose it is.
    pub subject: SubjectIx,
    /// The subject on the event's local day.
    pub presence: Presence,
}

impl Seen<'_> {
    /// Whether somebody used the account.
    pub fn is_use(&self) -> bool {
        is_use(self.event)
    }
}

/// Whether somebody used the account: a log-in that was refused, and what a session does by itself at its end, is no use. Who is refused
/// a record has got in.
pub fn is_use(event: &Event<'_>) -> bool {
    let refused = matches!(event.outcome(), Outcome::Denied | Outcome::Failure);
    match event.activity() {
        Activity::Logout | Activity::LoginFailed | Activity::SessionEnd => false,
        Activity::Login | Activity::SessionStart => !refused,
        _ => true,
    }
}

/// What the constants of a day are made of.
pub struct Constants<'a> {
    /// The day.
    pub day: Day,
    /// The settings.
    pub settings: &'a Settings,
    /// The rosters in force.
    pub roster: &'a Roster,
    /// Subjects and groups.
    pub subjects: &'a Subjects,
    /// Active members by group.
    pub sizes: &'a Sizes,
    /// The budget's thresholds.
    pub alphas: Alphas,
    /// The first day that settled with anything in it: nothing before it counts as absence.
    pub first_settled: Option<Day>,
}

/// A settling day.
pub struct Settling<'a> {
    /// What its constants are made of.
    pub constants: &'a Constants<'a>,
    /// Those who were there, by kind and id, with days off corrected by how empty the site was.
    pub present: &'a [(SubjectIx, Presence)],
    /// Human accounts that may work on that day.
    pub humans: f64,
}

/// How a finding came about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// The quantity reached this many times the constant of the day, inside the day.
    Crossing(f64),
    /// The day has settled.
    Settled(Verdict),
}

/// What settling says of a subject's day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The final quantity over the constant of the day; 1 and more crossed inside the day.
    pub ratio: f64,
    /// The final quantity over what decides by what is known at settling, and no less than `ratio`: severity follows it.
    pub times: f64,
    /// It is told by what is known at settling.
    pub passes: bool,
    /// It lies between the budget and four times the budget.
    pub held: bool,
}

/// A detector's remark on one subject's day.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What found it.
    pub detection: Detected,
    /// Whom it is about.
    pub subject: Subject,
    /// The subject's local day.
    pub day: Day,
    /// The span of event time that it speaks of.
    pub window: (Time, Time),
    /// Event time of the event that completed the evidence.
    pub raised_at: Time,
    /// Crossing or settled.
    pub stage: Stage,
    /// For statistical detections.
    pub p: Option<f64>,
    /// The sentence, with its numbers.
    pub reason: String,
    /// The numbers behind the sentence.
    pub facts: Map<String, Value>,
    /// The events behind it.
    pub evidence: crate::event::alert::Evidence,
    /// Distinct patients behind it.
    pub patients: u64,
    /// Why what it rests on counts in no open day (`backfill`, `future`, `undeclared`), where that is so.
    pub aside: Option<&'static str>,
}

/// What a person ruled on what was told of a subject's day.
pub struct Ruling<'a> {
    /// Whom it was about.
    pub about: &'a Subject,
    /// Its number, where it was ever met.
    pub subject: Option<SubjectIx>,
    /// On which of its days.
    pub day: Day,
    /// What was ruled. Nobody has entered the first day that it holds for.
    pub in_force: InForce,
    /// All subjects and groups.
    pub subjects: &'a Subjects,
}

/// Findings on their way to triage.
pub type Findings = Vec<Finding>;

/// The one verb of a detector, and its two passes at settling.
pub trait Detector: Send {
    /// Takes up an event of an open day.
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings);

    /// Takes up a use by an account that no roster has and that says of itself to be a device or a patient.
    fn claimed(&mut self, _event: &Event<'_>, _facts: &Facts<'_>, _constants: &Constants<'_>, _out: &mut Findings) {}

    /// First pass of settling: sums over everybody.
    fn sums(&mut self, _day: &Settling<'_>) {}

    /// Second pass: judges each subject, learns, and forgets the day.
    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings);

    /// A person ruled on what was told: what was misuse is no habit (`notes/detection.md`, section 5.9). For detectors that learn.
    fn ruled(&mut self, _ruling: &Ruling<'_>) {}

    /// Forgets the counters of every day up to `through`, backfill included.
    fn forget(&mut self, through: Day);

    /// Subject-days judged by a p-value on the settled day, for the budget.
    fn tested(&self) -> u64 {
        0
    }

    /// Subject-days of the settled day that could not be judged because too little is known yet.
    fn unjudged(&self) -> u64 {
        0
    }

    /// The largest surge factor of the settled day: the budget does not learn from a storm.
    fn surge(&self) -> f64 {
        1.0
    }

    /// The whole memory as bytes.
    fn save(&self) -> Vec<u8>;

    /// Takes up a memory that `save` wrote; false where it cannot be read.
    fn load(&mut self, bytes: &[u8]) -> bool;
}

/// Puts the findings of a day into the order in which they are told.
pub fn in_order(findings: &mut Findings) {
    findings.sort_by(|a, b| (&a.subject, a.detection.id()).cmp(&(&b.subject, b.detection.id())));
}

/// Facts of a finding from names and values.
pub fn facts<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// "1 event", "2 events".
pub fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A number for a sentence: whole from 10 on, else with one digit.
pub fn shown(number: f64) -> String {
    if number >= 9.95 { format!("{:.0}", number) } else { format!("{:.1}", number).trim_end_matches(".0").to_owned() }
}

/// "about once in 4,000": two significant digits of 1/p, as far as any model can know.
pub fn once_in(p: f64) -> String {
    if p < 1e-6 { "less than once in 1,000,000".to_owned() } else { format!("about once in {}", one_over(p)) }
}

/// "1 in 4,000", with the same digits.
pub fn one_in(p: f64) -> String {
    if p < 1e-6 { "fewer than 1 in 1,000,000".to_owned() } else { format!("1 in {}", one_over(p)) }
}

fn one_over(p: f64) -> String {
    let n = 1.0 / p;
    let scale = 10_f64.powf((n.log10().floor() - 1.0).max(0.0));
    let digits = format!("{:.0}", (n / scale).round() * scale);
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The clock on which people read of a subject's day: that of its home site or its vendor, else that of the place where it was lived.
pub fn home_zone<'a>(constants: &Constants<'a>, subject: SubjectIx, presence: Presence) -> &'a Zone {
    let (roster, at) = (constants.roster, presence.start);
    let Subject { kind, id } = &constants.subjects.get(subject).subject;
    let own = match kind {
        SubjectKind::User => roster.user(id, at).and_then(|user| user.site).map(|site| roster.zone(Some(site))),
        _ => roster.vendor_account(id, at).and_then(|account| roster.vendor(account.vendor_id, at)?.zone),
    };
    own.unwrap_or_else(|| constants.subjects.zone(roster, presence.zone))
}

/// "Monday 2026-01-05": the date on people's clocks, where everything lies behind midnight that of the next morning.
pub fn date_of(constants: &Constants<'_>, zone: &Zone, events: &Events) -> String {
    let date = events.first().map_or(constants.day, |first| zone.local(first).date);
    if date == constants.day.plus(1) {
        return format!("{} {date} before 04:00", date.weekday_name());
    }
    format!("{} {}", constants.day.weekday_name(), constants.day)
}

/// Six significant digits, and nothing below 1e-12: no model knows more, and every JSON reader gives such a number back unchanged.
pub fn significant(p: f64) -> f64 {
    format!("{:.5e}", p.max(1e-12)).parse().unwrap_or(p)
}

/// A finding with everything that follows from where and when it was made.
pub fn finding(
    detection: &'static Detection,
    constants: &Constants<'_>,
    subject: SubjectIx,
    presence: Presence,
    events: &Events,
) -> Finding {
    Finding {
        detection: Detected::Detector(detection),
        subject: constants.subjects.get(subject).subject.clone(),
        day: constants.day,
        window: presence.window,
        raised_at: events.last().unwrap_or(presence.start),
        stage: Stage::Crossing(1.0),
        p: None,
        reason: String::new(),
        facts: Map::new(),
        evidence: events.evidence(),
        patients: 0,
        aside: None,
    }
}

/// How many times a quantity has doubled its constant: 0 at once, 1 at twice, ...; `None` below it.
pub fn cut(ratio: f64) -> Option<u32> {
    (ratio >= 1.0).then(|| ratio.log2().floor().min(20.0) as u32)
}

/// Builds every detector, without memory.
pub fn build() -> BTreeMap<&'static str, Box<dyn Detector>> {
    ALL.iter().map(|spec| (spec.family, (spec.new)())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_sentences() {
        assert_eq!([shown(214.0), shown(9.0), shown(2.54), shown(31.4)], ["214", "9", "2.5", "31"]);
        assert_eq!([one_in(0.00025), one_in(0.5), one_in(1e-7)], ["1 in 4,000", "1 in 2", "fewer than 1 in 1,000,000"]);
        let rare = ["about once in 120,000", "less than once in 1,000,000"];
        assert_eq!([once_in(1.0 / 123_456.0), once_in(1e-9)], rare);
        assert_eq!([cut(0.9), cut(1.0), cut(1.9), cut(2.0), cut(9.0)], [None, Some(0), Some(0), Some(1), Some(3)]);
    }

    #[test]
    fn detections_are_named_after_their_family() {
        for spec in ALL {
            for detection in spec.detections {
                assert_eq!(crate::event::alert::family(detection.id), spec.family);
                assert!(detection.severity.is_sorted(), "{} grows with its quantity", detection.id);
                assert!(!detection.references.is_empty(), "{} names its clauses", detection.id);
            }
        }
    }
}
