//! The rules in force: taken up when the folder has changed and come to rest, or at once when somebody asks.
//!
//! New rules are loaded on a thread of their own and their examples are run there; on any problem the old ones stay, and the operator is
//! told.

use std::thread::JoinHandle;

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
    /// New ones are being loaded.
    loading: Option<JoinHandle<Result<RulesNow, Stop>>>,
    /// Somebody wants them to be read, and to hear what came of it.
    asked: bool,
    /// Why the newest ones were refused.
    refused: Option<String>,
}

/// What came of a look at the folder.
#[derive(Default)]
pub(super) struct Looked {
    /// New rules.
    pub(super) news: Option<News>,
    /// What came of them, in words, where somebody had asked.
    pub(super) answer: Option<String>,
}

impl RulesInForce {
    pub(super) fn new(sources: Rules) -> RulesInForce {
        let watch = sources.dir.clone().map(watch);
        RulesInForce { sources, watch, loading: None, asked: false, refused: None }
    }

    /// Whether new ones are being loaded.
    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// The rules are to be read at once, from where the settings say now; the answer comes with a later [`RulesInForce::poll`].
    pub(super) fn ask(&mut self, settings: &Settings) {
        if self.sources != settings.rules {
            self.sources = settings.rules.clone();
            self.watch = self.sources.dir.clone().map(watch);
        }
        self.asked = true;
    }

    /// New rules, where the files have changed and are sound, or somebody has asked; `before` has those in force. They are loaded and
    /// their examples run on a thread of its own: the engine waits for nothing.
    pub(super) fn poll(&mut self, settings: &Settings, before: &Engine) -> Looked {
        if let Some(thread) = self.loading.take_if(|thread| thread.is_finished()) {
            let loaded = thread.join().unwrap_or_else(|_| Err(Stop::Failed("phiwatch met a bug".to_owned())));
            let (news, words) = self.take(loaded, settings, before);
            return Looked { news, answer: std::mem::take(&mut self.asked).then_some(words) };
        }
        if self.is_loading() {
            return Looked::default();
        }
        let changed = match self.watch.as_mut().map(FolderWatch::poll).transpose() {
            Ok(files) => files.flatten().is_some(),
            Err(what) => {
                // When it is there again it is read again, changed or not: then nothing is wrong any more.
                self.watch.iter_mut().for_each(FolderWatch::forget);
                self.refuse(format!("The rules cannot be read; the last ones stay: {what}"));
                false
            }
        };
        if changed || self.asked {
            let sources = self.sources.clone();
            let load = move || now(&sources);
            match std::thread::Builder::new().name("rules".to_owned()).spawn(load) {
                Ok(thread) => self.loading = Some(thread),
                // The folder is looked at anew next time.
                Err(error) => {
                    self.watch = self.sources.dir.clone().map(watch);
                    self.refuse(format!("The rules cannot be read; the last ones stay: {error}"));
                }
            }
        }
        Looked::default()
    }

    fn take(&mut self, loaded: Result<RulesNow, Stop>, settings: &Settings, before: &Engine) -> (Option<News>, String) {
        match loaded {
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
        let words = in_force(&rules.set, before.rules());
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
