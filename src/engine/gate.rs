//! The gate: in which order the rows of several partitions are taken up, and how far time has come.
//!
//! Each partition queues what was decoded until its head may pass. The watermark is the smallest of the newest times of the
//! partitions that are not idle and never goes back; a head that would open a day too far ahead waits until the others have caught
//! up. Times in the future are judged from the data alone (DESIGN, section 5). Nothing here knows about people or alerts.

use serde::{Deserialize, Serialize};

use super::lane::{Head, Lane, WITNESSES};
use crate::event::effects::Decoded;
use crate::event::flags::{FUTURE, Flags, UNDECLARED};
use crate::event::time::MINUTE;
use crate::event::{Event, Origin, Time};

/// A lane with more rows than this is not read on for now.
const QUEUED_MAX: usize = 65_536;
/// Partitions are taken up side by side, no further apart than this where both have rows.
const STRIDE: i64 = 10 * MINUTE;

/// How a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Newest time of a row that may move the watermark.
    pub newest: Option<Time>,
    /// Rows that were read and wait to be taken up.
    pub queued: usize,
    /// It is not read on for now: the others have to catch up.
    pub waits: bool,
    /// It is idle or has ended: it holds nobody back.
    pub rests: bool,
    /// Time does not wait for it.
    pub left: bool,
}

/// Number of a partition, by its name; it holds until another is opened.
pub type LaneIx = usize;

/// All partitions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Gate {
    /// By name.
    lanes: Vec<(Origin, Lane)>,
    watermark: Option<Time>,
    /// Files wait to be read whose records begin here: time does not go beyond it, and does not begin where it is the smallest time.
    #[serde(skip)]
    hold: Option<Time>,
    #[serde(skip)]
    current: Option<LaneIx>,
}

/// A row that may be taken up, or why none can.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// The head of this lane; its time has entered the watermark unless it is flagged.
    Row(LaneIx, Flags),
    /// This lane's first stretch has no row left: its rejects and its position can be taken up.
    Stretch(LaneIx),
    /// Every lane is empty, waits for others or for more records.
    Nothing,
}

impl Gate {
    /// The lane of a partition, which is made where there is none.
    fn lane(&mut self, origin: &Origin) -> &mut Lane {
        let ix = self.lanes.binary_search_by(|(known, _)| known.cmp(origin)).unwrap_or_else(|ix| {
            self.lanes.insert(ix, (origin.clone(), Lane::default()));
            self.current = self.current.map(|current| current + usize::from(current >= ix));
            ix
        });
        &mut self.lanes[ix].1
    }

    /// All lanes, by the names of their partitions.
    fn all(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().map(|(_, lane)| lane)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.iter_mut().map(|(_, lane)| lane)
    }

    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether no partition was ever opened.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Declares a partition that will be read; it holds back the watermark until it has shown a record or is idle. Files that have ended
    /// are forgotten: where they come again they are new ones.
    pub fn open(&mut self, origin: &Origin) {
        self.lanes.retain(|(known, lane)| known == origin || !known.is_file() || !lane.ended || !lane.queue.is_empty());
        self.current = None;
        let lane = self.lane(origin);
        (lane.ended, lane.idle, lane.short) = (false, false, false);
    }

    /// Queues what was decoded.
    pub fn push(&mut self, decoded: Decoded) {
        let lane = self.lane(&decoded.batch.origin);
        (lane.idle, lane.short) = (false, false);
        lane.queue.push_back(decoded);
    }

    /// Takes note of a row that is on record: its flags say whether it moved time.
    pub fn recorded(&mut self, origin: &Origin, event: &Event<'_>) {
        let lane = self.lane(origin);
        lane.undeclared |= event.flags() & UNDECLARED != 0;
        if event.flags() & (FUTURE | UNDECLARED) == 0 {
            lane.newest = lane.newest.max(Some(event.time()));
        }
    }

    /// Lets time come as far as it had when the record was written.
    pub fn reach(&mut self, watermark: Time) {
        self.watermark = self.watermark.max(Some(watermark));
    }

    /// The partition stands at the end of its log, or was stopped.
    pub fn idle(&mut self, origin: &Origin) {
        let lane = self.lane(origin);
        (lane.idle, lane.short) = (true, false);
        self.refresh();
    }

    /// Time no longer waits for the partition, or waits for it again. What comes of it is taken up as before; where its day has
    /// settled meanwhile it is backfill.
    pub fn leave(&mut self, origin: &Origin, left: bool) {
        let lane = self.lane(origin);
        (lane.left, lane.short) = (left, false);
        self.refresh();
    }

    /// Nothing more will come from the partition.
    pub fn end(&mut self, origin: &Origin) {
        let lane = self.lane(origin);
        (lane.ended, lane.short) = (true, false);
        self.refresh();
    }

    /// Time waits for files that begin at `from`, and for those alone that were named last; [`Time::MIN`] where that is not known yet.
    pub fn hold(&mut self, from: Option<Time>) {
        self.hold = from;
        self.refresh();
    }

