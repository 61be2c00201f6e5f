//! Whether `run` is well: ok, degraded or failed, and why. Pure: a board, the channels and the present in, a judgement out.
//!
//! *failed* is for a supervisor: the process does not do its work and a restart or a person is needed. *degraded* is for a person: it
//! works, and something is wrong that will cost alerts or records if it stays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::board::{Board, Doing};
use crate::event::Time;
use crate::event::time::SECOND;
use crate::notify::Health as ChannelHealth;

/// The loop does its chores every two seconds; a step of a large batch or a long commit may take some more.
const SILENT: i64 = 60 * SECOND;

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok,
    /// It works, but somebody should look.
    Degraded,
    /// It does not do its work.
    Failed,
}

impl Level {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Degraded => "degraded",
            Level::Failed => "failed",
        }
    }
}

/// A judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How well it is.
    pub level: Level,
    /// Why, by slug and what it is about; empty where all is well.
    pub reasons: Vec<(String, String)>,
}

/// Judges.
pub fn judge(board: &Board, channels: &BTreeMap<String, ChannelHealth>, now: Time) -> Verdict {
    let mut verdict = Verdict { level: Level::Ok, reasons: Vec::new() };
    let mut say = |level: Level, slug: String, what: String| {
        verdict.level = verdict.level.max(level);
        verdict.reasons.push((slug, what));
    };
    if let Some(what) = &board.waits {
        say(Level::Failed, "disk".into(), what.clone());
    }
    let silent = board.beat.or(board.started).is_none_or(|beat| now.0 - beat.0 > SILENT);
    if silent && board.waits.is_none() {
        say(Level::Failed, "loop".into(), "the loop has not turned for a minute".into());
    }
    let stopped = board.lanes.values().filter(|lane| lane.doing == Doing::Stopped).count();
    if stopped > 0 && stopped == board.lanes.len() {
        say(Level::Failed, "stopped".into(), "every partition is stopped: nothing is read".into());
    }
    for trouble in &board.open {
        say(Level::Degraded, format!("{}/{}", trouble.kind, trouble.about), trouble.what.clone());
    }
    for (name, health) in channels.iter().filter(|(_, health)| !health.ok) {
        say(Level::Degraded, format!("channel/{name}"), health.what.clone());
    }
    verdict
}

impl Verdict {
    /// As `/healthz` says it.
    pub fn to_json(&self) -> Value {
        let reasons: Vec<Value> =
            self.reasons.iter().map(|(slug, what)| json!({"about": slug, "what": what})).collect();
        json!({"status": self.level.as_str(), "reasons": reasons})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::monitor::board::{LaneStand, Trouble};
    use crate::event::{Origin, Severity};

    fn well() -> Board {
        Board { started: Some(Time(0)), beat: Some(Time(100 * SECOND)), ..Board::default() }
    }

    fn lane(doing: Doing) -> LaneStand {
        LaneStand { next: 0, end: 0, newest: None, queued: 0, doing }
    }

    /// The level and the slugs of the reasons, 30 seconds after the last beat of `well`.
    fn check(change: impl Fn(&mut Board), expected: Level, slugs: &[&str]) {
        let mut board = well();
        change(&mut board);
        let verdict = judge(&board, &BTreeMap::new(), Time(130 * SECOND));
        let found: Vec<&str> = verdict.reasons.iter().map(|(slug, _)| slug.as_str()).collect();
        assert_eq!((verdict.level, found.as_slice()), (expected, slugs));
    }

    #[test]
    fn levels() {
        check(|_| (), Level::Ok, &[]);
        check(|board| board.beat = Some(Time(69 * SECOND)), Level::Failed, &["loop"]);
        // Before the first beat the start counts.
        check(|board| (board.beat, board.started) = (None, Some(Time(80 * SECOND))), Level::Ok, &[]);
        check(|board| (board.beat, board.started) = (None, None), Level::Failed, &["loop"]);
        // Who waits for the disk does not turn, and says why once.
        check(|board| (board.waits, board.beat) = (Some("no space".into()), Some(Time(0))), Level::Failed, &["disk"]);
        let trouble = |since| Trouble {
            kind: "silent-source",
            about: "ehr".into(),
            what: "nothing for a day".into(),
            severity: Severity::High,
            since,
        };
        check(|board| board.open = vec![trouble(Time(1))], Level::Degraded, &["silent-source/ehr"]);
        let lanes = |doing: &[Doing]| {
            let named = |(index, doing): (usize, &Doing)| (Origin::topic("t", index as i32), lane(*doing));
            doing.iter().enumerate().map(named).collect()
        };
        check(|board| board.lanes = lanes(&[Doing::Stopped, Doing::Idle]), Level::Ok, &[]);
        check(|board| board.lanes = lanes(&[Doing::Stopped, Doing::Stopped]), Level::Failed, &["stopped"]);
    }

    #[test]
    fn a_channel_that_fails_degrades() {
        let health = |ok| ChannelHealth { ok, held: false, since: Time(0), what: "refused".into() };
        let channels = BTreeMap::from([("mail".to_owned(), health(false)), ("file".to_owned(), health(true))]);
        let verdict = judge(&well(), &channels, Time(100 * SECOND));
        assert_eq!(verdict.level, Level::Degraded);
        let expected = json!({"status": "degraded", "reasons": [{"about": "channel/mail", "what": "refused"}]});
        assert_eq!(verdict.to_json(), expected);
    }
}
