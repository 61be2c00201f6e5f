//! The rosters of an installation: what lies in the folder is compared with the version that the history accepted last.
//!
//! So the usual nightly dump without dates becomes dated rows, and a file that lost half of its rows is refused, also across restarts
//! and from one scan to the next.

use std::path::Path;
use std::sync::Arc;

use super::rules::{self, RulesNow};
use super::{now, runtime};
use crate::app::Stop;
use crate::event::Problem;
use crate::history::{Reader, newest_roster};
use crate::ingest::rosters::read_folder;
use crate::inquiry::kept_roster;
use crate::pipeline::{Keep, News, Road};
use crate::roster::{Accepted, Intake, Loaded, Roster, load};
use crate::settings::Settings;

/// Loads the rosters that the settings name, as if for the first time; none is an empty roster.
///
/// # Errors
/// Where the settings name a folder that cannot be read or that holds no usable `users.csv`: to go on would make a stranger of
/// everybody. Other problems in the files are in the answer.
pub fn rosters(settings: &Settings) -> Result<Loaded, Stop> {
    rosters_after(settings, None)
}

/// As [`rosters`], ready to be asked; `None` where the settings name no folder.
///
/// # Errors
/// As [`rosters`].
pub fn named_rosters(settings: &Settings) -> Result<Option<Arc<Roster>>, Stop> {
    settings.rosters.as_ref().map(|_| rosters(settings).map(|loaded| Arc::new(loaded.roster))).transpose()
}

/// As [`rosters`], compared with the version that was accepted last.
pub(super) fn rosters_after(settings: &Settings, previous: Option<&Accepted>) -> Result<Loaded, Stop> {
    let loaded = look_at_rosters(settings, previous).map_err(|problem| Stop::Problems(vec![problem]))?;
    match nobody(settings, &loaded) {
        Some(problem) => Err(Stop::Problems(loaded.problems.into_iter().chain([problem]).collect())),
        None => Ok(loaded),
    }
}

/// As [`rosters`], however little is in them; problems are named by the path of the file.
///
/// # Errors
/// Where the folder cannot be read.
pub fn look_at_rosters(settings: &Settings, previous: Option<&Accepted>) -> Result<Loaded, Problem> {
    let read = settings.rosters.as_deref().map(|dir| {
        read_folder(dir).map_err(|error| Problem { file: dir.to_owned(), line: None, what: error.to_string() })
    });
    let files = read.transpose()?.unwrap_or_default();
    // Without a folder the last version stays.
    let allow_shrink = settings.allow_shrink && settings.rosters.is_some();
    let mut loaded = load(&files, settings.default_zone.clone(), &Intake { previous, at: now(), allow_shrink });
    match &settings.rosters {
        Some(dir) => loaded.problems.iter_mut().for_each(|problem| problem.file = dir.join(&problem.file)),
        None => loaded.problems.clear(),
    }
    Ok(loaded)
}

/// The problem of a folder that is named and knows nobody.
pub fn nobody(settings: &Settings, loaded: &Loaded) -> Option<Problem> {
    let dir = settings.rosters.as_ref()?;
    let what = "the roster folder holds no users.csv with a usable row: every account would be unknown";
    let empty = loaded.roster.user_ids().next().is_none();
    empty.then(|| Problem { file: dir.clone(), line: None, what: what.to_owned() })
}

/// Who people are, for showing: the rosters that the settings name, else the newest that the history at `dir` keeps.
///
/// # Errors
/// Where the named rosters cannot be used, or the history cannot be read.
pub fn people(settings: &Settings, dir: &Path) -> Result<Option<Arc<Roster>>, Stop> {
    if let Some(named) = named_rosters(settings)? {
        return Ok(Some(named));
    }
    let key = settings.key_source(dir);
    let reader = runtime()?.block_on(Reader::open(dir, &key)).map_err(Stop::failed)?;
    let kept = kept_roster(&reader, &settings.default_zone).map_err(Stop::failed)?;
    Ok(kept.map(Arc::new))
}

/// The roster version with which the next `run` compares: the last that the history of the settings accepted, where that can be read.
pub fn accepted_last(settings: &Settings) -> Option<Accepted> {
    settings.rosters.as_ref()?;
    let dir = &settings.history.as_ref()?.dir;
    let reader = runtime().ok()?.block_on(Reader::open(dir, &settings.key_source(dir))).ok()?;
    Accepted::from_bytes(&reader.newest_roster().ok()??)
}

