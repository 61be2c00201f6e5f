//! The native record shapes (INTERFACES, sections 1 and 2) as the simulator writes them: one JSON object per line.

use serde::Serialize;

use crate::event::{Activity, Outcome, Time};

/// One event on its way to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimEvent {
    /// When it happened.
    pub time: Time,
    /// When its source handed it over; the file is in this order.
    pub arrival: Time,
    /// The JSON object, without a line feed.
    pub line: Vec<u8>,
}

/// The fields of a record, in the order in which they are written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Line<'a> {
    /// Native record and version.
    pub schema: &'a str,
    /// Unique within the source.
    pub event_id: &'a str,
    /// RFC 3339.
    pub time: String,
    /// RFC 3339.
    pub recorded: String,
    /// Name of the feed.
    pub source: &'a str,
    /// Hospital.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<&'a str>,
    /// Who.
    pub actor: Actor<'a>,
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// Record numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patients: Vec<String>,
    /// What was touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource<'a>>,
    /// Rows returned or exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_count: Option<i64>,
    /// The search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The user's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// How the log-in was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth<'a>>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Purpose-of-use codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub purpose: Vec<&'a str>,
    /// Emergency override.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<bool>,
    /// Ticket behind an elevated act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_ref: Option<String>,
    /// The log-in or vendor session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Records with the same value report one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Vendor company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<String>,
    /// Where a vendor session went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target<'a>>,
    /// What was done there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail<'a>>,
    /// A field that no interface names; real feeds have such.
    #[serde(rename = "workflow", skip_serializing_if = "Option::is_none")]
    pub unknown: Option<&'a str>,
}

/// `actor`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Actor<'a> {
    /// Account.
    pub id: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Claimed role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// Claimed department.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<&'a str>,
    /// The principal of an assistant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<&'a str>,
}

/// `resource`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Resource<'a> {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// `client`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Client {
    /// Address.
    pub ip: String,
    /// Workstation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Outside the premises.
    pub remote: bool,
}

/// `auth`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Auth<'a> {
    /// How.
    pub method: &'a str,
    /// Second factor.
    pub mfa: bool,
}

/// `target`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Target<'a> {
    /// Host.
    pub host: &'a str,
    /// Account there.
    pub account: &'a str,
}

/// `detail`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Detail<'a> {
    /// Command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a str>,
    /// Bytes moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Files moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
}
