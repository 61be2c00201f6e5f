//! Alerts on a terminal: one to read first on top, sentences wrapped, names beside identifiers, times on the clock of the site.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Stop;
use crate::event::{SubjectKind, Time, Zone};
use crate::notify::render::clean;
use crate::roster::Roster;
use crate::store::{Listed, Ruling, Verdict};

/// Characters of a line where no terminal says how wide it is.
const WIDTH: usize = 100;
/// Evidence that is listed; all of it is in the JSON form.
const EVIDENCE: usize = 10;

/// What alerts are shown with.
pub(super) struct Shown<'a> {
    /// Who people are, where it is known.
    pub roster: Option<&'a Roster>,
    /// The clock that people read.
    pub zone: Zone,
    /// Characters of a line.
    pub width: usize,
}

impl Shown<'_> {
    /// The list as text.
    pub fn list(&self, alerts: &[Listed]) -> String {
        let id_width = |text: fn(&Listed) -> &str| alerts.iter().map(|one| text(one).len()).max().unwrap_or(0);
        let detection = id_width(|one| &one.alert.detection_id);
        let mut text = String::new();
        for one in alerts {
            let alert = &one.alert;
            let weekday = &one.day.weekday_name()[..3];
            let (severity, score) = (alert.severity.as_str(), alert.score);
            let name = clean(&alert.detection_id);
            let ruling = one.ruling.map(|ruling| format!("  {}", ruling.as_str())).unwrap_or_default();
            let _ = writeln!(
                text,
                "{} {weekday}  {score:>5.1}  {severity:<13}  {name:<detection$}  {}{ruling}",
                one.day, alert.alert_id
            );
            if let Some(who) = self.who(one) {
                text.push_str(&wrapped(&who, self.width, 4));
            }
            text.push_str(&wrapped(&clean(&alert.reason), self.width, 4));
        }
        text
    }

    /// One alert as text.
    pub fn one(&self, one: &Listed, verdicts: &[Verdict]) -> String {
        let alert = &one.alert;
        let instant = |text: &str| Time::parse(text).map_or_else(|| clean(text), |time| self.zone.clock(time));
        let subject = format!("{} {}", alert.subject.kind.as_str(), clean(&alert.subject.id));
        let mut text = format!("{}: {}\n", alert.severity.as_str(), clean(&alert.title));
        text.push_str(&wrapped(&clean(&alert.reason), self.width, 4));
        let standing = format!("{}, {}", alert.state.as_str(), alert.disposition.as_str());
        let settled = if alert.settled { "settled" } else { "may still grow" };
        let p = alert.p_value.map(|p| format!(", p {p:.2e}")).unwrap_or_default();
        let mut line = |name: &str, value: &str| {
            let value = wrapped(value, self.width, 14);
            let _ = write!(text, "{name:<14}{}", value.trim_start());
        };
        line("alert", &format!("{}, revision {}, {settled}", alert.alert_id, alert.revision));
        line("detection", &format!("{} ({})", clean(&alert.detection_id), alert.class.as_str()));
        line("subject", &self.who(one).map_or(subject.clone(), |who| format!("{subject}: {who}")));
        line("day", &format!("{} {}", one.day.weekday_name(), one.day));
        line("window", &format!("{} to {}", instant(&alert.window.start), instant(&alert.window.end)));
        line("raised", &instant(&alert.raised_at));
        line("score", &format!("{:.1} of 100{p}", alert.score));
        line("standing", &standing);
        if let Some(episode) = &alert.episode {
            line("episode", episode);
        }
        for (name, value) in &alert.facts {
            line("number", &format!("{} = {}", clean(name), clean(&plain(value))));
        }
        let (count, patients) = (alert.evidence.count, alert.patients.count);
        line("evidence", &format!("{}, {}", counted(count, "event"), counted(patients, "patient")));
        let listed: Vec<String> = alert.evidence.event_ids.iter().take(EVIDENCE).map(|id| clean(id)).collect();
        if !listed.is_empty() {
            line("", &listed.join(" "));
        }
        if alert.evidence.event_ids.len() > EVIDENCE {
            line("", &format!("and {} more: --format json", alert.evidence.event_ids.len() - EVIDENCE));
        }
        line("references", &clean(&alert.references.join("; ")));
        for verdict in verdicts {
            let (at, ruling) = (self.zone.clock(verdict.at), verdict.ruling.as_str());
            line("verdict", &format!("{ruling} by {} on {at}: {}", clean(&verdict.who), clean(&verdict.reason)));
        }
        if verdicts.is_empty() {
            line(
                "verdict",
                &format!(
                    "none yet: phiwatch alerts verdict {} confirmed|justified|false-alarm --reason TEXT",
                    alert.alert_id
                ),
            );
        }
        text
    }

    /// Who the subject is, as of the alert.
    fn who(&self, one: &Listed) -> Option<String> {
        let (roster, subject) = (self.roster?, &one.alert.subject);
        let at = Time::parse(&one.alert.raised_at)?;
        let parts = match subject.kind {
            SubjectKind::User | SubjectKind::VendorAccount => match roster.user(&subject.id, at) {
                Some(user) => [user.name, user.role, user.department],
                None => {
                    let account = roster.vendor_account(&subject.id, at)?;
                    let vendor = roster.vendor(account.vendor_id, at).and_then(|vendor| vendor.name);
                    [account.person, vendor.or(Some(account.vendor_id)), None]
                }
            },
            SubjectKind::Vendor => [roster.vendor(&subject.id, at)?.name, None, None],
            _ => return None,
        };
        let said = parts.into_iter().flatten().map(clean).collect::<Vec<_>>().join(", ");
        (!said.is_empty()).then_some(said)
    }
}

/// The list as JSON lines: the alert with the newest verdict.
pub(super) fn json_lines(alerts: &[Listed]) -> Result<String, Stop> {
    let mut text = String::new();
    for one in alerts {
        let mut line = serde_json::to_value(&one.alert).map_err(Stop::failed)?;
        line["verdict"] = one.ruling.map_or(Value::Null, |ruling| ruling.as_str().into());
        text.push_str(&format!("{line}\n"));
    }
    Ok(text)
}

/// One alert as a JSON document, with its verdicts.
pub(super) fn json_document(one: &Listed, verdicts: &[Verdict]) -> Result<String, Stop> {
    let mut whole = serde_json::to_value(&one.alert).map_err(Stop::failed)?;
    let verdict = |verdict: &Verdict| {
        let ruling = Ruling::as_str(verdict.ruling);
        json!({"verdict": ruling, "by": verdict.who, "at": verdict.at.to_string(), "reason": verdict.reason})
    };
    whole["verdicts"] = verdicts.iter().map(verdict).collect();
    Ok(format!("{whole:#}\n"))
}

/// Characters of a line of this terminal, or a usual number.
pub(super) fn width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let found = || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    asked.or_else(found).filter(|width| *width >= 40).unwrap_or(WIDTH)
}

/// Text in lines of at most `width` characters, each behind `indent` spaces. A word that is longer stands alone.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a line from the start");
        if last.is_empty() {
            last.push_str(word);
        } else if indent + last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| format!("{:indent$}{line}", "").trim_end().to_owned() + "\n").collect()
}

fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_between_words() {
        let check = |text: &str, width: usize, indent: usize, expected: &str| {
            assert_eq!(wrapped(text, width, indent), expected);
        };
        check("one two three", 9, 2, "  one two\n  three\n");
        check("incomprehensibilities a", 10, 0, "incomprehensibilities\na\n");
        check("", 10, 4, "\n");
        check("äöü äöü", 7, 0, "äöü äöü\n");
    }
}
