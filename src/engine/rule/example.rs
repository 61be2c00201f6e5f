//! Examples of a rule as rows: what is not given is what an event without any roster has.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use super::fields::Field;
use super::meta::Example;
use super::place;
use super::sieve::Room;
use super::window::Match;
use super::{Row, Rule, RuleSet};
use crate::engine::enrich::enrich;
use crate::event::facts::{
    Account, Agreement, Approval, BETWEEN_PATIENTS, Encounter, MARKS, Privilege, Status, WEEKDAYS,
};
use crate::event::time::MINUTE;
use crate::event::{
    Activity, ActorKind, Day, Draft, EventBatch, EventBuilder, Facts, Kind, Origin, Outcome, PatientFacts, Problem,
    Time, Zone,
};
use crate::roster::{RelationKind, Roster};

/// Every example happens at this time, one event a minute: a Monday, 10:00.
const TIME: &str = "2026-03-02T10:00:00Z";

static NOBODY: LazyLock<Roster> = LazyLock::new(|| Roster::empty(Zone::utc()));

/// What explains an opening, as [`super::super::enrich`] says it.
const EXPLANATIONS: [&str; 9] = [
    "own_unit:encounter",
    "own_unit:appointment",
    "own_unit:order",
    "own_unit:result",
    "own_unit:care_team",
    "own_unit:referral",
    "own_unit:message",
    "own_unit:billing",
    "own_unit:research",
];

/// The events of an example.
///
/// # Errors
/// A field that does not hold what is given for it.
pub fn events(example: &Example) -> Result<EventBatch, String> {
    let mut builder = EventBuilder::default();
    for (number, given) in example.events.iter().enumerate() {
        let activity = given.iter().find(|(name, _)| name == "activity").map(|(_, value)| value);
        let activity = activity.ok_or("an event of an example has an `activity`")?;
        let activity = word("activity", activity, Activity::parse)?;
        let time = Time::parse(TIME).expect("a time").plus(number as i64 * MINUTE);
        let mut draft = Draft::new(format!("e{}", number + 1), time, "ehr", activity);
        draft.outcome = Outcome::Success;
        // A failed log-in belongs to a vendor's session where it names the vendor or where the session went.
        let of_vendor = |(name, _): &(String, Value)| name == "vendor_id" || name.starts_with("target.");
        if activity == Activity::LoginFailed && given.iter().any(of_vendor) {
            draft.kind = Kind::VendorSession;
        }
        // Nor does a decoder take an empty text for a value.
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null() && value.as_str() != Some("")) {
            set(&mut draft, name, value)?;
        }
        builder.push(&draft, number as i64, 0);
    }
    Ok(builder.finish(&Origin::file("example")))
}

/// The facts of event `number` of an example.
///
/// # Errors
/// A fact that does not hold what is given for it.
pub fn facts<'e>(example: &'e Example, number: usize, events: &'e EventBatch) -> Result<Facts<'e>, String> {
    let mut facts = enrich(&NOBODY, &events.row(number));
    let given = &example.events[number];
    let value = |name: &str| given.iter().find(|(own, _)| own == name).map(|(_, value)| value);
    for (name, value) in given {
        match Field::find(name) {
            Some(Field::Column(_)) => {
                let between = if name.starts_with("patient.") { BETWEEN_PATIENTS } else { ";" };
                facts.extra.insert(name, Cow::Owned(texts(name, value)?.join(between)));
            }
            _ => set_fact(&mut facts, name, value)?,
        }
    }
    patients(&mut facts.patients, &value)?;
    Ok(facts)
}

fn set(draft: &mut Draft<'_>, name: &str, value: &Value) -> Result<(), String> {
    let own = |value| -> Result<Option<Cow<'static, str>>, String> { Ok(Some(text(name, value)?.to_owned().into())) };
    let time = || Time::parse(text(name, value)?).ok_or_else(|| format!("`{name}` is no time"));
    match name {
        "kind" => draft.kind = word(name, value, Kind::parse)?,
        "event_id" => draft.event_id = text(name, value)?.to_owned().into(),
        "time" => draft.time = time()?,
        "recorded" => draft.recorded = Some(time()?),
        "source" => draft.source = text(name, value)?.to_owned().into(),
        "site" => draft.site = own(value)?,
        "actor.id" => draft.actor_id = own(value)?,
        "actor.kind" => draft.actor_kind = Some(word(name, value, ActorKind::parse)?),
        "actor.name" => draft.actor_name = own(value)?,
        "actor.role" => draft.actor_role = own(value)?,
        "actor.department" => draft.actor_department = own(value)?,
        "actor.on_behalf_of" => draft.actor_on_behalf_of = own(value)?,
        "patients" => draft.patients = texts(name, value)?.into_iter().map(|text| text.to_owned().into()).collect(),
        "patients.count" => return Err("`patients.count` follows from `patients`".to_owned()),
        "resource.type" => draft.resource_type = own(value)?,
        "resource.id" => draft.resource_id = own(value)?,
        "result_count" => draft.result_count = Some(number(name, value)?),
        "query" => draft.query = own(value)?,
        "client.ip" => draft.client_ip = own(value)?,
        "client.host" => draft.client_host = own(value)?,
        "client.app" => draft.client_app = own(value)?,
        "client.remote" => draft.client_remote = Some(truth(name, value)?),
        "auth.method" => draft.auth_method = own(value)?,
        "auth.mfa" => draft.auth_mfa = Some(truth(name, value)?),
        "outcome" => draft.outcome = word(name, value, Outcome::parse)?,
        "purpose" => draft.purpose = texts(name, value)?.into_iter().map(|text| text.to_owned().into()).collect(),
        "break_glass" => draft.break_glass = Some(truth(name, value)?),
        "approval_ref" => draft.approval_ref = own(value)?,
        "session_id" => draft.session_id = own(value)?,
        "correlation_id" => draft.correlation_id = own(value)?,
        "vendor_id" => draft.vendor_id = own(value)?,
        "target.host" => draft.target_host = own(value)?,
        "target.account" => draft.target_account = own(value)?,
        "detail.command" => draft.detail_command = own(value)?,
        "detail.bytes" => draft.detail_bytes = Some(number(name, value)?),
        "detail.files" => draft.detail_files = Some(number(name, value)?),
        // The activity was read before, facts come later.
        _ => {}
    }
    Ok(())
}

