//! Names of fields of other products in ours, so that their rules see native events where that makes sense.
//!
//! A mapping says which rules it translates (`product`, `service`, `category`), which native events they see (`events`) and what their
//! fields are called here (`fields`). A rule that names a field which no mapping has sees no native event.

use std::collections::{BTreeMap, BTreeSet};

use rsigma_parser::{Detection, FilterRule, LogSource, Modifier, SigmaRule, SigmaValue};

use super::Field;
use super::condition::Condition;
use super::mend::{empty_is_absent, mend};
use super::meta::unknown_field;
use super::reading::{At, Complaints};

/// One mapping file.
#[derive(Debug)]
pub struct Mapping {
    product: Option<String>,
    service: Option<String>,
    category: Option<String>,
    /// Only native events that meet this.
    pub events: Option<Condition>,
    fields: BTreeMap<String, String>,
    /// Everything that it says.
    pub content: String,
}

impl Mapping {
    /// Reads a mapping; `compile` makes a condition of what stands under `events`.
    pub fn read(
        root: &At<'_>,
        compile: &mut dyn FnMut(&At<'_>, &mut Complaints) -> Option<Condition>,
        complaints: &mut Complaints,
    ) -> Mapping {
        root.only(&["product", "service", "category", "events", "fields"], complaints);
        let mut source = |key: &str| root.get(key).and_then(|at| at.text(complaints));
        let (product, service, category) = (source("product"), source("service"), source("category"));
        if product.is_none() && service.is_none() && category.is_none() {
            complaints.say(root, "a mapping says `product`, `service` or `category`");
        }
        let mut fields = BTreeMap::new();
        for (foreign, at) in root.get("fields").map(|at| at.entries()).unwrap_or_default() {
            let Some(native) = at.text(complaints) else { continue };
            if Field::find(&native).is_none() {
                complaints.say(&at, unknown_field(&native));
            }
            fields.insert(foreign.to_owned(), native);
        }
        let events = root.get("events").and_then(|at| compile(&at, complaints));
        Mapping { product, service, category, events, fields, content: super::canonical(root.value) }
    }

    /// Whether it translates rules of this source.
    pub fn is_for(&self, source: &LogSource) -> bool {
        let meets = |own: &Option<String>, other: &Option<String>| {
            own.as_ref().is_none_or(|own| other.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(own)))
        };
        meets(&self.product, &source.product)
            && meets(&self.service, &source.service)
            && meets(&self.category, &source.category)
    }

    /// The rule with our names; the fields that it names and the mapping does not have, where there are some.
    ///
    /// # Errors
    /// Those fields.
    pub fn translated(&self, rule: &SigmaRule) -> Result<SigmaRule, BTreeSet<String>> {
        let (mut rule, mut unknown) = (rule.clone(), BTreeSet::new());
        rule.detection.named.values_mut().for_each(|detection| self.translate(detection, &mut unknown));
        if unknown.is_empty() { Ok(rule) } else { Err(unknown) }
    }

    /// A filter in our names; it may name our fields itself.
    ///
    /// # Errors
    /// The fields that no native event has.
    pub fn translated_filter(&self, filter: &FilterRule) -> Result<FilterRule, BTreeSet<String>> {
        let (mut filter, mut unknown) = (filter.clone(), BTreeSet::new());
        filter.detection.named.values_mut().for_each(|detection| self.translate(detection, &mut unknown));
        unknown.retain(|name| Field::find(name).is_none());
        if unknown.is_empty() { Ok(filter) } else { Err(unknown) }
    }

    fn translate(&self, detection: &mut Detection, unknown: &mut BTreeSet<String>) {
        self.rename(detection, unknown);
        empty_is_absent(detection);
        mend(detection);
    }

    fn rename(&self, detection: &mut Detection, unknown: &mut BTreeSet<String>) {
        match detection {
            Detection::AnyOf(parts) | Detection::And(parts) => {
                parts.iter_mut().for_each(|part| self.rename(part, unknown));
            }
            Detection::AllOf(items) => {
                let mut native = |name: &str| {
                    let native = self.fields.get(name).cloned();
                    native.unwrap_or_else(|| {
                        unknown.insert(name.to_owned());
                        name.to_owned()
                    })
                };
                for item in items {
                    item.field.name.iter_mut().for_each(|name| *name = native(name));
                    // There the values are names of fields as well.
                    if item.field.has_modifier(Modifier::FieldRef) {
                        let names =
                            item.values.iter().map(|value| SigmaValue::from_raw_string(&native(&value.to_string())));
                        item.values = names.collect();
                    }
                }
            }
            Detection::Keywords(_) => {}
            // Native events have no lists of objects.
            Detection::ArrayMatch { field, .. } => _ = unknown.insert(field.clone()),
            Detection::Conditional { .. } => _ = unknown.insert("a block over a list".to_owned()),
        }
    }
}
