//! The courier of one channel: takes its rows from the outbox, sends, and writes down what came of it.
//!
//! Each channel has its own, so that one that hangs delays nobody else. The present is an argument; sleeping and waking is `mod`'s.

use std::sync::{Arc, Mutex};

use super::channel::{Failure, Sender, Sent};
use super::plan::{self, Damping, Plan};
use super::render::{Body, Notification, Told, Vitals};
use super::routing::{self, Hears};
use super::settings::{ChannelSettings, ClockTime, Length};
use super::{Health, channel};
use crate::event::time::{DAY, HOUR, MINUTE, SECOND};
use crate::event::{Severity, Time, Zone};
use crate::store::{Outcome, Row, Store, StoreError};

/// Rows that are looked at together at a channel for people: a storm above it is told in several notifications.
const STORM: usize = 10_000;
/// Alerts in one batch at a channel for programs.
const BATCH: usize = 500;
/// Alerts that a notification to people lists.
const LISTED: usize = 20;
/// The longest sleep: clocks jump, and other processes write verdicts and mutes.
const LONGEST_SLEEP: i64 = 30 * SECOND;

/// What the program can say about itself in the daily sign of life: one sentence each, never a name.
pub type Vital = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What is special to a channel for people.
struct Habits {
    damping: Damping,
    heartbeat: Option<(ClockTime, Zone)>,
    escalate_after: Option<Length>,
}

/// One channel at work.
pub struct Courier {
    name: String,
    store: Arc<Store>,
    sender: Box<dyn Sender>,
    /// `None` for a channel for programs.
    habits: Option<Habits>,
    vital: Vital,
    health: Arc<Mutex<Health>>,
    /// When the sign of life may be tried again, and how often it has failed.
    heartbeat_retry: (Time, u32),
}

impl Courier {
    /// The courier of a channel with `sender`.
    pub fn new(
        settings: &ChannelSettings,
        sender: Box<dyn Sender>,
        store: Arc<Store>,
        zone: &Zone,
        vital: Vital,
        health: Arc<Mutex<Health>>,
    ) -> Courier {
        let habits = |group_wait: Option<Length>, per_hour: Option<u32>, heartbeat: Option<ClockTime>| Habits {
            damping: Damping {
                group_wait: group_wait.map_or(30 * SECOND, |length| length.0),
                per_hour: per_hour.unwrap_or(20) as usize,
                list_at_most: LISTED,
            },
            heartbeat: heartbeat.map(|at| (at, zone.clone())),
            escalate_after: None,
        };
        let habits = match settings {
            ChannelSettings::Email(own) => Some(Habits {
                escalate_after: own.escalate_after,
                ..habits(own.group_wait, own.per_hour, own.heartbeat)
            }),
            ChannelSettings::Webhook(own) => Some(habits(own.group_wait, own.per_hour, own.heartbeat)),
            // A collector of records is not disturbed by many.
            ChannelSettings::Syslog(_) => {
                let damping = Damping { group_wait: 0, per_hour: u32::MAX as usize, list_at_most: BATCH };
                Some(Habits { damping, heartbeat: None, escalate_after: None })
            }
            _ => None,
        };
        debug_assert_eq!(habits.is_some(), settings.spec().hears == Hears::Interruptions);
        let name = settings.name().to_owned();
        Courier { name, store, sender, habits, vital, health, heartbeat_retry: (Time::MIN, 0) }
    }

    /// Does everything that can be done at `now`; `closing` waits for no group. Returns when to come again.
    ///
    /// # Errors
    /// Where the store refuses; nothing is lost, and the next turn begins anew.
    pub async fn turn(&mut self, now: Time, closing: bool) -> Result<Time, StoreError> {
        let mut wake = now.plus(LONGEST_SLEEP);
        if self.habits.is_none() {
            wake = wake.min(self.stream(now).await?);
        } else {
            let escalated = escalated(&self.name);
            self.escalate(&escalated, now).await?;
            for (outbox, is_escalated) in [(self.name.clone(), false), (escalated, true)] {
                wake = wake.min(self.people(&outbox, is_escalated, now, closing).await?);
            }
            self.heartbeat(now).await?;
        }
        Ok(wake)
    }

