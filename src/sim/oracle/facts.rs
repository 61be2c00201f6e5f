//! Facts as text, under the names of the history's columns: what is compared with what was stored.

use std::collections::BTreeMap;

/// Column (without `fact_`) and value; what is not known is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts(pub BTreeMap<&'static str, String>);

impl Facts {
    /// Sets a text.
    pub fn set(&mut self, column: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.insert(column, value.to_owned());
        }
    }

    /// Sets a truth value.
    pub fn truth(&mut self, column: &'static str, value: Option<bool>) {
        self.set(column, value.map(|value| if value { "true" } else { "false" }));
    }

    /// Sets a list, whose elements may be unknown.
    pub fn list(&mut self, column: &'static str, values: impl IntoIterator<Item = Option<String>>) {
        let values: Vec<String> = values.into_iter().map(|value| value.unwrap_or_else(|| "-".to_owned())).collect();
        self.set(column, Some(&values.join("|")));
    }

    /// A value.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }
}
