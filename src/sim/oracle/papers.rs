//! Roster files as plain rows of text, looked up by walking them: no interning, no numbers, no order but that of the rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Day, Time, Zone};

/// The filled cells of a row, by column.
pub type Row = BTreeMap<String, String>;

/// The column that says what a row is about.
const KEYS: [(&str, &str); 9] = [
    ("users", "user_id"),
    ("vendors", "vendor_id"),
    ("vendor_accounts", "account_id"),
    ("patients", "patient_id"),
    ("relations", "patient_id"),
    ("shifts", "user_id"),
    ("approvals", "approval_ref"),
    ("entitlements", "user_id"),
    ("sites", "site"),
];

/// All roster files.
pub struct Papers {
    /// `default_timezone`.
    pub zone: Zone,
    /// Zones by their names: to read one takes longer than all else here.
    known: BTreeMap<String, Zone>,
    rows: BTreeMap<&'static str, BTreeMap<String, Vec<Row>>>,
    /// Record numbers by the one that lives on.
    aliases: BTreeMap<String, Vec<String>>,
    lives_on: BTreeMap<String, String>,
    /// Own charts by person, and people by own chart.
    persons: BTreeMap<String, String>,
    charts: BTreeMap<String, BTreeSet<String>>,
}

/// A filled cell.
pub fn cell<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    row.get(column).map(String::as_str)
}

impl Papers {
    /// Takes CSV files by name; rows without their key are left out.
    pub fn new(files: &[(String, Vec<u8>)], zone: Zone) -> Papers {
        let mut rows: BTreeMap<&'static str, BTreeMap<String, Vec<Row>>> = BTreeMap::new();
        for (file, key) in KEYS {
            let Some((_, bytes)) = files.iter().find(|(name, _)| name == &format!("{file}.csv")) else { continue };
            let mut reader = csv::Reader::from_reader(bytes.as_slice());
            for row in reader.deserialize::<Row>() {
                let mut row = row.expect("the simulator writes CSV");
                row.retain(|_, cell| !cell.trim().is_empty());
                if let Some(about) = row.get(key).cloned() {
                    rows.entry(file).or_default().entry(about).or_default().push(row);
                }
            }
        }
        let (aliases, lives_on) = (BTreeMap::new(), BTreeMap::new());
        let named = |row: &Row| Some((cell(row, "timezone")?.to_owned(), Zone::get(cell(row, "timezone")?)?));
        let known = rows.values().flat_map(|rows| rows.values().flatten()).filter_map(named).collect();
        let mut papers =
            Papers { zone, known, rows, aliases, lives_on, persons: BTreeMap::new(), charts: BTreeMap::new() };
        papers.merge();
        papers.staff();
        papers
    }

    /// The rows of a file about one thing.
    pub fn about(&self, file: &'static str, key: &str) -> &[Row] {
        self.rows.get(file).and_then(|rows| rows.get(key)).map_or(&[], Vec::as_slice)
    }

    /// Whether the file has any row.
    pub fn has(&self, file: &'static str) -> bool {
        self.rows.contains_key(file)
    }

    /// All rows of a file.
    pub fn all(&self, file: &'static str) -> impl Iterator<Item = &Row> {
        self.rows.get(file).into_iter().flat_map(|rows| rows.values().flatten())
    }

    /// The zone of a site; the default where it is unknown or not given.
    pub fn zone(&self, site: Option<&str>) -> Zone {
        let row = site.and_then(|site| self.about("sites", site).first());
        row.and_then(|row| self.own_zone(row)).unwrap_or_else(|| self.zone.clone())
    }

    /// The zone that a row names.
    pub fn own_zone(&self, row: &Row) -> Option<Zone> {
        self.known.get(cell(row, "timezone")?).cloned()
    }

    /// The zones of all sites and the default.
    pub fn zones(&self) -> Vec<Zone> {
        let sites = self.all("sites").filter_map(|row| self.own_zone(row));
        sites.chain([self.zone.clone()]).collect()
    }

