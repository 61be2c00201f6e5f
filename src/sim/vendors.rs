//! Vendors: companies with agreements, accounts with windows, approved sessions, and a little use of the record system inside them.

use super::Hospital;
use super::dice::{Dice, mix};
use super::floor::{Act, Open};
use super::line::{Auth, Detail, SimEvent, Target};
use super::scribe::{Account, Scribe};
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Activity, Day, Outcome, Time, Zone};

/// A company.
#[derive(Debug, Clone)]
pub struct Vendor {
    /// `v-...`.
    pub id: String,
    /// Name.
    pub name: &'static str,
    /// `active` or `ended`.
    pub status: &'static str,
    /// Time zone of its people.
    pub zone: Zone,
    /// Host that it looks after.
    pub host: &'static str,
    /// Accounts.
    pub accounts: Vec<String>,
    /// Sessions per working day.
    rate: f64,
}

/// All vendors.
#[derive(Debug, Clone)]
pub struct Vendors {
    /// The companies.
    pub all: Vec<Vendor>,
}

/// A session that was approved before it took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Index of the vendor.
    pub vendor: usize,
    /// Account.
    pub account: String,
    /// First instant.
    pub start: Time,
    /// First instant after.
    pub end: Time,
    /// The approval.
    pub approval: String,
}

const COMPANIES: [(&str, &str, &str); 6] = [
    ("Corvid Imaging Systems", "America/New_York", "pacs-db-01"),
    ("Halden Lab Software", "America/Chicago", "lis-app-01"),
    ("Brightwell Infusion", "America/Los_Angeles", "pump-gw-01"),
    ("Norvane Networks", "America/Denver", "core-fw-01"),
    ("Tessel Dictation", "America/New_York", "dict-app-01"),
    ("Oakline Billing", "America/Chicago", "bill-db-01"),
];

impl Vendors {
    /// Three to six companies, more where the hospital is larger.
    pub fn new(seed: u64, users: usize) -> Vendors {
        let count = (3 + users / 150).min(COMPANIES.len());
        let vendor = |(index, (name, zone, host)): (usize, &(&'static str, &str, &'static str))| {
            let people = 1 + mix(seed, &[60, index as u64]) % 3;
            Vendor {
                id: format!("v-{:02}", index + 1),
                name,
                status: if index == 2 && count > 3 { "ended" } else { "active" },
                zone: Zone::get(zone).unwrap_or_else(Zone::utc),
                host,
                accounts: (1..=people).map(|n| format!("vnd-{:02}-{n}", index + 1)).collect(),
                rate: 0.25 + (mix(seed, &[61, index as u64]) % 100) as f64 / 120.0,
            }
        };
        Vendors { all: COMPANIES[..count].iter().enumerate().map(vendor).collect() }
    }

    /// The sessions that begin on a date: on weekdays, inside the vendor's window.
    pub fn sessions(&self, seed: u64, date: Day) -> Vec<Session> {
        let mut sessions = Vec::new();
        for (index, vendor) in self.all.iter().enumerate() {
            if vendor.status != "active" || date.weekday() >= 5 {
                continue;
            }
            let mut dice = Dice::new(seed, "vendor sessions", &[index as u64, date.0 as i64 as u64]);
            let count = dice.poisson(vendor.rate).min(vendor.accounts.len());
            for number in 0..count {
                let start = vendor.zone.at(date, 9, 30).plus(dice.between(0, 5 * HOUR));
                let end = start.plus(dice.between(20 * MINUTE, 2 * HOUR));
                let approval =
                    format!("CHG{:06}", mix(seed, &[62, index as u64, date.0 as u64, number as u64]) % 1_000_000);
                sessions.push(Session {
                    vendor: index,
                    account: vendor.accounts[number].clone(),
                    start,
                    end,
                    approval,
                });
            }
        }
        sessions
    }

