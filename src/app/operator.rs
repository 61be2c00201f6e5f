//! What an operator is told: each trouble is one alert that begins and ends, whatever the number of times it is seen.
//!
//! Pure but for the clock that is handed in: what is wrong at this moment goes in, alerts come out. A trouble that *lasts* (a source
//! that is silent) is open until it is no longer seen; one that *happened* (a gap) is told at once and counted for the rest of its day.
//! The same trouble about the same thing on one day of the clock is one alert, so that what comes and goes does not flood anybody.
//! Both are closed by a revision of their own, also those that a process before this one has left open ([`Operator::take_up`]).
//! These alerts stand outside the promise of DESIGN section 5: they depend on the clock of this machine.

use std::collections::BTreeMap;

use serde_json::json;

use super::monitor::board::Trouble;
use crate::event::alert::{Evidence, MadeBy, Patients, Window};
use crate::event::{Alert, Class, Day, Disposition, Raised, Severity, State, Subject, SubjectKind, Time, Zone};
use crate::store::Listed;

/// A kind of trouble.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Stable slug: the family of its alerts is `operator-` and this.
    pub slug: &'static str,
    /// The title of its alerts.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What the alert is about.
    pub subject: SubjectKind,
}

const fn kind(slug: &'static str, title: &'static str, severity: Severity, subject: SubjectKind) -> Kind {
    Kind { slug, title, severity, subject }
}

/// Time stands while there is more to read.
pub static STALLED: Kind = kind("stalled", "Time stands still", Severity::High, SubjectKind::System);
/// A partition is not read until a person decides.
pub static STOPPED: Kind = kind("stopped", "A partition is stopped", Severity::High, SubjectKind::System);
/// Time does not wait for a partition.
pub static LEFT: Kind = kind("left", "A partition is left behind", Severity::Medium, SubjectKind::System);
/// Records were lost before they could be read.
pub static GAP: Kind = kind("gap", "Records were lost", Severity::High, SubjectKind::System);
/// The broker does not answer.
pub static BROKER: Kind = kind("broker", "The broker does not answer", Severity::High, SubjectKind::System);
/// Nothing comes from a source.
pub static SILENT: Kind = kind("silent", "A source fell silent", Severity::High, SubjectKind::Source);
/// Records of one id do not agree.
pub static CONFLICT: Kind = kind("id-conflict", "A source repeats identifiers", Severity::Medium, SubjectKind::Source);
/// Records come from the future.
pub static FUTURE: Kind = kind("clock", "The clock of a source is wrong", Severity::Medium, SubjectKind::Source);
/// A roster file was refused.
pub static ROSTER_REFUSED: Kind = kind("roster-refused", "A roster was refused", Severity::Medium, SubjectKind::System);
/// The rosters are old.
pub static ROSTER_STALE: Kind = kind("roster-stale", "The rosters are old", Severity::Medium, SubjectKind::System);
/// The disk is full or nearly so.
pub static DISK: Kind = kind("disk", "The disk is full", Severity::High, SubjectKind::System);
/// Alerts do not reach a channel.
pub static CHANNEL: Kind = kind("channel", "Alerts do not arrive", Severity::High, SubjectKind::System);
/// The self-audit was altered.
pub static AUDIT: Kind = kind("audit", "The self-audit was altered", Severity::Critical, SubjectKind::System);
/// The settings were refused at a reload.
pub static SETTINGS: Kind = kind("settings", "New settings were refused", Severity::Medium, SubjectKind::System);
/// The rules were refused at a reload.
pub static RULES_REFUSED: Kind = kind("rules-refused", "New rules were refused", Severity::Medium, SubjectKind::System);
/// A correlation kept less than it was given.
pub static WINDOW: Kind = kind("window-limit", "A correlation left hits out", Severity::Medium, SubjectKind::System);
/// A part of the engine met a bug.
pub static FALLEN: Kind = kind("switched-off", "A detection is switched off", Severity::High, SubjectKind::System);

/// Records met a bug of decoding.
pub static UNDECODED: Kind = kind("undecoded", "Records cannot be decoded", Severity::High, SubjectKind::System);

/// Records come from a source that the settings do not name.
pub static UNDECLARED: Kind = kind("undeclared", "A source is not declared", Severity::High, SubjectKind::Source);

