//! One metric of a day as the model sees it, and how rare that is.

use super::{MASS, METRICS};
use crate::engine::stats::counts::{Expected, Peers, tail};

/// A member's day counts in the mean of the peers up to this many times their usual spread.
const PEER_CAP: f64 = 4.0;

/// One metric of a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) metric: usize,
    pub(super) surge: f64,
    /// The surge that the p-value allows for while that of the day is not known.
    pub(super) allowed: Option<f64>,
    pub(super) expected: Expected,
    /// By the model.
    pub(super) p: f64,
    /// Of the day, ranked within the role.
    pub(super) p_day: f64,
}

/// Weight of an account in the factors of its group: the inverse of the relative variance of its day, times its mean.
pub(super) fn weight(expected: &Expected) -> f64 {
    1.0 / (1.0 + expected.own_phi * expected.mu)
}

/// The largest level of a member's day that counts in the mean of the peers.
pub(super) fn cap(usual: &Peers) -> f64 {
    PEER_CAP * (1.0 + usual.mean) * (1.0 + usual.phi + usual.spread)
}

/// How rare a count is by the model; what is no mass is not rare.
pub(super) fn rarity(metric: usize, count: u64, expected: &Expected) -> f64 {
    if count < MASS[metric] { 1.0 } else { tail(expected.mu, expected.phi, count - 1) }
}

/// The score of a day by the best of its p-values.
pub(super) fn score(best: f64) -> f64 {
    -((METRICS as f64 * best).min(1.0)).log10()
}

pub(super) fn best(views: &[View; METRICS]) -> View {
    // Of equal p-values the one that says more about patients is named.
    *views.iter().rev().min_by(|a, b| a.p.total_cmp(&b.p)).expect("there are metrics")
}
