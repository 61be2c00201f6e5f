//! Looks up old records, for the recognition of repetitions that come too late for the engine's own memory.
//!
//! Only files that hold the hours in question are opened. Where few records are asked for, the bloom filters on `event_id` choose the row
//! groups to read; where many are, as when a month is sent again, the hashes of a whole file are read once and kept for the next
//! question, which most likely falls into the same file.

use std::collections::{HashSet, VecDeque};
use std::ops::RangeInclusive;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::segment::{self, Segment};
use super::stage::Stage;
use super::tables::Table;
use super::{History, HistoryError};
use crate::event::Time;
use crate::event::print::{Print, Said, Wanted, hour};

/// Up to so many records are looked for with the bloom filters; for more, whole files are read.
const FEW: usize = 64;
/// Hashes that are kept from one question to the next: about 24 bytes each.
const KEPT: usize = 4_000_000;

const COLUMNS: [&str; 8] =
    ["source", "event_id", "time", "actor_id", "activity", "patients", "resource_type", "resource_id"];

/// What was read of the files, for the next question.
#[derive(Default)]
pub(super) struct Lookup {
    /// The hashes of whole files, those used last at the end.
    files: VecDeque<(String, Vec<Print>)>,
}

impl Lookup {
    fn keep(&mut self, name: &str, prints: Vec<Print>) {
        self.files.push_back((name.to_owned(), prints));
        while self.files.len() > 1 && self.files.iter().map(|(_, prints)| prints.len()).sum::<usize>() > KEPT {
            self.files.pop_front();
        }
    }

    /// The hashes of a file, where they are kept.
    fn kept(&mut self, name: &str) -> Option<&[Print]> {
        let at = self.files.iter().position(|(kept, _)| kept == name)?;
        let file = self.files.remove(at)?;
        self.files.push_back(file);
        self.files.back().map(|(_, prints)| prints.as_slice())
    }
}

/// Identifiers by the hour in which they are looked for.
type Ids = HashSet<(i32, u64), Xxh3DefaultBuilder>;

impl History {
    /// The records on record, or staged, that have the identifier of one of `wanted` and lie in its hour.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn known(&mut self, wanted: &[Wanted]) -> Result<Vec<Print>, HistoryError> {
        let ids: Ids = wanted.iter().map(|one| (one.print.hour, one.print.id)).collect();
        let hours: HashSet<i32, Xxh3DefaultBuilder> = ids.iter().map(|(hour, _)| *hour).collect();
        let mut found = Vec::new();
        for events in self.stages().flat_map(Stage::events) {
            take(events, &|hour| hours.contains(&hour), &ids, &mut found);
        }
        let mut lookup = std::mem::take(&mut self.lookup);
        let looked = self.look(wanted, &ids, &mut lookup, &mut found);
        self.lookup = lookup;
        looked?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn look(
        &self,
        wanted: &[Wanted],
        ids: &Ids,
        lookup: &mut Lookup,
        found: &mut Vec<Print>,
    ) -> Result<(), HistoryError> {
        let files = self.log(Table::Events).files()?;
        for file in &files {
            let (first, last) = file.hours.unwrap_or((i32::MIN, i32::MAX));
            let here: Vec<&Wanted> = wanted.iter().filter(|one| (first..=last).contains(&one.print.hour)).collect();
            if here.is_empty() {
                continue;
            }
            if let Some(prints) = lookup.kept(&file.name) {
                found.extend(prints.iter().filter(|print| ids.contains(&(print.hour, print.id))));
            } else if here.len() <= FEW {
                self.look_for_few(file, &here, ids, found)?;
            } else {
                let mut prints = Vec::with_capacity(file.rows);
                self.read_events(file, None, &mut |rows| take_all(rows, &mut prints))?;
                found.extend(prints.iter().filter(|print| ids.contains(&(print.hour, print.id))));
                lookup.keep(&file.name, prints);
            }
        }
        Ok(())
    }

