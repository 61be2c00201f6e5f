//! The desk between the socket and the loop of `run`: what only the loop can do lies here until its next chores.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::acts::{Act, PATIENCE};

/// How an act ended, in words.
pub(super) type Answer = Result<String, String>;

/// An act, and where its answer goes.
pub(super) struct Request {
    /// What is asked.
    pub act: Act,
    /// Whoever asked; perhaps gone by now.
    pub answer: oneshot::Sender<Answer>,
}

/// The desk.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Mutex<Vec<Request>>>);

impl Desk {
    /// Lays an act down and waits for what came of it.
    pub async fn ask(&self, act: Act) -> Answer {
        let (answer, came) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Request { act, answer });
        // Before whoever asked at the socket gives up.
        let patience = PATIENCE.saturating_sub(Duration::from_secs(1));
        match tokio::time::timeout(patience, came).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("`phiwatch run` is ending: ask again when it has ended or runs again".to_owned()),
            Err(_) => {
                Err("`phiwatch run` is busy and has not answered; it may do it still: look at its log".to_owned())
            }
        }
    }

    /// Everything that lies there.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
