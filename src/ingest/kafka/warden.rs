//! The thread that asks the broker questions, so that the thread that reads never waits for an answer.
//!
//! It surveys at the intervals of the plan and when it is woken. It decides nothing.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::settings::Plan;
use super::survey::{Survey, Surveyor};

/// Why the warden is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// An end was reached.
    Ends,
    /// Something is odd: ids and partitions are to be looked at too.
    All,
}

/// Surveys until the reader is gone.
pub(super) fn run(plan: &Plan, mut surveyor: Surveyor, woken: &Receiver<Wake>, answers: &Sender<Survey>) {
    let mut all_at = Instant::now();
    let mut wake = Wake::All;
    loop {
        let begun = Instant::now();
        let survey = if wake == Wake::All || begun >= all_at {
            all_at = begun + plan.metadata;
            surveyor.all()
        } else {
            surveyor.ends()
        };
        if answers.send(survey).is_err() {
            return;
        }
        wake = match woken.recv_timeout(plan.ends.saturating_sub(begun.elapsed())) {
            Ok(wake) => wake,
            Err(RecvTimeoutError::Timeout) => Wake::Ends,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // However often it is woken, the broker is asked at most some times in an interval.
        std::thread::sleep((plan.ends / 8).min(Duration::from_millis(250)).saturating_sub(begun.elapsed()));
        wake = woken.try_iter().fold(wake, Wake::max);
    }
}