    /// Reads the row groups that may hold one of `here`.
    fn look_for_few(
        &self,
        file: &Segment,
        here: &[&Wanted],
        ids: &Ids,
        found: &mut Vec<Print>,
    ) -> Result<(), HistoryError> {
        let wrong = |source| HistoryError::Parquet { file: file.name.clone(), source: Box::new(source) };
        let builder = self.open_events(file)?;
        let column = builder.schema().index_of("event_id").ok();
        let mut groups = Vec::new();
        for group in 0..builder.metadata().num_row_groups() {
            let hours = hours_in(builder.metadata().row_group(group));
            let mut near = here.iter().filter(|one| hours.as_ref().is_none_or(|hours| hours.contains(&one.print.hour)));
            let bloom = match column.and_then(|_| leaf(builder.metadata().row_group(group), "event_id")) {
                Some(leaf) => builder.get_row_group_column_bloom_filter(group, leaf).map_err(wrong)?,
                None => None,
            };
            if near.any(|one| bloom.as_ref().is_none_or(|bloom| bloom.check(one.event_id.as_str()))) {
                groups.push(group);
            }
        }
        if groups.is_empty() {
            return Ok(());
        }
        let hours: HashSet<i32> = here.iter().map(|one| one.print.hour).collect();
        self.read_events(file, Some(groups), &mut |rows| take(rows, &|hour| hours.contains(&hour), ids, found))
    }

    fn read_events(
        &self,
        file: &Segment,
        groups: Option<Vec<usize>>,
        take: &mut dyn FnMut(&RecordBatch),
    ) -> Result<(), HistoryError> {
        let wrong = |source| HistoryError::Parquet { file: file.name.clone(), source: Box::new(source) };
        let mut builder = self.open_events(file)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        if let Some(groups) = groups {
            builder = builder.with_row_groups(groups);
        }
        for rows in builder.with_projection(mask).build().map_err(wrong)? {
            take(&rows.map_err(|error| wrong(error.into()))?);
        }
        Ok(())
    }

    fn open_events(&self, file: &Segment) -> Result<ParquetRecordBatchReaderBuilder<std::fs::File>, HistoryError> {
        let place = segment::place(Table::Events, &file.name);
        let path = self.dir().join(&place);
        let wrong = |source: ParquetError| HistoryError::Parquet { file: place.clone(), source: Box::new(source) };
        let opened = std::fs::File::open(&path).map_err(HistoryError::io(&path))?;
        let mut options = ArrowReaderOptions::new();
        if let Some(keyring) = self.keyring() {
            options = options.with_file_decryption_properties(
                segment::decryption(&segment::aad(Table::Events, &file.name), keyring).map_err(wrong)?,
            );
        }
        ParquetRecordBatchReaderBuilder::try_new_with_options(opened, options).map_err(wrong)
    }
}

fn hours_in(group: &RowGroupMetaData) -> Option<RangeInclusive<i32>> {
    match group.column(leaf(group, "time")?).statistics()? {
        Statistics::Int64(times) => Some(hour(Time(*times.min_opt()?))..=hour(Time(*times.max_opt()?))),
        _ => None,
    }
}

/// The number of a flat column among the leaves.
fn leaf(group: &RowGroupMetaData, name: &str) -> Option<usize> {
    group.columns().iter().position(|column| column.column_path().string() == name)
}

fn take(rows: &RecordBatch, hours: &dyn Fn(i32) -> bool, ids: &Ids, found: &mut Vec<Print>) {
    let mut prints = Vec::new();
    read(rows, hours, &mut prints);
    found.extend(prints.into_iter().filter(|print| ids.contains(&(print.hour, print.id))));
}

fn take_all(rows: &RecordBatch, prints: &mut Vec<Print>) {
    read(rows, &|_| true, prints);
}

/// The hashes of the rows in these hours.
fn read(rows: &RecordBatch, hours: &dyn Fn(i32) -> bool, prints: &mut Vec<Print>) {
    let text = |name: &str| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let times = rows.column_by_name("time").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let patients = rows.column_by_name("patients").and_then(|column| column.as_list_opt::<i32>());
    let (Some(sources), Some(ids), Some(times), Some(activities), Some(patients)) =
        (text("source"), text("event_id"), times, text("activity"), patients)
    else {
        return;
    };
    let (actors, types, resources) = (text("actor_id"), text("resource_type"), text("resource_id"));
    let all = patients.values().as_string::<i32>();
    let maybe = |column: Option<&'_ arrow::array::StringArray>, row: usize| {
        column.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned())
    };
    for row in 0..rows.num_rows() {
        let time = Time(times.value(row));
        if !hours(hour(time)) {
            continue;
        }
        let (actor, kind, resource) = (maybe(actors, row), maybe(types, row), maybe(resources, row));
        let (from, to) = (patients.value_offsets()[row] as usize, patients.value_offsets()[row + 1] as usize);
        prints.push(Print::new(Said {
            source: sources.value(row),
            event_id: ids.value(row),
            time,
            actor_id: actor.as_deref(),
            activity: activities.value(row),
            resource_type: kind.as_deref(),
            resource_id: resource.as_deref(),
            patients: (from..to).map(|at| all.value(at)).collect(),
        }));
    }
}
