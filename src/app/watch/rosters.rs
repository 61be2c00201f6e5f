//! The rosters in force: taken up when the folder has changed and come to rest, or at once when somebody asks.
//!
//! A file that is half-written, unparsable or has shrunk by more than half is refused whole and the last good one stays (see
//! `roster::load`); that, and a folder that nobody renews, is for the operator.

use std::path::PathBuf;

use tracing::{info, warn};

use super::super::monitor::Plan;
use super::super::operator::{self, Seen};
use super::super::rosters::news;
use crate::event::{Problem, Time};
use crate::ingest::rosters::{Files, FolderWatch, read_folder};
use crate::pipeline::News;
use crate::roster::{Accepted, Intake, Loaded, load};
use crate::settings::Settings;

/// The rosters in force.
pub(super) struct Rosters {
    dir: Option<PathBuf>,
    watch: Option<FolderWatch>,
    accepted: Accepted,
    /// Since when they are in force.
    pub since: Time,
    /// Why the newest ones were refused.
    refused: Option<String>,
    /// When the newest file of the folder was written.
    written: Option<Time>,
}

impl Rosters {
    pub(super) fn new(dir: Option<PathBuf>, accepted: Accepted, now: Time) -> Rosters {
        let watch = dir.clone().map(FolderWatch::new);
        let mut rosters = Rosters { dir, watch, accepted, since: now, refused: None, written: None };
        rosters.look();
        rosters
    }

    /// The folder that the settings name now.
    pub(super) fn follow(&mut self, dir: Option<PathBuf>) {
        if self.dir != dir {
            self.watch = dir.clone().map(FolderWatch::new);
            self.dir = dir;
        }
    }

    /// When the newest file was written.
    pub(super) fn look(&mut self) {
        let entries = self.dir.as_ref().and_then(|dir| std::fs::read_dir(dir).ok());
        let newest = entries
            .and_then(|entries| entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok()).max());
        let since = newest.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        self.written = since.map(|since| Time(since.as_micros() as i64));
    }

    /// New rosters, where the files have changed and are whole.
    pub(super) fn poll(&mut self, settings: &Settings, now: Time) -> Option<News> {
        let files = match self.watch.as_mut()?.poll() {
            Ok(files) => files?,
            Err(what) => {
                self.refuse(format!("The rosters cannot be read; the last ones stay: {what}"));
                return None;
            }
        };
        self.take(&files, settings, now)
    }

    /// Reads the folder at once; what came of it, in words.
    pub(super) fn reload(&mut self, settings: &Settings, now: Time) -> (Option<News>, String) {
        let Some(dir) = &self.dir else { return (None, "no rosters are named".to_owned()) };
        let files = match read_folder(dir) {
            Ok(files) => files,
            Err(what) => {
                self.refuse(format!("The rosters cannot be read; the last ones stay: {what}"));
                return (None, "the rosters cannot be read and the last ones stay".to_owned());
            }
        };
        let input = self.take(&files, settings, now);
        let words = match (&input, &self.refused) {
            (Some(_), None) => format!("new rosters are in force ({})", self.accepted.hash()),
            (Some(_), Some(_)) => format!("new rosters are in force ({}), with files refused", self.accepted.hash()),
            (None, None) => "the rosters have not changed".to_owned(),
            (None, Some(_)) => "the rosters were refused and the last ones stay".to_owned(),
        };
        (input, words)
    }

    /// Since when they are old: a file should have been renewed by then.
    pub(super) fn stale(&self, plan: &Plan, now: Time) -> Option<Time> {
        self.written.map(|at| at.plus(plan.stale_after)).filter(|since| *since <= now)
    }

    /// What is wrong with them.
    pub(super) fn wrong(&self, plan: &Plan, now: Time) -> Vec<Seen> {
        let seen = |kind, what: String| Seen { kind, about: "rosters".into(), what, count: 0 };
        let refused = self.refused.clone().map(|what| seen(&operator::ROSTER_REFUSED, what));
        let stale = self.stale(plan, now).map(|since| {
            let at = since.plus(-plan.stale_after);
            let what = format!("No roster file was renewed since {at}: new people and ties are not known.");
            seen(&operator::ROSTER_STALE, what)
        });
        refused.into_iter().chain(stale).collect()
    }

    fn take(&mut self, files: &Files, settings: &Settings, now: Time) -> Option<News> {
        let intake = Intake { previous: Some(&self.accepted), at: now, allow_shrink: false };
        let loaded = load(files, settings.default_zone.clone(), &intake);
        if let Some(watch) = &mut self.watch {
            watch.known(files);
        }
        self.complain(&loaded);
        if loaded.accepted == self.accepted {
            return None;
        }
        info!(hash = loaded.roster.hash(), "new rosters are in force");
        (self.accepted, self.since) = (loaded.accepted.clone(), now);
        Some(news(settings, loaded))
    }

    /// Says what is wrong with the files: some lines in the log, and the files that were refused to the operator.
    fn complain(&mut self, loaded: &Loaded) {
        const LINES: usize = 20;
        for problem in loaded.problems.iter().take(LINES) {
            warn!(%problem, "roster");
        }
        if loaded.problems.len() > LINES {
            warn!(more = loaded.problems.len() - LINES, "roster: `phiwatch check` names every problem");
        }
        let refused: Vec<&str> =
            loaded.counts.iter().filter(|count| count.kept_previous).map(|count| count.file.as_str()).collect();
        self.refused = (!refused.is_empty()).then(|| {
            let why = |file: &&str| {
                // Of all that is wrong with it, what had the file refused.
                let whole =
                    |one: &&Problem| one.file.as_os_str() == *file && one.what.ends_with("the last good one stays");
                loaded.problems.iter().find(whole).map(|problem| problem.what.clone())
            };
            let whys: Vec<String> = refused.iter().filter_map(why).collect();
            format!(
                "Roster files were refused and the last good ones stay: {} ({}). A start with --accept-rosters takes what is there.",
                refused.join(", "),
                whys.join("; ")
            )
        });
    }

    fn refuse(&mut self, what: String) {
        if self.refused.as_ref() != Some(&what) {
            warn!("{what}");
        }
        self.refused = Some(what);
    }
}
