//! `rules backtest`: which rules are meant, what people found out, and a bar while the history is read.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::rules::rule_files;
use super::{named_rosters, runtime, store};
use crate::app::Stop;
use crate::engine::rule::load::SHIPPED;
use crate::engine::rule::{RuleSet, load, place};
use crate::ingest::rosters::Files;
use crate::ingest::rules::{read_folder, shipped};
use crate::inquiry::backtest::{Backtest, Known, Plan, Progress, backtest};
use crate::inquiry::{Archive, Asked};
use crate::settings::{Rules, Settings};
use crate::store::Filter;

/// Rules below this name are those that were given on the command line.
const GIVEN: &str = "given";

/// What is asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct Backtested {
    /// A file, or the id of a rule in force.
    pub rule: String,
    /// A file, `shipped` or `current`.
    pub against: Option<String>,
    /// `--since`, as it was written.
    pub since: Option<String>,
    /// `--until`, as it was written.
    pub until: Option<String>,
}

impl std::fmt::Display for Backtested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.rule)?;
        let options = [("against", &self.against), ("since", &self.since), ("until", &self.until)];
        options
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
            .try_for_each(|(name, value)| write!(f, " --{name} {value}"))
    }
}

/// Tries rules on the history at `dir`; Ctrl-C ends it with what was found by then.
///
/// # Errors
/// Where the rules cannot be loaded, nothing is there to compare with, or the history cannot be read.
pub fn backtest_rules(settings: &Settings, dir: &Path, asked: &Backtested) -> Result<Backtest, Stop> {
    let runtime = runtime()?;
    // Before anything takes long: who changes their mind in the first second gets an answer, too.
    let stop = interrupted(&runtime).map_err(Stop::failed)?;
    let plan = plan(settings, dir, asked)?;
    let roster = named_rosters(settings)?;
    // The days of people are those of their sites.
    let zone = roster.as_ref().map_or_else(|| settings.default_zone.clone(), |roster| roster.home_zone().clone());
    let question =
        Asked { since: asked.since.clone(), until: asked.until.clone(), roster, zone: Some(zone), ..Asked::default() };
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style =
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} events {eta}").map_err(Stop::failed)?;
    bar.set_style(style);
    let mut go_on = |progress: Progress| {
        bar.set_length(progress.all as u64);
        bar.set_position(progress.passed as u64);
        !stop.load(Ordering::Acquire)
    };
    let found = runtime.block_on(async {
        let archive = Archive::open(dir, &settings.key_source(dir), &question).await?;
        backtest(&archive, &question, &plan, &mut go_on).await
    });
    bar.finish_and_clear();
    Ok(found?)
}

/// Set by the first Ctrl-C. A second one ends the process at once.
fn interrupted(runtime: &tokio::runtime::Runtime) -> std::io::Result<Arc<AtomicBool>> {
    let _inside = runtime.enter();
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    runtime.spawn(async move {
        while interrupts.recv().await.is_some() {
            if told.swap(true, Ordering::AcqRel) {
                std::process::exit(130);
            }
        }
    });
    Ok(stop)
}

fn plan(settings: &Settings, dir: &Path, asked: &Backtested) -> Result<Plan, Stop> {
    let file = Path::new(&asked.rule);
    let rules = if file.is_file() { given(&settings.rules, file)? } else { in_force(&settings.rules, &asked.rule)? };
    let ids: Vec<String> = rules.rules().iter().map(|rule| rule.id.clone()).collect();
    let same = |set: RuleSet| set.only(&|rule| ids.contains(&rule.id));
    let named = |set: &RuleSet, what: &str| match set.rules().is_empty() {
        true => Err(Stop::Usage(format!("no rule of {what} is called {}", ids.join(" or ")))),
        false => Ok(()),
    };
    let against = match asked.against.as_deref() {
        None if file.is_file() => {
            let current = same(load(&rule_files(&settings.rules).map_err(problem)?).set);
            (!current.rules().is_empty()).then(|| ("the version in force".to_owned(), current))
        }
        None => None,
        Some("current") => {
            let current = same(load(&rule_files(&settings.rules).map_err(problem)?).set);
            named(&current, "those in force")?;
            Some(("the version in force".to_owned(), current))
        }
        Some("shipped") => {
            let version = same(load(&shipped()).set);
            named(&version, "the shipped set")?;
            Some(("the shipped version".to_owned(), version))
        }
        Some(path) => {
            let path = Path::new(path);
            if !path.is_file() {
                let what = "is no file; --against takes a file, shipped or current";
                return Err(Stop::Usage(format!("{} {what}", path.display())));
            }
            Some((path.display().to_string(), given(&settings.rules, path)?))
        }
    };
    Ok(Plan {
        name: asked.rule.clone(),
        rules: Arc::new(rules),
        against: against.map(|(name, rules)| (name, Arc::new(rules))),
        per_1000: settings.engine.per_1000_users_per_day,
        known: known(settings, dir)?,
    })
}

