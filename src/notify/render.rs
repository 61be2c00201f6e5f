//! What a notification says: JSON lines for programs, a subject, text and HTML for people. Pure.
//!
//! Names in an alert come from logs, so they are an attacker's to choose: every output escapes for itself. The subject of a mail
//! and everything of detail `minimal` carry nothing that can name a person.

use std::fmt::Write;

use serde::Serialize;

use super::settings::Detail;
use crate::event::{Alert, Class, Severity, State, Subject, SubjectKind, Time};
use crate::store::News;

/// One notification: what goes through a channel in one piece.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Its name; a repeat has the same.
    pub id: String,
    /// When it was made, by the clock of this machine.
    pub at: Time,
    /// What it is about.
    pub body: Body,
}

/// What a notification is about.
#[derive(Debug, Clone)]
pub enum Body {
    /// Alerts, the worst first.
    Alerts {
        /// Those it reads out.
        listed: Vec<Told>,
        /// Those it only counts.
        more: usize,
        /// True where nobody has ruled on them in time and others are told.
        escalated: bool,
    },
    /// The daily sign of life.
    Heartbeat(Vitals),
    /// A test, asked for by a person.
    Test,
}

/// An alert to be told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The alert.
    pub alert: Alert,
    /// The subject's short name that says nothing without the key.
    pub pseudonym: String,
}

/// What a sign of life says.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// Alerts of the last 24 hours.
    pub news: News,
    /// One sentence each, such as how far the input was read; never a name.
    pub lines: Vec<String>,
}

/// What detail `minimal` says about an alert.
#[derive(Serialize)]
struct Minimal<'a> {
    schema: &'static str,
    alert_id: &'a str,
    revision: u32,
    detection_id: &'a str,
    class: Class,
    severity: Severity,
    state: State,
    subject: &'a str,
    show: String,
}

/// What is said about an alert; in full it is the line that `scan` writes, byte for byte.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Full(&'a Alert),
    Minimal(Minimal<'a>),
}

/// The body of a webhook call.
#[derive(Serialize)]
struct Call<'a> {
    schema: &'static str,
    id: &'a str,
    at: String,
    kind: &'static str,
    escalated: bool,
    alerts: Vec<Shown<'a>>,
    more: usize,
    text: String,
}

/// The command that shows the rest of an alert.
pub fn show(alert_id: &str) -> String {
    format!("phiwatch alerts show {alert_id}")
}

/// An alert as one line of JSON, without the line end.
pub fn line(told: &Told, detail: Detail) -> String {
    serde_json::to_string(&shown(told, detail)).expect("an alert has only text for keys")
}

fn shown(told: &Told, detail: Detail) -> Shown<'_> {
    let alert = &told.alert;
    match detail {
        Detail::Full => Shown::Full(alert),
        Detail::Minimal => Shown::Minimal(Minimal {
            schema: "phiwatch.alert-minimal/1",
            alert_id: &alert.alert_id,
            revision: alert.revision,
            detection_id: &alert.detection_id,
            class: alert.class,
            severity: alert.severity,
            state: alert.state,
            subject: &told.pseudonym,
            show: show(&alert.alert_id),
        }),
    }
}

/// The body of a webhook call: one JSON document.
pub fn call(notification: &Notification, detail: Detail) -> String {
    let (kind, alerts, more, escalated) = match &notification.body {
        Body::Alerts { listed, more, escalated } => {
            ("alerts", listed.iter().map(|told| shown(told, detail)).collect(), *more, *escalated)
        }
        Body::Heartbeat(_) => ("heartbeat", Vec::new(), 0, false),
        Body::Test => ("test", Vec::new(), 0, false),
    };
    let call = Call {
        schema: "phiwatch.notification/1",
        id: &notification.id,
        at: notification.at.to_string(),
        kind,
        escalated,
        alerts,
        more,
        text: subject(notification),
    };
    serde_json::to_string(&call).expect("a call has only text for keys")
}

