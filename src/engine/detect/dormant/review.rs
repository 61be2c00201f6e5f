//! The weekly list: accounts that may log in and were not used for longer than the policy allows.

use serde_json::{Value, json};

use super::{Dormant, REVIEW, constants_start};
use crate::engine::detect::{Detected, Finding, Settling, Stage, Verdict, facts};
use crate::engine::stats::evidence::Events;
use crate::event::{Subject, SubjectKind, Time};

impl Dormant {
    /// The weekly list: accounts that may log in, were watched for longer than the policy, and were not used.
    pub(super) fn review(&self, day: &Settling<'_>) -> Option<Finding> {
        let constants = day.constants;
        let at = constants_start(day);
        let watched_since = constants.first_settled?;
        let mut accounts: Vec<Value> = Vec::new();
        let mut list = |kind: SubjectKind, id: &str, since: Option<Time>| {
            let last = constants.subjects.find(kind, id).and_then(|ix| self.uses.get(ix)?.newest().last);
            let made = since.map(|time| constants.roster.zone(None).local(time).date);
            let from = last.or(made).unwrap_or(watched_since).max(watched_since);
            let days = constants.day.0 - from.0;
            if days >= constants.settings.dormant_after_days {
                let last = last.map(|day| day.to_string());
                accounts.push(json!({"account": id, "kind": kind.as_str(), "last_use": last, "days": days}));
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
        let verdict = Verdict { ratio: 0.0, passes: true, held: true };
        (!accounts.is_empty()).then(|| Finding {
            detection: Detected::Detector(&REVIEW),
            subject: Subject { kind: SubjectKind::System, id: "accounts".to_owned() },
            day: constants.day,
            window: (at, constants.roster.zone(None).day_start(constants.day.plus(1))),
            raised_at: constants.roster.zone(None).day_start(constants.day.plus(1)),
            stage: Stage::Settled(verdict),
            p: None,
            reason: format!(
                "{} accounts that may log in were not used for {} days or more by {}.",
                accounts.len(),
                constants.settings.dormant_after_days,
                constants.day
            ),
            facts: facts([
                ("accounts", json!(accounts)),
                ("policy_days", json!(constants.settings.dormant_after_days)),
            ]),
            evidence: Events::default().evidence(),
            patients: 0,
            aside: None,
        })
    }
}
