//! What people look up and decide: the latest revision of every alert, verdicts on them, and mutes.
//!
//! A verdict or a mute is only kept here; what follows from it is decided in the engine and at the channels.

use rusqlite::types::Value;
use rusqlite::{Connection, Row as Found, params, params_from_iter};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::event::kind::words;
use crate::event::time::DAY;
use crate::event::{Alert, Class, Day, Disposition, Raised, Severity, State, Subject, Time};

words! {
    /// What a person found out about an alert.
    Ruling {
        /// It was misuse.
        Confirmed = "confirmed",
        /// It happened, and there was a reason.
        Justified = "justified",
        FalseAlarm = "false-alarm",
    }
}

/// A person's word on an alert; the newest holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its number, given by the store.
    pub seq: i64,
    /// The alert.
    pub alert_id: String,
    /// What was found.
    pub ruling: Ruling,
    /// Why, in the person's words.
    pub reason: String,
    /// Who says so.
    pub who: String,
    /// When.
    pub at: Time,
}

/// A silence at the channels that interrupt people; what is recorded stays recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Its number, given by the store.
    pub seq: i64,
    /// Detections it covers: a pattern in which `*` is any text and `?` any character.
    pub detection: String,
    /// Whom it covers; everybody where absent.
    pub subject: Option<Subject>,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub who: String,
    /// From when.
    pub at: Time,
    /// Until when; not included.
    pub until: Time,
}

/// Which alerts to list; an absent part is no condition.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of at least this severity.
    pub min_severity: Option<Severity>,
    /// Of this detection or family: a pattern with `*` and `?`.
    pub detection: Option<String>,
    /// Of this class.
    pub class: Option<Class>,
    /// With this disposition.
    pub disposition: Option<Disposition>,
    /// Standing so.
    pub state: Option<State>,
    /// On this subject.
    pub subject: Option<Subject>,
    /// Of this local day or later.
    pub since: Option<Day>,
    /// Before this local day.
    pub until: Option<Day>,
    /// True: only those with a verdict; false: only those without.
    pub ruled: Option<bool>,
    /// At most so many; 0 is all.
    pub limit: usize,
}

/// An alert as it stands.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its latest revision.
    pub alert: Alert,
    /// The subject's local day.
    pub day: Day,
    /// Event time of that revision.
    pub at: Time,
    /// The newest ruling, where there is one.
    pub ruling: Option<Ruling>,
}

/// How many alerts are news.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Alerts that were notified, by severity from informational to critical.
    pub told: [u64; 5],
    /// Alerts that were held: over the budget.
    pub held: u64,
}

/// A day is settled at the latest so long after its first event: 24 hours, and the largest `settle`.
const SETTLED_WITHIN: i64 = 3 * DAY;

/// The sealed part of a verdict or a mute.
#[derive(Serialize, Deserialize)]
pub(super) struct Words {
    pub reason: String,
    pub who: String,
    pub subject: Option<Subject>,
}

const COLUMNS: &str = "a.alert_id, a.revision, a.sealed, a.day, a.at,
    (SELECT v.ruling FROM verdicts v WHERE v.alert_id = a.alert_id ORDER BY v.seq DESC LIMIT 1)";

