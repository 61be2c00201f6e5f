//! Rows about those who act: users, vendors and their accounts, shifts, approvals, entitlements.

use super::build::Site;
use super::build::{Builder, lower, needed, ordered, spec};
use super::cell::{self, AccessWindow, Edge};
use super::rows::*;
use super::text::{Complaint, Row};
use crate::event::facts::Status;
use crate::event::time::{Time, Zone};

impl Builder {
    pub(super) fn user(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let spec = spec("users");
        let [
            id,
            name,
            role,
            department,
            site,
            status,
            kind,
            manager,
            email,
            created,
            hired,
            terminated,
            employment,
            patient,
            address,
            person,
        ] = row.known();
        let id = needed("user_id", id)?;
        let status = user_status(status)?;
        let kind = lower(kind)
            .map_or(Ok(UserKind::Human), |k| UserKind::parse(&k).ok_or("`kind` is neither human nor service"))?;
        let employment = lower(employment);
        if employment.as_deref().is_some_and(|e| !["employee", "contractor", "student", "agency"].contains(&e)) {
            return Err("`employment` is not employee, contractor, student or agency".into());
        }
        let place = self.place(site, row.line);
        let valid = self.valid(row, spec, place)?;
        let created = self.date("account_created_at", created, Edge::Start, place)?;
        let hired = self.date("hired_at", hired, Edge::Start, place)?;
        let terminated = self.date("terminated_at", terminated, Edge::End, place)?;
        let ended = ended(status, terminated, hired, valid);
        let surname = name.map(cell::surname).filter(|surname| !surname.is_empty());
        let user = UserRow {
            key: self.user_ids.put(id),
            valid,
            created,
            hired,
            terminated,
            ended,
            name: self.text(name),
            surname: surname.map_or(NONE, |surname| self.surnames.put(&surname)),
            role: self.text(role),
            department: self.text(department),
            unit: department.map_or(NONE, |department| self.units.put(&department.to_lowercase())),
            site: self.text(site),
            place,
            manager: self.text(manager),
            email: self.text(email),
            employment: self.text(employment.as_deref()),
            patient_text: self.text(patient),
            patient: patient.map_or(NONE, |patient| self.patient_ids.put(patient)),
            address: self.text(address),
            person: self.text(person),
            ordinal: self.cells("users", row),
            status,
            kind,
            billing: is_billing(role) || is_billing(department),
            has_contacts: false,
        };
        self.users.push((row.line, user));
        Ok(())
    }

    /// Rows of a file, as it was read last, that say that an account has ended and not since when.
    pub(super) fn undated_ends(&self, name: &str) -> Vec<UndatedEnd> {
        let undated = |line: u64, key: u32, valid: Valid, status: Status, ended: Ended| {
            let is_undated = has_ended(status) && ended.is_none();
            is_undated.then_some(UndatedEnd { line, key, until: valid.to, status })
        };
        let users = self.users.iter().filter(|_| name == "users");
        let users = users.filter_map(|(line, row)| undated(*line, row.key, row.valid, row.status, row.ended));
        let accounts = self.accounts.iter().filter(|_| name == "vendor_accounts");
        let accounts = accounts.filter_map(|(line, row)| undated(*line, row.key, row.valid, row.status, row.ended));
        users.chain(accounts).collect()
    }

    pub(super) fn vendor(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [id, name, status, signed, expires, timezone, email, parent] = row.known();
        let id = needed("vendor_id", id)?;
        let status = match lower(status).as_deref() {
            None | Some("active") => Status::Active,
            Some("suspended") => Status::Suspended,
            Some("ended") => Status::Ended,
            Some(_) => return Err("`status` is not active, suspended or ended".into()),
        };
        let place = match timezone {
            Some(name) => self.vendor_place(name)?,
            None => NONE,
        };
        let valid = self.valid(row, spec("vendors"), 0)?;
        let vendor = VendorRow {
            key: self.vendor_ids.put(id),
            valid,
            name: self.text(name),
            status,
            baa_signed: self.date("baa_signed_at", signed, Edge::Start, 0)?,
            baa_expires: self.date("baa_expires_at", expires, Edge::End, 0)?,
            place,
            email: self.text(email),
            parent: self.text(parent),
            ordinal: self.cells("vendors", row),
        };
        self.vendors.push((row.line, vendor));
        Ok(())
    }

    /// A place without a name for the zone of a vendor.
    pub(super) fn vendor_place(&mut self, timezone: &str) -> Result<u32, Complaint> {
        let zone = Zone::get(timezone).ok_or("`timezone` is no IANA name")?;
        let known = self.sites.iter().position(|site| site.zone == zone);
        if known.is_none() {
            self.sites.push(Site { zone, holidays: Vec::new(), ordinal: None });
        }
        Ok(known.unwrap_or(self.sites.len() - 1) as u32)
    }