    /// The rows of the sessions of a care day.
    pub(super) fn day(&self, hospital: &Hospital, day: i32, out: &mut Vec<SimEvent>) {
        let date = hospital.plan.start.plus(day);
        for (number, session) in self.sessions(hospital.plan.seed, date).iter().enumerate() {
            let keys = [day as i64 as u64, number as u64];
            let mut scribe =
                Scribe::new(hospital.plan.seed, &hospital.town, account(hospital, session), "vendor", &keys)
                    .under(&session.approval);
            let mut dice = Dice::new(hospital.plan.seed, "vendor use", &keys);
            self.tool(&mut scribe, &mut dice, session);
            if dice.chance(0.3) {
                let opens = opens(hospital, &mut dice, session);
                scribe.sittings(&opens);
            }
            out.append(&mut scribe.finish().0);
        }
    }

    /// What the session tool logs.
    fn tool(&self, scribe: &mut Scribe<'_>, dice: &mut Dice, session: &Session) {
        const COMMANDS: [&str; 6] =
            ["status", "tail app.log", "restart app", "df -h", "apply patch", "show connections"];
        let vendor = &self.all[session.vendor];
        let reference = format!("VS-{}-{}", session.approval, session.account);
        let mut act = |time: Time, activity: Activity, detail: Option<Detail<'static>>| {
            scribe.row(time, "vpn", activity, &[], |line| {
                line.schema = "phiwatch.vendor_session/1";
                line.vendor_id = Some(vendor.id.clone());
                line.target = Some(Target { host: vendor.host, account: "support" });
                line.session_id = Some(reference.clone());
                line.detail = detail;
                line.auth = (activity == Activity::SessionStart).then_some(Auth { method: "password", mfa: true });
                line.outcome =
                    Some(if activity == Activity::LoginFailed { Outcome::Failure } else { Outcome::Success });
                if let Some(client) = &mut line.client {
                    (client.remote, client.host) = (true, None);
                }
            });
        };
        if dice.chance(0.6) {
            act(session.start.plus(-2 * MINUTE), Activity::CredentialCheckout, None);
        }
        if dice.chance(0.1) {
            act(session.start.plus(-MINUTE), Activity::LoginFailed, None);
        }
        act(session.start, Activity::SessionStart, None);
        for _ in 0..3 + dice.below(10) {
            let time = Time(dice.between(session.start.plus(MINUTE).0, session.end.plus(-MINUTE).0));
            let command = *dice.pick(&COMMANDS);
            act(time, Activity::Command, Some(Detail { command: Some(command), ..Detail::default() }));
        }
        if dice.chance(0.35) {
            let bytes = dice.gamma(4e6, 1.0) as i64;
            let time = Time(dice.between(session.start.plus(MINUTE).0, session.end.plus(-MINUTE).0));
            let detail = Detail { bytes: Some(bytes), files: Some(1 + dice.below(4) as i64), ..Detail::default() };
            act(time, Activity::FileTransfer, Some(detail));
        }
        act(session.end, Activity::SessionEnd, None);
    }
}

fn opens(hospital: &Hospital, dice: &mut Dice, session: &Session) -> Vec<Open> {
    let mut opens = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let time = Time(dice.between(session.start.plus(4 * MINUTE).0, session.end.plus(-6 * MINUTE).0));
        let patient = dice.below(hospital.town.count() as usize) as u32;
        opens.push(Open { time, person: u32::MAX, patient, act: Act::Chart, remote: true });
    }
    opens.sort_by_key(|open| open.time);
    opens
}

fn account(hospital: &Hospital, session: &Session) -> Account {
    let address = format!("198.51.100.{}", 10 + session.vendor);
    Account {
        id: session.account.clone(),
        kind: "human",
        role: None,
        department: None,
        principal: None,
        site: hospital.staff.sites[0].name,
        pace: 0.6,
        host: String::new(),
        ip: address.clone(),
        home_ip: address,
    }
}
