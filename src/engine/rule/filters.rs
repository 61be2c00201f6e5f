//! What is wrong with filters: rules that they would not touch, and conditions that could not be met.

use rsigma_parser::{FilterRule, FilterRuleTarget, SigmaRule};

use super::load::{Draft, is_ours};
use super::reading::{At, Complaints};
use super::strict;

/// Whether a filter means a rule by this name.
pub(super) fn is_called(rule: &SigmaRule, name: &str) -> bool {
    rule.id.as_deref() == Some(name) || rule.title == name
}

/// Holds a filter on our rules to what our rules are held to, also where it does not say that it is ours.
pub(super) fn check_filter(root: &At<'_>, filter: &FilterRule, plain: &[Draft<'_>], complaints: &mut Complaints) {
    let is_meant = match &filter.rules {
        FilterRuleTarget::Specific(names) => {
            plain.iter().any(|plain| plain.ours && names.iter().any(|name| is_called(&plain.rule, name)))
        }
        FilterRuleTarget::Any => {
            root.get("logsource").is_none() && !plain.is_empty() && plain.iter().all(|plain| plain.ours)
        }
    };
    if let (FilterRuleTarget::Specific(names), Some(source)) = (&filter.rules, &filter.logsource) {
        let meant = plain.iter().filter(|plain| names.iter().any(|name| is_called(&plain.rule, name)));
        let differs = |ours: &Option<String>, theirs: &Option<String>| ours.is_some() && ours != theirs;
        for plain in meant {
            let rule = &plain.rule.logsource;
            let parts = [
                (&source.category, &rule.category),
                (&source.product, &rule.product),
                (&source.service, &rule.service),
            ];
            if parts.iter().any(|(ours, theirs)| differs(ours, theirs)) {
                let at = root.get("logsource").unwrap_or_else(|| root.clone());
                complaints.say(
                    &at,
                    format!("the rule `{}` has another logsource: the filter would change nothing of it", plain.id),
                );
            }
        }
    }
    let Some(at) = root.get("filter").filter(|_| is_meant || is_ours(root)) else { return };
    // What says that it is ours was looked at when it was read.
    if !is_ours(root) {
        strict::keys(root, complaints);
        strict::detection(&at, complaints);
    }
    strict::condition(&at, &filter.detection, complaints);
}
