//! The rules of an installation: those of its folder, the shipped ones, or both.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tracing::warn;

use super::{Stop, progress};
use crate::engine::detect;
use crate::engine::rule::fields::column_of;
use crate::engine::rule::foreign::Foreign;
use crate::engine::rule::load::SHIPPED;
use crate::engine::rule::{self, Loaded, Rule, RuleSet, Standing};
use crate::event::Problem;
use crate::ingest::files::FileError;
use crate::ingest::rosters::Files;
use crate::ingest::rules::{read_folder, shipped};
use crate::ingest::values::values;
use crate::notify::routing;
use crate::pipeline::News;
use crate::roster::Roster;
use crate::settings::{Rules, Settings};

/// The files of the rules: those of the folder, and the shipped ones marked as such.
///
/// # Errors
/// Where the folder cannot be read.
pub(super) fn rule_files(rules: &Rules) -> Result<Files, Problem> {
    let own = rules.dir.as_deref().map(|dir| {
        read_folder(dir).map_err(|error| Problem { file: dir.to_owned(), line: None, what: error.to_string() })
    });
    let mut files = own.transpose()?.unwrap_or_default();
    if rules.shipped {
        files.extend(shipped().into_iter().map(|(name, bytes)| (format!("{SHIPPED}{name}"), bytes)));
    }
    Ok(files)
}

/// Loads rules and runs their examples; problems are named by the path of the file.
///
/// # Errors
/// Where the folder cannot be read.
pub fn look_at_rules(rules: &Rules) -> Result<(Files, Loaded), Problem> {
    let files = rule_files(rules)?;
    let mut loaded = rule::load(&files);
    loaded.problems.extend(failing(&loaded.set, &files));
    loaded.problems.sort();
    below(&mut loaded.problems, rules.dir.as_deref());
    Ok((files, loaded))
}

/// Names the files of a site's own rules by their paths.
fn below(problems: &mut [Problem], dir: Option<&Path>) {
    let own = problems.iter_mut().filter(|problem| !problem.file.starts_with(SHIPPED));
    own.zip(dir.into_iter().cycle()).for_each(|(problem, dir)| problem.file = dir.join(&problem.file));
}

/// Rules that are ready to be taken into force.
#[derive(Debug)]
pub(super) struct RulesNow {
    /// The files that they were read from.
    pub files: Files,
    /// The rules.
    pub set: Arc<RuleSet>,
}

impl RulesNow {
    /// Says which of them can never hold because the rosters lack a column; that may come with another dump.
    pub fn complain(&self, settings: &Settings, roster: &Roster) {
        for problem in absent_columns(&settings.rules, &self.set, &self.files, roster) {
            warn!(%problem, "rule");
        }
    }

    /// As an input: what has to be kept of them, without the runbooks.
    pub fn news(self) -> News {
        let files = self.files.into_iter().filter(|(name, _)| !name.ends_with(".md")).collect();
        News::Rules { files, rules: self.set }
    }
}

/// What is noted of a change of the rules: their hashes, and whose open windows are lost by it.
pub(super) fn in_force(now: &RuleSet, before: &RuleSet) -> String {
    let name = |set: &RuleSet| if set.hash().is_empty() { "none".to_owned() } else { set.hash().to_owned() };
    let anew = match now.begun_anew(before) {
        ids if ids.is_empty() => String::new(),
        ids => format!("; windows begin anew: {}", ids.join(", ")),
    };
    format!("new rules are in force ({}, before {}{anew})", name(now), name(before))
}

/// Whether nothing that is in force, no detector, rule or trouble of the operator, is called like this pattern.
pub fn names_nothing(settings: &Settings, pattern: &str) -> bool {
    // What the folder holds is not complained of here: a rule that does not load raises nothing either.
    let files = rule_files(&settings.rules).unwrap_or_default();
    !detections(&rule::load(&files).set).any(|id| routing::names(pattern, &id))
}

/// Everything that alerts may come from: detectors, rules and troubles of the operator.
pub(super) fn detections(rules: &RuleSet) -> impl Iterator<Item = String> {
    let of_detectors = detect::ALL.iter().flat_map(|spec| spec.detections).map(|detection| detection.id.to_owned());
    let of_rules = rules.rules().iter().map(|rule| rule.id.clone());
    of_detectors.chain(of_rules).chain(super::operator::families())
}

