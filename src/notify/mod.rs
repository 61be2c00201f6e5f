//! EDGE: tells people and programs about alerts, through channels, from the outbox of the store.
//!
//! ```text
//! Raised ──routing──> outbox (store) ──courier, one per channel──> plan ──render──> channel/{file,stdout,kafka,email,webhook,syslog}
//!                        ^                                            │
//!                        └──────────────── receipts ──────────────────┘
//! ```
//!
//! What goes where (`routing`), when and with what (`plan`) and in which words (`render`) are pure functions; `courier` and `channel`
//! meet the world. Nothing is recorded here and nothing is dropped: an alert that reaches nobody stays in the outbox, counted.
//! A channel for programs gets every revision of a notified alert; a channel for people only what interrupts, grouped, and without
//! anything that names a person unless the site asks for it.

mod addresses;
pub mod channel;
pub mod courier;
mod lengths;
pub mod plan;
pub mod render;
pub mod routing;
pub mod secret;
pub mod settings;
mod smtp;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::event::{Raised, Time, Zone};
use crate::store::{Store, StoreError};

pub use courier::Vital;
pub use settings::{ChannelSettings, Settings};

use courier::Courier;
use routing::Routing;

/// Says what time it is; only the loops of the channels ask.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How a channel does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the newest attempt succeeded (true also before the first).
    pub ok: bool,
    /// Whether a person has to mend something.
    pub held: bool,
    /// Since when it is so.
    pub since: Time,
    /// What happened; empty where all is well.
    pub what: String,
}

/// All channels at work.
pub struct Notifier {
    store: Arc<Store>,
    routes: Vec<(String, Routing)>,
    health: BTreeMap<String, Arc<Mutex<Health>>>,
    /// What the loops listen to: a bell that counts, and whether to stop.
    bell: watch::Sender<(u64, bool)>,
    loops: JoinSet<()>,
}

impl Notifier {
    /// Starts a loop for each channel. `zone` gives the clock of the heartbeat; `vital` what it says about the program.
    ///
    /// # Errors
    /// In words, by channel, where a channel cannot be made; nothing was started then. [`Settings::problems`] says the same earlier.
    pub fn start(
        settings: &Settings,
        store: Arc<Store>,
        zone: &Zone,
        clock: Clock,
        vital: Vital,
    ) -> Result<Notifier, Vec<(String, String)>> {
        let mut couriers = Vec::new();
        let mut health = BTreeMap::new();
        let mut wrongs = Vec::new();
        for channel in &settings.0 {
            let well = Health { ok: true, held: false, since: clock(), what: String::new() };
            let well = Arc::new(Mutex::new(well));
            match channel::build(channel) {
                Ok(sender) => {
                    let courier = Courier::new(channel, sender, store.clone(), zone, vital.clone(), well.clone());
                    couriers.push((channel.name().to_owned(), courier));
                }
                Err(wrong) => wrongs.push((channel.name().to_owned(), wrong)),
            }
            health.insert(channel.name().to_owned(), well);
        }
        if !wrongs.is_empty() {
            return Err(wrongs);
        }
        let (bell, listen) = watch::channel((0, false));
        let mut loops = JoinSet::new();
        for (name, courier) in couriers {
            loops.spawn(rounds(name, courier, store.clone(), clock.clone(), listen.clone()));
        }
        let routes = settings.0.iter().map(|channel| (channel.name().to_owned(), channel.routing())).collect();
        Ok(Notifier { store, routes, health, bell, loops })
    }

    /// Puts revisions into the outbox of the channels they go to and wakes these. It blocks while the disk writes.
    ///
    /// Returns how many outbox rows are new: none where all of it was raised before.
    ///
    /// # Errors
    /// Where the store refuses; nothing was written then.
    pub fn raise(&self, raised: &[Raised], now: Time) -> Result<usize, StoreError> {
        let new = self.store.raise(raised, &|one| channels(&self.routes, one), now)?;
        if new > 0 {
            self.wake();
        }
        Ok(new)
    }

    /// Wakes the channels, as after a mute or a restored outbox.
    pub fn wake(&self) {
        self.bell.send_modify(|(rung, _)| *rung = rung.wrapping_add(1));
    }

    /// How each channel does, by name: asked as often as one likes, by whoever looks on.
    pub fn health(&self) -> impl Fn() -> BTreeMap<String, Health> + Send + Sync + use<> {
        let health = self.health.clone();
        let read =
            |health: &Arc<Mutex<Health>>| health.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        move || health.iter().map(|(name, health)| (name.clone(), read(health))).collect()
    }

    /// Lets every channel send what can be sent now, groups included, and stops. What cannot be sent stays in the outbox.
    ///
    /// Returns true where every channel ended in time; the others were cut off in the middle of a call.
    pub async fn stop(mut self, within: Duration) -> bool {
        self.bell.send_modify(|(_, stop)| *stop = true);
        let ended = tokio::time::timeout(within, async { while self.loops.join_next().await.is_some() {} }).await;
        self.loops.abort_all();
        ended.is_ok()
    }
}

/// The channels that a revision goes to, for [`Store::raise`] where no notifier runs.
pub fn routes(settings: &Settings) -> impl Fn(&Raised) -> Vec<String> + use<> {
    let routes: Vec<(String, Routing)> = settings.0.iter().map(|c| (c.name().to_owned(), c.routing())).collect();
    move |raised| channels(&routes, raised)
}