fn problem(problem: crate::event::Problem) -> Stop {
    Stop::Problems(vec![problem])
}

/// The rule in force with that id.
fn in_force(rules: &Rules, id: &str) -> Result<RuleSet, Stop> {
    let loaded = load(&rule_files(rules).map_err(problem)?);
    let set = loaded.set.only(&|rule| rule.id == id);
    if set.rules().is_empty() {
        let ids = loaded.set.rules().iter().map(|rule| rule.id.as_str());
        let what = crate::engine::rule::unknown("rule in force", id, ids);
        return Err(Stop::Usage(format!("{id} is no file, and {what}")));
    }
    Ok(set)
}

/// The rules of a file, as if it stood among those in force: it may lean on their lists and rules, and what has the same id gives way.
fn given(rules: &Rules, path: &Path) -> Result<RuleSet, Stop> {
    let failed = |error: std::io::Error| Stop::Failed(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(failed)?;
    let ids = ids_in(&bytes);
    let mut files: Files = rule_files(rules).map_err(problem)?;
    files.retain(|(name, bytes)| name.starts_with(SHIPPED) || ids_in(bytes).iter().all(|id| !ids.contains(id)));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.join("lists").is_dir() {
        let lists = read_folder(&folder.join("lists")).map_err(Stop::failed)?;
        let lists: Files = lists.into_iter().map(|(name, bytes)| (format!("lists/{name}"), bytes)).collect();
        files.retain(|(name, _)| !lists.iter().any(|(list, _)| list == name));
        files.extend(lists);
    }
    let name = format!("{GIVEN}/{}", path.file_name().unwrap_or_default().to_string_lossy());
    files.retain(|(other, _)| *other != name);
    files.push((name.clone(), bytes));
    let mut loaded = load(&files);
    loaded.problems.retain(|problem| problem.file == Path::new(&name));
    loaded.problems.iter_mut().for_each(|problem| problem.file = PathBuf::from(path));
    if !loaded.problems.is_empty() {
        return Err(Stop::Problems(loaded.problems));
    }
    let set = loaded.set.only(&|rule| rule.file == name);
    if set.rules().is_empty() {
        let why = loaded.left_out.iter().find(|(id, _)| ids.contains(id));
        let why = why.map_or("it holds none that speaks of our events".to_owned(), |(id, why)| format!("{id}: {why}"));
        return Err(Stop::Usage(format!("{} holds no rule that can be tried: {why}", path.display())));
    }
    Ok(set)
}

/// The ids of the rules in a file.
fn ids_in(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let id = |document: yaml_serde::Value| document.get("id").and_then(|id| id.as_str()).map(str::to_owned);
    place::documents(text).0.into_iter().filter_map(id).collect()
}

/// What people found out about alerts, where the store is there.
fn known(settings: &Settings, dir: &Path) -> Result<Vec<Known>, Stop> {
    let state = settings.state_dir(dir);
    if !crate::store::Store::is_there(&state) {
        return Ok(Vec::new());
    }
    let listed = store(settings, dir, &state, false)?
        .list(&Filter { ruled: Some(true), ..Filter::default() })
        .map_err(Stop::failed)?;
    let known = listed.into_iter().filter_map(|listed| {
        Some(Known {
            family: listed.alert.family().to_owned(),
            alert_id: listed.alert.alert_id,
            subject: listed.alert.subject,
            day: listed.day,
            ruling: listed.ruling?,
        })
    });
    Ok(known.collect())
}
