//! SIGHUP: reads the settings file again. What can change while `run` runs is taken over; of all else it is said that it needs a restart.
//!
//! A file that has become invalid changes nothing.

use std::path::Path;

use tracing::error;

use crate::settings::Settings;

/// Reads the file at `path` again: what came of it in words, and what was wrong where something was.
pub(super) fn settings(path: &Path, settings: &mut Settings) -> (String, Option<String>) {
    match Settings::load(path) {
        Err(problems) => {
            for problem in &problems {
                error!(%problem, "settings");
            }
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            let what = format!("The settings have {} problems and the old ones stay: {first}", problems.len());
            (format!("the settings were refused ({} problems) and the old ones stay", problems.len()), Some(what))
        }
        Ok(new) => {
            let restart = settings.restart_for(&new);
            settings.take_over(new);
            let words = match restart.as_slice() {
                [] => "the settings are in force".to_owned(),
                some => format!("a restart is needed for what has changed in {}", some.join(", ")),
            };
            (words, None)
        }
    }
}
