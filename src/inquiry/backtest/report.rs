//! What came of a backtest: sums, a row for each day, what people had found out, and the difference against another version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use serde::Serialize;

use super::side::{ALERTS_MAX, Found, Sample, Side};
use super::{Counted, Days, End, Known, Plan, stored_since};
use crate::engine::rule::{RuleSet, Standing};
use crate::event::{Class, Day, Disposition, Subject, Time};
use crate::inquiry::render::{Format, Rendered, render, shown, whole};
use crate::inquiry::{Answer, Archive, AskError, Window};
use crate::store::Ruling;

/// Minutes that somebody spends on an alert.
const MINUTES: f64 = 10.0;

/// The sums of a backtest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// What was asked about.
    pub asked: String,
    /// The rules, with what they are.
    pub rules: Vec<Tried>,
    /// The first local day that was judged.
    pub from: Option<String>,
    /// The last one.
    pub to: Option<String>,
    /// How many these are.
    pub days: i64,
    /// Whether it was broken off: then its last days are not whole.
    pub stopped: bool,
    /// The last day that is whole, where it was broken off and there is one.
    pub whole_to: Option<String>,
    /// Events that were looked through; of a part that was broken off those alone that the rules were asked of.
    pub events: usize,
    /// Those of them that the rules were asked of.
    pub asked_of: usize,
    /// Alerts that somebody has to look at.
    pub alerts: usize,
    /// The same for a day.
    pub alerts_per_day: f64,
    /// On how many people, patients, workstations, vendors or feeds.
    pub subjects: usize,
    /// Alerts over the budget, which nobody hears of.
    pub held: usize,
    /// What looking at them takes, at ten minutes each.
    pub reviewer_hours: f64,
    /// Some alerts.
    pub samples: Vec<Sample>,
    /// What people had found out.
    pub verdicts: Vec<Ruled>,
    /// The difference to another version.
    pub against: Option<Against>,
}

/// A rule that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// Its id.
    pub id: String,
    /// `hard`, `budgeted` or `informational`.
    pub class: &'static str,
    /// `live` or `shadow`.
    pub standing: &'static str,
    /// Its hash.
    pub hash: String,
    /// Alerts that somebody has to look at.
    pub alerts: usize,
}

/// How the rules stand to one kind of verdict of these days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ruled {
    /// `confirmed`, `justified` or `false-alarm`.
    pub verdict: &'static str,
    /// Alerts of these rules that have it.
    pub own: usize,
    /// Those of them that would be raised.
    pub raised: usize,
    /// Those that would not.
    pub lost: usize,
    /// Alerts of other detections that have it.
    pub others: usize,
    /// Those of them on whose subject and day these rules would speak as well.
    pub caught: usize,
}

/// The difference to another version, by subject and day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    /// What it is called.
    pub version: String,
    /// Hashes of its rules.
    pub hashes: Vec<String>,
    /// Its alerts.
    pub alerts: usize,
    /// Subjects' days of which both speak.
    pub both: usize,
    /// Those of which only the rules speak that were tried.
    pub added: usize,
    /// Those of which only the other version speaks.
    pub gone: usize,
    /// Verdicts on alerts of what is added.
    pub added_verdicts: BTreeMap<&'static str, usize>,
    /// Verdicts on alerts of what is gone.
    pub gone_verdicts: BTreeMap<&'static str, usize>,
}

/// What came of a backtest.
#[derive(Debug, Clone)]
pub struct Backtest {
    /// The sums.
    pub summary: Summary,
    /// A row for each day with an alert, and what has to be said with it.
    pub answer: Answer,
    /// The ids of the alerts that would be raised, those included that are held.
    pub alert_ids: Vec<String>,
}

/// Sums up.
pub(super) async fn report(
    archive: &Archive,
    window: Window,
    plan: &Plan,
    mut sides: Vec<Side>,
    (counted, days, end): (Counted, Days, End),
) -> Result<Backtest, AskError> {
    let mut notes = Vec::new();
    for side in &mut sides {
        for rule in side.switched_off() {
            notes.push(format!("{rule} met a bug of the program and was switched off: its numbers are not whole"));
        }
        for (rule, hits) in side.left_out() {
            notes.push(format!("the windows of {rule} are full: {hits} hits were left out, and more may be found"));
        }
    }
    let found: Vec<Found> = sides.into_iter().map(|side| side.found).collect();
    let days = within(archive, days);
    let judged = match end {
        End::Whole => Judged { days, whole: days },
        End::Stopped(read) | End::Flooded(read) => {
            let judged = Judged::up_to(days, read, found.iter().filter_map(Found::newest).max());
            let why = match end {
                End::Flooded(_) => format!("there were more than {ALERTS_MAX} alerts"),
                _ => "it was stopped".to_owned(),
            };
            let whole = judged
                .whole
                .map_or("no day was read whole".to_owned(), |(_, last)| format!("read whole up to {last} only"));
            notes.insert(
                0,
                format!(
                    "{why}: {whole}; of later days there is what was found by then, and verdicts on them are left out"
                ),
            );
            judged
        }
    };
    for (name, since) in stored_since(archive, &plan.rules.facts()).await? {
        let from = since.map_or("never: no event was stored with it".to_owned(), |since| format!("from {since} on"));
        notes.push(format!("{name} could be seen {from}"));
    }
    if plan.rules.rules().iter().any(|rule| rule.meta.class == Class::Budgeted) {
        notes.push(
            "a budgeted rule is held against the threshold that a site begins with: those of the days are not on record"
                .to_owned(),
        );
    }
    let (own, other) = (&found[0], found.get(1));
    let summary = summary(plan, own, other, (counted, judged, end));
    let rows = rows(own, other);
    let mut answer = archive.complete("rules backtest", window, vec![rows]).await?;
    // What a detector could not judge says nothing of a rule.
    answer.learning.clear();
    answer.notes.append(&mut notes);
    Ok(Backtest { summary, answer, alert_ids: own.alerts.keys().cloned().collect() })
}

