//! The numbers of `run` for Prometheus: a board, the outbox and the channels in, text out. Each is explained in docs/operations.md.
//!
//! Labels are topics, partitions, sources, reasons, families and channels, all few; never a person, a patient or a record. Times are
//! seconds since 1970, as Prometheus has them.

use std::collections::BTreeMap;

use super::board::{Board, Doing, LaneStand};
use super::exposition::{Sort, Text};
use super::health::{self, Level};
use crate::event::time::SECOND;
use crate::event::{Origin, Time};
use crate::notify::Health as ChannelHealth;
use crate::pipeline::Counts;
use crate::store::Counters;

/// So many sources have a sample of their own; a feed that names ever new ones does not make ever new series.
const SOURCES_MAX: usize = 100;
/// The label of all that are beyond, and of files.
const OTHERS: &str = "(others)";

/// One of the numbers of an outbox.
type Count = fn(&Counters) -> u64;

/// What is looked at besides the board.
pub struct Look<'a> {
    /// The board.
    pub board: &'a Board,
    /// The outbox, by channel.
    pub outbox: &'a BTreeMap<String, Counters>,
    /// The last successful send, by channel.
    pub sent: &'a BTreeMap<String, Time>,
    /// The channels.
    pub channels: &'a BTreeMap<String, ChannelHealth>,
    /// The present.
    pub now: Time,
}

/// All numbers.
pub fn text(look: &Look<'_>) -> String {
    let mut text = Text::default();
    process(&mut text, look);
    records(&mut text, look.board);
    partitions(&mut text, look.board);
    alerts(&mut text, look.board);
    channels(&mut text, look);
    history(&mut text, look.board);
    text.finish()
}