impl Store {
    /// The alerts that pass `filter`, the newest day first, the highest score first within it.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Listed>, StoreError> {
        let mut conditions = vec!["1".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        let mut demand = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                conditions.push(condition.to_owned());
                values.push(value);
            }
        };
        let text = |word: &str| Value::from(word.to_owned());
        demand("a.severity >= ?", filter.min_severity.map(|s| Value::from(s as i64)));
        // In SQLite's patterns a bracket opens a set; a detection's slug has none, so a bracket can only match itself.
        let family = "substr(a.detection, 1, instr(a.detection, '.') - 1)";
        let named = &format!("(SELECT a.detection GLOB p OR {family} GLOB p FROM (SELECT ? AS p))");
        demand(named, filter.detection.as_deref().map(|p| p.replace('[', "[[]").into()));
        demand("a.class = ?", filter.class.map(|c| text(c.as_str())));
        demand("a.disposition = ?", filter.disposition.map(|d| text(d.as_str())));
        demand("a.state = ?", filter.state.map(|s| text(s.as_str())));
        demand("a.subject_hash = ?", filter.subject.as_ref().map(|s| self.subject_hash(s).into()));
        demand("a.day >= ?", filter.since.map(|d| Value::from(i64::from(d.0))));
        demand("a.day < ?", filter.until.map(|d| Value::from(i64::from(d.0))));
        let ruled = "EXISTS (SELECT 1 FROM verdicts v WHERE v.alert_id = a.alert_id) = ?";
        demand(ruled, filter.ruled.map(|r| Value::from(i64::from(r))));
        let limit = if filter.limit == 0 { -1 } else { filter.limit as i64 };
        let sql = format!(
            "SELECT {COLUMNS} FROM alerts a WHERE {} ORDER BY a.day DESC, a.score DESC, a.alert_id LIMIT {limit}",
            conditions.join(" AND ")
        );
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(params_from_iter(values))?;
        let mut alerts = Vec::new();
        while let Some(row) = found.next()? {
            alerts.push(self.listed(row)?);
        }
        Ok(alerts)
    }

    /// How many alerts are news since `since`: first seen then or later by the clock of this machine, and not of older days that were only
    /// written then (the past of a new history, a store that was made again). An alert that settling alone has raised is that much older.
    ///
    /// # Errors
    /// Where the database refuses.
    pub fn news(&self, since: Time) -> Result<News, StoreError> {
        let connection = self.connection();
        let sql = "SELECT disposition, severity, COUNT(*) FROM alerts
                   WHERE first_seen >= ?1 AND (at >= ?1 OR (settled AND revision = 1 AND at >= ?2)) GROUP BY 1, 2";
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query([since.0, since.plus(-SETTLED_WITHIN).0])?;
        let mut news = News::default();
        while let Some(row) = found.next()? {
            let count = row.get::<_, i64>(2)?.unsigned_abs();
            match Disposition::parse(&row.get::<_, String>(0)?) {
                Some(Disposition::Notified) => {
                    let slot = news.told.get_mut(row.get::<_, u32>(1)? as usize);
                    *slot.ok_or(StoreError::Unreadable("alerts"))? = count;
                }
                Some(Disposition::Held) => news.held += count,
                _ => {}
            }
        }
        Ok(news)
    }

    /// One alert with all verdicts on it, oldest first; `None` where no alert has that id.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn show(&self, alert_id: &str) -> Result<Option<(Listed, Vec<Verdict>)>, StoreError> {
        let connection = self.connection();
        let Some(listed) = self.latest(&connection, alert_id)? else {
            return Ok(None);
        };
        let verdicts = self.verdicts(&connection, "alert_id = ?1", alert_id.to_owned().into(), usize::MAX)?;
        Ok(Some((listed, verdicts)))
    }

    /// Keeps a verdict; returns its number. The `seq` of the argument is not looked at.
    ///
    /// # Errors
    /// Where no alert has that id, or the disk refuses.
    pub fn add_verdict(&self, verdict: &Verdict) -> Result<i64, StoreError> {
        let connection = self.connection();
        if self.latest(&connection, &verdict.alert_id)?.is_none() {
            return Err(StoreError::NoSuchAlert(verdict.alert_id.clone()));
        }
        let words = Words { reason: verdict.reason.clone(), who: verdict.who.clone(), subject: None };
        let sealed = self.seal_words(&format!("verdicts/{}", verdict.alert_id), &words)?;
        let sql = "INSERT INTO verdicts (alert_id, ruling, sealed, at) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![verdict.alert_id, verdict.ruling.as_str(), sealed, verdict.at.0])?;
        Ok(connection.last_insert_rowid())
    }

    /// Verdicts that the engine has not been told of, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn new_verdicts(&self, limit: usize) -> Result<Vec<Verdict>, StoreError> {
        self.verdicts(&self.connection(), "drained = ?1", 0_i64.into(), limit)
    }

    /// Notes that the engine was told of all verdicts up to `seq` (they stand in the control log).
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn drained_verdicts(&self, seq: i64) -> Result<(), StoreError> {
        self.connection().execute("UPDATE verdicts SET drained = 1 WHERE seq <= ?1", [seq])?;
        Ok(())
    }

    /// Keeps a mute; returns its number. The `seq` of the argument is not looked at.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn add_mute(&self, mute: &Mute) -> Result<i64, StoreError> {
        let words = Words { reason: mute.reason.clone(), who: mute.who.clone(), subject: mute.subject.clone() };
        let sealed = self.seal_words("mutes", &words)?;
        let connection = self.connection();
        let sql = "INSERT INTO mutes (detection, sealed, at, until) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![mute.detection, sealed, mute.at.0, mute.until.0])?;
        Ok(connection.last_insert_rowid())
    }

    /// The mutes in force at `now`.
    ///
    /// # Errors
    /// Where a row cannot be read or opened.
    pub fn mutes(&self, now: Time) -> Result<Vec<Mute>, StoreError> {
        self.mutes_where("at <= ?1 AND until > ?1", now.0)
    }

    pub(super) fn mutes_where(&self, condition: &str, value: i64) -> Result<Vec<Mute>, StoreError> {
        let connection = self.connection();
        let sql = format!("SELECT seq, detection, sealed, at, until FROM mutes WHERE {condition} ORDER BY seq");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query([value])?;
        let mut mutes = Vec::new();
        while let Some(row) = found.next()? {
            let words = self.open_words("mutes", &row.get::<_, Vec<u8>>(2)?)?;
            mutes.push(Mute {
                seq: row.get(0)?,
                detection: row.get(1)?,
                subject: words.subject,
                reason: words.reason,
                who: words.who,
                at: Time(row.get(3)?),
                until: Time(row.get(4)?),
            });
        }
        Ok(mutes)
    }

    /// Ends a mute at `now`; false where none of that number is in force.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn lift_mute(&self, seq: i64, now: Time) -> Result<bool, StoreError> {
        let sql = "UPDATE mutes SET until = ?2 WHERE seq = ?1 AND until > ?2";
        Ok(self.connection().execute(sql, params![seq, now.0])? > 0)
    }

    /// Keeps a revision where it is newer than the one that is known.
    pub(super) fn remember(&self, connection: &Connection, raised: &Raised, now: Time) -> Result<(), StoreError> {
        let alert = &raised.alert;
        let plain = serde_json::to_vec(alert).map_err(|_| StoreError::Unreadable("an alert"))?;
        let sealed = self.seal.seal(&alert_place(&alert.alert_id, alert.revision), &plain);
        let sql = "INSERT INTO alerts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                   ON CONFLICT (alert_id) DO UPDATE SET
                     revision = excluded.revision, detection = excluded.detection, class = excluded.class,
                     severity = excluded.severity, disposition = excluded.disposition, state = excluded.state,
                     score = excluded.score, at = excluded.at, settled = excluded.settled, sealed = excluded.sealed
                   WHERE excluded.revision >= alerts.revision";
        connection.prepare_cached(sql)?.execute(params![
            alert.alert_id,
            alert.revision,
            alert.detection_id,
            alert.class.as_str(),
            alert.severity as i64,
            alert.subject.kind.as_str(),
            self.subject_hash(&alert.subject),
            alert.disposition.as_str(),
            alert.state.as_str(),
            alert.score,
            raised.day.0,
            raised.at.0,
            alert.settled,
            now.0,
            sealed,
        ])?;
        Ok(())
    }

    pub(super) fn latest(&self, connection: &Connection, alert_id: &str) -> Result<Option<Listed>, StoreError> {
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS} FROM alerts a WHERE alert_id = ?1"))?;
        let mut found = statement.query([alert_id])?;
        found.next()?.map(|row| self.listed(row)).transpose()
    }

    fn listed(&self, row: &Found<'_>) -> Result<Listed, StoreError> {
        let (alert_id, revision): (String, u32) = (row.get(0)?, row.get(1)?);
        let plain = self.seal.open(&alert_place(&alert_id, revision), &row.get::<_, Vec<u8>>(2)?)?;
        let ruling: Option<String> = row.get(5)?;
        Ok(Listed {
            alert: serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable("alerts"))?,
            day: Day(row.get(3)?),
            at: Time(row.get(4)?),
            ruling: ruling.map(|word| Ruling::parse(&word).ok_or(StoreError::Unreadable("verdicts"))).transpose()?,
        })
    }

    pub(super) fn verdicts(
        &self,
        connection: &Connection,
        condition: &str,
        value: Value,
        limit: usize,
    ) -> Result<Vec<Verdict>, StoreError> {
        let sql =
            format!("SELECT seq, alert_id, ruling, sealed, at FROM verdicts WHERE {condition} ORDER BY seq LIMIT ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = statement.query(params![value, limit])?;
        let mut verdicts = Vec::new();
        while let Some(row) = found.next()? {
            let alert_id: String = row.get(1)?;
            let words = self.open_words(&format!("verdicts/{alert_id}"), &row.get::<_, Vec<u8>>(3)?)?;
            verdicts.push(Verdict {
                seq: row.get(0)?,
                alert_id,
                ruling: Ruling::parse(&row.get::<_, String>(2)?).ok_or(StoreError::Unreadable("verdicts"))?,
                reason: words.reason,
                who: words.who,
                at: Time(row.get(4)?),
            });
        }
        Ok(verdicts)
    }

    fn subject_hash(&self, subject: &Subject) -> Vec<u8> {
        self.seal.hash("subject", &format!("{}/{}", subject.kind.as_str(), subject.id)).to_vec()
    }

    pub(super) fn seal_words(&self, place: &str, words: &Words) -> Result<Vec<u8>, StoreError> {
        let plain = serde_json::to_vec(words).map_err(|_| StoreError::Unreadable("words"))?;
        Ok(self.seal.seal(place, &plain))
    }

    fn open_words(&self, place: &str, sealed: &[u8]) -> Result<Words, StoreError> {
        let plain = self.seal.open(place, sealed)?;
        serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable("words"))
    }
}

