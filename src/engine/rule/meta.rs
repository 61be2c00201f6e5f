//! What stands in a rule under the key `phiwatch`: how its findings are said, about whom, how loudly, and the examples that prove it.

use super::condition::Condition;
use super::place::Path;
use super::reading::{At, Complaints};
use super::sentence::Sentence;
use super::{Field, fields};
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Class, Severity};

/// Whom or what an alert of the rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The account that acted.
    User,
    /// The vendor.
    Vendor,
    /// Each patient.
    Patient,
    /// The workstation.
    Host,
    /// The feed.
    Source,
}

/// Words for [`About`].
pub const ABOUT: [(&str, About); 5] = [
    ("user", About::User),
    ("vendor", About::Vendor),
    ("patient", About::Patient),
    ("host", About::Host),
    ("source", About::Source),
];

/// Words for classes.
pub const CLASSES: [(&str, Class); 3] =
    [("hard", Class::Hard), ("budgeted", Class::Budgeted), ("informational", Class::Informational)];

/// Words for severities, as `level` has them.
pub const LEVELS: [(&str, Severity); 5] = [
    ("informational", Severity::Informational),
    ("low", Severity::Low),
    ("medium", Severity::Medium),
    ("high", Severity::High),
    ("critical", Severity::Critical),
];

/// The keys below `phiwatch`, with what they say.
pub const KEYS: [(&str, &str); 8] = [
    ("sentence", "the sentence of an alert, with {field} or {field|word where it is absent} and counts in braces"),
    ("subject", "whom an alert is about: user, vendor, patient, host or source"),
    ("class", "hard (always told), budgeted (held to the budget) or informational (never interrupts)"),
    ("suppress", "day, or an age such as 4h: hits within it after the last counted one are evidence and nothing more"),
    ("severity", "a list of `when` and `level`: the first that holds for a hit wins, else the rule's own level"),
    ("runbook", "the file below runbooks/; the rule's id and .md where it is absent"),
    ("routing", "words that channels may ask for"),
    ("examples", "`fires` and `quiet`: events that make it fire, and near misses"),
];

/// What stands under `phiwatch`.
#[derive(Debug)]
pub struct Meta {
    /// The sentence of an alert.
    pub sentence: Sentence,
    /// Whom an alert is about.
    pub about: About,
    /// How loudly it is said.
    pub class: Class,
    /// Hits that follow a counted one within so many microseconds are not counted; `None` is the whole local day.
    pub suppress: Option<i64>,
    /// Severity of a hit: the first condition that holds.
    pub severity: Vec<(Condition, Severity)>,
    /// The file below `runbooks/`.
    pub runbook: String,
    /// Words that channels may ask for.
    pub routing: Vec<String>,
    /// Examples that make it fire.
    pub fires: Vec<Example>,
    /// Near misses.
    pub quiet: Vec<Example>,
}

/// Some events of an example, in the order in which they happen.
#[derive(Debug, Clone)]
pub struct Example {
    /// What it shows.
    pub name: String,
    /// Its events: names of fields with what they hold.
    pub events: Vec<Vec<(String, serde_json::Value)>>,
    /// Where it stands.
    pub path: Path,
}

impl Meta {
    /// The runbook as alerts refer to it; rules of others have none.
    pub fn runbook_reference(&self) -> Option<String> {
        let name = self.runbook.strip_suffix(".md").unwrap_or(&self.runbook);
        (!name.is_empty()).then(|| format!("runbook:{name}"))
    }

    /// What holds for a rule of somebody else that says nothing of its own.
    pub fn of_others(title: &str) -> Meta {
        let title = title.replace(['{', '}'], "'");
        let sentence = format!("{title}: {{actor.id|an account not stated}}, {{count|record|records}} of {{source}}.");
        let sentence = Sentence::parse(&sentence).expect("the places are known");
        Meta {
            sentence,
            about: About::User,
            class: Class::Informational,
            suppress: None,
            severity: Vec::new(),
            runbook: String::new(),
            routing: Vec::new(),
            fires: Vec::new(),
            quiet: Vec::new(),
        }
    }