/// The subject line: counts, severity and detection, nothing that can name a person.
pub fn subject(notification: &Notification) -> String {
    match &notification.body {
        Body::Alerts { listed, more, escalated } => {
            let Some(worst) = listed.first() else {
                return format!("phiwatch: {more} alerts");
            };
            let alert = &worst.alert;
            let mut subject = format!("phiwatch: {} {}", alert.severity.as_str(), clean(&alert.detection_id));
            let others = listed.len() - 1 + more;
            if others > 0 {
                let _ = write!(subject, " and {others} more");
            }
            if *escalated {
                subject.push_str(", no verdict yet");
            }
            subject
        }
        Body::Heartbeat(vitals) => {
            format!("phiwatch: running, {} alerts in 24 hours", vitals.news.told.iter().sum::<u64>())
        }
        Body::Test => "phiwatch: TEST, nothing has happened".to_owned(),
    }
}

/// The notification as paragraphs of (heading, lines): what text and HTML are made of.
fn paragraphs(notification: &Notification, detail: Detail) -> Vec<(String, Vec<String>)> {
    match &notification.body {
        Body::Alerts { listed, more, escalated } => {
            let mut all = Vec::new();
            if *escalated {
                let why = "Nobody has given a verdict on the following in the agreed time.".to_owned();
                all.push(("No verdict yet".to_owned(), vec![why]));
            }
            all.extend(listed.iter().map(|told| paragraph(told, detail)));
            if *more > 0 {
                let list = "All of them: phiwatch alerts list".to_owned();
                all.push((format!("and {more} more"), vec![list]));
            }
            all
        }
        Body::Heartbeat(vitals) => {
            let severities = Severity::ALL.iter().zip(vitals.news.told).rev().filter(|(_, count)| *count > 0);
            let counts: Vec<String> = severities.map(|(s, count)| format!("{count} {}", s.as_str())).collect();
            let said = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
            let mut lines = vec![format!("Alerts of the last 24 hours: {said}.")];
            if vitals.news.held > 0 {
                lines.push(format!("Held back, over the budget: {}. phiwatch alerts list --all", vitals.news.held));
            }
            lines.extend(vitals.lines.iter().map(|line| clean(line)));
            lines.push("When this daily notification stays away, phiwatch or the way to you is broken.".to_owned());
            vec![("phiwatch is running".to_owned(), lines)]
        }
        Body::Test => {
            let lines = vec![
                "Somebody ran `phiwatch channels test`. This is how an alert reaches you.".to_owned(),
                "Nothing has happened, and nothing is to be done.".to_owned(),
            ];
            vec![("TEST".to_owned(), lines)]
        }
    }
}

fn paragraph(told: &Told, detail: Detail) -> (String, Vec<String>) {
    let alert = &told.alert;
    let heading = match detail {
        Detail::Full => format!("{}: {}", alert.severity.as_str(), clean(&alert.title)),
        Detail::Minimal => format!("{}: {}", alert.severity.as_str(), clean(&alert.detection_id)),
    };
    let mut lines = Vec::new();
    match detail {
        Detail::Full => {
            lines.push(clean(&alert.reason));
            lines.push(format!("Subject: {} {}", alert.subject.kind.as_str(), clean(&alert.subject.id)));
            lines.push(format!("Detection: {}, score {:.0}", clean(&alert.detection_id), alert.score));
            let counts = (alert.evidence.count, alert.patients.count);
            lines.push(format!(
                "Evidence: {} events, {} patients, raised {}",
                counts.0,
                counts.1,
                clean(&alert.raised_at)
            ));
        }
        Detail::Minimal => lines.push(format!("Subject: {}", told.pseudonym)),
    }
    if alert.state != State::Open {
        lines.push(format!("State: {}", alert.state.as_str()));
    }
    lines.push(format!("Alert {}, revision {}. The rest: {}", alert.alert_id, alert.revision, show(&alert.alert_id)));
    (heading, lines)
}

