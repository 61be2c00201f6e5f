//! What is taken, and what is said of what is not.

use super::super::{Loaded, load};

/// A rule that is sound; `{…}` parts are exchanged by the cases.
pub const SOUND: &str = "title: Own chart changed
id: own-chart
status: stable
description: Somebody changed their own chart.
logsource:
  product: phiwatch
  category: access
detection:
  act:
    activity: [update, delete]
  own:
    fact.marks: own_chart
  condition: act and own
level: high
phiwatch:
  sentence: '{actor.id} changed their own chart ({activity} of {resource.type|record}).'
  subject: user
  class: hard
  severity:
    - when: { fact.marks: vip }
      level: critical
  examples:
    fires:
      - name: a nurse edits her allergies
        events:
          - { activity: update, actor.id: n1, patients: [p1], fact.marks: [own_chart] }
    quiet:
      - name: she reads them
        events:
          - { activity: read, actor.id: n1, patients: [p1], fact.marks: [own_chart] }
";

pub fn loaded(files: &[(&str, &str)]) -> Loaded {
    let files: Vec<(String, Vec<u8>)> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    let mut loaded = load(&files);
    let failing = loaded.set.rules().iter().flat_map(|rule| super::super::example::failing(&loaded.set, rule, &files));
    let failing: Vec<_> = failing.collect();
    loaded.problems.extend(failing);
    loaded
}

fn check(files: &[(&str, &str)], expected: &[&str]) {
    let said: Vec<String> = loaded(files).problems.iter().map(ToString::to_string).collect();
    assert_eq!(said, expected);
}

/// The sound rule with one text exchanged for another.
fn with(old: &str, new: &str) -> String {
    assert!(SOUND.contains(old), "{old}");
    SOUND.replacen(old, new, 1)
}

#[test]
fn a_sound_rule_is_taken_with_all_it_says() {
    let loaded = loaded(&[("a.yml", SOUND)]);
    assert_eq!(loaded.problems, []);
    let rule = loaded.set.get("own-chart").expect("it is loaded");
    assert_eq!((rule.title.as_str(), rule.meta.runbook.as_str()), ("Own chart changed", "own-chart.md"));
    assert_eq!(rule.meta.suppress, None);
    assert!(loaded.set.get("own").is_none() && loaded.set.hash().len() == 16);
}

#[test]
fn a_slip_of_the_pen_is_named_with_its_line_and_the_nearest_name() {
    let check = |old: &str, new: &str, expected: &[&str]| check(&[("a.yml", &with(old, new))], expected);
    check(
        "fact.marks: own_chart\n",
        "fact.mark: own_chart\n",
        &["a.yml:12: there is no field `fact.mark`; the nearest is `fact.marks`"],
    );
    check(
        "[update, delete]",
        "[update, delet]",
        &["a.yml:10: there is no `activity` `delet`; the nearest is `delete`"],
    );
    check(
        "    fact.marks: own",
        "    fact.marks|contians: own",
        &["a.yml:12: there is no modifier `contians`; the nearest is `contains`"],
    );
    check(
        "condition: act and own",
        "condition: act and ownn",
        &[
            "a.yml:11: the condition does not use `own`",
            "a.yml:13: there is no part of the detection `ownn`; the nearest is `own`",
        ],
    );
    check(
        "condition: act and own",
        "condition: act and 1 of filter_*",
        &["a.yml:11: the condition does not use `own`", "a.yml:13: no part of the detection is named like `filter_*`"],
    );
}