/// Nothing of a topic can be used.
pub static REJECTED: Kind = kind("rejected", "A feed cannot be used", Severity::High, SubjectKind::System);
/// A file of the drop folder was not read to its end.
pub static FILE: Kind = kind("file", "A file could not be read", Severity::High, SubjectKind::System);
/// The drop folder cannot be used.
pub static FOLDER: Kind = kind("folder", "The drop folder cannot be used", Severity::High, SubjectKind::System);
/// A topic of the settings does not exist.
pub static TOPIC: Kind = kind("topic-missing", "A topic does not exist", Severity::High, SubjectKind::System);

/// Every kind: the docs have to say what to do about each.
static ALL: [&Kind; 23] = [
    &UNDECLARED,
    &FILE,
    &FOLDER,
    &UNDECODED,
    &REJECTED,
    &TOPIC,
    &FALLEN,
    &RULES_REFUSED,
    &WINDOW,
    &STALLED,
    &STOPPED,
    &LEFT,
    &GAP,
    &BROKER,
    &SILENT,
    &CONFLICT,
    &FUTURE,
    &ROSTER_REFUSED,
    &ROSTER_STALE,
    &DISK,
    &CHANNEL,
    &AUDIT,
    &SETTINGS,
];

/// What [`DISK`] is about where it was full for a while.
pub const FULL: &str = "full";

/// Whether such a trouble happened and is over with its day; all others last until they are no longer seen.
fn is_of_a_day(kind: &Kind, about: &str) -> bool {
    let happen = [&GAP, &FILE, &CONFLICT, &FUTURE, &UNDECLARED, &UNDECODED, &WINDOW, &AUDIT, &SETTINGS];
    happen.contains(&kind) || (kind == &DISK && about == FULL)
}

/// Something that is wrong now, or that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What kind.
    pub kind: &'static Kind,
    /// The partition, source, channel or folder.
    pub about: String,
    /// One sentence; never a person.
    pub what: String,
    /// How many records are concerned, where records are.
    pub count: u64,
}

