//! Where reading begins, and under which keys positions are kept: what the history has of each partition, set against what the broker
//! says is there.
//!
//! A partition is read as one log at a time: the one that the last resumption names, else the one that was read first. Where the broker
//! has another one the source stops it, and a person decides (`resumed`).

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Origin;
use crate::history::{Change, Noted, Resumed};
use crate::ingest::kafka::{Begin, LogId, PositionKey, Survey};

/// The places of all partitions.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// What the history has of each partition: every key with its position.
    known: BTreeMap<Origin, BTreeMap<PositionKey, i64>>,
    /// The log that each is read as, and how far.
    read: BTreeMap<Origin, (PositionKey, i64)>,
    /// Those that were stopped because another log was there.
    replaced: BTreeSet<Origin>,
    /// The logs that the broker has.
    found: BTreeMap<String, LogId>,
    /// What the source has to know.
    pub begin: Begin,
    /// The ends that are not reached yet.
    pub ends: BTreeMap<Origin, i64>,
    /// The partitions of the topics, with the keys of their positions: those that the broker has, and of topics that it cannot describe
    /// now those that were read before.
    pub partitions: BTreeMap<Origin, String>,
    /// Those of which nothing is on record, with the first offset that is read.
    pub fresh: Vec<(Origin, i64)>,
}

/// A partition that is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Halted {
    /// The partition.
    pub origin: Origin,
    /// First offset that was not read.
    pub position: i64,
    /// Where the log that is there now ends.
    pub end: i64,
    /// Which log that is.
    pub found: LogId,
    /// It is another log by its ids; else it only ends too early, or did so.
    pub other: bool,
    /// It is the log that was read before, which another one had taken the place of.
    pub is_back: bool,
}

impl Places {
    /// Sets the positions on record and the resumptions of the control log against what the broker says.
    pub(super) fn new(survey: &Survey, seen: &BTreeMap<String, i64>, changes: &[Noted]) -> Places {
        let mut places = Places::default();
        for (text, next) in seen {
            if let Some(key) = PositionKey::parse(text) {
                places.known.entry(key.origin.clone()).or_default().insert(key, *next);
            }
        }
        let described = survey.topics.iter().filter_map(|(name, topic)| Some((name, topic.as_ref().ok()?)));
        for (topic, described) in described.clone() {
            let found = LogId { cluster: survey.cluster_id.clone(), topic: described.id.clone() };
            places.found.insert(topic.to_string(), found);
        }
        places.choose(changes);
        for (topic, described) in described {
            let is_known = places.read.keys().any(|origin| topic_of(origin) == Some(&**topic));
            for (partition, log) in &described.partitions {
                let origin = Origin::topic(topic.clone(), *partition);
                places.partitions.insert(origin.clone(), places.key(&origin).to_string());
                if !places.begin.positions.contains_key(&origin) && !places.is_other(&origin) {
                    // A new partition of a known topic is read from its beginning (DESIGN, decision 1).
                    let from = if is_known { 0 } else { log.start };
                    places.begin.positions.insert(origin.clone(), from);
                    places.fresh.push((origin.clone(), from));
                }
                // The end of a topic that was made again says nothing: the source will stop it and say so.
                let reached = places.begin.positions.get(&origin).is_some_and(|next| *next >= log.high);
                let is_halted = places.is_other(&origin) || places.begin.stopped.contains(&origin);
                if log.high > log.low && (is_halted || !reached) {
                    places.ends.insert(origin, log.high);
                }
            }
        }
        // Time waits for what was read before, also while nothing is known of the topic, or of a partition of it.
        let away = |origin: &&Origin| {
            topic_of(origin).is_some_and(|topic| survey.topics.contains_key(topic))
                && !places.partitions.contains_key(*origin)
        };
        let away: Vec<Origin> = places.read.keys().filter(away).cloned().collect();
        for origin in away {
            let key = places.key(&origin).to_string();
            places.partitions.insert(origin, key);
        }
        places
    }

    /// What the control log has to say of those of which nothing is on record, before anything of them is read: a start after this one
    /// begins at the same place.
    pub(super) fn begun(&self) -> impl Iterator<Item = Change> {
        self.fresh.iter().map(|(origin, from)| Change::Begun {
            origin: origin.clone(),
            key: self.partitions[origin].clone(),
            from: *from,
        })
    }