fn set_fact<'e>(facts: &mut Facts<'e>, name: &str, value: &'e Value) -> Result<(), String> {
    let given = (!value.is_null()).then_some(value);
    let own = || given.map(|value| text(name, value)).transpose();
    match name {
        "fact.account" => facts.account = word(name, value, Account::parse)?,
        "fact.role" => facts.role = own()?,
        "fact.department" => facts.department = own()?,
        "fact.home_site" => facts.home_site = own()?,
        "fact.employment" => facts.employment = own()?,
        "fact.status" => facts.status = given.map(|value| word(name, value, Status::parse)).transpose()?,
        "fact.hour" => {
            let hour = u8::try_from(number(name, value)?).ok().filter(|hour| *hour < 24);
            facts.clock.hour = hour.ok_or("`fact.hour` is 0 to 23")?;
        }
        "fact.weekday" => {
            let position = |word: &str| WEEKDAYS.iter().position(|day| *day == word);
            let wanted = word(name, value, position)? as i32;
            let now = i32::from(facts.clock.date.weekday());
            facts.clock.date = facts.clock.date.plus(wanted - now);
        }
        "fact.off_day" => facts.off_day = truth(name, value)?,
        "fact.on_shift" => facts.on_shift = given.map(|value| truth(name, value)).transpose()?,
        "fact.outside_dates" => facts.outside_dates = truth(name, value)?,
        "fact.privilege" => facts.privilege = word(name, value, Privilege::parse)?,
        "fact.entitlements" => facts.entitlements = texts(name, value)?,
        "fact.vendor_id" => facts.vendor_id = own()?,
        "fact.vendor_status" => {
            facts.vendor_status = given.map(|value| word(name, value, Status::parse)).transpose()?
        }
        "fact.vendor_parent" => facts.vendor_parent = own()?,
        "fact.baa" => facts.baa = given.map(|value| word(name, value, Agreement::parse)).transpose()?,
        "fact.approval" => facts.approval = given.map(|value| word(name, value, Approval::parse)).transpose()?,
        "fact.in_window" => facts.in_window = given.map(|value| truth(name, value)).transpose()?,
        // Recorded fields, and what is said of patients.
        _ => {}
    }
    Ok(())
}

