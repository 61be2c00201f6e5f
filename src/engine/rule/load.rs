//! Texts to rules, or everything that is wrong in them with file and line.
//!
//! A file holds one or more documents: plain rules, correlations, filters. Ours (`logsource: product: phiwatch`) are read strictly:
//! fields, modifiers, lists and keys have to be known. Those of others are read as rsigma reads them. Names that begin with
//! [`SHIPPED`] are of the shipped set: what has the same id elsewhere wins over them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rsigma_eval::compiler::{CompiledRule, compile_rule};
use rsigma_parser::{
    CorrelationRule, Detections, FilterRule, FilterRuleTarget, SigmaCollection, SigmaRule, parse_sigma_yaml,
};
use yaml_serde::Value;

use super::condition::Condition;
use super::correlate::Drafted;
use super::lists::{self, Lists};
use super::meta::{LEVELS, Meta};
use super::place::{self, Path};
use super::reading::{At, Complaints};
use super::{Body, Plain, Rule, RuleSet, Standing, canonical, strict};
use crate::event::{Kind, Problem};

/// What stands before the names of files of the shipped set.
pub const SHIPPED: &str = "shipped/";

/// The product of rules that are written for us.
const OURS: &str = "phiwatch";

/// Rules, and all that is to be said about their files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The rules that can be taken into force.
    pub set: RuleSet,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// Rules that were not loaded although nothing is wrong with them, by id, and why.
    pub left_out: Vec<(String, String)>,
    /// All plain rules with their filters, those of others too, which see native events only through a mapping.
    pub sigma: SigmaCollection,
}

/// Reads the files of a rule folder: `(name, bytes)` with `/` in the names, `.yml`, `lists/NAME.csv`, `mappings/SOURCE.yml`.
pub fn load(files: &[(String, Vec<u8>)]) -> Loaded {
    let mut loading = Loading::default();
    // What is a site's own is read first and wins.
    let (shipped, own): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| name.starts_with(SHIPPED));
    for (name, bytes) in own.iter().chain(&shipped) {
        loading.list(name, bytes);
    }
    for (name, bytes) in own.iter().chain(&shipped) {
        let inner = name.strip_prefix(SHIPPED).unwrap_or(name);
        let is_yaml = inner.ends_with(".yml") || inner.ends_with(".yaml");
        if is_yaml && !inner.starts_with("mappings/") && !inner.starts_with("runbooks/") {
            loading.file(name, bytes);
        }
    }
    loading.finish()
}

/// A document of a file.
#[derive(Clone)]
pub(super) struct Document<'f> {
    pub(super) file: &'f str,
    text: &'f str,
    pub(super) number: usize,
    pub(super) value: Value,
}

impl Document<'_> {
    fn problem(&self, path: &Path, what: String) -> Problem {
        Problem { file: PathBuf::from(self.file), line: place::line(self.text, self.number, path), what }
    }
}

/// A plain rule on its way.
struct Draft<'f> {
    document: Document<'f>,
    rule: SigmaRule,
    ours: bool,
    id: String,
    /// Contents of the lists that it names.
    lists: String,
}

#[derive(Default)]
pub(super) struct Loading<'f> {
    problems: Vec<Problem>,
    left_out: Vec<(String, String)>,
    lists: Lists,
    plain: Vec<Draft<'f>>,
    correlations: Vec<Drafted<'f>>,
    filters: Vec<(Document<'f>, FilterRule)>,
    ids: BTreeSet<String>,
}

impl<'f> Loading<'f> {
    fn list(&mut self, file: &str, bytes: &[u8]) {
        let inner = file.strip_prefix(SHIPPED).unwrap_or(file);
        let Some(name) = inner.strip_prefix("lists/").and_then(|name| name.strip_suffix(".csv")) else { return };
        if self.lists.contains_key(name) {
            return;
        }
        match lists::read(bytes) {
            Ok(values) => _ = self.lists.insert(name.to_owned(), values),
            Err((line, what)) => self.problems.push(Problem { file: PathBuf::from(file), line, what }),
        }
    }

    fn file(&mut self, file: &'f str, bytes: &'f [u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let what = "the file is not UTF-8".to_owned();
            return self.problems.push(Problem { file: PathBuf::from(file), line: None, what });
        };
        let (documents, broken) = place::documents(text);
        if let Some((line, what)) = broken {
            self.problems.push(Problem { file: PathBuf::from(file), line, what });
        }
        for (number, value) in documents.into_iter().enumerate() {
            if !value.is_null() {
                self.document(Document { file, text, number, value });
            }
        }
    }