    pub(super) fn account(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [id, vendor, person, status, created, terminated, window] = row.known();
        let (id, vendor) = (needed("account_id", id)?, needed("vendor_id", vendor)?);
        let status = match lower(status).as_deref() {
            None | Some("active") => Status::Active,
            Some("disabled") => Status::Disabled,
            Some(_) => return Err("`status` is neither active nor disabled".into()),
        };
        let window = match window {
            Some(window) => {
                Some(AccessWindow::parse(window).ok_or("`access_window` is not like `Mon-Fri 08:00-18:00`")?)
            }
            None => None,
        };
        let valid = self.valid(row, spec("vendor_accounts"), 0)?;
        let created = self.date("account_created_at", created, Edge::Start, 0)?;
        let terminated = self.date("terminated_at", terminated, Edge::End, 0)?;
        let ended = ended(status, terminated, None, valid);
        // Accounts share a few windows.
        let window = window.map_or(NONE, |window| {
            let known = self.windows.iter().position(|known| *known == window);
            known.unwrap_or_else(|| {
                self.windows.push(window);
                self.windows.len() - 1
            }) as u32
        });
        let account = AccountRow {
            key: self.account_ids.put(id),
            valid,
            vendor: self.vendor_ids.put(vendor),
            person: self.text(person),
            status,
            created,
            terminated,
            ended,
            window,
            ordinal: self.cells("vendor_accounts", row),
        };
        self.accounts.push((row.line, account));
        Ok(())
    }

    pub(super) fn shift(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [user, start, end] = row.known();
        let user = needed("user_id", user)?;
        let valid = self.valid(row, spec("shifts"), 0)?;
        let start = self.date("start", start, Edge::Start, 0)?.ok_or("`start` is empty")?;
        let end = self.date("end", end, Edge::End, 0)?.ok_or("`end` is empty")?;
        ordered("start", start, "end", end)?;
        let (start, end) = (start.max(valid.from), end.min(valid.to));
        // Called off before it began: known, and of no effect.
        if start < end {
            let user = self.user_ids.put(user);
            self.shifts.push((user, (start, end)));
            if !row.layout.extras.is_empty() {
                let ordinal = self.cells("shifts", row);
                self.shift_cells.push((user, (start, end, ordinal)));
            }
        }
        Ok(())
    }

    pub(super) fn approval(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [approval, vendor, start, end, host, _] = row.known();
        let approval = needed("approval_ref", approval)?;
        let valid = self.valid(row, spec("approvals"), 0)?;
        let start = self.date("start", start, Edge::Start, 0)?.unwrap_or(Time::MIN);
        let end = self.date("end", end, Edge::End, 0)?.unwrap_or(Time::MAX);
        ordered("start", start, "end", end)?;
        let approved = ApprovalRow {
            vendor: vendor.map_or(NONE, |vendor| self.vendor_ids.put(vendor)),
            from: start.max(valid.from),
            to: end.min(valid.to),
            host: self.text(host.map(str::to_lowercase).as_deref()),
            ordinal: self.cells("approvals", row),
        };
        self.approvals.push((self.approval_refs.put(approval), approved));
        Ok(())
    }

    pub(super) fn entitlement(&mut self, row: &Row<'_>) -> Result<(), Complaint> {
        let [user, entitlement, privileged, granted, _, expires] = row.known();
        let (user, entitlement) = (needed("user_id", user)?, needed("entitlement", entitlement)?);
        let privileged = cell::truth("privileged", privileged)?.unwrap_or(false);
        let valid = self.valid(row, spec("entitlements"), 0)?;
        let granted = self.date("granted_at", granted, Edge::Start, 0)?.unwrap_or(Time::MIN);
        let expires = self.date("expires_at", expires, Edge::End, 0)?.unwrap_or(Time::MAX);
        let row_of = EntitlementRow {
            key: self.user_ids.put(user),
            entitlement: self.texts.put(entitlement),
            valid,
            from: granted.max(valid.from),
            to: expires.min(valid.to),
            privileged,
            ordinal: self.cells("entitlements", row),
        };
        self.entitlements.push((row.line, row_of));
        Ok(())
    }
}

/// A row that says that an account has ended and not since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct UndatedEnd {
    pub line: u64,
    pub key: u32,
    /// When the row stops being valid.
    pub until: Time,
    status: Status,
}

impl UndatedEnd {
    /// What is wrong with it.
    pub fn complaint(&self) -> Complaint {
        let status = self.status.as_str();
        format!("is {status} with neither `terminated_at` nor `valid_from`; no alert can rest on it")
    }
}

fn has_ended(status: Status) -> bool {
    matches!(status, Status::Terminated | Status::Disabled)
}

fn ended(status: Status, terminated: Option<Time>, hired: Option<Time>, valid: Valid) -> Ended {
    if has_ended(status) {
        let since = terminated.or(Some(valid.from).filter(|from| *from != Time::MIN));
        return since.map(|since| (status, since));
    }
    // Who was hired again keeps the old date in many feeds.
    let terminated = terminated.filter(|terminated| hired.is_none_or(|hired| hired < *terminated))?;
    Some((Status::Terminated, terminated))
}

fn user_status(cell: Option<&str>) -> Result<Status, Complaint> {
    match lower(cell).as_deref() {
        None | Some("active") => Ok(Status::Active),
        Some("leave") => Ok(Status::Leave),
        Some("disabled") => Ok(Status::Disabled),
        Some("terminated") => Ok(Status::Terminated),
        Some(_) => Err("`status` is not active, leave, disabled or terminated".into()),
    }
}

/// Whether a role or department does the work of bills, codes and claims.
pub fn is_billing(text: Option<&str>) -> bool {
    const STEMS: [&str; 8] = ["bill", "coding", "coder", "financ", "revenue", "claim", "reimburs", "charge capture"];
    let Some(text) = text else { return false };
    let text = text.to_lowercase();
    let mut starts = text.char_indices().filter(|(at, letter)| {
        letter.is_alphanumeric() && !text[..*at].ends_with(|before: char| before.is_alphanumeric())
    });
    starts.any(|(at, _)| STEMS.iter().any(|stem| text[at..].starts_with(stem)))
}