/// Sends one marked test alert through the channel `name`, or through all; says for each what came of it.
///
/// # Errors
/// In words, where no channel has that name.
pub async fn test(
    settings: &Settings,
    name: Option<&str>,
    now: Time,
) -> Result<Vec<(String, Result<Option<String>, String>)>, String> {
    let chosen: Vec<_> = settings.0.iter().filter(|channel| name.is_none_or(|name| channel.name() == name)).collect();
    if let (Some(name), true) = (name, chosen.is_empty()) {
        let known: Vec<_> = settings.0.iter().map(ChannelSettings::name).collect();
        return Err(format!("no channel is called {name}; there are: {}", known.join(", ")));
    }
    let mut results = Vec::new();
    for channel in chosen {
        results.push((channel.name().to_owned(), courier::test(channel, now).await));
    }
    Ok(results)
}

/// Tries the other side of every channel and sends nothing: what would keep alerts from arriving, with the channel's name.
pub async fn greet(settings: &Settings) -> Vec<(String, String)> {
    let mut wrongs = Vec::new();
    for channel in &settings.0 {
        if let Err(wrong) = channel::greet(channel).await {
            wrongs.push((channel.name().to_owned(), wrong));
        }
    }
    wrongs
}

fn channels(routes: &[(String, Routing)], raised: &Raised) -> Vec<String> {
    let routings: Vec<&Routing> = routes.iter().map(|(_, routing)| routing).collect();
    routing::chosen(&routings, raised).into_iter().map(|at| routes[at].0.clone()).collect()
}

/// The loop of one channel: a turn, then sleep until something can be done.
async fn rounds(
    name: String,
    mut courier: Courier,
    store: Arc<Store>,
    clock: Clock,
    mut listen: watch::Receiver<(u64, bool)>,
) {
    // Whatever a person had to mend may have been mended before this start.
    let released = [name.clone(), courier::escalated(&name)].map(|outbox| store.release(&outbox, clock()));
    if let Some(error) = released.into_iter().find_map(Result::err) {
        tracing::error!(channel = name, %error, "the outbox cannot be used");
    }
    loop {
        let stop = listen.borrow_and_update().1;
        let now = clock();
        let wake = courier.turn(now, stop).await.unwrap_or_else(|error| {
            tracing::error!(channel = name, %error, "the outbox cannot be used; trying again");
            now.plus(5 * crate::event::time::SECOND)
        });
        if stop {
            return;
        }
        let sleep = Duration::from_micros(wake.0.saturating_sub(clock().0).clamp(0, i64::MAX) as u64);
        tokio::select! {
            changed = listen.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(sleep.max(Duration::from_millis(50))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Alert;
    use crate::store::fixture::{raised, store};

    #[derive(serde::Deserialize)]
    struct File {
        channels: Settings,
    }

    fn clock() -> Clock {
        Arc::new(|| Time(1_000_000))
    }

    /// A good file channel and a webhook at which nobody listens.
    fn settings(dir: &std::path::Path) -> Settings {
        use std::os::unix::fs::PermissionsExt;
        let key = dir.join("key");
        std::fs::write(&key, "0123456789abcdef").unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text = format!(
            "[[channels]]\nkind = \"file\"\npath = \"{0}/alerts.jsonl\"\n\
             [[channels]]\nkind = \"webhook\"\nurl = \"http://{address}/\"\nsecret = {{ file = \"{0}/key\" }}\n\
             allow_plaintext = \"loopback\"\ngroup_wait = \"0s\"\n",
            dir.display()
        );
        let file: File = toml::from_str(&text).unwrap();
        assert_eq!(file.channels.problems(), []);
        file.channels
    }

    fn lines(dir: &std::path::Path) -> Vec<Alert> {
        let text = std::fs::read_to_string(dir.join("alerts.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_dead_channel_delays_nobody_and_loses_nothing() {
        let (store, dir) = store();
        let settings = settings(dir.path());
        let vital: Vital = Arc::new(Vec::new);
        let notifier = Notifier::start(&settings, store.clone(), &Zone::utc(), clock(), vital).unwrap();
        let mut quiet = raised("u2", 1);
        quiet.interrupts = false;
        let batch = [raised("u1", 1), quiet];
        assert_eq!(notifier.raise(&batch, Time(1)).unwrap(), 3);
        assert_eq!(notifier.raise(&batch, Time(1)).unwrap(), 0);
        assert!(notifier.stop(Duration::from_secs(60)).await, "both ended in time");
        assert_eq!(lines(dir.path()), batch.map(|one| one.alert));
        let counters = store.counters().unwrap();
        assert_eq!((counters["file"].pending, counters["webhook"].pending), (0, 1));
    }

    #[tokio::test]
    async fn tests_of_channels_say_what_came_of_them() {
        let (_store, dir) = store();
        let settings = settings(dir.path());
        let results = test(&settings, None, Time(1)).await.unwrap();
        assert_eq!(results[0], ("file".to_owned(), Ok(None)));
        assert_eq!(results[1], ("webhook".to_owned(), Err("the receiver cannot be reached".to_owned())));
        let line = &lines(dir.path())[0];
        assert!(line.title.starts_with("TEST") && line.detection_id == "phiwatch-test.channel");
        let unknown = test(&settings, Some("pager"), Time(1)).await.unwrap_err();
        assert_eq!(unknown, "no channel is called pager; there are: file, webhook");
    }
}
