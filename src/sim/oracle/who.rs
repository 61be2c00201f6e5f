//! Who acted, and what was true of the account and its company at that moment, read off the rows.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::papers::{Papers, Row, cell};
use super::record::Record;
use crate::event::time::{DAY, MINUTE};
use crate::event::{Day, Time};

/// Shifts within this distance say that the person's shifts are known.
const KNOWN: i64 = 14 * DAY;

/// The account behind a record.
#[derive(Clone, Copy)]
pub struct Who<'p> {
    /// `user`, `vendor_account`, `unknown` or `unresolved`.
    pub account: &'static str,
    /// Its row, valid then or nearest.
    pub row: Option<(&'p Row, bool)>,
}

/// Finds the account: a vendor session belongs to a vendor's account where there is one, all else to a user where there is one.
pub fn who<'p>(papers: &'p Papers, record: &Record) -> Who<'p> {
    let Some(id) = &record.actor else { return Who { account: "unresolved", row: None } };
    let user = ("user", papers.as_of("users", id, record.time));
    let vendor = ("vendor_account", papers.as_of("vendor_accounts", id, record.time));
    let order = if record.session { [vendor, user] } else { [user, vendor] };
    match order.into_iter().find(|(_, row)| row.is_some()) {
        Some((account, row)) => Who { account, row },
        None => Who { account: "unknown", row: None },
    }
}

impl<'p> Who<'p> {
    /// The row of a user.
    pub fn user(&self) -> Option<&'p Row> {
        self.row.filter(|_| self.account == "user").map(|(row, _)| row)
    }

    /// The row of a vendor's account.
    pub fn vendor_account(&self) -> Option<&'p Row> {
        self.row.filter(|_| self.account == "vendor_account").map(|(row, _)| row)
    }

    /// The home site.
    pub fn home(&self) -> Option<&'p str> {
        self.user().and_then(|row| cell(row, "site"))
    }
}

