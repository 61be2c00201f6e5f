//! From documents that were read to rules that can be in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use rsigma_eval::compiler::{CompiledRule, compile_rule};
use rsigma_parser::{FilterRule, Level, SigmaCollection, SigmaRule};

use super::condition::Condition;
use super::correlate::{Content, Fed, core};
use super::filters::is_for;
use super::load::{Document, Draft, Loaded, Loading, kind, selecting};
use super::mapping::Mapping;
use super::mend::empty_is_absent;
use super::meta::{LEVELS, Meta};
use super::reading::{At, Complaints};
use super::sentence::OF_CORRELATIONS;
use super::{Body, Plain, Rule, RuleSet, Standing, canonical, strict};
use crate::event::Severity;

impl<'f> Loading<'f> {
    pub(super) fn finish(mut self) -> Loaded {
        let (compiled, sigma) = self.compiled();
        let mut set = RuleSet::default();
        let (plain, filters) = (std::mem::take(&mut self.plain), std::mem::take(&mut self.filters));
        let drafted = std::mem::take(&mut self.correlations);
        let fed = Fed::new(&drafted);
        let names =
            |id: &Option<String>, name: &Option<String>| id.iter().chain(name).cloned().collect::<Vec<String>>();
        let mut contents: Vec<Content> = Vec::new();
        for (plain, compiled) in plain.iter().zip(&compiled).filter(|(plain, _)| plain.ours) {
            let names = names(&plain.rule.id, &plain.rule.name);
            let content = content(plain, compiled, &filters);
            let mut complaints = Complaints::default();
            let root = At::root(&plain.document.value);
            let silent = fed.silences(&names, &root);
            let kind = root.get("logsource").and_then(|at| at.get("category")).map(|at| kind(&at, &mut complaints));
            let head = Head::of(&plain.rule, &plain.id, &plain.document);
            let speaks = (!silent).then(|| self.build(head, Body::Plain, &content, &mut complaints)).flatten();
            let clean = complaints.0.is_empty() && (silent || speaks.is_some());
            self.complain(&plain.document, complaints);
            if clean {
                set.rules.extend(speaks.clone());
                let condition = Condition::new(compiled, kind.flatten());
                set.plain.push(Plain { names: names.clone(), condition, speaks, feeds: Vec::new() });
            }
            contents.push(Content { names, whole: content, core: core(&plain.document.value) });
        }
        plain.iter().filter(|plain| !plain.ours).for_each(|plain| self.map(plain, &filters, &mut set));
        self.correlate((drafted, &fed), contents, &mut set);
        set.close();
        self.problems.sort();
        self.problems.dedup();
        Loaded { set, problems: self.problems, left_out: self.left_out, sigma }
    }

    pub(super) fn complain(&mut self, document: &Document<'_>, complaints: Complaints) {
        self.problems.extend(complaints.0.into_iter().map(|(path, what)| document.problem(&path, what)));
    }

    /// The rule that speaks, from what plain rules and correlations have in common.
    pub(super) fn build(
        &self,
        head: Head<'_>,
        body: Body,
        content: &str,
        complaints: &mut Complaints,
    ) -> Option<Arc<Rule>> {
        let root = At::root(&head.document.value);
        let level = match root.get("level") {
            Some(at) => at.word("level", &LEVELS, complaints),
            None => {
                complaints.say(&root, "`level` is missing");
                None
            }
        };
        let meta = match root.get("phiwatch") {
            Some(at) => Meta::read(&at, head.id, &mut |at, complaints| self.when(at, complaints), complaints),
            None => {
                complaints.say(&root, "`phiwatch` is missing: sentence, subject, class");
                None
            }
        };
        let is_window = matches!(body, Body::Correlation);
        let said = |key: &str| root.get("phiwatch").and_then(|at| at.get(key));
        let named = |count: &&&str| meta.as_ref().is_some_and(|meta| meta.sentence.counts(count));
        let of_window = OF_CORRELATIONS.iter().find(named).filter(|_| !is_window);
        if let Some((at, count)) = said("sentence").zip(of_window) {
            complaints.say(&at, format!("`{{{count}}}` is for correlations; a plain rule counts no window"));
        }
        let ages = meta.as_ref().is_some_and(|meta| meta.suppress.is_some());
        if let Some(at) = said("suppress").filter(|_| ages && is_window) {
            complaints
                .say(&at, "an age in `suppress` is for plain rules; the window of a correlation is its `timespan`");
        }
        let texts = |key: &str| root.get(key).map(|at| at.texts(&mut Complaints::default())).unwrap_or_default();
        Some(Arc::new(Rule {
            id: head.id.to_owned(),
            title: head.title.to_owned(),
            description: head.description.unwrap_or_default().to_owned(),
            standing: standing(head.status),
            level: level?,
            tags: texts("tags"),
            references: texts("references"),
            falsepositives: texts("falsepositives"),
            meta: meta?,
            hash: super::digest(content.as_bytes()),
            file: head.document.file.to_owned(),
            document: head.document.number,
            body,
        }))
    }

