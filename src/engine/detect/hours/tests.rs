//! Sites whose people are never away from the record for long: without a shift feed every hour lies in a block of work.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::SPEC;
use crate::engine::fixture::{Record, decoded, first_day, zone};
use crate::engine::settings::Settings;
use crate::engine::triage::Ruled;
use crate::engine::{Engine, Input};
use crate::event::time::{DAY, HOUR, MINUTE};
use crate::event::{Activity, Disposition, Origin, Raised, State, Time};
use crate::roster::{Intake, load};

const USERS: usize = 120;
const DAYS: i32 = 48;
/// One in four is a clerk, who works by day; the others are nurses of six wards.
const CLERK: usize = 4;
/// So many clerks come back in the night.
const MISUSES: usize = 6;

/// How nurses work.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    /// Each always early, late or at night.
    Fixed,
    /// Two early, two late, two nights, four days off.
    Rotating,
    /// A week each of early shifts, late ones and nights.
    Weekly,
}

/// What the site knows of its people.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    /// Their names.
    Names,
    /// Roles and departments too.
    Roles,
    /// And their shifts.
    Shifts,
}

/// When the shift of a user on a day begins, by the clock.
fn begins(user: usize, day: i32, work: Work) -> Option<i8> {
    let date = first_day().plus(day);
    let number = user as i32;
    if user.is_multiple_of(CLERK) {
        return (date.weekday() < 5).then_some(8);
    }
    let free = (day + number).rem_euclid(7) >= 5;
    let turn = match work {
        Work::Rotating => (day + number).rem_euclid(10) / 2,
        _ if free => 3,
        Work::Fixed => number % 3,
        Work::Weekly => (day.div_euclid(7) + number) % 3,
    };
    [6, 14, 22].get(turn as usize).copied()
}

/// The records of a site, its shifts, and the clerks who opened nine charts at 02:05 after a working day, by day.
fn site(seed: u64, work: Work) -> (Vec<Record>, String, Vec<(String, i32)>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut records, mut shifts) = (Vec::new(), "user_id,start,end\n".to_owned());
    let mut open = |actor: &str, time: Time, patient: usize| {
        let (id, patient) = (format!("e{:06}", records.len()), format!("p{patient}"));
        records.push(Record { id, time, actor: actor.to_owned(), activity: Activity::Read, patient });
    };
    for user in 0..USERS {
        let actor = format!("u{user:03}");
        for day in 0..DAYS {
            let Some(hour) = begins(user, day, work).filter(|_| rng.random_bool(0.94)) else { continue };
            // By the clock also where it changes, as on the second Sunday of March.
            let (date, lag) = (first_day().plus(day), rng.random_range(-20..20) * MINUTE);
            let (start, end) = (zone().at(date, hour, 0).plus(lag), zone().at(date, hour + 8, 10).plus(lag));
            shifts.push_str(&format!("{actor},{start},{end}\n"));
            let mut time = start;
            while time < end {
                open(&actor, time, rng.random_range(0..900));
                time = time.plus([5, 10, 20, 30, 45][rng.random_range(0..5)] * MINUTE);
            }
        }
    }
    let mut misuses = Vec::new();
    for number in 0..MISUSES {
        let (actor, day) = (format!("u{:03}", CLERK * number), 28 + (7 * (number / 3) + number % 3) as i32);
        let night = zone().at(first_day().plus(day + 1), 2, 5);
        (0..9).for_each(|step| open(&actor, night.plus(3 * step * MINUTE), rng.random_range(0..900)));
        misuses.push((actor, day));
    }
    records.sort_by_key(|record| record.time);
    (records, shifts, misuses)
}

/// What the detector says of the site, by subject and day. Who is told of one of the `ruled` says whether it was misuse.
fn heard(
    records: &[Record],
    shifts: String,
    known: Known,
    ruled: &[(String, i32)],
    is_misuse: bool,
) -> BTreeMap<(String, i32), Vec<Raised>> {
    let role = |user: usize| match known {
        Known::Names => ",".to_owned(),
        _ if user.is_multiple_of(CLERK) => "clerk,office".to_owned(),
        _ => format!("nurse,ward {}", user % 6),
    };
    let users: String = (0..USERS).map(|user| format!("u{user:03},{},main,active\n", role(user))).collect();
    let mut files = vec![
        ("users.csv".to_owned(), format!("user_id,role,department,site,status\n{users}").into_bytes()),
        ("sites.csv".to_owned(), b"site,timezone\nmain,America/Chicago\n".to_vec()),
    ];
    if known == Known::Shifts {
        files.push(("shifts.csv".to_owned(), shifts.into_bytes()));
    }
    let loaded = load(&files, zone(), &Intake { previous: None, at: Time(0), allow_shrink: false });
    assert_eq!(loaded.problems, []);
    let mut engine = Engine::new(Settings::default(), Arc::new(loaded.roster));
    let origin = Origin::topic("ehr", 0);
    engine.step(Time(0), Input::Open(origin.clone()));
    let mut alerts: BTreeMap<(String, i32), Vec<Raised>> = BTreeMap::new();
    let parts = records.chunks(1_000).enumerate();
    let inputs = parts.map(|(part, rows)| Input::Decoded(Box::new(decoded(&origin, 1_000 * part as i64, rows))));
    for input in inputs.chain([Input::Close]) {
        let raised = engine.step(Time(0), input).raised;
        for raised in raised.into_iter().filter(|raised| raised.alert.family() == SPEC.family) {
            let key = (raised.alert.subject.id.clone(), raised.day.0 - first_day().0);
            if is_told(&raised) && ruled.contains(&key) {
                let (family, subject) = (SPEC.family.to_owned(), raised.alert.subject.clone());
                let ruled = Ruled { family, subject, day: raised.day, is_misuse, excepted_days: None };
                engine.step(Time(0), Input::Ruled(Box::new(ruled)));
            }
            alerts.entry(key).or_default().push(raised);
        }
    }
    alerts
}

