//! What an AuditEvent says was done, and why: from codes, never from display texts.
//!
//! Only known code systems decide. An event whose type stands in a system of its own (message tracking, for one) is `other`, whatever
//! its action: nobody opened a record.

use std::borrow::Cow;

use serde_json::Value;

use super::json::{Coding, codings, each, text};
use crate::decode::fields::set;
use crate::event::{Activity, Outcome};

const RESTFUL: &str = "hl7.org/fhir/restful-interaction";
const AUDIT_EVENT_TYPE: &str = "audit-event-type";
const LIFECYCLE: &str = "iso-21089-lifecycle";
/// IHE transactions, in the three spellings that are in use.
const IHE: [&str; 3] = ["urn:ihe:event-type-code", "1.3.6.1.4.1.19376.1.2", "IHE Transactions"];
/// Purpose of use in Switzerland.
const SWISS_PURPOSE: &str = "2.16.756.5.30.1.127.3.10.5";

/// The codings of the kind of event, of every release: type and subtype, or category and code.
pub fn codes(event: &Value) -> Vec<Coding<'_>> {
    ["type", "category", "subtype", "code"].iter().flat_map(|element| codings(&event[*element])).collect()
}

/// What was done.
pub fn activity(codes: &[Coding<'_>], event: &Value, outcome: Outcome) -> Activity {
    let action = action(event);
    let by_dicom = |code: &Coding<'_>| code.dicom().then(|| dicom(code.code?, action, outcome)).flatten();
    let by = |system: &str, table: fn(&str) -> Option<Activity>| {
        codes.iter().filter(|code| code.of(system)).find_map(|code| table(code.code?))
    };
    // The more exact codes of DICOM stand in subtype and code, after the general ones: the last one that decides is taken.
    let decided = codes.iter().rev().find_map(by_dicom);
    let decided = decided.or_else(|| by(RESTFUL, restful)).or_else(|| by(LIFECYCLE, lifecycle));
    let decided = decided.or_else(|| IHE.iter().find_map(|system| by(system, ihe)));
    let general = |code: &Coding<'_>| {
        code.of(RESTFUL) || code.of(AUDIT_EVENT_TYPE) || code.of(LIFECYCLE) || IHE.iter().any(|ihe| code.of(ihe))
    };
    match decided {
        Some(activity) => activity,
        None if codes.is_empty() || codes.iter().any(general) => action.unwrap_or(Activity::Other),
        None => Activity::Other,
    }
}

/// The action as an activity; `E` (execute) and no action say nothing.
fn action(event: &Value) -> Option<Activity> {
    match text(&event["action"])? {
        "C" => Some(Activity::Create),
        "R" => Some(Activity::Read),
        "U" => Some(Activity::Update),
        "D" => Some(Activity::Delete),
        _ => None,
    }
}

/// What was touched, where the code itself says it: the recording of the audit trail. Its entity names the system at most, and often
/// there is none.
pub fn touched(codes: &[Coding<'_>]) -> Option<&'static str> {
    codes.iter().filter(|code| code.dicom()).find_map(|code| match code.code? {
        "110133" => Some("Audit recording stopped"),
        "110134" => Some("Audit recording started"),
        _ => None,
    })
}

/// Codes of DICOM PS3.15 and PS3.16. `None` for those that leave it to others to say what was done.
fn dicom(code: &str, action: Option<Activity>, outcome: Outcome) -> Option<Activity> {
    let failed = outcome == Outcome::Failure;
    Some(match code {
        "110127" => Activity::BreakGlass,
        "110122" | "110114" if failed => Activity::LoginFailed,
        "110122" => Activity::Login,
        "110123" => Activity::Logout,
        "110106" => Activity::Export,
        "110107" => Activity::Import,
        "110105" => Activity::Delete,
        "110112" => Activity::Search,
        "110135" | "110136" | "110137" => Activity::PermissionChange,
        "110101" | "110128" | "110129" | "110130" | "110131" | "110132" | "110133" | "110134" => Activity::Admin,
        "110139" => Activity::SessionStart,
        "110140" => Activity::SessionEnd,
        "110103" | "110104" | "110109" | "110110" | "110111" => action?,
        _ => return None,
    })
}

fn restful(code: &str) -> Option<Activity> {
    Some(match code {
        "read" | "vread" | "history" | "history-instance" | "history-type" | "history-system" => Activity::Read,
        "search" | "search-type" | "search-system" | "search-compartment" => Activity::Search,
        "create" => Activity::Create,
        "update" | "patch" => Activity::Update,
        "delete" | "delete-conditional-single" | "delete-conditional-multiple" | "delete-history" => Activity::Delete,
        _ => return None,
    })
}

fn lifecycle(code: &str) -> Option<Activity> {
    Some(match code {
        "access" => Activity::Read,
        "disclose" | "transmit" | "extract" => Activity::Export,
        "receive" => Activity::Import,
        "originate" => Activity::Create,
        "amend" => Activity::Update,
        "destroy" => Activity::Delete,
        _ => return None,
    })
}

/// IHE transactions that read or search, whatever action their record names.
fn ihe(code: &str) -> Option<Activity> {
    Some(match code {
        "ITI-9" | "ITI-16" | "ITI-18" | "ITI-21" | "ITI-22" | "ITI-38" | "ITI-45" | "ITI-47" | "ITI-51" | "ITI-55"
        | "ITI-66" | "ITI-67" | "ITI-78" | "ITI-81" | "ITI-83" | "ITI-119" => Activity::Search,
        "ITI-39" | "ITI-43" | "ITI-68" => Activity::Read,
        _ => return None,
    })
}

/// Whether the event records a decision about access, so that its failure is a denial.
pub fn decides_access(codes: &[Coding<'_>]) -> bool {
    codes.iter().any(|code| code.code.is_some_and(|code| code.starts_with("AuthZ-")))
}

/// The codes of purpose of use: of the event, then of its agents.
pub fn purposes(event: &Value) -> Vec<Cow<'_, str>> {
    set(purpose_codings(event).filter_map(|coding| coding.code.map(Cow::Borrowed)).collect())
}

fn purpose_codings(event: &Value) -> impl Iterator<Item = Coding<'_>> {
    let own = codings(&event["purposeOfEvent"]).chain(codings(&event["authorization"]));
    let agents =
        each(&event["agent"]).flat_map(|agent| codings(&agent["purposeOfUse"]).chain(codings(&agent["authorization"])));
    own.chain(agents)
}

/// Whether an emergency override was used: true for the known codes, false where other purposes are stated, else not stated.
pub fn break_glass(event: &Value, codes: &[Coding<'_>]) -> Option<bool> {
    if codes.iter().any(|code| code.dicom() && code.code == Some("110127")) {
        return Some(true);
    }
    let mut purposes = purpose_codings(event).peekable();
    purposes.peek()?;
    Some(purposes.any(|purpose| match purpose.code {
        Some("ETREAT" | "BTG") => {
            purpose.system.is_none() || purpose.of("v3-ActReason") || purpose.of("2.16.840.1.113883.5.8")
        }
        Some("EMER") => purpose.of(SWISS_PURPOSE),
        _ => false,
    }))
}
