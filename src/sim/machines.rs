//! Machine accounts: the interface engine by the hour, the nightly backup and the morning reports, each with some jitter.

use super::Hospital;
use super::dice::Dice;
use super::line::{Resource, SimEvent};
use super::scribe::{Account, Scribe};
use crate::event::time::{HOUR, MINUTE, SECOND};
use crate::event::{Activity, Time};

/// The accounts: identifier and what it is for.
pub const MACHINES: [(&str, &str); 3] =
    [("svc-interface", "Interface engine"), ("svc-backup", "Backup"), ("svc-reporting", "Reporting")];

/// The rows of the machines on a care day.
pub fn day(hospital: &Hospital, day: i32, out: &mut Vec<SimEvent>) {
    for (index, (id, _)) in MACHINES.iter().enumerate() {
        let site = &hospital.staff.sites[0];
        let account = Account {
            id: (*id).to_owned(),
            kind: "service",
            role: None,
            department: None,
            principal: None,
            site: site.name,
            pace: 1.0,
            host: format!("srv-{:02}", index + 1),
            ip: format!("10.2.0.{}", index + 11),
            home_ip: String::new(),
        };
        let keys = [index as u64, day as i64 as u64];
        let mut scribe = Scribe::new(hospital.plan.seed, &hospital.town, account, "machine rows", &keys);
        let mut dice = Dice::new(hospital.plan.seed, "machines", &keys);
        let begin = site.zone.at(hospital.plan.start.plus(day), 7, 0);
        let size = hospital.plan.users as f64 / 100.0;
        match index {
            0 => interface(hospital, &mut scribe, &mut dice, begin, size),
            1 => nightly(&mut scribe, &mut dice, begin.plus(18 * HOUR + HOUR / 2), 2_000.0 * size, "Database"),
            _ => nightly(&mut scribe, &mut dice, begin.plus(22 * HOUR), 140.0 * size, "Report"),
        }
        out.append(&mut scribe.finish().0);
    }
}

fn interface(hospital: &Hospital, scribe: &mut Scribe<'_>, dice: &mut Dice, begin: Time, size: f64) {
    const LOAD: [f64; 24] = [
        1.1, 1.3, 1.4, 1.4, 1.3, 1.2, 1.2, 1.2, 1.1, 1.0, 0.9, 0.8, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 0.4, 0.5,
        0.6, 0.8,
    ];
    for (hour, load) in LOAD.iter().enumerate() {
        let start = begin.plus(hour as i64 * HOUR);
        for _ in 0..dice.poisson(dice_mean(size, *load)) {
            let patient = hospital.town.id(dice.below(hospital.town.count() as usize) as u32);
            let time = start.plus(dice.between(0, HOUR));
            scribe.plain(time, "ehr", Activity::Update, &patient, "Observation");
        }
    }
}

fn dice_mean(size: f64, load: f64) -> f64 {
    5.0 * size * load
}

fn nightly(scribe: &mut Scribe<'_>, dice: &mut Dice, time: Time, mean: f64, kind: &'static str) {
    let time = time.plus(dice.between(0, 9 * MINUTE) + dice.between(0, SECOND));
    let count = dice.gamma(mean, 0.08) as i64;
    scribe.row(time, "ehr", Activity::Export, &[], |line| {
        line.resource = Some(Resource { kind, id: None });
        line.result_count = Some(count);
    });
}
