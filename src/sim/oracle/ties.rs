//! What ties the actor to each patient of a record: paperwork near in time, names, addresses, own chart, colleagues.

use super::facts::Facts;
use super::papers::{Papers, Row, cell};
use super::record::Record;
use super::who::Who;
use crate::event::Time;
use crate::event::time::DAY;

/// Kinds of relation in the order in which they explain.
const KINDS: [&str; 9] =
    ["encounter", "appointment", "order", "result", "care_team", "referral", "message", "billing", "research"];

/// Fills in the facts of all patients of a record.
pub fn patients(papers: &Papers, record: &Record, who: &Who<'_>, facts: &mut Facts) {
    let (mut ids, mut relations, mut explained, mut marks, mut encounters) = (vec![], vec![], vec![], vec![], vec![]);
    let mut days: Option<i64> = None;
    for patient in &record.patients {
        let chart = papers.living(patient);
        let ties = Ties::new(papers, record, who, chart);
        ids.push(Some(chart.to_owned()));
        relations.push(joined(ties.relations()));
        explained.push(ties.explained_by());
        marks.push(joined(self::marks(papers, record, who, patient, chart)));
        days = days.max(days_deceased(papers, record, patient, chart));
        encounters.push(papers.has("relations").then(|| encounter(papers, record.time, chart).to_owned()));
    }
    facts.set("days_deceased", days.map(|days| days.to_string()).as_deref());
    facts.list("encounter", encounters);
    facts.set("unexplained", Some(&explained.iter().filter(|by| by.is_none()).count().to_string()));
    facts.list("patients", ids);
    facts.list("relations", relations);
    facts.list("explained_by", explained);
    facts.list("marks", marks);
}

fn joined(words: Vec<String>) -> Option<String> {
    (!words.is_empty()).then(|| words.join(";"))
}

/// Paperwork near the time of a record: for each kind the smallest distance.
struct Ties {
    own: [Option<i64>; 9],
    unit: [Option<i64>; 9],
    billing: bool,
}

impl Ties {
    fn new(papers: &Papers, record: &Record, who: &Who<'_>, chart: &str) -> Ties {
        let row = who.user();
        let department = row.and_then(|row| cell(row, "department")).or(record.department.as_deref());
        let role = row.and_then(|row| cell(row, "role")).or(record.role.as_deref());
        let bills =
            |text: Option<&str>| text.is_some_and(|text| text.starts_with("Bill") || text.starts_with("Coding"));
        let bills = record.actor.is_some() && (bills(department) || matches!(role, Some("coder" | "biller")));
        let mut ties = Ties { own: [None; 9], unit: [None; 9], billing: false };
        let closer =
            |place: &mut Option<i64>, distance: i64| *place = Some(place.map_or(distance, |d| d.min(distance)));
        for row in papers.numbers(chart).into_iter().flat_map(|number| papers.about("relations", number)) {
            let Some(kind) = cell(row, "kind").and_then(|kind| KINDS.iter().position(|known| *known == kind)) else {
                continue;
            };
            let Some(distance) = distance(papers, row, record.time) else { continue };
            ties.billing |= KINDS[kind] == "billing" && bills;
            if record.actor.is_some() && cell(row, "user_id") == record.actor.as_deref() {
                closer(&mut ties.own[kind], distance);
            }
            let same = |other: &str| department.is_some_and(|own| own.to_lowercase() == other.to_lowercase());
            if record.actor.is_some() && cell(row, "department").is_some_and(same) {
                closer(&mut ties.unit[kind], distance);
            }
        }
        ties
    }

    /// Kinds that name the user, nearest first, then those that name only the unit.
    fn relations(&self) -> Vec<String> {
        let sorted = |distances: [Option<i64>; 9]| {
            let mut kinds: Vec<(i64, usize)> =
                (0..9).filter_map(|kind| distances[kind].map(|distance| (distance, kind))).collect();
            kinds.sort_unstable();
            kinds.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>()
        };
        let own = sorted(self.own);
        let unit: Vec<usize> = sorted(self.unit).into_iter().filter(|kind| !own.contains(kind)).collect();
        own.into_iter().chain(unit).map(|kind| KINDS[kind].to_owned()).collect()
    }

    fn explained_by(&self) -> Option<String> {
        let first = |distances: &[Option<i64>; 9]| (0..9).find(|kind| distances[*kind].is_some());
        if let Some(kind) = first(&self.own) {
            return Some(KINDS[kind].to_owned());
        }
        let unit = first(&self.unit).map(|kind| format!("own_unit:{}", KINDS[kind]));
        unit.or_else(|| self.billing.then(|| "billing".to_owned()))
    }
}

