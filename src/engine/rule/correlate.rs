//! Correlations at loading: what they name, and the windows that they ask for.

use std::collections::BTreeSet;

use rsigma_parser::{CorrelationRule, Timespan};
use xxhash_rust::xxh3::xxh3_64;
use yaml_serde::Value;

use super::build::{Head, standing};
use super::load::{Document, Loading};
use super::reading::{At, Complaints};
use super::window::{Correlation, Limits, Refused, Windows};
use super::{Body, RuleSet, Standing, canonical, strict};

/// A correlation on its way.
pub struct Drafted<'f> {
    pub(super) document: Document<'f>,
    pub(super) rule: CorrelationRule,
    pub(super) id: String,
}

/// Names of the rules that correlations speak for.
#[derive(Debug, Default)]
pub struct Fed {
    in_force: BTreeSet<String>,
    on_trial: BTreeSet<String>,
}

impl Fed {
    pub(super) fn new(drafted: &[Drafted<'_>]) -> Fed {
        let mut fed = Fed::default();
        for drafted in drafted.iter().filter(|drafted| !drafted.rule.generate) {
            let is_trial = standing(drafted.rule.status) == Standing::Shadow;
            let names = if is_trial { &mut fed.on_trial } else { &mut fed.in_force };
            names.extend(drafted.rule.rules.iter().cloned());
        }
        fed
    }

    /// Whether a rule of these names does not speak for itself. One on trial takes the word from nobody who has one.
    pub(super) fn silences<'n>(&self, names: impl IntoIterator<Item = &'n String>, root: &At<'_>) -> bool {
        let has_words = root.get("phiwatch").is_some();
        names.into_iter().any(|name| self.in_force.contains(name) || (self.on_trial.contains(name) && !has_words))
    }
}

impl<'f> Loading<'f> {
    /// Makes correlations ready. `contents` has the names of the plain rules that were loaded, and what each is made of.
    pub(super) fn correlate(
        &mut self,
        (drafted, fed): (Vec<Drafted<'f>>, &Fed),
        mut contents: Vec<Content>,
        set: &mut RuleSet,
    ) {
        let plain: Vec<String> = contents.iter().flat_map(|content| content.names.clone()).collect();
        contents.extend(drafted.iter().map(|drafted| {
            let value = &drafted.document.value;
            Content { names: names(&drafted.rule), whole: canonical(value), core: core(value) }
        }));
        let ours = ours(&drafted, &plain);
        for (drafted, is_ours) in drafted.iter().zip(ours) {
            let root = At::root(&drafted.document.value);
            if !is_ours {
                let why = "a correlation of another product is asked of nothing".to_owned();
                // Others may call theirs anything, or nothing.
                self.left_out.push((format!("{} ({})", drafted.id, drafted.document.file), why));
                continue;
            }
            let mut complaints = Complaints::default();
            if root.get("phiwatch").is_none() {
                // What says that it is ours was looked at when it was read.
                strict::keys(&root, &mut complaints);
                root.get("correlation").into_iter().for_each(|at| strict::correlation(&at, &mut complaints));
            }
            let leans_on = || drafted.rule.rules.iter().flat_map(|name| meant(&contents, name));
            let below: String = leans_on().map(|content| content.whole.as_str()).collect();
            let content = canonical(&drafted.document.value) + &below;
            let counted: String = leans_on().map(|content| content.core.as_str()).collect();
            let counted = core(&drafted.document.value) + &counted;
            let names_of = |reference: &str| -> Vec<String> {
                meant(&contents, reference).into_iter().flat_map(|content| content.names.clone()).collect()
            };
            let compiled =
                Correlation::compile(&drafted.rule, &names_of, &Limits::default(), xxh3_64(counted.as_bytes()));
            check_names(&root, &contents, compiled.as_ref().err(), &mut complaints);
            let silent = fed.silences(&names(&drafted.rule), &root);
            let head = Head {
                document: &drafted.document,
                id: &drafted.id,
                title: &drafted.rule.title,
                description: drafted.rule.description.as_deref(),
                status: drafted.rule.status,
            };
            let speaks = (!silent).then(|| self.build(head, Body::Correlation, &content, &mut complaints)).flatten();
            if let (Ok(compiled), true) = (compiled, complaints.0.is_empty()) {
                set.rules.extend(speaks.clone());
                set.correlations.push(compiled);
                set.speaks.push(speaks);
            }
            self.complain(&drafted.document, complaints);
        }
        self.circles(&drafted, set);
    }

    /// Correlations that lean on each other in a circle, or on one that has nothing to count, are taken out.
    fn circles(&mut self, drafted: &[Drafted<'f>], set: &mut RuleSet) {
        while let Err(problems) = Windows::<()>::new(set.correlations.clone(), Limits::default()) {
            let Some((at, what)) = problems.into_iter().next() else { break };
            let gone = set.correlations.remove(at);
            let spoke = set.speaks.remove(at);
            set.rules.retain(|rule| spoke.as_ref().is_none_or(|spoke| spoke.id != rule.id));
            if let Some(drafted) = drafted.iter().find(|drafted| drafted.id == gone.id) {
                let mut complaints = Complaints::default();
                complaints.say(&At::root(&drafted.document.value), what);
                self.complain(&drafted.document, complaints);
            }
        }
    }
}

/// Complains of what was refused, each at its key, and of rules that are not there by their names.
fn check_names(root: &At<'_>, contents: &[Content], refused: Option<&Vec<Refused>>, complaints: &mut Complaints) {
    let place = root.get("correlation").unwrap_or(root.clone());
    let before = complaints.0.len();
    let (references, mut rules) = (place.get("rules").map(|at| at.each()).unwrap_or_default(), Vec::new());
    for (at, reference) in references.iter().filter_map(|at| Some((at, at.value.as_str()?))) {
        let names: Vec<String> =
            meant(contents, reference).into_iter().flat_map(|content| content.names.clone()).collect();
        if names.is_empty() {
            let known = contents.iter().flat_map(|content| &content.names).map(String::as_str);
            complaints.say(at, super::unknown("rule", reference, known));
        }
        rules.push(names);
    }
    let is_whole = complaints.0.len() == before;
    if is_whole {
        strict::aliases(&place, &rules, complaints);
    }
    for Refused { key, what } in refused.into_iter().flatten().filter(|refused| is_whole || refused.key != "rules") {
        let at = place.get(key).or_else(|| place.get("timeframe").filter(|_| *key == "timespan"));
        complaints.say(at.as_ref().unwrap_or(&place), what.clone());
    }
}

/// The rules that a reference means, with what they are made of.
fn meant<'c>(contents: &'c [Content], reference: &str) -> Vec<&'c Content> {
    contents.iter().filter(|content| content.names.iter().any(|name| name == reference)).collect()
}