    /// Reads the key `phiwatch` of a rule; `compile` makes a condition of what stands under `when`.
    pub fn read(
        at: &At<'_>,
        id: &str,
        compile: &mut dyn FnMut(&At<'_>, &mut Complaints) -> Option<Condition>,
        complaints: &mut Complaints,
    ) -> Option<Meta> {
        at.only(&KEYS.map(|(key, _)| key), complaints);
        let needed = |key: &str, complaints: &mut Complaints| {
            let found = at.get(key);
            if found.is_none() {
                complaints.say(at, format!("`{key}` is missing under `phiwatch`"));
            }
            found
        };
        let sentence = needed("sentence", complaints);
        let (about, class) = (needed("subject", complaints), needed("class", complaints));
        let sentence = sentence.and_then(|at| read_sentence(&at, complaints));
        let about = about.and_then(|at| at.word("subject", &ABOUT, complaints));
        let class = class.and_then(|at| at.word("class", &CLASSES, complaints));
        let suppress = at.get("suppress").map_or(Some(None), |at| read_suppress(&at, complaints));
        let severity = at.get("severity").map(|at| read_severity(&at, compile, complaints)).unwrap_or_default();
        let runbook = at.get("runbook").and_then(|at| at.text(complaints)).unwrap_or_else(|| format!("{id}.md"));
        let routing = at.get("routing").map(|at| at.texts(complaints)).unwrap_or_default();
        let (fires, quiet) = at.get("examples").map(|at| read_examples(&at, complaints)).unwrap_or_default();
        Some(Meta {
            sentence: sentence?,
            about: about?,
            class: class?,
            suppress: suppress?,
            severity,
            runbook,
            routing,
            fires,
            quiet,
        })
    }

    /// Columns of the rosters that it names.
    pub fn columns(&self) -> Vec<String> {
        let said = self.sentence.fields().filter_map(super::condition::column);
        said.chain(self.severity.iter().flat_map(|(when, _)| when.columns())).collect()
    }

    /// How bad a hit is.
    pub fn severity(&self, level: Severity, row: &super::Row<'_>) -> Severity {
        self.severity.iter().find(|(when, _)| when.holds(row)).map_or(level, |(_, level)| *level)
    }
}

fn read_sentence(at: &At<'_>, complaints: &mut Complaints) -> Option<Sentence> {
    match Sentence::parse(at.text(complaints)?.trim()) {
        Ok(sentence) => Some(sentence),
        Err(what) => {
            complaints.say(at, what);
            None
        }
    }
}

fn read_suppress(at: &At<'_>, complaints: &mut Complaints) -> Option<Option<i64>> {
    let text = at.text(complaints)?;
    if text == "day" {
        return Some(None);
    }
    let units = [("m", MINUTE), ("h", HOUR)];
    let age = units.iter().find_map(|(unit, long)| Some(text.strip_suffix(unit)?.parse::<u16>().ok()? as i64 * long));
    if age.is_none_or(|age| age == 0 || age > 24 * HOUR) {
        complaints.say(at, "`suppress` is `day`, or an age such as `30m` or `4h`, at most `24h`");
        return None;
    }
    Some(age)
}

fn read_severity(
    at: &At<'_>,
    compile: &mut dyn FnMut(&At<'_>, &mut Complaints) -> Option<Condition>,
    complaints: &mut Complaints,
) -> Vec<(Condition, Severity)> {
    let mut cases = Vec::new();
    if at.value.as_sequence().is_none() {
        complaints.say(at, "`severity` is a list of `when` and `level`");
    }
    for case in at.elements() {
        case.only(&["when", "level"], complaints);
        let (when, level) = (case.get("when"), case.get("level"));
        if when.is_none() || level.is_none() {
            complaints.say(&case, "a case of `severity` has `when` and `level`");
        }
        let level = level.and_then(|at| at.word("level", &LEVELS, complaints));
        let when = when.and_then(|at| compile(&at, complaints));
        cases.extend(when.zip(level));
    }
    cases
}

fn read_examples(at: &At<'_>, complaints: &mut Complaints) -> (Vec<Example>, Vec<Example>) {
    at.only(&["fires", "quiet"], complaints);
    let mut side = |key: &str| {
        let all = at.get(key).map(|at| at.elements()).unwrap_or_default();
        all.iter().filter_map(|at| read_example(at, complaints)).collect::<Vec<_>>()
    };
    (side("fires"), side("quiet"))
}

fn read_example(at: &At<'_>, complaints: &mut Complaints) -> Option<Example> {
    at.only(&["name", "events"], complaints);
    let name = at.get("name").and_then(|at| at.text(complaints));
    let events = at.get("events").map(|at| at.elements()).unwrap_or_default();
    if events.is_empty() || name.is_none() {
        complaints.say(at, "an example has a `name` and at least one of `events`");
        return None;
    }
    let events = events.iter().map(|event| {
        let mut given = Vec::new();
        flatten(event, "", &mut given, complaints);
        given
    });
    Some(Example { name: name?, events: events.collect(), path: at.path.clone() })
}

/// The fields of an event of an example, written flat or nested.
fn flatten(at: &At<'_>, prefix: &str, given: &mut Vec<(String, serde_json::Value)>, complaints: &mut Complaints) {
    if at.value.as_mapping().is_none() {
        complaints.say(at, "an event is a map of fields");
    }
    for (key, below) in at.entries() {
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        if below.value.is_mapping() {
            flatten(&below, &name, given, complaints);
            continue;
        }
        if Field::find(&name).is_none() {
            complaints.say(&below, unknown_field(&name));
            continue;
        }
        match serde_json::to_value(below.value) {
            Ok(value) => given.push((name, value)),
            Err(_) => complaints.say(&below, "this is no value of a field"),
        }
    }
}

/// What is said of a field that is not in the vocabulary.
pub fn unknown_field(name: &str) -> String {
    if let Some((file, column)) = fields::column_of(name).filter(|(file, column)| fields::is_standard(file, column)) {
        let facts = fields::ALL.iter().filter_map(|field| field.name.strip_prefix("fact."));
        // `baa_expires_at` is about the fact `baa`; a column that no fact resembles has none named.
        let is_near = |fact: &&str| super::distance(column, fact) <= column.len() / 3 || column.starts_with(fact);
        let nearest = facts.filter(is_near).min_by_key(|fact| super::distance(column, fact));
        let hint = nearest.map_or("`phiwatch rules fields` lists the facts".to_owned(), |nearest| {
            format!("the nearest fact is `fact.{nearest}`")
        });
        return format!(
            "`{column}` is a standard column of {file}.csv, and rules ask for what follows from it at the time of the event; {hint}"
        );
    }
    let tables = ["user.COLUMN", "vendor.COLUMN", "account.COLUMN", "patient.COLUMN"];
    let known = fields::ALL.iter().map(|field| field.name).chain(tables);
    super::unknown("field", name, known)
}