/// The roster version that this history accepted last.
pub(super) fn accepted(keep: &Keep) -> Result<Option<Accepted>, Stop> {
    let changes = keep.history.changes().map_err(Stop::failed)?;
    let Some((hash, _)) = newest_roster(&changes) else { return Ok(None) };
    let bytes = keep.history.roster(hash).map_err(Stop::failed)?;
    let damaged = || Stop::Failed(format!("the roster version {hash} in the history is damaged"));
    Accepted::from_bytes(&bytes).map(Some).ok_or_else(damaged)
}

/// Says what is wrong with the rosters; they are used as far as they can be.
pub(super) fn complain(loaded: &Loaded) {
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    if loaded.counts.iter().any(|count| count.kept_previous) {
        eprintln!("A roster file was refused and the last good one stays; --accept-rosters takes what is there.");
    }
}

/// Puts the settings, the loaded rosters and the rules in force where they are others than those that were.
pub(super) fn put_in_force(
    settings: &Settings,
    road: &mut Road<'_>,
    before: Option<&Accepted>,
    loaded: Loaded,
    rules: RulesNow,
) -> Result<(), Stop> {
    if before.is_none() || *road.engine.settings() != settings.engine {
        road.hear(now(), News::Settings(Box::new(settings.engine.clone()))).map_err(Stop::failed)?;
    }
    // The same dates mean other moments in another zone.
    let zone = road.engine.roster().zone(None).name() != settings.default_zone.name();
    let kept = settings.history.as_ref().filter(|_| road.keep.is_some());
    let audit = |act: &str, words: &str| kept.map_or(Ok(()), |kept| super::audit(settings, &kept.dir, act, words));
    let refused = loaded.counts.iter().filter(|count| count.kept_previous).map(|count| count.file.as_str());
    let refused: Vec<&str> = refused.collect();
    if !refused.is_empty() {
        audit("rosters", &format!("refused, and the last good ones stay: {}", refused.join(", ")))?;
    }
    if zone || before.is_none_or(|before| *before != *loaded.accepted) {
        let words = in_force(&loaded.roster, settings.allow_shrink);
        road.hear(now(), news(settings, loaded)).map_err(Stop::failed)?;
        audit("rosters", &words)?;
    }
    if road.engine.rules().hash() != rules.set.hash() {
        let words = rules::in_force(&rules.set, road.engine.rules());
        road.hear(now(), rules.news()).map_err(Stop::failed)?;
        audit("rules", &words)?;
    }
    Ok(())
}

/// What the self-audit says of new rosters.
pub(super) fn in_force(roster: &Roster, accepts_all: bool) -> String {
    let how = if accepts_all { ", taken as they are by --accept-rosters" } else { "" };
    format!("new rosters are in force ({}{how})", roster.hash())
}

pub(super) fn news(settings: &Settings, loaded: Loaded) -> News {
    let zone = settings.default_zone.name().to_owned();
    News::Roster { accepted: loaded.accepted, roster: Arc::new(loaded.roster), zone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_has_to_know_somebody() {
        let check = |files: &[(&str, &str)], expected: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
            let mut settings = Settings::default();
            settings.rosters = Some(dir.path().to_owned());
            let problems = match rosters(&settings) {
                Ok(_) => Vec::new(),
                Err(Stop::Problems(problems)) => problems,
                Err(other) => panic!("{other:?}"),
            };
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(said.len(), expected.len(), "{said:?}");
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.starts_with(&dir.path().display().to_string()) && said.contains(expected), "{said}");
            }
        };
        check(&[("users.csv", "user_id,role\nu1,nurse\n")], &[]);
        check(&[], &["users.csv", "no users.csv with a usable row"]);
        let bad = "user_id,status\nu1,asleep\n";
        check(&[("users.csv", bad)], &["users.csv:2", "no users.csv with a usable row"]);
        let mut missing = Settings::default();
        missing.rosters = Some("/nonexistent/rosters".into());
        assert!(matches!(rosters(&missing), Err(Stop::Problems(problems)) if problems.len() == 1));
        assert!(rosters(&Settings::default()).unwrap().roster.is_empty(), "where none is named, nobody is known");
    }
}