fn is_told(raised: &Raised) -> bool {
    raised.alert.disposition == Disposition::Notified
}

/// The budget holds whether or not the site knows shifts, and from the first day on; who comes back in the night is told.
fn check(seed: u64, work: Work, known: Known, rules: bool, found: usize) {
    let (records, shifts, misuses) = site(seed, work);
    let alerts = heard(&records, shifts, known, if rules { &misuses } else { &[] }, true);
    let what = format!("seed {seed}, {work:?}, {known:?}, ruled on: {rules}");
    let told = |day: &&(String, i32)| alerts[*day].iter().any(is_told);
    let by_mistake: Vec<_> = alerts.keys().filter(|day| !misuses.contains(*day)).filter(told).collect();
    // The site asks for 2 alerts of all families per 1,000 accounts and day.
    let budget = 2.0 * USERS as f64 / 1_000.0 * f64::from(DAYS);
    assert!(by_mistake.len() as f64 <= budget, "{what}: {} of {budget}: {by_mistake:?}", by_mistake.len());
    let said = |days: &[(String, i32)]| -> Vec<_> {
        let last = |day| alerts.get(day).and_then(|all| all.last()).map(|raised| &raised.alert);
        days.iter().map(last).map(|alert| alert.map(|alert| (alert.disposition, alert.state, &alert.reason))).collect()
    };
    let open = |raised: &Raised| is_told(raised) && raised.alert.state == State::Open;
    let last_is_open = |day: &&(String, i32)| alerts.get(*day).is_some_and(|all| all.last().is_some_and(open));
    assert_eq!(misuses.iter().filter(last_is_open).count(), found, "{what}: {:?}", said(&misuses));
    for (day, revisions) in &alerts {
        let (last, crossings) = revisions.split_last().unwrap();
        assert!(last.alert.settled && crossings.iter().all(|raised| !raised.alert.settled), "{what} {day:?}");
        // Whoever heard of a day hears of it again only where it has become more severe.
        let before = crossings.iter().map(|raised| raised.alert.severity);
        assert!(before.clone().is_sorted_by(|a, b| a < b), "{what} {day:?}");
        let more = before.max().is_none_or(|before| before < last.alert.severity);
        assert!(more || !last.interrupts, "{what} {day:?} {revisions:?}");
        // What is taken back is taken back for a reason that is said.
        let why = ["block of at least four hours of work", "accounts of the unit were active"];
        let said = why.iter().any(|why| last.alert.reason.contains(why));
        assert!(said || last.alert.state == State::Open, "{what}: {}", last.alert.reason);
    }
}

#[test]
fn sites_without_a_shift_feed_are_not_flooded() {
    for work in [Work::Fixed, Work::Rotating, Work::Weekly] {
        check(1, work, Known::Roles, false, MISUSES);
    }
}

/// Clerks are never seen outside of their shifts: the first three nights are told. They are three in 400 account-days of clerks, and the
/// three of the next week as usual as that, where nobody says that they were misuse: one in 130 is beyond any budget
/// (`notes/detection.md`, section 6.1). Where they are confirmed, all six are told.
#[test]
fn a_shift_feed_hides_no_first_night() {
    for work in [Work::Weekly, Work::Fixed] {
        check(3, work, Known::Shifts, false, MISUSES / 2);
        check(3, work, Known::Shifts, true, MISUSES);
    }
}

/// Where nobody's role is known the night is that of others: the clerk alone is not used to it.
#[test]
fn names_alone_are_no_flood() {
    check(4, Work::Fixed, Known::Names, false, MISUSES);
    check(4, Work::Weekly, Known::Names, false, MISUSES);
}

/// A clerk comes back at night, and again two weeks later. As long as nobody says a word the first night is no habit; once somebody says
/// that it was nothing, it is.
#[test]
fn what_nobody_has_ruled_on_is_no_habit() {
    let (mut records, _, misuses) = site(5, Work::Fixed);
    let (clerk, first) = misuses[0].clone();
    let nights = [first, first + 14].map(|day| (clerk.clone(), day));
    // Of the other clerks who come back at night nothing is left.
    let start = |day: i32| zone().at(first_day().plus(day), 1, 0);
    let is_of = |record: &Record, (actor, day): &(String, i32)| {
        record.actor == *actor && (start(day + 1)..start(day + 1).plus(4 * HOUR)).contains(&record.time)
    };
    records.retain(|record| !misuses[1..].iter().any(|other| is_of(record, other)));
    let night: Vec<Record> = records.iter().filter(|record| is_of(record, &misuses[0])).cloned().collect();
    let again = |record: Record| Record { id: format!("{}b", record.id), time: record.time.plus(14 * DAY), ..record };
    records.extend(night.into_iter().map(again));
    records.sort_by_key(|record| record.time);
    let p = |ruled: &[(String, i32)], is_misuse| {
        let alerts = heard(&records, String::new(), Known::Roles, ruled, is_misuse);
        nights.clone().map(|night| alerts[&night].last().and_then(|raised| raised.alert.p_value).unwrap())
    };
    let (nothing, misuse, usual) = (p(&[], false), p(&nights[..1], true), p(&nights[..1], false));
    let what = format!("{nothing:?} {misuse:?} {usual:?}");
    assert!(nothing[1] < 2.0 * nothing[0] && misuse[1] < 2.0 * misuse[0] && usual[1] > 100.0 * usual[0], "{what}");
}
