//! Tails of over-dispersed daily counts: the shrunken negative binomial of `notes/detection.md`, section 5.1.
//!
//! A count of an active day is `x >= 1`; the model is `y = x - 1 ~ NB(mean mu, variance mu + phi mu^2)`. Conditioning on activity takes
//! out the zeros of shifts and leave.

use serde::{Deserialize, Serialize};
use statrs::distribution::{DiscreteCDF, NegativeBinomial};

use super::delayed::Learn;
use crate::event::Day;

/// Weight of the peers' mean against the own one, in active days: at least and at most.
const PEER_MEAN_DAYS: (f64, f64) = (2.0, 8.0);
/// Weight of the peers' dispersion against the own one, in active days.
pub const PEER_DISPERSION_DAYS: f64 = 40.0;
/// Half-life of what is learnt of one account, in active days.
const HALF_LIFE_ACTIVE_DAYS: f64 = 45.0;
/// Half-life of what is learnt of a group, in calendar days.
const HALF_LIFE_GROUP_DAYS: f64 = 30.0;

/// Weight of the group above in what is learnt of the spread between accounts, in account-days.
const SPREAD_DAYS: f64 = 8.0;
/// A level that rests on fewer account-days tells nobody how far an account lies from it.
const LEVEL_DAYS: f64 = 8.0;

/// Weight that draws the factor of a day of the week to 1; an account-day weighs at most `1/phi`.
const FACTOR_SHRINK: f64 = 10.0;

/// `P(Y >= y)`; 1 for `y = 0`, at least 1e-300.
pub fn tail(mu: f64, phi: f64, y: u64) -> f64 {
    if y == 0 {
        return 1.0;
    }
    let law = NegativeBinomial::new(1.0 / phi, 1.0 / (1.0 + phi * mu)).expect("phi and mu are positive");
    // The upper tail by its own function: `1 - cdf` is 0 beyond 1e-16.
    law.sf(y - 1).max(1e-300)
}

/// The smallest `y` with `P(Y >= y) <= p`.
pub fn quantile(mu: f64, phi: f64, p: f64) -> u64 {
    let (mut low, mut high) = bracket(mu, phi, p);
    let mut moved_high = true;
    for round in 0.. {
        if low.0 + 1 >= high.0 {
            break;
        }
        // The logarithm of a tail is nearly a line: the next guess is nearly right, and its neighbour says so.
        let y = match round % 3 {
            0 => between(low, high, p),
            1 if moved_high => high.0 - 1,
            1 => low.0 + 1,
            _ => low.0 + (high.0 - low.0) / 2,
        };
        let at = tail(mu, phi, y);
        moved_high = at <= p;
        if moved_high { high = (y, at) } else { low = (y, at) }
    }
    high.0
}

/// A count with its tail.
type Point = (u64, f64);

/// A count whose tail is above `p` and one whose tail is not, around a first guess: the mean and a few standard deviations.
fn bracket(mu: f64, phi: f64, p: f64) -> (Point, Point) {
    let at = |y: u64| (y, tail(mu, phi, y));
    let spread = (mu + phi * mu * mu).sqrt();
    let guess = at((mu + spread * (-p.ln()).max(0.0) * 0.7) as u64 + 1);
    let mut step = (spread as u64).max(1);
    let (mut low, mut high) = (guess, guess);
    while low.1 <= p {
        high = low;
        low = if low.0 > step { at(low.0 - step) } else { (0, 1.0) };
        step *= 2;
        if low.0 == 0 {
            break;
        }
    }
    while high.1 > p && high.0 < 1 << 40 {
        low = high;
        high = at(high.0 + step);
        step *= 2;
    }
    (low, high)
}

/// Where the line through two logarithms of tails meets `p`, strictly between the two.
fn between(low: Point, high: Point, p: f64) -> u64 {
    let share = (low.1.ln() - p.ln()) / (low.1.ln() - high.1.ln());
    let y = low.0 + (share.clamp(0.0, 1.0) * (high.0 - low.0) as f64) as u64;
    y.clamp(low.0 + 1, high.0 - 1)
}

