//! What single cells mean: dates, truth values, weekly windows and names.
//!
//! A complaint names the column and never the value.

use std::collections::HashMap;

use icu_normalizer::DecomposingNormalizerBorrowed;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::text::Complaint;
use crate::event::time::{Day, Time, Zone};

/// Whether a plain date stands for its beginning or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Local midnight at which the date begins.
    Start,
    /// Local midnight at which the date ends.
    End,
}

/// Reads instants; remembers the midnights it has worked out, since millions of rows share a few thousand dates.
#[derive(Default)]
pub struct Dates {
    midnights: HashMap<(u32, Day), Time, Xxh3DefaultBuilder>,
}

impl Dates {
    /// RFC 3339, or a plain date in `zone`, which is known to the caller under the number `place`.
    pub fn read(
        &mut self,
        column: &str,
        cell: Option<&str>,
        edge: Edge,
        place: u32,
        zone: &Zone,
    ) -> Result<Option<Time>, Complaint> {
        let Some(cell) = cell else { return Ok(None) };
        if let Some(day) = Day::parse(cell) {
            let day = if edge == Edge::End { day.plus(1) } else { day };
            return Ok(Some(*self.midnights.entry((place, day)).or_insert_with(|| zone.midnight(day))));
        }
        let time =
            Time::parse(cell).ok_or_else(|| format!("`{column}` is neither a date nor RFC 3339 with an offset"))?;
        Ok(Some(time))
    }
}

/// `true` or `false`, in any case; `None` where the cell is empty.
pub fn truth(column: &str, cell: Option<&str>) -> Result<Option<bool>, Complaint> {
    match cell.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true" | "yes" | "1") => Ok(Some(true)),
        Some("false" | "no" | "0") => Ok(Some(false)),
        Some(_) => Err(format!("`{column}` is neither true nor false")),
    }
}

/// The weekly hours in which a vendor account may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessWindow {
    /// Days as bits (Monday is 1), first minute, and the minute after the last; where that is not later, the range ends the next day.
    ranges: Vec<(u8, u16, u16)>,
}

impl AccessWindow {
    /// Reads `Mon-Fri 08:00-18:00`, several with `;`. Days are a range, a list with `,`, or left out for every day.
    pub fn parse(text: &str) -> Option<AccessWindow> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let ranges: Option<Vec<_>> = parts.map(window_range).collect();
        ranges.filter(|ranges| !ranges.is_empty()).map(|ranges| AccessWindow { ranges })
    }

    /// Whether the window is open on that date at that minute of the clock.
    pub fn contains(&self, date: Day, minute: u16) -> bool {
        let today = 1_u8 << date.weekday();
        let yesterday = 1_u8 << date.plus(-1).weekday();
        self.ranges.iter().any(|&(days, from, to)| {
            if from < to {
                return days & today != 0 && (from..to).contains(&minute);
            }
            (days & today != 0 && minute >= from) || (days & yesterday != 0 && minute < to)
        })
    }
}

fn window_range(part: &str) -> Option<(u8, u16, u16)> {
    let (days, hours) = match part.rsplit_once(char::is_whitespace) {
        Some((days, hours)) => (window_days(days)?, hours),
        None if part.starts_with(|c: char| c.is_ascii_digit()) => (0x7F, part),
        None => return Some((window_days(part)?, 0, 24 * 60)),
    };
    if !hours.contains(':') {
        return Some((window_days(part)?, 0, 24 * 60));
    }
    let (from, to) = hours.split_once('-')?;
    let (from, to) = (window_minute(from)?, window_minute(to)?);
    (from < 24 * 60).then_some((days, from, to))
}

/// `Mon-Fri`, `Mon,Wed`, `Sat`, also mixed and across the end of the week (`Fri-Mon`).
fn window_days(text: &str) -> Option<u8> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = |name: &str| NAMES.iter().position(|known| name.trim().to_lowercase().get(..3) == Some(*known));
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        bits |= (first..=first + length).fold(0, |bits, d| bits | 1 << (d % 7));
    }
    Some(bits)
}

/// Minutes since midnight of `H:MM` or `HH:MM`, up to `24:00`.
fn window_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && total <= 24 * 60).then_some(total)
}

/// The last word of a name or surname without case and accents: `Anna van der Bérg` and `BERG, Anna` both give `berg`.
pub fn surname(name: &str) -> String {
    let before_comma = name.split(',').next().unwrap_or_default();
    let mut words: Vec<&str> = before_comma.split_whitespace().collect();
    const SUFFIXES: [&str; 6] = ["jr", "sr", "ii", "iii", "iv", "md"];
    while words.len() > 1 && SUFFIXES.contains(&words[words.len() - 1].trim_end_matches('.').to_lowercase().as_str()) {
        words.pop();
    }
    folded(words.last().copied().unwrap_or_default())
}