/// Since when a row says that its account is over, and how; false as the first where it says so without a date.
fn over(papers: &Papers, row: &Row) -> (bool, Option<(&'static str, Time)>) {
    let date = papers.moment(row, "terminated_at", true);
    let how = match cell(row, "status") {
        Some("terminated") => "terminated",
        Some("disabled") => "disabled",
        // Who was hired again keeps the old date in many feeds.
        _ => {
            let hired = papers.moment(row, "hired_at", false);
            return (
                true,
                date.filter(|date| hired.is_none_or(|hired| hired < *date)).map(|date| ("terminated", date)),
            );
        }
    };
    let since = date.or(Some(papers.validity(row).0).filter(|from| *from != Time::MIN));
    (since.is_some(), since.map(|since| (how, since)))
}

/// Whether the account is over at that moment, how and since when. What a row says of the time before its own beginning holds too.
pub fn ended(papers: &Papers, file: &'static str, id: &str, at: Time) -> Option<(&'static str, Time)> {
    let (row, _) = papers.as_of(file, id, at)?;
    let own = over(papers, row).1;
    let (_, to) = papers.validity(row);
    let next = papers.about(file, id).iter().find(|next| papers.validity(next).0 == to && to != Time::MAX);
    let next = next.and_then(|next| over(papers, next).1).filter(|(_, since)| *since < to);
    let first = [own, next].into_iter().flatten().min_by_key(|(_, since)| *since);
    first.filter(|(_, since)| *since <= at)
}

/// Fills in what is true of the account.
pub fn account(papers: &Papers, record: &Record, who: &Who<'_>, facts: &mut Facts) {
    let is_service = who.user().is_some_and(|row| cell(row, "kind") == Some("service"));
    facts.set("account", Some(if is_service { "service" } else { who.account }));
    let id = record.actor.as_deref();
    let person = match who.account {
        "user" => who.user().and_then(|row| cell(row, "person_id")),
        _ => who.vendor_account().and_then(|row| cell(row, "person")),
    };
    facts.set("person_id", person.or(id));
    facts.set("role", who.user().and_then(|row| cell(row, "role")).or(record.role.as_deref()));
    facts.set("department", who.user().and_then(|row| cell(row, "department")).or(record.department.as_deref()));
    facts.set("home_site", who.home());
    facts.set("employment", who.user().and_then(|row| cell(row, "employment")));
    if let (Some((row, valid)), Some(id)) = (who.row, id) {
        let file = if who.account == "user" { "users" } else { "vendor_accounts" };
        let (dated, _) = over(papers, row);
        let status = match ended(papers, file, id, record.time) {
            Some((how, _)) => Some(how),
            None if !dated => None,
            None => match cell(row, "status") {
                Some("leave") => Some("leave"),
                _ => Some("active"),
            },
        };
        facts.set("status", status);
        let early = ["account_created_at", "hired_at"];
        let early = early.iter().any(|column| papers.moment(row, column, false).is_some_and(|from| record.time < from));
        facts.truth("outside_dates", Some(early || !valid));
    } else {
        facts.truth("outside_dates", Some(false));
    }
    facts.truth("on_shift", who.user().and_then(|_| on_shift(papers, id?, record.time)));
    entitlements(papers, id, record.time, facts);
}

fn on_shift(papers: &Papers, user: &str, at: Time) -> Option<bool> {
    let mut known = None;
    for row in papers.about("shifts", user) {
        let (start, end) = (papers.moment(row, "start", false)?, papers.moment(row, "end", true)?);
        if start <= at && at < end {
            return Some(true);
        }
        if start <= at.plus(KNOWN) && at.plus(-KNOWN) <= end {
            known = Some(false);
        }
    }
    known
}

fn entitlements(papers: &Papers, id: Option<&str>, at: Time, facts: &mut Facts) {
    let (mut privileged, mut expired, mut held) = (false, false, BTreeSet::new());
    for row in id.map_or(&[][..], |id| papers.about("entitlements", id)) {
        let (valid_from, valid_to) = papers.validity(row);
        let from = papers.moment(row, "granted_at", false).unwrap_or(Time::MIN).max(valid_from);
        let to = papers.moment(row, "expires_at", true).unwrap_or(Time::MAX).min(valid_to);
        if from <= at && at < to {
            privileged |= cell(row, "privileged") == Some("true");
            held.extend(cell(row, "entitlement").map(str::to_owned));
        }
        expired |= from <= at && to <= at && cell(row, "privileged") == Some("true");
    }
    let privilege = if privileged {
        "valid"
    } else if expired {
        "expired"
    } else {
        "none"
    };
    facts.set("privilege", Some(privilege));
    facts.list("entitlements", held.into_iter().map(Some));
}

/// The local day and the hour: the home site gives the day, the event's site the hour; a vendor's account has its vendor's hour.
pub fn times(papers: &Papers, record: &Record, who: &Who<'_>, facts: &mut Facts) -> Day {
    let day_site = who.home().or(record.site.as_deref());
    let day = papers.zone(day_site).local(record.time).day;
    let vendor = who.vendor_account().and_then(|row| cell(row, "vendor_id"));
    let vendor = vendor.and_then(|id| papers.as_of("vendors", id, record.time));
    let zone = match vendor.and_then(|(row, _)| papers.own_zone(row)) {
        Some(zone) => zone,
        None => papers.zone(record.site.as_deref().or(who.home())),
    };
    facts.set("day", Some(&day.to_string()));
    facts.set("hour", Some(&zone.local(record.time).hour.to_string()));
    let weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    facts.set("weekday", Some(weekdays[usize::from(zone.local(record.time).date.weekday())]));
    facts.truth("off_day", Some(day.weekday() >= 5 || papers.holiday(day_site, day)));
    day
}

/// Fills in what is true of the company, its agreement, its approval and its window.
pub fn vendor(papers: &Papers, record: &Record, who: &Who<'_>, facts: &mut Facts) {
    let account = who.vendor_account();
    let id = record.vendor.as_deref().or(account.and_then(|row| cell(row, "vendor_id")));
    facts.set("vendor_id", id);
    let row = id.and_then(|id| papers.as_of("vendors", id, record.time)).map(|(row, _)| row);
    facts.set("vendor_status", row.map(|row| cell(row, "status").unwrap_or("active")));
    facts.set("vendor_parent", row.and_then(|row| cell(row, "parent_vendor_id")));
    facts.set("baa", row.map(|row| agreement(papers, row, record.time)));
    facts.set("approval", approval(papers, record, account.is_some(), id));
    let window = account.and_then(|row| cell(row, "access_window"));
    facts.truth(
        "in_window",
        window.map(|window| {
            let own = account.and_then(|row| papers.as_of("vendors", cell(row, "vendor_id")?, record.time));
            let zone = own.and_then(|(row, _)| papers.own_zone(row));
            let local = zone.unwrap_or_else(|| papers.zone(record.site.as_deref())).local(record.time);
            window
                .split(';')
                .any(|range| inside(range.trim(), local.date, i32::from(local.hour) * 60 + i32::from(local.minute)))
        }),
    );
}

fn agreement(papers: &Papers, row: &Row, at: Time) -> &'static str {
    let (signed, expires) = (papers.moment(row, "baa_signed_at", false), papers.moment(row, "baa_expires_at", true));
    match (signed, expires) {
        (None, None) => "missing",
        (Some(signed), _) if at < signed => "not_yet",
        (_, Some(expires)) if expires <= at => "expired",
        _ => "valid",
    }
}