    /// The condition that stands under `when`.
    pub(super) fn when(&self, at: &At<'_>, complaints: &mut Complaints) -> Option<Condition> {
        let before = complaints.0.len();
        strict::selection(at, complaints);
        let parsed = selecting(at.value);
        if complaints.0.len() > before {
            return None;
        }
        let compiled = parsed.and_then(|mut rule| {
            rule.detection.named.values_mut().for_each(empty_is_absent);
            self.expand(&mut rule.detection, at, complaints);
            compile_rule(&rule).map_err(|error| error.to_string())
        });
        match compiled {
            Ok(compiled) => Some(Condition::new(&compiled, None)),
            Err(what) => {
                complaints.say(at, what);
                None
            }
        }
    }

    /// A rule of others in our names, where a mapping has them all, with what filters add to it.
    fn map(&mut self, plain: &Draft<'f>, filters: &[(Document<'f>, FilterRule)], set: &mut RuleSet) {
        let Some(mapping) = self.mappings.iter().find(|mapping| mapping.is_for(&plain.rule.logsource)) else { return };
        let filters: Vec<_> = filters.iter().filter(|(_, filter)| is_for(filter, &plain.rule)).collect();
        let compiled = match translated(mapping, plain, filters.iter().map(|(_, filter)| filter)) {
            Ok(compiled) => compiled,
            Err(why) => return self.left_out.push((plain.id.clone(), why)),
        };
        let level = match plain.rule.level {
            None | Some(Level::Medium) => Severity::Medium,
            Some(Level::Informational) => Severity::Informational,
            Some(Level::Low) => Severity::Low,
            Some(Level::High) => Severity::High,
            Some(Level::Critical) => Severity::Critical,
        };
        let condition = Condition::new(&compiled, None).and(mapping.events.clone());
        let filtered: String = filters.iter().map(|(document, _)| canonical(&document.value)).collect();
        let content = canonical(&plain.document.value) + &plain.lists + &mapping.content + &filtered;
        let rule = Arc::new(Rule {
            id: plain.id.clone(),
            title: plain.rule.title.clone(),
            description: plain.rule.description.clone().unwrap_or_default(),
            standing: standing(plain.rule.status),
            level,
            tags: plain.rule.tags.clone(),
            references: plain.rule.references.clone(),
            falsepositives: plain.rule.falsepositives.clone(),
            meta: Meta::of_others(&plain.rule.title),
            hash: super::digest(content.as_bytes()),
            file: plain.document.file.to_owned(),
            document: plain.document.number,
            body: Body::Plain,
        });
        set.rules.push(rule.clone());
        let names = plain.rule.id.iter().chain(&plain.rule.name).cloned().collect();
        set.plain.push(Plain { names, condition, speaks: Some(rule), feeds: Vec::new() });
    }
}

/// A rule of others in our names, with what filters add to it; or why it cannot be had.
fn translated<'r>(
    mapping: &Mapping,
    plain: &Draft<'_>,
    filters: impl Iterator<Item = &'r FilterRule>,
) -> Result<CompiledRule, String> {
    let lacks = |whose: &str, fields: BTreeSet<String>| {
        format!("no native event has {whose} fields {}", fields.into_iter().collect::<Vec<_>>().join(", "))
    };
    let rule = mapping.translated(&plain.rule).map_err(|fields| lacks("its", fields))?;
    let in_our_names = |filter: &FilterRule| {
        mapping.translated_filter(filter).map_err(|fields| lacks(&format!("its filter's ({})", filter.title), fields))
    };
    let filters = filters.map(in_our_names).collect::<Result<_, _>>()?;
    let mut engine = rsigma_eval::Engine::new();
    let collection = SigmaCollection { rules: vec![rule], filters, ..SigmaCollection::new() };
    engine.add_collection(&collection).map_err(|error| error.to_string())?;
    engine.rules().first().cloned().ok_or_else(|| "it cannot be compiled".to_owned())
}

pub(super) fn standing(status: Option<rsigma_parser::Status>) -> Standing {
    match status {
        Some(rsigma_parser::Status::Experimental) => Standing::Shadow,
        _ => Standing::Live,
    }
}

/// What plain rules and correlations have in common.
pub(super) struct Head<'r> {
    pub(super) document: &'r Document<'r>,
    pub(super) id: &'r str,
    pub(super) title: &'r str,
    pub(super) description: Option<&'r str>,
    pub(super) status: Option<rsigma_parser::Status>,
}

impl<'r> Head<'r> {
    fn of(rule: &'r SigmaRule, id: &'r str, document: &'r Document<'r>) -> Head<'r> {
        Head { document, id, title: &rule.title, description: rule.description.as_deref(), status: rule.status }
    }
}

/// Everything that can change what a plain rule finds: the document, its lists, and the filters that were added to it.
fn content(plain: &Draft<'_>, compiled: &CompiledRule, filters: &[(Document<'_>, FilterRule)]) -> String {
    let mut content = canonical(&plain.document.value) + &plain.lists;
    // Whatever a filter added has its number in its name.
    for (number, (document, _)) in filters.iter().enumerate() {
        if compiled.detections.keys().any(|name| name.starts_with(&format!("__filter_{number}_"))) {
            content += &canonical(&document.value);
        }
    }
    content
}