/// What the operator knows.
pub struct Operator {
    zone: Zone,
    made_by: MadeBy,
    /// Troubles that last, by slug and subject.
    open: BTreeMap<(&'static str, String), Told>,
    /// What happened today.
    happened: BTreeMap<(&'static str, String), Told>,
    /// What is over, each with the word for its end, and was not told yet.
    over: Vec<(Told, &'static str)>,
}

/// A trouble that was told.
#[derive(Debug, Clone)]
struct Told {
    seen: Seen,
    since: Time,
    day: Day,
    revision: u32,
    /// The count that was told.
    told: u64,
    /// Up to this time it goes on though it is not seen: after a start things take a while to be noticed.
    awaited: Time,
}

/// The words for an end.
const IS_OVER: &str = "This is over.";
const DAY_IS_OVER: &str = "Its day is over.";

/// Gives the newest revision of an alert that is known already, by its id.
pub type Known<'a> = &'a dyn Fn(&str) -> u32;

impl Operator {
    /// An operator who knows nothing yet; `zone` gives the days.
    pub fn new(zone: Zone, made_by: MadeBy) -> Operator {
        Operator { zone, made_by, open: BTreeMap::new(), happened: BTreeMap::new(), over: Vec::new() }
    }

    /// Takes up the alerts that a process before this one has left `open`, as they stand in the store: what still holds goes on under the
    /// same alert, and all else gets its closing revision with the next look. `notice` says how long a kind takes to be noticed again.
    pub fn take_up(&mut self, mut open: Vec<Listed>, now: Time, notice: &dyn Fn(&Kind) -> i64) {
        let today = self.zone.local(now).day;
        // The newest alert of a trouble is the one that goes on.
        open.sort_by_key(|listed| listed.day);
        for listed in open {
            let kind = ALL.iter().find(|kind| family(kind) == listed.alert.detection_id);
            let Some(told) = kind.and_then(|kind| told_before(kind, listed, now.plus(notice(kind)))) else { continue };
            let key = (told.seen.kind.slug, told.seen.about.clone());
            if !is_of_a_day(told.seen.kind, &told.seen.about) {
                self.over.extend(self.open.insert(key, told).map(|older| (older, IS_OVER)));
            } else if told.day == today {
                self.happened.insert(key, told);
            } else {
                self.over.push((told, DAY_IS_OVER));
            }
        }
    }

    /// Compares what is wrong now with what was wrong before; what has begun and what has ended is in the answer.
    pub fn look(&mut self, wrong: Vec<Seen>, now: Time, known: Known<'_>) -> Vec<Raised> {
        self.forget_other_days(now);
        let mut raised = Vec::new();
        let mut before = std::mem::take(&mut self.open);
        for seen in wrong {
            let key = (seen.kind.slug, seen.about.clone());
            debug_assert!(!is_of_a_day(seen.kind, &seen.about), "{key:?} lasts");
            let told = match before.remove(&key) {
                Some(told) => Told { seen, awaited: Time::MIN, ..told },
                None => self.begin(seen, now, known, &mut raised),
            };
            self.open.insert(key, told);
        }
        let (awaited, over): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|(_, told)| now < told.awaited);
        self.open.extend(awaited);
        self.over.extend(over.into_values().map(|told| (told, IS_OVER)));
        raised.extend(self.close(now));
        raised
    }

    /// The closing revisions of what is over, and a line in the log for each.
    fn close(&mut self, now: Time) -> Vec<Raised> {
        let over = std::mem::take(&mut self.over);
        let close = |(mut told, end): (Told, &str)| {
            let Seen { kind, about, what, .. } = &mut told.seen;
            tracing::info!(kind = kind.slug, about, what, "{end}");
            *what = format!("{what} {end}");
            self.raised(&told, told.revision + 1, State::Closed, now)
        };
        over.into_iter().map(close).collect()
    }

    /// Something happened. The first time of a day is told, and again, quietly, when the count has doubled.
    pub fn happened(&mut self, seen: Seen, now: Time, known: Known<'_>) -> Option<Raised> {
        self.forget_other_days(now);
        let key = (seen.kind.slug, seen.about.clone());
        debug_assert!(is_of_a_day(seen.kind, &seen.about), "{key:?} happens");
        let Some(mut told) = self.happened.remove(&key) else {
            let mut raised = Vec::new();
            let told = self.begin(counted(seen, 0, now), now, known, &mut raised);
            self.happened.insert(key, told);
            return raised.pop();
        };
        told.seen = counted(seen, told.seen.count, told.since);
        let more = (told.seen.count >= told.told * 2).then(|| {
            (told.revision, told.told) = (told.revision + 1, told.seen.count);
            tracing::warn!(kind = told.seen.kind.slug, about = told.seen.about, "{}", told.seen.what);
            self.raised(&told, told.revision, State::Open, now)
        });
        self.happened.insert(key, told);
        more
    }

    /// What happened is open for the rest of its day.
    fn forget_other_days(&mut self, now: Time) {
        let today = self.zone.local(now).day;
        let ended = self.happened.extract_if(.., |_, told| told.day != today);
        self.over.extend(ended.map(|(_, told)| (told, DAY_IS_OVER)));
    }

    /// What happened of this kind was put right.
    pub fn mended(&mut self, kind: &Kind) {
        let mended = self.happened.extract_if(.., |(slug, _), _| *slug == kind.slug);
        self.over.extend(mended.map(|(_, told)| (told, IS_OVER)));
    }

    /// What is open, for the board.
    pub fn open(&self) -> Vec<Trouble> {
        let trouble = |told: &Told| Trouble {
            kind: told.seen.kind.slug,
            about: told.seen.about.clone(),
            what: told.seen.what.clone(),
            severity: told.seen.kind.severity,
            since: told.since,
        };
        self.open.values().chain(self.happened.values()).map(trouble).collect()
    }

    /// What troubles of this kind that last are about.
    pub fn about(&self, kind: &Kind) -> Vec<String> {
        let of_kind = self.open.keys().filter(|(slug, _)| *slug == kind.slug);
        of_kind.map(|(_, about)| about.clone()).collect()
    }

    fn begin(&self, seen: Seen, now: Time, known: Known<'_>, raised: &mut Vec<Raised>) -> Told {
        let day = self.zone.local(now).day;
        let told = Told { told: seen.count, seen, since: now, day, revision: 0, awaited: Time::MIN };
        let revision = known(&id(&told)) + 1;
        tracing::warn!(kind = told.seen.kind.slug, about = told.seen.about, "{}", told.seen.what);
        raised.push(self.raised(&told, revision, State::Open, now));
        Told { revision, ..told }
    }

    /// A revision. People hear of the first one of a day.
    fn raised(&self, told: &Told, revision: u32, state: State, now: Time) -> Raised {
        let kind = told.seen.kind;
        let alert = Alert {
            schema: "phiwatch.alert/1".into(),
            alert_id: id(told),
            detection_id: family(kind),
            class: Class::Hard,
            title: kind.title.into(),
            severity: kind.severity,
            subject: subject(&told.seen),
            window: Window { start: told.since.to_string(), end: now.plus(1).to_string() },
            raised_at: now.to_string(),
            score: 10.0 + 20.0 * f64::from(kind.severity as u8),
            p_value: None,
            reason: told.seen.what.clone(),
            facts: [("since", json!(told.since.to_string())), ("records", json!(told.seen.count))]
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
            evidence: Evidence { count: told.seen.count, event_ids: Vec::new() },
            patients: Patients { count: 0 },
            references: vec![format!("docs/operations.md#{}", kind.slug)],
            revision,
            settled: state == State::Closed,
            episode: None,
            state,
            disposition: Disposition::Notified,
            made_by: self.made_by.clone(),
        };
        Raised { alert, day: told.day, at: now, interrupts: revision == 1, routing: Vec::new() }
    }
}

/// A trouble as the store has it; it is `awaited` up to then.
fn told_before(kind: &'static Kind, Listed { alert, day, .. }: Listed, awaited: Time) -> Option<Told> {
    let (count, since) = (alert.evidence.count, Time::parse(&alert.window.start)?);
    let seen = Seen { kind, about: alert.subject.id, what: alert.reason, count };
    Some(Told { seen, since, day, revision: alert.revision, told: count, awaited })
}

/// What happened again, with what was counted `before`: the sentence says how many there were since it began.
fn counted(seen: Seen, before: u64, since: Time) -> Seen {
    let count = before + seen.count;
    let what = match count {
        0 => seen.what,
        _ => format!("{} {count} of them since {since}.", seen.what),
    };
    Seen { count, what, ..seen }
}

/// The families of all alerts to the operator.
pub(super) fn families() -> impl Iterator<Item = String> {
    ALL.iter().map(|kind| family(kind))
}

fn family(kind: &Kind) -> String {
    format!("operator-{}", kind.slug)
}

fn subject(seen: &Seen) -> Subject {
    Subject { kind: seen.kind.subject, id: seen.about.clone() }
}

fn id(told: &Told) -> String {
    Alert::id(&family(told.seen.kind), &subject(&told.seen), told.day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::{DAY, HOUR};

    fn operator() -> Operator {
        let none = String::new;
        let made_by = MadeBy { version: none(), settings: none(), rules: none(), rosters: none() };
        Operator::new(Zone::utc(), made_by)
    }

    fn seen(kind: &'static Kind, about: &str, count: u64) -> Seen {
        Seen { kind, about: about.into(), what: format!("{about} is wrong."), count }
    }

    /// Family, revision, state and whether it interrupts.
    fn shape(raised: &[Raised]) -> Vec<(&str, u32, State, bool)> {
        raised
            .iter()
            .map(|one| {
                let Raised { alert, interrupts, .. } = one;
                (alert.detection_id.as_str(), alert.revision, alert.state, *interrupts)
            })
            .collect()
    }

    #[test]
    fn what_lasts_is_told_at_its_beginning_and_its_end() {
        let mut operator = operator();
        let silent = || seen(&SILENT, "ehr", 0);
        let fresh: Known<'_> = &|_| 0;
        let noon = Time(12 * HOUR);
        assert_eq!(shape(&operator.look(vec![silent()], noon, fresh)), [("operator-silent", 1, State::Open, true)]);
        for minute in 1..500 {
            assert!(operator.look(vec![silent()], noon.plus(minute), fresh).is_empty());
        }
        assert_eq!(operator.open()[0].since, noon);
        let over = operator.look(vec![], noon.plus(HOUR), fresh);
        assert_eq!(shape(&over), [("operator-silent", 2, State::Closed, false)]);
        assert!(over[0].alert.settled && operator.open().is_empty());
    }

    #[test]
    fn what_comes_and_goes_interrupts_once_a_day() {
        let mut operator = operator();
        let mut newest: BTreeMap<String, u32> = BTreeMap::new();
        let mut interruptions = 0;
        for minute in 0..200 {
            let wrong = if minute % 2 == 0 { vec![seen(&CHANNEL, "mail", 0)] } else { vec![] };
            let known = newest.clone();
            let at = Time(12 * HOUR + minute * 60_000_000);
            for raised in operator.look(wrong, at, &|id| known.get(id).copied().unwrap_or(0)) {
                let before = newest.insert(raised.alert.alert_id.clone(), raised.alert.revision).unwrap_or(0);
                assert_eq!(raised.alert.revision, before + 1, "no revision is left out or given twice");
                interruptions += usize::from(raised.interrupts);
            }
        }
        assert_eq!((newest.len(), interruptions), (1, 1));
    }

    #[test]
    fn a_restart_goes_on_with_the_revisions_on_record() {
        let raised = operator().look(vec![seen(&DISK, "history", 0)], Time(12 * HOUR), &|_| 6);
        assert_eq!(shape(&raised), [("operator-disk", 7, State::Open, false)]);
    }

    #[test]
    fn what_happens_is_counted_and_told_again_when_it_has_doubled() {
        let mut operator = operator();
        let mut told = Vec::new();
        for hour in 0..10 {
            let raised = operator.happened(seen(&GAP, "t/0", 1), Time(10 * HOUR + hour * HOUR), &|_| 0);
            told.extend(raised.map(|one| (hour, one.alert.revision, one.alert.evidence.count, one.interrupts)));
        }
        assert_eq!(told, [(0, 1, 1, true), (1, 2, 2, false), (3, 3, 4, false), (7, 4, 8, false)]);
        let next = operator.happened(seen(&GAP, "t/0", 1), Time(DAY + 12 * HOUR), &|_| 0).unwrap();
        assert_eq!((next.alert.revision, next.interrupts), (1, true), "another day, another alert");
        assert_eq!(operator.open().len(), 1);
    }

    #[test]
    fn the_sum_since_the_beginning_is_told_and_not_that_of_one_batch() {
        let mut operator = operator();
        let noon = Time(12 * HOUR);
        for second in 0..250 {
            _ = operator.happened(seen(&CONFLICT, "ehr", 4), noon.plus(second * 1_000_000), &|_| 0);
        }
        let open = operator.open();
        assert_eq!((open.len(), open[0].since), (1, noon));
        assert_eq!(open[0].what, "ehr is wrong. 1000 of them since 1970-01-01T12:00:00Z.");
        // It is open for the rest of its day, also where nothing else happens.
        assert!(operator.look(vec![], Time(DAY + 4 * HOUR - 1), &|_| 0).is_empty() && operator.open().len() == 1);
        let over = operator.look(vec![], Time(DAY + 4 * HOUR), &|_| 0);
        // It was told of at 4, 8, 16, ... and 512 records.
        assert_eq!(shape(&over), [("operator-id-conflict", 9, State::Closed, false)]);
        let (reason, count) = (&over[0].alert.reason, over[0].alert.evidence.count);
        assert!(reason.ends_with("1000 of them since 1970-01-01T12:00:00Z. Its day is over.") && count == 1000);
        assert!(operator.open().is_empty() && operator.look(vec![], Time(2 * DAY), &|_| 0).is_empty());
    }

    #[test]
    fn what_was_put_right_is_closed() {
        let mut operator = operator();
        _ = operator.happened(seen(&SETTINGS, "settings", 0), Time(12 * HOUR), &|_| 0);
        operator.mended(&SETTINGS);
        assert!(operator.open().is_empty());
        let over = operator.look(vec![], Time(12 * HOUR), &|_| 0);
        assert_eq!(shape(&over), [("operator-settings", 2, State::Closed, false)]);
        assert_eq!(over[0].alert.reason, "settings is wrong. This is over.");
    }

    /// What the next process says that begins at `now` and sees `wrong` then and an hour later, after one that has left `before` open;
    /// and what stands open in between.
    fn check_restart(
        before: Vec<Raised>,
        now: Time,
        wrong: &dyn Fn() -> Vec<Seen>,
        expected: [&[(&str, u32, State, bool)]; 2],
        open: &[(&str, &str)],
    ) {
        let mut operator = operator();
        let newest: BTreeMap<String, u32> =
            before.iter().map(|one| (one.alert.alert_id.clone(), one.alert.revision)).collect();
        let left = before.into_iter().map(|Raised { alert, day, at, .. }| Listed { alert, day, at, ruling: None });
        operator.take_up(left.collect(), now, &|kind| if kind == &CHANNEL { HOUR } else { 0 });
        let known: Known<'_> = &|id| newest.get(id).copied().unwrap_or(0);
        assert_eq!(shape(&operator.look(wrong(), now, known)), expected[0]);
        let found = operator.open();
        assert_eq!(found.iter().map(|t| (t.kind, t.about.as_str())).collect::<Vec<_>>(), open);
        assert_eq!(shape(&operator.look(wrong(), now.plus(HOUR), known)), expected[1]);
    }

    #[test]
    fn a_restart_takes_up_what_stands_open() {
        let at = |hours: i64| Time(hours * HOUR);
        let lasts = |kind, about| operator().look(vec![seen(kind, about, 0)], at(12), &|_| 0);
        let happened = |kind, about| operator().happened(seen(kind, about, 3), at(12), &|_| 0).into_iter().collect();
        let nothing = || vec![];
        let closed = |slug| [(slug, 2, State::Closed, false)];
        // What still holds goes on under its alert, on the next day, too; what is over is closed.
        check_restart(lasts(&STALLED, "t"), at(40), &|| vec![seen(&STALLED, "t", 0)], [&[], &[]], &[("stalled", "t")]);
        check_restart(lasts(&STALLED, "t"), at(13), &nothing, [&closed("operator-stalled"), &[]], &[]);
        // What takes a while to be noticed is waited for.
        let waits = [&[][..], &closed("operator-channel")];
        check_restart(lasts(&CHANNEL, "mail"), at(13), &nothing, waits, &[("channel", "mail")]);
        // What happened is open for the rest of its day: until four in the morning.
        check_restart(happened(&GAP, "t/0"), at(13), &nothing, [&[], &[]], &[("gap", "t/0")]);
        check_restart(happened(&GAP, "t/0"), at(27), &nothing, [&[], &closed("operator-gap")], &[("gap", "t/0")]);
        check_restart(happened(&GAP, "t/0"), at(28), &nothing, [&closed("operator-gap"), &[]], &[]);
        check_restart(happened(&DISK, FULL), at(13), &nothing, [&[], &[]], &[("disk", FULL)]);
        // Where several days were left open the newest goes on.
        let mut two = lasts(&STALLED, "t");
        two.extend(operator().look(vec![seen(&STALLED, "t", 0)], at(36), &|_| 0));
        let still = || vec![seen(&STALLED, "t", 0)];
        check_restart(two, at(40), &still, [&closed("operator-stalled"), &[]], &[("stalled", "t")]);
    }

    #[test]
    fn what_was_counted_is_counted_on_after_a_restart() {
        let first = operator().happened(seen(&GAP, "t/0", 3), Time(12 * HOUR), &|_| 0).unwrap();
        let mut operator = operator();
        let Raised { alert, day, at, .. } = first;
        operator.take_up(vec![Listed { alert, day, at, ruling: None }], Time(13 * HOUR), &|_| 0);
        let again = operator.happened(seen(&GAP, "t/0", 3), Time(13 * HOUR), &|_| 0).unwrap();
        assert_eq!((again.alert.revision, again.interrupts), (2, false));
        assert_eq!(again.alert.reason, "t/0 is wrong. 6 of them since 1970-01-01T12:00:00Z.");
    }

    #[test]
    fn kinds_and_subjects_make_alerts_of_their_own() {
        let mut ids = std::collections::BTreeSet::new();
        for kind in ALL {
            for about in ["a", "b"] {
                let raised = match is_of_a_day(kind, about) {
                    true => operator().happened(seen(kind, about, 0), Time(0), &|_| 0),
                    false => operator().look(vec![seen(kind, about, 0)], Time(0), &|_| 0).pop(),
                };
                assert!(ids.insert(raised.expect("it is new").alert.alert_id));
            }
        }
        assert_eq!(ids.len(), ALL.len() * 2);
    }

    #[test]
    fn the_docs_say_what_to_do_about_each() {
        let docs = include_str!("../../docs/operations.md");
        for kind in ALL {
            assert!(docs.contains(&format!("\n### {}\n", kind.slug)), "docs/operations.md lacks {}", kind.slug);
        }
    }
}