fn approval(papers: &Papers, record: &Record, vendor_account: bool, vendor: Option<&str>) -> Option<&'static str> {
    if !papers.has("approvals") {
        return None;
    }
    let Some(reference) = &record.approval else {
        return (vendor_account || record.session).then_some("missing");
    };
    let mut states: Vec<u8> = Vec::new();
    for row in papers.about("approvals", reference) {
        let (valid_from, valid_to) = papers.validity(row);
        let from = papers.moment(row, "start", false).unwrap_or(Time::MIN).max(valid_from);
        let to = papers.moment(row, "end", true).unwrap_or(Time::MAX).min(valid_to);
        let other_host = |host: &String| cell(row, "target_host").is_some_and(|own| !own.eq_ignore_ascii_case(host));
        states.push(match () {
            () if cell(row, "vendor_id").is_some_and(|own| vendor != Some(own)) => 3,
            () if record.time < from || to <= record.time => 2,
            () if record.host.as_ref().is_some_and(other_host) => 1,
            () => 0,
        });
    }
    Some(["valid", "other_host", "out_of_time", "unknown"][usize::from(states.into_iter().min().unwrap_or(3))])
}

/// Whether `Mon-Fri 08:00-18:00` is open on that date at that minute.
fn inside(range: &str, date: Day, minute: i32) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let (days, hours) = range.split_once(' ').unwrap_or(("Mon-Sun", range));
    let number = |name: &str| DAYS.iter().position(|day| *day == name).unwrap_or(0);
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let (first, last) = (number(first), number(last));
    let begins = |date: Day| (usize::from(date.weekday()) + 7 - first) % 7 <= (last + 7 - first) % 7;
    let minutes = |clock: &str| {
        let (hour, minute) = clock.split_once(':').unwrap_or((clock, "0"));
        hour.parse::<i32>().unwrap_or(0) * 60 + minute.parse::<i32>().unwrap_or(0)
    };
    let (from, to) = hours.split_once('-').map_or((0, 0), |(from, to)| (minutes(from), minutes(to)));
    let length = (to - from + 24 * 60 - 1).rem_euclid(24 * 60) + 1;
    // Walk back to the minute at which the range that could hold this one begins.
    (0..length).any(|back| {
        let (minute, date) =
            if minute >= back { (minute - back, date) } else { (minute + 24 * 60 - back, date.plus(-1)) };
        minute == from && begins(date)
    })
}

/// The clocks of the personnel feed and of a source may differ by this much.
pub const GRACE: i64 = 15 * MINUTE;
