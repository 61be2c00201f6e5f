//! Detections as code, as an analyst meets them: exported, broken, mended, proven, tried on records, and in force.

use std::path::Path;

use serde_json::Value;

use crate::operate::{Site, access};
use crate::program::{done, phiwatch};
use crate::start::Start;

/// A rule over what the hospital of the simulator does every day.
const OWN: &str = "title: A print\nid: a-print\nstatus: stable\ndescription: Something was printed.\nreferences: [45 CFR 164.312(b)]\n\
    logsource:\n  product: phiwatch\n  category: access\ndetection:\n  act:\n    activity: [print, export]\n  condition: act\nlevel: low\nphiwatch:\n\
    \x20 sentence: '{actor.id} took {count} copies of records of {patients} patients.'\n  subject: user\n  class: informational\n  examples:\n\
    \x20   fires:\n      - name: a letter\n        events: [{ activity: print, actor.id: n1, patients: [p1] }]\n    quiet:\n\
    \x20     - name: a look\n        events: [{ activity: read, actor.id: n1, patients: [p1] }]\n";

/// What the program says on standard error; the exit status it ends with.
fn said(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = phiwatch(dir).args(arguments).answer().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_shipped_rules_are_proven_by_their_examples() {
    let dir = tempfile::tempdir().unwrap();
    let (status, words) = said(dir.path(), &["rules", "test"]);
    assert_eq!(status, 0, "{words}");
    let rules: usize = words.split(" rules, ").next().unwrap().parse().unwrap();
    assert!(rules >= 45, "{words}");
}

#[test]
fn rules_are_exported_changed_compared_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(&phiwatch(dir).args(["rules", "export", "own"]).answer().unwrap(), "export");
    assert_eq!(said(dir, &["rules", "export", "own"]).0, 2, "a folder with something in it stays as it is");
    let diff = |arguments: &[&str]| done(&phiwatch(dir).args(arguments).answer().unwrap(), "diff");
    assert_eq!(diff(&["rules", "diff", "own"]), "");
    std::fs::write(dir.join("own/a-print.yml"), OWN).unwrap();
    std::fs::write(dir.join("own/runbooks/a-print.md"), "Look at it.").unwrap();
    assert_eq!(diff(&["rules", "diff", "own"]), "+ a-print: A print\n");
    assert_eq!(said(dir, &["rules", "test", "own"]).0, 0);
    std::fs::create_dir(dir.join("later")).unwrap();
    std::fs::write(dir.join("later/x.yml"), OWN.replace("level: low", "level: high").replace("took", "made")).unwrap();
    std::fs::create_dir(dir.join("first")).unwrap();
    std::fs::write(dir.join("first/x.yml"), OWN).unwrap();
    assert_eq!(diff(&["rules", "diff", "first", "later"]), "~ a-print: level, phiwatch.sentence\n");
    std::fs::write(dir.join("first/x.yml"), OWN.replace("activity: [print, export]", "activty: print")).unwrap();
    let (status, words) = said(dir, &["rules", "check", "first"]);
    let expected = "first/x.yml:11: there is no field `activty`; the nearest is `activity`";
    assert!(status == 2 && words.contains(expected), "{words}");
    std::fs::write(dir.join("phiwatch.toml"), "[rules]\ndir = \"first\"\n").unwrap();
    let (status, words) = said(dir, &["check", "--config", "phiwatch.toml"]);
    assert!(status == 2 && words.contains(expected), "{words}");
    let (status, words) = said(dir, &["scan", "--config", "phiwatch.toml", "nothing.jsonl"]);
    assert!(status == 2 && words.contains(expected), "{words}");
}

#[test]
fn rules_are_asked_of_any_json() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("sigma")).unwrap();
    let rule = "title: Whoami\nid: 11111111-2222-3333-4444-555555555555\nstatus: test\nlogsource:\n  category: process_creation\n\
        detection:\n  s:\n    CommandLine|contains: whoami\n  condition: s\nlevel: low\n";
    std::fs::write(dir.join("sigma/a.yml"), rule).unwrap();
    std::fs::write(dir.join("e.jsonl"), "{\"CommandLine\":\"dir\"}\nnonsense\n{\"CommandLine\":\"cmd /c WHOAMI\"}\n")
        .unwrap();
    let output = phiwatch(dir).args(["rules", "match", "--rules", "sigma", "e.jsonl"]).answer().unwrap();
    let lines = done(&output, "match");
    assert_eq!(lines, "{\"event\":2,\"rule_id\":\"11111111-2222-3333-4444-555555555555\"}\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 records, 1 of them no JSON: 1 matches"));
}