/// `y`, or the smallest count with `P(Y >= count) <= p` where that is less.
///
/// Nearly every count lies below: then at most one look at its tail says so, and the quantile is not searched for.
pub fn capped(y: u64, mu: f64, phi: f64, p: f64) -> u64 {
    if y <= usual(mu, phi, p) || tail(mu, phi, y) > p { y } else { y.min(quantile(mu, phi, p)) }
}

/// A count up to which `P(Y >= y) > p` without a look at any tail, somewhat below the mean.
///
/// Paley and Zygmund: `P(Y > t mu) >= (1 - t)^2 mu^2 / E[Y^2]`, and `E[Y^2] = mu + phi mu^2 + mu^2`.
pub fn usual(mu: f64, phi: f64, p: f64) -> u64 {
    // A thousandth is left to rounding.
    (0.999 * mu * (1.0 - (p * (1.0 / mu + phi + 1.0)).sqrt())).max(0.0) as u64
}

/// What one settled day teaches: the winsorised count with the weekday's factor taken out, and the normalised residual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CountStep {
    /// `min(y, cap) / weekday factor`. A surge stays in it: one that lasts is the habit.
    pub level: f32,
    /// `((y - mu)^2 - mu) / max(mu, 1/2)^2`, held within -2..50.
    pub residual: f32,
}

impl CountStep {
    /// The step of a day with `y`, expected `mu` and dispersion `phi`, on a weekday with this factor.
    pub fn new(y: u64, mu: f64, phi: f64, factor: f64) -> CountStep {
        let capped = capped(y, mu, phi, 1e-4) as f64;
        let residual = ((capped - mu).powi(2) - mu) / mu.max(0.5).powi(2);
        CountStep { level: (capped / factor) as f32, residual: residual.clamp(-2.0, 50.0) as f32 }
    }
}

/// Decayed sums of one account: mean and dispersion of its active days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CountHabit {
    level_sum: f32,
    weight: f32,
    residual_sum: f32,
}

impl Learn for CountHabit {
    type Step = CountStep;

    fn fold(&mut self, _: Day, step: &CountStep) {
        let keep = 0.5_f64.powf(1.0 / HALF_LIFE_ACTIVE_DAYS) as f32;
        self.level_sum = keep * self.level_sum + step.level;
        self.weight = keep * self.weight + 1.0;
        self.residual_sum = keep * self.residual_sum + step.residual;
    }
}

impl CountHabit {
    /// Takes back what is left of a step after so many later ones.
    pub fn leave_out(&mut self, step: &CountStep, later: f64) {
        let left = 0.5_f64.powf(later / HALF_LIFE_ACTIVE_DAYS) as f32;
        self.level_sum = (self.level_sum - left * step.level).max(0.0);
        self.weight = (self.weight - left).max(0.0);
        self.residual_sum -= left * step.residual;
    }
}

/// What peers show: mean and dispersion of an active day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// Mean of `y` on an active day.
    pub mean: f64,
    /// Dispersion `phi` of an account's days.
    pub phi: f64,
    /// How far the means of accounts lie apart: their variance, against the square of `mean`.
    pub spread: f64,
}

impl CountHabit {
    /// Active days learnt from, decayed.
    pub fn days(&self) -> f64 {
        f64::from(self.weight)
    }

    /// The account's own mean of `y`, where it has one.
    pub fn own_mean(&self) -> Option<f64> {
        (self.weight >= 1.0).then(|| f64::from(self.level_sum / self.weight))
    }