    /// A channel for programs: rows in their order, in batches; a failure keeps the order by keeping all that follow.
    async fn stream(&mut self, now: Time) -> Result<Time, StoreError> {
        loop {
            let name = self.name.clone();
            let rows = self.on_store(move |store| store.waiting(&name, BATCH)).await?;
            let Some(head) = rows.first() else {
                return Ok(Time::MAX);
            };
            if head.next_try > now {
                return Ok(head.next_try);
            }
            let id = plan::delivery(&self.name, &rows.iter().collect::<Vec<_>>());
            let listed = rows.iter().map(|row| self.told(row)).collect();
            let body = Body::Alerts { listed, more: 0, escalated: false };
            let sent = self.sender.send(&Notification { id, at: now, body }).await;
            let (done, rest) = rows.split_at(sent.done.min(rows.len()));
            self.close(done, Outcome::Sent, sent.note.clone(), now).await?;
            match (&sent.failure, rest.first()) {
                (Some(failure), Some(next)) => self.failed(std::slice::from_ref(next), failure, now).await?,
                _ => self.healthy(now),
            }
        }
    }

    /// A channel for people: mutes, groups, repeats.
    async fn people(&mut self, outbox: &str, escalated: bool, now: Time, closing: bool) -> Result<Time, StoreError> {
        let Some(damping) = self.habits.as_ref().map(|habits| habits.damping) else {
            return Ok(Time::MAX);
        };
        loop {
            let rows = self.unmuted(outbox, now).await?;
            let name = outbox.to_owned();
            let recent = self.on_store(move |store| store.deliveries(&name, now.plus(-HOUR))).await?;
            let (places, repeat) = match plan::next(&rows, &recent, now, &damping, closing) {
                Plan::Nothing => return Ok(Time::MAX),
                Plan::Wait(until) => return Ok(until),
                Plan::Repeat(places) => (places, true),
                Plan::Form(places) => (places, false),
            };
            let chosen: Vec<&Row> = places.iter().map(|&place| &rows[place]).collect();
            let bound = chosen.first().and_then(|row| row.delivery.clone()).filter(|_| repeat);
            let id = bound.unwrap_or_else(|| plan::delivery(outbox, &chosen));
            if !repeat {
                let (seqs, id) = (seqs(&chosen), id.clone());
                self.on_store(move |store| store.assign(&seqs, &id)).await?;
            }
            self.tell(id, &chosen, escalated, &damping, now).await?;
        }
    }

    /// Sends one notification to people and writes down what came of it.
    async fn tell(
        &mut self,
        id: String,
        rows: &[&Row],
        escalated: bool,
        damping: &Damping,
        now: Time,
    ) -> Result<(), StoreError> {
        let composed = plan::compose(rows, damping.list_at_most);
        let listed = composed.listed.iter().map(|&place| self.told(rows[place])).collect();
        let body = Body::Alerts { listed, more: composed.more, escalated };
        let sent = self.sender.send(&Notification { id, at: now, body }).await;
        let all: Vec<Row> = rows.iter().map(|row| (*row).clone()).collect();
        if let Some(failure) = &sent.failure {
            return self.failed(&all, failure, now).await;
        }
        let is_counted = |place: &usize| composed.counted.binary_search(place).is_ok();
        let (counted, told): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(is_counted);
        let pick = |places: Vec<usize>| places.into_iter().map(|place| all[place].clone()).collect::<Vec<_>>();
        self.close(&pick(told), Outcome::Sent, sent.note.clone(), now).await?;
        self.close(&pick(counted), Outcome::Grouped, sent.note, now).await?;
        self.healthy(now);
        Ok(())
    }

