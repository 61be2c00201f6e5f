//! The closed vocabularies of an event: what was done, by what kind of actor, with what outcome (INTERFACES, sections 1 and 2).

/// Defines an enum whose variants are spelled as in the interfaces, with `as_str`, `parse` and the list of all.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $(#[doc = concat!("`", $text, "`")] $(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in the order of the interfaces.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The spelling used in records, tables and alerts.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The value spelled `text`, exactly.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Which of the two native records an event came from.
    Kind {
        Access = "access",
        VendorSession = "vendor_session",
    }
}

words! {
    /// What the actor did.
    Activity {
        Read = "read",
        Search = "search",
        Create = "create",
        Update = "update",
        Delete = "delete",
        Print = "print",
        Export = "export",
        Import = "import",
        Login = "login",
        LoginFailed = "login_failed",
        Logout = "logout",
        BreakGlass = "break_glass",
        PermissionChange = "permission_change",
        Admin = "admin",
        Other = "other",
        SessionStart = "session_start",
        SessionEnd = "session_end",
        Command = "command",
        FileTransfer = "file_transfer",
        CredentialCheckout = "credential_checkout",
    }
}

impl Activity {
    /// The kind of record that this activity decides; `None` for `login_failed`, which both have.
    pub fn kind(self) -> Option<Kind> {
        use Activity::*;
        match self {
            SessionStart | SessionEnd | Command | FileTransfer | CredentialCheckout => Some(Kind::VendorSession),
            LoginFailed => None,
            _ => Some(Kind::Access),
        }
    }

    /// Whether the activity touches records of patients, as log-ins and administration do not.
    pub fn touches_records(self) -> bool {
        use Activity::*;
        matches!(self, Read | Search | Create | Update | Delete | Print | Export | Import | BreakGlass)
    }
}

words! {
    /// What kind of actor an account stands for, as the source claims it.
    ActorKind {
        Human = "human",
        Service = "service",
        Device = "device",
        Patient = "patient",
        Unknown = "unknown",
    }
}

words! {
    /// How the activity ended.
    Outcome {
        Success = "success",
        Failure = "failure",
        Denied = "denied",
        Unknown = "unknown",
    }
}