#[test]
fn so_is_a_slip_in_what_a_rule_says_of_itself() {
    let check = |old: &str, new: &str, expected: &[&str]| check(&[("a.yml", &with(old, new))], expected);
    check("level: high", "level: hihg", &["a.yml:14: there is no level `hihg`; the nearest is `high`"]);
    check("class: hard", "class: harsh", &["a.yml:18: there is no class `harsh`; the nearest is `hard`"]);
    check(
        "subject: user",
        "subjet: user",
        &[
            "a.yml:15: `subject` is missing under `phiwatch`",
            "a.yml:17: there is no key `subjet`; the nearest is `subject`",
        ],
    );
    check(
        "{actor.id} changed",
        "{actor.ids} changed",
        &["a.yml:16: there is no field `actor.ids`; the nearest is `actor.id`"],
    );
    check(
        "{ fact.marks: vip }",
        "{ fact.marks: vap }",
        &["a.yml:20: there is no `fact.marks` `vap`; the nearest is `vip`"],
    );
    check("description:", "descriptoin:", &["a.yml:4: there is no key `descriptoin`; the nearest is `description`"]);
    check("id: own-chart", "id: Own.Chart", &["a.yml:2: an `id` is made of a-z, 0-9 and hyphens"]);
    for (text, what) in [
        ("break_glass: yess", "`break_glass` is never that (true or false)"),
        ("result_count: many", "`result_count` is never that (whole number)"),
        ("actor.id|exists: maybe", "`exists` is asked with true or false"),
        ("actor.id: '%watched%'", "`%watched%` names a list where the modifier `expand` asks for it"),
    ] {
        let said = loaded(&[("a.yml", &with("    fact.marks: own_chart\n", &format!("    {text}\n")))]).problems;
        assert!(said.iter().any(|problem| problem.what == what), "{text}: {said:?}");
    }
    for taken in ["account", "mass-query", "backfill"] {
        let what = "is that of a detector's family, whose alerts it would be taken for";
        check("id: own-chart", &format!("id: {taken}"), &[&format!("a.yml:2: the `id` `{taken}` {what}")]);
    }
    check(
        "category: access",
        "category: acess",
        &["a.yml:7: there is no category of events `acess`; the nearest is `access`"],
    );
    check(
        "class: hard",
        "class: hard\n  suppress: 4d",
        &["a.yml:19: `suppress` is `day`, or an age such as `30m` or `4h`, at most `24h`"],
    );
    check(
        "patients: [p1], fact.marks: [own_chart] }\n    quiet",
        "patients: [p1], fact.marks: [staff] }\n    quiet",
        &["a.yml:24: own-chart does not fire on its example \"a nurse edits her allergies\""],
    );
    check(
        "activity: read, actor.id: n1, patients",
        "activity: update, actor.id: n1, patients",
        &["a.yml:28: own-chart fires on its near miss \"she reads them\""],
    );
    check(
        "patients: [p1], fact.marks: [own_chart] }\n    quiet",
        "patient: p1, fact.marks: [own_chart] }\n    quiet",
        &["a.yml:26: there is no field `patient`; the nearest is `patients`"],
    );
}

#[test]
fn several_files_lists_and_layers() {
    check(&[("a.yml", SOUND), ("b.yml", SOUND)], &["b.yml:1: another rule has the id `own-chart`"]);
    let own = loaded(&[("a.yml", &with("level: high", "level: low")), ("shipped/a.yml", SOUND)]);
    assert_eq!((own.problems.len(), own.left_out.len()), (0, 1));
    assert_eq!(own.set.get("own-chart").map(|rule| rule.level), Some(crate::event::Severity::Low));
    let listed = with("    fact.marks: own_chart", "    actor.id|expand: '%watched%'");
    let listed = listed.replace("fact.marks: [own_chart]", "fact.marks: [staff]");
    check(&[("a.yml", &listed)], &["a.yml:12: there is no list `watched`"]);
    check(
        &[("a.yml", &listed), ("lists/wached.csv", "id\n")],
        &["a.yml:12: there is no list `watched`; the nearest is `wached`"],
    );
    check(&[("a.yml", &listed), ("lists/watched.csv", "id,why\n# n0 left\nn1,asked\n")], &[]);
    // An empty list matches nothing.
    check(
        &[("a.yml", &listed), ("lists/watched.csv", "id\n")],
        &["a.yml:24: own-chart does not fire on its example \"a nurse edits her allergies\""],
    );
    // A star in a list is a star.
    check(
        &[("a.yml", &listed), ("lists/watched.csv", "id\nn*\n")],
        &["a.yml:24: own-chart does not fire on its example \"a nurse edits her allergies\""],
    );
    let old = loaded(&[("a.yml", &with("status: stable", "status: deprecated"))]);
    assert_eq!((old.set.rules().len(), old.left_out.len(), old.problems.len()), (0, 1, 0));
    check(
        &[("a.yml", "title: [\n")],
        &["a.yml:2: did not find expected node content at line 2 column 1, while parsing a flow node"],
    );
}