/// The local days of which something is in the numbers.
#[derive(Clone, Copy)]
struct Judged {
    days: Option<(Day, Day)>,
    /// Those of them that were read to their end.
    whole: Option<(Day, Day)>,
}

impl Judged {
    /// Of `days` those up to `read`, which are whole, and on to `found`.
    fn up_to(days: Option<(Day, Day)>, read: Option<Day>, found: Option<Day>) -> Judged {
        let until = |end: Option<Day>| {
            days.and_then(|(first, last)| Some((first, last.min(end?)))).filter(|(first, last)| first <= last)
        };
        Judged { days: until(read.max(found)), whole: until(read) }
    }
}

/// The days that were asked for, as far as there are events.
fn within(archive: &Archive, days: Days) -> Option<(Day, Day)> {
    let day = |time: Time| archive.zone.local(time).day;
    let (oldest, newest) = archive.oldest().map(day).zip(archive.newest().map(day))?;
    let first = days.first.map_or(oldest, |first| first.max(oldest));
    let last = days.last.map_or(newest, |last| last.min(newest));
    (first <= last).then_some((first, last))
}

fn summary(
    plan: &Plan,
    own: &Found,
    other: Option<&Found>,
    (counted, Judged { days, whole }, end): (Counted, Judged, End),
) -> Summary {
    let alerts = own.told().count();
    let number = days.map_or(0, |(first, last)| i64::from(last.0 - first.0) + 1);
    let subjects: BTreeSet<&Subject> = own.told().map(|(_, kept)| &kept.subject).collect();
    let of = |id: &str| own.told().filter(|(_, kept)| &*kept.detection == id).count();
    let tried = |rule: &Arc<crate::engine::rule::Rule>| Tried {
        id: rule.id.clone(),
        class: rule.meta.class.as_str(),
        standing: if rule.standing == Standing::Shadow { "shadow" } else { "live" },
        hash: rule.hash.clone(),
        alerts: of(&rule.id),
    };
    // What is lost is not known of a day before it is over.
    let in_days = |known: &&Known| whole.is_some_and(|(first, last)| (first..=last).contains(&known.day));
    let known: Vec<&Known> = plan.known.iter().filter(in_days).collect();
    Summary {
        asked: plan.name.clone(),
        rules: plan.rules.rules().iter().map(tried).collect(),
        from: days.map(|(first, _)| first.to_string()),
        to: days.map(|(_, last)| last.to_string()),
        days: number,
        stopped: end != End::Whole,
        whole_to: whole.filter(|_| end != End::Whole).map(|(_, last)| last.to_string()),
        events: counted.passed,
        asked_of: counted.survivors,
        alerts,
        alerts_per_day: if number > 0 { tenths(alerts as f64 / number as f64, 1_000.0) } else { 0.0 },
        subjects: subjects.len(),
        held: own.alerts.values().filter(|kept| kept.disposition == Disposition::Held).count(),
        reviewer_hours: hours(alerts),
        samples: own.samples(),
        verdicts: verdicts(own, &plan.rules, &known),
        against: plan
            .against
            .as_ref()
            .zip(other)
            .map(|((version, rules), other)| against(version, rules, own, other, &known)),
    }
}

