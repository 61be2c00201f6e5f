//! Which revisions a channel gets. Pure: an alert and the channel's settings in, yes or no out.

use crate::event::alert::family;
use crate::event::{Class, Disposition, Raised, Severity};
use crate::store::Mute;

/// What a kind of channel hears of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// Every revision of an alert that was notified: other programs keep count.
    Everything,
    /// Only what interrupts people (DESIGN, section 5).
    Interruptions,
}

/// The routing of one channel.
#[derive(Debug, Clone)]
pub struct Routing {
    /// What its kind hears of.
    pub hears: Hears,
    /// Of at least this severity.
    pub min_severity: Severity,
    /// Of detections that match one of these patterns; all where empty.
    pub detections: Vec<String>,
    /// Of these classes; all where empty.
    pub classes: Vec<Class>,
    /// Of rules that ask for one of these words; all where empty.
    pub routing: Vec<String>,
}

impl Routing {
    /// Whether this revision goes to the channel.
    pub fn takes(&self, raised: &Raised) -> bool {
        let alert = &raised.alert;
        let heard = match self.hears {
            Hears::Everything => true,
            Hears::Interruptions => raised.interrupts && alert.class != Class::Informational,
        };
        heard
            && alert.disposition == Disposition::Notified
            && alert.severity >= self.min_severity
            && (self.classes.is_empty() || self.classes.contains(&alert.class))
            && (self.detections.is_empty() || self.detections.iter().any(|pattern| names(pattern, &alert.detection_id)))
    }
}

/// The channels, by number, that a revision goes to. A word of its rule chooses between channels that ask for words; one that no channel
/// asks for chooses nothing, so that a slip of the pen keeps no alert from people.
pub fn chosen(routes: &[&Routing], raised: &Raised) -> Vec<usize> {
    let asked = |word: &&String| routes.iter().any(|routing| routing.routing.contains(*word));
    let words: Vec<&String> = raised.routing.iter().filter(asked).collect();
    let wants = |routing: &Routing| {
        words.is_empty() || routing.routing.is_empty() || words.iter().any(|word| routing.routing.contains(*word))
    };
    (0..routes.len()).filter(|at| routes[*at].takes(raised) && wants(routes[*at])).collect()
}

/// Whether a mute covers the alert.
pub fn covers(mute: &Mute, alert: &crate::event::Alert) -> bool {
    names(&mute.detection, &alert.detection_id) && mute.subject.as_ref().is_none_or(|subject| *subject == alert.subject)
}

/// Whether a pattern names a detection, or the family that it belongs to.
pub fn names(pattern: &str, detection_id: &str) -> bool {
    matches(pattern, detection_id) || matches(pattern, family(detection_id))
}

/// Whether `text` matches `pattern`, in which `*` is any text, also none, and `?` is one character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands and up to where it has swallowed: on a mismatch it swallows one more.
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == '?' || *c == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, swallowed)) = star {
            star = Some((at, swallowed + 1));
            p = at + 1;
            t = swallowed + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{State, Subject, SubjectKind, Time};
    use crate::naive;
    use crate::store::fixture::raised;

    proptest::proptest! {
        #[test]
        fn patterns_mean_what_their_definition_says(pattern in "[ab*?.]{0,8}", text in "[ab.]{0,8}") {
            proptest::prop_assert_eq!(matches(&pattern, &text), naive::matches(&pattern, &text));
        }
    }

    fn check(routing: Routing, change: impl Fn(&mut Raised), expected: bool) {
        let mut one = raised("u1", 1);
        change(&mut one);
        assert_eq!(routing.takes(&one), expected, "{routing:?} {:?}", one.alert.detection_id);
    }

    fn to(hears: Hears) -> Routing {
        Routing { hears, min_severity: Severity::Informational, detections: vec![], classes: vec![], routing: vec![] }
    }

    #[test]
    fn people_hear_of_interruptions_and_programs_of_everything_notified() {
        let same = |_: &mut Raised| ();
        let quiet = |one: &mut Raised| one.interrupts = false;
        let explained = |one: &mut Raised| (one.alert.state, one.interrupts) = (State::Explained, false);
        let informational = |one: &mut Raised| one.alert.class = Class::Informational;
        for (hears, on_quiet) in [(Hears::Everything, true), (Hears::Interruptions, false)] {
            check(to(hears), same, true);
            check(to(hears), quiet, on_quiet);
            check(to(hears), explained, on_quiet);
            check(to(hears), informational, on_quiet);
            for disposition in [Disposition::Held, Disposition::Suppressed, Disposition::Shadow] {
                check(to(hears), |one| one.alert.disposition = disposition, false);
            }
        }
    }

    #[test]
    fn severity_class_and_detection_narrow() {
        let all = || to(Hears::Everything);
        let same = |_: &mut Raised| ();
        check(Routing { min_severity: Severity::High, ..all() }, same, true);
        check(Routing { min_severity: Severity::Critical, ..all() }, same, false);
        check(Routing { classes: vec![Class::Hard], ..all() }, same, false);
        check(Routing { classes: vec![Class::Hard, Class::Budgeted], ..all() }, same, true);
        check(Routing { detections: vec!["mass-query.*".into()], ..all() }, same, true);
        check(Routing { detections: vec!["after-hours.*".into(), "*".into()], ..all() }, same, true);
        check(Routing { detections: vec!["mass-query".into()], ..all() }, same, true);
        check(Routing { detections: vec!["mass".into(), "events".into()], ..all() }, same, false);
    }

    #[test]
    fn words_of_rules_choose_between_channels() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let asks = |routing: &[&str]| Routing { routing: words(routing), ..to(Hears::Everything) };
        let routes = [asks(&[]), asks(&["privacy"]), asks(&["security", "night"])];
        let severe = Routing { min_severity: Severity::Critical, ..asks(&["privacy"]) };
        let check = |routes: &[&Routing], of_rule: &[&str], expected: &[usize]| {
            let mut one = raised("u1", 1);
            one.routing = words(of_rule);
            assert_eq!(chosen(routes, &one), expected, "{of_rule:?}");
        };
        let all: Vec<&Routing> = routes.iter().collect();
        // Detectors, the operator and rules without words are heard by all.
        check(&all, &[], &[0, 1, 2]);
        check(&all, &["privacy"], &[0, 1]);
        check(&all, &["security"], &[0, 2]);
        check(&all, &["night", "privacy"], &[0, 1, 2]);
        check(&all, &["privacy", "nobody"], &[0, 1]);
        check(&all, &["nobody"], &[0, 1, 2]);
        check(&[&severe, &routes[2]], &["privacy"], &[]);
    }

    #[test]
    fn mutes_cover_by_detection_and_subject() {
        let alert = raised("u1", 1).alert;
        let mute = |detection: &str, subject: Option<&str>| Mute {
            seq: 1,
            detection: detection.into(),
            subject: subject.map(|id| Subject { kind: SubjectKind::User, id: id.into() }),
            reason: String::new(),
            who: String::new(),
            at: Time(0),
            until: Time(1),
        };
        assert!(covers(&mute("mass-query.*", None), &alert));
        assert!(covers(&mute("mass-query", None), &alert));
        assert!(!covers(&mute("mass", None), &alert));
        assert!(covers(&mute("*", Some("u1")), &alert));
        assert!(!covers(&mute("*", Some("u2")), &alert));
        assert!(!covers(&mute("after-hours.*", Some("u1")), &alert));
    }
}
