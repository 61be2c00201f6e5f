//! The bar over input files, by their bytes as they lie on disk: on a terminal, and never in a pipe.

use std::fs;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use super::Stop;

/// A bar over so many bytes, or over nobody knows how many.
///
/// # Errors
/// Never, as long as the template of the bar is sound.
pub fn bytes(total: Option<u64>) -> Result<ProgressBar, Stop> {
    let style =
        ProgressStyle::with_template("{wide_bar} {binary_bytes}/{binary_total_bytes} {eta}").map_err(Stop::failed)?;
    Ok(total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style))
}

/// A bar over inputs whose results go to standard output as they come: where that is a terminal, they are what moves, and a bar would
/// be drawn in the midst of them.
///
/// # Errors
/// As [`bytes()`].
pub fn inputs(inputs: &[PathBuf]) -> Result<ProgressBar, Stop> {
    if stdout().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    // Of standard input and pipes nobody knows the length.
    let length = |input: &PathBuf| fs::metadata(input).ok().filter(fs::Metadata::is_file).map(|about| about.len());
    bytes(inputs.iter().map(length).sum())
}
