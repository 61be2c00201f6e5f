//! A record as its JSON says it (INTERFACES, sections 1 and 2), read by hand from a tree of values.

use serde_json::Value;

use crate::event::{Activity, Time};

/// What the oracle needs of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique within the source.
    pub event_id: String,
    /// To the microsecond.
    pub time: Time,
    /// When the source logged it.
    pub recorded: Option<Time>,
    /// Feed.
    pub source: String,
    /// Hospital.
    pub site: Option<String>,
    /// `None` is an unresolved identity.
    pub actor: Option<String>,
    /// `actor.kind`.
    pub actor_kind: Option<String>,
    /// Claims of the source.
    pub role: Option<String>,
    /// Claims of the source.
    pub department: Option<String>,
    /// What was done.
    pub activity: Activity,
    /// Record numbers, each once.
    pub patients: Vec<String>,
    /// `resource.type` and `resource.id`.
    pub resource: (Option<String>, Option<String>),
    /// Rows or files.
    pub stated: Option<i64>,
    /// `denied` or `failure`.
    pub refused: bool,
    /// Correlates reports of one request.
    pub correlation: Option<String>,
    /// Company.
    pub vendor: Option<String>,
    /// Where a session went.
    pub host: Option<String>,
    /// Ticket.
    pub approval: Option<String>,
    /// A vendor-session record.
    pub session: bool,
    /// It says that access control was overridden.
    pub break_glass: bool,
}

impl Record {
    /// Reads a line; `None` where a required field is missing, of the wrong kind or out of its vocabulary.
    pub fn read(line: &[u8]) -> Option<Record> {
        let tree: Value = serde_json::from_slice(line).ok()?;
        let text = |path: &str| tree.pointer(path).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
        // Null says that nobody is known; saying nothing at all does not.
        let actor = tree.pointer("/actor/id").filter(|id| id.is_null() || id.is_string())?;
        let activity = Activity::parse(&text("/activity")?)?;
        let time = Time::parse(&text("/time")?).filter(|time| *time >= Time(946_684_800_000_000))?;
        let mut patients: Vec<String> = Vec::new();
        for patient in tree.get("patients").and_then(Value::as_array).into_iter().flatten() {
            let patient = patient.as_str()?;
            if !patient.is_empty() && !patients.iter().any(|known| known == patient) {
                patients.push(patient.to_owned());
            }
        }
        let (vendor, host) = (text("/vendor_id"), text("/target/host"));
        let session = match text("/schema").as_deref() {
            Some(schema) => schema == "phiwatch.vendor_session/1",
            None => match activity {
                Activity::LoginFailed => vendor.is_some() || tree.get("target").is_some(),
                Activity::SessionStart | Activity::SessionEnd | Activity::Command => true,
                Activity::FileTransfer | Activity::CredentialCheckout => true,
                _ => false,
            },
        };
        let number = |path: &str| tree.pointer(path).and_then(Value::as_i64);
        Some(Record {
            event_id: text("/event_id")?,
            time,
            recorded: text("/recorded").and_then(|text| Time::parse(&text)),
            source: text("/source")?,
            site: text("/site"),
            actor: actor.as_str().filter(|id| !id.is_empty()).map(str::to_owned),
            actor_kind: text("/actor/kind"),
            role: text("/actor/role"),
            department: text("/actor/department"),
            activity,
            patients,
            resource: (text("/resource/type"), text("/resource/id")),
            stated: number("/result_count").or(number("/detail/files")),
            refused: matches!(text("/outcome").as_deref(), Some("denied" | "failure")),
            correlation: text("/correlation_id"),
            vendor,
            host,
            approval: text("/approval_ref"),
            session,
            break_glass: tree.get("break_glass") == Some(&Value::Bool(true)),
        })
    }

    /// In what a duplicate agrees with its original (INTERFACES, section 7).
    pub fn content(&self) -> String {
        let mut patients = self.patients.clone();
        patients.sort();
        format!("{:?}", (self.time, &self.actor, self.activity, patients, &self.resource))
    }
}
