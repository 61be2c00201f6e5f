//! Rules of the Sigma project, and the events that they are proven with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::foreign::Foreign;
use super::super::load;

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("PHIWATCH_SAMPLES").expect("PHIWATCH_SAMPLES names the folder of samples"))
        .join("sigma")
}

/// Files below a folder with this ending.
fn files(dir: &Path, ending: &str) -> Vec<(String, Vec<u8>)> {
    let (mut folders, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == ending) {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn every_rule_loads_or_is_refused_by_name() {
    let rules = files(&folder().join("rules"), "yml");
    assert!(rules.len() >= 250, "{} rules", rules.len());
    let loaded = load(&rules);
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.sigma.rules.len() + loaded.left_out.len(), rules.len());
    assert!(loaded.set.rules().is_empty(), "none of them is ours");
}

/// Rules that describe what another rule of the samples describes too, read side by side: both fire on the events of the first.
const BOTH: [(&str, &str); 9] = [
    // A download by bitsadmin of a suspicious file, and any download by it.
    ("5b80a791-ad9b-4b75-bcc1-ad4e1e89c200", "d059842b-6b9d-4ed1-b5c3-5b89143c6ede"),
    // A browser that loads an extension, and one that was started by a script to do so.
    ("88d6e60c-759d-4ac1-a447-c0f1466c2d21", "27ba3207-dd30-4812-abbf-5d20c57d474e"),
    ("27ba3207-dd30-4812-abbf-5d20c57d474e", "88d6e60c-759d-4ac1-a447-c0f1466c2d21"),
    // AdFind by its name, by its arguments, and under another name.
    ("514e7e3e-b3b4-4a67-af60-be20f139198b", "9a132afa-654e-11eb-ae93-0242ac130002"),
    ("9a132afa-654e-11eb-ae93-0242ac130002", "514e7e3e-b3b4-4a67-af60-be20f139198b"),
    ("df55196f-f105-44d3-a675-e9dfb6cc2f2b", "514e7e3e-b3b4-4a67-af60-be20f139198b"),
    // A process made by WMI on another machine, and any made by it.
    ("7773b877-5abb-4a3e-b9c9-fd0369b59b00", "526be59f-a573-4eea-b5f7-f0973207634d"),
    // The licence of any tool of Sysinternals accepted, and of a dangerous one.
    ("25ffa65d-76d8-4da5-a832-3f2b0136e133", "c7da8edc-49ae-45a2-9e61-9fd860e4e73d"),
    ("c7da8edc-49ae-45a2-9e61-9fd860e4e73d", "25ffa65d-76d8-4da5-a832-3f2b0136e133"),
];

/// `info.yml` names the rule of the events beside it.
#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn regression_events_fire_exactly_their_rule() {
    let loaded = load(&files(&folder().join("rules"), "yml"));
    let foreign = Foreign::new(&loaded.sigma).unwrap();
    let known: Vec<&str> = loaded.sigma.rules.iter().filter_map(|rule| rule.id.as_deref()).collect();
    let (mut proven, mut wrong) = (0, BTreeMap::new());
    for (name, info) in files(&folder().join("regression_data"), "yml") {
        let info: yaml_serde::Value = yaml_serde::from_slice(&info).unwrap();
        let rule = info["rule_metadata"][0]["id"].as_str().unwrap().to_owned();
        if !known.contains(&rule.as_str()) {
            continue;
        }
        let least = info["regression_tests_info"][0]["match_count"].as_u64().unwrap_or(1);
        let mut fired: BTreeMap<String, u64> = BTreeMap::new();
        for (_, bytes) in files(Path::new(&name).parent().unwrap(), "json") {
            for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
                for id in foreign.fired(&value.unwrap()) {
                    *fired.entry(id).or_default() += 1;
                }
            }
        }
        let stranger = |other: &&String| **other != rule && !BOTH.contains(&(rule.as_str(), other.as_str()));
        if fired.keys().any(|other| stranger(&other)) || fired.get(&rule).is_none_or(|count| *count < least) {
            wrong.insert(name, fired);
        }
        proven += 1;
    }
    println!("{proven} rules proven");
    assert!(proven >= 80 && wrong.is_empty(), "{proven} proven; {wrong:#?}");
}
