//! Texts to rules, or everything that is wrong in them with file and line.
//!
//! A file holds one or more documents: plain rules, correlations, filters. Ours (`logsource: product: phiwatch`) are read strictly:
//! fields, modifiers, lists and keys have to be known. Those of others are read as rsigma reads them. Names that begin with
//! [`SHIPPED`] are of the shipped set: what has the same id elsewhere wins over them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rsigma_eval::compiler::{CompiledRule, compile_rule};
use rsigma_parser::{
    CorrelationRule, Detections, FilterRule, FilterRuleTarget, SigmaCollection, SigmaRule, parse_sigma_yaml,
};
use yaml_serde::Value;

use super::correlate::Drafted;
use super::filters::{check_filter, is_called};
use super::lists::{self, Lists};
use super::mapping::Mapping;
use super::mend::{empty_is_absent, mend};
use super::meta::Meta;
use super::place::{self, Path};
use super::reading::{At, Complaints};
use super::{RuleSet, strict};
use crate::event::{Kind, Problem};

/// What stands before the names of files of the shipped set.
pub const SHIPPED: &str = "shipped/";

/// The product of rules that are written for us.
pub const OURS: &str = "phiwatch";

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
        if is_yaml && inner.starts_with("mappings/") {
            loading.mapping(name, bytes);
        } else if is_yaml && !inner.starts_with("runbooks/") {
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
    pub(super) fn problem(&self, path: &Path, what: String) -> Problem {
        Problem { file: PathBuf::from(self.file), line: place::line(self.text, self.number, path), what }
    }
}

/// A plain rule on its way.
pub(super) struct Draft<'f> {
    pub(super) document: Document<'f>,
    pub(super) rule: SigmaRule,
    pub(super) ours: bool,
    pub(super) id: String,
    /// Contents of the lists that it names.
    pub(super) lists: String,
}