/// The rules from there.
///
/// # Errors
/// Every problem in them.
pub(super) fn now(rules: &Rules) -> Result<RulesNow, Stop> {
    let (files, loaded) = look_at_rules(rules).map_err(|problem| Stop::Problems(vec![problem]))?;
    if !loaded.problems.is_empty() {
        return Err(Stop::Problems(loaded.problems));
    }
    Ok(RulesNow { files, set: Arc::new(loaded.set) })
}

/// Columns that rules name and the rosters do not have: such a rule can never hold. Each with the first line that names it.
pub fn absent_columns(rules: &Rules, set: &RuleSet, files: &Files, roster: &Roster) -> Vec<Problem> {
    let absent = set.columns().iter().filter_map(|name| {
        let (table, column) = column_of(name)?;
        let there = roster.extra_columns(table);
        if there.iter().any(|known| known == column) {
            return None;
        }
        let what =
            rule::unknown(&format!("column of {table}.csv in the rosters,"), column, there.iter().map(String::as_str));
        let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().position(|line| line.contains(name.as_str()));
        let place = files.iter().find_map(|(file, bytes)| Some((file, 1 + names(bytes)? as u64)));
        let own = rules.dir.as_deref().unwrap_or(Path::new(""));
        let file = place.map_or_else(|| own.to_owned(), |(file, _)| own.join(file));
        Some(Problem { file, line: place.map(|(_, line)| line), what })
    });
    absent.collect()
}

/// Examples that do not do what they should, and runbooks that a rule names and nobody has written.
fn failing(set: &RuleSet, files: &Files) -> Vec<Problem> {
    let examples = set.rules().iter().flat_map(|rule| rule::example::failing(set, rule, files));
    // Rules of others name none.
    let names_one = |rule: &&Arc<Rule>| ![String::new(), format!("{}.md", rule.id)].contains(&rule.meta.runbook);
    let lost = set.rules().iter().filter(names_one).filter(|rule| !has_runbook(rule, files));
    let lost = lost.map(|rule| Problem {
        file: rule.file.clone().into(),
        line: None,
        what: format!("{} names a runbook that is not there: {}", rule.id, runbook(rule)),
    });
    examples.chain(lost).collect()
}

/// The file of a rule's runbook.
fn runbook(rule: &Rule) -> String {
    let prefix = if rule.file.starts_with(SHIPPED) { SHIPPED } else { "" };
    format!("{prefix}runbooks/{}", rule.meta.runbook)
}

fn has_runbook(rule: &Rule, files: &Files) -> bool {
    let runbook = runbook(rule);
    files.iter().any(|(name, _)| *name == runbook)
}

/// What keeps a rule out of the shipped set although it could be in force: no example of either kind, no runbook.
pub fn unproven(set: &RuleSet, files: &Files, dir: Option<&Path>) -> Vec<Problem> {
    let lacks = |rule: &Rule| {
        [
            (rule.meta.fires.is_empty(), "no example under `fires`".to_owned()),
            (rule.meta.quiet.is_empty(), "no near miss under `quiet`".to_owned()),
            (!has_runbook(rule, files), format!("no runbook {}", runbook(rule))),
        ]
        .into_iter()
        .filter_map(|(lacks, what)| lacks.then_some(what))
        .map(|what| Problem { file: rule.file.clone().into(), line: None, what: format!("{} has {what}", rule.id) })
        .collect::<Vec<_>>()
    };
    // Rules of others have no place for examples, and name no runbook.
    let own = set.rules().iter().filter(|rule| !rule.meta.runbook.is_empty());
    let mut problems: Vec<Problem> = own.flat_map(|rule| lacks(rule)).collect();
    below(&mut problems, dir);
    problems
}