fn tenths(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

fn hours(alerts: usize) -> f64 {
    tenths(alerts as f64 * MINUTES / 60.0, 10.0)
}

fn verdicts(own: &Found, rules: &RuleSet, known: &[&Known]) -> Vec<Ruled> {
    let spoken = own.subject_days();
    let raised: BTreeSet<&String> = own.told().map(|(id, _)| id).collect();
    let ruled = |ruling: &Ruling| {
        let (mine, others): (Vec<&Known>, Vec<&Known>) =
            known.iter().filter(|known| known.ruling == *ruling).partition(|known| rules.get(&known.family).is_some());
        let again = mine.iter().filter(|known| raised.contains(&known.alert_id)).count();
        let caught = others.iter().filter(|known| spoken.contains(&(known.day, &known.subject))).count();
        let (own, lost) = (mine.len(), mine.len() - again);
        Ruled { verdict: ruling.as_str(), own, raised: again, lost, others: others.len(), caught }
    };
    Ruling::ALL.iter().map(ruled).filter(|ruled| ruled.own + ruled.others > 0).collect()
}

fn against(version: &str, rules: &RuleSet, own: &Found, other: &Found, known: &[&Known]) -> Against {
    let (now, before) = (own.subject_days(), other.subject_days());
    let count = |in_now: bool| {
        let mut verdicts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for known in known {
            let key = (known.day, &known.subject);
            if now.contains(&key) == in_now && before.contains(&key) != in_now {
                *verdicts.entry(known.ruling.as_str()).or_default() += 1;
            }
        }
        verdicts
    };
    Against {
        version: version.to_owned(),
        hashes: rules.rules().iter().map(|rule| rule.hash.clone()).collect(),
        alerts: other.told().count(),
        both: now.intersection(&before).count(),
        added: now.difference(&before).count(),
        gone: before.difference(&now).count(),
        added_verdicts: count(true),
        gone_verdicts: count(false),
    }
}

/// A row for each day with an alert.
fn rows(own: &Found, other: Option<&Found>) -> RecordBatch {
    let (now, before) = (own.subject_days(), other.map(Found::subject_days).unwrap_or_default());
    let mut alerts: BTreeMap<Day, usize> = now.iter().chain(&before).map(|(day, _)| (*day, 0)).collect();
    own.told().for_each(|(_, kept)| *alerts.entry(kept.day).or_default() += 1);
    let of = |set: &BTreeSet<(Day, &Subject)>| {
        let mut counts: BTreeMap<Day, i64> = BTreeMap::new();
        set.iter().for_each(|(day, _)| *counts.entry(*day).or_default() += 1);
        let counted = alerts.keys().map(|day| counts.get(day).copied().unwrap_or(0));
        Arc::new(counted.collect::<Int64Array>()) as ArrayRef
    };
    let days: StringArray = alerts.keys().map(|day| Some(day.to_string())).collect();
    let numbers: Int64Array = alerts.values().map(|count| *count as i64).collect();
    let took: Float64Array = alerts.values().map(|count| Some(hours(*count))).collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("day", Arc::new(days)),
        ("alerts", Arc::new(numbers)),
        ("subjects", of(&now)),
        ("reviewer_hours", Arc::new(took)),
    ];
    if other.is_some() {
        columns.push(("before", of(&before)));
        columns.push(("added", of(&now.difference(&before).copied().collect())));
        columns.push(("gone", of(&before.difference(&now).copied().collect())));
    }
    RecordBatch::try_from_iter(columns).expect("every day has a value in every column")
}

impl Backtest {
    /// Writes it.
    pub fn render(&self, format: Format) -> Rendered {
        let mut rendered = render(&self.answer, format);
        match format {
            Format::Table => rendered.text = format!("{}\n{}", self.summary.lines().join("\n"), rendered.text),
            Format::Json => {
                let mut document = whole(&self.answer);
                document["summary"] = serde_json::json!(self.summary);
                rendered.text = format!("{document:#}\n");
            }
            Format::Csv => rendered.aside.splice(0..0, self.summary.lines()).for_each(drop),
        }
        rendered
    }
}

impl Summary {
    /// For people.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Tried { id, class, standing, hash, alerts } in &self.rules {
            let own = if self.rules.len() > 1 { format!(": {alerts} alerts") } else { String::new() };
            lines.push(format!("{id} ({class}, {standing}, {hash}){own}"));
        }
        let span = self.from.as_ref().zip(self.to.as_ref());
        let span = span.map_or("no day".to_owned(), |(from, to)| format!("{} days, {from} to {to}", self.days));
        lines.push(format!("{span}: {} events, of which {} were asked about", self.events, self.asked_of));
        lines.push(format!(
            "{} alerts, {} a day, on {} subjects: {} reviewer-hours at ten minutes each",
            self.alerts, self.alerts_per_day, self.subjects, self.reviewer_hours
        ));
        if self.held > 0 {
            lines.push(format!("{} more are held: over the budget, on record, told to nobody", self.held));
        }
        for Ruled { verdict, own, raised, lost, others, caught } in &self.verdicts {
            lines.push(format!(
                "{verdict}: of {own} alerts of its own {raised} again, {lost} lost; of {others} of others it speaks of {caught}"
            ));
        }
        if let Some(against) = &self.against {
            let Against { version, alerts, both, added, gone, .. } = against;
            lines.push(format!(
                "against {version} with {alerts} alerts: {both} days of subjects in both, {added} added{}, {gone} gone{}",
                told(&against.added_verdicts),
                told(&against.gone_verdicts)
            ));
        }
        if !self.samples.is_empty() {
            lines.push("some of them:".to_owned());
        }
        lines.extend(self.samples.iter().map(|sample| {
            format!("  {} {} {}: {}", sample.day, sample.alert_id, sample.severity, shown(&sample.reason))
        }));
        lines.push(String::new());
        lines
    }
}

fn told(verdicts: &BTreeMap<&'static str, usize>) -> String {
    let parts: Vec<String> = verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}
