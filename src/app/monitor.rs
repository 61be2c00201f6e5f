//! What `run` shows of itself on a loopback port: `/metrics` for Prometheus, `/healthz` for a supervisor and for people.
//!
//! Reading here changes nothing, and nothing here names a person or a record. The server has threads of its own, so that it answers
//! also where the loop stands still, which is when somebody asks.

pub mod board;
pub mod exposition;
pub mod health;
pub mod metrics;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use schemars::JsonSchema;
use serde::Deserialize;

use self::board::Shared;
use self::health::Level;
use crate::event::{Problem, Time};
use crate::notify::Health;
use crate::store::Store;

/// Where it listens unless told.
const DEFAULT: &str = "127.0.0.1:9464";

/// The settings `[monitor]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port of /metrics and /healthz; `127.0.0.1:9464` where absent, `off` for none.
    pub listen: Option<String>,
    /// Listens on an address that other machines reach. There is no password and no encryption.
    pub allow_remote: bool,
    /// A source from which nothing came for so long is told to the operator; `24h` where absent.
    pub silent_after: Option<String>,
    /// Rosters of which no file has changed for so long are told to the operator; `3d` where absent.
    pub stale_after: Option<String>,
    /// A watermark that stands for so long while there is more to read is told to the operator; `10m` where absent.
    pub stalled_after: Option<String>,
    /// Where the watermark stands for so long while there is more to read, time goes on without the partitions that hold it back, until
    /// their records have caught up; never where absent.
    pub leave_after: Option<String>,
}

/// What the settings mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// Whether somebody has asked for this address.
    pub asked: bool,
    /// Microseconds.
    pub silent_after: i64,
    /// Microseconds.
    pub stale_after: i64,
    /// Microseconds.
    pub stalled_after: i64,
    /// Microseconds; `None` is never.
    pub leave_after: Option<i64>,
}

impl Default for Plan {
    fn default() -> Plan {
        Settings::default().check(Path::new("")).expect("the defaults are good")
    }
}

impl Settings {
    /// What the settings mean.
    ///
    /// # Errors
    /// Everything that is wrong with them, all at once; `file` is where they were written.
    pub fn check(&self, file: &Path) -> Result<Plan, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |what: String| problems.push(Problem { file: file.to_owned(), line: None, what });
        let mut length = |key: &str, written: &Option<String>, shipped: &str| {
            let text = written.as_deref().unwrap_or(shipped);
            crate::settings::duration(text).filter(|length| *length > 0).unwrap_or_else(|| {
                wrong(format!("[monitor] {key} has to be a duration such as {shipped:?}, not {text:?}"));
                0
            })
        };
        let silent_after = length("silent_after", &self.silent_after, "24h");
        let stale_after = length("stale_after", &self.stale_after, "3d");
        let stalled_after = length("stalled_after", &self.stalled_after, "10m");
        let leave_after = self.leave_after.is_some().then(|| length("leave_after", &self.leave_after, "30m"));
        let listen = match self.listen.as_deref().unwrap_or(DEFAULT) {
            "off" => None,
            text => match text.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_loopback() || self.allow_remote => Some(address),
                Ok(address) => {
                    wrong(format!(
                        "[monitor] listen = \"{address}\" can be reached by other machines without a password; \
                         write allow_remote = true if that is meant"
                    ));
                    None
                }
                Err(_) => {
                    wrong(format!(
                        "[monitor] listen has to be an address and a port such as {DEFAULT:?}, not {text:?}"
                    ));
                    None
                }
            },
        };
        let asked = self.listen.is_some();
        let plan = Plan { listen, asked, silent_after, stale_after, stalled_after, leave_after };
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }
}

/// What is looked at when somebody asks.
#[derive(Clone)]
pub struct Sight {
    /// The board.
    pub board: Shared,
    /// The outbox.
    pub store: Arc<Store>,
    /// The channels.
    pub channels: Arc<dyn Fn() -> std::collections::BTreeMap<String, Health> + Send + Sync>,
    /// The clock.
    pub clock: fn() -> Time,
}

/// Begins to answer; gives back the address, which the system chooses where the port is 0.
///
/// # Errors
/// Where the address is taken or not ours. Call it inside a runtime.
pub fn serve(address: SocketAddr, sight: Sight) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new().route("/metrics", get(numbers)).route("/healthz", get(well)).with_state(sight);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "/metrics and /healthz are gone");
        }
    });
    Ok(address)
}

/// What `/healthz` at `address` says, and whether it is anything but `failed`.
///
/// # Errors
/// Where nobody answers there.
pub fn ask(address: SocketAddr) -> std::io::Result<(bool, String)> {
    let wait = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, wait)?;
    stream.set_read_timeout(Some(wait))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.starts_with("HTTP/1.1 200 "), body.trim_end().to_owned()))
}

async fn numbers(State(sight): State<Sight>) -> impl IntoResponse {
    let done = tokio::task::spawn_blocking(move || {
        let store = &sight.store;
        let (outbox, sent) = (store.counters().ok()?, store.last_sent().ok()?);
        let board = sight.board.lock().clone();
        let channels = (sight.channels)();
        let now = (sight.clock)();
        Some(metrics::text(&metrics::Look { board: &board, outbox: &outbox, sent: &sent, channels: &channels, now }))
    });
    match done.await.ok().flatten() {
        Some(text) => (StatusCode::OK, [(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text),
        None => {
            let what = "the outbox cannot be read\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], what)
        }
    }
}

async fn well(State(sight): State<Sight>) -> impl IntoResponse {
    let board = sight.board.lock().clone();
    let verdict = health::judge(&board, &(sight.channels)(), (sight.clock)());
    let status = if verdict.level == Level::Failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", verdict.to_json()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address, or a word of the problem.
    fn check(text: &str, expected: Result<Option<&str>, &str>) {
        let settings: Settings = toml::from_str(text).unwrap();
        match (settings.check(Path::new("f")), expected) {
            (Ok(plan), Ok(address)) => assert_eq!(plan.listen, address.map(|text| text.parse().unwrap()), "{text}"),
            (Err(problems), Err(word)) => assert!(problems[0].what.contains(word), "{problems:?}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn only_loopback_unless_told() {
        check("", Ok(Some("127.0.0.1:9464")));
        check("listen = \"off\"", Ok(None));
        check("listen = \"[::1]:1234\"", Ok(Some("[::1]:1234")));
        check("listen = \"0.0.0.0:9464\"", Err("allow_remote"));
        check("listen = \"10.0.0.5:9464\"", Err("allow_remote"));
        check("listen = \"[::ffff:10.0.0.1]:9464\"", Err("allow_remote"));
        check("listen = \"0.0.0.0:9464\"\nallow_remote = true", Ok(Some("0.0.0.0:9464")));
        check("listen = \"localhost\"", Err("address and a port"));
        check("silent_after = \"soon\"", Err("silent_after"));
        check("stalled_after = \"0m\"", Err("stalled_after"));
        check("leave_after = \"x\"", Err("leave_after"));
    }
}