    /// The waiting rows that no mute covers; the others end here. A notification that was formed goes out as it was.
    async fn unmuted(&self, outbox: &str, now: Time) -> Result<Vec<Row>, StoreError> {
        let name = outbox.to_owned();
        let (rows, mutes) = self.on_store(move |store| Ok((store.waiting(&name, STORM)?, store.mutes(now)?))).await?;
        let covered = |row: &Row| row.delivery.is_none() && mutes.iter().any(|mute| routing::covers(mute, &row.alert));
        let (muted, heard): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(covered);
        if !muted.is_empty() {
            self.close(&muted, Outcome::Muted, None, now).await?;
        }
        Ok(heard)
    }

    async fn escalate(&self, to: &str, now: Time) -> Result<(), StoreError> {
        let Some(after) = self.habits.as_ref().and_then(|habits| habits.escalate_after) else {
            return Ok(());
        };
        let (name, to, before) = (self.name.clone(), to.to_owned(), now.plus(-after.0));
        self.on_store(move |store| store.escalate(&name, &to, Severity::Critical, before, now)).await?;
        Ok(())
    }

    async fn heartbeat(&mut self, now: Time) -> Result<(), StoreError> {
        let Some((at, zone)) = self.habits.as_ref().and_then(|habits| habits.heartbeat.clone()) else {
            return Ok(());
        };
        let name = self.name.clone();
        let last = self.on_store(move |store| store.last_heartbeat(&name)).await?;
        let due = plan::heartbeat_due(last, now, at, &zone).filter(|_| now >= self.heartbeat_retry.0);
        let Some(due) = due else { return Ok(()) };
        let news = self.on_store(move |store| store.news(now.plus(-DAY))).await?;
        let body = Body::Heartbeat(Vitals { news, lines: (self.vital)() });
        // That of its time, not of today: on the day of the first start there are two.
        let id = format!("heartbeat-{}-{}", self.name, zone.local(due).date);
        let sent = self.sender.send(&Notification { id, at: now, body }).await;
        if let Some(failure) = sent.failure {
            let attempts = self.heartbeat_retry.1 + 1;
            self.heartbeat_retry = (now.plus(plan::delay(&self.name, attempts, None).max(MINUTE)), attempts);
            self.unhealthy(&failure, now);
            return Ok(());
        }
        self.heartbeat_retry = (Time::MIN, 0);
        self.healthy(now);
        let name = self.name.clone();
        self.on_store(move |store| store.beat(&name, now)).await
    }

    async fn failed(&self, rows: &[Row], failure: &Failure, now: Time) -> Result<(), StoreError> {
        self.unhealthy(failure, now);
        let attempts = rows.iter().map(|row| row.attempts).max().unwrap_or(0) + 1;
        let id = rows.first().map_or_else(|| self.name.clone(), |row| format!("{}/{}", self.name, row.seq));
        let (numbers, what) = (seqs(&rows.iter().collect::<Vec<_>>()), failure.what().to_owned());
        match failure {
            Failure::Dead(_) => self.close(rows, Outcome::Dead, Some(what), now).await,
            Failure::Held(_) => {
                let next = now.plus(plan::HELD_DELAY);
                self.on_store(move |store| store.mark_held(&numbers, next, &what)).await
            }
            Failure::Later { asked, .. } => {
                let next = now.plus(plan::delay(&id, attempts, *asked));
                self.on_store(move |store| store.mark_failed(&numbers, next, &what)).await
            }
        }
    }

    async fn close(&self, rows: &[Row], outcome: Outcome, note: Option<String>, now: Time) -> Result<(), StoreError> {
        let numbers = seqs(&rows.iter().collect::<Vec<_>>());
        self.on_store(move |store| store.close(&numbers, outcome, note.as_deref(), now)).await
    }

    fn told(&self, row: &Row) -> Told {
        Told { alert: row.alert.clone(), pseudonym: self.store.pseudonym(&row.alert.subject) }
    }

