//! How many records of a topic could not be used in a row: a feed in another format than before is noticed by it. The files of one folder
//! are one feed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::event::effects::Applied;
use crate::event::{Origin, Reject};

/// Counts on, by topic. A record that can be used, also one that is a duplicate, begins anew.
pub(super) fn count(rejected: &mut BTreeMap<String, u64>, applied: &[Applied]) {
    for one in applied {
        let feed = match &one.span.origin {
            Origin::Topic { topic, .. } => topic.to_string(),
            Origin::File { name } => {
                Path::new(&**name).parent().map_or(String::new(), |folder| folder.display().to_string())
            }
        };
        let batch = &one.enriched.batch;
        let usable = batch.len().checked_sub(1).map(|last| batch.row(last).offset());
        let usable = if one.span.duplicates > 0 { Some(i64::MAX) } else { usable };
        let behind = |reject: &&Reject| usable.is_none_or(|usable| reject.offset > usable);
        let more = one.rejects.iter().filter(behind).count() as u64;
        let count = rejected.entry(feed).or_default();
        *count = if usable.is_some() { more } else { *count + more };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::fixture::{gap, read, stretch_of};

    /// The count of topic `ehr` after stretches of so many records that can be used, so many that cannot, and so many duplicates.
    fn check(stretches: &[(i32, usize, usize, u64)], expected: u64) {
        let mut counts = BTreeMap::new();
        for (partition, usable, refused, duplicates) in stretches {
            let rows: Vec<_> =
                (0..*usable).map(|n| read(&n.to_string(), "2026-11-22T12:00:00Z", "u1", &["p1"])).collect();
            let raw = vec![b"?".as_slice(); *refused];
            let mut applied = stretch_of(Origin::topic("ehr", *partition), 0, &rows, &raw);
            applied.span.duplicates = *duplicates;
            count(&mut counts, &[applied]);
        }
        assert_eq!(counts.get("ehr").copied().unwrap_or(0), expected, "{stretches:?}");
    }

    #[test]
    fn a_record_that_can_be_used_begins_anew() {
        check(&[], 0);
        check(&[(0, 0, 3, 0), (1, 0, 4, 0)], 7);
        // Rejects stand behind the rows of their stretch.
        check(&[(0, 0, 3, 0), (1, 2, 4, 0)], 4);
        check(&[(0, 0, 3, 0), (0, 1, 0, 0)], 0);
        check(&[(0, 0, 3, 0), (0, 0, 0, 1)], 0);
        check(&[(0, 0, 3, 0), (0, 0, 0, 0)], 3);
    }

    #[test]
    fn the_files_of_a_folder_are_one_feed_and_gaps_say_nothing() {
        let mut counts = BTreeMap::new();
        for name in ["in/vpn/a.jsonl", "in/vpn/b.jsonl", "in/ehr.jsonl"] {
            count(&mut counts, &[stretch_of(Origin::file(name), 1, &[], &[b"?"]), gap(0, 1, 9)]);
        }
        counts.retain(|_, count| *count > 0);
        assert_eq!(counts, BTreeMap::from([("in/vpn".to_owned(), 2), ("in".to_owned(), 1)]));
    }
}
