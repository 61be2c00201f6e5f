//! Standard output: every revision of a notified alert, one JSON line each, for pipes.

use std::io::Write;

use async_trait::async_trait;

use super::{Failure, Sender, Sent, Spec, lines};
use crate::notify::render::Notification;
use crate::notify::routing::Hears;
use crate::notify::settings::Detail;

/// The kind.
pub const SPEC: Spec = Spec {
    kind: "stdout",
    about: "every revision of a notified alert, one JSON line each, on standard output",
    hears: Hears::Everything,
    detail: Detail::Full,
};

/// Prints.
pub struct Printer {
    detail: Detail,
}

impl Printer {
    /// Nothing is printed yet.
    pub fn new(detail: Detail) -> Printer {
        Printer { detail }
    }
}

#[async_trait]
impl Sender for Printer {
    async fn send(&mut self, notification: &Notification) -> Sent {
        let text: String = lines(notification, self.detail).into_iter().map(|(_, line)| line + "\n").collect();
        let printed = tokio::task::spawn_blocking(move || {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        match printed.await {
            Ok(Ok(())) => Sent::all(notification, None),
            Ok(Err(error)) => Sent::none(Failure::Held(format!("standard output: {error}"))),
            Err(_) => Sent::none(Failure::later("the program is stopping")),
        }
    }
}
