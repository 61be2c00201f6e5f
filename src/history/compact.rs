//! Compaction and clearing away: the small files of one day of arrival become one; files that no commit names are removed later.
//!
//! Nothing is deleted by compaction itself: the new file is written and forced to the disk, one commit exchanges old for new, and a
//! crash before that commit leaves a file that no commit names. Readers of an older moment still need the old files, so clearing away
//! spares everything younger than a limit. The day's files share one month, and with it one key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arrow::compute::concat_batches;

use super::segment::{self, Segment};
use super::tables::Table;
use super::{History, HistoryError, layout};
use crate::event::time::{DAY, HOUR};
use crate::event::{Day, Time};
use crate::keys::Keyring;

/// Files that are left alone: at least this long, whatever the caller asks for.
const YOUNGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// About as many rows as a compacted file may have: they are sorted in memory.
const MOST_ROWS: usize = 500_000;
/// And as many bytes on the disk.
const MOST_BYTES: i64 = 64 << 20;

/// Small files of one table and day that are to become one. It holds on to nothing: it can be written on any thread, while the
/// history goes on.
#[derive(Debug)]
pub struct Join {
    dir: PathBuf,
    keyring: Option<Arc<Keyring>>,
    index: usize,
    table: Table,
    day: Day,
    old: Vec<Segment>,
}

/// A file that can take the place of others.
#[derive(Debug)]
pub struct Joined {
    index: usize,
    old: Vec<Segment>,
    new: Segment,
}

impl History {
    /// Joins the files of one day of arrival (UTC), table by table; gives back how many files were replaced.
    ///
    /// The caller chooses days that are over: compacting the day that is being written is only wasteful.
    ///
    /// # Errors
    /// After an error every table is either as before or done.
    pub async fn compact(&mut self, day: Day) -> Result<usize, HistoryError> {
        let mut replaced = 0;
        while let Some(join) = self.next_join(|other| other == day)? {
            if let Some(joined) = join.write(&AtomicBool::new(false))? {
                replaced += self.exchange(joined).await?;
            }
        }
        Ok(replaced)
    }

    /// The next files that are worth joining, the oldest day first, among the days of arrival that `day` chooses.
    ///
    /// # Errors
    /// Where a log cannot be read.
    pub fn next_join(&self, day: impl Fn(Day) -> bool) -> Result<Option<Join>, HistoryError> {
        // A rebuild applies a change, or begins, between two files of events: what lies before it stays apart from what lies behind it.
        let changes = self.changes()?;
        let barriers: Vec<u64> = changes.iter().filter(|it| it.change.divides()).map(|it| it.place.segment).collect();
        let mut found: Option<Join> = None;
        for (index, log) in self.logs.iter().enumerate() {
            let barriers: &[u64] = if log.table == Table::Events { &barriers } else { &[] };
            let files: Vec<Segment> = log.files()?;
            if let Some((day, old)) = first_group(files, &day, barriers)
                && found.as_ref().is_none_or(|found| day < found.day)
            {
                let (dir, keyring, table) = (self.dir.clone(), self.keyring.clone(), log.table);
                found = Some(Join { dir, keyring, index, table, day, old });
            }
        }
        Ok(found)
    }

    /// Puts a file in the place of those that it was made of, in one commit; gives back how many those were.
    ///
    /// # Errors
    /// After an error the table is as before or done; the new file is then one that no commit names.
    pub async fn exchange(&mut self, joined: Joined) -> Result<usize, HistoryError> {
        let Joined { index, old, new } = joined;
        // Readers of an older moment have the old files open: their time to be cleared away begins now.
        for file in &old {
            let path = self.dir.join(segment::place(self.logs[index].table, &file.name));
            let touched = std::fs::File::options().append(true).open(&path);
            touched.and_then(|file| file.set_modified(SystemTime::now())).map_err(HistoryError::io(&path))?;
        }
        self.logs[index].replace(&old, &new).await?;
        Ok(old.len())
    }

    /// Removes files that no commit names and that have not changed for `age` (never less than 7 days); gives back their number.
    ///
    /// Call it from the one writer only, and while nothing is being committed.
    pub fn clear_away(&self, age: Duration) -> Result<usize, HistoryError> {
        let mut removed = 0;
        for log in &self.logs {
            let named: BTreeSet<String> = log.files()?.into_iter().map(|file| file.name).collect();
            let table = self.dir.join(log.table.name());
            for entry in std::fs::read_dir(&table).map_err(HistoryError::io(&table))? {
                let day = entry.map_err(HistoryError::io(&table))?.file_name().to_string_lossy().into_owned();
                if day.starts_with(segment::PARTITION) {
                    removed += clear_folder(&table, &day, &named, age.max(YOUNGEST))?;
                }
            }
        }
        Ok(removed)
    }
}

impl Join {
    /// How many files it joins.
    pub fn files(&self) -> usize {
        self.old.len()
    }