/// What is given of all patients together, spread over them: what is unexplained first, then what is explained.
fn patients<'e>(patients: &mut Vec<PatientFacts<'e>>, value: &dyn Fn(&str) -> Option<&'e Value>) -> Result<(), String> {
    let words = |name: &str, known: &[&'static str]| -> Result<Option<Vec<&'static str>>, String> {
        let Some(value) = value(name) else { return Ok(None) };
        let find = |text: &&str| known.iter().find(|word| *word == text).copied();
        let texts = texts(name, value)?;
        let found: Option<Vec<_>> = texts.iter().map(find).collect();
        found.map(Some).ok_or_else(|| format!("`{name}` knows {}", known.join(", ")))
    };
    let kinds: Vec<&str> = RelationKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let explanations: Vec<&str> = kinds.iter().copied().chain(EXPLANATIONS).collect();
    let marks = words("fact.marks", &MARKS)?;
    let unexplained_marks = words("fact.unexplained_marks", &MARKS)?;
    let relations = words("fact.relations", &kinds)?;
    let explained_by = words("fact.explained_by", &explanations)?.filter(|words| !words.is_empty());
    let encounters: Vec<&str> = Encounter::ALL.iter().map(|word| word.as_str()).collect();
    let encounters = words("fact.encounter", &encounters)?;
    let days = value("fact.days_deceased").map(|value| number("fact.days_deceased", value)).transpose()?;
    let unexplained = value("fact.unexplained").map(|value| number("fact.unexplained", value)).transpose()?;
    let says_something =
        [&marks, &unexplained_marks, &relations, &explained_by, &encounters].iter().any(|w| w.is_some());
    if patients.is_empty() && (says_something || days.is_some() || unexplained.is_some_and(|count| count > 0)) {
        patients.push(PatientFacts::default());
    }
    let nothing = unexplained_marks.as_ref().is_some_and(|words| words.is_empty()) && marks.is_some();
    let open = unexplained.map_or_else(
        || if explained_by.is_some() || nothing { 0 } else { patients.len() },
        |count| usize::try_from(count).unwrap_or(0),
    );
    while patients.len() < open {
        patients.push(PatientFacts::default());
    }
    let rest =
        |words: &Vec<&'static str>| words.iter().any(|word| !unexplained_marks.iter().flatten().any(|u| u == word));
    if unexplained_marks.is_some() && patients.len() == open && marks.as_ref().is_some_and(rest) {
        patients.push(PatientFacts::default());
    }
    for (index, patient) in patients.iter_mut().enumerate() {
        patient.relations = relations.clone().unwrap_or_default();
        patient.days_deceased = days.and_then(|days| i32::try_from(days).ok());
        let encounter = encounters.as_ref().and_then(|all| all.get(index).or(all.last()));
        patient.encounter = encounter.and_then(|word| Encounter::parse(word));
        let own = if index < open { unexplained_marks.as_ref().or(marks.as_ref()) } else { marks.as_ref() };
        patient.marks = own.cloned().unwrap_or_default();
        let by = explained_by.as_ref().and_then(|all| all.get(index).or(all.last())).copied();
        patient.explained_by = (index >= open).then(|| by.unwrap_or("encounter"));
    }
    Ok(())
}

fn text<'v>(name: &str, value: &'v Value) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("`{name}` is a text, {value} is none: put it in quotes"))
}

fn texts<'v>(name: &str, value: &'v Value) -> Result<Vec<&'v str>, String> {
    match value {
        Value::Array(values) => values.iter().map(|value| text(name, value)).collect(),
        Value::Null => Ok(Vec::new()),
        one => Ok(vec![text(name, one)?]),
    }
}

fn number(name: &str, value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("`{name}` is a whole number, {value} is none"))
}

fn truth(name: &str, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("`{name}` is true or false, {value} is neither"))
}

fn word<T>(name: &str, value: &Value, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let text = text(name, value)?;
    parse(text).ok_or_else(|| format!("`{name}` is never `{text}`"))
}

/// Whether an example makes the rule fire.
///
/// # Errors
/// A field that does not hold what is given for it.
fn fires(set: &RuleSet, rule: &Rule, example: &Example) -> Result<bool, String> {
    let events = events(example)?;
    let mut windows = set.windows::<u32>();
    let (mut fires, mut last) = (false, Day(0));
    for (number, event) in events.rows().enumerate() {
        let facts = facts(example, number, &events)?;
        last = last.max(facts.day);
        let row = Row::new(event, &facts);
        for plain in set.candidates(&row, &mut Room::default()).filter(|plain| plain.condition.holds(&row)) {
            fires |= plain.speaks.as_ref().is_some_and(|speaks| speaks.id == rule.id);
            for feed in &plain.feeds {
                let found = Match { time: event.time(), day: facts.day, about: 0, evidence: number as u32 };
                for row in set.offered(*feed, &plain.condition, row) {
                    windows.offer(*feed, &mut |_| found, &|name| rsigma_eval::Event::get_field(&row, name));
                }
            }
        }
    }
    windows.settle(last, &mut |answer| {
        let own = set.speaks(answer.number).is_some_and(|speaks| speaks.id == rule.id);
        fires |= own && answer.is_satisfied;
    });
    Ok(fires)
}

/// Examples of a rule that do not do what they should; `files` are those that it was loaded from.
pub fn failing(set: &RuleSet, rule: &Rule, files: &[(String, Vec<u8>)]) -> Vec<Problem> {
    let sides = [(true, &rule.meta.fires), (false, &rule.meta.quiet)];
    let all = sides.into_iter().flat_map(|(expected, examples)| examples.iter().map(move |one| (expected, one)));
    let mut problems = Vec::new();
    for (expected, example) in all {
        let what = match fires(set, rule, example) {
            Ok(fires) if fires == expected => continue,
            Ok(true) => format!("{} fires on its near miss \"{}\"", rule.id, example.name),
            Ok(false) => format!("{} does not fire on its example \"{}\"", rule.id, example.name),
            Err(what) => format!("the example \"{}\" of {}: {what}", example.name, rule.id),
        };
        let text = files.iter().find(|(name, _)| *name == rule.file);
        let text = text.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok());
        let line = text.and_then(|text| place::line(text, rule.document, &example.path));
        problems.push(Problem { file: rule.file.clone().into(), line, what });
    }
    problems
}
