//! The events behind a finding: all counted, the first 50 by (time, source, event_id) kept, whatever the order in which they came.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Time, alert};

/// This many events are listed.
const LISTED: usize = 50;

/// The events behind a finding.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Events {
    count: u64,
    last: Option<Time>,
    listed: Vec<(Time, Arc<str>, Box<str>)>,
    sources: Vec<Arc<str>>,
}

impl Events {
    /// Adds an event.
    pub fn add(&mut self, event: &Event<'_>) {
        self.count += 1;
        let time = event.time();
        self.last = self.last.max(Some(time));
        let source = self.source(event.source());
        if self.listed.len() == LISTED {
            let (t, s, id) = &self.listed[LISTED - 1];
            if (time, event.source(), event.event_id()) >= (*t, s.as_ref(), id.as_ref()) {
                return;
            }
            self.listed.pop();
        }
        let key = (time, event.source(), event.event_id());
        let at = self.listed.partition_point(|(t, s, id)| (*t, s.as_ref(), id.as_ref()) < key);
        self.listed.insert(at, (time, source, event.event_id().into()));
    }

    fn source(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.sources.iter().find(|known| known.as_ref() == name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.sources.push(name.clone());
        name
    }

    /// All events, counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Time of the last one.
    pub fn last(&self) -> Option<Time> {
        self.last
    }

    /// Time of the first one.
    pub fn first(&self) -> Option<Time> {
        self.listed.first().map(|(time, ..)| *time)
    }

    /// As alerts show it.
    pub fn evidence(&self) -> alert::Evidence {
        let several = self.sources.len() > 1;
        let show = |(_, source, id): &(Time, Arc<str>, Box<str>)| {
            if several { format!("{source}/{id}") } else { id.to_string() }
        };
        alert::Evidence { count: self.count, event_ids: self.listed.iter().map(show).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Draft, EventBuilder, Origin};

    proptest::proptest! {
        #[test]
        fn the_first_fifty_in_any_order(mut keys in proptest::collection::vec((0_i64..40, 0_u8..3, 0_u16..500), 0..120)) {
            let mut builder = EventBuilder::default();
            for (time, source, id) in &keys {
                builder.push(&Draft::new(format!("{id:03}"), Time(*time), format!("s{source}"), Activity::Read), 0, 0);
            }
            let batch = builder.finish(&Origin::file("x"));
            let mut events = Events::default();
            batch.rows().for_each(|event| events.add(&event));
            keys.sort();
            let several = keys.iter().any(|k| k.1 != keys[0].1);
            let naive: Vec<String> = keys.iter().take(50)
                .map(|(_, s, id)| if several { format!("s{s}/{id:03}") } else { format!("{id:03}") }).collect();
            proptest::prop_assert_eq!(events.evidence().event_ids, naive);
            proptest::prop_assert_eq!(events.count(), keys.len() as u64);
        }
    }
}
