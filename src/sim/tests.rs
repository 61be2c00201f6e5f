//! What the synthetic hospital promises, checked on its own output with plain readers.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::event::Time;

fn column(rosters: &[(String, Vec<u8>)], file: &str, name: &str) -> Vec<String> {
    let (_, bytes) = rosters.iter().find(|(found, _)| found == file).unwrap();
    let mut table = csv::Reader::from_reader(bytes.as_slice());
    let index = table.headers().unwrap().iter().position(|header| header == name).unwrap();
    table.records().map(|row| row.unwrap()[index].to_owned()).collect()
}

/// One event as a plain reader sees it.
struct Seen {
    id: String,
    actor: String,
    patients: Vec<String>,
    activity: String,
    event: SimEvent,
}

fn seen(event: SimEvent) -> Seen {
    let json: serde_json::Value = serde_json::from_slice(&event.line).unwrap();
    let list = json["patients"].as_array().cloned().unwrap_or_default();
    assert_eq!(Time::parse(json["time"].as_str().unwrap()), Some(event.time));
    Seen {
        id: format!("{}/{}", json["source"].as_str().unwrap(), json["event_id"].as_str().unwrap()),
        actor: json["actor"]["id"].as_str().unwrap().to_owned(),
        patients: list.iter().map(|p| p.as_str().unwrap().to_owned()).collect(),
        activity: json["activity"].as_str().unwrap().to_owned(),
        event,
    }
}

#[test]
fn counts_are_dispersed_like_real_ones() {
    let mut plan = Plan::new(1, 300, 60);
    plan.misuse = false;
    let clock = std::time::Instant::now();
    let hospital = generate(&plan);
    let humans: BTreeMap<String, &'static str> =
        hospital.staff.people.iter().map(|p| (p.id.clone(), p.role.name())).collect();
    let zone = &hospital.staff.sites[0].zone;
    let mut days: BTreeMap<(String, Day), (BTreeSet<String>, u32)> = BTreeMap::new();
    let mut total = 0;
    for event in hospital.events() {
        total += 1;
        let seen = seen(event);
        if humans.contains_key(&seen.actor) {
            let entry = days.entry((seen.actor, zone.local(seen.event.time).day)).or_default();
            entry.0.extend(seen.patients);
            entry.1 += 1;
        }
    }
    let active = days.len();
    let rows: u32 = days.values().map(|d| d.1).sum();
    let mut counts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for ((user, _), (patients, _)) in &days {
        counts.entry(user.clone()).or_default().push(patients.len() as f64);
    }
    let mut by_role: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut fano = Vec::new();
    for (user, values) in counts.iter().filter(|(_, values)| values.len() >= 10) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
        fano.push(variance / mean);
        by_role.entry(humans[user]).or_default().push((mean, variance / mean));
    }
    fano.sort_by(f64::total_cmp);
    let median = fano[fano.len() / 2];
    for (role, all) in &mut by_role {
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mean = all.iter().map(|x| x.0).sum::<f64>() / all.len() as f64;
        println!("{role}: {} users, mean {mean:.1}, fano {:.2}", all.len(), all[all.len() / 2].1);
    }
    println!(
        "{total} events in {:?}; {active} user-days, {:.1} rows each; fano of distinct patients: median {median:.2}, 95 % {:.2}",
        clock.elapsed(),
        f64::from(rows) / active as f64,
        fano[fano.len() * 95 / 100]
    );
    assert!((2.0..9.0).contains(&median), "median {median}");
}