    /// Mean and dispersion for a day, shrunk to the peers; the dispersion is widened by what is not known of the mean.
    ///
    /// The peers weigh as much as their spread deserves, within bounds. What is not known is what a mean so shrunk misses: the spread
    /// that the peers leave in it, and the noise of the own days.
    pub fn expect(&self, peers: Peers, factor: f64) -> Expected {
        let weight = f64::from(self.weight);
        let phi = (PEER_DISPERSION_DAYS * peers.phi + f64::from(self.residual_sum)) / (PEER_DISPERSION_DAYS + weight);
        let phi = phi.clamp(0.02, 20.0);
        let noise = 1.0 / peers.mean.max(0.05) + phi;
        let spread = peers.spread.max(noise / PEER_MEAN_DAYS.1);
        let peer_days = (noise / spread).max(PEER_MEAN_DAYS.0);
        let mu0 = (peer_days * peers.mean + f64::from(self.level_sum)) / (peer_days + weight);
        let mu = (mu0 * factor).max(0.05);
        let missed = peer_days * peer_days * spread + weight * (1.0 / mu + phi);
        Expected { mu0, mu, phi: phi + missed / (weight + peer_days).powi(2), own_phi: phi }
    }

    /// An account's day against the level of its group, times how its other days lie to that level: the noise of both falls out in the
    /// mean, and what is left is the spread between accounts. `None` where the account has no other days.
    pub fn apart(&self, step: &CountStep, level: f64) -> Option<f64> {
        let own = self.own_mean()?;
        let level = level.max(0.5);
        let apart = (f64::from(step.level) / level - 1.0) * (own / level - 1.0);
        Some(apart.clamp(-2.0, 50.0))
    }
}

/// What is expected of one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Mean of `y` before the day's factors.
    pub mu0: f64,
    /// Mean of `y` on this day.
    pub mu: f64,
    /// Dispersion, widened for new accounts.
    pub phi: f64,
    /// Dispersion without the widening.
    pub own_phi: f64,
}

/// Decayed sums of a group over its account-days, and its factors by day of the week and for the turn of the month.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupCounts {
    as_of: Day,
    level_sum: f64,
    weight: f64,
    residual_sum: f64,
    /// Sum over account-days of how far they and their account lie from the group, and how many they were.
    apart_sum: f64,
    apart_weight: f64,
    /// Observed and expected sums by weekday (0 is Monday) and, at 7, for holidays.
    seen: [f64; 8],
    expected: [f64; 8],
    /// The same of the days about the turn of a month, where the factor of the weekday is expected.
    turn_seen: f64,
    turn_expected: f64,
}

/// What one settled day teaches about a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStep {
    /// Sum of the members' levels.
    pub level: f64,
    /// Sum of the members' residuals.
    pub residual: f64,
    /// Members active that day.
    pub members: f64,
    /// Sum of [`CountHabit::apart`] over those who have other days.
    pub apart: f64,
    /// And how many these are.
    pub habits: f64,
    /// Sum of the members' winsorised `y`, with the surge and the factor of the turn taken out, each by its weight.
    pub seen: f64,
    /// Sum of the members' `mu0`, each by its weight.
    pub expected: f64,
    /// Weekday, or 7 on a holiday.
    pub kind: u8,
    /// About the turn of a month, otherwise 0: the sum with the surge and the factor of the turn left in.
    pub turn_seen: f64,
    /// And the sum of the members' means with the factor of the weekday.
    pub turn_expected: f64,
}

impl Default for GroupCounts {
    fn default() -> GroupCounts {
        GroupCounts {
            as_of: Day(0),
            level_sum: 0.0,
            weight: 0.0,
            residual_sum: 0.0,
            apart_sum: 0.0,
            apart_weight: 0.0,
            seen: [0.0; 8],
            expected: [0.0; 8],
            turn_seen: 0.0,
            turn_expected: 0.0,
        }
    }
}

impl Learn for GroupCounts {
    type Step = GroupStep;

    fn fold(&mut self, day: Day, step: &GroupStep) {
        let passed = f64::from(day.0 - self.as_of.0);
        let keep = 0.5_f64.powf(passed / HALF_LIFE_GROUP_DAYS);
        let keep_week = 0.5_f64.powf(passed / (2.0 * HALF_LIFE_GROUP_DAYS));
        self.as_of = day;
        self.level_sum = keep * self.level_sum + step.level;
        self.weight = keep * self.weight + step.members;
        self.residual_sum = keep * self.residual_sum + step.residual;
        self.apart_sum = keep * self.apart_sum + step.apart;
        self.apart_weight = keep * self.apart_weight + step.habits;
        for kind in 0..8 {
            let now = usize::from(step.kind) == kind;
            self.seen[kind] = keep_week * self.seen[kind] + if now { step.seen } else { 0.0 };
            self.expected[kind] = keep_week * self.expected[kind] + if now { step.expected } else { 0.0 };
        }
        self.turn_seen = keep_week * self.turn_seen + step.turn_seen;
        self.turn_expected = keep_week * self.turn_expected + step.turn_expected;
    }
}