#[test]
fn filters_and_what_they_name() {
    let filter = "title: Not the chief\nid: not-the-chief\nlogsource:\n  product: phiwatch\nfilter:\n  rules: [own-chart]\n  chief:\n    actor.id: n1\n  condition: not chief\n";
    check(
        &[("a.yml", SOUND), ("f.yml", filter)],
        &["a.yml:24: own-chart does not fire on its example \"a nurse edits her allergies\""],
    );
    let plain = loaded(&[("a.yml", SOUND)]);
    let filtered = loaded(&[("a.yml", SOUND), ("f.yml", filter)]);
    assert_ne!(plain.set.hash(), filtered.set.hash(), "a filter changes the rule");
    check(
        &[("a.yml", SOUND), ("f.yml", &filter.replace("[own-chart]", "[own-char]"))],
        &["f.yml:6: there is no rule `own-char`; the nearest is `own-chart`"],
    );
    // A filter on our rules is held to the same, also where it does not say that it is ours.
    let bare = filter.replace("logsource:\n  product: phiwatch\n", "");
    check(
        &[("a.yml", SOUND), ("f.yml", &bare.replace("actor.id", "actr.id"))],
        &["f.yml:6: there is no field `actr.id`; the nearest is `actor.id`"],
    );
    check(
        &[("a.yml", SOUND), ("f.yml", &filter.replace("not chief", "not cheif"))],
        &[
            "f.yml:7: the condition does not use `chief`",
            "f.yml:9: there is no part of the detection `cheif`; the nearest is `chief`",
        ],
    );
}

#[test]
fn names_that_would_let_a_rule_see_nothing() {
    let check = |old: &str, new: &str, expected: &[&str]| check(&[("a.yml", &with(old, new))], expected);
    check("category: access", "categry: access", &["a.yml:7: there is no key `categry`; the nearest is `category`"]);
    check(
        "product: phiwatch",
        "product: phiwtch",
        &["a.yml:6: there is no product `phiwtch`; the nearest is `phiwatch`"],
    );
    check(
        "    fact.marks: own_chart\n",
        "    user.union|fieldref: actr.id\n",
        &["a.yml:12: there is no field `actr.id`; the nearest is `actor.id`"],
    );
    let bare = "title: t\nlogsource:\n  product: Phi-Watch\ndetection:\n  s:\n    activity: read\n  condition: s\n";
    let said = loaded(&[("a.yml", bare)]).problems;
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].to_string(), "a.yml:3: there is no product `Phi-Watch`; the nearest is `phiwatch`");
}

#[test]
fn columns_with_which_others_are_compared_are_asked_for() {
    let compared = with("    fact.marks: own_chart\n", "    actor.id|fieldref: user.badge\n");
    let compared = compared.replace("fact.marks: [own_chart]", "user.badge: n1");
    let found = loaded(&[("a.yml", &compared)]);
    assert_eq!((found.problems, found.set.columns()), (Vec::new(), &["user.badge".to_owned()][..]));
}

#[test]
fn what_the_parser_refuses_has_its_line() {
    let check = |old: &str, new: &str, line: u64, words: &str| {
        let said = loaded(&[("a.yml", &with(old, new))]).problems;
        assert!(said.len() == 1 && said[0].line == Some(line) && said[0].what.contains(words), "{said:?}");
    };
    check("condition: act and own", "condition: act and (own", 13, "Condition parse error");
    check("status: stable", "status: [stable]", 3, "text");
    check("activity: [update, delete]", "actor.id|re: '('", 10, "unclosed group");
    check("fact.marks: own_chart\n  con", "actor.id|base64|re: a\n  con", 12, "|base64");
    let marked = format!("\u{feff}{SOUND}");
    assert_eq!(loaded(&[("a.yml", &marked)]).problems, []);
    let deep = format!("title: {}\n", "[".repeat(50_000));
    let said = loaded(&[("a.yml", &deep)]).problems;
    assert_eq!(said[0].to_string(), "a.yml:1: brackets are nested deeper than 64");
    let long = format!("title: {}\n", "a".repeat(4 << 20));
    assert!(loaded(&[("a.yml", &long)]).problems[0].what.contains("split it"));
}

