//! Hand-made effects for tests of the history and of the questions asked of it.

use crate::event::effects::Applied;
use crate::event::facts::Account;
use crate::event::flags::Flags;
use crate::event::{
    Activity, Alert, Class, Day, Disposition, Draft, Effects, Enriched, EventBuilder, Facts, FactsBuilder, Local,
    Origin, PatientFacts, Raised, Reason, Reject, Severity, Span, State, Subject, SubjectKind, Time,
};
use crate::event::{alert, time};

/// An instant, from RFC 3339.
pub fn at(text: &str) -> Time {
    Time::parse(text).expect("tests spell times as RFC 3339")
}

/// One event of a test with what is known of it.
pub struct Row {
    /// The event.
    pub draft: Draft<'static>,
    /// Flags of its record.
    pub flags: Flags,
    /// One for each of its patients; made from the record where it is empty.
    pub patients: Vec<PatientFacts<'static>>,
    /// Role by the roster.
    pub role: Option<&'static str>,
    /// Department by the roster.
    pub department: Option<&'static str>,
    /// Vendor by the roster.
    pub vendor: Option<&'static str>,
}

/// `who` opened the charts of `patients`.
pub fn read(id: &str, time: &str, who: &'static str, patients: &[&'static str]) -> Row {
    let mut row = event(id, time, who, Activity::Read);
    row.draft.patients = patients.iter().map(|p| (*p).into()).collect();
    row
}

/// `who` did something.
pub fn event(id: &str, time: &str, who: &'static str, activity: Activity) -> Row {
    let mut draft = Draft::new(id.to_string(), at(time), "ehr", activity);
    draft.actor_id = Some(who.into());
    draft.site = Some("main".into());
    Row { draft, flags: 0, patients: Vec::new(), role: Some("nurse"), department: Some("icu"), vendor: None }
}

/// The position key of tests.
pub fn key(origin: &Origin) -> String {
    format!("cluster/{origin}")
}

/// A stretch of `topic` partition `partition` whose rows have the offsets from `from` on, one each.
pub fn stretch(partition: i32, from: i64, rows: &[Row]) -> Applied {
    stretch_of(Origin::topic("ehr.access", partition), from, rows, &[])
}

/// A stretch with rejects behind its rows: one record each.
pub fn stretch_of(origin: Origin, from: i64, rows: &[Row], raw: &[&[u8]]) -> Applied {
    let (mut events, mut facts) = (EventBuilder::default(), FactsBuilder::default());
    for (offset, row) in (from..).zip(rows) {
        events.push(&row.draft, offset, row.flags);
        facts.push(&facts_of(row), "roster-1");
    }
    let first = from + rows.len() as i64;
    let reject = |(offset, raw): (i64, &&[u8])| Reject {
        origin: origin.clone(),
        offset,
        byte: 0,
        reason: Reason::Syntax,
        field: None,
        at: Some(at("2026-11-22T12:00:00Z")),
        raw: raw.to_vec(),
    };
    let rejects: Vec<Reject> = (first..).zip(raw).map(reject).collect();
    let mut span = Span::at(origin.clone(), from);
    span.events = rows.len() as u64;
    span.rejects = rejects.len() as u64;
    span.to = first + rejects.len() as i64;
    Applied { enriched: Enriched { batch: events.finish(&origin), facts: facts.finish() }, rejects, span }
}

/// Offsets that were lost.
pub fn gap(partition: i32, from: i64, to: i64) -> Applied {
    let mut applied = stretch(partition, from, &[]);
    applied.span.to = to;
    applied.span.gap = (to - from) as u64;
    applied
}

/// Effects with these stretches and nothing else.
pub fn effects(applied: Vec<Applied>) -> Effects {
    Effects { applied, ..Effects::default() }
}

/// A revision of an alert on `user`.
pub fn raised(user: &str, revision: u32) -> Raised {
    let subject = Subject { kind: SubjectKind::User, id: user.into() };
    let day = Day(20_000);
    let time = "2026-11-22T12:00:00Z";
    let alert = Alert {
        schema: "phiwatch.alert/1".into(),
        alert_id: Alert::id("mass-query", &subject, day),
        detection_id: "mass-query.distinct-patients".into(),
        class: Class::Budgeted,
        title: "Many charts".into(),
        severity: Severity::High,
        subject,
        window: alert::Window { start: "2026-11-22T09:00:00Z".into(), end: "2026-11-23T09:00:00Z".into() },
        raised_at: time.into(),
        score: 71.5,
        p_value: Some(0.000_1),
        reason: format!("{user} opened 40 charts"),
        facts: serde_json::json!({ "observed": 40 }).as_object().cloned().unwrap_or_default(),
        evidence: alert::Evidence { count: 40, event_ids: vec!["e1".into(), "e2".into()] },
        patients: alert::Patients { count: 40 },
        references: vec!["45 CFR 164.312(b)".into()],
        revision,
        settled: false,
        episode: None,
        state: State::Open,
        disposition: Disposition::Notified,
        made_by: alert::MadeBy {
            version: "0.1.0".into(),
            settings: "s".into(),
            rules: "r".into(),
            rosters: "o".into(),
        },
    };
    Raised { alert, day, at: at(time), interrupts: revision == 1, routing: Vec::new() }
}

fn facts_of(row: &Row) -> Facts<'static> {
    let patients = match row.patients.is_empty() {
        false => row.patients.clone(),
        // Nothing more is known than the record says.
        true => row.draft.patients.iter().map(|patient| recorded(patient.clone())).collect(),
    };
    let micros = row.draft.time.0;
    let day = Day(micros.div_euclid(time::DAY) as i32);
    let hour = (micros.rem_euclid(time::DAY) / time::HOUR) as u8;
    Facts {
        account: Account::User,
        person_id: None,
        role: row.role,
        department: row.department,
        home_site: Some("main"),
        status: None,
        employment: None,
        day,
        clock: Local { day, date: day, hour, minute: 0 },
        off_day: false,
        on_shift: None,
        outside_dates: false,
        privilege: crate::event::facts::Privilege::None,
        entitlements: Vec::new(),
        vendor_id: row.vendor,
        vendor_status: None,
        vendor_parent: None,
        baa: None,
        approval: None,
        in_window: None,
        patients,
        extra: Default::default(),
    }
}

fn recorded(patient: std::borrow::Cow<'static, str>) -> PatientFacts<'static> {
    let std::borrow::Cow::Borrowed(patient_id) = patient else { panic!("record numbers of tests are literals") };
    PatientFacts {
        patient_id,
        relations: vec!["encounter"],
        explained_by: Some("encounter"),
        ..PatientFacts::default()
    }
}
