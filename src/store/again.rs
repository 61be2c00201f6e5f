//! What a store that was lost is made again from, besides receipts: mutes and verdicts by their numbers, and which alerts it lacks.

use std::collections::BTreeMap;

use rusqlite::params;

use super::triage::Words;
use super::{Mute, Store, StoreError, Verdict};

impl Store {
    /// The newest revision of every alert, by its id.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn revisions(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT alert_id, revision FROM alerts")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Mutes with a number above `seq`, in their order.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn mutes_since(&self, seq: i64) -> Result<Vec<Mute>, StoreError> {
        self.mutes_where("seq > ?1", seq)
    }

    /// Verdicts with a number above `seq` that the engine was told of, in their order; none beyond the first that it was not told of.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn verdicts_since(&self, seq: i64) -> Result<Vec<Verdict>, StoreError> {
        let told =
            "seq > ?1 AND seq < (SELECT COALESCE(MIN(seq), 9223372036854775807) FROM verdicts WHERE drained = 0)";
        self.verdicts(&self.connection(), told, seq.into(), usize::MAX)
    }

    /// Keeps mutes under the numbers that they had; those that are there stay as they are.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn restore_mutes(&self, mutes: &[Mute]) -> Result<(), StoreError> {
        for mute in mutes {
            let words = Words { reason: mute.reason.clone(), who: mute.who.clone(), subject: mute.subject.clone() };
            let sealed = self.seal_words("mutes", &words)?;
            let sql = "INSERT INTO mutes (seq, detection, sealed, at, until) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO NOTHING";
            self.connection().execute(sql, params![mute.seq, mute.detection, sealed, mute.at.0, mute.until.0])?;
        }
        Ok(())
    }

    /// Keeps verdicts under the numbers that they had, as told to the engine; those that are there, and those on alerts that are not
    /// known, are left out.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn restore_verdicts(&self, verdicts: &[Verdict]) -> Result<(), StoreError> {
        for verdict in verdicts {
            let words = Words { reason: verdict.reason.clone(), who: verdict.who.clone(), subject: None };
            let sealed = self.seal_words(&format!("verdicts/{}", verdict.alert_id), &words)?;
            let sql = "INSERT INTO verdicts (seq, alert_id, ruling, sealed, at, drained)
                       SELECT ?1, ?2, ?3, ?4, ?5, 1 WHERE EXISTS (SELECT 1 FROM alerts WHERE alert_id = ?2)
                       ON CONFLICT DO NOTHING";
            let values = params![verdict.seq, verdict.alert_id, verdict.ruling.as_str(), sealed, verdict.at.0];
            self.connection().execute(sql, values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{raised, store};
    use super::super::{Ruling, Store};
    use super::*;
    use crate::event::Time;

    fn verdict(store: &Store, id: &str, at: i64) -> Verdict {
        let (reason, who) = ("asked her".to_owned(), "po".to_owned());
        let verdict = Verdict { seq: 0, alert_id: id.to_owned(), ruling: Ruling::Justified, reason, who, at: Time(at) };
        Verdict { seq: store.add_verdict(&verdict).unwrap(), ..verdict }
    }

    #[test]
    fn words_come_back_under_their_numbers() {
        let (store, _dir) = store();
        let batch = [raised("u1", 1), raised("u2", 3)];
        store.raise(&batch, &|_| vec![], Time(1)).unwrap();
        let id = batch[0].alert.alert_id.as_str();
        let verdicts = [verdict(&store, id, 1), verdict(&store, id, 2), verdict(&store, id, 3)];
        store.drained_verdicts(verdicts[1].seq).unwrap();
        assert_eq!(store.verdicts_since(0).unwrap(), verdicts[..2], "what the engine was not told of waits");
        let mute = Mute {
            seq: 0,
            detection: "*".into(),
            subject: None,
            reason: "audit week".into(),
            who: "po".into(),
            at: Time(1),
            until: Time(9),
        };
        store.add_mute(&mute).unwrap();
        let mutes = store.mutes_since(0).unwrap();
        let (fresh, _dir) = super::super::fixture::store();
        fresh.raise(&batch[..1], &|_| vec![], Time(1)).unwrap();
        for _ in 0..2 {
            fresh.restore_mutes(&mutes).unwrap();
            fresh.restore_verdicts(&verdicts[..2]).unwrap();
        }
        assert_eq!(fresh.mutes(Time(5)).unwrap(), mutes);
        assert_eq!(fresh.verdicts_since(0).unwrap(), verdicts[..2]);
        assert!(fresh.new_verdicts(9).unwrap().is_empty());
        assert_eq!(store.revisions().unwrap(), batch.map(|one| (one.alert.alert_id, one.alert.revision)).into());
    }
}
