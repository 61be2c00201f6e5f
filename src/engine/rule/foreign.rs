//! Rules on events of others: any JSON, and the shape into which tools turn the event log of Windows.
//!
//! Here rsigma does the whole of the work. What it is not told by the events themselves is which rules are meant for them: the channel
//! and the number of a Windows event say so, by the taxonomy of the Sigma project.

use rsigma_eval::{Engine, JsonEvent};
use rsigma_parser::{LogSource, SigmaCollection};
use serde_json::{Map, Value};

/// Events of Sysmon by number, and the categories of rules that are written for them.
const SYSMON: [(u64, &[&str]); 24] = [
    (1, &["process_creation"]),
    (2, &["file_change"]),
    (3, &["network_connection"]),
    (4, &["sysmon_status"]),
    (5, &["process_termination"]),
    (6, &["driver_load"]),
    (7, &["image_load"]),
    (8, &["create_remote_thread"]),
    (9, &["raw_access_thread"]),
    (10, &["process_access"]),
    (11, &["file_event"]),
    (12, &["registry_event", "registry_add", "registry_delete"]),
    (13, &["registry_event", "registry_set"]),
    (14, &["registry_event", "registry_rename"]),
    (15, &["create_stream_hash"]),
    (17, &["pipe_created"]),
    (18, &["pipe_created"]),
    (19, &["wmi_event"]),
    (20, &["wmi_event"]),
    (21, &["wmi_event"]),
    (22, &["dns_query"]),
    (23, &["file_delete"]),
    (25, &["process_tampering"]),
    (26, &["file_delete"]),
];

/// Channels of Windows, and the service that rules name for them.
const CHANNELS: [(&str, &str); 9] = [
    ("Security", "security"),
    ("System", "system"),
    ("Application", "application"),
    ("Microsoft-Windows-Sysmon/Operational", "sysmon"),
    ("Microsoft-Windows-PowerShell/Operational", "powershell"),
    ("Windows PowerShell", "powershell-classic"),
    ("Microsoft-Windows-Windows Defender/Operational", "windefend"),
    ("Microsoft-Windows-TaskScheduler/Operational", "taskscheduler"),
    ("Microsoft-Windows-TerminalServices-LocalSessionManager/Operational", "terminalservices-localsessionmanager"),
];

/// Rules that are asked of any JSON.
pub struct Foreign(Engine);

impl Foreign {
    /// Takes rules and their filters.
    ///
    /// # Errors
    /// Where rsigma refuses one of them.
    pub fn new(rules: &SigmaCollection) -> Result<Foreign, String> {
        let mut engine = Engine::new();
        engine.add_collection(rules).map_err(|error| error.to_string())?;
        Ok(Foreign(engine))
    }

    /// Ids (titles where there is none) of the rules that the event fires, each once, in order.
    pub fn fired(&self, event: &Value) -> Vec<String> {
        let mut ids: Vec<String> = match windows(event) {
            Some((flat, meant_for)) => {
                let event = JsonEvent::owned(Value::Object(flat));
                meant_for.iter().flat_map(|source| self.0.evaluate_pruned(&event, source)).map(id).collect()
            }
            None => self.0.evaluate(&JsonEvent::borrow(event)).into_iter().map(id).collect(),
        };
        ids.sort();
        ids.dedup();
        ids
    }
}

fn id(result: rsigma_eval::EvaluationResult) -> String {
    result.header.rule_id.unwrap_or(result.header.rule_title)
}

/// An event of Windows as rules name its fields, and the sources that it may come from.
fn windows(event: &Value) -> Option<(Map<String, Value>, Vec<LogSource>)> {
    let event = event.get("Event")?;
    let system = event.get("System")?.as_object()?;
    let mut flat = Map::new();
    for (name, value) in system {
        let inner = value.get("#attributes").and_then(Value::as_object);
        match inner {
            // `Provider` with its `Name` is `Provider_Name`.
            Some(attributes) => {
                for (key, value) in attributes {
                    flat.insert(format!("{name}_{key}"), value.clone());
                }
                // `EventID` may have qualifiers, and its number stands beside them.
                value.get("#text").into_iter().for_each(|text| _ = flat.insert(name.clone(), text.clone()));
            }
            None => _ = flat.insert(name.clone(), value.clone()),
        }
    }
    for part in ["EventData", "UserData"] {
        let fields = event.get(part).and_then(Value::as_object).into_iter().flatten();
        flat.extend(
            fields.filter(|(name, _)| *name != "#attributes").map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    let channel = system.get("Channel").and_then(Value::as_str).unwrap_or_default();
    // Some shippers write numbers as texts.
    let number = |id: &Value| id.as_u64().or_else(|| id.as_str()?.trim().parse().ok());
    let number = system.get("EventID").and_then(|id| number(id).or_else(|| number(id.get("#text")?)));
    let service = CHANNELS.iter().find(|(name, _)| *name == channel).map(|(_, service)| (*service).to_owned());
    let categories: &[&str] = match (service.as_deref(), number) {
        (Some("sysmon"), Some(number)) => {
            SYSMON.iter().find(|(known, _)| *known == number).map_or(&[], |(_, categories)| *categories)
        }
        (Some("security"), Some(4688)) => &["process_creation"],
        (Some("powershell"), Some(4104)) => &["ps_script"],
        (Some("powershell"), Some(4103)) => &["ps_module"],
        _ => &[],
    };
    let source = |category: Option<&&str>| LogSource {
        product: Some("windows".to_owned()),
        service: service.clone(),
        category: Some(category.map_or("none", |category| *category).to_owned()),
        ..LogSource::default()
    };
    let meant_for = match categories {
        [] => vec![source(None)],
        some => some.iter().map(|category| source(Some(category))).collect(),
    };
    Some((flat, meant_for))
}