    /// Chooses the log that each partition is read as.
    fn choose(&mut self, changes: &[Noted]) {
        let mut resumed: BTreeMap<Origin, (PositionKey, i64)> = BTreeMap::new();
        let mut begun: BTreeMap<Origin, (PositionKey, i64)> = BTreeMap::new();
        for noted in changes {
            match &noted.change {
                Change::Resumed(one) => {
                    self.begin.stopped.remove(&one.origin);
                    resumed.extend(PositionKey::parse(&one.key).map(|key| (one.origin.clone(), (key, one.from))));
                }
                // It is read again only by command, whatever its log looks like by now.
                Change::Stopped { origin, other, .. } => {
                    self.begin.stopped.insert(origin.clone());
                    if *other {
                        self.replaced.insert(origin.clone())
                    } else {
                        self.replaced.remove(origin)
                    };
                }
                Change::Begun { origin, key, from } => {
                    begun.extend(PositionKey::parse(key).map(|key| (origin.clone(), (key, *from))));
                }
                _ => {}
            }
        }
        // Of a log that is not there any more nothing was read.
        begun.retain(|origin, (key, _)| {
            topic_of(origin).and_then(|topic| self.found.get(topic)).is_none_or(|found| key.log.may_be(found))
        });
        let origins: BTreeSet<Origin> = self.known.keys().chain(resumed.keys()).chain(begun.keys()).cloned().collect();
        for origin in origins {
            let base = resumed.get(&origin);
            // A broker that tells more than it did gives the same log another key: the one that is furthest holds.
            let same = |key: &PositionKey| match base {
                Some((base, _)) => key.anew == base.anew && key.log.may_be(&base.log),
                None => true,
            };
            let keys = self.known.get(&origin).into_iter().flatten().filter(|(key, _)| same(key));
            let furthest = keys.max_by_key(|(_, next)| **next).map(|(key, next)| (key.clone(), *next));
            let first = || base.or_else(|| begun.get(&origin)).cloned();
            let Some((key, next)) = furthest.or_else(first) else { continue };
            if let Some(topic) = topic_of(&origin) {
                let log = self.begin.logs.entry(topic.to_owned()).or_default();
                *log = if log.may_be(&key.log) { log.with(&key.log) } else { key.log.clone() };
            }
            self.begin.positions.insert(origin.clone(), next);
            self.read.insert(origin, (key, next));
        }
    }

    /// The key of one of today's partitions; a stopped one keeps the key that it had.
    fn key(&self, origin: &Origin) -> PositionKey {
        let found = topic_of(origin).and_then(|topic| self.found.get(topic)).cloned().unwrap_or_default();
        match self.read.get(origin) {
            Some((key, _)) if key.log.may_be(&found) => PositionKey { log: found.with(&key.log), ..key.clone() },
            Some((key, _)) => key.clone(),
            None => PositionKey { origin: origin.clone(), log: found, anew: 0 },
        }
    }

    /// Whether the topic is not the one that was read before under its name.
    fn is_other(&self, origin: &Origin) -> bool {
        let Some(topic) = topic_of(origin) else { return false };
        let both = self.begin.logs.get(topic).zip(self.found.get(topic));
        both.is_some_and(|(known, found)| !known.may_be(found))
    }

    /// Whether a log that another one had replaced is back, as far as it was read.
    pub(super) fn is_back(&self, origin: &Origin, end: i64) -> bool {
        let position = self.read.get(origin).map_or(0, |(_, next)| *next);
        self.replaced.contains(origin) && !self.is_other(origin) && position <= end
    }

    /// The partitions that the source would stop.
    pub(super) fn halted(&self, survey: &Survey) -> Vec<Halted> {
        let mut halted = Vec::new();
        let origins: BTreeSet<&Origin> = self.partitions.keys().chain(self.read.keys()).collect();
        for origin in origins {
            let Origin::Topic { topic, partition } = origin else { continue };
            let Some(found) = self.found.get(topic.as_ref()).cloned() else { continue };
            let described = survey.topics.get(topic).and_then(|seen| seen.as_ref().ok());
            let end = described.and_then(|topic| topic.partitions.get(partition)).map_or(0, |log| log.high);
            let position = self.read.get(origin).map_or(0, |(_, next)| *next);
            let other = self.is_other(origin);
            if other || position > end || self.begin.stopped.contains(origin) {
                let is_back = self.is_back(origin, end);
                halted.push(Halted { origin: origin.clone(), position, end, found, other, is_back });
            }
        }
        halted
    }

