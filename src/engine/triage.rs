//! Triage: findings become alerts, with identity, revisions, severity, episode, and the decision whether people hear of it.
//!
//! An alert is one family, one subject, one local day of that subject (DESIGN, section 5). Inside the day a revision is cut when the
//! quantity reaches 1, 2, 4, 8, ... times the constant of the day; the settled revision follows from the final value alone, whatever was
//! told before. People hear of an episode when it begins, when its severity rises and when its p falls tenfold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::detect::{Detected, Finding, Stage, Verdict, cut, significant};
use crate::event::alert::{MadeBy, Patients, Window, family};
use crate::event::{Alert, Class, Day, Disposition, Raised, Severity, State, Subject};

/// Alerts of one family and subject at most this many days apart form an episode.
const EPISODE_DAYS: i32 = 7;

/// A family and a subject.
type Thread = (String, Subject);

/// What people were told last.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    day: Day,
    severity: Severity,
    p: Option<f64>,
}

/// The settled alerts of one thread.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Episode {
    id: String,
    last: Day,
}

/// Somebody decided that a family of alerts on a subject is justified for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exception {
    /// The family.
    pub family: String,
    /// Whom it covers.
    pub subject: Subject,
    /// The local day of the alert that was found justified.
    pub about: Day,
    /// First local day that it holds for.
    pub from: Day,
    /// First local day that it no longer holds for.
    pub until: Day,
}

/// A person's verdict on an alert, as far as the engine goes by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ruled {
    /// The family of the alert.
    pub family: String,
    /// Whom it is about.
    pub subject: Subject,
    /// On which of its local days.
    pub day: Day,
    /// Whether it was misuse: then it is no habit, and no measure for others.
    pub is_misuse: bool,
    /// For so many days, from the first that it holds for, the subject is excepted from the family.
    pub excepted_days: Option<i32>,
}

/// What triage remembers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Triage {
    episodes: BTreeMap<Thread, Episode>,
    told: BTreeMap<Thread, Told>,
    exceptions: Vec<Exception>,
    /// Newest revision of the alerts of recent days, for what comes as backfill after they have settled.
    revisions: BTreeMap<(Thread, Day), Newest>,
}

/// The newest revision of an alert.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Newest {
    revision: u32,
    /// It was settled: where a rule goes and comes back on one day, what it says then goes beyond that.
    settled: bool,
}

/// Revisions are remembered for this many days.
const REVISION_DAYS: i32 = 60;

impl Triage {
    /// Adds an exception.
    pub fn except(&mut self, exception: Exception) {
        self.exceptions.push(exception);
    }

    /// Somebody thought better of an alert: what was excepted because of it is no longer, from `from` on.
    pub fn no_longer(&mut self, (family, subject): (&str, &Subject), about: Day, from: Day) {
        for exception in &mut self.exceptions {
            if (exception.family.as_str(), &exception.subject, exception.about) == (family, subject, about) {
                exception.until = exception.until.min(from);
            }
        }
    }

    /// Turns a finding into a revision of its alert.
    ///
    /// What rests on records outside of the open days goes beyond the revisions that were told, and is settled at once. Where the day
    /// itself may still be open, it has a family of its own: the day's alert stays as it is promised.
    pub fn admit(&mut self, finding: Finding, made_by: &MadeBy) -> Raised {
        let own_family = finding.aside.filter(|why| *why != "backfill");
        let family = own_family.unwrap_or_else(|| family(finding.detection.id()));
        let thread = (family.to_owned(), finding.subject.clone());
        let verdict = match finding.stage {
            Stage::Crossing(_) => None,
            Stage::Settled(verdict) => Some(verdict),
        };
        let excepted = self.exceptions.iter().any(|exception| {
            (&exception.family, &exception.subject) == (&thread.0, &thread.1)
                && (exception.from..exception.until).contains(&finding.day)
        });
        let mut alert = alert(&finding, &thread, made_by);
        if let Some(verdict) = verdict {
            settle(&mut alert, verdict);
            alert.episode = Some(self.episode(&thread, finding.day));
        }
        let newest = self.revisions.entry((thread.clone(), finding.day)).or_default();
        let is_rule = matches!(finding.detection, Detected::Rule(..));
        if finding.aside.is_some() || (is_rule && newest.settled) {
            alert.revision = alert.revision.max(newest.revision + 1);
        }
        if let Some(why) = finding.aside {
            alert.settled = true;
            alert.facts.insert(why.to_owned(), true.into());
        }
        if let Some(family) = own_family {
            alert.detection_id = format!("{family}.{}", alert.detection_id);
        }
        let settled = newest.settled || (alert.settled && own_family.is_none());
        *newest = Newest { revision: alert.revision.max(newest.revision), settled };
        if excepted && finding.detection.class() != Class::Hard {
            alert.disposition = Disposition::Suppressed;
        }
        if finding.detection.is_shadow() {
            alert.disposition = Disposition::Shadow;
        }
        let interrupts = self.interrupts(thread, &alert, finding.day);
        Raised { at: finding.raised_at, day: finding.day, alert, interrupts, routing: finding.detection.routing() }
    }

    /// The episode of a settled alert; days settle in order.
    fn episode(&mut self, thread: &Thread, day: Day) -> String {
        let fresh = || Episode { id: Alert::episode_id(&thread.0, &thread.1, day), last: day };
        let episode = self.episodes.entry(thread.clone()).or_insert_with(fresh);
        if day.0 - episode.last.0 > EPISODE_DAYS {
            *episode = fresh();
        }
        episode.last = episode.last.max(day);
        episode.id.clone()
    }

