//! What people decide about partitions: that a stopped one is read again, and that time does not wait for one that holds it back.
//!
//! A running `run` decides from what it sees (`watch/partitions`). Without one the history is asked what was read, and the broker what
//! is there; the decision lies in the control log for the next start.

use std::collections::BTreeMap;
use std::path::Path;

use super::acts::Act;
use super::places::{Halted, Places, meant};
use super::{Stop, now, open_keep, runtime};
use crate::event::Origin;
use crate::history::{Change, History, Noted, Resumed};
use crate::ingest::kafka;
use crate::pipeline::News;
use crate::settings::Settings;

/// Does it where no `run` is at work; what was done, in words.
///
/// # Errors
/// Where nothing of the sort is there to be decided, the broker does not answer, or another process writes to the history.
pub(super) fn act(settings: &Settings, dir: &Path, act: &Act) -> Result<String, Stop> {
    let lacks = |name: &str| Stop::Usage(format!("the settings have no [{name}] section"));
    let plan = settings.kafka.as_ref().ok_or_else(|| lacks("kafka"))?;
    let mut history = settings.history.clone().ok_or_else(|| lacks("history"))?;
    history.dir = dir.to_owned();
    let mut keep = open_keep(settings, &history, &runtime()?)?;
    let changes = keep.history.changes().map_err(Stop::failed)?;
    match act {
        Act::Leave { topic, partition, reason, who } => {
            let origin = Origin::topic(topic.as_str(), *partition);
            let known = keep.history.positions();
            let is = |key: &String| kafka::PositionKey::parse(key).is_some_and(|key| key.origin == origin);
            if !known.keys().any(is) {
                return Err(Stop::Failed(format!("{origin} was never read")));
            }
            note(&mut keep.history, &leave(&origin, true, who, reason))?;
            Ok(left(&origin))
        }
        Act::Resume { topic, partition, reason, who } => {
            let survey = kafka::survey(plan).map_err(Stop::failed)?;
            let mut places = Places::new(&survey, &keep.history.positions(), &changes);
            let (halted, behind) = (places.halted(&survey), waited_for(&changes, topic, *partition));
            let decided = resume(&mut places, &halted, &behind, (topic, *partition), (who, reason));
            let (said, news) = decided.map_err(Stop::Failed)?;
            news.iter().try_for_each(|one| note(&mut keep.history, one))?;
            Ok(said.join("\n"))
        }
        Act::Verdict { .. } | Act::Mute { .. } => Err(Stop::Usage("this is no act about partitions".to_owned())),
    }
}

fn note(history: &mut History, news: &News) -> Result<(), Stop> {
    let mark = history.mark();
    history.note(now(), &news.change(), mark).map(|_| ()).map_err(Stop::failed)
}

/// What follows where partitions are to be read again, or waited for again: in words, and as news. `halted` are the stopped ones, `behind`
/// those of the meant ones that time does not wait for.
///
/// # Errors
/// In words, where nothing of the sort is meant.
pub(super) fn resume(
    places: &mut Places,
    halted: &[Halted],
    behind: &[Origin],
    (topic, partition): (&str, Option<i32>),
    (who, reason): (&str, &str),
) -> Result<(Vec<String>, Vec<News>), String> {
    let waited = behind.iter().map(|origin| (again(origin), leave(origin, false, who, reason)));
    let (mut said, mut news): (Vec<String>, Vec<News>) = waited.unzip();
    let found = match meant(halted, topic, partition) {
        Err(what) if news.is_empty() => return Err(what),
        found => found.unwrap_or_default(),
    };
    for one in found {
        let resumed = places.resumed(&one, who, reason);
        places.follow(&resumed);
        said.push(words(&resumed));
        news.push(News::Resumed(resumed));
    }
    Ok((said, news))
}

/// Time does not wait for a partition, or waits for it again.
pub(super) fn leave(origin: &Origin, left: bool, who: &str, reason: &str) -> News {
    News::Left { origin: origin.clone(), left, who: who.to_owned(), reason: reason.to_owned() }
}

/// The partitions that are meant and that time does not wait for, as the control log has it.
fn waited_for(changes: &[Noted], topic: &str, partition: Option<i32>) -> Vec<Origin> {
    let mut last: BTreeMap<&Origin, bool> = BTreeMap::new();
    for noted in changes {
        if let Change::Left { origin, left, .. } = &noted.change {
            last.insert(origin, *left);
        }
    }
    let left = last.into_iter().filter(|(origin, left)| *left && is_meant(origin, topic, partition));
    left.map(|(origin, _)| origin.clone()).collect()
}

/// Whether a topic and, perhaps, a partition of it mean `origin`.
pub(super) fn is_meant(origin: &Origin, topic: &str, partition: Option<i32>) -> bool {
    match origin {
        Origin::Topic { topic: name, partition: number } => {
            **name == *topic && partition.is_none_or(|partition| partition == *number)
        }
        Origin::File { .. } => false,
    }
}

/// What was decided, for whoever decided it.
pub(super) fn words(resumed: &Resumed) -> String {
    let Resumed { origin, position, from, .. } = resumed;
    if resumed.goes_on() {
        return format!("{origin} is read again, from offset {from}, where it was left");
    }
    format!(
        "{origin} is read again, from offset {from} of the log that is there now; what its old log held from {position} on is a recorded gap"
    )
}

/// Time does not wait for a partition.
pub(super) fn left(origin: &Origin) -> String {
    format!("time does not wait for {origin} any more; its records are read all the same")
}

/// Time waits for a partition again.
pub(super) fn again(origin: &Origin) -> String {
    format!("time waits for {origin} again")
}
