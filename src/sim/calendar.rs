//! The year of the hospital: holidays, seasons, busy weekdays and the hours at which patients come.
//!
//! Everything is a function of the date; the random part of a day's load is drawn by the care simulation.

use super::dice::Dice;
use crate::event::Day;
use crate::event::time::HOUR;

/// The public holidays of the years around `start` to `start + days`, in order.
pub fn holidays(start: Day, days: u32) -> Vec<Day> {
    let (first, last) = (start.civil().0, start.plus(days as i32).civil().0);
    let mut all = Vec::new();
    for year in first..=last {
        let date = |month: i64, day: i64| Day::parse(&format!("{year:04}-{month:02}-{day:02}"));
        let nth = |month: i64, weekday: u8, nth: i32| {
            let first = date(month, 1)?;
            let ahead = (i32::from(weekday) - i32::from(first.weekday())).rem_euclid(7);
            Some(first.plus(ahead + 7 * (nth - 1)))
        };
        let memorial = date(5, 31).map(|last| last.plus(-i32::from(last.weekday())));
        let thanks = nth(11, 3, 4);
        all.extend([date(1, 1), nth(1, 0, 3), nth(2, 0, 3), memorial, date(6, 19), date(7, 4)].into_iter().flatten());
        all.extend([nth(9, 0, 1), thanks, thanks.map(|d| d.plus(1)), date(12, 25)].into_iter().flatten());
    }
    all
}

/// How busy emergency care is on this date against the average: weekday and season.
pub fn arrivals_factor(date: Day) -> f64 {
    const WEEKDAY: [f64; 7] = [1.14, 1.03, 0.98, 0.97, 0.98, 0.93, 0.97];
    let (_, month, day) = date.civil();
    let in_year = (month - 1) as f64 / 12.0 + day as f64 / 365.0;
    WEEKDAY[usize::from(date.weekday())] * (1.0 + 0.10 * (std::f64::consts::TAU * (in_year - 0.04)).cos())
}

/// The wave of a flu-like fortnight: 1.5 at its height, from the 30th to the 44th day of a run of at least 60 days.
pub fn surge(index: i32, days: u32) -> f64 {
    match index {
        30 | 43 if days >= 60 => 1.25,
        31..=42 if days >= 60 => 1.5,
        _ => 1.0,
    }
}

/// Microseconds after 07:00 at which a walk-in patient arrives.
pub fn arrival_offset(dice: &mut Dice) -> i64 {
    const BY_HOUR: [f64; 24] = [
        3.0, 4.0, 5.5, 6.5, 6.8, 6.6, 6.3, 6.0, 5.8, 5.6, 5.6, 5.8, 5.9, 5.6, 5.0, 4.2, 3.4, 2.7, 2.1, 1.7, 1.4, 1.3,
        1.4, 2.0,
    ];
    dice.weighted(&BY_HOUR) as i64 * HOUR + dice.between(0, HOUR)
}

/// Whether the office staff is off: weekend or holiday.
pub fn is_off(date: Day, holidays: &[Day]) -> bool {
    date.weekday() >= 5 || holidays.contains(&date)
}

/// Whether bills are closed on this date: the last three and first two days of a month, roughly.
pub fn is_month_end(date: Day) -> bool {
    let month = date.civil().1;
    date.plus(3).civil().1 != month || date.plus(-2).civil().1 != month
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holidays_of_2026() {
        let start = Day::parse("2026-01-05").unwrap();
        let days: Vec<String> = holidays(start, 300).iter().map(Day::to_string).collect();
        let expected = [
            "2026-01-01",
            "2026-01-19",
            "2026-02-16",
            "2026-05-25",
            "2026-06-19",
            "2026-07-04",
            "2026-09-07",
            "2026-11-26",
            "2026-11-27",
            "2026-12-25",
        ];
        assert_eq!(days, expected);
    }
}
