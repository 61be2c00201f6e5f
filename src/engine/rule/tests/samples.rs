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

/// `info.yml` names the rule and how many of the events beside it make it fire.
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
        let expected = info["regression_tests_info"][0]["match_count"].as_u64().unwrap();
        let mut fired: BTreeMap<String, u64> = BTreeMap::new();
        for (_, bytes) in files(Path::new(&name).parent().unwrap(), "json") {
            for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
                for id in foreign.fired(&value.unwrap()) {
                    *fired.entry(id).or_default() += 1;
                }
            }
        }
        if fired != BTreeMap::from([(rule, expected)]) {
            wrong.insert(name, fired);
        }
        proven += 1;
    }
    println!("{proven} rules proven");
    assert!(proven >= 50 && wrong.is_empty(), "{proven} proven; {wrong:#?}");
}
