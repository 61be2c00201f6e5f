//! From opens to rows: log-ins, searches, the one to four records that an open leaves, prints, and the dirt of real feeds.
//!
//! Planted misuse is written by the same hand, so that nothing but behaviour tells it apart.

use super::dice::{Dice, mix, mix_unit};
use super::floor::{Act, Open};
use super::line::{Actor, Auth, Client, Line, Resource, SimEvent};
use super::patients::Town;
use crate::event::time::{HOUR, MINUTE, SECOND};
use crate::event::{Activity, Outcome, Time};

/// The account on whose behalf rows are written.
#[derive(Debug, Clone)]
pub struct Account {
    /// Account name.
    pub id: String,
    /// `human` or `service`.
    pub kind: &'static str,
    /// Role as the source claims it.
    pub role: Option<String>,
    /// Department as the source claims it.
    pub department: Option<String>,
    /// Whoever answers for what is done.
    pub principal: Option<String>,
    /// Hospital.
    pub site: &'static str,
    /// Rows per open against the average.
    pub pace: f64,
    /// Workstation and address on the premises.
    pub host: String,
    /// The same, as an address.
    pub ip: String,
    /// Address outside.
    pub home_ip: String,
}

/// Writes the rows of one account for one purpose.
pub struct Scribe<'a> {
    seed: u64,
    town: &'a Town,
    account: Account,
    dice: Dice,
    stream: u64,
    serial: u64,
    session: String,
    approval: Option<String>,
    remote: bool,
    out: Vec<SimEvent>,
    ids: Vec<String>,
}

impl<'a> Scribe<'a> {
    /// A scribe with its own stream of chance and identifiers for `purpose` and `keys`.
    pub fn new(seed: u64, town: &'a Town, account: Account, purpose: &str, keys: &[u64]) -> Scribe<'a> {
        let mut dice = Dice::new(seed, purpose, keys);
        let stream = (dice.unit() * (1_u64 << 53) as f64) as u64;
        let (session, out, ids) = (String::new(), Vec::new(), Vec::new());
        Scribe { seed, town, account, dice, stream, serial: 0, session, approval: None, remote: false, out, ids }
    }

    /// Marks everything that follows as done under an approval.
    pub fn under(mut self, approval: &str) -> Scribe<'a> {
        self.approval = Some(approval.to_owned());
        self
    }

    /// The rows, and the identifiers of all of them in the order in which they happened.
    pub fn finish(self) -> (Vec<SimEvent>, Vec<String>) {
        (self.out, self.ids)
    }

    /// Writes a day of opens in order of time: a log-in and log-out around each sitting.
    pub fn sittings(&mut self, opens: &[Open]) {
        let mut from = 0;
        for index in 1..=opens.len() {
            let ends = opens.get(index).is_none_or(|next| {
                next.time.0 - opens[index - 1].time.0 > 50 * MINUTE || next.remote != opens[from].remote
            });
            if ends {
                self.sitting(&opens[from..index]);
                from = index;
            }
        }
    }

    fn sitting(&mut self, opens: &[Open]) {
        self.remote = opens[0].remote;
        let begin = opens[0].time.plus(-self.dice.between(15 * SECOND, 90 * SECOND));
        self.session = format!("S{:012x}", mix(self.seed, &[50, self.stream, self.serial]) >> 16);
        if self.remote {
            self.row(begin.plus(-20 * SECOND), "vpn", Activity::Login, &[], |line| {
                line.auth = Some(Auth { method: "password", mfa: true });
            });
        }
        let failed = self.dice.chance(0.02);
        if failed {
            self.row(begin.plus(-8 * SECOND), "ehr", Activity::LoginFailed, &[], |line| {
                line.outcome = Some(Outcome::Failure);
            });
        }
        let (method, mfa) = if self.remote { ("password", true) } else { ("badge", false) };
        self.row(begin, "ehr", Activity::Login, &[], |line| line.auth = Some(Auth { method, mfa }));
        let mut last = begin;
        for open in opens {
            let time = open.time.plus(self.dice.between(0, 40 * SECOND)).max(last.plus(SECOND));
            last = self.open(time, open);
        }
        if self.dice.chance(0.8) {
            let end = last.plus(self.dice.between(20 * SECOND, 8 * MINUTE));
            self.row(end, "ehr", Activity::Logout, &[], |_| {});
        }
        self.remote = false;
    }

