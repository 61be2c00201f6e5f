//! Who acted and from where: the agents of an AuditEvent.
//!
//! The person, in this order: an agent of an explicitly human type with an identifier; the requestor, unless its role is a machine's;
//! an agent with a role of its own; an agent of a human type without identifier; a requestor with a machine's role. None of these is
//! an actor that the source could not resolve. Of several in one step the requestor is taken. A display name alone is never an id.
//!
//! The workstation: the actor's own address, then that of the agent on the client's side of the interaction (the roles swap between
//! reading and writing), then any other; never a service endpoint.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::Value;

use super::json::{Coding, codings, contained, cx_id, each, first_identifier, has_code, reference_id, target, text};
use crate::event::{Activity, ActorKind, Draft};

/// Types of an agent that only people have.
const HUMAN: [&str; 6] = ["humanuser", "UserSamlAgent", "UserOauthAgent", "IRCP", "AUT", "INF"];
/// Types and roles of machines and organisations.
const MACHINE: [&str; 14] = [
    "110150",
    "110151",
    "110152",
    "110153",
    "110154",
    "110155",
    "custodian",
    "authserver",
    "AuthzOauthService",
    "PROV",
    "homeCommunityId",
    "dataprocessor",
    "dataenterer",
    "application",
];
/// Roles of people who act for somebody else: the Swiss assistant and representative.
const ASSISTANT: [&str; 2] = ["ASS", "REP"];
/// Roles of those in whose name they act.
const PRINCIPAL: [&str; 2] = ["HCP", "PAT"];

/// Fills in the actor and the client.
pub fn fill<'a>(event: &'a Value, draft: &mut Draft<'a>) {
    let agents: Vec<&Value> = each(&event["agent"]).collect();
    let actor = actor(event, &agents);
    if let Some(agent) = actor {
        draft.actor_id = id(event, agent).map(Cow::Borrowed);
        draft.actor_name = text(&agent["name"]).or_else(|| text(&agent["who"]["display"])).map(Cow::Borrowed);
        draft.actor_role = role(agent).map(Cow::Borrowed);
        draft.actor_on_behalf_of = principal(event, agent, &agents).map(Cow::Borrowed);
    }
    draft.actor_kind = Some(actor.map_or(ActorKind::Unknown, |agent| kind(event, agent)));
    let application = agents.iter().find(|agent| has_code(&agent["type"], "110150"));
    draft.client_app = application.and_then(|agent| text(&agent["who"]["identifier"]["value"])).map(Cow::Borrowed);
    client(&agents, actor, draft);
}

fn types(agent: &Value) -> impl Iterator<Item = Coding<'_>> {
    codings(&agent["type"])
}

fn is_human(agent: &Value) -> bool {
    types(agent).any(|coding| coding.code.is_some_and(|code| HUMAN.contains(&code)))
}

fn is_machine(event: &Value, agent: &Value) -> bool {
    matches!(target(event, &agent["who"]), Some("Device" | "Organization"))
        || types(agent).any(|coding| coding.code.is_some_and(|code| MACHINE.contains(&code)))
}

fn is_requestor(agent: &Value) -> bool {
    agent["requestor"] == Value::Bool(true)
}

