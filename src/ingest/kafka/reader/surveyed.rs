//! What the reader does when the warden's answer has come: new partitions, ends, gaps, logs that are others, and trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset;

use super::super::arrival::Arrival;
use super::super::client::Failure;
use super::super::lane::{Lane, Verdict};
use super::super::log_id::LogId;
use super::super::survey::{Log, Survey, Topic};
use super::super::warden::Wake;
use super::Reader;
use crate::event::Origin;

/// Lanes that are to be assigned (again) once all of a survey has been looked at.
type Anew = BTreeSet<Origin>;

impl Reader {
    pub(super) fn apply(&mut self, survey: &Survey) {
        self.tell_trouble(survey);
        let positions = self.positions();
        let mut anew = Anew::new();
        for (topic, seen) in &survey.topics {
            match seen {
                Ok(described) => {
                    let found = LogId { cluster: survey.cluster_id.clone(), topic: described.id.clone() };
                    match self.other(topic, &found) {
                        Some(expected) => self.stop_topic(topic, described, &expected, &found),
                        None => self.follow(topic, described, &positions, survey.asked, &mut anew),
                    }
                    self.seen.insert(topic.clone());
                }
                // What is made under this name from now on is new from its beginning.
                Err(Failure::Missing(_)) => {
                    self.seen.insert(topic.clone());
                }
                Err(_) => {}
            }
        }
        if self.astray.is_some_and(|astray| survey.asked >= astray) {
            self.astray = None;
        }
        self.assign(&anew);
    }

    /// The topic is there and is ours: every partition is looked at.
    fn follow(
        &mut self,
        topic: &Arc<str>,
        described: &Topic,
        positions: &BTreeMap<Origin, i64>,
        asked: Instant,
        anew: &mut Anew,
    ) {
        for (partition, log) in &described.partitions {
            let Err(index) = self.find(topic, *partition) else { continue };
            let wanted = self.first_offset(topic, *partition, *log);
            let mut lane = Lane::new(topic, *partition, wanted, asked);
            lane.paused = self.held.contains(&lane.origin);
            let origin = lane.origin.clone();
            self.lanes.insert(index, lane);
            // It was stopped before this start, and however long its log has become since, nobody has decided.
            if self.begin.stopped.remove(&origin) {
                let known = self.begin.logs.get(&**topic).cloned().unwrap_or_default();
                self.stop_lane(index, log.high, &known, &known);
            }
            anew.insert(origin);
        }
        // Whoever is new is told before anything is said of the others, so that time waits for all of them from the beginning.
        for (partition, log) in &described.partitions {
            if let Ok(index) = self.find(topic, *partition)
                && !self.lanes[index].stopped
            {
                self.judge(index, *log, positions, asked, anew);
            }
        }
    }

    fn first_offset(&mut self, topic: &Arc<str>, partition: i32, log: Log) -> i64 {
        let origin = Origin::Topic { topic: topic.clone(), partition };
        let anew = self.anew.remove(&origin);
        if let (None, Some(position)) = (anew, self.begin.positions.get(&origin)) {
            return (*position).max(0);
        }
        let of_topic = |known: &Origin| matches!(known, Origin::Topic { topic: name, .. } if name == topic);
        let is_known = self.seen.contains(topic) || self.begin.positions.keys().any(of_topic);
        let from = anew.unwrap_or(if is_known { 0 } else { log.start });
        tracing::debug!(group = self.plan.group, from, "kafka: {origin} is new");
        let log = self.begin.logs.get(&**topic).cloned().unwrap_or_default();
        self.out.push(Arrival::NewPartition { origin, log, from });
        from
    }