#[derive(Default)]
pub(super) struct Loading<'f> {
    pub(super) problems: Vec<Problem>,
    pub(super) left_out: Vec<(String, String)>,
    pub(super) lists: Lists,
    pub(super) plain: Vec<Draft<'f>>,
    pub(super) correlations: Vec<Drafted<'f>>,
    pub(super) filters: Vec<(Document<'f>, FilterRule)>,
    pub(super) ids: BTreeSet<String>,
    pub(super) mappings: Vec<Mapping>,
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
        for document in self.documents(file, bytes) {
            self.document(document);
        }
    }

    fn documents(&mut self, file: &'f str, bytes: &'f [u8]) -> Vec<Document<'f>> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let what = "the file is not UTF-8".to_owned();
            self.problems.push(Problem { file: PathBuf::from(file), line: None, what });
            return Vec::new();
        };
        let (documents, broken) = place::documents(text);
        if let Some((line, what)) = broken {
            self.problems.push(Problem { file: PathBuf::from(file), line, what });
        }
        let numbered = documents.into_iter().enumerate().filter(|(_, value)| !value.is_null());
        numbered.map(|(number, value)| Document { file, text, number, value }).collect()
    }

    fn mapping(&mut self, file: &'f str, bytes: &'f [u8]) {
        for document in self.documents(file, bytes) {
            let mut complaints = Complaints::default();
            let root = At::root(&document.value);
            let mapping = Mapping::read(&root, &mut |at, complaints| self.when(at, complaints), &mut complaints);
            if complaints.0.is_empty() {
                self.mappings.push(mapping);
            }
            self.complain(&document, complaints);
        }
    }

    fn document(&mut self, document: Document<'f>) {
        let root = At::root(&document.value);
        let mut complaints = Complaints::default();
        let ours = is_ours(&root);
        if ours {
            strict::keys(&root, &mut complaints);
            for key in ["detection", "filter"] {
                root.get(key).into_iter().for_each(|at| strict::detection(&at, &mut complaints));
            }
            root.get("correlation").into_iter().for_each(|at| strict::correlation(&at, &mut complaints));
        }
        misnamed(&root, &mut complaints);
        let parsed = parse(&document.value);
        let clean = complaints.0.is_empty();
        match parsed {
            Ok(mut collection) => {
                // What was said by name is not said again in the words of the parser.
                for error in collection.errors.drain(..).filter(|_| clean) {
                    complaints.say(&root.blamed(&error), error);
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
            Err(what) if clean => complaints.say(&root.blamed(&what), what),
            Err(_) => {}
        }
        // What else is wrong with it is said now, and not when this is mended.
        if let Some(at) = root.get("phiwatch").filter(|_| !complaints.0.is_empty()) {
            let id = root.get("id").and_then(|id| id.value.as_str()).unwrap_or_default();
            Meta::read(&at, id, &mut |at, complaints| self.when(at, complaints), &mut complaints);
        }
        self.problems.extend(complaints.0.into_iter().map(|(path, what)| document.problem(&path, what)));
    }

    fn rule(&mut self, document: &Document<'f>, mut rule: SigmaRule, ours: bool, complaints: &mut Complaints) {
        let root = At::root(&document.value);
        if let Some(at) = root.get("detection").filter(|_| ours) {
            strict::condition(&at, &rule.detection, complaints);
        }
        if ours {
            rule.detection.named.values_mut().for_each(empty_is_absent);
        }
        let lists = self.expand(&mut rule.detection, &root, complaints);
        let id = rule.id.clone().unwrap_or_else(|| rule.title.clone());
        if ours {
            identity(&root, &id, complaints);
        }
        if !self.is_wanted(document, &id, rule.status, complaints) {
            return;
        }
        // What was said by name is not said again in the words of the compiler.
        if let (Err(error), true) = (compile_rule(&rule), complaints.0.is_empty()) {
            return complaints.say(&root.get("detection").map_or(root.clone(), |at| refused(&at)), error.to_string());
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

    /// Puts lists in the place of placeholders, and mends what rsigma would misread; gives the contents of the lists that were used.
    pub(super) fn expand(&self, detections: &mut Detections, at: &At<'_>, complaints: &mut Complaints) -> String {
        let used = expand(detections, &self.lists, at, complaints);
        used.iter().map(|name| format!("{name}={:?};", self.lists[name])).collect()
    }

    /// The rules with what filters add to them, in order.
    pub(super) fn compiled(&mut self) -> (Vec<CompiledRule>, SigmaCollection) {
        let mut engine = rsigma_eval::Engine::new();
        let rules: Vec<SigmaRule> = self.plain.iter().map(|plain| plain.rule.clone()).collect();
        let mut filters = Vec::new();
        for (document, filter) in &mut self.filters {
            let root = At::root(&document.value);
            let mut complaints = Complaints::default();
            if is_ours(&root) {
                filter.detection.named.values_mut().for_each(empty_is_absent);
            }
            expand(&mut filter.detection, &self.lists, &root, &mut complaints);
            if let FilterRuleTarget::Specific(_) = &filter.rules {
                let named = root.get("filter").and_then(|at| at.get("rules")).map(|at| at.each()).unwrap_or_default();
                for (at, name) in named.iter().filter_map(|at| Some((at, at.value.as_str()?))) {
                    let is_correlation = |one: &Drafted<'_>| {
                        one.id == name || one.rule.name.as_deref() == Some(name) || one.rule.title == name
                    };
                    if self.correlations.iter().any(is_correlation) {
                        complaints.say(
                            at,
                            format!("`{name}` is a correlation: a filter is for plain rules, those that it names"),
                        );
                    } else if !rules.iter().any(|rule| is_called(rule, name)) {
                        let known = rules.iter().filter_map(|rule| rule.id.as_deref());
                        complaints.say(at, super::unknown("rule", name, known));
                    }
                }
            }
            check_filter(&root, filter, &self.plain, &mut complaints);
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
}

/// The first line of a detection that the compiler does not take by itself; the whole where it takes each.
fn refused<'v>(detection: &At<'v>) -> At<'v> {
    let is_taken = |key: &str, value: &Value| {
        let selection = Value::Mapping([(Value::String(key.to_owned()), value.clone())].into_iter().collect());
        selecting(&selection).is_ok_and(|rule| compile_rule(&rule).is_ok())
    };
    let selections = detection.entries().into_iter().filter(|(name, _)| *name != "condition");
    let lines = selections.flat_map(|(_, at)| at.each()).flat_map(|at| at.entries());
    // A placeholder means nothing before its list stands in its place.
    let mut lines = lines.filter(|(key, _)| !key.contains("|expand"));
    lines.find(|(key, at)| !is_taken(key, at.value)).map_or_else(|| detection.clone(), |(_, at)| at)
}

/// The rule that is made of one selection.
pub(super) fn selecting(selection: &Value) -> Result<SigmaRule, String> {
    let text = |text: &str| Value::String(text.to_owned());
    let body = [(text("selection"), selection.clone()), (text("condition"), text("selection"))];
    let whole = [(text("title"), text("when")), (text("detection"), Value::Mapping(body.into_iter().collect()))];
    let mut collection = parse(&Value::Mapping(whole.into_iter().collect()))?;
    match collection.errors.first() {
        Some(error) => Err(error.clone()),
        None => collection.rules.pop().ok_or_else(|| "no rule".to_owned()),
    }
}

/// Puts lists in the place of placeholders, and mends what rsigma would misread; gives the names of the lists that were used.
fn expand(detections: &mut Detections, lists: &Lists, at: &At<'_>, complaints: &mut Complaints) -> BTreeSet<String> {
    let (mut used, mut absent) = (BTreeSet::new(), BTreeSet::new());
    for detection in detections.named.values_mut() {
        lists::expand(detection, lists, &mut used, &mut absent);
        mend(detection);
    }
    say_absent(lists, &absent, at, complaints);
    used
}

/// One document through the parser of rsigma.
pub(super) fn parse(value: &Value) -> Result<SigmaCollection, String> {
    let text = yaml_serde::to_string(value).map_err(|error| error.to_string())?;
    parse_sigma_yaml(&text).map_err(|error| error.to_string())
}

pub(super) fn is_ours(root: &At<'_>) -> bool {
    let product = root.get("logsource").and_then(|at| at.get("product")).and_then(|at| at.value.as_str());
    product == Some(OURS) || root.get("phiwatch").is_some()
}

/// Complains of a product that was meant to be us: such a rule would be taken for one of others, and see nothing.
fn misnamed(root: &At<'_>, complaints: &mut Complaints) {
    let Some(at) = root.get("logsource").and_then(|at| at.get("product")) else { return };
    let near = |product: &str| product != OURS && super::distance(product, OURS) <= 2;
    if let Some(product) = at.value.as_str().filter(|product| near(product)) {
        complaints.say(&at, super::unknown("product", product, std::iter::once(OURS)));
    }
}

/// Complains of lists that are not there, where they are named.
fn say_absent(lists: &Lists, absent: &BTreeSet<String>, at: &At<'_>, complaints: &mut Complaints) {
    let body = ["detection", "filter"].iter().find_map(|key| at.get(key)).unwrap_or_else(|| at.clone());
    for name in absent {
        let place = body.holding(&format!("%{name}%"));
        let what = super::unknown("list", name, lists.keys().map(String::as_str));
        complaints.say(place.as_ref().unwrap_or(at), what);
    }
}

fn is_loaded(status: rsigma_parser::Status) -> bool {
    !matches!(status, rsigma_parser::Status::Deprecated | rsigma_parser::Status::Unsupported)
}

/// Whether alerts of this family are those of a detector, or of what counts in no day.
fn is_taken(id: &str) -> bool {
    let asides = ["backfill", "future", "undeclared"];
    asides.contains(&id) || crate::engine::detect::ALL.iter().any(|spec| spec.family == id)
}

/// Complains of what our own rules have to say of themselves and do not.
fn identity(root: &At<'_>, id: &str, complaints: &mut Complaints) {
    let slug = |id: &str| id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if root.get("id").is_none() {
        complaints.say(root, "`id` is missing");
    } else if id.is_empty() || !slug(id) {
        complaints.say(&root.get("id").unwrap_or(root.clone()), "an `id` is made of a-z, 0-9 and hyphens");
    } else if is_taken(id) {
        let what = format!("the `id` `{id}` is that of a detector's family, whose alerts it would be taken for");
        complaints.say(&root.get("id").unwrap_or(root.clone()), what);
    }
    if root.get("status").is_none() {
        complaints.say(root, "`status` is missing: stable, test, experimental, deprecated or unsupported");
    }
}

pub(super) fn kind(at: &At<'_>, complaints: &mut Complaints) -> Option<Kind> {
    let words = [("access", Some(Kind::Access)), ("vendor_session", Some(Kind::VendorSession)), ("any", None)];
    at.word("category of events", &words, complaints).flatten()
}