    /// What is decided about a stopped partition when it is read again. A log that was read before, which is what a cluster is that
    /// takes over and gives back, goes on where it was left; every other one begins at its beginning, under a key that no other has.
    pub(super) fn resumed(&self, halted: &Halted, who: &str, reason: &str) -> Resumed {
        let origin = &halted.origin;
        let before = self.read.get(origin).map_or_else(|| self.key(origin), |(key, _)| key.clone());
        let known = self.known.get(origin).into_iter().flatten().filter(|(key, _)| key.log.may_be(&halted.found));
        let newest = known.max_by_key(|(key, next)| (key.anew, **next));
        let (anew, from) = match newest {
            _ if !halted.other && !halted.is_back => {
                (newest.map_or(before.anew, |(key, _)| key.anew.max(before.anew)) + 1, 0)
            }
            Some((key, next)) if *next <= halted.end => (key.anew, *next),
            Some((key, _)) => (key.anew + 1, 0),
            None => (0, 0),
        };
        let log = if halted.other { halted.found.clone() } else { halted.found.with(&before.log) };
        Resumed {
            origin: origin.clone(),
            before: before.to_string(),
            position: halted.position,
            key: PositionKey { origin: origin.clone(), log, anew }.to_string(),
            from,
            who: who.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// The decision holds: whatever is decided next about this partition follows from it.
    pub(super) fn follow(&mut self, resumed: &Resumed) {
        let (before, key) = (PositionKey::parse(&resumed.before), PositionKey::parse(&resumed.key));
        let known = self.known.entry(resumed.origin.clone()).or_default();
        known.extend(before.map(|before| (before, resumed.position)));
        if let Some(key) = key {
            known.insert(key.clone(), resumed.from);
            self.begin.stopped.remove(&resumed.origin);
            self.read.insert(resumed.origin.clone(), (key, resumed.from));
        }
    }
}

/// Those of `halted` that are meant by a topic and, perhaps, a partition of it.
///
/// # Errors
/// In words, where nothing is stopped there, or where a topic that was made again as a whole would be resumed in part.
pub(super) fn meant(halted: &[Halted], topic: &str, partition: Option<i32>) -> Result<Vec<Halted>, String> {
    let of_topic: Vec<&Halted> = halted.iter().filter(|one| topic_of(&one.origin) == Some(topic)).collect();
    let chosen = |one: &&Halted| match (&one.origin, partition) {
        (Origin::Topic { partition, .. }, Some(number)) => *partition == number,
        _ => true,
    };
    let found: Vec<Halted> = of_topic.iter().copied().filter(chosen).cloned().collect();
    let name = partition.map_or_else(|| topic.to_owned(), |number| format!("{topic}/{number}"));
    if found.is_empty() {
        return Err(format!("nothing of {name} is stopped"));
    }
    if found.len() < of_topic.len() && found.iter().any(|one| one.other) {
        return Err(format!("{topic} is another topic as a whole: resume all of it, without naming a partition"));
    }
    Ok(found)
}

fn topic_of(origin: &Origin) -> Option<&str> {
    match origin {
        Origin::Topic { topic, .. } => Some(topic),
        Origin::File { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::history::Place;
    use crate::ingest::kafka::{Failure, Log, Topic};

    /// What the broker says: the cluster, the topic's id and how far each partition goes.
    fn survey(cluster: &str, id: &str, ends: &[i64]) -> Survey {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let log = |high: &i64| Log { low: 0, high: *high, start: 0 };
        let partitions = ends.iter().enumerate().map(|(number, high)| (number as i32, log(high))).collect();
        let topic = Topic { id: known(id), partitions };
        Survey::new(known(cluster), [("ehr".into(), Ok(topic))].into(), Instant::now())
    }

    fn seen(keys: &[(&str, i64)]) -> BTreeMap<String, i64> {
        keys.iter().map(|(key, next)| ((*key).to_owned(), *next)).collect()
    }

    fn noted(resumed: &Resumed) -> Noted {
        Noted { number: 1, place: Place::default(), change: Change::Resumed(resumed.clone()) }
    }

    /// Partition, key and first offset of each that is read, and the numbers of those that are stopped.
    fn shape(places: &Places, survey: &Survey) -> (Vec<(String, i64)>, Vec<String>) {
        let halted: Vec<Origin> = places.halted(survey).into_iter().map(|one| one.origin).collect();
        let read = places.partitions.iter().filter(|(origin, _)| !halted.contains(origin));
        let from = |origin: &Origin| places.begin.positions.get(origin).copied().unwrap_or(0);
        let read = read.map(|(origin, key)| (key.clone(), from(origin))).collect();
        (read, halted.iter().map(ToString::to_string).collect())
    }

    fn check(survey: &Survey, keys: &[(&str, i64)], read: &[(&str, i64)], stopped: &[&str]) {
        let places = Places::new(survey, &seen(keys), &[]);
        let read = read.iter().map(|(key, from)| ((*key).to_owned(), *from)).collect();
        let stopped = stopped.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(shape(&places, survey), (read, stopped), "{keys:?}");
    }

    #[test]
    fn a_partition_goes_on_as_the_log_that_it_was() {
        let today = survey("c", "t", &[10, 20]);
        check(&today, &[], &[("kafka:c:ehr:t:0", 0), ("kafka:c:ehr:t:1", 0)], &[]);
        let both = [("kafka:c:ehr:t:0", 7), ("kafka:c:ehr:t:1", 20)];
        check(&today, &both, &both, &[]);
        // The broker has begun to tell ids, and has ceased to.
        check(&today, &[("kafka::ehr::0", 7)], &[("kafka:c:ehr:t:0", 7), ("kafka:c:ehr:t:1", 0)], &[]);
        let silent = survey("", "", &[10]);
        check(&silent, &[("kafka:c:ehr:t:0", 7), ("kafka::ehr::0", 3)], &[("kafka:c:ehr:t:0", 7)], &[]);
        // Made again; on another cluster; shorter than it was.
        check(&today, &[("kafka:c:ehr:old:0", 7)], &[], &["ehr/0", "ehr/1"]);
        check(&today, &[("kafka:d:ehr:t:0", 7)], &[], &["ehr/0", "ehr/1"]);
        check(&today, &[("kafka:c:ehr:t:0", 11), ("kafka:c:ehr:t:1", 20)], &[("kafka:c:ehr:t:1", 20)], &["ehr/0"]);
        // What is read up to an end ends where there is more, and nowhere else.
        let places = Places::new(&today, &seen(&both), &[]);
        assert_eq!(places.ends, [(Origin::topic("ehr", 0), 10)].into());
    }

    /// What is decided about each stopped partition, as key and first offset; a restart then reads it so.
    fn decide(survey: &Survey, keys: &[(&str, i64)], changes: &mut Vec<Noted>, expected: &[(&str, i64)]) {
        let mut places = Places::new(survey, &seen(keys), changes);
        let decided: Vec<Resumed> =
            places.halted(survey).iter().map(|one| places.resumed(one, "ops", "moved")).collect();
        let found: Vec<(&str, i64)> = decided.iter().map(|one| (one.key.as_str(), one.from)).collect();
        assert_eq!(found, expected, "{keys:?}");
        for one in &decided {
            places.follow(one);
            changes.push(noted(one));
        }
        let again = Places::new(survey, &seen(keys), changes);
        let (read, stopped) = shape(&again, survey);
        assert!(stopped.is_empty(), "{stopped:?}");
        for (key, from) in expected {
            assert!(read.contains(&((*key).to_owned(), *from)), "{key} {from}: {read:?}");
        }
    }

    #[test]
    fn what_is_resumed_begins_at_its_beginning_under_a_key_of_its_own() {
        let first = [("kafka:c:ehr:a:0", 100), ("kafka:c:ehr:a:1", 50)];
        let mut changes = Vec::new();
        let again = survey("c", "b", &[10, 20]);
        decide(&again, &first, &mut changes, &[("kafka:c:ehr:b:0", 0), ("kafka:c:ehr:b:1", 0)]);
        // It was read for a while and lost its end.
        let read = [&first[..], &[("kafka:c:ehr:b:0", 10), ("kafka:c:ehr:b:1", 20)]].concat();
        decide(&survey("c", "b", &[5, 20]), &read, &mut changes, &[("kafka:c:ehr:b~1:0", 0)]);
        let read = [&read[..], &[("kafka:c:ehr:b~1:0", 5)]].concat();
        decide(&survey("c", "b", &[2, 20]), &read, &mut changes, &[("kafka:c:ehr:b~2:0", 0)]);
        // The first topic is back: it goes on where it was left, as far as it is still there.
        let back = survey("c", "a", &[100, 49]);
        decide(&back, &read, &mut changes, &[("kafka:c:ehr:a:0", 100), ("kafka:c:ehr:a~1:1", 0)]);
        // And the second, of which one partition was begun anew before.
        let read = [&read[..], &[("kafka:c:ehr:b~2:0", 2)]].concat();
        decide(&survey("c", "b", &[2, 20]), &read, &mut changes, &[("kafka:c:ehr:b~2:0", 2), ("kafka:c:ehr:b:1", 20)]);
    }

    /// Nothing was read yet: where reading began is on record all the same, and a stop is over by command only.
    #[test]
    fn a_start_goes_on_where_another_one_began_and_a_stop_lasts() {
        let note = |change| Noted { number: 1, place: Place::default(), change };
        let check =
            |survey: &Survey, keys: &[(&str, i64)], changes: &[Change], read: &[(&str, i64)], stopped: &[&str]| {
                let changes: Vec<Noted> = changes.iter().cloned().map(note).collect();
                let places = Places::new(survey, &seen(keys), &changes);
                let read = read.iter().map(|(key, from)| ((*key).to_owned(), *from)).collect();
                let stopped = stopped.iter().map(|name| (*name).to_owned()).collect();
                assert_eq!(shape(&places, survey), (read, stopped), "{changes:?}");
                places.begun().collect::<Vec<_>>()
            };
        let mut today = survey("c", "t", &[10, 20]);
        if let Some(Ok(topic)) = today.topics.get_mut("ehr") {
            topic.partitions.values_mut().for_each(|log| log.start = log.high);
        }
        let (first, second) = ("kafka:c:ehr:t:0", "kafka:c:ehr:t:1");
        let begun = check(&today, &[], &[], &[(first, 10), (second, 20)], &[]);
        assert_eq!(begun.len(), 2);
        let later = survey("c", "t", &[50, 60]);
        assert_eq!(check(&later, &[], &begun, &[(first, 10), (second, 20)], &[]), []);
        assert_eq!(check(&later, &[(first, 30)], &begun, &[(first, 30), (second, 20)], &[]), []);
        // Made again before anything was read: nothing of ours is lost with it.
        let again = check(&survey("c", "u", &[5]), &[], &begun, &[("kafka:c:ehr:u:0", 0)], &[]);
        assert_eq!(again.len(), 1);
        // It had lost its end and has grown beyond our position since.
        let (origin, key) = (Origin::topic("ehr", 0), first.to_owned());
        let stop = |other| Change::Stopped { origin: origin.clone(), key: key.clone(), position: 30, other };
        let both = [(first, 30), (second, 60)];
        assert_eq!(check(&later, &both, &[stop(false)], &[(second, 60)], &["ehr/0"]), []);
        decide(&later, &both, &mut vec![note(stop(false))], &[("kafka:c:ehr:t~1:0", 0)]);
        // Another cluster had taken over and has given back: it goes on where it was left, unless it is shorter.
        decide(&later, &both, &mut vec![note(stop(true))], &[(first, 30)]);
        decide(&survey("c", "t", &[29, 60]), &both, &mut vec![note(stop(true))], &[("kafka:c:ehr:t~1:0", 0)]);
        // Nothing is known of a partition, or of the topic, now: what was read of it is waited for under its key.
        let away = Survey::new(None, [("ehr".into(), Err(Failure::Away("gone".into())))].into(), Instant::now());
        assert_eq!(check(&away, &both, &[], &both, &[]), []);
        let (_, keys): (Vec<_>, Vec<_>) =
            Places::new(&survey("c", "t", &[50]), &seen(&both), &[]).partitions.into_iter().unzip();
        assert_eq!(keys, [first, second]);
    }

    #[test]
    fn a_topic_that_is_another_one_is_resumed_as_a_whole() {
        let one = |partition, other| Halted {
            origin: Origin::topic("ehr", partition),
            position: 9,
            end: 3,
            found: LogId::default(),
            other,
            is_back: false,
        };
        let check = |halted: &[Halted], topic: &str, partition, expected: Result<usize, &str>| match (
            meant(halted, topic, partition),
            expected,
        ) {
            (Ok(found), Ok(count)) => assert_eq!(found.len(), count),
            (Err(what), Err(word)) => assert!(what.contains(word), "{what}"),
            (found, _) => panic!("{topic} {partition:?}: {found:?}"),
        };
        let (other, shorter) = ([one(0, true), one(1, true)], [one(0, false), one(1, false)]);
        check(&other, "ehr", None, Ok(2));
        check(&other, "ehr", Some(1), Err("as a whole"));
        check(&other[..1], "ehr", Some(0), Ok(1));
        check(&shorter, "ehr", Some(1), Ok(1));
        check(&shorter, "ehr", None, Ok(2));
        check(&shorter, "ehr", Some(2), Err("nothing of ehr/2 is stopped"));
        check(&shorter, "vpn", None, Err("nothing of vpn is stopped"));
        check(&[], "ehr", None, Err("nothing of ehr is stopped"));
    }
}
