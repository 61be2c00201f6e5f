//! Backtest: what rules would have said over the time that the history holds, against another version of them and against what people
//! found out since.
//!
//! The scan is narrowed by a filter that follows from the rules (`filter`); what passes is shown to the engine's own parts (`side`), with
//! the facts that were stored with each event. Whole local days are judged: `report` sums up and says what it leans on.

mod filter;
mod report;
mod side;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::{Archive, AskError, Asked};
use crate::engine::rule::RuleSet;
use crate::engine::rule::narrow::{Narrow, columns_of};
use crate::event::stored::{StoredFacts, events};
use crate::event::time::{DAY, HOUR};
use crate::event::{Day, Subject, Time};
use crate::history::{Part, Rows};
use crate::roster::{Intake, Roster, load};
use crate::store::Ruling;
use filter::filter;
pub use report::{Backtest, Summary};
use side::{ALERTS_MAX, Side};

/// Clocks differ from UTC by less than this.
const ZONES: i64 = 15 * HOUR;
/// So long nothing may come before it is asked again whether to go on.
const PATIENCE: Duration = Duration::from_millis(200);
/// The columns that say who was there.
const PRESENT: [&str; 8] =
    ["site", "actor_id", "actor_kind", "flags", "fact_account", "fact_home_site", "fact_day", "fact_vendor_id"];

/// What is tried.
pub struct Plan {
    /// What was asked about, in words: an id or a file.
    pub name: String,
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Another version of them, and what it is called.
    pub against: Option<(String, Arc<RuleSet>)>,
    /// Budgeted alerts that the site asks for, per 1,000 users and day.
    pub per_1000: f64,
    /// What people found out about alerts.
    pub known: Vec<Known>,
}

/// What people found out about an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The alert.
    pub alert_id: String,
    /// Its family.
    pub family: String,
    /// Whom it is about.
    pub subject: Subject,
    /// The subject's local day.
    pub day: Day,
    /// What was found.
    pub ruling: Ruling,
}

/// How far the scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events that were looked through.
    pub passed: usize,
    /// All of them.
    pub all: usize,
}

/// Local days from the first to the last, where there are ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    first: Option<Day>,
    last: Option<Day>,
}

impl Days {
    fn hold(self, day: Day) -> bool {
        self.first.is_none_or(|first| day >= first) && self.last.is_none_or(|last| day <= last)
    }
}

/// How the scan went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// To its end.
    Whole,
    /// Somebody stopped it; every day up to this one was read whole, where there is one.
    Stopped(Option<Day>),
    /// There were too many alerts; every day up to this one was read whole, where there is one.
    Flooded(Option<Day>),
}

/// What is counted on the way.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// Events that were looked through; of a part that was broken off those alone that the rules were asked of.
    passed: usize,
    survivors: usize,
}

/// Tries rules on the history. `go_on` is asked now and then; where it says false, what was found by then is told.
///
/// # Errors
/// Where the times cannot be read, or the history cannot.
pub async fn backtest(
    archive: &Archive,
    asked: &Asked,
    plan: &Plan,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<Backtest, AskError> {
    let window = archive.window(asked)?;
    let zone = &archive.zone;
    let begins_from = |time: Time| {
        let day = zone.local(time).day;
        if zone.day_start(day) < time { day.plus(1) } else { day }
    };
    // Its last hours, before the next local day begins, are no reason to leave a day out.
    let ends_with = |time: Time| zone.local(time).date.plus(-1);
    let days = Days { first: window.since.map(begins_from), last: window.until.map(ends_with) };
    let new = |rules: &Arc<RuleSet>| Side::new(rules.clone(), plan.per_1000, days);
    let mut sides = vec![new(&plan.rules)];
    sides.extend(plan.against.iter().map(|(_, rules)| new(rules)));
    let roster = archive.roster.clone().unwrap_or_else(|| Arc::new(nobody(archive)));
    let mut scan = Scan { archive, roster, days, counted: Counted::default() };
    let end = scan.run(&mut sides, go_on).await?;
    report::report(archive, window, plan, sides, (scan.counted, days, end)).await
}

/// No rosters at all.
fn nobody(archive: &Archive) -> Roster {
    load(&[], archive.zone.clone(), &Intake { previous: None, at: Time(0), allow_shrink: false }).roster
}

/// The scan.
struct Scan<'a> {
    archive: &'a Archive,
    roster: Arc<Roster>,
    days: Days,
    counted: Counted,
}