#[test]
fn correlations_and_what_they_name() {
    let text = "title: Many failures\nid: many-failures\nstatus: stable\ncorrelation:\n  type: event_count\n  rules: [failure]\n  group-by: [client.host]\n  timespan: 15m\n  condition:\n    gte: 3\nlevel: high\nphiwatch:\n  sentence: '{value} failures at {client.host}.'\n  subject: host\n  class: hard\n  examples:\n    fires:\n      - name: three\n        events: [&f { activity: login_failed, client.host: w1 }, *f, *f]\n    quiet:\n      - name: two\n        events: [*f, *f]\n---\ntitle: Failure\nid: failure\nstatus: stable\nlogsource:\n  product: phiwatch\ndetection:\n  s:\n    activity: login_failed\n  condition: s\nlevel: low\n";
    let found = loaded(&[("a.yml", text)]);
    assert_eq!(found.problems, []);
    assert_eq!(found.set.rules().len(), 1, "the rule that it leans on is silent");
    let spoken = format!("{text}phiwatch:\n  sentence: A failure.\n  subject: user\n  class: hard\n");
    let on_trial = |text: &str| text.replacen("status: stable", "status: experimental", 1);
    for (text, rules) in [(&spoken, 1), (&on_trial(text), 1), (&on_trial(&spoken), 2)] {
        let found = loaded(&[("a.yml", text)]);
        assert_eq!((found.problems.as_slice(), found.set.rules().len()), (&[][..], rules), "{text}");
    }
    check(
        &[("a.yml", &text.replace("[failure]", "[failures]"))],
        &[
            "a.yml:6: there is no rule `failures`; the nearest is `failure`",
            "a.yml:24: `phiwatch` is missing: sentence, subject, class",
        ],
    );
    check(
        &[("a.yml", &text.replace("[client.host]", "[client.hots]"))],
        &[
            "a.yml:7: there is no field `client.hots`; the nearest is `client.host`",
            "a.yml:24: `phiwatch` is missing: sentence, subject, class",
        ],
    );
    for (old, new, expected) in [
        (
            "type: event_count",
            "type: event_cuont",
            "a.yml:5: there is no type of correlation `event_cuont`; the nearest is `event_count`",
        ),
        ("gte: 3", "gtee: 3", "a.yml:10: there is no key `gtee`; the nearest is `gte`"),
        ("timespan: 15m", "timespan: 15x", "a.yml:8: Invalid timespan '15x'"),
        ("timespan: 15m", "timespan: 0s", "a.yml:8: timespan `0s`: at least a second"),
        (
            "class: hard",
            "class: hard\n  suppress: 4h",
            "a.yml:16: an age in `suppress` is for plain rules; the window of a correlation is its `timespan`",
        ),
        (
            "timespan: 15m",
            "timespan: 15m\n  aliases: { client.host: { failur: client.ip } }",
            "a.yml:9: there is no rule of this correlation `failur`; the nearest is `failure`",
        ),
        (
            "group-by: [client.host]",
            "group-by: [who]\n  aliases: { who: {} }",
            "a.yml:8: the alias `who` has no field of `failure`",
        ),
    ] {
        assert!(text.contains(old), "{old}");
        let said = loaded(&[("a.yml", &text.replacen(old, new, 1))]).problems;
        assert!(said.iter().any(|problem| problem.to_string() == expected), "{expected}: {said:?}");
    }
    // The same of one that does not speak itself.
    let base = text.split("phiwatch:\n  sentence").next().unwrap().replace("id: many-failures", "id: many");
    let rest = text.split("---\n").nth(1).unwrap();
    let above = text.split("---\n").next().unwrap().replace("rules: [failure]", "rules: [many]");
    let chained = |base: &str| loaded(&[("a.yml", &format!("{base}---\n{rest}---\n{above}"))]).problems;
    assert!(chained(&base).iter().all(|problem| problem.what.contains("does not fire")), "{:?}", chained(&base));
    for (old, new, expected) in [
        ("group-by", "gruop-by", "a.yml:7: there is no key `gruop-by`; the nearest is `group-by`"),
        ("client.host", "client.hots", "a.yml:7: there is no field `client.hots`; the nearest is `client.host`"),
    ] {
        let said = chained(&base.replace(old, new));
        assert!(said.iter().any(|problem| problem.to_string() == expected), "{expected}: {said:?}");
    }
    let changed = loaded(&[(
        "a.yml",
        &text.replace("s:\n    activity: login_failed", "s:\n    activity: [login_failed, login]"),
    )]);
    assert_ne!(found.set.hash(), changed.set.hash(), "what it leans on is a part of it");
}

#[test]
fn remarks_and_the_order_of_keys_do_not_change_a_rule() {
    let hash = |text: &str| loaded(&[("a.yml", text)]).set.hash().to_owned();
    let moved = with("level: high\n", "").replace("status: stable\n", "# a remark\nlevel: high\nstatus: stable\n");
    assert_eq!(hash(SOUND), hash(&moved));
    assert_ne!(hash(SOUND), hash(&with("level: high", "level: low")));
}