    fn judge(&mut self, index: usize, log: Log, positions: &BTreeMap<Origin, i64>, asked: Instant, anew: &mut Anew) {
        let crowded = self.choked || self.out.waits(asked).is_some();
        let is_astray = self.astray.is_some_and(|astray| asked >= astray);
        let lane = &mut self.lanes[index];
        let origin = lane.origin.clone();
        let position = positions.get(&origin).copied().unwrap_or(-1);
        match lane.judge(log, position, asked, !crowded && !lane.paused) {
            Verdict::Behind if is_astray => _ = anew.insert(origin),
            Verdict::Behind => {}
            Verdict::AtEnd { offset, stood } => {
                // It is said again with the next survey, so it can be left out where the pipeline is slow.
                if !crowded {
                    self.out.push_batch(lane.cut());
                    self.out.push(Arrival::End { origin: origin.clone(), offset, stood, asked });
                }
                if is_astray {
                    anew.insert(origin);
                }
            }
            Verdict::Lost { low } => {
                self.out.push_batch(lane.cut());
                let from = lane.wanted;
                lane.skip_to(low);
                tracing::warn!(
                    group = self.plan.group,
                    "kafka: {origin}: records {from}..{low} are gone; recorded as a gap"
                );
                self.out.push(Arrival::Gap { origin: origin.clone(), from, to: low });
                anew.insert(origin);
            }
            Verdict::Doubtful => self.wake(Wake::All),
            Verdict::Shorter => {
                let known = self.begin.logs.get(&*lane.topic).cloned().unwrap_or_default();
                self.stop_lane(index, log.high, &known, &known);
            }
            Verdict::Stalled => {
                lane.watch_again(asked);
                anew.insert(origin.clone());
                self.say_passing(format!(
                    "{origin} has more to read, but nothing came for a minute; it is assigned anew"
                ));
            }
        }
    }

    /// The log that was read under this name, where `found` is another one. What was not known before is remembered.
    fn other(&mut self, topic: &str, found: &LogId) -> Option<LogId> {
        let expected = self.begin.logs.entry(topic.to_owned()).or_default();
        if !expected.may_be(found) {
            return Some(expected.clone());
        }
        *expected = expected.with(found);
        None
    }

