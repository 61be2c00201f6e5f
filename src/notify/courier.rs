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
        if now < self.heartbeat_retry.0 || !plan::heartbeat_due(last, now, at, &zone) {
            return Ok(());
        }
        let tally = self.on_store(move |store| store.tally(now.plus(-DAY))).await?;
        let body = Body::Heartbeat(Vitals { tally, lines: (self.vital)() });
        let id = format!("heartbeat-{}-{}", self.name, zone.local(now).date);
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
