//! The rosters of an installation: what lies in the folder is compared with the version that the history accepted last.
//!
//! So the usual nightly dump without dates becomes dated rows, and a file that lost half of its rows is refused, also across restarts
//! and from one scan to the next.

use std::sync::Arc;

use super::now;
use crate::cli::Stop;
use crate::history::newest_roster;
use crate::ingest::rosters::read_folder;
use crate::pipeline::{Keep, News, Road, RoadError};
use crate::roster::{Accepted, Intake, Loaded, load};
use crate::settings::Settings;

/// Loads the rosters that the settings name, as if for the first time; none is an empty roster.
///
/// # Errors
/// Where the folder cannot be read. Problems in the files are in the answer.
pub fn rosters(settings: &Settings) -> Result<Loaded, Stop> {
    rosters_after(settings, None)
}

/// As [`rosters`], compared with the version that was accepted last.
pub(super) fn rosters_after(settings: &Settings, previous: Option<&Accepted>) -> Result<Loaded, Stop> {
    let folder = settings.rosters.as_deref().map(read_folder).transpose();
    let files = folder.map_err(|error| Stop::Usage(error.to_string()))?.unwrap_or_default();
    // Without a folder the last version stays.
    let allow_shrink = settings.allow_shrink && settings.rosters.is_some();
    let mut loaded = load(&files, settings.default_zone.clone(), &Intake { previous, at: now(), allow_shrink });
    if settings.rosters.is_none() {
        loaded.problems.clear();
    }
    Ok(loaded)
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

/// Puts the settings and the loaded rosters in force where they are others than those that were.
pub(super) fn put_in_force(
    settings: &Settings,
    road: &mut Road<'_>,
    before: Option<&Accepted>,
    loaded: Loaded,
) -> Result<(), RoadError> {
    if before.is_none() || *road.engine.settings() != settings.engine {
        road.hear(now(), News::Settings(Box::new(settings.engine.clone())))?;
    }
    // The same dates mean other moments in another zone.
    let zone = road.engine.roster().zone(None).name() != settings.default_zone.name();
    if zone || before.is_none_or(|before| *before != loaded.accepted) {
        road.hear(now(), news(settings, loaded))?;
    }
    Ok(())
}

pub(super) fn news(settings: &Settings, loaded: Loaded) -> News {
    let zone = settings.default_zone.name().to_owned();
    News::Roster { accepted: loaded.accepted, roster: Arc::new(loaded.roster), zone }
}