fn process(text: &mut Text, look: &Look<'_>) {
    let board = look.board;
    text.family("phiwatch_build_info", Sort::Gauge, "The version that runs.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let level = health::judge(board, look.channels, look.now).level;
    text.family("phiwatch_health", Sort::Gauge, "1 for what /healthz says: ok, degraded or failed.");
    for each in [Level::Ok, Level::Degraded, Level::Failed] {
        text.sample(&[("level", each.as_str())], f64::from(u8::from(each == level)));
    }
    time(text, "phiwatch_start_seconds", "When the process began.", board.started);
    time(text, "phiwatch_beat_seconds", "When the loop last turned.", board.beat);
    text.family("phiwatch_open_troubles", Sort::Gauge, "Things that an operator should do something about, by kind.");
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for trouble in &board.open {
        *kinds.entry(trouble.kind).or_default() += 1;
    }
    for (kind, count) in kinds {
        text.sample(&[("kind", kind)], f64::from(count));
    }
    text.family("phiwatch_disk_free_bytes", Sort::Gauge, "Free bytes of the file system that holds it.");
    for (folder, free, _) in &board.disks {
        text.sample(&[("folder", folder)], *free as f64);
    }
}

fn records(text: &mut Text, board: &Board) {
    let mut lanes: BTreeMap<(String, String), Counts> = BTreeMap::new();
    for (origin, counts) in board.before.lanes.iter().chain(&board.since.lanes) {
        lanes.entry(place(origin)).or_default().add(*counts);
    }
    let help = "Records on record by what became of them: the sums of the table spans, also over earlier runs.";
    text.family("phiwatch_records_total", Sort::Counter, help);
    for ((topic, partition), counts) in &lanes {
        let outcomes = [
            ("event", counts.events),
            ("duplicate", counts.duplicates),
            ("reject", counts.rejects),
            ("gap", counts.gap),
        ];
        for (outcome, count) in outcomes {
            text.sample(&[("topic", topic), ("partition", partition), ("outcome", outcome)], count as f64);
        }
    }
    let mut reasons = board.before.reasons.clone();
    for (reason, count) in &board.since.reasons {
        *reasons.entry(*reason).or_default() += count;
    }
    let help = "Records that could not be used, by reason: the rows of the table rejects, also of earlier runs.";
    text.family("phiwatch_rejects_total", Sort::Counter, help);
    for (reason, count) in reasons {
        text.sample(&[("reason", reason.as_str())], count as f64);
    }
    text.family("phiwatch_source_events_total", Sort::Counter, "Events since the start, by source.");
    let mut others = 0;
    for (index, (source, (count, _))) in board.since.sources.iter().enumerate() {
        match index < SOURCES_MAX {
            true => _ = text.sample(&[("source", source)], *count as f64),
            false => others += count,
        }
    }
    if others > 0 {
        text.sample(&[("source", OTHERS)], others as f64);
    }
}

fn partitions(text: &mut Text, board: &Board) {
    let help = "Offsets that were not read yet, as of the broker's last answer; transaction markers count.";
    text.family("phiwatch_partition_lag", Sort::Gauge, help);
    each_lane(text, board, |lane| lane.lag() as f64);
    text.family("phiwatch_partition_position", Sort::Gauge, "First offset that was not read.");
    each_lane(text, board, |lane| lane.next as f64);
    text.family("phiwatch_partition_waiting_rows", Sort::Gauge, "Rows that were read and wait to be taken up.");
    each_lane(text, board, |lane| lane.queued as f64);
    text.family("phiwatch_partition_state", Sort::Gauge, "1 for what it does: reading, idle, paused or stopped.");
    for (origin, lane) in topics(board) {
        let (topic, partition) = place(origin);
        for doing in Doing::ALL {
            let labels = [("topic", topic.as_str()), ("partition", &partition), ("state", doing.as_str())];
            text.sample(&labels, f64::from(u8::from(lane.doing == doing)));
        }
    }
    if let Some(files) = &board.files {
        text.family(
            "phiwatch_files_waiting",
            Sort::Gauge,
            "Files of the drop folder that were not read to their ends yet.",
        )
        .sample(&[], files.waiting as f64);
        let open = board.lanes.keys().filter(|origin| origin.is_file()).count();
        text.family("phiwatch_files_open", Sort::Gauge, "Files of the drop folder that are being read.")
            .sample(&[], open as f64);
    }
    time(text, "phiwatch_watermark_seconds", "Event time up to which everything was seen.", board.watermark);
    time(text, "phiwatch_settled_seconds", "End of the newest settled day.", board.settled);
    text.family("phiwatch_open_days", Sort::Gauge, "Local days that have not settled.")
        .sample(&[], board.open_days as f64);
}

fn each_lane(text: &mut Text, board: &Board, value: impl Fn(&LaneStand) -> f64) {
    for (origin, lane) in topics(board) {
        let (topic, partition) = place(origin);
        text.sample(&[("topic", &topic), ("partition", &partition)], value(lane));
    }
}

/// The partitions of topics; files come and go, and are counted.
fn topics(board: &Board) -> impl Iterator<Item = (&Origin, &LaneStand)> {
    board.lanes.iter().filter(|(origin, _)| !origin.is_file())
}

fn alerts(text: &mut Text, board: &Board) {
    let help = "Revisions of alerts made durable since the start, by family and disposition.";
    text.family("phiwatch_alert_revisions_total", Sort::Counter, help);
    for ((family, disposition), count) in &board.since.alerts {
        text.sample(&[("family", family), ("disposition", disposition)], *count as f64);
    }
}

fn channels(text: &mut Text, look: &Look<'_>) {
    text.family("phiwatch_channel_up", Sort::Gauge, "1 where the newest attempt of the channel succeeded.");
    for (name, health) in look.channels {
        text.sample(&[("channel", name)], f64::from(u8::from(health.ok)));
    }
    let rows: [(&'static str, &str, Count); 3] = [
        ("phiwatch_outbox_pending", "Revisions that wait to be sent.", |c| c.pending),
        ("phiwatch_outbox_held", "Revisions that wait for a person to mend something.", |c| c.held),
        ("phiwatch_outbox_dead", "Revisions that the other side refused for good.", |c| c.dead),
    ];
    for (name, help, value) in rows {
        text.family(name, Sort::Gauge, help);
        for (channel, counters) in look.outbox {
            text.sample(&[("channel", channel)], value(counters) as f64);
        }
    }
    text.family("phiwatch_outbox_oldest_seconds", Sort::Gauge, "When the oldest revision that waits was queued.");
    for (channel, counters) in look.outbox {
        if let Some(oldest) = counters.oldest {
            text.sample(&[("channel", channel)], seconds(oldest));
        }
    }
    text.family("phiwatch_channel_last_sent_seconds", Sort::Gauge, "The newest successful send.");
    for (channel, at) in look.sent {
        text.sample(&[("channel", channel)], seconds(*at));
    }
}

fn history(text: &mut Text, board: &Board) {
    let numbers: [(&'static str, Sort, &str, f64); 9] = [
        ("phiwatch_segments_total", Sort::Counter, "Segments made durable.", board.commits.segments as f64),
        ("phiwatch_segment_bytes_total", Sort::Counter, "Bytes of their files.", board.commits.bytes as f64),
        ("phiwatch_staged_rows", Sort::Gauge, "Rows that wait for the next segment.", board.staged.0 as f64),
        ("phiwatch_staged_bytes", Sort::Gauge, "Bytes of memory that they take.", board.staged.1 as f64),
        ("phiwatch_compactions_total", Sort::Counter, "Groups of small files joined.", board.upkeep.0 as f64),
        ("phiwatch_compacted_files_total", Sort::Counter, "Files that were joined.", board.upkeep.1 as f64),
        ("phiwatch_removed_files_total", Sort::Counter, "Joined files that were removed later.", board.upkeep.2 as f64),
        ("phiwatch_audit_lines_total", Sort::Counter, "Lines of the self-audit drained.", board.drained.0 as f64),
        ("phiwatch_receipts_total", Sort::Counter, "Receipts of channels drained.", board.drained.1 as f64),
    ];
    for (name, sort, help, value) in numbers {
        text.family(name, sort, help).sample(&[], value);
    }
    time(text, "phiwatch_commit_seconds", "The newest segment.", board.commits.last);
    time(text, "phiwatch_snapshot_seconds", "The newest snapshot of the engine.", board.commits.snapshot);
    let since = board.roster.as_ref().map(|(_, since)| *since);
    time(text, "phiwatch_roster_seconds", "Since when the rosters in force are in force.", since);
}

/// A time that may be absent: then the family has no sample.
fn time(text: &mut Text, name: &'static str, help: &str, at: Option<Time>) {
    text.family(name, Sort::Gauge, help);
    if let Some(at) = at {
        text.sample(&[], seconds(at));
    }
}

fn seconds(at: Time) -> f64 {
    at.0 as f64 / SECOND as f64
}

/// Topic and partition; all files together are one place.
fn place(origin: &Origin) -> (String, String) {
    match origin {
        Origin::Topic { topic, partition } => (topic.to_string(), partition.to_string()),
        Origin::File { .. } => ("(files)".to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::reader;
    use super::*;
    use crate::event::Reason;
    use crate::pipeline::Outcomes;

    fn look(board: &Board) -> reader::Samples {
        let outbox = BTreeMap::from([(
            "mail".to_owned(),
            Counters { pending: 3, held: 1, dead: 2, oldest: Some(Time(5 * SECOND)) },
        )]);
        let sent = BTreeMap::from([("mail".to_owned(), Time(7 * SECOND))]);
        let health = ChannelHealth { ok: false, held: true, since: Time(0), what: String::new() };
        let channels = BTreeMap::from([("mail".to_owned(), health)]);
        let now = Time(100 * SECOND);
        reader::read(&text(&Look { board, outbox: &outbox, sent: &sent, channels: &channels, now })).unwrap()
    }

    fn value(samples: &reader::Samples, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        samples.get(&(name.to_owned(), labels)).copied()
    }

    #[test]
    fn an_empty_board_is_well_formed() {
        look(&Board::default());
    }

    #[test]
    fn what_was_before_and_what_came_since_are_one_sum() {
        let counts = |events, gap| Counts { events, duplicates: 1, rejects: 2, gap };
        let outcomes = |lanes: Vec<(Origin, Counts)>, empty| Outcomes {
            lanes: lanes.into_iter().collect(),
            reasons: BTreeMap::from([(Reason::Empty, empty)]),
            ..Outcomes::default()
        };
        let board = Board {
            before: outcomes(vec![(Origin::topic("t", 0), counts(10, 4)), (Origin::file("a"), counts(1, 0))], 4),
            since: outcomes(vec![(Origin::topic("t", 0), counts(5, 0)), (Origin::file("b"), counts(2, 0))], 1),
            ..Board::default()
        };
        let samples = look(&board);
        let of = |topic, partition, outcome| {
            value(
                &samples,
                "phiwatch_records_total",
                &[("topic", topic), ("partition", partition), ("outcome", outcome)],
            )
        };
        for (outcome, expected) in [("event", 15.0), ("duplicate", 2.0), ("reject", 4.0), ("gap", 4.0)] {
            assert_eq!(of("t", "0", outcome), Some(expected), "{outcome}");
        }
        assert_eq!(of("(files)", "", "event"), Some(3.0));
        assert_eq!(value(&samples, "phiwatch_rejects_total", &[("reason", "empty")]), Some(5.0));
        assert_eq!(value(&samples, "phiwatch_outbox_pending", &[("channel", "mail")]), Some(3.0));
        assert_eq!(value(&samples, "phiwatch_outbox_oldest_seconds", &[("channel", "mail")]), Some(5.0));
        assert_eq!(value(&samples, "phiwatch_channel_up", &[("channel", "mail")]), Some(0.0));
    }

    #[test]
    fn ever_new_sources_make_no_ever_new_series() {
        let mut board = Board::default();
        for n in 0..10_000 {
            board.since.sources.insert(format!("s{n:05}"), (1, Time(0)));
        }
        let samples = look(&board);
        let sources: Vec<_> = samples.iter().filter(|((name, _), _)| name == "phiwatch_source_events_total").collect();
        assert_eq!(sources.len(), SOURCES_MAX + 1);
        assert_eq!(sources.iter().map(|(_, count)| **count).sum::<f64>(), 10_000.0);
    }

    #[test]
    fn a_partition_is_in_one_state() {
        let lane = LaneStand { next: 3, end: 10, newest: None, queued: 2, doing: Doing::Paused };
        let board = Board { lanes: BTreeMap::from([(Origin::topic("t", 1), lane)]), ..Board::default() };
        let samples = look(&board);
        let at = [("topic", "t"), ("partition", "1")];
        assert_eq!(value(&samples, "phiwatch_partition_lag", &at), Some(7.0));
        let states: Vec<_> =
            samples.iter().filter(|((name, _), value)| name == "phiwatch_partition_state" && **value == 1.0).collect();
        assert_eq!(states.len(), 1);
        assert!(states[0].0.1.contains(&("state".to_owned(), "paused".to_owned())));
    }
}
