//! Whom rules speak of, and what they count, through the parts that scan, backtest and run share.

use std::sync::Arc;

use super::super::load;
use super::super::trial::Trial;
use crate::engine::enrich::{columns, enrich};
use crate::event::time::MINUTE;
use crate::event::{Activity, Day, Draft, EventBuilder, Origin, Time, Zone};
use crate::roster::{Intake, Roster, load as load_roster};

/// The base rule of every correlation here.
const BASE: &str = "---
title: A record is read or printed
id: base
status: stable
logsource: { product: phiwatch }
detection:
  s: { activity: [read, print] }
  condition: s
level: low
";

fn roster() -> Roster {
    let files = [
        ("users.csv", "user_id,role,status\nu1,nurse,active\nu2,nurse,active\nu3,nurse,active\n"),
        ("patients.csv", "patient_id,ward\np1,icu\np2,\np3,icu\np4,er\n"),
        ("sites.csv", "site,region\nmain,north\nside,\n"),
        (
            "shifts.csv",
            "user_id,start,end,desk\nu1,2026-03-02T20:00:00Z,2026-03-03T06:00:00Z,call\n\
             u1,2026-03-03T06:00:00Z,2026-03-03T14:00:00Z,ward\n",
        ),
        (
            "approvals.csv",
            "approval_ref,start,end,approved_by,risk\nc1,2026-03-01,2026-03-09,u1,high\nc1,2026-02-01,2026-02-09,u2,low\n",
        ),
        (
            "entitlements.csv",
            "user_id,entitlement,granted_by,granted_at,expires_at,scope\nu1,chart,boss,,,all\nu1,admin,u1,2026-03-01,,some\n\
             u1,old,u3,2025-01-01,2025-02-01,gone\n",
        ),
        (
            "relations.csv",
            "patient_id,kind,user_id,start,end,program\np1,encounter,u1,2026-03-02,2026-03-03,study\np2,care_team,u2,,,other\n\
             p3,encounter,u1,2025-03-02,2025-03-03,long ago\n",
        ),
    ];
    let files: Vec<(String, Vec<u8>)> = files.map(|(name, text)| (name.to_owned(), text.into())).into();
    let loaded = load_roster(&files, Zone::utc(), &Intake { previous: None, at: Time(0), allow_shrink: false });
    assert_eq!(loaded.problems, []);
    loaded.roster
}

