//! Cases written from the specification and from what the module promises.

use super::super::{Answer, Limits, Windows};
use super::hospital::{FIRST, Graded, Heard, Opened, compile, event, offer, read, windows};
use crate::event::time::{DAY, HOUR, SECOND};

/// A correlation of the base rules `a` and `b`, by user.
fn text(kind: &str, rest: &str) -> String {
    format!("title: t\nid: t\ncorrelation:\n  type: {kind}\n  rules: [a, b]\n  group-by: [user]\n{rest}")
}

/// Feeds events in their order and settles two days: the first satisfied window and the one that is told, in seconds, with its value.
fn check(kind: &str, rest: &str, events: &[Opened], expected: &[(i64, i64, f64)]) {
    let mut windows = windows(&read(&text(kind, rest)), Limits::default());
    events.iter().for_each(|event| assert!(offer(&mut windows, event)));
    let mut said = Vec::new();
    let start = event(0, 0, "a", 0, 0).time();
    let seconds = |time: crate::event::Time| (time.0 - start.0) / SECOND;
    windows.settle(FIRST.plus(1), &mut |answer| said.push((seconds(answer.first), seconds(answer.to), answer.value)));
    assert_eq!(said, expected, "{kind} {rest}");
}

/// Events of one user, one second apart where not said otherwise: rule and number.
fn events(list: &[(i64, &'static str, i64)]) -> Vec<Opened> {
    let all = list.iter().enumerate();
    all.map(|(id, (second, rule, number))| event(id as u32, *second, rule, 0, *number)).collect()
}

#[test]
fn each_type_counts_what_it_says() {
    let four = events(&[(0, "a", 4), (10, "a", 1), (20, "b", 4), (100, "a", 2)]);
    let hour = |condition: &str| format!("  timespan: 1h\n  condition: {{{condition}}}\n");
    let minute = |condition: &str| format!("  timespan: 1m\n  condition: {{{condition}}}\n");
    for (kind, rest, expected) in [
        ("event_count", hour("gte: 2"), vec![(10, 100, 4.0)]),
        ("event_count", minute("gte: 2"), vec![(10, 20, 3.0)]),
        ("event_count", minute("gt: 3"), vec![]),
        ("event_count", hour("gte: 3, lt: 4"), vec![(20, 20, 3.0)]),
        ("event_count", minute("neq: 1"), vec![(10, 10, 2.0)]),
        ("value_count", hour("gte: 2, field: v"), vec![(10, 100, 3.0)]),
        ("value_count", hour("gte: 2, field: [host, v]"), vec![(10, 100, 3.0)]),
        ("value_sum", hour("gt: 5, field: v"), vec![(20, 100, 11.0)]),
        ("value_sum", minute("lte: 5, field: v"), vec![(0, 0, 4.0)]),
        ("value_avg", hour("lt: 3, field: v"), vec![(10, 10, 2.5)]),
        ("value_median", hour("eq: 3, field: v"), vec![(100, 100, 3.0)]),
        ("value_percentile", hour("lt: 4, field: v, percentile: 75"), vec![(10, 10, 3.25)]),
        ("temporal", "  timespan: 1h\n".to_owned(), vec![(20, 20, 2.0)]),
        ("temporal", "  timespan: 5s\n".to_owned(), vec![]),
        ("temporal", "  timespan: 1h\n  condition: a and not b\n".to_owned(), vec![(0, 0, 1.0)]),
        ("temporal_ordered", "  timespan: 10s\n".to_owned(), vec![(20, 20, 2.0)]),
    ] {
        check(kind, &rest, &four, &expected);
    }
}

#[test]
fn an_order_is_kept_and_equal_times_are_in_order() {
    let hour = "  timespan: 1h\n";
    check("temporal_ordered", hour, &events(&[(0, "b", 0), (5, "a", 0)]), &[]);
    check("temporal_ordered", hour, &events(&[(0, "b", 0), (5, "a", 0), (9, "b", 0)]), &[(9, 9, 2.0)]);
    check("temporal_ordered", hour, &events(&[(5, "b", 0), (5, "a", 0)]), &[(5, 5, 2.0)]);
}

#[test]
fn a_window_holds_both_its_ends_and_slides_over_the_end_of_a_day() {
    let rest = "  timespan: 1h\n  condition: {gte: 2}\n";
    check("event_count", rest, &events(&[(0, "a", 0), (3_600, "a", 0)]), &[(3_600, 3_600, 2.0)]);
    check("event_count", rest, &events(&[(0, "a", 0), (3_601, "a", 0)]), &[]);
    // The finding belongs to the day in which the window ends, whose first hit it is.
    let mut late = windows(&read(&text("event_count", rest)), Limits::default());
    let day = DAY / SECOND;
    events(&[(day - 5, "a", 0), (day + 5, "a", 0)]).iter().for_each(|event| assert!(offer(&mut late, event)));
    let mut days = Vec::new();
    late.settle(FIRST, &mut |answer| days.push(answer.day));
    assert!(days.is_empty());
    late.settle(FIRST.plus(1), &mut |answer| days.push(answer.day));
    assert_eq!(days, [FIRST.plus(1)]);
}

#[test]
fn sums_are_those_of_decimals_in_any_order() {
    // Ten times 0.1 is less than 1 in binary fractions.
    let tenths = |at: i64| Opened { quarters: None, ..event(at as u32, at, "a", 0, 0) };
    let mut windows =
        windows(&read(&text("value_sum", "  timespan: 1h\n  condition: {field: v, eq: 1}\n")), Limits::default());
    for at in 0..10 {
        let opened = tenths(at);
        for feed in windows.feeds(&["a".to_owned()]) {
            let found =
                super::super::Match { time: opened.time(), day: opened.day(), about: 0, evidence: Graded(opened.id) };
            let field = |name: &str| (name == "v").then_some(rsigma_eval::EventValue::Float(0.1));
            assert!(windows.offer(feed, &mut |_| found, &field));
        }
    }
    let mut values = Vec::new();
    windows.settle(FIRST, &mut |answer| values.push(answer.value));
    assert_eq!(values, [1.0]);
}

#[test]
fn a_crossing_is_told_once_and_when_it_has_doubled() {
    let rest = "  timespan: 1h\n  condition: {gte: 2}\n";
    let mut windows = windows(&read(&text("event_count", rest)), Limits::default());
    let mut told = Vec::new();
    for second in 0..9 {
        offer(&mut windows, &event(second as u32, second, "a", 0, 0));
        windows.cross(&mut |answer| told.push((answer.value, answer.ratio, answer.evidence().len())));
    }
    assert_eq!(told, [(2.0, 1.0, 2), (4.0, 2.0, 4), (8.0, 4.0, 8)]);
}

#[test]
fn a_sum_that_crossed_may_be_taken_back_by_a_negative_number() {
    let rest = "  timespan: 1h\n  condition: {field: v, gte: 5}\n";
    let mut windows = windows(&read(&text("value_sum", rest)), Limits::default());
    let mut heard = Heard::default();
    offer(&mut windows, &event(1, 10, "a", 0, 5));
    windows.cross(&mut |answer| heard.hear(answer));
    offer(&mut windows, &event(2, 5, "a", 0, -1));
    windows.cross(&mut |answer| heard.hear(answer));
    windows.settle(FIRST, &mut |answer| heard.hear(answer));
    assert_eq!((heard.crossed.len(), heard.settled.len(), heard.taken_back.len()), (1, 0, 1));
}

#[test]
fn what_is_settled_is_closed_and_what_no_window_needs_is_forgotten() {
    let rest = "  timespan: 1h\n  condition: {gte: 2}\n";
    let mut windows = windows(&read(&text("event_count", rest)), Limits::default());
    // Somewhere in the world the next day begins sixteen hours before it does in UTC.
    let [early, late] = [DAY - 18 * HOUR, DAY - 16 * HOUR].map(|at| at / SECOND);
    offer(&mut windows, &event(1, early, "a", 0, 0));
    offer(&mut windows, &event(2, late, "a", 0, 0));
    windows.settle(FIRST, &mut |_| ());
    assert!(!offer(&mut windows, &event(3, 20, "a", 0, 0)), "its day has settled");
    assert_eq!(windows.hits(), 1, "a window of the next day may reach back to it");
    windows.settle(FIRST.plus(2), &mut |_| ());
    assert_eq!(windows.hits(), 0);
}

#[test]
fn limits_are_counted_and_what_has_crossed_stays() {
    let limits = Limits { hits_a_day: 3, groups: 2 };
    let mut windows = windows(&read(&text("event_count", "  timespan: 10s\n  condition: {gte: 3}\n")), limits);
    let mut heard = Heard::default();
    for (id, second) in [(1, 50), (2, 51), (3, 52), (4, 53)] {
        offer(&mut windows, &event(id, second, "a", 0, 0));
    }
    windows.cross(&mut |answer| heard.hear(answer));
    // The first three of the day are kept: these take the place of those that crossed.
    for (id, second) in [(5, 0), (6, 20), (7, 40)] {
        offer(&mut windows, &event(id, second, "a", 0, 0));
    }
    for user in [1, 2] {
        offer(&mut windows, &event(8, 0, "a", user, 0));
    }
    windows.cross(&mut |answer| heard.hear(answer));
    let mut left_out = Vec::new();
    windows.settle(FIRST, &mut |answer| left_out.push((answer.is_satisfied, answer.left_out)));
    assert_eq!((heard.crossed.len(), left_out), (1, vec![(true, 4)]));
    let counted =
        windows.left_out().map(|(correlation, out)| (correlation.id.clone(), out.hits, out.hits_of_new_groups));
    assert_eq!(counted.collect::<Vec<_>>(), [("t".to_owned(), 4, 1)]);
}

#[test]
fn lists_count_with_each_of_their_values_up_to_a_limit() {
    let rest = "title: t\nid: t\ncorrelation:\n  type: value_count\n  rules: [a]\n  group-by: [host]\n  timespan: 1h\n  \
                condition: {field: [patients, patients], gte: 1}\n";
    let mut windows = windows(&read(rest), Limits::default());
    let opened = Opened { patients: (0..40).collect(), ..event(1, 0, "a", 0, 0) };
    offer(&mut windows, &opened);
    let mut values = Vec::new();
    windows.settle(FIRST, &mut |answer: &Answer<'_, Graded>| values.push((answer.value, answer.evidence().len())));
    assert_eq!(values, [(1_024.0, 1)]);
    let left_out = windows.left_out().map(|(_, out)| out.combinations).sum::<u64>();
    assert_eq!(left_out, 40 * 40 - 1_024);
}

#[test]
fn state_goes_on_under_the_same_content_only() {
    let two =
        |second: &str| format!("{}---\n{}", text("event_count", "  timespan: 1h\n  condition: {gte: 2}\n"), second);
    let other = text("event_count", "  timespan: 2h\n  condition: {gte: 2}\n").replace("id: t", "id: other");
    let read = read(&two(&other));
    let mut before = windows(&read, Limits::default());
    offer(&mut before, &event(1, 10, "a", 0, 0));
    let mut correlations = compile(&read, &Limits::default()).unwrap();
    correlations[1].content = 77;
    let mut after = Windows::new(correlations, Limits::default()).unwrap();
    assert!(!after.load(b"no memory at all"));
    after.adopt(before);
    offer(&mut after, &event(2, 20, "a", 0, 0));
    let mut numbers = Vec::new();
    after.cross(&mut |answer| numbers.push(answer.number));
    assert_eq!(numbers, [0], "the changed one has begun anew");
}

#[test]
fn a_correlation_that_gets_another_above_it_begins_anew() {
    let below = text("event_count", "  timespan: 1h\n  condition: {gte: 1}\n");
    let above = below.replace("id: t", "id: u").replace("[a, b]", "[t]");
    let mut before = windows(&read(&below), Limits::default());
    offer(&mut before, &event(1, 10, "a", 0, 0));
    let mut after = windows(&read(&format!("{below}---\n{above}")), Limits::default());
    after.adopt(before);
    let mut numbers = Vec::new();
    after.cross(&mut |answer| numbers.push(answer.number));
    assert!(numbers.is_empty(), "hits that were kept do not know their groups above");
    offer(&mut after, &event(2, 20, "a", 0, 0));
    after.cross(&mut |answer| numbers.push(answer.number));
    assert_eq!(numbers, [0, 1]);
}

#[test]
fn the_groups_own_fields_count_where_correlations_are_chained() {
    // SC "Ordered Temporal Proximity", note: "Even if the rule many_failed_logins groups by the ComputerName field, the correlation rule
    // only uses its own group-by User".
    let text = "title: f\nid: f\nname: failed\ncorrelation:\n  type: event_count\n  rules: [a]\n  group-by: [host]\n  timespan: 1h\n  \
                condition: {gte: 2}\n---\ntitle: t\nid: t\ncorrelation:\n  type: temporal_ordered\n  rules: [failed, b]\n  \
                group-by: [user]\n  timespan: 1h\n";
    let mut windows = windows(&read(text), Limits::default());
    let mut heard = Heard::default();
    for opened in [event(1, 0, "a", 0, 0), event(2, 5, "a", 2, 0), event(3, 9, "b", 0, 0), event(4, 12, "b", 2, 0)] {
        offer(&mut windows, &opened);
        windows.cross(&mut |answer| heard.hear(answer));
    }
    let users: Vec<_> = heard.crossed.keys().filter(|of| of.0 == 1).map(|of| of.1[0].clone()).collect();
    assert_eq!(users, [Some("u2".to_owned())], "the second failure was theirs");
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let refused = |text: &str| match compile(&read(text), &Limits::default()) {
        Err(problems) => problems.join("; "),
        Ok(correlations) => match Windows::<Graded>::new(correlations, Limits::default()) {
            Err(problems) => problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>().join("; "),
            Ok(_) => String::new(),
        },
    };
    let hour = "  timespan: 1h\n  condition: {gte: 1}\n";
    let counted = "  timespan: 1h\n  condition: {gte: 1, field: v}\n";
    let with = |text: String, from: &str, to: &str| text.replace(from, to);
    for (text, expected) in [
        (text("event_count", hour), ""),
        (text("event_count", "  timespan: 1h\n  window: session\n  gap: 5m\n  condition: {gte: 1}\n"), "by session"),
        (text("event_count", "  timespan: 0s\n  condition: {gte: 1}\n"), "`0s`: at least a second"),
        (text("event_count", "  timespan: 1h\n  condition: {gte: 65537}\n"), "65537 is never reached"),
        (text("value_count", hour), "value_count needs a `field`"),
        (text("value_sum", "  timespan: 1h\n  condition: {gte: 1, field: [v, w]}\n"), "value_sum takes one field"),
        (text("value_percentile", counted), "needs `percentile`"),
        (text("value_percentile", "  timespan: 1h\n  condition: {gte: 1, field: v, percentile: 101}\n"), "0 to 100"),
        (text("event_count", "  timespan: 1h\n  condition: a and b\n"), "takes thresholds only"),
        (text("temporal", "  timespan: 1h\n  condition: a and z\n"), "z: not among the rules"),
        (text("temporal", "  timespan: 1h\n  condition: 1 of a*\n"), "name the rules"),
        (with(text("event_count", hour), "[a, b]", "[]"), "names no rules"),
        (with(text("event_count", hour), "[a, b]", "[a, a]"), "names a rule twice"),
        (with(text("event_count", hour), "[a, b]", "[a, z]"), "z: there is no rule of this id or name"),
        (with(text("event_count", hour), "[a, b]", "[a, t]"), "leans on itself"),
        (
            format!(
                "{}---\n{}",
                text("event_count", hour).replace("id: t", "id: u"),
                with(text("value_count", counted), "[a, b]", "[u]")
            ),
            "no field to count",
        ),
    ] {
        let problem = refused(&text);
        assert!(problem.contains(expected) && problem.is_empty() == expected.is_empty(), "{text}: {problem:?}");
    }
}

#[test]
fn the_samples_of_the_specification() {
    let Some(samples) = std::env::var_os("PHIWATCH_SAMPLES") else { return };
    let folder = std::path::Path::new(&samples).join("sigma/specification/correlation-spec-blocks");
    let text = std::fs::read_to_string(folder.join("block-15.yml")).expect("the example of failed log-ins is there");
    let read = rsigma_parser::parse_sigma_yaml(&text).unwrap();
    let mut windows = windows(&read, Limits::default());
    let mut told = Vec::new();
    let login = |second: i64| event(second as u32, second, "a", 0, 0);
    let offer = |windows: &mut Windows<Graded>, name: &str, opened: &Opened| {
        for feed in windows.feeds(&[name.to_owned()]) {
            let found =
                super::super::Match { time: opened.time(), day: opened.day(), about: 0, evidence: Graded(opened.id) };
            let field = |name: &str| (name == "User").then(|| opened.field("user")).flatten();
            assert!(windows.offer(feed, &mut |_| found, &field));
        }
    };
    for second in 0..10 {
        offer(&mut windows, "successful_login", &login(second));
        offer(&mut windows, "failed_login", &login(100 + second));
        windows.cross(&mut |answer| told.push(answer.correlation.names.join(" ")));
    }
    assert_eq!(told.len(), 1, "ten failures: {told:?}");
    offer(&mut windows, "successful_login", &login(HOUR / SECOND / 6 + 100));
    windows.cross(&mut |answer| told.push(answer.correlation.names.join(" ")));
    assert_eq!(
        told,
        ["a8418a5a-5fc4-46b5-b23b-6c73beb19d41 multiple_failed_login", "b180ead8-d58f-40b2-ae54-c8940995b9b6"]
    );
}

/// Five charts are medium, ten are critical: both count the same events, and a restart in between exchanges neither.
#[test]
fn windows_that_differ_in_their_thresholds_only_are_told_apart() {
    let few = text("event_count", "  timespan: 1h\n  condition: {gte: 2}\n");
    let many = few.replace("id: t", "id: u").replace("gte: 2", "gte: 3");
    for (one, other) in [(&few, &many), (&many, &few)] {
        let read = read(&format!("{one}---\n{other}"));
        let mut correlations = compile(&read, &Limits::default()).unwrap();
        correlations.iter_mut().for_each(|correlation| correlation.content = 7);
        let fresh = || Windows::new(correlations.clone(), Limits::default()).unwrap();
        let (mut before, mut adopted, mut loaded) = (fresh(), fresh(), fresh());
        offer(&mut before, &event(1, 10, "a", 0, 0));
        offer(&mut before, &event(2, 20, "a", 0, 0));
        let told = |windows: &mut Windows<Graded>| {
            let mut ids = Vec::new();
            windows.cross(&mut |answer| ids.push(answer.correlation.id.clone()));
            ids
        };
        assert_eq!(told(&mut before), ["t"]);
        assert!(loaded.load(&before.save()));
        adopted.adopt(before);
        for after in [&mut adopted, &mut loaded] {
            assert_eq!(told(after), [""; 0], "what was told stays told");
            offer(after, &event(3, 30, "a", 0, 0));
            assert_eq!(told(after), ["u"]);
        }
        // One that was renamed goes on, too.
        let mut renamed = correlations.clone();
        let at = renamed.iter().position(|correlation| correlation.id == "u").unwrap();
        renamed[at].id = "v".to_owned();
        let mut after = Windows::new(renamed, Limits::default()).unwrap();
        after.adopt(adopted);
        offer(&mut after, &event(4, 40, "a", 0, 0));
        assert_eq!(told(&mut after), ["t"], "four are twice two, and v was told");
    }
}
