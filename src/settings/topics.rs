//! `[topics.NAME]`: what is known of the records of a topic, of a file, or of a folder of files.

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::Tree;
use super::unknown_format;
use crate::decode::{Format, Hints};
use crate::event::kind::Kind;

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Topic {
    /// `access` or `vendor_session`, where a record does not say.
    carries: Option<String>,
    /// The format of the records; `auto` tells each by its structure.
    format: Option<String>,
    /// The source of FHIR records, in place of the observer that each may name; native records name their own.
    source: Option<String>,
}

/// What is known of the records of a topic, a file or a feed of files.
pub(super) fn read(tree: &mut Tree<'_>, name: &str, topic: Topic) -> Hints {
    let mut hints = Hints::new(name);
    hints.source = topic.source;
    if let Some(text) = topic.carries {
        hints.carries = Kind::parse(&text);
        if hints.carries.is_none() {
            let what = format!("topic {name:?} carries \"access\" or \"vendor_session\", not {text:?}");
            tree.problem(&["topics", name, "carries"], what);
        }
    }
    if let Some(text) = topic.format {
        match Format::parse(&text) {
            Some(format) => hints.format = format,
            None => {
                let what = format!("topic {name:?}: {}", unknown_format(&text));
                tree.problem(&["topics", name, "format"], what);
            }
        }
    }
    hints
}
