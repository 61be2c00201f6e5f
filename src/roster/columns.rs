//! The nine roster files and their columns (INTERFACES, section 3).
//!
//! Everything that differs between the files and is not a rule of its own stands in this list: names, what is required, and how a
//! dump without dates is compared with the one before it.

/// How the rows of a file are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The first columns (that many) name a thing that has one row at a time.
    Keyed(usize),
    /// The first column names a thing that has one row and no dates.
    Single,
    /// Every row stands for itself.
    Listed,
}

/// One roster file.
#[derive(Debug)]
pub struct FileSpec {
    /// Name without its ending.
    pub name: &'static str,
    /// Columns that mean something to us, in canonical order; the dates of validity come last.
    pub known: &'static [&'static str],
    /// How many of the first columns a header must have.
    pub required: usize,
    /// How rows are told apart.
    pub shape: Shape,
    /// Columns that say by themselves when the row begins; the first that is filled counts.
    pub own_start: &'static [&'static str],
    /// The column that says by itself when the row ends.
    pub own_end: Option<&'static str>,
    /// Known columns from which no fact follows: rules can ask for them like for those that a site adds.
    pub bare: &'static [&'static str],
}

/// Written by us beside `valid_from` where that is not a known date but the moment at which an undated row was first seen.
pub const ACCEPTED_AT: &str = "accepted_at";

macro_rules! columns {
    ($($name:literal),* $(,)?) => { &[$($name,)* "valid_from", "valid_to", "accepted_at"] };
}

/// All files, in the order in which they are read: zones first.
pub static ALL: [FileSpec; 9] = [
    FileSpec {
        name: "sites",
        known: columns!["site", "timezone", "holidays"],
        required: 1,
        shape: Shape::Single,
        own_start: &[],
        own_end: None,
        bare: &[],
    },
    FileSpec {
        name: "users",
        known: columns![
            "user_id",
            "name",
            "role",
            "department",
            "site",
            "status",
            "kind",
            "manager_id",
            "email",
            "account_created_at",
            "hired_at",
            "terminated_at",
            "employment",
            "patient_id",
            "address_key",
            "person_id",
        ],
        required: 1,
        shape: Shape::Keyed(1),
        own_start: &["account_created_at", "hired_at"],
        own_end: None,
        bare: &[],
    },
    FileSpec {
        name: "vendors",
        known: columns![
            "vendor_id",
            "name",
            "status",
            "baa_signed_at",
            "baa_expires_at",
            "timezone",
            "contact_email",
            "parent_vendor_id",
        ],
        required: 1,
        shape: Shape::Keyed(1),
        own_start: &[],
        own_end: None,
        bare: &[],
    },
    FileSpec {
        name: "vendor_accounts",
        known: columns![
            "account_id",
            "vendor_id",
            "person",
            "status",
            "account_created_at",
            "terminated_at",
            "access_window",
        ],
        required: 2,
        shape: Shape::Keyed(1),
        own_start: &["account_created_at"],
        own_end: None,
        bare: &[],
    },
    FileSpec {
        name: "patients",
        known: columns![
            "patient_id",
            "surname",
            "address_key",
            "vip",
            "restricted",
            "deceased_at",
            "contacts",
            "merged_into",
        ],
        required: 1,
        shape: Shape::Keyed(1),
        own_start: &[],
        own_end: None,
        bare: &[],
    },
    FileSpec {
        name: "relations",
        known: columns!["patient_id", "kind", "user_id", "department", "start", "end"],
        required: 2,
        shape: Shape::Listed,
        own_start: &["start"],
        own_end: Some("end"),
        bare: &[],
    },
    FileSpec {
        name: "shifts",
        known: columns!["user_id", "start", "end"],
        required: 3,
        shape: Shape::Listed,
        own_start: &["start"],
        own_end: Some("end"),
        bare: &[],
    },
    FileSpec {
        name: "approvals",
        known: columns!["approval_ref", "vendor_id", "start", "end", "target_host", "approved_by"],
        required: 1,
        shape: Shape::Listed,
        own_start: &["start"],
        own_end: Some("end"),
        bare: &["approved_by"],
    },
    FileSpec {
        name: "entitlements",
        known: columns!["user_id", "entitlement", "privileged", "granted_at", "granted_by", "expires_at"],
        required: 2,
        shape: Shape::Keyed(2),
        own_start: &["granted_at"],
        own_end: Some("expires_at"),
        bare: &["granted_by"],
    },
];

impl FileSpec {
    /// The file of that name, without its ending.
    pub fn get(name: &str) -> Option<&'static FileSpec> {
        ALL.iter().find(|spec| spec.name == name)
    }

    /// Place of a known column.
    ///
    /// # Panics
    /// Where the list above has no such column: that is a bug.
    pub fn slot(&self, column: &str) -> usize {
        self.known.iter().position(|known| *known == column).expect("a column of the list")
    }
}