impl Scan<'_> {
    async fn run(&mut self, sides: &mut [Side], go_on: &mut dyn FnMut(Progress) -> bool) -> Result<End, AskError> {
        // Windows reach back from the first day, and clocks differ.
        let reach = sides.iter().map(|side| side.rules().longest_window()).max().unwrap_or(0);
        let from = self.days.first.map(|first| start(first).plus(-ZONES - reach));
        let until = self.days.last.map(|last| start(last.plus(1)).plus(ZONES));
        let narrow = sides.iter().map(|side| side.rules().narrow()).reduce(|all, one| all.or(one));
        let narrow = filter(&narrow.expect("there is a side"), from, until);
        let columns: BTreeSet<String> = sides.iter().flat_map(|side| side.rules().reads()).collect();
        let columns: Vec<String> = columns.into_iter().collect();
        let parts = self.archive.reader.parts(from, until);
        let all = parts.iter().map(|part| part.rows).sum();
        let mut read: Option<Day> = None;
        for part in &parts {
            let progress = Progress { passed: self.counted.passed, all };
            let before = self.counted.survivors;
            self.meet(part, sides, (from, until)).await?;
            if !self.part(part, &columns, narrow.clone(), sides, &mut || go_on(progress)).await? {
                self.counted.passed += self.counted.survivors - before;
                return Ok(End::Stopped(read));
            }
            self.counted.passed += part.rows;
            if let Some(begins) = part.rest_begins.filter(|begins| *begins > Time::MIN) {
                // A day is over in every zone when it is over in the westernmost.
                let over = Day((begins.plus(-ZONES - 4 * HOUR).0.div_euclid(DAY) - 1) as i32);
                sides.iter_mut().for_each(|side| side.settle_through(over));
                read = Some(over);
            }
            if sides.iter().any(|side| side.found.alerts.len() > ALERTS_MAX) {
                return Ok(End::Flooded(read));
            }
        }
        sides.iter_mut().for_each(|side| side.settle_through(Day(i32::MAX)));
        go_on(Progress { passed: self.counted.passed, all });
        Ok(End::Whole)
    }

    /// Shows the rows of a part that may match; false where somebody does not want to go on.
    async fn part(
        &mut self,
        part: &Part,
        columns: &[String],
        narrow: datafusion::logical_expr::Expr,
        sides: &mut [Side],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, AskError> {
        let mut rows: Rows = self.archive.reader.scan(part, columns, narrow).await?;
        loop {
            let next = tokio::time::timeout(PATIENCE, rows.next()).await;
            if !go_on() {
                return Ok(false);
            }
            let Ok(next) = next else { continue };
            let Some(rows) = next.transpose()? else { return Ok(true) };
            self.counted.survivors += rows.num_rows();
            let (events, facts) = (events(&rows), StoredFacts::of(&rows));
            sides.iter_mut().for_each(|side| side.show(&self.roster, &events, &facts));
        }
    }

    /// Notes who was there, where a rule is judged by its rate.
    async fn meet(
        &mut self,
        part: &Part,
        sides: &mut [Side],
        (from, until): (Option<Time>, Option<Time>),
    ) -> Result<(), AskError> {
        if !sides.iter().any(Side::by_rate) {
            return Ok(());
        }
        let all = filter(&Narrow::Anything, from, until);
        let mut rows = self.archive.reader.distinct(part, &PRESENT, all).await?;
        while let Some(rows) = rows.next().await.transpose()? {
            sides.iter_mut().filter(|side| side.by_rate()).for_each(|side| side.meet(&self.roster, &rows));
        }
        Ok(())
    }
}

/// When a local day begins by the clock of UTC.
fn start(day: Day) -> Time {
    Time(i64::from(day.0) * DAY + 4 * HOUR)
}

/// From when on each of `names` could be seen, as far as that is later than the first event: facts are those that were stored, and what
/// nobody asked for then was not stored.
async fn stored_since(archive: &Archive, names: &BTreeSet<String>) -> Result<Vec<(String, Option<Time>)>, AskError> {
    let mut found = Vec::new();
    for name in names {
        // Facts that came later came with the hour's day of the week, which every row has that has them.
        let condition = match columns_of(name).first().map(String::as_str) {
            Some("fact_extra") => {
                let key = serde_json::to_string(name).unwrap_or_default();
                format!("fact_extra LIKE {}", super::archive::quote(&format!("%{}:%", key.replace('%', "_"))))
            }
            Some("fact_privilege" | "fact_vendor_parent" | "fact_days_deceased" | "fact_encounter") => {
                "fact_weekday IS NOT NULL".to_owned()
            }
            _ => continue,
        };
        let sql = format!("SELECT min(time), min(CASE WHEN {condition} THEN time END) FROM events");
        let rows = archive.reader.query(&sql, &[]).await?;
        let time = |column: usize| {
            let times = rows[0].column(column).as_primitive::<TimestampMicrosecondType>();
            times.iter().next().flatten().map(Time)
        };
        if time(1) != time(0) {
            found.push((name.clone(), time(1)));
        }
    }
    Ok(found)
}