    /// Nobody reads any more: lanes of an earlier run hold nobody back until they are opened again.
    pub fn rest(&mut self) {
        for lane in self.all_mut() {
            (lane.ended, lane.idle, lane.short) = (true, true, false);
        }
    }

    /// Stretches that wait to be taken up.
    pub fn queued(&self) -> usize {
        self.all().map(|lane| lane.queue.len()).sum()
    }

    /// Nothing more will come from anywhere.
    pub fn end_all(&mut self) {
        self.hold = None;
        for lane in self.all_mut() {
            (lane.ended, lane.short) = (true, false);
        }
        self.refresh();
    }

    /// Partitions that have nothing queued, or too little to judge a leap by.
    pub fn hungry(&self) -> Vec<Origin> {
        let wants = |lane: &Lane| {
            !lane.ended
                && lane.waiting.is_none()
                && (lane.queue.is_empty() || lane.short || lane.following().take(WITNESSES).count() < WITNESSES)
        };
        self.lanes.iter().filter(|(_, lane)| wants(lane)).map(|(origin, _)| origin.clone()).collect()
    }

    /// How each partition stands, for whoever looks on.
    pub fn stands(&self) -> impl Iterator<Item = (&Origin, Stand)> {
        self.lanes.iter().map(|(origin, lane)| {
            let queued = lane.queue.iter().map(|stretch| stretch.batch.len()).sum();
            let (newest, waits, left) = (lane.newest, lane.told_paused, lane.left);
            (origin, Stand { newest, queued, waits, rests: lane.idle || lane.ended, left })
        })
    }

    /// How far time has come; `None` before every partition has shown a record or is idle.
    pub fn watermark(&self) -> Option<Time> {
        self.watermark
    }

    /// Lets time pass by itself, which only all-idle partitions allow.
    pub fn advance(&mut self, to: Time) {
        if self.hold.is_none() && self.all().all(|lane| !lane.holds_back()) {
            self.watermark = self.watermark.map(|now| now.max(to));
        }
    }

    /// The stretch at the head of a lane and the index of its next row.
    pub fn front(&self, lane: LaneIx) -> (&Decoded, usize) {
        let lane = &self.lanes[lane].1;
        (lane.queue.front().expect("the gate named a lane with a stretch"), lane.row)
    }

    /// Newest time of a lane, its head included.
    pub fn newest(&self, lane: LaneIx) -> Option<Time> {
        self.lanes[lane].1.newest
    }

    /// Times of the head of a lane and of what is queued behind it, of so many rows.
    pub fn times(&self, lane: LaneIx, most: usize) -> Vec<Time> {
        let lane = &self.lanes[lane].1;
        lane.head().map(|event| event.time()).into_iter().chain(lane.following()).take(most).collect()
    }

    /// Marks the head of a lane as taken up.
    pub fn pass(&mut self, lane: LaneIx) {
        let lane = &mut self.lanes[lane].1;
        lane.row += 1;
        lane.answered = lane.answered.saturating_sub(1);
    }

    /// Whether it is known what the history says of the head of a lane.
    pub fn is_answered(&self, lane: LaneIx) -> bool {
        self.lanes[lane].1.answered > 0
    }

    /// The head of a lane, and what is queued behind it, waits for what the history says of it.
    pub fn ask(&mut self, lane: LaneIx) {
        self.lanes[lane].1.asking = true;
        self.current = None;
    }

    /// The rows of the lanes that wait for the history.
    pub fn asked(&self) -> impl Iterator<Item = Event<'_>> {
        self.all().filter(|lane| lane.asking).flat_map(|lane| {
            let rows =
                |(index, stretch): (usize, &'_ Decoded)| (if index == 0 { lane.row } else { 0 })..stretch.batch.len();
            lane.queue
                .iter()
                .enumerate()
                .flat_map(move |(index, stretch)| rows((index, stretch)).map(move |row| stretch.batch.row(row)))
        })
    }

    /// The history has said what it knows of all that was asked.
    pub fn answer(&mut self) {
        for lane in self.all_mut().filter(|lane| lane.asking) {
            lane.asking = false;
            lane.answered = lane.queue.iter().map(|stretch| stretch.batch.len()).sum::<usize>() - lane.row;
        }
    }

    /// Whether rows are queued of which it is known what the history says.
    pub fn has_answers(&self) -> bool {
        self.all().any(|lane| lane.answered > 0)
    }

    /// Takes the finished first stretch off a lane.
    pub fn pop(&mut self, lane: LaneIx) -> Decoded {
        let lane = &mut self.lanes[lane].1;
        lane.row = 0;
        let stretch = lane.queue.pop_front().expect("the gate named a lane with a stretch");
        self.refresh();
        stretch
    }

    /// The record at the head of this lane opens a day whose constants are not fixed: it waits for the others, and by itself holds time
    /// back no longer than to `until`. Whoever is last waits for nobody, so that it is asked again at once where time is there.
    pub fn wait(&mut self, lane: LaneIx, until: Time) {
        let lane = &mut self.lanes[lane].1;
        (lane.waiting, lane.newest) = (Some(until), lane.newest.max(Some(until)));
        self.current = None;
        self.refresh();
    }