/// The notification as plain text, lines ended by LF.
pub fn text(notification: &Notification, detail: Detail) -> String {
    let mut text = String::new();
    for (heading, lines) in paragraphs(notification, detail) {
        let _ = writeln!(text, "{heading}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
    }
    text
}

/// The notification as an HTML document without anything that is fetched or run.
pub fn html(notification: &Notification, detail: Detail) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>phiwatch</title></head>\n\
         <body style=\"font:15px/1.5 sans-serif;color:#1b1b1b;max-width:44em\">\n",
    );
    for (heading, lines) in paragraphs(notification, detail) {
        let _ = writeln!(
            html,
            "<div style=\"margin:0 0 1.2em;padding-left:.8em;border-left:4px solid #8a1c1c\"><strong>{}</strong>",
            escape(&heading)
        );
        for line in lines {
            let _ = writeln!(html, "<div>{}</div>", escape(&line));
        }
        html.push_str("</div>\n");
    }
    html.push_str("</body></html>\n");
    html
}

/// One line of visible text: control characters, line and paragraph separators, and the invisible characters that turn the direction
/// of writing or hide letters become U+FFFD.
pub fn clean(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
    };
    text.chars().map(|c| if hides(c) { '\u{fffd}' } else { c }).collect()
}

/// Text for HTML, inside an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The alert that `channels test` sends where a channel carries alerts and nothing else: marked as a test in every field that is read.
pub fn test_alert(at: Time) -> Alert {
    let subject = Subject { kind: SubjectKind::System, id: "phiwatch-test".to_owned() };
    let day = crate::event::Zone::utc().local(at).day;
    let instant = at.to_string();
    let none = String::new;
    Alert {
        schema: "phiwatch.alert/1".to_owned(),
        alert_id: Alert::id("phiwatch-test", &subject, day),
        detection_id: "phiwatch-test.channel".to_owned(),
        class: Class::Informational,
        title: "TEST, nothing has happened".to_owned(),
        severity: Severity::Informational,
        subject,
        window: crate::event::alert::Window { start: instant.clone(), end: instant.clone() },
        raised_at: instant,
        score: 0.0,
        p_value: None,
        reason: "Somebody ran `phiwatch channels test`; nothing has happened, and nothing is to be done.".to_owned(),
        facts: serde_json::Map::new(),
        evidence: crate::event::alert::Evidence { count: 0, event_ids: Vec::new() },
        patients: crate::event::alert::Patients { count: 0 },
        references: Vec::new(),
        revision: 1,
        settled: true,
        episode: None,
        state: State::Closed,
        disposition: crate::event::Disposition::Notified,
        made_by: crate::event::alert::MadeBy {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: none(),
            rules: none(),
            rosters: none(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::raised;

    /// A notification on an alert whose every text that logs can fill is `text`.
    fn hostile(text: &str, more: usize) -> Notification {
        let mut alert = raised("u1", 1).alert;
        (alert.title, alert.reason, alert.subject.id) = (text.into(), text.into(), text.into());
        alert.facts.insert(text.into(), text.into());
        alert.evidence.event_ids = vec![text.into()];
        let told = Told { alert, pseudonym: "user-0123456789".into() };
        Notification {
            id: "n-1".into(),
            at: Time(0),
            body: Body::Alerts { listed: vec![told], more, escalated: false },
        }
    }

    fn told(notification: &Notification) -> &Told {
        &notification.alerts()[0]
    }

    const HOSTILE: &[&str] = &[
        "canary\r\nBcc: evil@example.org",
        "canary\n.\r\nMAIL FROM:<x>",
        "canary<script>alert(1)</script>",
        "canary\" onmouseover=\"x",
        "=cmd|'/c calc'!canary",
        "canary\u{202e}txt.exe\u{200b}",
        "canary\0\u{1b}[2J\u{85}\u{2028}x",
        "canary&amp;<!--",
    ];

    #[test]
    fn minimal_names_nobody() {
        for text in HOSTILE {
            let notification = hostile(text, 37);
            let outputs = [
                line(told(&notification), Detail::Minimal),
                call(&notification, Detail::Minimal),
                super::text(&notification, Detail::Minimal),
                html(&notification, Detail::Minimal),
                subject(&notification),
            ];
            for output in outputs {
                assert!(!output.contains("canary"), "{output}");
            }
        }
    }

    #[test]
    fn names_cannot_leave_their_place() {
        for text in HOSTILE {
            let notification = hostile(text, 0);
            let alert: Alert = serde_json::from_str(&line(told(&notification), Detail::Full)).unwrap();
            assert_eq!(&alert, &told(&notification).alert, "JSON loses nothing");
            assert!(!line(told(&notification), Detail::Full).contains(['\n', '\r']));
            let plain = super::text(&notification, Detail::Full);
            let lines = super::text(&hostile("canary", 0), Detail::Full).lines().count();
            assert_eq!(plain.lines().count(), lines, "{plain}");
            assert!(!plain.contains(|c: char| c.is_control() && c != '\n'));
            let page = html(&notification, Detail::Full);
            assert_eq!(
                page.matches('<').count(),
                html(&hostile("canary", 0), Detail::Full).matches('<').count(),
                "{page}"
            );
            assert_eq!(
                page.matches('"').count(),
                html(&hostile("canary", 0), Detail::Full).matches('"').count(),
                "{page}"
            );
            assert!(!subject(&notification).contains("canary"));
        }
        assert_eq!(clean("Zoë O’Brien 李 👩‍⚕️").replace('\u{fffd}', "\u{200d}"), "Zoë O’Brien 李 👩‍⚕️");
    }

    #[test]
    fn minimal_says_what_the_design_lists() {
        let line: serde_json::Value = serde_json::from_str(&line(told(&hostile("x", 0)), Detail::Minimal)).unwrap();
        let id = raised("u1", 1).alert.alert_id;
        let expected = serde_json::json!({
            "schema": "phiwatch.alert-minimal/1", "alert_id": id, "revision": 1, "detection_id": "mass-query.distinct-patients",
            "class": "budgeted", "severity": "high", "state": "open", "subject": "user-0123456789",
            "show": format!("phiwatch alerts show {id}"),
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn subjects_count() {
        let subject_of = |more, escalated| {
            let mut notification = hostile("x", more);
            if let Body::Alerts { escalated: flag, .. } = &mut notification.body {
                *flag = escalated;
            }
            subject(&notification)
        };
        assert_eq!(subject_of(0, false), "phiwatch: high mass-query.distinct-patients");
        assert_eq!(subject_of(37, false), "phiwatch: high mass-query.distinct-patients and 37 more");
        assert_eq!(subject_of(0, true), "phiwatch: high mass-query.distinct-patients, no verdict yet");
        let alive = |held| {
            let news = News { told: [0, 2, 0, 1, 0], held };
            let vitals = Vitals { news, lines: vec!["Complete up to noon.".into()] };
            Notification { id: "h".into(), at: Time(0), body: Body::Heartbeat(vitals) }
        };
        assert_eq!(subject(&alive(7)), "phiwatch: running, 3 alerts in 24 hours", "nobody was told of the held ones");
        let said = super::text(&alive(0), Detail::Minimal);
        assert!(said.contains("1 high, 2 low.") && said.contains("Complete up to noon."), "{said}");
        assert!(!said.contains("Held") && super::text(&alive(7), Detail::Minimal).contains("over the budget: 7."));
    }

    #[test]
    fn a_test_says_so_everywhere() {
        let test = Notification { id: "t".into(), at: Time(0), body: Body::Test };
        for output in
            [subject(&test), super::text(&test, Detail::Minimal), html(&test, Detail::Full), call(&test, Detail::Full)]
        {
            assert!(output.contains("TEST"), "{output}");
        }
        assert!(serde_json::to_string(&test_alert(Time(0))).unwrap().contains("TEST"));
    }
}