    /// Whether the date is a holiday of the site.
    pub fn holiday(&self, site: Option<&str>, day: Day) -> bool {
        let row = site.and_then(|site| self.about("sites", site).first());
        let dates = row.and_then(|row| cell(row, "holidays")).unwrap_or_default();
        dates.split(';').any(|date| Day::parse(date.trim()) == Some(day))
    }

    /// A moment in a cell; a plain date is its midnight, as an end the end of that day.
    pub fn moment(&self, row: &Row, column: &str, end: bool) -> Option<Time> {
        let text = cell(row, column)?;
        let zone = self.zone(cell(row, "site"));
        match Day::parse(text) {
            Some(day) => Some(zone.midnight(day.plus(i32::from(end)))),
            None => Time::parse(text),
        }
    }

    /// From when and until when a row is valid.
    pub fn validity(&self, row: &Row) -> (Time, Time) {
        let from = self.moment(row, "valid_from", false).unwrap_or(Time::MIN);
        (from, self.moment(row, "valid_to", true).unwrap_or(Time::MAX))
    }

    /// The row that is valid then, and true; else the one that ended last, else the first to come, and false.
    pub fn as_of(&self, file: &'static str, key: &str, at: Time) -> Option<(&Row, bool)> {
        let mut rows: Vec<(&Row, (Time, Time))> =
            self.about(file, key).iter().map(|row| (row, self.validity(row))).collect();
        rows.sort_by_key(|(_, (from, _))| *from);
        let valid = rows.iter().find(|(_, (from, to))| *from <= at && at < *to);
        let ended = rows.iter().rev().find(|(_, (_, to))| *to <= at);
        match (valid, ended) {
            (Some((row, _)), _) => Some((row, true)),
            (None, Some((row, _))) => Some((row, false)),
            (None, None) => rows.first().map(|(row, _)| (*row, false)),
        }
    }

    /// The record number that lives on.
    pub fn living<'p>(&'p self, patient: &'p str) -> &'p str {
        self.lives_on.get(patient).map_or(patient, String::as_str)
    }

    /// All record numbers of a patient, the one that lives on included.
    pub fn numbers<'p>(&'p self, living: &'p str) -> Vec<&'p str> {
        let others = self.aliases.get(living).into_iter().flatten().map(String::as_str);
        others.chain([living]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Users whose own chart this is.
    pub fn staff_of(&self, living: &str) -> impl Iterator<Item = &str> {
        self.charts.get(living).into_iter().flatten().map(String::as_str)
    }

    /// The own chart of a user's row, found through the person's other accounts where the row names none.
    pub fn own_chart<'p>(&'p self, row: &'p Row) -> Option<&'p str> {
        if let Some(own) = cell(row, "patient_id") {
            return Some(self.living(own));
        }
        self.persons.get(cell(row, "person_id")?).map(String::as_str)
    }

    fn merge(&mut self) {
        let next: BTreeMap<String, String> = self
            .all("patients")
            .filter_map(|row| Some((cell(row, "patient_id")?.to_owned(), cell(row, "merged_into")?.to_owned())))
            .collect();
        for first in next.keys() {
            let (mut here, mut seen) = (first, BTreeSet::from([first]));
            let end = loop {
                match next.get(here) {
                    Some(after) if !seen.insert(after) => break None,
                    Some(after) => here = after,
                    None => break Some(here),
                }
            };
            // Numbers that run in a circle stand for themselves.
            if let Some(end) = end {
                self.lives_on.insert(first.clone(), end.clone());
                self.aliases.entry(end.clone()).or_default().push(first.clone());
            }
        }
    }

    fn staff(&mut self) {
        let mut persons: BTreeMap<String, String> = BTreeMap::new();
        for row in self.all("users") {
            if let (Some(person), Some(own)) = (cell(row, "person_id"), cell(row, "patient_id")) {
                let own = self.living(own);
                let known = persons.entry(person.to_owned()).or_insert_with(|| own.to_owned());
                if own < known.as_str() {
                    *known = own.to_owned();
                }
            }
        }
        self.persons = persons;
        let mut charts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in self.all("users") {
            if let (Some(chart), Some(user)) = (self.own_chart(row), cell(row, "user_id")) {
                charts.entry(chart.to_owned()).or_default().insert(user.to_owned());
            }
        }
        self.charts = charts;
    }
}
