//! Parts that met a bug: caught, switched off and told, so that reading goes on (DESIGN, decision 16).
//!
//! A bug is an assertion, and what it leaves behind in the memory of its part is worth nothing: the memory goes with the part. A detector
//! stays off until another version of the program runs, which builds it anew from the history; a rule until its text is another one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::Engine;
use super::detect::{self, Detector, Findings};

/// The version that counts for detectors.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A part that is switched off: a detector by its family, or a rule by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// Family or id.
    pub name: String,
    /// The version that met the bug: that of the program for a detector, the hash for a rule.
    pub version: String,
}

/// Runs a part; false where it met a bug. What it touched is not to be used then.
pub(super) fn is_sound(act: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_ok()
}

/// The detectors in force.
pub(super) type Detectors = BTreeMap<&'static str, Box<dyn Detector>>;

/// Runs a detector, where it is in force; after a bug it is not in force any more, and nothing of what it found then is kept.
pub(super) fn run(
    detectors: &mut Detectors,
    family: &str,
    findings: &mut Findings,
    act: impl FnOnce(&mut dyn Detector, &mut Findings),
) {
    let Some(detector) = detectors.get_mut(family) else { return };
    let before = findings.len();
    if !is_sound(|| act(detector.as_mut(), findings)) {
        findings.truncate(before);
        detectors.remove(family);
    }
}

/// The detectors that are not in force any more.
pub(super) fn missing(detectors: &Detectors) -> impl Iterator<Item = Part> {
    let off = detect::ALL.iter().filter(|spec| !detectors.contains_key(spec.family));
    off.map(|spec| Part { name: spec.family.to_owned(), version: VERSION.to_owned() })
}

impl Engine {
    /// The parts that are switched off, detectors first.
    pub fn switched_off(&self) -> Vec<Part> {
        missing(&self.detectors).chain(self.rules.switched_off()).collect()
    }

    /// Switches a part off, where it is the one that met the bug.
    pub(super) fn switch_off(&mut self, part: &Part) {
        if part.version == VERSION {
            self.detectors.remove(part.name.as_str());
        }
        self.rules.switch_off(part);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::engine::Input;
    use crate::engine::detect::{Constants, Seen, Settling};
    use crate::engine::fixture::{decoded, roster, rule_files, ward};
    use crate::engine::rule::RuleSet;
    use crate::engine::settings::Settings;
    use crate::event::{Day, Effects, Origin, Time};

    /// A detector that meets a bug in one of its verbs.
    struct Flawed(&'static str);

    impl Flawed {
        fn meet(&self, verb: &str) {
            assert!(self.0 != verb, "the bug that was asked for");
        }
    }

    impl Detector for Flawed {
        fn observe(&mut self, _: &Seen<'_>, _: &Constants<'_>, _: &mut Findings) {
            self.meet("observe");
        }
        fn sums(&mut self, _: &Settling<'_>) {
            self.meet("sums");
        }
        fn settle(&mut self, _: &Settling<'_>, _: &mut Findings) {
            self.meet("settle");
        }
        fn forget(&mut self, _: Day) {
            self.meet("forget");
        }
        fn save(&self) -> Vec<u8> {
            Vec::new()
        }
        fn load(&mut self, _: &[u8]) -> bool {
            true
        }
    }

    fn rules() -> Arc<RuleSet> {
        let loaded = crate::engine::rule::load(&rule_files());
        assert_eq!(loaded.problems, []);
        Arc::new(loaded.set)
    }

    /// Takes up the ward, with a flaw put in before, and gives everything that followed.
    fn run(flaw: impl FnOnce(&mut Engine)) -> (Engine, Vec<Effects>) {
        let origin = Origin::topic("ehr", 0);
        let mut engine = Engine::new(Settings::default(), roster());
        engine.step(Time(0), Input::Rules(rules()));
        engine.step(Time(0), Input::Open(origin.clone()));
        flaw(&mut engine);
        let mut all = Vec::new();
        let records = ward(1);
        for (number, records) in records.chunks(500).enumerate() {
            let stretch = decoded(&origin, number as i64 * 500, records);
            all.push(engine.step(Time(0), Input::Decoded(Box::new(stretch))));
        }
        all.push(engine.step(Time(0), Input::Close));
        (engine, all)
    }

    /// Settled alerts by detection and subject, without those whose id begins with `but`.
    fn alerts(all: &[Effects], but: &str) -> BTreeSet<(String, String)> {
        let raised = all.iter().flat_map(|effects| &effects.raised).filter(|raised| raised.alert.settled);
        let hard = raised.filter(|raised| raised.alert.class == crate::event::Class::Hard);
        let named = hard.map(|raised| (raised.alert.detection_id.clone(), raised.alert.subject.id.clone()));
        named.filter(|(detection, _)| !detection.starts_with(but)).collect()
    }

    fn check(part: &str, flaw: impl FnOnce(&mut Engine)) {
        let (_, sound) = run(|_| {});
        let (engine, flawed) = run(flaw);
        let off = engine.switched_off();
        assert_eq!(off.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), [part]);
        assert_eq!(alerts(&flawed, part), alerts(&sound, part), "{part}: everything else goes on");
        let events = |all: &[Effects]| all.iter().flat_map(|e| &e.applied).map(|one| one.span.events).sum::<u64>();
        assert_eq!(events(&flawed), events(&sound));
        let blind: Vec<_> = flawed.iter().flat_map(|e| &e.unjudged).filter(|one| one.off).collect();
        assert!(!blind.is_empty() && blind.iter().all(|one| one.detector == part && one.judged == 0), "{part}");
        // It stays off when the memory is written and read, and the control log can say it again.
        let mut copy = engine.copy();
        copy.step(Time(0), Input::SwitchOff(off[0].clone()));
        assert_eq!(copy.switched_off(), off);
        // In another version nothing is known of the bug.
        let mut fresh = Engine::new(Settings::default(), roster());
        fresh.step(Time(0), Input::Rules(rules()));
        fresh.step(Time(0), Input::SwitchOff(Part { version: "0.0.0".into(), ..off[0].clone() }));
        assert_eq!(fresh.switched_off(), []);
        fresh.step(Time(0), Input::SwitchOff(off[0].clone()));
        assert_eq!(fresh.switched_off(), off);
    }

    #[test]
    fn a_detector_that_meets_a_bug_is_switched_off() {
        for verb in ["observe", "sums", "settle", "forget"] {
            check("after-hours", |engine| {
                engine.detectors.insert("after-hours", Box::new(Flawed(verb)));
            });
        }
    }

    #[test]
    fn a_rule_that_meets_a_bug_is_switched_off_until_its_text_is_another() {
        check("hard-stranger", |engine| engine.rules.flaw("hard-stranger"));
        let (mut engine, _) = run(|engine| engine.rules.flaw("hard-stranger"));
        let mut files = rule_files();
        let text = String::from_utf8(files[0].1.clone()).unwrap();
        files[0].1 = text.replace("title: A stranger reads", "title: Somebody unknown reads").into_bytes();
        engine.step(Time(0), Input::Rules(rules()));
        assert_eq!(engine.switched_off().len(), 1, "the same text is the same bug");
        engine.step(Time(0), Input::Rules(Arc::new(crate::engine::rule::load(&files).set)));
        assert_eq!(engine.switched_off(), []);
    }
}
