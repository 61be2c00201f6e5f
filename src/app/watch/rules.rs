//! The rules in force: taken up when the folder has changed and come to rest, or at once when somebody asks.
//!
//! New rules are loaded to the side and their examples are run; on any problem the old ones stay, and the operator is told.

use tracing::{error, info};

use super::super::operator::{self, Seen};
use super::super::rules::{RulesNow, in_force, now};
use crate::app::Stop;
use crate::engine::Engine;
use crate::ingest::rosters::FolderWatch;
use crate::ingest::rules::watch;
use crate::pipeline::News;
use crate::settings::{Rules, Settings};

/// So many problems are lines of the log.
const LINES: usize = 20;

/// The rules in force.
pub(super) struct RulesInForce {
    sources: Rules,
    watch: Option<FolderWatch>,
    /// Why the newest ones were refused.
    refused: Option<String>,
}

impl RulesInForce {
    pub(super) fn new(sources: Rules) -> RulesInForce {
        let watch = sources.dir.clone().map(watch);
        RulesInForce { sources, watch, refused: None }
    }

    /// New rules, where the files have changed and are sound, with what came of it in words; `before` has those in force.
    pub(super) fn poll(&mut self, settings: &Settings, before: &Engine) -> Option<(Option<News>, String)> {
        match self.watch.as_mut()?.poll() {
            Ok(files) => drop(files?),
            Err(what) => {
                self.refuse(format!("The rules cannot be read; the last ones stay: {what}"));
                return None;
            }
        }
        let (news, words) = self.take(settings, before);
        news.is_some().then_some((news, words))
    }

    /// Reads the rules at once; what came of it, in words.
    pub(super) fn reload(&mut self, settings: &Settings, before: &Engine) -> (Option<News>, String) {
        if self.sources != settings.rules {
            self.sources = settings.rules.clone();
            self.watch = self.sources.dir.clone().map(watch);
        }
        self.take(settings, before)
    }

    fn take(&mut self, settings: &Settings, before: &Engine) -> (Option<News>, String) {
        match now(settings) {
            Ok(rules) => self.accept(rules, settings, before),
            Err(Stop::Problems(problems)) => {
                for problem in problems.iter().take(LINES) {
                    error!(%problem, "rule");
                }
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let count = problems.len();
                self.refuse(format!("The rules have {count} problems and the last ones stay: {first}"));
                (None, format!("the rules were refused ({count} problems) and the last ones stay"))
            }
            Err(Stop::Failed(what) | Stop::Usage(what)) => {
                self.refuse(format!("The rules cannot be read; the last ones stay: {what}"));
                (None, "the rules cannot be read and the last ones stay".to_owned())
            }
        }
    }

    fn accept(&mut self, rules: RulesNow, settings: &Settings, before: &Engine) -> (Option<News>, String) {
        self.refused = None;
        let hash = before.rules().hash();
        if rules.set.hash() == hash {
            return (None, "the rules have not changed".to_owned());
        }
        rules.complain(settings, before.roster());
        let words = in_force(rules.set.hash(), hash);
        info!("{words}");
        (Some(rules.news()), words)
    }

    fn refuse(&mut self, what: String) {
        if self.refused.as_ref() != Some(&what) {
            error!("{what}");
        }
        self.refused = Some(what);
    }

    /// What is wrong with them.
    pub(super) fn wrong(&self) -> Option<Seen> {
        let what = self.refused.clone()?;
        Some(Seen { kind: &operator::RULES_REFUSED, about: "rules".into(), what, count: 0 })
    }
}