    /// The rows of one open; returns the time of the last.
    fn open(&mut self, time: Time, open: &Open) -> Time {
        let (kind, written) = shape(open.act);
        let patient = self.number(open.patient);
        if self.dice.chance(0.16) {
            let (query, count) = (self.town.surname(open.patient), self.dice.poisson(4.0) as i64 + 1);
            self.row(time.plus(-6 * SECOND), "ehr", Activity::Search, &[], |line| {
                line.query = Some(format!("name={query}"));
                line.result_count = Some(count);
            });
        }
        let restricted = self.town.is_restricted(open.patient);
        let glass = restricted && self.door(time, open, &patient);
        let source = if open.act == Act::Image { "pacs" } else { "ehr" };
        let extra = self.dice.poisson(1.25 * self.account.pace).min(3);
        let shared = (extra > 0 && self.dice.chance(0.25)).then(|| format!("R{:012x}", self.next_hash() >> 16));
        let resource = format!("{:08x}", mix(self.seed, &[51, u64::from(open.patient), kind.len() as u64]) >> 32);
        let purpose = match open.act {
            _ if glass => "BTG",
            Act::Claim => "HPAYMT",
            _ => "TREAT",
        };
        let mut last = time;
        for number in 0..=extra {
            let kind = if number == 0 { kind } else { self.another() };
            let pair = if number < 2 { shared.clone() } else { None };
            self.row(last, source, Activity::Read, std::slice::from_ref(&patient), |line| {
                line.resource = Some(Resource { kind, id: Some(resource.clone()) });
                line.correlation_id = pair;
                line.purpose = vec![purpose];
                line.break_glass = restricted.then_some(glass);
            });
            let pause = if number == 0 && shared.is_some() { 1 } else { self.dice.between(4, 40) };
            last = last.plus(pause * SECOND);
        }
        if let Some(activity) = written
            && self.dice.chance(0.7)
        {
            self.plain(last, source, activity, &patient, kind);
            last = last.plus(2 * SECOND);
        }
        if self.dice.chance(0.008) {
            self.plain(last, source, Activity::Print, &patient, "Document");
        } else if self.dice.chance(0.0006) {
            self.plain(last, source, Activity::Export, &patient, "Document");
        }
        last
    }

    /// At the door of a restricted chart: who may break the glass sometimes has to, and says so; others are now and then turned away
    /// before they come in with a reason. Returns whether the glass was broken.
    fn door(&mut self, time: Time, open: &Open, patient: &String) -> bool {
        let draw = mix_unit(self.seed, &[53, self.stream, u64::from(open.patient), time.0 as u64]);
        let may = matches!(self.account.role.as_deref(), Some("emergency nurse" | "resident" | "consultant"));
        let patient = std::slice::from_ref(patient);
        if may && draw < 0.4 {
            self.row(time.plus(-3 * SECOND), "ehr", Activity::BreakGlass, patient, |line| {
                line.purpose = vec!["BTG"];
                line.break_glass = Some(true);
            });
        } else if !may && draw < 0.15 {
            self.row(time.plus(-5 * SECOND), "ehr", Activity::Read, patient, |line| {
                line.outcome = Some(Outcome::Denied)
            });
        }
        may && draw < 0.4
    }

    /// The record number under which the chart is found: that of a second registration for those who search by it.
    fn number(&self, patient: u32) -> String {
        let by_twin = mix_unit(self.seed, &[54, self.stream, u64::from(patient)]) < 0.4;
        self.town.twin(patient).filter(|_| by_twin).unwrap_or_else(|| self.town.id(patient))
    }

