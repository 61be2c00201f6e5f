//! Requests behind events: records of one source that share a correlation id report one request (INTERFACES, section 1).
//!
//! A client and its server both log what was one act. Every row is kept and may be listed as evidence; what is counted for a threshold,
//! a severity or a sentence is requests.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::distinct::Distinct;
use crate::event::Event;

/// The requests of one subject's day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Requests {
    /// Those without a correlation id.
    single: u32,
    /// Hashes of correlation ids and their sources.
    shared: Option<Box<Distinct>>,
}

impl Requests {
    /// Adds an event, and says by which hash it shares its request, where it may.
    pub fn add(&mut self, event: &Event<'_>) -> Option<u64> {
        let request =
            event.correlation_id().map(|id| xxh3_64_with_seed(id.as_bytes(), xxh3_64(event.source().as_bytes())));
        match request {
            Some(hash) => self.shared.get_or_insert_default().insert_hash(hash),
            None => self.single = self.single.saturating_add(1),
        }
        request
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        u64::from(self.single) + self.shared.as_ref().map_or(0, |shared| shared.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Draft, EventBuilder, Origin, Time};

    #[test]
    fn a_request_counts_once() {
        let check = |records: &[(&'static str, Option<&'static str>)], expected: u64| {
            let mut builder = EventBuilder::default();
            for (place, (source, correlation)) in (0..).zip(records) {
                let mut draft = Draft::new(format!("e{place}"), Time(place), *source, Activity::Read);
                draft.correlation_id = correlation.map(Into::into);
                builder.push(&draft, place, 0);
            }
            let batch = builder.finish(&Origin::file("x"));
            let mut requests = Requests::default();
            for event in batch.rows() {
                requests.add(&event);
            }
            assert_eq!(requests.count(), expected, "{records:?}");
        };
        check(&[], 0);
        check(&[("ehr", None), ("ehr", None)], 2);
        check(&[("ehr", Some("r1")), ("ehr", Some("r1")), ("ehr", None)], 2);
        check(&[("ehr", Some("r1")), ("ehr", Some("r2"))], 2);
        check(&[("ehr", Some("r1")), ("lab", Some("r1"))], 2);
    }
}
