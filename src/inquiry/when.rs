//! `--since` and `--until`: RFC 3339, a date, or an age before the newest event.

use super::AskError;
use crate::event::time::{DAY, HOUR};
use crate::event::{Day, Time, Zone};

/// Half-open span of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First instant; `None` is from the beginning.
    pub since: Option<Time>,
    /// First instant after; `None` is to the newest.
    pub until: Option<Time>,
}

/// Reads both ends. A date is a day in `zone`, from midnight to midnight: `since` its first instant, `until` the end of it. `newest` is
/// the present of ages.
pub fn read_window(
    since: Option<&str>,
    until: Option<&str>,
    newest: Option<Time>,
    zone: &Zone,
) -> Result<Window, AskError> {
    let since = since.map(|text| read_end(text, newest, (zone, 0))).transpose()?;
    let until = until.map(|text| read_end(text, newest, (zone, 1))).transpose()?;
    match (since, until) {
        (Some(since), Some(until)) if until <= since => {
            Err(AskError::Usage("--until must be later than --since".into()))
        }
        _ => Ok(Window { since, until }),
    }
}

fn read_end(text: &str, newest: Option<Time>, (zone, days): (&Zone, i32)) -> Result<Time, AskError> {
    if let Some(time) = Time::parse(text) {
        return Ok(time);
    }
    if let Some(day) = Day::parse(text) {
        return Ok(zone.midnight(day.plus(days)));
    }
    let age = age(text).ok_or_else(|| {
        let what = "is no time; write RFC 3339 (2026-11-22T19:00:00Z), a date (2026-11-22) or an age (12h, 90d, 4w)";
        AskError::Usage(format!("{text:?} {what}"))
    })?;
    Ok(newest.unwrap_or(Time(0)).plus(-age))
}

/// `90d`, `12h`, `4w`, in microseconds.
fn age(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b'h' => HOUR,
        b'd' => DAY,
        b'w' => 7 * DAY,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let number: i64 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(since: Option<&str>, until: Option<&str>, expected: Option<(&str, &str)>) {
        check_in("UTC", since, until, expected);
    }

    fn check_in(zone: &str, since: Option<&str>, until: Option<&str>, expected: Option<(&str, &str)>) {
        let newest = Time::parse("2026-11-22T19:00:00Z");
        let zone = Zone::get(zone).unwrap();
        let text = |time: Option<Time>| time.map_or("-".to_string(), |time| time.to_string());
        let read = read_window(since, until, newest, &zone).ok().map(|w| (text(w.since), text(w.until)));
        assert_eq!(read, expected.map(|(a, b)| (a.to_string(), b.to_string())), "{since:?} {until:?}");
    }

    #[test]
    fn reads_times_dates_and_ages() {
        check(None, None, Some(("-", "-")));
        check(Some("2026-11-01T00:00:00+01:00"), None, Some(("2026-10-31T23:00:00Z", "-")));
        check(Some("2026-11-01"), Some("2026-11-01"), Some(("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z")));
        // The clocks of Chicago go back on 2026-11-01: the day has 25 hours.
        let long = ("2026-11-01T05:00:00Z", "2026-11-02T06:00:00Z");
        check_in("America/Chicago", Some("2026-11-01"), Some("2026-11-01"), Some(long));
        check(Some("2d"), Some("12h"), Some(("2026-11-20T19:00:00Z", "2026-11-22T07:00:00Z")));
        check(Some("1w"), None, Some(("2026-11-15T19:00:00Z", "-")));
        for bad in ["", "d", "2", "2m", "-2d", "+2d", "2026-13-01", "soon", "é", "99999999999999999999d"] {
            check(Some(bad), None, None);
        }
        check(Some("2026-11-02"), Some("2026-11-01"), None);
    }
}