    fn interrupts(&mut self, thread: Thread, alert: &Alert, day: Day) -> bool {
        let tells = alert.class != Class::Informational
            && alert.disposition == Disposition::Notified
            && alert.state == State::Open;
        if !tells {
            return false;
        }
        let news = match self.told.get(&thread) {
            Some(told) if day.0 - told.day.0 <= EPISODE_DAYS => {
                let sharper = told.p.zip(alert.p_value).is_some_and(|(before, now)| now * 10.0 <= before);
                // Inside the day p allows for what may still turn out: that it did not is no news to those who have heard of the day.
                let is_known = alert.settled && told.day == day;
                alert.severity > told.severity || (sharper && !is_known)
            }
            _ => true,
        };
        let before = self.told.get(&thread).filter(|told| day.0 - told.day.0 <= EPISODE_DAYS);
        let told = Told {
            day: before.map_or(day, |told| told.day.max(day)),
            severity: before.map_or(alert.severity, |told| told.severity.max(alert.severity)),
            p: match (before.and_then(|told| told.p), alert.p_value) {
                (Some(before), Some(now)) => Some(if news { before.min(now) } else { before }),
                (before, now) => before.or(now),
            },
        };
        self.told.insert(thread, told);
        news
    }

    /// Forgets what can no longer be continued.
    pub fn forget(&mut self, settled: Day) {
        self.revisions.retain(|(_, day), _| *day >= settled.plus(-REVISION_DAYS));
        let old = settled.plus(-EPISODE_DAYS - 1);
        self.episodes.retain(|_, episode| episode.last >= old);
        self.told.retain(|_, told| told.day >= old);
        self.exceptions.retain(|exception| exception.until > settled);
    }
}

fn alert(finding: &Finding, thread: &Thread, made_by: &MadeBy) -> Alert {
    let (ratio, times) = match finding.stage {
        Stage::Crossing(ratio) => (ratio, ratio),
        Stage::Settled(verdict) => (verdict.ratio, verdict.times),
    };
    let level = cut(ratio).unwrap_or(0);
    let severity = finding.detection.severity(cut(times).unwrap_or(0));
    Alert {
        schema: "phiwatch.alert/1".to_owned(),
        alert_id: Alert::id(&thread.0, &thread.1, finding.day),
        detection_id: finding.detection.id().to_owned(),
        class: finding.detection.class(),
        title: finding.detection.title().to_owned(),
        severity,
        subject: finding.subject.clone(),
        window: Window { start: finding.window.0.to_string(), end: finding.window.1.to_string() },
        raised_at: finding.raised_at.to_string(),
        score: score(finding.detection.class(), severity, finding.p.map(significant)),
        p_value: finding.p.map(significant),
        reason: finding.reason.clone(),
        facts: finding.facts.clone(),
        evidence: finding.evidence.clone(),
        patients: Patients { count: finding.patients },
        references: finding.detection.references(),
        revision: level + 1,
        settled: false,
        episode: None,
        state: State::Open,
        disposition: Disposition::Notified,
        made_by: made_by.clone(),
    }
}

/// The settled revision: its number follows from the final quantity; what crossed stays notified.
fn settle(alert: &mut Alert, verdict: Verdict) {
    let crossed = cut(verdict.ratio);
    alert.revision = crossed.map_or(1, |cut| cut + 2);
    alert.settled = true;
    alert.disposition = if crossed.is_some() || verdict.passes { Disposition::Notified } else { Disposition::Held };
    if crossed.is_some() && !verdict.passes {
        alert.state = State::Explained;
        alert.score = round(alert.score / 4.0);
    }
}

/// 0 to 100 across all detections: evidence in powers of ten beyond the first, by p-value, or by severity where there is none.
fn score(class: Class, severity: Severity, p: Option<f64>) -> f64 {
    let by_severity = match severity {
        Severity::Informational => 0.2,
        Severity::Low => 1.0,
        Severity::Medium => 2.0,
        Severity::High => 4.0,
        Severity::Critical => 6.0,
    };
    let evidence = match (class, p) {
        (Class::Budgeted, Some(p)) => (-p.max(1e-300).log10() - 1.0).max(0.0),
        _ => by_severity,
    };
    round(100.0 * (1.0 - 10_f64.powf(-evidence / 3.0)))
}

fn round(score: f64) -> f64 {
    (score * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SubjectKind;

    /// Two nights of one person were found justified, one day after the other; somebody thinks better of the first.
    #[test]
    fn an_exception_ends_where_its_verdict_is_taken_back() {
        let subject = Subject { kind: SubjectKind::User, id: "u1".to_owned() };
        let exception = |about: i32| Exception {
            family: "after-hours".to_owned(),
            subject: subject.clone(),
            about: Day(about),
            from: Day(about + 5),
            until: Day(about + 35),
        };
        let mut triage = Triage::default();
        triage.except(exception(10));
        triage.except(exception(11));
        triage.no_longer(("mass-query", &subject), Day(10), Day(20));
        triage.no_longer(("after-hours", &subject), Day(10), Day(20));
        let until: Vec<i32> = triage.exceptions.iter().map(|exception| exception.until.0).collect();
        assert_eq!(until, [20, 46]);
    }
}
