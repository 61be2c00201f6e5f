//! What is wrong with filters: rules that they would not touch, and conditions that could not be met.

use rsigma_parser::{FilterRule, FilterRuleTarget, SigmaRule};

use super::load::{Draft, is_ours};
use super::reading::{At, Complaints};
use super::strict;

/// Whether a filter means a rule by this name.
pub(super) fn is_called(rule: &SigmaRule, name: &str) -> bool {
    rule.id.as_deref() == Some(name) || rule.title == name
}

/// Whether a filter may change what a rule finds.
pub(super) fn is_for(filter: &FilterRule, rule: &SigmaRule) -> bool {
    let is_named = match &filter.rules {
        FilterRuleTarget::Specific(names) => names.iter().any(|name| is_called(rule, name)),
        FilterRuleTarget::Any => true,
    };
    is_named && !is_elsewhere(filter, rule)
}

/// Holds a filter on our rules to what our rules are held to, also where it does not say that it is ours.
pub(super) fn check_filter(root: &At<'_>, filter: &FilterRule, plain: &[Draft<'_>], complaints: &mut Complaints) {
    let is_meant = match &filter.rules {
        FilterRuleTarget::Specific(names) => {
            let is_named = |plain: &&Draft<'_>| names.iter().any(|name| is_called(&plain.rule, name));
            let named: Vec<_> = plain.iter().filter(is_named).collect();
            for other in named.iter().filter(|plain| is_elsewhere(filter, &plain.rule)) {
                let at = root.get("logsource").unwrap_or_else(|| root.clone());
                let what = "has another logsource: the filter would change nothing of it";
                complaints.say(&at, format!("the rule `{}` {what}", other.id));
            }
            named.iter().any(|plain| plain.ours)
        }
        FilterRuleTarget::Any => {
            root.get("logsource").is_none() && !plain.is_empty() && plain.iter().all(|plain| plain.ours)
        }
    };
    let Some(at) = root.get("filter").filter(|_| is_meant || is_ours(root)) else { return };
    // What says that it is ours was looked at when it was read.
    if !is_ours(root) {
        strict::keys(root, complaints);
        strict::detection(&at, complaints);
    }
    strict::condition(&at, &filter.detection, complaints);
}

/// Whether the logsource of a filter says something that the rule's does not.
fn is_elsewhere(filter: &FilterRule, rule: &SigmaRule) -> bool {
    let Some(source) = &filter.logsource else { return false };
    let parts = [
        (&source.category, &rule.logsource.category),
        (&source.product, &rule.logsource.product),
        (&source.service, &rule.logsource.service),
    ];
    parts.iter().any(|(asked, has)| asked.is_some() && asked != has)
}