    /// Writes the file, where `stop` is not set meanwhile.
    ///
    /// # Errors
    /// Where a file is damaged or the disk refuses; nothing has changed then.
    pub fn write(&self, stop: &AtomicBool) -> Result<Option<Joined>, HistoryError> {
        let mut batches = Vec::new();
        for file in &self.old {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            batches.extend(segment::read(&self.dir, self.table, file, self.keyring.as_ref())?);
        }
        let wrong = |what: String| HistoryError::Damaged { file: self.table.name().into(), what };
        let rows = concat_batches(&self.table.schema(), &batches).map_err(|error| wrong(error.to_string()))?;
        drop(batches);
        let expected: usize = self.old.iter().map(|file| file.rows).sum();
        if rows.num_rows() != expected {
            return Err(wrong("its files hold another number of rows than was committed".into()));
        }
        // Any instant of the day names the same day and month.
        let arrival = Time(i64::from(self.day.0) * DAY + 12 * HOUR);
        let number = self.old.iter().map(|file| segment::number_of(&file.name)).min().unwrap_or(0);
        let when = segment::When { arrival, number };
        let through = self.old.iter().map(|file| file.through).max().unwrap_or(number);
        let new = segment::write(&self.dir, self.table, &rows, when, self.keyring.as_deref())?;
        let new = Segment { through, ..new };
        Ok(Some(Joined { index: self.index, old: self.old.clone(), new }))
    }
}

/// The first files of one day that are worth joining: neighbours in the order of commits, on one side of every barrier, and together
/// no more than can be sorted in memory.
fn first_group(files: Vec<Segment>, day: impl Fn(Day) -> bool, barriers: &[u64]) -> Option<(Day, Vec<Segment>)> {
    let mut days: BTreeMap<Day, Vec<Segment>> = BTreeMap::new();
    for file in files {
        if let Some(own) = segment::day_of(&file.name).filter(|own| day(*own)) {
            days.entry(own).or_default().push(file);
        }
    }
    for (day, files) in days {
        let mut group: Vec<Segment> = Vec::new();
        for file in files {
            let apart = group.last().is_some_and(|last: &Segment| {
                let next = segment::number_of(&file.name);
                barriers.iter().any(|barrier| (last.through..next).contains(barrier))
            });
            let (rows, bytes) = group.iter().fold((file.rows, file.size), |sum, f| (sum.0 + f.rows, sum.1 + f.size));
            if apart || rows > MOST_ROWS || bytes > MOST_BYTES {
                if group.len() > 1 {
                    return Some((day, group));
                }
                group.clear();
            }
            group.push(file);
        }
        if group.len() > 1 {
            return Some((day, group));
        }
    }
    None
}

/// Clears the folder of one day of a table.
fn clear_folder(table: &Path, day: &str, named: &BTreeSet<String>, age: Duration) -> Result<usize, HistoryError> {
    let (folder, mut removed) = (table.join(day), 0);
    for entry in std::fs::read_dir(&folder).map_err(HistoryError::io(&folder))? {
        let entry = entry.map_err(HistoryError::io(&folder))?;
        let name = format!("{day}/{}", entry.file_name().to_string_lossy());
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
    layout::sync_folder(&folder)?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(day: u32, number: u64, rows: usize) -> Segment {
        let name = format!("{}=2026-11-{day:02}/{number:012}-0123456789abcdef.parquet", segment::PARTITION);
        Segment { name, size: 1_000, rows, sha256: String::new(), through: number, hours: None }
    }

    /// The numbers of the first group among the days up to the 20th.
    fn check(files: Vec<Segment>, barriers: &[u64], expected: Option<(u32, &[u64])>) {
        let over = |day: Day| day <= Day::parse("2026-11-20").unwrap();
        let found = first_group(files, over, barriers);
        let found = found
            .map(|(day, group)| (day, group.iter().map(|file| segment::number_of(&file.name)).collect::<Vec<_>>()));
        let expected =
            expected.map(|(day, numbers)| (Day::parse(&format!("2026-11-{day:02}")).unwrap(), numbers.to_vec()));
        assert_eq!(found, expected);
    }

    #[test]
    fn neighbours_of_a_day_that_is_over() {
        check(vec![], &[], None);
        check(vec![file(19, 1, 5), file(20, 2, 5)], &[], None);
        check(vec![file(20, 2, 5), file(20, 3, 5), file(19, 1, 5)], &[], Some((20, &[2, 3])));
        check(vec![file(20, 2, 5), file(20, 3, 5), file(19, 0, 5), file(19, 1, 5)], &[], Some((19, &[0, 1])));
        check(vec![file(21, 1, 5), file(21, 2, 5)], &[], None);
    }

    #[test]
    fn a_change_keeps_what_lies_before_it_from_what_lies_behind() {
        let files = || (1..=4).map(|number| file(20, number, 5)).collect();
        check(files(), &[2], Some((20, &[1, 2])));
        check(files(), &[1], Some((20, &[2, 3, 4])));
        check(files(), &[0, 4, 9], Some((20, &[1, 2, 3, 4])));
        check(files(), &[1, 2, 3], None);
        // What was joined has the number of its first.
        check(vec![file(20, 1, 10), file(20, 3, 5), file(20, 4, 5)], &[2], Some((20, &[3, 4])));
        check(vec![file(20, 1, 10), file(20, 3, 10)], &[2], None);
    }

    #[test]
    fn no_more_than_can_be_sorted() {
        let big = MOST_ROWS / 2 + 1;
        check(vec![file(20, 1, big), file(20, 2, big)], &[], None);
        check(vec![file(20, 1, big), file(20, 2, 9), file(20, 3, big), file(20, 4, 9)], &[], Some((20, &[1, 2])));
    }
}