    /// The operator is told once, when it begins, and not with every repeat.
    fn unhealthy(&self, failure: &Failure, now: Time) {
        let mut health = self.health.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let held = matches!(failure, Failure::Held(_));
        let news = health.ok || health.held != held || matches!(failure, Failure::Dead(_));
        let since = if health.ok { now } else { health.since };
        *health = Health { ok: false, held, since, what: failure.what().to_owned() };
        if !news {
            return;
        }
        let (channel, what) = (self.name.as_str(), failure.what());
        match failure {
            Failure::Later { .. } => tracing::warn!(channel, what, "a notification did not arrive; it is repeated"),
            Failure::Held(_) => tracing::error!(channel, what, "notifications are held until somebody mends this"),
            Failure::Dead(_) => {
                tracing::error!(channel, what, "a notification was refused for good; its alerts are on record")
            }
        }
    }

    fn healthy(&self, now: Time) {
        let mut health = self.health.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !health.ok {
            tracing::info!(channel = self.name, "notifications arrive again");
            *health = Health { ok: true, held: false, since: now, what: String::new() };
        }
    }

    /// Runs a call of the store where it may block.
    async fn on_store<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || call(&store)).await.unwrap_or(Err(StoreError::Stopping))
    }
}

/// Sends a test through a channel, past the outbox.
pub async fn test(settings: &ChannelSettings, now: Time) -> Result<Option<String>, String> {
    let mut sender = channel::build(settings)?;
    let id = format!("test-{}-{}", settings.name(), now.0);
    let Sent { note, failure, .. } = sender.send(&Notification { id, at: now, body: Body::Test }).await;
    failure.map_or(Ok(note), |failure| Err(failure.what().to_owned()))
}

/// The outbox of those who are told where nobody rules in time.
pub(super) fn escalated(channel: &str) -> String {
    format!("{channel}/escalated")
}