    fn document(&mut self, document: Document<'f>) {
        let root = At::root(&document.value);
        let mut complaints = Complaints::default();
        let product = root.get("logsource").and_then(|at| at.get("product")).and_then(|at| at.value.as_str());
        let ours = product == Some(OURS) || root.get("phiwatch").is_some();
        if ours {
            strict::keys(&root, &mut complaints);
            for key in ["detection", "filter"] {
                root.get(key).into_iter().for_each(|at| strict::detection(&at, &mut complaints));
            }
        }
        let parsed = parse(&document.value);
        let clean = complaints.0.is_empty();
        match parsed {
            Ok(mut collection) => {
                // What was said by name is not said again in the words of the parser.
                for error in collection.errors.drain(..).filter(|_| clean) {
                    complaints.say(&root, error);
                }
                for rule in collection.rules.drain(..) {
                    self.rule(&document, rule, ours, &mut complaints);
                }
                for rule in collection.correlations.drain(..) {
                    self.correlation(&document, rule, &mut complaints);
                }
                for filter in collection.filters.drain(..) {
                    self.filters.push((document.clone(), filter));
                }
            }
            Err(what) if clean => complaints.say(&root, what),
            Err(_) => {}
        }
        self.problems.extend(complaints.0.into_iter().map(|(path, what)| document.problem(&path, what)));
    }

    fn rule(&mut self, document: &Document<'f>, mut rule: SigmaRule, ours: bool, complaints: &mut Complaints) {
        let root = At::root(&document.value);
        if let Some(at) = root.get("detection").filter(|_| ours) {
            strict::condition(&at, &rule.detection, complaints);
        }
        let lists = self.expand(&mut rule.detection, &root, complaints);
        let id = rule.id.clone().unwrap_or_else(|| rule.title.clone());
        if ours {
            identity(&root, &id, complaints);
        }
        if !self.is_wanted(document, &id, rule.status, complaints) {
            return;
        }
        if let Err(error) = compile_rule(&rule) {
            return complaints.say(&root.get("detection").unwrap_or(root.clone()), error.to_string());
        }
        if complaints.0.is_empty() {
            self.plain.push(Draft { document: document.clone(), rule, ours, id, lists });
        }
    }

    fn correlation(&mut self, document: &Document<'f>, rule: CorrelationRule, complaints: &mut Complaints) {
        let root = At::root(&document.value);
        let id = rule.id.clone().unwrap_or_else(|| rule.title.clone());
        let ours = root.get("phiwatch").is_some();
        if ours {
            identity(&root, &id, complaints);
            root.get("correlation").into_iter().for_each(|at| strict::correlation(&at, &rule, complaints));
        }
        if self.is_wanted(document, &id, rule.status, complaints) && complaints.0.is_empty() {
            self.correlations.push(Drafted { document: document.clone(), rule, id });
        }
    }

    /// Whether a rule is loaded: it is still in use, and nothing else has its id.
    fn is_wanted(
        &mut self,
        document: &Document<'f>,
        id: &str,
        status: Option<rsigma_parser::Status>,
        complaints: &mut Complaints,
    ) -> bool {
        if let Some(status) = status.filter(|status| !is_loaded(*status)) {
            let why = format!("its status is {}", format!("{status:?}").to_lowercase());
            self.left_out.push((id.to_owned(), why));
            return false;
        }
        let fresh = self.ids.insert(id.to_owned());
        if !fresh && document.file.starts_with(SHIPPED) {
            self.left_out.push((id.to_owned(), "a rule of the site has its id".to_owned()));
        } else if !fresh {
            complaints.say(&At::root(&document.value), format!("another rule has the id `{id}`"));
        }
        fresh
    }

    /// Puts lists in the place of placeholders; gives the contents of those that were used.
    fn expand(&self, detections: &mut Detections, at: &At<'_>, complaints: &mut Complaints) -> String {
        let (mut used, mut absent) = (BTreeSet::new(), BTreeSet::new());
        for detection in detections.named.values_mut() {
            lists::expand(detection, &self.lists, &mut used, &mut absent);
        }
        for name in absent {
            let known = self.lists.keys().map(String::as_str);
            complaints.say(at, super::unknown("list", &name, known));
        }
        used.iter().map(|name| format!("{name}={:?};", self.lists[name])).collect()
    }

    fn finish(mut self) -> Loaded {
        let (compiled, sigma) = self.compiled();
        let mut set = RuleSet::default();
        let (plain, filters) = (std::mem::take(&mut self.plain), std::mem::take(&mut self.filters));
        let drafted = std::mem::take(&mut self.correlations);
        let fed: BTreeSet<&String> =
            drafted.iter().filter(|drafted| !drafted.rule.generate).flat_map(|drafted| &drafted.rule.rules).collect();
        let names =
            |id: &Option<String>, name: &Option<String>| id.iter().chain(name).cloned().collect::<Vec<String>>();
        let mut contents: Vec<(Vec<String>, String)> = Vec::new();
        for (plain, compiled) in plain.iter().zip(&compiled).filter(|(plain, _)| plain.ours) {
            let names = names(&plain.rule.id, &plain.rule.name);
            let content = content(plain, compiled, &filters);
            let silent = names.iter().any(|name| fed.contains(name));
            let mut complaints = Complaints::default();
            let root = At::root(&plain.document.value);
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
            contents.push((names, content));
        }
        self.correlate(drafted, contents, &mut set);
        set.close();
        self.problems.sort();
        self.problems.dedup();
        Loaded { set, problems: self.problems, left_out: self.left_out, sigma }
    }

