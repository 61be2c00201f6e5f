//! The weekly list: accounts that may log in and were not used for longer than the policy allows.
//!
//! Days count as they do where an absence ends: neither known leave nor a silence of the log is absence.

use serde_json::{Value, json};

use super::absence::{Unused, unused};
use super::{Dormant, REVIEW};
use crate::engine::detect::{Detected, Finding, Settling, Stage, Verdict, facts};
use crate::engine::stats::evidence::Events;
use crate::event::{Subject, SubjectKind, Time};

impl Dormant {
    /// The weekly list: accounts that may log in, were watched for longer than the policy, and were not used.
    pub(super) fn review(&self, day: &Settling<'_>) -> Option<Finding> {
        let constants = day.constants;
        let (zone, tomorrow) = (constants.roster.zone(None), constants.day.plus(1));
        let (at, end) = (zone.day_start(constants.day), zone.day_start(tomorrow));
        // What lies before the first settled day was not seen: it is no absence.
        let unseen = constants.first_settled?.plus(-1);
        let everybody = self.everybody.for_day(constants.day);
        let (used, never) = (constants.settings.dormant_after_days, constants.settings.never_used_after_days);
        let mut accounts: Vec<Value> = Vec::new();
        let mut list = |kind: SubjectKind, id: &str, since: Option<Time>| {
            let last = constants.subjects.find(kind, id).and_then(|ix| self.uses.get(ix)?.newest().last);
            let made = since.map(|time| zone.local(time).date);
            let from = last.or(made).unwrap_or(unseen).max(unseen);
            let days = constants.day.0 - from.0;
            // Of an account that is older than the record only the absence is known.
            let policy = if last.is_none() && made.is_some_and(|made| made >= unseen) { never } else { used };
            if days < policy {
                return;
            }
            let subject = Subject { kind, id: id.to_owned() };
            let (mut leave_days, mut silent_days) = (0, 0);
            for (_, why) in unused(&subject, from, (tomorrow, end), &everybody, constants) {
                leave_days += i32::from(matches!(why, Unused::Leave));
                silent_days += i32::from(matches!(why, Unused::Silent));
            }
            if days - leave_days - silent_days >= policy {
                accounts.push(json!({
                    "account": id,
                    "kind": kind.as_str(),
                    "last_use": last.map(|day| day.to_string()),
                    "days": days,
                    "leave_days": leave_days,
                    "silent_days": silent_days,
                }));
            }
        };
        for id in constants.roster.user_ids() {
            if let Some(user) = constants.roster.user(id, at).filter(|u| u.ended.is_none() && !u.outside_rows) {
                list(SubjectKind::User, id, user.created.or(user.hired));
            }
        }
        for id in constants.roster.vendor_account_ids() {
            if let Some(account) =
                constants.roster.vendor_account(id, at).filter(|a| a.ended.is_none() && !a.outside_rows)
            {
                list(SubjectKind::VendorAccount, id, account.created);
            }
        }
        let verdict = Verdict { ratio: 0.0, times: 0.0, passes: true, held: true };
        (!accounts.is_empty()).then(|| Finding {
            detection: Detected::Detector(&REVIEW),
            subject: Subject { kind: SubjectKind::System, id: "accounts".to_owned() },
            day: constants.day,
            window: (at, end),
            raised_at: end,
            stage: Stage::Settled(verdict),
            p: None,
            reason: format!(
                "{} accounts that may log in were not used for {used} days or more by {}, or never in the {never} days or more \
                 since they were made; days of known leave do not count.",
                accounts.len(),
                constants.day
            ),
            facts: facts([
                ("accounts", json!(accounts)),
                ("policy_days", json!(used)),
                ("never_used_policy_days", json!(never)),
            ]),
            evidence: Events::default().evidence(),
            patients: 0,
            aside: None,
        })
    }
}