fn actor<'a>(event: &'a Value, agents: &[&'a Value]) -> Option<&'a Value> {
    let steps: [&dyn Fn(&Value) -> bool; 5] = [
        &|agent| is_human(agent) && id(event, agent).is_some(),
        &|agent| is_requestor(agent) && !is_machine(event, agent),
        &|agent| each(&agent["role"]).next().is_some() && !is_machine(event, agent),
        &is_human,
        &is_requestor,
    ];
    steps.iter().find_map(|step| {
        let fits = || agents.iter().filter(|agent| step(agent));
        fits().find(|agent| is_requestor(agent)).or_else(|| fits().next()).copied()
    })
}

/// The account of an agent: its identifier or that of the resource inside the event, then the second log-in id of a person, then the id
/// of the reference.
fn id<'a>(event: &'a Value, agent: &'a Value) -> Option<&'a str> {
    let who = &agent["who"];
    let link = text(&who["reference"]);
    let within = || contained(event, link?.strip_prefix('#')?).and_then(first_identifier);
    let alternative = || text(&agent["altId"]).or_else(|| alternative_id(agent)).filter(|_| !is_machine(event, agent));
    let identifier = text(&who["identifier"]["value"]).and_then(cx_id);
    identifier.or_else(within).or_else(alternative).or_else(|| link.and_then(reference_id))
}

/// The place of `altId` in R5.
fn alternative_id(agent: &Value) -> Option<&str> {
    let extension = each(&agent["extension"])
        .find(|e| text(&e["url"]).is_some_and(|url| url.ends_with("auditevent-AlternativeUserID")))?;
    text(&extension["valueIdentifier"]["value"])
}

fn role(agent: &Value) -> Option<&str> {
    let stated = each(&agent["role"]).find_map(|role| text(&role["text"]));
    stated.or_else(|| codings(&agent["role"]).find_map(|coding| coding.display.or(coding.code)))
}

fn has_role(agent: &Value, roles: &[&str]) -> bool {
    codings(&agent["role"]).any(|coding| coding.code.is_some_and(|code| roles.contains(&code)))
}

/// In whose name an assistant or representative acts.
fn principal<'a>(event: &'a Value, actor: &Value, agents: &[&'a Value]) -> Option<&'a str> {
    if !has_role(actor, &ASSISTANT) {
        return None;
    }
    agents.iter().find(|agent| has_role(agent, &PRINCIPAL)).and_then(|agent| id(event, agent))
}

fn kind(event: &Value, agent: &Value) -> ActorKind {
    let who = target(event, &agent["who"]);
    match who {
        Some("Patient" | "RelatedPerson") => ActorKind::Patient,
        Some("Device") => ActorKind::Device,
        _ if has_role(agent, &["PAT"]) => ActorKind::Patient,
        _ if is_human(agent) || matches!(who, Some("Practitioner" | "PractitionerRole" | "Person")) => ActorKind::Human,
        _ => ActorKind::Unknown,
    }
}

/// An address, by what it is.
enum Address<'a> {
    Ip(&'a str),
    Host(&'a str),
}

/// The address of an agent, unless it is a service endpoint, a telephone or a mailbox.
fn address(agent: &Value) -> Option<Address<'_>> {
    let named = |text| if is_ip(text) { Address::Ip(text) } else { Address::Host(text) };
    if let Some(text) = text(&agent["networkString"]) {
        return Some(named(text));
    }
    if let Some(uri) = text(&agent["networkUri"]) {
        let ip = uri.strip_prefix("urn:ipv6:").or_else(|| uri.strip_prefix("urn:ipv4:"))?;
        return is_ip(ip).then_some(Address::Ip(ip));
    }
    let address = text(&agent["network"]["address"])?;
    match text(&agent["network"]["type"]) {
        Some("2") => Some(Address::Ip(address)),
        Some("1") => Some(named(address)),
        None if !address.contains([':', '@', '/']) || is_ip(address) => Some(named(address)),
        _ => None,
    }
}

fn is_ip(text: &str) -> bool {
    text.split('%').next().is_some_and(|bare| bare.parse::<IpAddr>().is_ok())
}

/// How far an agent is from the user: the smaller the nearer.
fn distance(agent: &Value, actor: Option<&Value>, activity: Activity) -> u8 {
    let (client, server) = match activity {
        Activity::Read => ("110152", "110153"),
        _ => ("110153", "110152"),
    };
    match agent {
        _ if actor.is_some_and(|actor| std::ptr::eq(actor, agent)) => 0,
        _ if has_code(&agent["type"], client) => 1,
        _ if has_code(&agent["type"], "110150") => 2,
        _ if has_code(&agent["type"], server) || has_code(&agent["type"], "custodian") => 4,
        _ => 3,
    }
}

/// The nearest address and the nearest host name on the user's side.
fn client<'a>(agents: &[&'a Value], actor: Option<&'a Value>, draft: &mut Draft<'a>) {
    let mut near: Vec<(u8, Address<'a>)> = agents
        .iter()
        .filter_map(|agent| address(agent).map(|address| (distance(agent, actor, draft.activity), address)))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    // The far side counts only where nothing else is known: otherwise the server's name would pass for a workstation.
    if near.first().is_some_and(|(distance, _)| *distance < 4) {
        near.retain(|(distance, _)| *distance < 4);
    }
    for (_, address) in near {
        match address {
            Address::Ip(ip) if draft.client_ip.is_none() => draft.client_ip = Some(Cow::Borrowed(ip)),
            Address::Host(host) if draft.client_host.is_none() => draft.client_host = Some(Cow::Borrowed(host)),
            _ => {}
        }
    }
}
