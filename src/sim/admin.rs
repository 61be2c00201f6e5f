//! Administration: the few rights that analysts grant and settings that they change in a working day, mostly under a ticket.

use super::Hospital;
use super::dice::Dice;
use super::line::{Resource, SimEvent};
use super::roles::Role;
use super::scribe::Scribe;
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Activity, Time};

/// The rows of a care day.
pub fn day(hospital: &Hospital, day: i32, out: &mut Vec<SimEvent>) {
    let staff = &hospital.staff;
    for (index, person) in staff.people.iter().enumerate().filter(|(_, person)| person.role == Role::Analyst) {
        let Some(duty) = staff.duty(index as u32, day) else { continue };
        let keys = [index as u64, day as i64 as u64];
        let mut dice = Dice::new(hospital.plan.seed, "administration", &keys);
        let account = hospital.account(index as u32, day);
        let mut scribe = Scribe::new(hospital.plan.seed, &hospital.town, account, "administration rows", &keys);
        for _ in 0..dice.poisson(1.5) {
            let time = Time(dice.between(duty.start.plus(HOUR).0, duty.end.plus(-10 * MINUTE).0));
            let about = &staff.people[dice.below(staff.people.len())];
            let grants = dice.chance(0.6) && about.id != person.id;
            let activity = if grants { Activity::PermissionChange } else { Activity::Admin };
            let ticket = dice.chance(0.9).then(|| format!("TKT{:06}", dice.below(1_000_000)));
            scribe.row(time, "ehr", activity, &[], |line| {
                let kind = if grants { "Account" } else { "Setting" };
                line.resource = Some(Resource { kind, id: grants.then(|| about.id.clone()) });
                line.approval_ref = ticket;
            });
        }
        out.append(&mut scribe.finish().0);
    }
}