fn seqs(rows: &[&Row]) -> Vec<i64> {
    rows.iter().map(|row| row.seq).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;

    use super::*;
    use crate::event::Raised;
    use crate::store::fixture::{raised, store};
    use crate::store::{Mute, Ruling, Verdict};

    /// What a sender was asked to send: the name, the first alert's id and revision, how many listed and counted, whether escalated.
    type Asked = (String, Vec<(String, u32)>, usize, bool);
    type Seen = Arc<Mutex<Vec<Asked>>>;

    /// A sender that answers as it was told, and well where it was told nothing.
    struct Scripted {
        answers: Arc<Mutex<VecDeque<Sent>>>,
        seen: Seen,
    }

    #[async_trait]
    impl Sender for Scripted {
        async fn send(&mut self, notification: &Notification) -> Sent {
            let ids =
                notification.alerts().iter().map(|told| (told.alert.alert_id.clone(), told.alert.revision)).collect();
            let (more, escalated) = match &notification.body {
                Body::Alerts { more, escalated, .. } => (*more, *escalated),
                _ => (0, false),
            };
            self.seen.lock().unwrap().push((notification.id.clone(), ids, more, escalated));
            self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Sent::all(notification, None))
        }
    }

    struct Bench {
        store: Arc<Store>,
        courier: Courier,
        answers: Arc<Mutex<VecDeque<Sent>>>,
        seen: Seen,
        name: String,
        _dir: tempfile::TempDir,
    }

    fn bench(settings: &str) -> Bench {
        let settings: ChannelSettings = toml::from_str(settings).unwrap();
        let (store, _dir) = store();
        let (answers, seen) = (Arc::default(), Seen::default());
        let sender = Box::new(Scripted { answers: Arc::clone(&answers), seen: seen.clone() });
        let health = Arc::new(Mutex::new(Health { ok: true, held: false, since: Time(0), what: String::new() }));
        let vital: Vital = Arc::new(Vec::new);
        let courier = Courier::new(&settings, sender, store.clone(), &Zone::utc(), vital, health);
        Bench { store, courier, answers, seen, name: settings.name().to_owned(), _dir }
    }

    impl Bench {
        fn raise(&self, batch: &[Raised], now: i64) {
            self.store.raise(batch, &|_| vec![self.name.clone()], Time(now * SECOND)).unwrap();
        }

        async fn turn(&mut self, now: i64) -> i64 {
            self.courier.turn(Time(now * SECOND), false).await.unwrap().0 / SECOND
        }

        /// What was sent since the last look.
        fn sent(&self) -> Vec<Asked> {
            std::mem::take(&mut *self.seen.lock().unwrap())
        }

        fn answer(&self, sent: Sent) {
            self.answers.lock().unwrap().push_back(sent);
        }

        fn outcomes(&self) -> Vec<String> {
            let receipts = self.store.receipts_since(0, 1_000).unwrap();
            receipts.iter().map(|receipt| receipt.outcome.as_str().to_owned()).collect()
        }
    }

    const MAIL: &str = "kind = \"email\"\nhost = \"h\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\n";
    const FILE: &str = "kind = \"file\"\npath = \"x\"\n";

    #[tokio::test]
    async fn programs_get_every_revision_in_order_and_once() {
        let mut bench = bench(FILE);
        bench.raise(&[raised("u1", 1), raised("u2", 1), raised("u1", 2)], 0);
        // One arrives, the second fails, the third waits behind it.
        bench.answer(Sent { done: 1, note: None, failure: Some(Failure::later("full")) });
        let wake = bench.turn(0).await;
        assert!((3..=7).contains(&wake), "{wake}");
        assert_eq!(bench.sent().len(), 1);
        bench.turn(1).await;
        assert_eq!(bench.sent().len(), 0, "not before its time");
        bench.turn(10).await;
        let sent = bench.sent();
        let revisions: Vec<u32> = sent[0].1.iter().map(|(_, revision)| *revision).collect();
        assert_eq!((sent.len(), revisions), (1, vec![1, 2]));
        bench.turn(20).await;
        assert_eq!((bench.sent().len(), bench.outcomes()), (0, vec!["sent".to_owned(); 3]));
    }

    #[tokio::test]
    async fn a_record_that_is_refused_for_good_does_not_stop_the_others() {
        let mut bench = bench(FILE);
        bench.raise(&[raised("u1", 1), raised("u2", 1), raised("u3", 1)], 0);
        bench.answer(Sent { done: 1, note: None, failure: Some(Failure::Dead("too large".into())) });
        bench.turn(0).await;
        assert_eq!(bench.outcomes(), ["sent", "dead", "sent"]);
    }

    #[tokio::test]
    async fn people_get_groups_and_repeats_under_the_same_name() {
        let mut bench = bench(MAIL);
        bench.raise(&[raised("u1", 1), raised("u2", 1)], 0);
        assert_eq!(bench.turn(5).await, 30);
        assert_eq!(bench.sent().len(), 0);
        bench.answer(Sent::none(Failure::later("451")));
        bench.turn(30).await;
        let first = bench.sent();
        bench.raise(&[raised("u3", 1)], 31);
        bench.turn(40).await;
        let second = bench.sent();
        assert_eq!((first.len(), first[0].1.len()), (1, 2));
        assert_eq!(first, second, "the repeat is the same notification, whatever came meanwhile");
        bench.turn(61).await;
        assert_eq!(bench.sent()[0].1.len(), 1);
        assert_eq!(bench.outcomes(), ["sent"; 3]);
    }

    #[tokio::test]
    async fn a_storm_is_counted_and_every_row_ends() {
        let mut bench = bench(MAIL);
        let storm: Vec<Raised> = (0..57).map(|n| raised(&format!("u{n}"), 1)).collect();
        bench.raise(&storm, 0);
        bench.turn(30).await;
        let sent = bench.sent();
        assert_eq!((sent.len(), sent[0].1.len(), sent[0].2), (1, 20, 37));
        let outcomes = bench.outcomes();
        let count = |word: &str| outcomes.iter().filter(|outcome| *outcome == word).count();
        assert_eq!((count("sent"), count("grouped")), (20, 37));
    }

    #[tokio::test]
    async fn what_a_person_has_to_mend_is_held_told_and_tried_again() {
        let mut bench = bench(MAIL);
        bench.raise(&[raised("u1", 1)], 0);
        bench.answer(Sent::none(Failure::Held("535".into())));
        bench.turn(30).await;
        let health = bench.courier.health.lock().unwrap().clone();
        assert_eq!(health, Health { ok: false, held: true, since: Time(30 * SECOND), what: "535".into() });
        assert_eq!(bench.store.counters().unwrap()[&bench.name].held, 1);
        bench.turn(30 + plan::HELD_DELAY / SECOND).await;
        assert!(bench.courier.health.lock().unwrap().ok);
        assert_eq!(bench.outcomes(), ["sent"]);
    }

    #[tokio::test]
    async fn a_mute_silences_people_at_once() {
        let mut bench = bench(MAIL);
        let subject = Some(raised("u1", 1).alert.subject);
        let words = || "w".to_owned();
        let (at, until) = (Time(0), Time(100 * SECOND));
        let mute = Mute { seq: 0, detection: "*".into(), subject, reason: words(), who: words(), at, until };
        bench.store.add_mute(&mute).unwrap();
        bench.raise(&[raised("u1", 1), raised("u2", 1)], 0);
        bench.turn(30).await;
        assert_eq!(bench.sent()[0].1.len(), 1);
        assert_eq!(bench.outcomes(), ["muted", "sent"]);
    }

    #[tokio::test]
    async fn critical_alerts_without_a_verdict_go_to_others() {
        let mut bench = bench(&format!("{MAIL}escalate_after = \"1h\"\nescalate_to = [\"d@b.c\"]\n"));
        let mut batch = [raised("u1", 1), raised("u2", 1), raised("u3", 1)];
        batch[0].alert.severity = Severity::Critical;
        batch[1].alert.severity = Severity::Critical;
        bench.raise(&batch, 0);
        bench.turn(30).await;
        let words = || "w".to_owned();
        let (alert_id, ruling) = (batch[1].alert.alert_id.clone(), Ruling::Confirmed);
        let verdict = Verdict { seq: 0, alert_id, ruling, reason: words(), who: words(), at: Time(40 * SECOND) };
        bench.store.add_verdict(&verdict).unwrap();
        bench.turn(3_629).await;
        assert_eq!(bench.sent().len(), 1, "the first telling and nothing else");
        bench.turn(3_630).await;
        bench.turn(3_660).await;
        let sent = bench.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!((&sent[0].1, sent[0].3), (&vec![(batch[0].alert.alert_id.clone(), 1)], true));
        bench.turn(9_000).await;
        assert_eq!(bench.sent().len(), 0, "once");
    }

    #[tokio::test]
    async fn a_sign_of_life_is_sent_daily_and_repeated_where_it_failed() {
        let mut bench = bench(&format!("{MAIL}heartbeat = \"08:00\"\n"));
        let eight = 100 * 86_400 + 8 * 3_600;
        bench.turn(eight).await;
        bench.turn(eight + 60).await;
        assert_eq!(bench.sent().len(), 1);
        bench.answer(Sent::none(Failure::later("down")));
        bench.turn(eight + 86_400).await;
        bench.turn(eight + 86_430).await;
        bench.turn(eight + 86_500).await;
        bench.turn(eight + 86_600).await;
        let ids: Vec<String> = bench.sent().into_iter().map(|sent| sent.0).collect();
        assert_eq!(ids, ["heartbeat-email-1970-04-12"; 2]);
    }
}