    /// Whether a lane waits for a day to settle.
    pub fn waits(&self) -> bool {
        self.all().any(|lane| lane.waiting.is_some())
    }

    /// A day has settled: those who waited are asked again.
    pub fn wake(&mut self) {
        for lane in self.all_mut() {
            lane.waiting = None;
        }
        self.current = None;
    }

    /// Partitions that began or ceased to wait since the last call: to be paused and to be resumed.
    pub fn pauses(&mut self) -> (Vec<Origin>, Vec<Origin>) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (origin, lane) in &mut self.lanes {
            // A lane may also pile up because another has not shown its first record.
            let queued: usize = lane.queue.iter().map(|stretch| stretch.batch.len()).sum();
            let full = lane.waiting.is_some() || queued > QUEUED_MAX;
            if full != lane.told_paused {
                lane.told_paused = full;
                if full { pause.push(origin.clone()) } else { resume.push(origin.clone()) }
            }
        }
        (pause, resume)
    }

    /// The next row to take up. `declared` says whether a source may move time.
    pub fn next(&mut self, declared: &dyn Fn(&str) -> bool) -> Next {
        if self.watermark.is_none() {
            // A stretch without rows says nothing of time, and what follows it may.
            if let Some(ix) = self.all().position(Lane::is_spent) {
                return Next::Stretch(ix);
            }
            if !self.show_heads(declared) {
                return Next::Nothing;
            }
        }
        while let Some(ix) = self.pick() {
            let lane = &mut self.lanes[ix].1;
            let Some(head) = lane.judge(declared) else {
                return Next::Stretch(ix);
            };
            match head {
                Head::Flagged(flags) => {
                    if flags & UNDECLARED != 0 && !lane.undeclared {
                        lane.undeclared = true;
                        self.refresh();
                    }
                    return Next::Row(ix, flags);
                }
                Head::Moves => {
                    let time = lane.head().expect("a judged lane has a head").time();
                    if lane.newest.is_none_or(|newest| time > newest) {
                        let held = lane.newest.is_none() || lane.newest <= self.watermark;
                        lane.newest = Some(time);
                        if held {
                            self.refresh();
                        }
                    }
                    return Next::Row(ix, 0);
                }
                // It asks for more records; meanwhile the others go on.
                Head::Undecided => {
                    lane.short = true;
                    self.current = None;
                }
            }
        }
        Next::Nothing
    }

    /// Before time can begin every partition has to show its first record; then the watermark is the smallest of them.
    fn show_heads(&mut self, declared: &dyn Fn(&str) -> bool) -> bool {
        let mut all = !self.lanes.is_empty() && self.hold != Some(Time::MIN);
        for lane in self.all_mut() {
            if lane.newest.is_none() && matches!(lane.judge(declared), Some(Head::Moves)) {
                lane.newest = lane.head().map(|event| event.time());
            }
            // Such a one asks for more records, however many rows its first record has.
            lane.short = matches!(lane.judge(declared), Some(Head::Undecided));
            all &= !lane.short && (lane.newest.is_some() || !lane.holds_back() || lane.head().is_some());
        }
        if all {
            // Lanes whose first records are all flagged have no newest time; they begin with the others.
            self.watermark = self.all().filter(|l| l.holds_back()).filter_map(|l| l.newest).chain(self.hold).min();
            if self.watermark.is_none() && self.all().any(|lane| lane.head().is_some()) {
                self.watermark = Some(Time::MIN);
            }
        }
        all
    }

    /// The lane to go on with: the current one while it is not far ahead of the others, else the one whose head is earliest.
    fn pick(&mut self) -> Option<LaneIx> {
        let goes_on = |ix: &LaneIx| {
            let lane = &self.lanes[*ix].1;
            lane.is_ready() && lane.row % 256 != 255 && lane.head().is_some()
        };
        if let Some(ix) = self.current.filter(goes_on) {
            return Some(ix);
        }
        let ready = self.all().enumerate().filter(|(_, lane)| lane.is_ready() && !lane.queue.is_empty());
        let key = |lane: &Lane| lane.head().map_or(Time::MIN, |event| event.time()).plus(-STRIDE);
        self.current = ready.min_by_key(|(_, lane)| key(lane)).map(|(ix, _)| ix);
        self.current
    }

    fn refresh(&mut self) {
        let holding = self.all().filter(|lane| lane.holds_back());
        let newest = holding.filter_map(|lane| lane.newest.or((!lane.undeclared).then_some(Time::MIN)));
        if let (Some(now), Some(smallest)) = (self.watermark, newest.chain(self.hold).min()) {
            self.watermark = Some(now.max(smallest));
        }
        let watermark = self.watermark;
        for (_, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.waiting.is_some() && lane.waiting <= watermark) {
            (lane.waiting, self.current) = (None, None);
        }
    }
}
