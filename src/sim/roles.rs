//! What people do and when: roles with their share of the staff, kinds of unit, and working patterns.

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ward nurse.
    Nurse,
    /// Nurse in emergency.
    EmergencyNurse,
    /// Physician in training, ward based.
    Resident,
    /// Senior physician: clinic, rounds, on call.
    Consultant,
    /// Medical assistant in a clinic.
    Assistant,
    /// Checks orders.
    Pharmacist,
    /// Runs samples.
    LabTech,
    /// Runs scanners.
    ImagingTech,
    /// Physical and other therapy.
    Therapist,
    /// Codes finished encounters.
    Coder,
    /// Bills them.
    Biller,
    /// Answers tickets about the record system.
    Analyst,
    /// Registers patients.
    Clerk,
}

/// What a unit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitKind {
    /// Beds.
    Ward,
    /// Emergency department.
    Emergency,
    /// Home of the residents, who rotate over wards.
    Residency,
    /// Outpatients.
    Clinic,
    /// Pharmacy.
    Pharmacy,
    /// Laboratory.
    Laboratory,
    /// Imaging.
    Imaging,
    /// Therapy.
    Therapy,
    /// Coding.
    Coding,
    /// Billing.
    Billing,
    /// Information technology.
    Technology,
    /// Registration.
    Registration,
    /// Nurses who go where hands are short.
    Float,
}

/// When a person works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Three 12-hour day shifts a week.
    Days,
    /// Three 12-hour night shifts a week.
    Nights,
    /// Blocks of three weeks of days, then of nights.
    Rotating,
    /// Saturday and Sunday.
    Weekend,
    /// When called.
    PerDiem,
    /// Three shifts a week, another ward each time.
    Float,
    /// Weekdays.
    Office,
    /// Weekdays but one.
    Clinic,
    /// Weekdays with a 24-hour call every fourth day.
    Call,
    /// Weekdays with evenings, and some weekends.
    Attending,
}

impl Role {
    /// All; the last takes what rounding leaves over.
    pub const ALL: [Role; 13] = [
        Role::Nurse,
        Role::EmergencyNurse,
        Role::Resident,
        Role::Consultant,
        Role::Assistant,
        Role::Pharmacist,
        Role::LabTech,
        Role::ImagingTech,
        Role::Therapist,
        Role::Coder,
        Role::Biller,
        Role::Analyst,
        Role::Clerk,
    ];

    /// The name in the rosters.
    pub fn name(self) -> &'static str {
        match self {
            Role::Nurse => "nurse",
            Role::EmergencyNurse => "emergency nurse",
            Role::Resident => "resident",
            Role::Consultant => "consultant",
            Role::Assistant => "medical assistant",
            Role::Pharmacist => "pharmacist",
            Role::LabTech => "lab technician",
            Role::ImagingTech => "imaging technician",
            Role::Therapist => "therapist",
            Role::Coder => "coder",
            Role::Biller => "biller",
            Role::Analyst => "systems analyst",
            Role::Clerk => "registration clerk",
        }
    }

    /// Share of all human accounts.
    pub fn share(self) -> f64 {
        match self {
            Role::Nurse => 0.32,
            Role::EmergencyNurse => 0.08,
            Role::Resident | Role::Assistant => 0.09,
            Role::Consultant => 0.10,
            Role::LabTech | Role::ImagingTech => 0.05,
            Role::Pharmacist | Role::Therapist | Role::Coder => 0.04,
            Role::Biller | Role::Analyst => 0.03,
            Role::Clerk => 0.05,
        }
    }

    /// The kind of home unit and how many of this role make one.
    pub fn unit(self) -> (UnitKind, usize) {
        match self {
            Role::Nurse => (UnitKind::Ward, 15),
            Role::EmergencyNurse => (UnitKind::Emergency, 60),
            Role::Resident => (UnitKind::Residency, 60),
            Role::Consultant | Role::Assistant => (UnitKind::Clinic, 6),
            Role::Pharmacist => (UnitKind::Pharmacy, 40),
            Role::LabTech => (UnitKind::Laboratory, 40),
            Role::ImagingTech => (UnitKind::Imaging, 40),
            Role::Therapist => (UnitKind::Therapy, 40),
            Role::Coder => (UnitKind::Coding, 40),
            Role::Biller => (UnitKind::Billing, 40),
            Role::Analyst => (UnitKind::Technology, 40),
            Role::Clerk => (UnitKind::Registration, 40),
        }
    }

    /// The working pattern of somebody who drew `draw` in [0, 1).
    pub fn pattern(self, draw: f64) -> Pattern {
        let by_share = |shares: &[(f64, Pattern)], otherwise: Pattern| {
            shares.iter().find(|(up_to, _)| draw < *up_to).map_or(otherwise, |(_, pattern)| *pattern)
        };
        use Pattern::{Attending, Call, Clinic, Days, Float, Nights, Office, PerDiem, Rotating, Weekend};
        match self {
            Role::Nurse => {
                by_share(&[(0.42, Days), (0.66, Nights), (0.82, Rotating), (0.86, Weekend), (0.92, PerDiem)], Float)
            }
            Role::EmergencyNurse => by_share(&[(0.45, Days), (0.72, Nights), (0.90, Rotating)], PerDiem),
            Role::Resident => Call,
            Role::Consultant => Attending,
            Role::Assistant => Clinic,
            Role::Pharmacist | Role::LabTech | Role::ImagingTech => {
                by_share(&[(0.50, Office), (0.75, Days), (0.90, Nights)], Rotating)
            }
            Role::Clerk => by_share(&[(0.60, Office), (0.85, Days)], Nights),
            Role::Therapist | Role::Coder | Role::Biller | Role::Analyst => Office,
        }
    }
}

impl Pattern {
    /// Whether the pattern is fixed to the daytime of weekdays.
    pub fn is_office(self) -> bool {
        matches!(self, Pattern::Office | Pattern::Clinic)
    }

    /// Whether the person is on the nursing roster, the only one with shifts in the files.
    pub fn is_rostered(self) -> bool {
        use Pattern::{Days, Float, Nights, PerDiem, Rotating, Weekend};
        matches!(self, Days | Nights | Rotating | Weekend | PerDiem | Float)
    }
}

impl UnitKind {
    /// The name of such units.
    pub fn name(self) -> &'static str {
        match self {
            UnitKind::Ward => "Ward",
            UnitKind::Emergency => "Emergency",
            UnitKind::Residency => "Residency",
            UnitKind::Clinic => "Clinic",
            UnitKind::Pharmacy => "Pharmacy",
            UnitKind::Laboratory => "Laboratory",
            UnitKind::Imaging => "Imaging",
            UnitKind::Therapy => "Therapy",
            UnitKind::Coding => "Coding",
            UnitKind::Billing => "Billing",
            UnitKind::Technology => "Technology",
            UnitKind::Registration => "Registration",
            UnitKind::Float => "Float Pool",
        }
    }
}
