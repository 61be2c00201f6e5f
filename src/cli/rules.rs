//! `phiwatch rules`: detections as code.

use std::io::{BufWriter, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::over::Over;
use super::{Config, Stop};
use crate::app::{self, Backtested};
use crate::engine::rule::fields;
use crate::engine::rule::load::OURS;
use crate::engine::rule::{Loaded, Rule, Standing};
use crate::event::Problem;
use crate::inquiry::Format;
use crate::settings::Rules as Sources;

/// Look at rules, prove them, and try them on records.
#[derive(Args)]
pub struct Rules {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// List the rules in force: those that the settings name, else the shipped ones.
    List {
        #[command(flatten)]
        config: Config,
        /// A folder of rules; overrules the settings.
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
    },
    /// Print the fields that rules can name.
    Fields,
    /// Load the rules of a folder, of whatever product, and name everything that is wrong in them.
    Check {
        /// The folder.
        dir: PathBuf,
    },
    /// Run the examples of the rules of a folder; of the shipped ones without it.
    ///
    /// Each rule needs an example that makes it fire, a near miss that does not, and a runbook.
    Test {
        /// The folder.
        dir: Option<PathBuf>,
    },
    /// Ask rules of any JSON: one line a match, with rule_id and event (number of the record, from 0).
    ///
    /// Inputs are JSON lines, JSON documents or lists of them, each also .gz or .zst; - is standard input. Events of the Windows event
    /// log are read as rules name their fields.
    Match {
        /// The folder of the rules.
        #[arg(long, value_name = "DIR")]
        rules: PathBuf,
        /// What to read.
        #[arg(required = true, value_name = "INPUT")]
        inputs: Vec<PathBuf>,
    },
    /// Show what rules would have said over the time that the history holds, against another version of them.
    ///
    /// Facts are those that were stored with each event. Whole local days are judged. Ctrl-C ends it with what was found by then.
    Backtest {
        #[command(flatten)]
        config: Config,
        /// A file with rules, or the id of a rule in force.
        #[arg(value_name = "RULE")]
        rule: String,
        /// The version to compare with: a file, shipped or current. Where it is absent, a file is compared with the rule in force that
        /// has its id.
        #[arg(long, value_name = "FILE|shipped|current")]
        against: Option<String>,
        #[command(flatten)]
        over: Over,
        /// The same as --format json.
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Show what differs between two folders of rules; between the shipped rules and one folder where only that is given.
    Diff {
        /// The folder; the earlier one where two are given.
        dir: PathBuf,
        /// The later one.
        later: Option<PathBuf>,
    },
    /// Write the shipped rules to a new folder, to be changed there.
    Export {
        /// The folder: empty, or not there yet.
        dir: PathBuf,
    },
}

impl Rules {
    pub(super) fn run(self) -> Result<(), Stop> {
        match self.command {
            What::List { config, rules } => {
                let settings = config.load()?;
                list(&rules.map_or(settings.rules, |dir| Sources { dir: Some(dir), shipped: false }))
            }
            What::Fields => super::say(&fields::reference()),
            What::Check { dir } => check(&dir),
            What::Test { dir } => test(&Sources { shipped: dir.is_none(), dir }),
            What::Match { rules, inputs } => {
                let mut out = BufWriter::new(stdout().lock());
                let matched = app::match_rules(&rules, &inputs, &mut out)?;
                complain(&matched.problems);
                let app::Matched { records, broken, matches, .. } = matched;
                eprintln!("{records} records, {broken} of them no JSON: {matches} matches");
                Ok(())
            }
            What::Backtest { config, rule, against, over, json } => {
                let mut settings = config.load()?;
                settings.rosters = over.rosters.clone().or(settings.rosters);
                let dir = app::history_dir(&settings, over.history.as_ref())?;
                let format = if json { Format::Json } else { over.format()? };
                let Over { since, until, .. } = over;
                let asked = Backtested { rule, against, since, until };
                app::audit(&settings, &dir, "rules backtest", &asked.to_string())?;
                let found = app::backtest_rules(&settings, &dir, &asked)?.render(format);
                super::say(&found.text)?;
                found.aside.iter().for_each(|line| eprintln!("{line}"));
                Ok(())
            }
            What::Diff { dir, later } => {
                let folder = |dir| Sources { dir: Some(dir), shipped: false };
                let (before, after) = match later {
                    Some(later) => (folder(dir), folder(later)),
                    None => (Sources { dir: None, shipped: true }, folder(dir)),
                };
                super::say(
                    &app::diff_rules(&before, &after)?.iter().map(|line| format!("{line}\n")).collect::<String>(),
                )
            }
            What::Export { dir } => {
                eprintln!("{} files written to {}", app::export_rules(&dir)?, dir.display());
                Ok(())
            }
        }
    }
}

fn complain(problems: &[Problem]) {
    problems.iter().for_each(|problem| eprintln!("{problem}"));
}

fn look(sources: &Sources) -> Result<(crate::ingest::rosters::Files, Loaded), Stop> {
    app::look_at_rules(sources).map_err(|problem| Stop::Problems(vec![problem]))
}

fn list(sources: &Sources) -> Result<(), Stop> {
    let (_, loaded) = look(sources)?;
    let width = loaded.set.rules().iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    let mut lines = String::new();
    for rule in loaded.set.rules() {
        let standing = if rule.standing == Standing::Shadow { "shadow" } else { "live" };
        let (class, level) = (rule.meta.class.as_str(), rule.level.as_str());
        lines += &format!("{:width$}  {class:13}  {level:13}  {standing:6}  {}\n", rule.id, rule.title);
    }
    super::say(&lines)?;
    said(&loaded);
    if loaded.problems.is_empty() { Ok(()) } else { Err(Stop::Problems(loaded.problems)) }
}

/// What is to be said beside the rules themselves.
fn said(loaded: &Loaded) {
    for (id, why) in &loaded.left_out {
        eprintln!("{id} is not loaded: {why}");
    }
    let ours = loaded.set.rules().len();
    let is_other = |rule: &&rsigma_parser::SigmaRule| rule.logsource.product.as_deref() != Some(OURS);
    let others = loaded.sigma.rules.iter().filter(is_other).count();
    let hash = if ours > 0 { format!(", hash {}", loaded.set.hash()) } else { String::new() };
    eprintln!("{ours} rules{hash}; {others} of other products");
}

fn check(dir: &std::path::Path) -> Result<(), Stop> {
    let (_, loaded) = look(&Sources { dir: Some(dir.to_owned()), shipped: false })?;
    said(&loaded);
    if loaded.problems.is_empty() { Ok(()) } else { Err(Stop::Problems(loaded.problems)) }
}

fn test(sources: &Sources) -> Result<(), Stop> {
    let (files, loaded) = look(sources)?;
    let mut problems = loaded.problems;
    problems.extend(app::unproven(&loaded.set, &files, sources.dir.as_deref()));
    let examples = |rule: &Rule| rule.meta.fires.len() + rule.meta.quiet.len();
    let count: usize = loaded.set.rules().iter().map(|rule| examples(rule)).sum();
    eprintln!("{} rules, {count} examples", loaded.set.rules().len());
    if problems.is_empty() { Ok(()) } else { Err(Stop::Problems(problems)) }
}