    pub(super) fn complain(&mut self, document: &Document<'_>, complaints: Complaints) {
        self.problems.extend(complaints.0.into_iter().map(|(path, what)| document.problem(&path, what)));
    }

    /// The rules with what filters add to them, in order.
    fn compiled(&mut self) -> (Vec<CompiledRule>, SigmaCollection) {
        let mut engine = rsigma_eval::Engine::new();
        let rules: Vec<SigmaRule> = self.plain.iter().map(|plain| plain.rule.clone()).collect();
        let mut filters = Vec::new();
        for (document, filter) in &mut self.filters {
            let root = At::root(&document.value);
            let mut complaints = Complaints::default();
            let (mut used, mut absent) = (BTreeSet::new(), BTreeSet::new());
            for detection in filter.detection.named.values_mut() {
                lists::expand(detection, &self.lists, &mut used, &mut absent);
            }
            for name in absent {
                complaints.say(&root, super::unknown("list", &name, self.lists.keys().map(String::as_str)));
            }
            if let FilterRuleTarget::Specific(named) = &filter.rules {
                let at = root.get("filter").unwrap_or(root.clone());
                for name in named {
                    if !rules.iter().any(|rule| rule.id.as_ref() == Some(name) || rule.title == *name) {
                        let known = rules.iter().filter_map(|rule| rule.id.as_deref());
                        complaints.say(&at, super::unknown("rule", name, known));
                    }
                }
            }
            if complaints.0.is_empty() {
                filters.push(filter.clone());
            }
            self.problems.extend(complaints.0.into_iter().map(|(path, what)| document.problem(&path, what)));
        }
        let collection = SigmaCollection { rules, filters, ..SigmaCollection::new() };
        if let Err(error) = engine.add_collection(&collection) {
            let what = format!("a filter cannot be used: {error}");
            let file = self.filters.first().map_or("", |(document, _)| document.file);
            self.problems.push(Problem { file: PathBuf::from(file), line: None, what });
        }
        (engine.rules().to_vec(), collection)
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
        let standing = match head.status {
            Some(rsigma_parser::Status::Experimental) => Standing::Shadow,
            _ => Standing::Live,
        };
        let texts = |key: &str| root.get(key).map(|at| at.texts(&mut Complaints::default())).unwrap_or_default();
        Some(Arc::new(Rule {
            id: head.id.to_owned(),
            title: head.title.to_owned(),
            description: head.description.unwrap_or_default().to_owned(),
            standing,
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
    fn when(&self, at: &At<'_>, complaints: &mut Complaints) -> Option<Condition> {
        let before = complaints.0.len();
        strict::selection(at, complaints);
        let text = |text: &str| Value::String(text.to_owned());
        let detection = [(text("selection"), at.value.clone()), (text("condition"), text("selection"))];
        let whole =
            [(text("title"), text("when")), (text("detection"), Value::Mapping(detection.into_iter().collect()))];
        let parsed = parse(&Value::Mapping(whole.into_iter().collect()));
        if complaints.0.len() > before {
            return None;
        }
        let compiled = parsed.and_then(|mut collection| {
            let first = collection.errors.first().cloned();
            let mut rule = first.map_or_else(|| collection.rules.pop().ok_or("no rule".to_owned()), Err)?;
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

/// One document through the parser of rsigma.
fn parse(value: &Value) -> Result<SigmaCollection, String> {
    let text = yaml_serde::to_string(value).map_err(|error| error.to_string())?;
    parse_sigma_yaml(&text).map_err(|error| error.to_string())
}

fn is_loaded(status: rsigma_parser::Status) -> bool {
    !matches!(status, rsigma_parser::Status::Deprecated | rsigma_parser::Status::Unsupported)
}

/// Complains of what our own rules have to say of themselves and do not.
fn identity(root: &At<'_>, id: &str, complaints: &mut Complaints) {
    let slug = |id: &str| id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if root.get("id").is_none() {
        complaints.say(root, "`id` is missing");
    } else if id.is_empty() || !slug(id) {
        complaints.say(&root.get("id").unwrap_or(root.clone()), "an `id` is made of a-z, 0-9 and hyphens");
    }
    if root.get("status").is_none() {
        complaints.say(root, "`status` is missing: stable, test, experimental, deprecated or unsupported");
    }
}

fn kind(at: &At<'_>, complaints: &mut Complaints) -> Option<Kind> {
    let words = [("access", Some(Kind::Access)), ("vendor_session", Some(Kind::VendorSession)), ("any", None)];
    at.word("category of events", &words, complaints).flatten()
}
