//! DATA: everything that crosses the border of a module.
//!
//! `batch` and `draft` hold events in columns, `kind` their vocabularies, `schema` the Arrow schema, `facts` what enrichment adds,
//! `stored` rows on record read back, `time` instants, local days and zones; `alert` and `reject` are what leaves, `span` says which records were read, and `effects`
//! is all that one step of the engine asks of the world.

pub mod alert;
pub mod batch;
pub mod draft;
pub mod effects;
pub mod facts;
pub mod flags;
pub mod kind;
pub mod print;
pub mod reject;
pub mod schema;
pub mod span;
pub mod stored;
pub mod time;

pub use alert::{Alert, Class, Disposition, Raised, Severity, State, Subject, SubjectKind};
pub use batch::{Event, EventBatch};
pub use draft::{Draft, EventBuilder};
pub use effects::{Effects, Enriched, Notice, Problem, Unjudged};
pub use facts::{Facts, FactsBuilder, PatientFacts};
pub use kind::{Activity, ActorKind, Kind, Outcome};
pub use reject::{Reason, Reject};
pub use span::{Origin, Span};
pub use time::{Day, Local, Time, Zone};
