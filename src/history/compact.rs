//! Compaction and clearing away: the small files of one day of arrival become one; files that no commit names are removed later.
//!
//! Nothing is deleted by compaction itself: the new file is written and forced to the disk, one commit exchanges old for new, and a
//! crash before that commit leaves a file that no commit names. Readers of an older moment still need the old files, so clearing away
//! spares everything younger than a limit. The day's files share one month, and with it one key.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use arrow::compute::concat_batches;

use super::segment::{self, Segment};
use super::tables::Table;
use super::{History, HistoryError, layout};
use crate::event::time::{DAY, HOUR};
use crate::event::{Day, Time};

/// Files that are left alone: at least this long, whatever the caller asks for.
const YOUNGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// About as many rows as a compacted file may have: they are sorted in memory.
const MOST_ROWS: usize = 2_000_000;

impl History {
    /// Joins the files of one day of arrival (UTC), table by table; gives back how many files were replaced.
    ///
    /// The caller chooses days that are over: compacting the day that is being written is only wasteful.
    ///
    /// # Errors
    /// After an error every table is either as before or done.
    pub async fn compact(&mut self, day: Day) -> Result<usize, HistoryError> {
        let mut replaced = 0;
        let barriers = self.barriers()?;
        for index in 0..self.logs.len() {
            // What a replay has to read before a change of the control log, and what behind it, stays apart.
            let apart: &[u64] = if self.logs[index].table == Table::Events { &barriers } else { &[] };
            for old in self.groups(index, day, apart)? {
                let new = self.join(self.logs[index].table, day, &old)?;
                self.logs[index].replace(&old, &new).await?;
                replaced += old.len();
            }
        }
        Ok(replaced)
    }

    /// Removes files that no commit names and that have not changed for `age` (never less than 7 days); gives back their number.
    ///
    /// Call it from the one writer only, and while nothing is being committed.
    pub fn clear_away(&self, age: Duration) -> Result<usize, HistoryError> {
        let mut removed = 0;
        for log in &self.logs {
            let named: BTreeSet<String> = log.files()?.into_iter().map(|file| file.name).collect();
            removed += clear_folder(&self.dir.join(log.table.name()), &named, age.max(YOUNGEST))?;
        }
        Ok(removed)
    }

    /// The files of the day in groups that are worth joining.
    fn groups(&self, index: usize, day: Day, apart: &[u64]) -> Result<Vec<Vec<Segment>>, HistoryError> {
        let mut groups: Vec<Vec<Segment>> = vec![Vec::new()];
        let mut rows = 0;
        for file in self.logs[index].files()?.into_iter().filter(|file| segment::day_of(&file.name) == Some(day)) {
            let before = groups.last().and_then(|group| group.last()).map(|last| last.through);
            let number = segment::number_of(&file.name);
            let is_apart = before.is_some_and(|before| apart.iter().any(|barrier| (before..number).contains(barrier)));
            if rows + file.rows > MOST_ROWS || is_apart {
                groups.push(Vec::new());
                rows = 0;
            }
            rows += file.rows;
            if let Some(group) = groups.last_mut() {
                group.push(file);
            }
        }
        groups.retain(|group| group.len() > 1);
        Ok(groups)
    }

    /// Writes one file with the rows of `old`.
    fn join(&self, table: Table, day: Day, old: &[Segment]) -> Result<Segment, HistoryError> {
        let mut batches = Vec::new();
        for file in old {
            batches.extend(self.read_segment(table, file)?);
        }
        let wrong = |what: String| HistoryError::Damaged { file: table.name().into(), what };
        let rows = concat_batches(&table.schema(), &batches).map_err(|error| wrong(error.to_string()))?;
        let expected: usize = old.iter().map(|file| file.rows).sum();
        if rows.num_rows() != expected {
            return Err(wrong("its files hold another number of rows than was committed".into()));
        }
        // Any instant of the day names the same day and month.
        let arrival = Time(i64::from(day.0) * DAY + 12 * HOUR);
        let number = old.iter().map(|file| segment::number_of(&file.name)).min().unwrap_or(0);
        let joined =
            segment::write(&self.dir, table, &rows, segment::When { arrival, number }, self.keyring.as_deref())?;
        let through = old.iter().map(|file| file.through).max().unwrap_or(number);
        Ok(Segment { through, ..joined })
    }

    /// The segments of events behind which a change of the control log takes effect.
    fn barriers(&self) -> Result<Vec<u64>, HistoryError> {
        let changes = self.changes()?.into_iter().filter(|noted| noted.change.is_barrier());
        Ok(changes.map(|noted| noted.place.segment).collect())
    }
}

fn clear_folder(folder: &Path, named: &BTreeSet<String>, age: Duration) -> Result<usize, HistoryError> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).map_err(HistoryError::io(folder))? {
        let entry = entry.map_err(HistoryError::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".parquet") || named.contains(&name) {
            continue;
        }
        let path = entry.path();
        let changed = entry.metadata().and_then(|found| found.modified()).map_err(HistoryError::io(&path))?;
        if SystemTime::now().duration_since(changed).is_ok_and(|since| since >= age) {
            std::fs::remove_file(&path).map_err(HistoryError::io(&path))?;
            removed += 1;
        }
    }
    layout::sync_folder(folder)?;
    Ok(removed)
}
