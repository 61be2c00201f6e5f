//! Columns of the roster files that are not ours, as of a time: kept for whoever names them in a rule.

use super::lookup::{Patient, Roster, User, Vendor, VendorAccount};
use super::rows::ApprovalRow;
use super::ties::{Actor, Chart};
use crate::event::time::Time;

impl Roster {
    /// Columns of a file (its name without the ending) that rules can name: those that are not ours, and those of ours from which no
    /// fact follows.
    pub fn extra_columns(&self, file: &str) -> &[String] {
        self.extras.get(file).map_or(&[], |extras| &extras.names)
    }

    fn extra(&self, file: &str, ordinal: u32, column: &str) -> Option<&str> {
        let extras = self.extras.get(file)?;
        let index = extras.names.iter().position(|name| name == column)?;
        self.text(extras.cells[ordinal as usize * extras.names.len() + index])
    }

    /// A column of the row of a site.
    pub fn site_extra(&self, site: &str, column: &str) -> Option<&str> {
        self.extra("sites", self.sites[self.place(Some(site))].ordinal?, column)
    }

    /// A column of the rows of an approval, as far as they are equally kind: see [`Roster::approval`].
    pub fn approval_extras<'a>(
        &'a self,
        approval: &str,
        (vendor, host): (Option<&str>, Option<&str>),
        at: Time,
        column: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let rows: Vec<(u8, &ApprovalRow)> =
            self.approval_rows(approval, vendor, host, at).map(|(rank, _, row)| (rank, row)).collect();
        let kindest = rows.iter().map(|(rank, _)| *rank).min();
        let rows = rows.into_iter().filter(move |(rank, _)| Some(*rank) == kindest);
        rows.filter_map(move |(_, row)| self.extra("approvals", row.ordinal, column))
    }

    /// A column of the entitlements that an account has at the time.
    pub fn entitlement_extras<'a>(&'a self, account: &str, at: Time, column: &'a str) -> impl Iterator<Item = &'a str> {
        let rows = self.user_ids.find(account).map_or(&[][..], |key| self.entitlements.of(key));
        let held = rows.iter().filter(move |row| row.from <= at && at < row.to);
        held.filter_map(move |row| self.extra("entitlements", row.ordinal, column))
    }

    /// A column of the shifts of a user that the time lies in.
    pub fn shift_extras<'a>(&'a self, user: &str, at: Time, column: &'a str) -> impl Iterator<Item = &'a str> {
        let shifts = self.user_ids.find(user).map_or(&[][..], |key| self.shift_cells.of(key));
        let now = shifts.iter().filter(move |(start, end, _)| *start <= at && at < *end);
        now.filter_map(move |(_, _, ordinal)| self.extra("shifts", *ordinal, column))
    }

    /// A column of the relations near the time that tie the actor, or its department, to a patient.
    pub fn relation_extras<'a>(
        &'a self,
        chart: &Chart<'_>,
        actor: &Actor,
        at: Time,
        column: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let actor = *actor;
        let near = self.relation_cells.of(chart.key()).iter().filter(move |(relation, _)| {
            actor.is_tied_by(relation) && relation.near_from <= at && at < relation.near_to
        });
        near.filter_map(move |(_, ordinal)| self.extra("relations", *ordinal, column))
    }
}

impl<'a> User<'a> {
    /// A column that is not one of ours.
    pub fn extra(&self, column: &str) -> Option<&'a str> {
        self.roster.extra("users", self.row.ordinal, column)
    }
}

impl<'a> VendorAccount<'a> {
    /// A column that is not one of ours.
    pub fn extra(&self, column: &str) -> Option<&'a str> {
        self.roster.extra("vendor_accounts", self.row.ordinal, column)
    }
}

impl<'a> Vendor<'a> {
    /// A column that is not one of ours.
    pub fn extra(&self, column: &str) -> Option<&'a str> {
        self.roster.extra("vendors", self.row.ordinal, column)
    }
}

impl<'a> Patient<'a> {
    /// A column that is not one of ours.
    pub fn extra(&self, column: &str) -> Option<&'a str> {
        self.roster.extra("patients", self.row.ordinal, column)
    }
}
