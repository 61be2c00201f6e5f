//! Lengths of time and times of day, as people write them in settings.

use schemars::JsonSchema;
use serde::Deserialize;

/// A length of time, written as `30s`, `15m`, `2h` or `1h30m`; kept in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct Length(pub i64);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Length, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length: Option<jiff::SignedDuration> =
            text.parse().ok().filter(|d: &jiff::SignedDuration| !d.is_negative());
        let micros = length.and_then(|length| i64::try_from(length.as_micros()).ok());
        let wrong = || serde::de::Error::custom(format!("`{text}` is no length of time; write it as 30s, 15m or 2h"));
        micros.map(Length).ok_or_else(wrong)
    }
}

/// A time of day, written as `08:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct ClockTime {
    /// 0 to 23.
    pub hour: i8,
    /// 0 to 59.
    pub minute: i8,
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ClockTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let part = |part: &str, most: i8| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            part.parse().ok().filter(|number| digits && *number <= most)
        };
        let time = text
            .split_once(':')
            .and_then(|(hour, minute)| Some(ClockTime { hour: part(hour, 23)?, minute: part(minute, 59)? }));
        time.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no time of day; write it as 08:00")))
    }
}
