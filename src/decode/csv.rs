//! Tables with native column names: what a header means, and the cells of a CSV row as fields.
//!
//! Columns are named as in INTERFACES, section 1, with `.` or `_` (`actor.id`, `actor_id`), in any case. An empty cell is no value; a
//! present but empty `actor.id` is an unresolved identity. Lists are joined with `;`. Columns that are not known go to `raw`.

use std::borrow::Cow;

use super::fields::Fields;
use super::slots::{Column, Rest, RestValue, Slot};
use super::{Limits, Refusal};
use crate::event::Reason;

/// Where the cells of one column go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a native field.
    Field(Column),
    /// They are the object `raw` of events that were decoded before.
    Raw,
    /// To `raw`, under this name.
    Rest(String),
}

/// The columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where each column goes, from left to right.
    pub targets: Vec<Target>,
    /// What makes the header unusable: every row is refused for it.
    pub fault: Option<Refusal>,
}

impl Header {
    /// Reads the names of the columns. A name that stands twice, in any spelling, and too many columns make every row unusable.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>, limits: &Limits) -> Header {
        let targets: Vec<Target> = names.into_iter().map(target).collect();
        let twice = targets.iter().enumerate().find(|(index, target)| targets[..*index].contains(target));
        let fault = match twice {
            _ if targets.len() > limits.fields => Some(Refusal::new(Reason::TooMany)),
            Some((_, Target::Field(column))) => Some(Refusal::of(Reason::Syntax, column.as_str())),
            Some(_) => Some(Refusal::new(Reason::Syntax)),
            None => None,
        };
        Header { targets, fault }
    }

    /// Whether some column is a native field without which no row is an event: it tells a header from other text.
    pub fn is_native(&self) -> bool {
        self.targets.contains(&Target::Field(Column::EventId))
    }

    /// Whether this is no header but a row: no column has a native name, and some begins as times and numbers do.
    pub fn is_row(&self) -> bool {
        let value =
            |target: &Target| matches!(target, Target::Rest(name) if name.starts_with(|c: char| c.is_ascii_digit()));
        self.targets.iter().all(|target| matches!(target, Target::Rest(_))) && self.targets.iter().any(value)
    }

    /// The cells of one row as fields.
    ///
    /// # Errors
    /// [`Reason::Syntax`] where the row has another number of cells than the header, and the fault of the header.
    pub fn fields<'a>(&'a self, cells: &[&'a str]) -> Result<Fields<'a>, Refusal> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if cells.len() != self.targets.len() {
            return Err(Refusal::new(Reason::Syntax));
        }
        let mut fields = Fields::default();
        for (target, cell) in self.targets.iter().zip(cells) {
            place(target, cell, &mut fields);
        }
        Ok(fields)
    }
}

fn target(name: &str) -> Target {
    let bare = name.trim_start_matches('\u{feff}').trim();
    let plain = |text: &str| text.to_ascii_lowercase().replace('.', "_");
    let wanted = plain(bare);
    if wanted == "raw" {
        return Target::Raw;
    }
    let column = Column::ALL.iter().find(|column| plain(column.as_str()) == wanted);
    column.map_or_else(|| Target::Rest(bare.to_owned()), |column| Target::Field(*column))
}

fn place<'a>(target: &'a Target, cell: &'a str, fields: &mut Fields<'a>) {
    match target {
        Target::Field(column) => {
            if let Some(slot) = cell_slot(*column, cell) {
                fields.fill(*column, slot);
            }
        }
        Target::Raw if cell.is_empty() => {}
        Target::Raw if is_object(cell) => fields.raw = Some(cell),
        Target::Raw => fields.rest.push(text_of("raw", cell)),
        Target::Rest(_) if cell.is_empty() => {}
        Target::Rest(name) => fields.rest.push(text_of(name, cell)),
    }
}

fn text_of<'a>(name: &'a str, cell: &'a str) -> Rest<'a> {
    Rest { group: "", key: Cow::Borrowed(name), value: RestValue::Text(Cow::Borrowed(cell)) }
}

/// Whether a text is a JSON object.
pub fn is_object(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A text as the type of its column; `None` where it is empty and no value.
pub fn cell_slot(column: Column, cell: &str) -> Option<Slot<'_>> {
    if cell.is_empty() {
        return (column == Column::ActorId).then_some(Slot::Null);
    }
    Some(match column {
        Column::Patients | Column::Purpose => {
            Slot::List(cell.split(';').map(|part| Cow::Borrowed(part.trim())).collect())
        }
        Column::ResultCount | Column::DetailBytes | Column::DetailFiles => {
            cell.trim().parse().map_or(Slot::Wrong, Slot::Integer)
        }
        Column::ClientRemote | Column::AuthMfa | Column::BreakGlass => {
            match cell.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Slot::Bool(true),
                "false" | "0" | "no" => Slot::Bool(false),
                _ => Slot::Wrong,
            }
        }
        _ => Slot::Text(Cow::Borrowed(cell)),
    })
}