    /// A row about one patient with nothing special.
    pub fn plain(&mut self, time: Time, source: &'static str, activity: Activity, patient: &str, kind: &'static str) {
        self.row(time, source, activity, &[patient.to_owned()], |line| {
            line.resource = Some(Resource { kind, id: None });
        });
    }

    /// The record number of a patient.
    pub fn patient(&self, patient: u32) -> String {
        self.town.id(patient)
    }

    fn another(&mut self) -> &'static str {
        const KINDS: [&str; 5] =
            ["Observation", "Condition", "MedicationRequest", "DocumentReference", "AllergyIntolerance"];
        KINDS[self.dice.below(KINDS.len())]
    }

    fn next_hash(&mut self) -> u64 {
        self.serial += 1;
        mix(self.seed, &[52, self.stream, self.serial])
    }

    /// Writes one row; `finish` sets what is special about it.
    pub fn row(
        &mut self,
        time: Time,
        source: &'static str,
        activity: Activity,
        patients: &[String],
        finish: impl FnOnce(&mut Line<'_>),
    ) {
        let time = Time(time.0 - time.0.rem_euclid(1_000));
        let event_id = format!("{:016x}", self.next_hash());
        let arrival = self.arrival(time);
        let client = match self.remote {
            true => Client { ip: self.account.home_ip.clone(), host: None, remote: true },
            false => Client { ip: self.account.ip.clone(), host: Some(self.account.host.clone()), remote: false },
        };
        let unknown = self.dice.chance(0.0001).then_some("v2");
        let account = &self.account;
        let (role, department) = (account.role.as_deref(), account.department.as_deref());
        let mut line = Line {
            schema: "phiwatch.access/1",
            event_id: &event_id,
            time: time.to_string(),
            recorded: arrival.to_string(),
            source,
            site: Some(account.site),
            actor: Actor {
                id: &account.id,
                kind: account.kind,
                role,
                department,
                on_behalf_of: account.principal.as_deref(),
            },
            activity: Some(activity),
            patients: patients.to_vec(),
            client: Some(client),
            outcome: Some(Outcome::Success),
            approval_ref: self.approval.clone(),
            session_id: (!self.session.is_empty()).then(|| self.session.clone()),
            unknown,
            ..Line::default()
        };
        finish(&mut line);
        let line = serde_json::to_vec(&line).expect("a line of plain fields is always JSON");
        self.ids.push(event_id);
        let event = SimEvent { time, arrival, line };
        // A source that is not sure of its delivery sends again.
        if self.dice.chance(0.003) {
            let arrival = arrival.plus(self.dice.between(SECOND, 20 * MINUTE));
            self.out.push(SimEvent { arrival, ..event.clone() });
        }
        self.out.push(event);
    }

    /// Mostly seconds later; one row in a hundred is late by minutes or hours.
    fn arrival(&mut self, time: Time) -> Time {
        let delay = if self.dice.chance(0.01) {
            ((self.dice.gamma(40.0, 1.6) * MINUTE as f64) as i64).clamp(MINUTE, 11 * HOUR)
        } else {
            self.dice.between(SECOND, 8 * SECOND)
        };
        let arrival = time.plus(delay);
        Time(arrival.0 - arrival.0.rem_euclid(1_000))
    }
}

/// The resource an act reads, and what it writes.
fn shape(act: Act) -> (&'static str, Option<Activity>) {
    match act {
        Act::Chart => ("Patient", None),
        Act::Note => ("DocumentReference", Some(Activity::Create)),
        Act::Order => ("ServiceRequest", Some(Activity::Create)),
        Act::Result => ("Observation", Some(Activity::Update)),
        Act::Image => ("ImagingStudy", None),
        Act::Medication => ("MedicationRequest", Some(Activity::Update)),
        Act::Register => ("Appointment", Some(Activity::Update)),
        Act::Claim => ("Claim", Some(Activity::Update)),
    }
}
