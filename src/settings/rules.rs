//! Where rules come from.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::Tree;

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenRules {
    /// The folder of the site's own rules, which then are the only ones; a relative path begins at the folder of the settings file.
    dir: Option<PathBuf>,
    /// Takes the shipped rules beside those of the folder; a rule of the folder with the same id wins.
    shipped: Option<bool>,
}

/// Where rules come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The folder of the site's own.
    pub dir: Option<PathBuf>,
    /// The shipped ones are in force, too.
    pub shipped: bool,
}

/// What was written, in words that hold.
pub(super) fn read(tree: &mut Tree<'_>, folder: &Path, written: WrittenRules) -> Rules {
    let dir = written.dir.map(|dir| folder.join(dir));
    if let Some(dir) = dir.as_ref().filter(|dir| !dir.is_dir()) {
        tree.problem(&["rules", "dir"], format!("the folder of the rules {} does not exist", dir.display()));
    }
    Rules { shipped: written.shipped.unwrap_or(dir.is_none()), dir }
}