impl GroupCounts {
    /// Takes back what is left of an account-day. The factors of days and the spread keep it: they compare all members.
    pub fn leave_out(&mut self, taught: Day, level: f64, residual: f64) {
        let left = 0.5_f64.powf(f64::from(self.as_of.0 - taught.0) / HALF_LIFE_GROUP_DAYS);
        self.level_sum = (self.level_sum - left * level).max(0.0);
        self.weight = (self.weight - left).max(0.0);
        self.residual_sum -= left * residual;
    }

    /// Mean, dispersion and spread over the group's account-days, shrunk to `prior` with the weight of some account-days: `mean_days` in
    /// the mean, `phi_days` in the dispersion.
    pub fn peers(&self, prior: Peers, mean_days: f64, phi_days: f64) -> Peers {
        let drawn = |days: f64, prior: f64, sum: f64, weight: f64| (days * prior + sum) / (days + weight);
        Peers {
            mean: drawn(mean_days, prior.mean, self.level_sum, self.weight),
            phi: drawn(phi_days, prior.phi, self.residual_sum, self.weight).clamp(0.02, 20.0),
            spread: drawn(SPREAD_DAYS, prior.spread, self.apart_sum, self.apart_weight).clamp(0.02, 20.0),
        }
    }

    /// The group's own level, where enough account-days tell it.
    pub fn level(&self) -> Option<f64> {
        (self.weight >= LEVEL_DAYS).then(|| self.level_sum / self.weight)
    }

    /// How much busier a day of this kind is than the average of all kinds, shrunk to 1 by the weight of some account-days.
    ///
    /// The average is taken out: else what is wrong in the means would live on in the factors, and both would agree for ever.
    pub fn factor(&self, kind: u8) -> f64 {
        let kind = usize::from(kind);
        self.shrunk(self.seen[kind], self.expected[kind])
    }

    /// How much busier the days about the turn of a month are than their weekdays: those who bill know them
    /// (`notes/detection.md`, section 5.1); to everybody else it is 1.
    pub fn turn(&self) -> f64 {
        self.shrunk(self.turn_seen, self.turn_expected)
    }

    fn shrunk(&self, seen: f64, expected: f64) -> f64 {
        let all = self.seen.iter().sum::<f64>() / self.expected.iter().sum::<f64>().max(1e-9);
        let all = if all > 0.0 { all } else { 1.0 };
        ((FACTOR_SHRINK + seen) / (FACTOR_SHRINK + all * expected)).clamp(0.1, 5.0)
    }
}

