//! Absences on a site where four accounts are used every day.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::fixture::{first_day, zone};
use crate::engine::settings::Settings;
use crate::engine::{Engine, Input};
use crate::event::effects::Decoded;
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Activity, Draft, EventBuilder, Origin, Raised, Severity, State, Time};
use crate::roster::{Intake, load};

const DAYS: i32 = 85;
/// The record begins on 2026-02-02, which is day 0; `away` is on leave on days 10 to 40.
const USERS: &str = "user_id,role,site,status,account_created_at,valid_from,valid_to\n\
    n1,nurse,main,active,2025-01-01,,\n\
    n2,nurse,main,active,2025-01-01,,\n\
    n3,nurse,main,active,2025-01-01,,\n\
    n4,nurse,main,active,2025-01-01,,\n\
    idle,nurse,main,active,2025-01-01,,\n\
    away,nurse,main,active,2025-01-01,,2026-02-11\n\
    away,nurse,main,leave,2025-01-01,2026-02-12,2026-03-14\n\
    away,nurse,main,active,2025-01-01,2026-03-15,\n\
    fresh,nurse,main,active,2026-02-07,,\n\
    older,nurse,main,active,2025-01-01,,\n";

/// Everything that is told of a site on which nobody is seen on the days of `silence`: `idle` and `away` are used on day 0, and `uses`
/// come on the last day, each with the correlation id of its record.
fn heard(silence: Range<i32>, uses: &[(&'static str, Option<&'static str>)]) -> Vec<Raised> {
    let uses: Vec<_> = uses.iter().map(|(actor, id)| (DAYS - 1, *actor, *id)).collect();
    heard_of(silence, &uses)
}

/// The same, with the days of the uses.
fn heard_of(silence: Range<i32>, uses: &[(i32, &'static str, Option<&'static str>)]) -> Vec<Raised> {
    let files = [("users.csv", USERS), ("sites.csv", "site,timezone\nmain,America/Chicago\n")];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let loaded = load(&files, zone(), &Intake { previous: None, at: Time(0), allow_shrink: false });
    assert_eq!(loaded.problems, []);
    let noon = |day: i32| zone().midnight(first_day().plus(day)).plus(12 * HOUR);
    let days = (0..DAYS).filter(|day| !silence.contains(day));
    let busy = days.flat_map(|day| ["n1", "n2", "n3", "n4"].map(|actor| (noon(day), actor, None)));
    let last = (1..).zip(uses).map(|(minute, (day, actor, id))| (noon(*day).plus(minute * MINUTE), *actor, *id));
    let first = [(noon(0), "idle", None), (noon(0), "away", None)];
    let mut records: Vec<(Time, &str, Option<&str>)> = first.into_iter().chain(busy).chain(last).collect();
    records.sort_by_key(|(time, ..)| *time);
    let (origin, mut builder, mut to) = (Origin::file("x"), EventBuilder::default(), 1);
    for (time, actor, correlation) in records {
        let mut draft = Draft::new(format!("e{to}"), time, "ehr", Activity::Read);
        draft.actor_id = Some(actor.into());
        draft.site = Some("main".into());
        draft.correlation_id = correlation.map(Into::into);
        builder.push(&draft, to, 0);
        to += 1;
    }
    let decoded = Decoded { batch: builder.finish(&origin), rejects: Vec::new(), from: 1, to, gap: 0 };
    let mut engine = Engine::new(Settings::default(), Arc::new(loaded.roster));
    let inputs = [Input::Open(origin), Input::Decoded(Box::new(decoded)), Input::Close];
    inputs.into_iter().flat_map(|input| engine.step(Time(0), input).raised).collect()
}

/// `notes/detection.md`, section 5.4: unused since it was made for 30 days, or else for the 45 of the policy; known leave is no absence,
/// nor is a silence of the log. The list comes on Sundays: days 6, 13, 20, ...
#[test]
fn the_weekly_list() {
    let check = |silence: Range<i32>, day: i32, expected: &[&str]| {
        let heard = heard(silence.clone(), &[]);
        let on =
            |raised: &&Raised| raised.alert.detection_id == "dormant.review" && raised.day == first_day().plus(day);
        let accounts = heard.iter().find(on).map(|raised| raised.alert.facts["accounts"].clone());
        let name = |account: &Value| account["account"].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<String> = accounts.iter().flat_map(|list| list.as_array()).flatten().map(name).collect();
        found.sort();
        assert_eq!(found, expected, "day {day}, silent on {silence:?}");
    };
    let none = 0..0;
    // `fresh` was made on day 5.
    check(none.clone(), 34, &[]);
    check(none.clone(), 41, &["fresh"]);
    check(none.clone(), 48, &["fresh", "idle", "older"]);
    // 31 of the 69 days of `away` were leave, and of the 76.
    check(none.clone(), 69, &["fresh", "idle", "older"]);
    check(none, 76, &["away", "fresh", "idle", "older"]);
    // Ten days without anybody.
    check(20..30, 41, &[]);
    check(20..30, 48, &["fresh"]);
    check(20..30, 55, &["fresh", "idle", "older"]);
}

/// INTERFACES, section 1: records of one source with the same correlation id report one request.
#[test]
fn a_request_counts_once() {
    let check = |ids: &[Option<&'static str>], uses: &str| {
        let heard = heard(0..0, &ids.iter().map(|id| ("idle", *id)).collect::<Vec<_>>());
        let back = |raised: &&Raised| raised.alert.detection_id == "dormant.reactivated" && raised.alert.settled;
        let found: Vec<&Raised> = heard.iter().filter(back).collect();
        let [raised] = found[..] else { panic!("{ids:?}: {found:#?}") };
        assert!(raised.alert.reason.contains(uses), "{ids:?}: {}", raised.alert.reason);
        let found = (raised.alert.evidence.count, raised.alert.severity);
        assert_eq!(found, (ids.len() as u64, Severity::Medium), "{ids:?}");
    };
    check(&[None, None], ": 2 events that day;");
    check(&[Some("r1"), Some("r1")], ": 1 event that day;");
    check(&[Some("r1"), Some("r2"), Some("r1"), None], ": 3 events that day;");
}

/// Who comes back comes to stay: what is known of the days before is said once, also where they are still open.
#[test]
fn one_homecoming_is_one_alert() {
    let check = |days: &[i32], told: &[i32]| {
        let uses: Vec<_> = days.iter().map(|day| (*day, "idle", None)).collect();
        let heard = heard_of(0..0, &uses);
        let all = || heard.iter().filter(|raised| raised.alert.detection_id == "dormant.reactivated");
        let days = |of: &[&Raised]| -> Vec<i32> { of.iter().map(|raised| raised.day.0 - first_day().0).collect() };
        assert_eq!(days(&all().filter(|raised| !raised.alert.settled).collect::<Vec<_>>()), told);
        assert_eq!(days(&all().filter(|raised| raised.interrupts).collect::<Vec<_>>()), told);
        let open = |raised: &&Raised| raised.alert.settled && raised.alert.state == State::Open;
        assert_eq!(days(&all().filter(open).collect::<Vec<_>>()), told);
    };
    check(&[80, 81, 82, 83], &[80]);
    check(&[80, 82], &[80]);
    check(&[84], &[84]);
}