/// How far the moment lies from a relation; `None` where that is more than 7 days before it or 30 days after it.
fn distance(papers: &Papers, row: &Row, at: Time) -> Option<i64> {
    let lasts = matches!(cell(row, "kind"), Some("encounter" | "care_team" | "research"));
    let (start, end) = (papers.moment(row, "start", false), papers.moment(row, "end", true));
    let (start, end) = match lasts {
        true => (start.unwrap_or(Time::MIN), end.unwrap_or(Time::MAX)),
        false => (start.or(end)?, end.or(start)?),
    };
    let (valid_from, valid_to) = papers.validity(row);
    let near = start.plus(-7 * DAY) <= at && at < end.plus(30 * DAY) && valid_from <= at && at < valid_to;
    let beside = if at < start { start.0.saturating_sub(at.0) } else { at.0.saturating_sub(end.0).max(0) };
    near.then_some(beside)
}

fn days_deceased(papers: &Papers, record: &Record, named: &str, chart: &str) -> Option<i64> {
    let row = papers.as_of("patients", chart, record.time).or_else(|| papers.as_of("patients", named, record.time));
    let died = papers.moment(row?.0, "deceased_at", false)?;
    (died <= record.time).then(|| (record.time.0 - died.0) / DAY)
}

/// The newest encounter that has begun: open or closed. One that was withdrawn before it was 30 days over counts no more.
fn encounter(papers: &Papers, at: Time, chart: &str) -> &'static str {
    let rows = papers.numbers(chart).into_iter().flat_map(|number| papers.about("relations", number));
    let newest = rows
        .filter(|row| cell(row, "kind") == Some("encounter"))
        .filter_map(|row| {
            let start = papers.moment(row, "start", false).unwrap_or(Time::MIN);
            let end = papers.moment(row, "end", true).unwrap_or(Time::MAX);
            let (valid_from, valid_to) = papers.validity(row);
            let withdrawn = valid_to <= at && valid_to < end.plus(30 * DAY);
            (start <= at && valid_from <= at && !withdrawn).then_some((start, end))
        })
        .max();
    match newest {
        Some((_, end)) if at < end => "open",
        Some(_) => "closed",
        None => "none",
    }
}

fn marks(papers: &Papers, record: &Record, who: &Who<'_>, named: &str, chart: &str) -> Vec<String> {
    let mut marks: Vec<&str> = Vec::new();
    let row = papers.as_of("patients", chart, record.time).or_else(|| papers.as_of("patients", named, record.time));
    let row = row.map(|(row, _)| row);
    let own_chart = who.user().and_then(|row| papers.own_chart(row));
    if own_chart == Some(chart) {
        marks.push("own_chart");
    } else {
        marks.extend(of_others(papers, record, who, chart, row));
    }
    if let Some(row) = row {
        marks.extend((cell(row, "vip") == Some("true")).then_some("vip"));
        marks.extend((cell(row, "restricted") == Some("true")).then_some("restricted"));
        let died = papers.moment(row, "deceased_at", false);
        marks.extend(died.is_some_and(|died| died <= record.time).then_some("deceased"));
    }
    if named != chart {
        marks.push("merged");
    }
    marks.into_iter().map(str::to_owned).collect()
}

fn of_others(
    papers: &Papers,
    record: &Record,
    who: &Who<'_>,
    chart: &str,
    row: Option<&Row>,
) -> impl Iterator<Item = &'static str> {
    let user = who.user();
    let department = user.and_then(|row| cell(row, "department")).or(record.department.as_deref());
    let same_unit = |other: &str| {
        let row = papers.as_of("users", other, record.time).map(|(row, _)| row);
        let other = row.and_then(|row| cell(row, "department"));
        other.is_some() && other.map(str::to_lowercase) == department.map(str::to_lowercase)
    };
    let staff: Vec<&str> = papers.staff_of(chart).collect();
    let colleague = record.actor.is_some() && staff.iter().any(|other| same_unit(other));
    let last_word = |name: &str| name.split_whitespace().last().unwrap_or_default().to_lowercase();
    let surname = user.and_then(|row| cell(row, "name")).map(last_word);
    let namesake = surname.is_some() && row.and_then(|row| cell(row, "surname")).map(last_word) == surname;
    let address = user.and_then(|row| cell(row, "address_key"));
    let neighbour = address.is_some() && row.and_then(|row| cell(row, "address_key")) == address;
    let lists = |row: &Row, wanted: &[Option<&str>]| {
        let contacts = cell(row, "contacts").unwrap_or_default().split(';').map(str::trim);
        contacts.map(|c| papers.living(c)).any(|contact| wanted.contains(&Some(contact)))
    };
    let own = user.and_then(|row| papers.own_chart(row));
    let theirs = row.is_some_and(|row| lists(row, &[record.actor.as_deref(), own]));
    let mine = own
        .and_then(|own| papers.as_of("patients", own, record.time))
        .is_some_and(|(row, _)| lists(row, &[Some(chart)]));
    [
        (!staff.is_empty(), "staff"),
        (colleague, "colleague"),
        (namesake, "same_surname"),
        (neighbour, "same_address"),
        (theirs || mine, "contact"),
    ]
    .into_iter()
    .filter(|(is, _)| *is)
    .map(|(_, mark)| mark)
}