    /// A person has decided: the partition is forgotten as the log that it was, and the next survey finds it new.
    pub(super) fn begin_anew(&mut self, origin: Origin, log: LogId, from: i64) {
        let Origin::Topic { topic, partition } = &origin else { return };
        if let Ok(index) = self.find(topic, *partition)
            && self.lanes[index].stopped
        {
            self.lanes.remove(index);
            self.depths.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&origin);
            self.begin.logs.insert(topic.to_string(), log);
            self.begin.positions.remove(&origin);
            self.anew.insert(origin, from);
            self.wake(Wake::All);
        }
    }

    fn stop_topic(&mut self, topic: &Arc<str>, described: &Topic, expected: &LogId, found: &LogId) {
        let known = self.begin.positions.keys().filter_map(|origin| match origin {
            Origin::Topic { topic: name, partition } if name == topic => Some(*partition),
            _ => None,
        });
        let running = self.lanes.iter().filter(|lane| lane.topic == *topic).map(|lane| lane.partition);
        let partitions: BTreeSet<i32> = described.partitions.keys().copied().chain(known).chain(running).collect();
        for partition in partitions {
            let index = self.find(topic, partition).unwrap_or_else(|index| {
                let origin = Origin::Topic { topic: topic.clone(), partition };
                let position = self.begin.positions.get(&origin).copied().unwrap_or(0).max(0);
                self.lanes.insert(index, Lane::new(topic, partition, position, Instant::now()));
                index
            });
            if !self.lanes[index].stopped {
                let end = described.partitions.get(&partition).map_or(0, |log| log.high);
                self.stop_lane(index, end, expected, found);
            }
        }
    }

    fn stop_lane(&mut self, index: usize, end: i64, expected: &LogId, found: &LogId) {
        self.unassign(&[index]);
        let lane = &mut self.lanes[index];
        lane.stop();
        let (origin, position) = (lane.origin.clone(), lane.wanted);
        tracing::error!(
            group = self.plan.group,
            %expected,
            %found,
            "kafka: {origin} is not the log that was read before: read up to {position}, it ends at {end}; it is stopped"
        );
        let (expected, found) = (expected.clone(), found.clone());
        self.out.push(Arrival::TopicMadeAgain { origin, position, end, expected, found });
    }

    /// How far the client has handed out, transaction markers included.
    fn positions(&self) -> BTreeMap<Origin, i64> {
        let Ok(list) = self.client.position() else {
            return BTreeMap::new();
        };
        let position = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some((Origin::topic(element.topic(), element.partition()), offset)),
            _ => None,
        };
        list.elements().into_iter().filter_map(position).collect()
    }

    /// The start offset goes into the assignment itself: seeking afterwards would race with the first records.
    fn assign(&mut self, anew: &Anew) {
        let at = |origin: &Origin| self.lanes.iter().position(|lane| lane.origin == *origin && !lane.stopped);
        let lanes: Vec<usize> = anew.iter().filter_map(at).collect();
        if lanes.is_empty() {
            return;
        }
        self.unassign(&lanes);
        if let Err(error) = self.client.incremental_assign(&self.list(&lanes)) {
            // The watch on standing still tries again.
            self.say_passing(format!("partitions cannot be assigned: {error}"));
            return;
        }
        lanes.iter().for_each(|index| self.lanes[*index].assigned = true);
        let held: Vec<_> = lanes.into_iter().filter(|index| self.choked || self.lanes[*index].paused).collect();
        if !held.is_empty() {
            self.tell_client(&held, true);
        }
    }

    fn unassign(&mut self, lanes: &[usize]) {
        let lanes: Vec<usize> = lanes.iter().copied().filter(|index| self.lanes[*index].assigned).collect();
        if lanes.is_empty() {
            return;
        }
        if let Err(error) = self.client.incremental_unassign(&self.list(&lanes)) {
            // Whatever the client still delivers is skipped by offset, and nothing of a stopped lane is used.
            tracing::debug!(group = self.plan.group, "kafka: unassign: {error}");
        }
        lanes.iter().for_each(|index| self.lanes[*index].assigned = false);
    }

    fn tell_trouble(&mut self, survey: &Survey) {
        // A broker that is away is worse than a topic that does not exist.
        let is_missing = |failure: &&Failure| matches!(failure, Failure::Missing(_));
        let failure = survey.topics.values().filter_map(|topic| topic.as_ref().err()).min_by_key(is_missing);
        match failure {
            Some(failure) => {
                let (since, told) = self.trouble.unwrap_or((survey.asked, false));
                let now_told = self.say_trouble(failure.to_string(), is_missing(&failure));
                self.trouble = Some((since, told || now_told));
            }
            None => {
                self.ear.forget();
                // A trouble that was over before it could be told is not told afterwards.
                if let Some((since, true)) = self.trouble.take() {
                    let after = since.elapsed();
                    tracing::info!(group = self.plan.group, seconds = after.as_secs(), "kafka: the trouble is over");
                    self.out.push(Arrival::Recovered { after });
                }
            }
        }
    }

    /// Says what no answer of the broker shows: the next answer without a fault says that it is over.
    fn say_passing(&mut self, what: String) {
        if self.say_trouble(what, false) {
            self.trouble.get_or_insert((Instant::now(), true)).1 = true;
        }
    }

    /// Says it unless something was said within the last minute; whether it was said.
    fn say_trouble(&mut self, what: String, missing: bool) -> bool {
        let Some(more) = self.told.pass(Instant::now()) else {
            return false;
        };
        // One line when it begins and one when it is over; whoever looks on hears of it once a minute.
        if self.trouble.is_some_and(|(_, told)| told) {
            tracing::debug!(group = self.plan.group, more, "kafka: {what}");
        } else {
            tracing::warn!(group = self.plan.group, more, "kafka: {what}");
        }
        self.out.push(Arrival::Trouble { what, missing });
        true
    }
}
