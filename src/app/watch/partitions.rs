//! Partitions that are stopped and partitions that time does not wait for: what people decide about them, and what the settings do.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::super::acts::Act;
use super::super::desk::{Answer, Desk};
use super::super::monitor::board::{Board, Doing};
use super::super::operator::{self, Seen};
use super::super::partitions::{is_meant, leave, left, resume, words};
use super::super::places::{Halted, Places};
use super::wrong::{Signs, furthest};
use crate::event::{Origin, Time};
use crate::ingest::kafka::Arrival;
use crate::pipeline::{News, Road};

/// Who decides without being asked.
const BY_ITSELF: &str = "run";

/// What is known of partitions beside how they stand.
pub(super) struct Partitions {
    places: Places,
    desk: Desk,
    halted: BTreeMap<Origin, Halted>,
    /// Whoever asked hears of it when the control log has it, which it has by the next call.
    due: Vec<(oneshot::Sender<Answer>, String)>,
}

impl Partitions {
    pub(super) fn new(places: Places, desk: Desk) -> Partitions {
        Partitions { places, desk, halted: BTreeMap::new(), due: Vec::new() }
    }

    /// An arrival goes down the road.
    pub(super) fn heard(&mut self, arrival: &Arrival) {
        match arrival {
            Arrival::TopicMadeAgain { origin, position, end, expected, found } => {
                let (other, found) = (!expected.may_be(found), found.clone());
                let is_back = self.places.is_back(origin, *end);
                let halted = Halted { origin: origin.clone(), position: *position, end: *end, found, other, is_back };
                self.halted.insert(origin.clone(), halted);
            }
            Arrival::NewPartition { origin, .. } => _ = self.halted.remove(origin),
            _ => {}
        }
    }

    /// What was decided, by people or by the settings; it is in the control log by the next call.
    pub(super) fn decide(
        &mut self,
        road: &Road<'_>,
        board: &Board,
        signs: &Signs,
        (leave_after, now): (Option<i64>, Time),
    ) -> Vec<News> {
        for (answer, words) in self.due.drain(..) {
            // Whoever asked may be gone.
            let _ = answer.send(Ok(words));
        }
        let mut news = caught_up(road);
        for request in self.desk.take() {
            match self.asked(&request.act, road) {
                Ok((words, more)) => {
                    news.extend(more);
                    self.due.push((request.answer, words));
                }
                Err(what) => _ = request.answer.send(Err(what)),
            }
        }
        if news.is_empty() && leave_after.is_some_and(|limit| signs.stalled(limit, now)) {
            news.extend(by_itself(road, board));
        }
        news
    }

    /// Everybody who asked has an answer, or is told that there will be none.
    pub(super) fn close(&mut self) {
        for (answer, words) in self.due.drain(..) {
            let _ = answer.send(Ok(words));
        }
    }

    fn asked(&mut self, act: &Act, road: &Road<'_>) -> Result<(String, Vec<News>), String> {
        match act {
            Act::Leave { topic, partition, reason, who } => {
                let origin = Origin::topic(topic.as_str(), *partition);
                match road.engine.stands().find(|(known, _)| **known == origin) {
                    None => Err(format!("{origin} is not read")),
                    Some((_, stand)) if stand.left => Err(format!("time does not wait for {origin} already")),
                    Some(_) if self.halted.contains_key(&origin) => {
                        Err(format!("{origin} is stopped: time does not wait for it, and nothing of it is read"))
                    }
                    Some(_) => Ok((left(&origin), vec![leave(&origin, true, who, reason)])),
                }
            }
            Act::Resume { topic, partition, reason, who } => {
                let behind = road.engine.stands().filter(|(_, stand)| stand.left).map(|(origin, _)| origin);
                let behind: Vec<Origin> =
                    behind.filter(|origin| is_meant(origin, topic, *partition)).cloned().collect();
                let halted: Vec<Halted> = self.halted.values().cloned().collect();
                let (said, news) = resume(&mut self.places, &halted, &behind, (topic, *partition), (who, reason))?;
                for one in &news {
                    if let News::Resumed(resumed) = one {
                        self.halted.remove(&resumed.origin);
                    }
                }
                Ok((said.join("\n"), news))
            }
            Act::Verdict { .. } | Act::Mute { .. } => Err("this is no act about partitions".to_owned()),
        }
    }
}

/// What an operator should know of a decision.
pub(super) fn told(news: &News) -> Option<Seen> {
    let News::Resumed(resumed) = news else { return None };
    if resumed.goes_on() {
        return None;
    }
    let what = format!("{}.", words(resumed));
    Some(Seen { kind: &operator::GAP, about: resumed.origin.to_string(), what, count: 0 })
}

/// Partitions whose records have come as far as time has.
fn caught_up(road: &Road<'_>) -> Vec<News> {
    let watermark = road.engine.watermark();
    let stands =
        road.engine.stands().filter(|(_, stand)| stand.left && watermark.is_some() && stand.newest >= watermark);
    stands.map(|(origin, _)| leave(origin, false, BY_ITSELF, "its records have caught up with the others")).collect()
}

/// Those that time waits for, where others have more to read.
fn by_itself(road: &Road<'_>, board: &Board) -> Vec<News> {
    let behind = furthest(board);
    let more = |(origin, lane): (&Origin, &super::LaneStand)| {
        lane.doing != Doing::Stopped && !behind.contains(&origin) && (lane.lag() > 0 || lane.queued > 0)
    };
    if !board.lanes.iter().any(more) {
        return Vec::new();
    }
    let known = |origin: &&&Origin| road.engine.stands().any(|(known, stand)| known == **origin && !stand.left);
    let reason = "time has waited for it as long as [monitor] leave_after says";
    behind.iter().filter(known).map(|origin| leave(origin, true, BY_ITSELF, reason)).collect()
}
