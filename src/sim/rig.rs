//! The road in memory: lines in, decoded and stepped through the engine, effects out, cut and fed and restarted as a seed says.
//!
//! It is the road of `scan` and `run` without their edges, for tests that have to go it thousands of times. It must not judge: what
//! came out is compared with [`super::oracle`] or with another run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dice::Dice;
use crate::decode::{Decoder, Hints, Limits, RawRecord};
use crate::engine::settings::Settings;
use crate::engine::{Engine, Input};
use crate::event::effects::{Applied, Decoded};
use crate::event::{Effects, Origin, Raised, Time, Zone};
use crate::roster::{Intake, Roster, load};

/// Records of one partition, in the order of their offsets from 0; `None` is a tombstone.
pub type Partition = Vec<Option<Vec<u8>>>;

/// Accidents on the way that must change nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Everything below follows from it.
    pub seed: u64,
    /// Most records of a batch; 0 is 1,000.
    pub batch: usize,
    /// Partitions are fed in random order, also those that were asked to pause.
    pub unfair: bool,
    /// Probability, after a step, that the engine is lost and goes on from its snapshot and what is on record.
    pub restarts: f64,
}

/// What came out of a run.
pub struct Run {
    /// In order.
    pub effects: Vec<Effects>,
    /// How often the engine was lost.
    pub restarts: usize,
}

impl Run {
    /// The settled revisions by alert: the last of each.
    pub fn settled(&self) -> BTreeMap<String, Raised> {
        let raised = self.effects.iter().flat_map(|effects| &effects.raised).filter(|raised| raised.alert.settled);
        raised.map(|raised| (raised.alert.alert_id.clone(), raised.clone())).collect()
    }

    /// Everything that was taken up, in order.
    pub fn applied(&self) -> impl Iterator<Item = &Applied> {
        self.effects.iter().flat_map(|effects| &effects.applied)
    }

    /// Events, duplicates, rejects and lost offsets.
    pub fn sums(&self) -> [u64; 4] {
        self.applied().fold([0; 4], |sum, applied| {
            let span = &applied.span;
            [sum[0] + span.events, sum[1] + span.duplicates, sum[2] + span.rejects, sum[3] + span.gap]
        })
    }
}

/// The roster of these files.
///
/// # Panics
/// Where a row is refused: a test would then judge something else than it thinks.
pub fn roster(files: &[(String, Vec<u8>)], zone: &Zone) -> Arc<Roster> {
    let loaded = load(files, zone.clone(), &Intake { previous: None, at: Time(0), allow_shrink: false });
    let refused: u64 = loaded.counts.iter().map(|file| file.refused).sum();
    assert_eq!(refused, 0, "{:?}", loaded.problems);
    Arc::new(loaded.roster)
}

/// The partitions of a topic that are read side by side.
struct Feed<'p> {
    partitions: &'p [Partition],
    origins: Vec<Origin>,
    decoders: Vec<Decoder>,
    next: Vec<usize>,
    ended: Vec<bool>,
}

impl Feed<'_> {
    fn new(partitions: &[Partition]) -> Feed<'_> {
        let origins: Vec<Origin> = (0..partitions.len()).map(|number| Origin::topic("ehr", number as i32)).collect();
        let decoder = |origin: &Origin| Decoder::new(origin.clone(), Hints::new("ehr"), Limits::default());
        let decoders = origins.iter().map(decoder).collect();
        Feed { partitions, origins, decoders, next: vec![0; partitions.len()], ended: vec![false; partitions.len()] }
    }

    /// The next stretch of a partition, or its end.
    fn step(&mut self, partition: usize, most: usize) -> Input {
        let (from, records) = (self.next[partition], &self.partitions[partition]);
        if from == records.len() {
            self.ended[partition] = true;
            return Input::End(self.origins[partition].clone());
        }
        let to = records.len().min(from + most);
        self.next[partition] = to;
        Input::Decoded(Box::new(self.decode(partition, from, to)))
    }

    fn decode(&mut self, partition: usize, from: usize, to: usize) -> Decoded {
        let decoder = &mut self.decoders[partition];
        for (offset, value) in (from..to).zip(&self.partitions[partition][from..to]) {
            decoder.push(&RawRecord { offset: offset as i64, byte: 0, at: None, value: value.as_deref() });
        }
        decoder.finish(from as i64, to as i64)
    }

    /// Goes back to the first offset that has not left the engine.
    fn rewind(&mut self, run: &Run) {
        for (partition, origin) in self.origins.iter().enumerate() {
            let spans = run.applied().map(|applied| &applied.span).filter(|span| span.origin == *origin);
            self.next[partition] = spans.map(|span| span.to).max().unwrap_or(0) as usize;
            self.ended[partition] = false;
        }
    }
}

/// Sends the partitions down the road.
pub fn run(roster: &Arc<Roster>, settings: &Settings, partitions: &[Partition], weather: Weather) -> Run {
    let mut engine = Engine::new(settings.clone(), roster.clone());
    let mut dice = Dice::new(weather.seed, "weather", &[]);
    let mut feed = Feed::new(partitions);
    let mut run = Run { effects: Vec::new(), restarts: 0 };
    let open = |engine: &mut Engine, run: &mut Run, origins: &[Origin]| {
        run.effects.extend(origins.iter().map(|origin| engine.step(Time(0), Input::Open(origin.clone()))));
    };
    open(&mut engine, &mut run, &feed.origins);
    loop {
        let hungry = engine.hungry();
        let wanted =
            |number: &usize| !feed.ended[*number] && (weather.unfair || hungry.contains(&feed.origins[*number]));
        let ready: Vec<usize> = (0..partitions.len()).filter(wanted).collect();
        if ready.is_empty() {
            break;
        }
        let partition = *dice.pick(&ready);
        let most = if weather.batch == 0 { 1_000 } else { 1 + dice.below(weather.batch) };
        let input = feed.step(partition, most);
        run.effects.push(engine.step(Time(0), input));
        if dice.chance(weather.restarts) {
            let bytes = engine.save();
            engine = Engine::load(settings.clone(), roster.clone(), std::sync::Arc::default(), &bytes)
                .expect("a snapshot of this version");
            run.restarts += 1;
            feed.rewind(&run);
            open(&mut engine, &mut run, &feed.origins);
        }
    }
    run.effects.push(engine.step(Time(0), Input::Close));
    run
}
