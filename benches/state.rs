//! State in memory: bytes per user after 60 days, by the counting allocator.
//!
//! Each user works on five days of seven and makes [`PER_DAY`] accesses to as many patients then, one of them an export, half of them in
//! the morning and half in the afternoon: hours of work without a pause are judged as a changed shift where no shifts are known, and the
//! figure would be that of the alerts. Events are given in order of time, so that three days are open at the end, as they are in a hospital.

use std::sync::Arc;

use phiwatch::engine::settings::Settings;
use phiwatch::engine::{Engine, Input};
use phiwatch::event::effects::Decoded;
use phiwatch::event::{Activity, Draft, EventBuilder, Origin, Time};
use phiwatch::roster::{Intake, Roster, load};

use crate::hospital::STRETCH;
use crate::measure::{at_most, count_bytes, live_bytes, rate, timed};

const DAYS: i64 = 60;
const DAY: i64 = 86_400_000_000;
/// Accesses of a user on a working day.
const PER_DAY: usize = 8;
/// 2026-01-05T14:00:00Z, in microseconds: eight in the morning in Chicago.
const START: i64 = 1_767_621_600_000_000;
const HOUR: i64 = 3_600_000_000;
/// Both halves of the work of a day.
const SPELL: i64 = 2 * HOUR;
/// From the beginning of the first to that of the second.
const APART: i64 = 5 * HOUR;

/// Runs the engine over 60 days of `users` and counts what stays.
pub fn per_user(users: usize) {
    let roster = roster(users);
    count_bytes();
    let mut engine = Engine::new(Settings::default(), roster);
    let origin = Origin::topic("ehr", 0);
    engine.step(Time(0), Input::Open(origin.clone()));
    let (events, spent) = timed(|| {
        let mut next = 0;
        for day in 0..DAYS {
            next = work(&mut engine, &origin, users, day, next);
        }
        next as usize
    });
    rate("60 days", events, spent, None);
    println!("settled through {:?}", engine.settled().map(|day| day.to_string()));
    at_most("state", live_bytes() as f64 / users as f64, "bytes a user", 2_048.0);
    println!("snapshot: {:.0} bytes a user", engine.save().len() as f64 / users as f64);
}

/// One day of everybody, by time.
fn work(engine: &mut Engine, origin: &Origin, users: usize, day: i64, mut next: i64) -> i64 {
    let there: Vec<usize> = (0..users).filter(|user| (user + day as usize) % 7 < 5).collect();
    let total = (there.len() * PER_DAY) as i64;
    let mut builder = EventBuilder::default();
    let first = next;
    let mut from = next;
    for turn in 0..PER_DAY {
        for user in &there {
            let (half, into) = (i64::from(turn >= PER_DAY / 2), next - first);
            let at = START + day * DAY + half * APART + SPELL * (2 * into - half * total) / total;
            let activity = if turn == 5 { Activity::Export } else { Activity::Read };
            let (actor, patient) =
                (format!("u{user:06}"), format!("p{}", (user * 31 + turn + day as usize * 3) % 2_000_000));
            let mut draft = Draft::new(format!("e{next:010}"), Time(at), "ehr", activity);
            draft.actor_id = Some(actor.into());
            draft.patients = vec![patient.into()];
            builder.push(&draft, next, 0);
            next += 1;
            if builder.len() == STRETCH {
                step(engine, &mut builder, origin, from, next);
                from = next;
            }
        }
    }
    step(engine, &mut builder, origin, from, next);
    next
}

fn step(engine: &mut Engine, builder: &mut EventBuilder, origin: &Origin, from: i64, to: i64) {
    if from < to {
        let decoded = Decoded { batch: builder.finish(origin), rejects: Vec::new(), from, to, gap: 0 };
        engine.step(Time(0), Input::Decoded(Box::new(decoded)));
    }
}

fn roster(users: usize) -> Arc<Roster> {
    let mut text = String::from("user_id,role,department,site,status\n");
    for user in 0..users {
        let role = ["nurse", "physician", "clerk", "pharmacist"][user % 4];
        text.push_str(&format!("u{user:06},{role},unit {},main,active\n", user % 300));
    }
    let zone = phiwatch::event::Zone::get("America/Chicago").expect("a zone of the database");
    let files = [
        ("users.csv".to_owned(), text.into_bytes()),
        ("sites.csv".to_owned(), b"site,timezone,holidays\nmain,America/Chicago,\n".to_vec()),
    ];
    let loaded = load(&files, zone, &Intake { previous: None, at: Time(0), allow_shrink: false });
    assert_eq!(loaded.problems, [], "the files are whole");
    Arc::new(loaded.roster)
}
