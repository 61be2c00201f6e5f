//! Dates for rosters that have none: the usual nightly dump is compared with the last accepted version.
//!
//! A new row is valid from the moment of acceptance (from its own date where it carries an earlier one), a changed row closes the old
//! one and opens another, a row that vanished gets an end. Both sides come in canonical form, and so does the answer.

use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::canonical::{self, Lines};
use super::columns::{ACCEPTED_AT, FileSpec, Shape};
use super::keys::Keys;
use super::text::{self, Row};
use crate::event::time::{DAY, Day, Time, Zone};

/// How long rows that are listed, not keyed, are kept after their end: the longest reach of a relation and a few late days.
pub const LISTED_KEPT: i64 = 45 * DAY;

/// The last accepted version of a file, in canonical form, with the dates that `dump`, which has none, brings into it at `at`.
///
/// `spared` are keys whose new row was refused: the old one stays.
pub fn diff(spec: &FileSpec, previous: &[u8], dump: &[u8], spared: &[String], at: Time, zone: &Zone) -> Vec<u8> {
    let side = Sides { spec, at, zone };
    match spec.shape {
        Shape::Single => dump.to_vec(),
        Shape::Keyed(width) => side.keyed(width, previous, dump, spared),
        Shape::Listed => side.listed(previous, dump),
    }
}

struct Sides<'a> {
    spec: &'a FileSpec,
    at: Time,
    zone: &'a Zone,
}

/// A file as cells side by side.
struct Table {
    columns: Vec<String>,
    text: String,
    ends: Vec<usize>,
}

impl Table {
    fn read(spec: &FileSpec, bytes: &[u8]) -> Table {
        let mut table = Table { columns: Vec::new(), text: String::new(), ends: vec![0] };
        let read = text::read(spec, false, bytes, &mut |row| {
            for cell in canonical::cells(spec, row) {
                table.text.push_str(cell);
                table.ends.push(table.text.len());
            }
            Ok(())
        });
        if let Ok(scan) = read {
            table.columns = canonical::columns(spec, &scan.layout);
        }
        table
    }

    fn rows(&self) -> usize {
        (self.ends.len() - 1) / self.columns.len().max(1)
    }

    fn cell(&self, row: usize, column: usize) -> &str {
        let index = row * self.columns.len() + column;
        &self.text[self.ends[index]..self.ends[index + 1]]
    }

    /// The place of each of these columns, where the table has it.
    fn places(&self, columns: &[String]) -> Vec<Option<usize>> {
        columns.iter().map(|name| self.columns.iter().position(|own| own == name)).collect()
    }

    fn cells<'t>(&'t self, row: usize, places: &'t [Option<usize>]) -> impl Iterator<Item = &'t str> {
        places.iter().map(move |place| place.map_or("", |place| self.cell(row, place)))
    }

    fn key(&self, row: usize, width: usize) -> String {
        joined((0..width).map(|column| self.cell(row, column)))
    }
}

/// The cells of a key as one text.
pub fn joined<'c>(cells: impl Iterator<Item = &'c str>) -> String {
    cells.collect::<Vec<_>>().join("\u{1F}")
}

const DATES: [&str; 3] = ["valid_from", "valid_to", ACCEPTED_AT];