/// Asks the rules of the folder of any JSON: one line a match, with the rule's id and the number of the record from 0.
///
/// # Errors
/// Where the folder or an input cannot be read, or the results cannot be written.
pub fn match_rules(dir: &Path, inputs: &[std::path::PathBuf], out: &mut dyn std::io::Write) -> Result<Matched, Stop> {
    let files = read_folder(dir).map_err(Stop::failed)?;
    let loaded = rule::load(&files);
    let foreign = Foreign::new(&loaded.sigma).map_err(Stop::Failed)?;
    let mut matched = Matched { problems: loaded.problems, ..Matched::default() };
    let mut take = |value: Option<Value>| {
        let record = matched.records;
        matched.records += 1;
        let Some(value) = value else {
            matched.broken += 1;
            return Ok(());
        };
        for id in foreign.fired(&value) {
            matched.matches += 1;
            let line = serde_json::json!({"rule_id": id, "event": record});
            writeln!(out, "{line}").map_err(FileError::write)?;
        }
        Ok(())
    };
    let bar = progress::inputs(inputs)?;
    let done = inputs.iter().try_for_each(|input| values(input, &mut take, &mut |bytes| bar.inc(bytes)));
    bar.finish_and_clear();
    done.map_err(Stop::failed)?;
    out.flush().map_err(Stop::failed)?;
    Ok(matched)
}

/// What came of asking rules of any JSON.
#[derive(Debug, Default)]
pub struct Matched {
    /// Records that were read.
    pub records: u64,
    /// Records that are no JSON.
    pub broken: u64,
    /// Lines that were written.
    pub matches: u64,
    /// Rules that could not be loaded.
    pub problems: Vec<Problem>,
}

/// Writes the shipped rules to a folder that is empty or not there.
///
/// # Errors
/// Where something is in the folder, or it cannot be written.
pub fn export_rules(dir: &Path) -> Result<usize, Stop> {
    let full = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if full {
        return Err(Stop::Usage(format!("{} is not empty; name another folder", dir.display())));
    }
    let files = shipped();
    for (name, bytes) in &files {
        let path = dir.join(name);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|error| Stop::Failed(format!("{}: {error}", path.display())))?;
    }
    Ok(files.len())
}

fn content<'f>(files: &'f Files, name: &str) -> Option<&'f [u8]> {
    files.iter().find(|(other, _)| other == name).map(|(_, bytes)| bytes.as_slice())
}

/// The names of the lists that differ.
fn changed_lists<'f>(old: &'f Files, new: &'f Files) -> BTreeSet<&'f str> {
    let changed = old.iter().chain(new).map(|(name, _)| name).filter(|name| content(old, name) != content(new, name));
    let inner = changed.map(|name| name.strip_prefix(SHIPPED).unwrap_or(name));
    inner.filter_map(|name| name.strip_prefix("lists/")?.strip_suffix(".csv")).collect()
}

/// What differs between two versions of the rules, one line a rule: `+` new, `-` gone, `~` changed and in which keys.
///
/// # Errors
/// Where a folder cannot be read.
pub fn diff_rules(before: &Rules, after: &Rules) -> Result<Vec<String>, Stop> {
    let look = |rules: &Rules| look_at_rules(rules).map_err(|problem| Stop::Problems(vec![problem]));
    let ((old_files, old), (new_files, new)) = (look(before)?, look(after)?);
    let lists = changed_lists(&old_files, &new_files);
    let mut lines = Vec::new();
    for rule in new.set.rules() {
        let standing = if rule.standing == Standing::Shadow { " (shadow)" } else { "" };
        match old.set.get(&rule.id) {
            None => lines.push(format!("+ {}{standing}: {}", rule.id, rule.title)),
            Some(other) if other.hash != rule.hash => {
                let mut keys = rule::changed_keys((other, &old_files), (rule, &new_files));
                let text = String::from_utf8_lossy(content(&new_files, &rule.file).unwrap_or_default());
                let named = lists.iter().filter(|name| text.contains(&format!("%{name}%")));
                keys.extend(named.map(|name| format!("the list {name}")));
                let keys = if keys.is_empty() { "what it leans on".to_owned() } else { keys.join(", ") };
                lines.push(format!("~ {}{standing}: {keys}", rule.id));
            }
            Some(_) => {}
        }
    }
    let gone = old.set.rules().iter().filter(|rule| new.set.get(&rule.id).is_none());
    lines.extend(gone.map(|rule| format!("- {}: {}", rule.id, rule.title)));
    lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
    Ok(lines)
}
