//! What an account did on one of its local days, summed over its records: nothing is estimated, every event is kept.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::papers::{Papers, cell};
use super::record::Record;
use super::who::{GRACE, Who, ended};
use crate::event::{Activity, Day, Time};

/// `user` or `vendor_account`, and the identifier.
pub type Account = (&'static str, String);

/// An account on one of its local days.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayKey {
    /// Whose.
    pub account: Account,
    /// When.
    pub day: Day,
}

/// Events as alerts list them: time, source, identifier.
pub type Listed = BTreeSet<(Time, String, String, usize)>;

/// Why an account should not have worked, worst first.
pub const CAUSES: [&str; 5] = ["terminated", "disabled", "vendor-ended", "outside-dates", "unknown"];

/// The sums of an account's day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// It is the account of a machine.
    pub machine: bool,
    /// Records that touch records of patients, or files of a vendor session.
    pub touching: Listed,
    /// Requests among them: records with one correlation identifier are one.
    pub requests: BTreeSet<String>,
    /// Patients that were really seen.
    pub patients: BTreeSet<String>,
    /// Exports and prints that were not refused.
    pub exporting: Listed,
    /// Stated count and patients of each exporting request.
    exports: BTreeMap<String, (u64, BTreeSet<String>)>,
    /// Every use of the account.
    pub uses: Listed,
    /// Patients of every use.
    pub used_on: BTreeSet<String>,
    /// Hours of the clock at which it was used.
    pub hours: BTreeSet<u8>,
    /// Uses that should not have been possible, by cause.
    pub causes: BTreeMap<&'static str, Listed>,
    /// Patients of those.
    pub wronged: BTreeSet<String>,
    /// The local day, over all zones in which it was lived.
    pub window: Option<(Time, Time)>,
    /// The request that each of them belongs to.
    pub request_of: BTreeMap<(Time, String, String, usize), String>,
    /// What it did while it said to be a device or a patient, where no roster has it.
    pub claim: Option<Claim>,
}

/// An account without a roster that says to be a device or a patient: its uses, and what it may not do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claim {
    uses: Listed,
    patients: BTreeSet<String>,
    /// Patients of what it did as a patient, and patients whose charts it read as a device.
    served: [BTreeSet<String>; 2],
    /// It did what neither of them does.
    strange: bool,
    /// The local day, over the zones in which this was done.
    pub window: Option<(Time, Time)>,
}

impl Sums {
    /// Requests behind events.
    pub fn requests_of(&self, events: &Listed) -> u64 {
        events.iter().map(|event| &self.request_of[event]).collect::<BTreeSet<_>>().len() as u64
    }

    /// Records exported or printed: of each request the larger of what it states and the patients it names, at least one.
    pub fn exported(&self) -> u64 {
        self.exports.values().map(|(stated, patients)| (*stated).max(patients.len() as u64).max(1)).sum()
    }
}

/// Adds a record to its account's day.
pub fn add(
    papers: &Papers,
    record: &Record,
    who: &Who<'_>,
    facts: &Facts,
    day: Day,
    days: &mut BTreeMap<DayKey, Sums>,
) {
    let Some(id) = &record.actor else { return };
    let unknown = who.account == "unknown";
    let claimed = unknown && record.actor_kind.as_deref() == Some("service");
    // Papers that list accounts of machines lack this one; its counts are nobody's all the same.
    let lists_machines = || papers.all("users").any(|row| cell(row, "kind") == Some("service"));
    if claimed && !lists_machines() {
        return;
    }
    if unknown && matches!(record.actor_kind.as_deref(), Some("device" | "patient")) {
        return claim(papers, record, who, day, days);
    }
    let kind = if who.account == "vendor_account" { "vendor_account" } else { "user" };
    let sums = days.entry(DayKey { account: (kind, id.clone()), day }).or_default();
    let number = sums.uses.len() + sums.touching.len();
    let listed = (record.time, record.source.clone(), record.event_id.clone(), number);
    sums.request_of.insert(listed.clone(), request(record, &listed));
    let zone = papers.zone(who.home().or(record.site.as_deref()));
    let (start, end) = (zone.day_start(day), zone.day_start(day.plus(1)));
    let known = sums.window.unwrap_or((start, end));
    sums.window = Some((known.0.min(start), known.1.max(end)));
    sums.machine = who.user().and_then(|row| cell(row, "kind")) == Some("service");
    let patients: Vec<String> = record.patients.iter().map(|patient| papers.living(patient).to_owned()).collect();
    if !claimed {
        touch(record, &listed, &patients, sums);
    }
    if is_passive(record) {
        return;
    }
    if !claimed {
        sums.uses.insert(listed.clone());
        sums.used_on.extend(patients.iter().cloned());
        sums.hours.extend(facts.get("hour").and_then(|hour| hour.parse::<u8>().ok()));
    }
    if let Some(cause) = cause(papers, record, who, facts) {
        sums.causes.entry(cause).or_default().insert(listed);
        sums.wronged.extend(patients);
    }
}