/// Lower case without accents.
pub fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut plain = String::with_capacity(text.len());
    let normalizer = DecomposingNormalizerBorrowed::new_nfkd();
    for letter in normalizer.normalize_iter(text.chars().flat_map(char::to_lowercase)) {
        match letter {
            '\u{300}'..='\u{36F}' => {}
            // Letters that Unicode does not take apart, as registration clerks do.
            'ß' => plain.push_str("ss"),
            'æ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            'þ' => plain.push_str("th"),
            'ø' => plain.push('o'),
            'đ' | 'ð' => plain.push('d'),
            'ł' => plain.push('l'),
            'ı' => plain.push('i'),
            '’' => plain.push('\''),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let zone = Zone::get("America/New_York").unwrap();
        let mut dates = Dates::default();
        let mut check = |cell: &str, edge: Edge, expected: &str| {
            let read = dates.read("end", Some(cell), edge, 0, &zone);
            let shown = read.map_or_else(|what| what, |time| time.unwrap().to_string());
            assert_eq!(shown, expected, "{cell} {edge:?}");
        };
        check("2026-03-08", Edge::Start, "2026-03-08T05:00:00Z");
        // The day on which clocks go forward has 23 hours, the one on which they go back 25.
        check("2026-03-08", Edge::End, "2026-03-09T04:00:00Z");
        check("2026-11-01", Edge::Start, "2026-11-01T04:00:00Z");
        check("2026-11-01", Edge::End, "2026-11-02T05:00:00Z");
        check("2026-11-01T10:00:00-05:00", Edge::End, "2026-11-01T15:00:00Z");
        for bad in ["01/02/2026", "2026-11-01T10:00:00", "2026-02-30", "soon"] {
            check(bad, Edge::Start, "`end` is neither a date nor RFC 3339 with an offset");
        }
        assert_eq!(dates.read("end", None, Edge::Start, 0, &zone), Ok(None));
    }

    #[test]
    fn windows() {
        let check = |window: &str, open: &[(&str, &str)], shut: &[(&str, &str)]| {
            let parsed = AccessWindow::parse(window).unwrap_or_else(|| panic!("{window} should parse"));
            for (list, expected) in [(open, true), (shut, false)] {
                for (date, clock) in list {
                    let minute = window_minute(clock).unwrap();
                    assert_eq!(
                        parsed.contains(Day::parse(date).unwrap(), minute),
                        expected,
                        "{window} at {date} {clock}"
                    );
                }
            }
        };
        // 2026-11-16 is a Monday.
        let (mon, tue, wed, fri, sat, sun) =
            ("2026-11-16", "2026-11-17", "2026-11-18", "2026-11-20", "2026-11-21", "2026-11-22");
        check(
            "Mon-Fri 08:00-18:00",
            &[(mon, "08:00"), (fri, "17:59")],
            &[(mon, "07:59"), (fri, "18:00"), (sat, "12:00")],
        );
        check(
            "Mon-Fri 22:00-06:00",
            &[(mon, "23:00"), (tue, "05:59"), (sat, "05:59")],
            &[(mon, "05:00"), (sat, "22:00"), (tue, "06:00")],
        );
        check(
            "Mon,Wed 9:00-10:00; Sat 00:00-24:00",
            &[(mon, "09:30"), (wed, "09:00"), (sat, "23:59")],
            &[(tue, "09:30"), (sun, "00:00")],
        );
        check(
            "Fri-Mon 08:00-09:00",
            &[(fri, "08:30"), (sun, "08:30"), (mon, "08:30")],
            &[(tue, "08:30"), (wed, "08:30")],
        );
        check("20:00-04:00", &[(mon, "23:00"), (sun, "03:00")], &[(mon, "12:00")]);
        check("sunday", &[(sun, "13:00")], &[(mon, "13:00")]);
        check("Sun 22:00-02:00", &[(sun, "22:00"), (mon, "01:59")], &[(sun, "01:00"), (mon, "02:00")]);
        check("Mon-Fri, Sun 08:00-09:00", &[(mon, "08:00"), (sun, "08:00")], &[(sat, "08:00")]);
        for bad in
            ["", ";", "Mon-Foo 08:00-18:00", "Mon 08:00", "Mon 08:00-25:00", "Mon 8-18", "08:61-09:00", "24:00-25:00"]
        {
            assert_eq!(AccessWindow::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn surnames() {
        for (name, expected) in [
            ("Anna van der Bérg", "berg"),
            ("BERG, Anna", "berg"),
            ("Jane Doe, RN", "doe"),
            ("José Núñez Jr.", "nunez"),
            ("Groß", "gross"),
            ("GROSS", "gross"),
            ("Łukasz Wałęsa", "walesa"),
            ("Ngũgĩ", "ngugi"),
            ("O’Neill", "o'neill"),
            ("İnan", "inan"),
            ("Jr", "jr"),
            ("", ""),
        ] {
            assert_eq!(surname(name), expected, "{name}");
        }
    }
}