/// The names by which other correlations may mean one.
fn names(rule: &CorrelationRule) -> Vec<String> {
    rule.id.iter().chain(&rule.name).cloned().collect()
}

/// Which correlations are ours: those that say so, those that these lean on, and those that lean on rules of ours, over however many
/// steps. What is left speaks of another product's rules alone.
fn ours(drafted: &[Drafted<'_>], plain: &[String]) -> Vec<bool> {
    let says = |one: &Drafted<'_>| At::root(&one.document.value).get("phiwatch").is_some();
    let mut ours = vec![false; drafted.len()];
    loop {
        let known: Vec<&Drafted<'_>> =
            drafted.iter().zip(&ours).filter(|(_, ours)| **ours).map(|(one, _)| one).collect();
        let named: Vec<String> = known.iter().flat_map(|one| names(&one.rule)).collect();
        let leaned_on: Vec<&String> = known.iter().flat_map(|one| &one.rule.rules).collect();
        let now = drafted.iter().map(|one| {
            let feeds = names(&one.rule).iter().any(|name| leaned_on.contains(&name));
            feeds || one.rule.rules.iter().any(|name| named.contains(name) || plain.contains(name)) || says(one)
        });
        let now: Vec<bool> = now.collect();
        if now == ours {
            return ours;
        }
        ours = now;
    }
}

/// What a rule is made of, by the names that correlations use.
pub struct Content {
    /// Its id and name.
    pub(super) names: Vec<String>,
    /// All that says what it is: another hash, another rule.
    pub(super) whole: String,
    /// What decides which events a window holds.
    pub(super) core: String,
}

/// What decides which events a window holds: as long as it stays, the window stays, whatever else of the rule is written anew. Neither
/// the sentence nor the threshold belongs to it, nor the lines of a list: they hold for what comes from then on.
pub fn core(document: &Value) -> String {
    let mut kept: Vec<String> = Vec::new();
    for key in ["logsource", "detection"] {
        kept.extend(document.get(key).map(canonical));
    }
    if let Some(Value::Mapping(correlation)) = document.get("correlation") {
        let mut correlation = correlation.clone();
        // Who speaks decides nothing, and one span or group may be written in several ways.
        correlation.retain(|key, _| key.as_str() != Some("generate"));
        for (key, value) in &mut correlation {
            match key.as_str() {
                Some("group-by") if value.is_string() => *value = Value::Sequence(vec![value.clone()]),
                Some("timespan" | "timeframe") => {
                    let span = value.as_str().and_then(|text| Timespan::parse(text).ok());
                    span.into_iter().for_each(|span| *value = Value::from(span.seconds));
                }
                _ => {}
            }
        }
        if let Some(Value::Mapping(condition)) = correlation.get_mut("condition") {
            condition.retain(|key, _| !key.as_str().is_some_and(|key| THRESHOLDS.contains(&key)));
        }
        kept.push(canonical(&Value::Mapping(correlation)));
    }
    kept.join("\n")
}

/// The bounds of a correlation's condition.
const THRESHOLDS: [&str; 6] = ["gt", "gte", "lt", "lte", "eq", "neq"];