/// Where an alert stands, for its sealing.
fn alert_place(alert_id: &str, revision: u32) -> String {
    format!("alerts/{alert_id}/{revision}")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{raised, store};
    use super::*;
    use crate::event::time::HOUR;

    fn verdict(alert_id: &str, ruling: Ruling, at: i64) -> Verdict {
        Verdict {
            seq: 0,
            alert_id: alert_id.into(),
            ruling,
            reason: "asked her".into(),
            who: "po".into(),
            at: Time(at),
        }
    }

    #[test]
    fn the_latest_revision_stands_in_whatever_order_they_came() {
        let (store, _dir) = store();
        let (one, mut two) = (raised("u1", 1), raised("u1", 2));
        two.alert.severity = Severity::Critical;
        two.alert.settled = true;
        store.raise(&[two.clone(), one.clone()], &|_| vec![], Time(1)).unwrap();
        let (shown, verdicts) = store.show(&one.alert.alert_id).unwrap().unwrap();
        assert_eq!((shown.alert, verdicts.len()), (two.alert, 0));
        assert!(store.show("a-none").unwrap().is_none());
    }

    #[test]
    fn lists_by_filter() {
        let (store, _dir) = store();
        let low = |user: &str, day: i32, score: f64| {
            let mut one = raised(user, 1);
            one.alert.severity = Severity::Low;
            one.alert.detection_id = "after-hours.habit".into();
            one.alert.disposition = Disposition::Held;
            one.alert.score = score;
            one.day = Day(day);
            one
        };
        let mut hard = raised("u4", 1);
        hard.alert.class = Class::Hard;
        hard.alert.state = State::Explained;
        hard.alert.score = 79.0;
        let batch = [raised("u1", 1), low("u2", 20_001, 10.0), low("u3", 20_001, 20.0), hard];
        store.raise(&batch, &|_| vec![], Time(1)).unwrap();
        store.add_verdict(&verdict(&batch[0].alert.alert_id, Ruling::FalseAlarm, 1)).unwrap();
        let all = Filter::default;
        let cases: Vec<(Filter, &[&str])> = vec![
            (all(), &["u3", "u2", "u1", "u4"]),
            (Filter { limit: 2, ..all() }, &["u3", "u2"]),
            (Filter { min_severity: Some(Severity::Medium), ..all() }, &["u1", "u4"]),
            (Filter { detection: Some("mass-query.*".into()), ..all() }, &["u1", "u4"]),
            (Filter { detection: Some("after-hours.habi?".into()), ..all() }, &["u3", "u2"]),
            (Filter { detection: Some("after-hours".into()), ..all() }, &["u3", "u2"]),
            (Filter { detection: Some("after".into()), ..all() }, &[]),
            (Filter { detection: Some("[am]*".into()), ..all() }, &[]),
            (Filter { class: Some(Class::Hard), ..all() }, &["u4"]),
            (Filter { disposition: Some(Disposition::Held), ..all() }, &["u3", "u2"]),
            (Filter { state: Some(State::Open), ..all() }, &["u3", "u2", "u1"]),
            (Filter { subject: Some(batch[1].alert.subject.clone()), ..all() }, &["u2"]),
            (Filter { since: Some(Day(20_001)), ..all() }, &["u3", "u2"]),
            (Filter { until: Some(Day(20_001)), ..all() }, &["u1", "u4"]),
            (Filter { ruled: Some(true), ..all() }, &["u1"]),
            (Filter { ruled: Some(false), state: Some(State::Open), ..all() }, &["u3", "u2"]),
        ];
        for (filter, expected) in cases {
            let found: Vec<_> = store.list(&filter).unwrap().into_iter().map(|l| l.alert.subject.id).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }

    #[test]
    fn news_are_what_was_told_of_late() {
        // A high alert with these differences, written at 30 days.
        let now = 30 * DAY;
        let check = |what: &str, change: &dyn Fn(&mut Raised), told: u64, held: u64| {
            let (store, _dir) = store();
            let mut one = raised("u1", 1);
            one.at = Time(now - HOUR);
            change(&mut one);
            store.raise(&[one.clone()], &|_| vec![], Time(now)).unwrap();
            let since = |since: i64| store.news(Time(since)).unwrap();
            assert_eq!(since(now - DAY), News { told: [0, 0, 0, told, 0], held }, "{what}");
            // The next day nothing of it is news, nor is its next revision.
            one.alert.revision += 1;
            one.at = Time(now + 20 * HOUR);
            store.raise(&[one], &|_| vec![], Time(now + 20 * HOUR)).unwrap();
            assert_eq!(since(now + 1), News::default(), "{what}, next day");
        };
        check("told", &|_| (), 1, 0);
        check("held", &|one| one.alert.disposition = Disposition::Held, 0, 1);
        check("on trial", &|one| one.alert.disposition = Disposition::Shadow, 0, 0);
        check("an exception", &|one| one.alert.disposition = Disposition::Suppressed, 0, 0);
        check("of two days ago", &|one| one.at = Time(now - 2 * DAY), 0, 0);
        let settled = |days: i64| move |one: &mut Raised| (one.alert.settled, one.at) = (true, Time(now - days * DAY));
        check("first told when its day settled", &settled(2), 1, 0);
        check("of weeks ago, first told when its day settled", &settled(14), 0, 0);
        let (store, _dir) = store();
        let mut critical = raised("u2", 1);
        critical.alert.severity = Severity::Critical;
        store.raise(&[raised("u1", 1), critical, raised("u3", 1)], &|_| vec![], Time(2)).unwrap();
        assert_eq!(store.news(Time(1)).unwrap().told, [0, 0, 0, 2, 1]);
    }

    #[test]
    fn verdicts_wait_until_they_are_drained() {
        let (store, _dir) = store();
        let one = raised("u1", 1);
        let id = one.alert.alert_id.clone();
        assert!(matches!(
            store.add_verdict(&verdict(&id, Ruling::Confirmed, 1)),
            Err(StoreError::NoSuchAlert(missing)) if missing == id
        ));
        store.raise(&[one], &|_| vec![], Time(1)).unwrap();
        let first = store.add_verdict(&verdict(&id, Ruling::Justified, 1)).unwrap();
        let second = store.add_verdict(&verdict(&id, Ruling::Confirmed, 2)).unwrap();
        let new = store.new_verdicts(10).unwrap();
        assert_eq!(new[0], Verdict { seq: first, ..verdict(&id, Ruling::Justified, 1) });
        store.drained_verdicts(first).unwrap();
        assert_eq!(store.new_verdicts(10).unwrap().iter().map(|v| v.seq).collect::<Vec<_>>(), [second]);
        let (listed, all) = store.show(&id).unwrap().unwrap();
        assert_eq!((listed.ruling, all.len()), (Some(Ruling::Confirmed), 2));
    }

    #[test]
    fn mutes_hold_for_their_time() {
        let (store, _dir) = store();
        let mute = Mute {
            seq: 0,
            detection: "mass-query.*".into(),
            subject: Some(raised("u1", 1).alert.subject),
            reason: "audit week".into(),
            who: "po".into(),
            at: Time(10),
            until: Time(20),
        };
        let seq = store.add_mute(&mute).unwrap();
        let in_force = |now| store.mutes(Time(now)).unwrap();
        assert_eq!((in_force(9).len(), in_force(19).len(), in_force(20).len()), (0, 1, 0));
        assert_eq!(in_force(10), [Mute { seq, ..mute }]);
        assert!(store.lift_mute(seq, Time(15)).unwrap());
        assert!(!store.lift_mute(seq, Time(16)).unwrap());
        assert_eq!(in_force(15), []);
    }
}