/// An event at a minute after 22:00.
fn event<'d>(minute: i64, activity: Activity, actor: &'d str, patients: &[&'d str]) -> Draft<'d> {
    let time = Time::parse("2026-03-02T22:00:00Z").unwrap().plus(minute * MINUTE);
    let mut draft = Draft::new(format!("{actor}-{minute}"), time, "ehr", activity);
    draft.actor_id = Some(actor.into());
    draft.patients = patients.iter().map(|patient| (*patient).into()).collect();
    draft
}

/// What the settled alerts of rules say over events, whichever comes first: `subject: sentence`.
fn check(rules: &str, events: &[Draft<'_>], expected: &[&str]) {
    let roster = roster();
    let loaded = load(&[("r.yml".to_owned(), rules.as_bytes().to_vec())]);
    assert_eq!(loaded.problems, [], "{rules}");
    let set = Arc::new(loaded.set);
    for backwards in [false, true] {
        let mut builder = EventBuilder::default();
        for number in 0..events.len() {
            let at = if backwards { events.len() - 1 - number } else { number };
            builder.push(&events[at], number as i64, 0);
        }
        let batch = builder.finish(&Origin::file("x"));
        let mut trial = Trial::new(set.clone(), 2.0);
        for event in batch.rows() {
            let mut facts = enrich(&roster, &event);
            columns(&roster, &event, set.columns(), &mut facts);
            trial.show(&roster, &event, &facts, 0);
        }
        let raised = trial.settle_through(Day(i32::MAX));
        let mut said: Vec<String> =
            raised.iter().map(|raised| format!("{}: {}", raised.alert.subject.id, raised.alert.reason)).collect();
        said.sort();
        assert_eq!(said, expected, "backwards: {backwards}\n{rules}");
    }
}

/// A correlation of the base rule: what it counts, and what stands under `phiwatch`.
fn correlation(body: &str, phiwatch: &str) -> String {
    format!(
        "title: t\nid: t\nstatus: stable\ncorrelation: {{ rules: [base], timespan: 2h, {body} }}\nlevel: high\nphiwatch: {{ {phiwatch}, class: hard }}\n{BASE}"
    )
}

/// A plain rule.
fn plain(selection: &str, phiwatch: &str) -> String {
    format!(
        "title: t\nid: t\nstatus: stable\nlogsource: {{ product: phiwatch }}\ndetection: {{ s: {{ {selection} }}, condition: s }}\nlevel: high\nphiwatch: {{ {phiwatch}, class: hard }}\n"
    )
}

#[test]
fn a_correlation_by_patients_is_about_the_patient_of_its_group() {
    let rule = correlation(
        "type: value_count, group-by: [patients], condition: { field: actor.id, gte: 3 }",
        "sentence: '{value} opened {group}, {patients|patient|patients} in {count}.', subject: patient",
    );
    let of = |minute, actor, patients: &[&'static str]| event(minute, Activity::Read, actor, patients);
    let opened = [of(0, "u1", &["a", "b"]), of(1, "u2", &["c", "b"]), of(2, "u3", &["d", "b"])];
    check(&rule, &opened, &["b: 3 opened b, 1 patient in 3."]);
    // What one patient is, is held against nobody else.
    let of_ward = rule.replace("gte: 3", "gte: 2").replace("activity: [read, print]", "patient.ward: icu");
    check(&of_ward, &[of(0, "u1", &["p2", "p1"]), of(1, "u2", &["p2", "p1"])], &["p1: 2 opened p1, 1 patient in 2."]);
}

/// Four prints in the morning are what they are; the three from outside in the afternoon are told, and how many windows there are by then
/// does not hide them.
#[test]
fn of_the_windows_of_a_day_the_gravest_is_told() {
    let grave = "severity: [{ when: { client.remote: true }, level: critical }]";
    let say = |kind: &str| {
        correlation(kind, &format!("sentence: '{{value}} in {{count}}: {{client.host}}.', subject: user, {grave}"))
    };
    let of = |minute, host: &'static str, remote| {
        let mut draft = event(minute, Activity::Print, "u1", &["p1"]);
        (draft.client_host, draft.client_remote, draft.result_count) = (Some(host.into()), Some(remote), Some(9));
        draft
    };
    let inside = [0, 1, 2, 3].map(|minute| of(minute, "ward", false));
    let outside = [200, 201, 202].map(|minute| of(minute, "home", true));
    let both: Vec<Draft<'_>> = inside.iter().chain(&outside).cloned().collect();
    let count = say("type: event_count, group-by: [actor.id], condition: { gte: 3 }");
    let mean = say("type: value_avg, group-by: [actor.id], condition: { field: result_count, gte: 3 }");
    check(&count, &inside, &["u1: 4 in 4: ward."]);
    check(&count, &both, &["u1: 3 in 3: home."]);
    check(&mean, &both, &["u1: 9 in 1: home."]);
    // Whatever the group is, of one subject the gravest is told.
    check(&count.replace("[actor.id]", "[client.host]"), &both, &["u1: 3 in 3: home."]);
}

/// Whoever ends a satisfied window has an alert, whoever ends a larger one of the same group.
#[test]
fn a_group_may_be_about_several() {
    let rule = correlation(
        "type: event_count, group-by: [patients], condition: { gte: 2 }",
        "sentence: '{value} of {group} in {count}.', subject: user",
    );
    let of = |minute, actor| event(minute, Activity::Read, actor, &["a"]);
    check(&rule, &[of(0, "u1"), of(1, "u1"), of(2, "u2")], &["u1: 2 of a in 2.", "u2: 3 of a in 3."]);
    check(&rule, &[of(0, "u2"), of(1, "u2"), of(2, "u1")], &["u1: 3 of a in 3.", "u2: 2 of a in 2."]);
    let others = [of(0, "u1"), of(1, "u2"), of(2, "u1"), of(200, "u3")];
    check(&rule, &others, &["u1: 3 of a in 3.", "u2: 2 of a in 2."]);
    // What does not only grow tells of the first window of each.
    let mean = rule.replace("type: event_count", "type: value_avg").replace("gte: 2", "field: fact.hour, gte: 1");
    check(&mean, &[of(0, "u1"), of(1, "u2")], &["u1: 22 of a in 1.", "u2: 22 of a in 2."]);
}

#[test]
fn a_correlation_of_correlations_speaks_for_itself() {
    let rules = format!(
        "title: outer\nid: outer\nstatus: stable\ncorrelation: {{ type: event_count, rules: [inner], group-by: [actor.id], timespan: 2h, \
         condition: {{ gte: 2 }} }}\nlevel: low\nphiwatch: {{ sentence: '{{actor.id}} ({{fact.role}}) {{value}} in {{count}}.', subject: user, class: hard }}\n---\n{}",
        correlation(
            "type: event_count, group-by: [patients], condition: { gte: 2 }",
            "sentence: '{value} in {group}, {count}.', subject: patient",
        )
        .replace("title: t\nid: t\n", "title: inner\nid: inner\n"),
    );
    let of = |minute, actor| event(minute, Activity::Read, actor, &["a"]);
    let events = [of(0, "u1"), of(1, "u1"), of(2, "u2"), of(3, "u1")];
    check(&rules, &events, &["u1: u1 (nurse) 2 in 2."]);
    let both = rules.replace("rules: [inner],", "rules: [inner], generate: true,");
    check(&both, &events, &["a: 4 in a, 4.", "u1: u1 (nurse) 2 in 2."]);
}

#[test]
fn every_patient_of_an_event_counts() {
    let names: Vec<String> = (0..200).map(|number| format!("p{number}")).collect();
    let of = |minute, from: usize| {
        let patients: Vec<&str> = names[from..from + 100].iter().map(String::as_str).collect();
        event(minute, Activity::Print, "u1", &patients)
    };
    let rule = correlation(
        "type: event_count, group-by: [actor.id], condition: { gte: 2 }",
        "sentence: '{patients} in {count}.', subject: user",
    );
    check(&rule, &[of(0, 0), of(1, 100)], &["u1: 200 in 2."]);
}

#[test]
fn hours_are_said_as_they_came_and_other_numbers_from_the_largest() {
    let rule = plain("activity: read", "sentence: '{count} from hour {fact.hour}, {result_count}.', subject: user");
    let of = |minute, rows| Draft { result_count: Some(rows), ..event(minute, Activity::Read, "u1", &["a"]) };
    // 23:10, 00:30, 00:40, 02:00.
    let night = [of(70, 1), of(150, 30), of(160, 2), of(240, 1)];
    check(&rule, &night, &["u1: 4 from hour 23, 0, 2, 30, 2, 1."]);
}

#[test]
fn a_column_of_patients_is_held_against_its_own_patient() {
    let rule = plain("patient.ward: icu", "sentence: 'read.', subject: patient");
    let read = |patients: &[&'static str]| [event(0, Activity::Read, "u1", patients)];
    check(&rule, &read(&["p2", "p1", "p4", "p3"]), &["p1: read.", "p3: read."]);
    check(&rule, &read(&["p4", "nobody", "p1"]), &["p1: read."]);
    check(&rule, &read(&["p4", "p2"]), &[]);
}

/// Each file's columns beyond the standard ones, in the row that the record leads to.
#[test]
fn columns_of_every_roster() {
    let seen = |selection: &str, change: &dyn Fn(&mut Draft<'static>)| {
        let mut event = event(0, Activity::Read, "u1", &["p1", "p2", "p3"]);
        (event.site, event.approval_ref) = (Some("main".into()), Some("c1".into()));
        change(&mut event);
        (plain(selection, "sentence: 'seen.', subject: user"), [event])
    };
    let check_seen = |selection: &str, change: &dyn Fn(&mut Draft<'static>), expected: bool| {
        let (rule, events) = seen(selection, change);
        check(&rule, &events, if expected { &["u1: seen."] } else { &[] });
    };
    for (selection, expected) in [
        ("site.region: north", true),
        ("shift.desk: call", true),
        ("shift.desk: ward", false),
        ("approval.risk: high", true),
        ("approval.risk: low", false),
        ("approval.approved_by|fieldref: actor.id", true),
        ("entitlement.scope|all: [all, some]", true),
        ("entitlement.scope: gone", false),
        ("entitlement.granted_by: boss", true),
        ("entitlement.granted_by: u3", false),
        ("relation.program: study", true),
        ("relation.program: other", false),
        ("relation.program: long ago", false),
    ] {
        check_seen(selection, &|_| {}, expected);
    }
    check_seen("site.region: north", &|event| event.site = Some("side".into()), false);
    check_seen("site.region: north", &|event| event.site = None, false);
    check_seen("shift.desk: ward", &|event| event.time = event.time.plus(10 * 60 * MINUTE), true);
    check_seen("approval.risk: high", &|event| event.approval_ref = None, false);
    check_seen("approval.risk: low", &|event| event.time = event.time.plus(-25 * 24 * 60 * MINUTE), true);
    check_seen("relation.program: study", &|event| event.patients = vec!["p2".into()], false);
    // What is held of one patient is its own.
    let rule = plain("relation.program: study", "sentence: 'seen.', subject: patient");
    check(&rule, &seen("x: y", &|_| {}).1, &["p1: seen."]);
}

#[test]
fn reports_of_one_request_count_once() {
    let reported = |minute, request: &'static str, patient: &'static str| Draft {
        correlation_id: Some(request.into()),
        result_count: Some(10),
        ..event(minute, Activity::Print, "u1", &[patient])
    };
    let twice = |requests: &[&'static str]| -> Vec<Draft<'static>> {
        let both = requests.iter().enumerate().map(|(at, request)| (10 * at as i64, *request));
        both.flat_map(|(minute, request)| [reported(minute, request, "a"), reported(minute + 3, request, "a")])
            .collect()
    };
    let prints = correlation(
        "type: event_count, group-by: [actor.id], condition: { gte: 3 }",
        "sentence: '{value} prints, {count} records.', subject: user",
    );
    check(&prints, &twice(&["r1", "r2"]), &[]);
    // Every record is kept, up to the one with which the window came to its largest value.
    check(&prints, &twice(&["r1", "r2", "r3"]), &["u1: 3 prints, 5 records."]);
    // Rows of one request that name other patients are one request, and its patients are the union (INTERFACES, section 1).
    let many = ["a", "b", "c"].map(|patient| reported(0, "r1", patient));
    let many = many.map(|draft| Draft { event_id: draft.patients[0].clone(), ..draft });
    check(&prints, &many, &[]);
    let charts = correlation(
        "type: value_count, group-by: [actor.id], condition: { field: patients, gte: 3 }",
        "sentence: '{value} charts, {count} records.', subject: user",
    );
    check(&charts, &many, &["u1: 3 charts, 3 records."]);
    let rows = correlation(
        "type: value_sum, group-by: [actor.id], condition: { field: result_count, gt: 15 }",
        "sentence: '{value} rows.', subject: user",
    );
    check(&rows, &twice(&["r1"]), &[]);
    check(&rows, &twice(&["r1", "r2"]), &["u1: 20 rows. (3 events on 2026-03-02.)"]);
    let plain = plain("activity: print", "sentence: '{hits} hits, {count} records.', subject: user, suppress: 1m");
    check(&plain, &twice(&["r1", "r2"]), &["u1: 2 hits, 4 records."]);
}