/// Whether a day is one of the last three or first two business days of a month. Mondays to Fridays are: holidays differ by site, and a
/// day too many in a factor that is learnt does no harm.
pub fn is_turn_of_month(day: Day) -> bool {
    let is_business = |day: Day| day.weekday() < 5;
    let (_, month, date) = day.civil();
    let first = (0..date as i32).filter(|back| is_business(day.plus(-back))).count();
    let rest = (0..31).map(|on| day.plus(on)).take_while(|day| day.civil().1 == month);
    is_business(day) && (first <= 2 || rest.filter(|day| is_business(*day)).count() <= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference tails from the definition: the sum of the probabilities, in the order of the recurrence.
    fn tail_by_sum(mu: f64, phi: f64, y: u64) -> f64 {
        let (r, q) = (1.0 / phi, phi * mu / (1.0 + phi * mu));
        let mut term = (1.0 - q).powf(r);
        let mut below = 0.0;
        for k in 0..y {
            below += term;
            term *= q * (r + k as f64) / (k as f64 + 1.0);
        }
        1.0 - below
    }

    #[test]
    fn tails_agree_with_the_sum() {
        for (mu, phi, y) in [(20.0, 0.4, 60), (0.05, 2.0, 3), (300.0, 0.1, 500), (5.0, 20.0, 100), (20.0, 0.4, 0)] {
            let (fast, slow) = (tail(mu, phi, y), tail_by_sum(mu, phi, y));
            assert!((fast - slow).abs() < 1e-9, "mu {mu} phi {phi} y {y}: {fast} {slow}");
        }
    }

    #[test]
    fn the_quantile_is_the_first_below() {
        for (mu, phi, p) in [(20.0, 0.4, 1e-3), (0.05, 0.02, 1e-4), (5_000.0, 0.3, 1e-6), (3.0, 8.0, 0.5)] {
            let y = quantile(mu, phi, p);
            assert!(tail(mu, phi, y) <= p && tail(mu, phi, y - 1) > p, "mu {mu} phi {phi} p {p}: {y}");
        }
    }

    proptest::proptest! {
        #[test]
        fn capping_is_the_smaller_of_both(y in 0_u64..3_000, mu in 0.05_f64..800.0, phi in 0.02_f64..20.0, digits in 0.3_f64..7.0) {
            let p = 10_f64.powf(-digits);
            proptest::prop_assert_eq!(capped(y, mu, phi, p), y.min(quantile(mu, phi, p)));
        }

        #[test]
        fn what_is_usual_lies_above_p(mu in 0.05_f64..3_000.0, phi in 0.02_f64..60.0, digits in 0.3_f64..9.0) {
            let p = 10_f64.powf(-digits);
            proptest::prop_assert!(tail(mu, phi, usual(mu, phi, p)) > p);
        }

        #[test]
        fn the_quantile_is_found_by_halving(mu in 0.05_f64..3_000.0, phi in 0.02_f64..20.0, digits in 0.3_f64..9.0) {
            let p = 10_f64.powf(-digits);
            let (mut low, mut high) = (0, 1 << 40);
            while low + 1 < high {
                let middle = low + (high - low) / 2;
                if tail(mu, phi, middle) <= p { high = middle } else { low = middle }
            }
            proptest::prop_assert_eq!(quantile(mu, phi, p), high);
        }
    }

    #[test]
    fn a_steady_account_is_expected_to_stay() {
        let mut habit = CountHabit::default();
        let peers = Peers { mean: 20.0, phi: 0.4, spread: 0.2 };
        for day in 0..200 {
            let y = if day % 2 == 0 { 90 } else { 110 };
            let now = habit.expect(peers, 1.0);
            habit.fold(Day(day), &CountStep::new(y, now.mu, now.own_phi, 1.0));
        }
        let now = habit.expect(peers, 1.0);
        assert!((now.mu - 95.5).abs() < 5.0, "{now:?}");
        assert!(tail(now.mu, now.phi, 110) > 0.2 && tail(now.mu, now.phi, 1_000) < 1e-6, "{now:?}");
    }

    /// Means of accounts a factor of three apart, and days that scatter as Poisson counts would: what lies apart is the accounts. By hand:
    /// means of 10, 20 and 30 have a variance of 2/3 * 100 around 20, which is 0.167 of the square.
    #[test]
    fn the_spread_between_accounts_is_learnt() {
        let prior = Peers { mean: 20.0, phi: 0.2, spread: 8.0 };
        let (mut habits, mut group) = ([CountHabit::default(); 3], GroupCounts::default());
        let (fresh, mut none) = (CountHabit::default(), 0);
        for day in 0..60 {
            let mut step = GroupStep::default();
            for (habit, mean) in habits.iter_mut().zip([10.0, 20.0, 30.0]) {
                let noise = if day % 2 == 0 { 4.0 } else { -4.0 };
                let own = CountStep { level: mean + noise, residual: 0.2 };
                let apart = group.level().and_then(|level| habit.apart(&own, level));
                none += u32::from(apart.is_none());
                (step.level, step.residual) = (step.level + f64::from(own.level), step.residual + 0.2);
                (step.members, step.apart) = (step.members + 1.0, step.apart + apart.unwrap_or(0.0));
                step.habits += f64::from(u8::from(apart.is_some()));
                habit.fold(Day(day), &own);
            }
            group.fold(Day(day), &step);
        }
        // The level was not known on the first three days.
        assert_eq!(none, 9);
        let peers = group.peers(prior, 1.0, 20.0);
        assert!((peers.mean - 20.0).abs() < 0.5 && (0.15..1.0).contains(&peers.spread), "{peers:?}");
        // Nothing is known of a new account but that; much is known of the others.
        let peers = Peers { spread: 0.167, ..peers };
        let (new, old) = (fresh.expect(peers, 1.0), habits[2].expect(peers, 1.0));
        assert!((new.phi - new.own_phi - 0.167).abs() < 1e-3, "{new:?}");
        assert!(old.phi - old.own_phi < 0.01 && (old.mu - 29.5).abs() < 0.7, "{old:?}");
        assert!(fresh.expect(prior, 1.0).phi > 8.0, "nobody is far from a level that nobody knows");
    }

    #[test]
    fn months_turn_on_business_days() {
        // January 2026 begins on a Thursday and ends on a Saturday; February begins on a Sunday.
        let turn = |month: &str| -> Vec<i64> {
            let days = (1..=31).filter_map(|date| Day::parse(&format!("2026-{month}-{date:02}")));
            days.filter(|day| is_turn_of_month(*day)).map(|day| day.civil().2).collect()
        };
        assert_eq!(turn("01"), [1, 2, 28, 29, 30]);
        assert_eq!(turn("02"), [2, 3, 25, 26, 27]);
        assert_eq!(turn("08"), [3, 4, 27, 28, 31]);
    }

    /// Billers do three times as much about the turn of a month: the factor says so, and the weekdays are not moved by it.
    #[test]
    fn the_turn_of_the_month_is_learnt() {
        let learn = |times: f64| {
            let mut group = GroupCounts::default();
            // 2026-01-05 was a Monday.
            let first = Day::parse("2026-01-05").unwrap();
            for day in (0..150).map(|day| first.plus(day)).filter(|day| day.weekday() < 5) {
                let (turn, kind) = (is_turn_of_month(day), day.weekday());
                let known = if turn { group.turn() } else { 1.0 };
                let seen = 100.0 * if turn { times } else { 1.0 };
                let (turn_seen, turn_expected) = if turn { (seen, 100.0 * group.factor(kind)) } else { (0.0, 0.0) };
                let step = GroupStep {
                    seen: seen / known,
                    expected: 100.0,
                    kind,
                    turn_seen,
                    turn_expected,
                    ..GroupStep::default()
                };
                group.fold(day, &step);
            }
            group
        };
        let (billers, others) = (learn(3.0), learn(1.0));
        assert!((2.6..3.1).contains(&billers.turn()), "{}", billers.turn());
        assert!((others.turn() - 1.0).abs() < 0.01, "{}", others.turn());
        for kind in 0..5 {
            assert!((0.85..1.15).contains(&billers.factor(kind)), "{kind}: {}", billers.factor(kind));
        }
    }

    /// Whatever was expected at first, the factors speak of the days of the week alone.
    #[test]
    fn factors_are_relative() {
        let mut group = GroupCounts::default();
        for day in 0..70 {
            let kind = (day % 7) as u8;
            let seen = if kind == 0 { 60.0 } else { 40.0 };
            group.fold(Day(day), &GroupStep { seen, expected: 100.0, members: 10.0, kind, ..GroupStep::default() });
        }
        let mean = (60.0 + 6.0 * 40.0) / 7.0;
        assert!((group.factor(0) - 60.0 / mean).abs() < 0.06, "{}", group.factor(0));
        assert!((group.factor(3) - 40.0 / mean).abs() < 0.06, "{}", group.factor(3));
    }
}