/// Whether nobody got in: the end of a session, or a log-in that was refused.
fn is_passive(record: &Record) -> bool {
    match record.activity {
        Activity::Logout | Activity::LoginFailed | Activity::SessionEnd => true,
        Activity::Login | Activity::SessionStart => record.refused,
        _ => false,
    }
}

/// Adds a use by a device or a patient that no roster has.
fn claim(papers: &Papers, record: &Record, who: &Who<'_>, day: Day, days: &mut BTreeMap<DayKey, Sums>) {
    let (Some(id), false) = (&record.actor, is_passive(record) || !papers.has("users")) else { return };
    let sums = days.entry(DayKey { account: ("user", id.clone()), day }).or_default();
    let claim = sums.claim.get_or_insert_default();
    let listed = (record.time, record.source.clone(), record.event_id.clone(), claim.uses.len());
    sums.request_of.insert(listed.clone(), request(record, &listed));
    claim.uses.insert(listed);
    let patients: BTreeSet<String> = record.patients.iter().map(|patient| papers.living(patient).to_owned()).collect();
    let as_patient = record.actor_kind.as_deref() == Some("patient");
    if as_patient || record.activity == Activity::Read {
        claim.served[usize::from(!as_patient)].extend(patients.iter().cloned());
    }
    claim.strange |= match record.activity {
        Activity::BreakGlass | Activity::PermissionChange | Activity::Admin => true,
        Activity::Export | Activity::Print => !as_patient || patients.is_empty(),
        _ => record.break_glass,
    };
    claim.patients.extend(patients);
    let zone = papers.zone(who.home().or(record.site.as_deref()));
    let (start, end) = (zone.day_start(day), zone.day_start(day.plus(1)));
    let known = claim.window.unwrap_or((start, end));
    claim.window = Some((known.0.min(start), known.1.max(end)));
}

/// A patient has a family of six at most, and a device serves fifty; who goes beyond is unknown like any other account, unless it is
/// already by what it did without such a claim.
pub fn settle_claims(days: &mut BTreeMap<DayKey, Sums>) {
    for sums in days.values_mut() {
        let judged = sums.causes.contains_key("unknown");
        let beyond = |claim: &&Claim| claim.strange || claim.served[0].len() > 6 || claim.served[1].len() > 50;
        match sums.claim.as_ref().filter(beyond) {
            Some(claim) if !judged => {
                sums.causes.insert("unknown", claim.uses.clone());
                sums.wronged.extend(claim.patients.iter().cloned());
            }
            _ => sums.claim = None,
        }
    }
    days.retain(|_, sums| sums.window.is_some() || sums.claim.is_some());
}

fn touch(record: &Record, listed: &(Time, String, String, usize), patients: &[String], sums: &mut Sums) {
    use Activity::{BreakGlass, Create, Delete, Export, FileTransfer, Import, Print, Read, Search, Update};
    let touches = [Read, Search, Create, Update, Delete, Print, Export, Import, BreakGlass, FileTransfer];
    if !touches.contains(&record.activity) {
        return;
    }
    sums.touching.insert(listed.clone());
    let request = request(record, listed);
    sums.requests.insert(request.clone());
    if record.refused {
        return;
    }
    sums.patients.extend(patients.iter().cloned());
    if matches!(record.activity, Export | Print | FileTransfer) {
        sums.exporting.insert(listed.clone());
        let (stated, named) = sums.exports.entry(request).or_default();
        *stated = (*stated).max(record.stated.unwrap_or(0).max(0) as u64);
        named.extend(patients.iter().cloned());
    }
}

/// The request that a record reports: that of its correlation identifier, else its own.
fn request(record: &Record, listed: &(Time, String, String, usize)) -> String {
    let alone = format!("{} {:?}", record.event_id, listed);
    record.correlation.as_ref().map_or(alone, |id| format!("{} request {id}", record.source))
}

/// Why the account should not have worked then.
fn cause(papers: &Papers, record: &Record, who: &Who<'_>, facts: &Facts) -> Option<&'static str> {
    let id = record.actor.as_deref()?;
    let file = match who.account {
        "user" => "users",
        "vendor_account" => "vendor_accounts",
        // Where no roster names anybody, nobody is missing from it.
        _ => return papers.has("users").then_some("unknown"),
    };
    if let Some((how, since)) = ended(papers, file, id, record.time) {
        return (record.time >= since.plus(GRACE)).then_some(how);
    }
    let company = matches!(facts.get("vendor_status"), Some("ended" | "suspended"));
    if who.account == "vendor_account" && company {
        return Some("vendor-ended");
    }
    (facts.get("outside_dates") == Some("true")).then_some("outside-dates")
}