impl Sides<'_> {
    fn read(&self, cell: &str, end: bool) -> Option<Time> {
        let day = |day: Day| self.zone.midnight(day.plus(i32::from(end)));
        Time::parse(cell).or_else(|| Day::parse(cell).map(day))
    }

    fn from(&self, cell: &str) -> Time {
        self.read(cell, false).unwrap_or(Time::MIN)
    }

    fn to(&self, cell: &str) -> Time {
        self.read(cell, true).unwrap_or(Time::MAX)
    }

    /// The first own date of a row, where it says one that is not after acceptance.
    fn own_start<'t>(&self, mut cell: impl FnMut(&str) -> &'t str) -> Option<&'t str> {
        let own = self.spec.own_start.iter().map(|column| cell(column)).find(|cell| !cell.is_empty())?;
        (self.from(own) <= self.at).then_some(own)
    }

    fn keyed(&self, width: usize, previous: &[u8], dump: &[u8], spared: &[String]) -> Vec<u8> {
        let (old, new) = (Table::read(self.spec, previous), Table::read(self.spec, dump));
        let mut columns = old.columns.clone();
        columns.extend(new.columns.iter().filter(|name| !old.columns.contains(name)).cloned());
        columns[self.spec.known.len()..].sort();
        let (old_places, new_places) = (old.places(&columns), new.places(&columns));
        let date_places = DATES.map(|name| self.spec.slot(name));

        let mut keys = Keys::default();
        let mut current: Vec<Option<usize>> = Vec::new();
        let mut lines = Lines::new(columns.clone());
        for row in 0..old.rows() {
            let key = keys.put(&old.key(row, width)) as usize;
            current.resize(current.len().max(key + 1), None);
            let from = self.from(old.cell(row, date_places[0]));
            if from > self.at {
                // An undated dump says what holds now, and nothing of a future that an earlier version foresaw.
                continue;
            }
            if self.to(old.cell(row, date_places[1])) > self.at {
                current[key] = Some(row);
            } else {
                lines.push(old.cells(row, &old_places));
            }
        }

        let at = self.at.to_string();
        let same = |a: usize, b: usize| {
            let pairs = old.cells(a, &old_places).zip(new.cells(b, &new_places)).enumerate();
            pairs.filter(|(column, _)| !date_places.contains(column)).all(|(_, (a, b))| a == b)
        };
        let dated = |cell: &mut dyn Iterator<Item = &str>, dates: [&str; 3], lines: &mut Lines| {
            let cells: Vec<&str> = cell.collect();
            let place = |column: usize| date_places.iter().position(|place| *place == column);
            lines.push((0..cells.len()).map(|column| place(column).map_or(cells[column], |index| dates[index])));
        };
        for row in 0..new.rows() {
            let known = keys.find(&new.key(row, width));
            let before = known.and_then(|key| current[key as usize].take());
            if let Some(before) = before {
                if same(before, row) {
                    lines.push(old.cells(before, &old_places));
                    continue;
                }
                self.close(&old, before, &old_places, &at, &mut lines);
            }
            let own = self.own_start(|column| new.cell(row, self.spec.slot(column))).filter(|_| known.is_none());
            let dates = if own.is_some() { [own.unwrap_or(""), "", ""] } else { [at.as_str(), "", at.as_str()] };
            dated(&mut new.cells(row, &new_places), dates, &mut lines);
        }
        for spared in spared.iter().filter_map(|key| keys.find(key)) {
            if let Some(row) = current[spared as usize].take() {
                lines.push(old.cells(row, &old_places));
            }
        }
        for row in current.into_iter().flatten() {
            self.close(&old, row, &old_places, &at, &mut lines);
        }
        lines.finish()
    }

    /// Writes a row with its end at acceptance; a row that began no earlier never held.
    fn close(&self, old: &Table, row: usize, places: &[Option<usize>], at: &str, lines: &mut Lines) {
        let (from, to) = (self.spec.slot("valid_from"), self.spec.slot("valid_to"));
        if self.from(old.cell(row, from)) < self.at {
            lines.push(old.cells(row, places).enumerate().map(|(column, cell)| if column == to { at } else { cell }));
        }
    }

    /// Rows without a key: equal ones go on, new ones begin, vanished ones end and are forgotten when nothing can ask for them.
    fn listed(&self, previous: &[u8], dump: &[u8]) -> Vec<u8> {
        let mut names: Vec<String> = Vec::new();
        let mut fresh: Vec<(u128, bool)> = Vec::new();
        let mut table: HashTable<u32> = HashTable::new();
        let hash_of = |hash: u128| xxh3_64(&hash.to_le_bytes());
        self.each(dump, &mut names, &mut |row| {
            let hash = self.content(row);
            if table.find(hash_of(hash), |index| fresh[*index as usize].0 == hash).is_none() {
                let index = fresh.len() as u32;
                fresh.push((hash, false));
                table.insert_unique(hash_of(hash), index, |index| hash_of(fresh[*index as usize].0));
            }
        });
        self.each(previous, &mut names, &mut |_| {});
        names.sort();
        let columns = self.spec.known.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect();
        let mut lines = Lines::new(columns);
        let at = self.at.to_string();
        let slots = DATES.map(|name| self.spec.slot(name));
        self.each(previous, &mut Vec::new(), &mut |row| {
            let hash = self.content(row);
            let found = table.find(hash_of(hash), |index| fresh[*index as usize].0 == hash);
            let open = self.to(row.get(slots[1]).unwrap_or_default()) > self.at;
            if let Some(index) = found.filter(|index| open && !fresh[**index as usize].1) {
                fresh[*index as usize].1 = true;
                lines.push(self.aligned(row, &names, [None; 3]).into_iter());
            } else if let Some(end) = self.vanished(row, &at) {
                lines.push(self.aligned(row, &names, [None, end, None]).into_iter());
            }
        });
        self.each(dump, &mut Vec::new(), &mut |row| {
            let hash = self.content(row);
            let found = table.find(hash_of(hash), |index| fresh[*index as usize].0 == hash);
            let Some(index) = found.filter(|index| !fresh[**index as usize].1) else { return };
            fresh[*index as usize].1 = true;
            let own = self.spec.own_start.iter().chain(&self.spec.own_end);
            let has_date = own.into_iter().any(|column| row.get(self.spec.slot(column)).is_some());
            let from = (!has_date).then_some(at.as_str());
            lines.push(self.aligned(row, &names, [from, None, from]).into_iter());
        });
        lines.finish()
    }

    fn each(&self, bytes: &[u8], names: &mut Vec<String>, take: &mut dyn FnMut(&Row<'_>)) {
        let read = text::read(self.spec, false, bytes, &mut |row| {
            take(row);
            Ok(())
        });
        if let Ok(scan) = read {
            for (name, _) in scan.layout.extras {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }

    /// Hash of a row without its dates of validity.
    fn content(&self, row: &Row<'_>) -> u128 {
        let mut text = String::new();
        let known = self.spec.known.iter().enumerate().map(|(slot, name)| (*name, row.get(slot)));
        let extras = row.layout.extras.iter().enumerate().map(|(index, (name, _))| (name.as_str(), row.extra(index)));
        for (name, cell) in known.chain(extras) {
            if let Some(cell) = cell.filter(|_| !DATES.contains(&name)) {
                text.extend([name, "\u{1F}", cell, "\u{1E}"]);
            }
        }
        xxh3_128(text.as_bytes())
    }

    /// The row's cells under the known columns and `names`, with other dates where they are given.
    fn aligned<'r>(&self, row: &Row<'r>, names: &[String], dates: [Option<&'r str>; 3]) -> Vec<&'r str> {
        let known = self.spec.known.iter().enumerate().map(|(slot, name)| {
            let date = DATES.iter().position(|date| date == name).and_then(|index| dates[index]);
            date.or(row.get(slot)).unwrap_or_default()
        });
        let extra = |name: &String| {
            let index = row.layout.extras.iter().position(|(own, _)| own == name);
            index.and_then(|index| row.extra(index)).unwrap_or_default()
        };
        known.chain(names.iter().map(extra)).collect()
    }

    /// What becomes of a row that the dump lacks: `None` drops it, else it stays, with an end where one is given.
    fn vanished<'t>(&self, row: &Row<'_>, at: &'t str) -> Option<Option<&'t str>> {
        let cell = |column: &str| row.get(self.spec.slot(column)).unwrap_or_default();
        let own_start = self.spec.own_start.first().map_or("", |column| cell(column));
        let own_end = self.spec.own_end.map_or("", cell);
        let point = self.spec.name == "relations" && own_end.is_empty() && relation_is_brief(cell("kind"));
        let end = if point { self.to(own_start) } else { self.to(own_end) }.min(self.to(cell("valid_to")));
        if self.from(own_start).max(self.from(cell("valid_from"))) >= self.at || end.plus(LISTED_KEPT) <= self.at {
            return None;
        }
        Some((end > self.at).then_some(at))
    }
}

fn relation_is_brief(kind: &str) -> bool {
    !matches!(kind.to_ascii_lowercase().as_str(), "encounter" | "care_team" | "research")
}