#[test]
fn rules_in_force_speak_in_a_scan_and_stand_in_their_alerts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let simulate = ["simulate", "--seed", "3", "--users", "30", "--days", "6", "--out", "s"];
    done(&phiwatch(dir).args(simulate).answer().unwrap(), "simulate");
    std::fs::create_dir(dir.join("own")).unwrap();
    std::fs::write(dir.join("own/x.yml"), OWN).unwrap();
    std::fs::write(dir.join("phiwatch.toml"), "[rules]\ndir = \"own\"\n").unwrap();
    let scan = |name: &str, more: &[&str]| {
        let arguments = ["scan", "--config", "phiwatch.toml", "--rosters", "s/rosters", "--alerts", name];
        done(&phiwatch(dir).args(arguments).args(more).arg("s/events.jsonl.zst").answer().unwrap(), "scan");
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        let alerts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        alerts.filter(|alert| alert["detection_id"] == "a-print").collect::<Vec<Value>>()
    };
    let alerts = scan("plain.jsonl", &[]);
    let settled: Vec<&Value> = alerts.iter().filter(|alert| alert["settled"] == true).collect();
    assert!(!settled.is_empty(), "somebody printed something");
    for alert in &settled {
        let reason = alert["reason"].as_str().unwrap();
        let count = alert["evidence"]["count"].as_u64().unwrap();
        assert!(reason.contains(&format!("took {count} copies")), "{reason}");
        assert_eq!(alert["facts"]["rule"].as_str().unwrap().len(), 16);
        assert!(alert["made_by"]["rules"].as_str().is_some_and(|hash| hash.len() == 16));
    }
    // With a history the rules are kept, and a scan that goes on has them.
    let kept = scan("kept.jsonl", &["--history", "h"]);
    assert_eq!(alerts, kept);
    assert!(dir.join("h/blobs/rules").read_dir().unwrap().next().is_some());
    assert_eq!(scan("again.jsonl", &["--history", "h"]), Vec::<Value>::new(), "nothing is new");
}

/// `run` takes up rules that have changed and come to rest, and keeps the old ones where something is wrong with the new.
#[test]
fn rules_change_while_the_program_runs() {
    let site = Site::new();
    let write = |text: &str| std::fs::write(site.path("own/x.yml"), text).unwrap();
    let read = OWN.replace("[print, export]", "read").replace("activity: read, actor", "activity: search, actor");
    let read = read.replace("activity: print, actor", "activity: read, actor");
    std::fs::create_dir(site.path("own")).unwrap();
    write(&read);
    site.settings("[rules]\ndir = \"own\"\n");
    let told = |id: &str| {
        let text = std::fs::read_to_string(site.path("alerts.jsonl")).unwrap_or_default();
        text.lines().filter(|line| line.contains(&format!("\"detection_id\":\"{id}\""))).count()
    };
    site.produce(0, [access(1, "u1")]);
    let running = site.run();
    running.until("the first alert", || told("a-print") > 0);
    write(&read.replace("level: low", "level: lwo"));
    running.until("the refusal", || running.said("The rules have 1 problems and the last ones stay") > 0);
    assert!(running.said("there is no level `lwo`; the nearest is `low`") > 0);
    running.until("the operator", || running.health().1.to_string().contains("rules"));
    site.produce(0, [access(2, "u3")]);
    running.until("an alert of the old rule", || told("a-print") > 1);
    write(&read.replace("id: a-print", "id: b-print"));
    running.until("the new rules", || running.said("new rules are in force") > 0);
    site.produce(0, [access(3, "u4")]);
    running.until("an alert of the new rule", || told("b-print") > 0);
    running.until("all well", || running.health().1["status"] == "ok");
    running.stop();
    // They are in force again after a restart, before anything is read.
    let running = site.run();
    site.produce(0, [access(4, "u5")]);
    running.until("an alert after the restart", || told("b-print") > 1);
    running.stop();
}
