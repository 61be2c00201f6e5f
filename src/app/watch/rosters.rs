//! The rosters in force: taken up when the folder has changed and come to rest, or at once when somebody asks.
//!
//! They are read, compared and kept on a thread of their own, since those of a large hospital take a minute, and put in force between
//! two batches. A file that is half-written, unparsable or has shrunk by more than half is refused whole and the last good one stays
//! (see `roster::load`); that, and a folder that nobody renews, is for the operator.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tracing::{info, warn};

use super::super::monitor::Plan;
use super::super::operator::{self, Seen};
use super::super::rosters::news;
use crate::event::{Problem, Time, Zone};
use crate::history::HistoryError;
use crate::ingest::rosters::FolderWatch;
use crate::pipeline::News;
use crate::roster::{Accepted, Intake, Loaded, load};
use crate::settings::Settings;

/// Keeps the bytes of a version under its hash, where they are not kept yet.
pub(super) type Keeper = Box<dyn Fn(&str, Time, &dyn Fn() -> Vec<u8>) -> Result<(), HistoryError> + Send>;

/// What the thread brings back: the watch, and the rosters where there are others, or why they cannot be used.
type Found = (FolderWatch, Result<Option<Box<Loaded>>, String>);

/// What came of looking: what is to be put in force, and the answer to whoever asked.
#[derive(Default)]
pub(super) struct Looked {
    pub news: Option<News>,
    pub answer: Option<String>,
}

/// The rosters in force.
pub(in crate::app) struct Rosters {
    dir: Option<PathBuf>,
    watch: Option<FolderWatch>,
    /// New ones are being loaded.
    loading: Option<JoinHandle<Found>>,
    /// Somebody has asked and waits for the answer.
    asked: bool,
    accepted: Arc<Accepted>,
    /// Since when they are in force.
    pub since: Time,
    /// Which of the newest files were refused, and why.
    refused: Option<String>,
    /// Why the folder cannot be read or kept, as long as that is so.
    unreadable: Option<String>,
    /// When the newest file of the folder was written.
    written: Option<Time>,
}

impl Rosters {
    /// Those that were `loaded` from the folder of the settings, which `watch` has watched from before they were read.
    pub(in crate::app) fn new(
        mut watch: Option<FolderWatch>,
        settings: &Settings,
        loaded: &Loaded,
        now: Time,
    ) -> Rosters {
        // What was refused at the start is told of when it is looked at again.
        if loaded.counts.iter().any(|count| count.kept_previous) {
            watch.iter_mut().for_each(FolderWatch::forget);
        }
        let mut rosters = Rosters {
            dir: settings.rosters.clone(),
            watch,
            loading: None,
            asked: false,
            accepted: loaded.accepted.clone(),
            since: now,
            refused: None,
            unreadable: None,
            written: None,
        };
        rosters.look();
        rosters
    }

    /// The folder that the settings name now.
    pub(super) fn follow(&mut self, dir: Option<PathBuf>) {
        if self.dir != dir {
            self.watch = dir.clone().map(FolderWatch::new);
            self.dir = dir;
        }
    }

    /// Whether new ones are being loaded.
    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// When the newest file was written.
    pub(super) fn look(&mut self) {
        let entries = self.dir.as_ref().and_then(|dir| std::fs::read_dir(dir).ok());
        let newest = entries
            .and_then(|entries| entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok()).max());
        let since = newest.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        self.written = since.map(|since| Time(since.as_micros() as i64));
    }

    /// The folder is to be read at once; the answer comes with a later [`Rosters::poll`].
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// New rosters, where the files have changed and are whole, or somebody has asked; `before` is the hash of those in force.
    pub(super) fn poll(
        &mut self,
        settings: &Settings,
        before: &str,
        keeper: impl FnOnce() -> Option<Keeper>,
        now: Time,
    ) -> Looked {
        if let Some(thread) = self.loading.take_if(|thread| thread.is_finished()) {
            return self.take(thread, settings, before, now);
        }
        if self.is_loading() {
            return Looked::default();
        }
        let Some(mut watch) = self.watch.take() else {
            let answer = std::mem::take(&mut self.asked).then(|| "no rosters are named".to_owned());
            return Looked { news: None, answer };
        };
        match watch.has_changed() {
            Ok(changed) if changed || self.asked => {
                let (accepted, zone, keep) = (self.accepted.clone(), settings.default_zone.clone(), keeper());
                let load = move || {
                    let found = read(&mut watch, &accepted, zone, keep, now);
                    (watch, found)
                };
                match std::thread::Builder::new().name("rosters".to_owned()).spawn(load) {
                    Ok(thread) => self.loading = Some(thread),
                    Err(error) => {
                        self.watch = self.dir.clone().map(FolderWatch::new);
                        return self.refuse(&error.to_string());
                    }
                }
            }
            Ok(_) => {
                // What kept it from being read has passed; what could not be taken then is given again.
                self.unreadable = None;
                self.watch = Some(watch);
            }
            Err(error) => {
                watch.forget();
                self.watch = Some(watch);
                return self.refuse(&error.to_string());
            }
        }
        Looked::default()
    }

    /// What the thread has found.
    fn take(&mut self, thread: JoinHandle<Found>, settings: &Settings, before: &str, now: Time) -> Looked {
        let Ok((watch, found)) = thread.join() else {
            self.watch = self.dir.clone().map(FolderWatch::new);
            return self.refuse("phiwatch met a bug");
        };
        let is_settled = watch.is_settled();
        // The settings may name another folder by now.
        if self.watch.is_none() {
            self.watch = Some(watch);
        }
        if found.is_ok() {
            self.unreadable = None;
        }
        match found {
            Err(what) => self.refuse(&what),
            // It is being written: whoever asked has to wait until it has come to rest.
            Ok(None) if !is_settled => Looked::default(),
            Ok(None) => self.unchanged(),
            Ok(Some(loaded)) => {
                self.complain(&loaded);
                let hash = loaded.roster.hash();
                if hash == before {
                    return self.unchanged();
                }
                info!(hash, "new rosters are in force");
                let also = if self.refused.is_some() { ", with files refused" } else { "" };
                let answer = format!("new rosters are in force ({hash}){also}");
                (self.accepted, self.since) = (loaded.accepted.clone(), now);
                Looked {
                    news: Some(news(settings, *loaded)),
                    answer: std::mem::take(&mut self.asked).then_some(answer),
                }
            }
        }
    }

    fn unchanged(&mut self) -> Looked {
        let words = match self.refused {
            None => "the rosters have not changed",
            Some(_) => "the rosters were refused and the last ones stay",
        };
        Looked { news: None, answer: std::mem::take(&mut self.asked).then(|| words.to_owned()) }
    }

    /// Since when they are old: a file should have been renewed by then.
    pub(super) fn stale(&self, plan: &Plan, now: Time) -> Option<Time> {
        self.written.map(|at| at.plus(plan.stale_after)).filter(|since| *since <= now)
    }

    /// What is wrong with them.
    pub(super) fn wrong(&self, plan: &Plan, now: Time) -> Vec<Seen> {
        let seen = |kind, what: String| Seen { kind, about: "rosters".into(), what, count: 0 };
        let refused =
            self.unreadable.clone().or(self.refused.clone()).map(|what| seen(&operator::ROSTER_REFUSED, what));
        let stale = self.stale(plan, now).map(|since| {
            let at = since.plus(-plan.stale_after);
            let what = format!("No roster file was renewed since {at}: new people and ties are not known.");
            seen(&operator::ROSTER_STALE, what)
        });
        refused.into_iter().chain(stale).collect()
    }

    /// Says what is wrong with the files: some lines in the log, and the files that were refused to the operator.
    fn complain(&mut self, loaded: &Loaded) {
        const LINES: usize = 20;
        for problem in loaded.problems.iter().take(LINES) {
            warn!(%problem, "roster");
        }
        if loaded.problems.len() > LINES {
            warn!(more = loaded.problems.len() - LINES, "roster: `phiwatch check` names every problem");
        }
        let refused: Vec<&str> =
            loaded.counts.iter().filter(|count| count.kept_previous).map(|count| count.file.as_str()).collect();
        self.refused = (!refused.is_empty()).then(|| {
            let why = |file: &&str| {
                // Of all that is wrong with it, what had the file refused.
                let whole =
                    |one: &&Problem| one.file.as_os_str() == *file && one.what.ends_with("the last good one stays");
                loaded.problems.iter().find(whole).map(|problem| problem.what.clone())
            };
            let whys: Vec<String> = refused.iter().filter_map(why).collect();
            format!(
                "Roster files were refused and the last good ones stay: {} ({}). A start with --accept-rosters takes what is there.",
                refused.join(", "),
                whys.join("; ")
            )
        });
    }

    fn refuse(&mut self, why: &str) -> Looked {
        let what = format!("The rosters cannot be read; the last ones stay: {why}");
        if self.unreadable.as_ref() != Some(&what) {
            warn!("{what}");
        }
        self.unreadable = Some(what);
        let answer = "the rosters cannot be read and the last ones stay".to_owned();
        Looked { news: None, answer: std::mem::take(&mut self.asked).then_some(answer) }
    }
}

/// Reads the folder and keeps what it amounts to; nothing where it holds what it held before.
fn read(
    watch: &mut FolderWatch,
    accepted: &Accepted,
    zone: Zone,
    keep: Option<Keeper>,
    now: Time,
) -> Result<Option<Box<Loaded>>, String> {
    let taken = watch.take().inspect_err(|_| watch.forget()).map_err(|error| error.to_string());
    let Some(files) = taken? else { return Ok(None) };
    let loaded = load(&files, zone, &Intake { previous: Some(accepted), at: now, allow_shrink: false });
    if let Some(keep) = keep {
        let kept = keep(loaded.roster.hash(), now, &|| loaded.accepted.to_bytes());
        kept.inspect_err(|_| watch.forget()).map_err(|error| error.to_string())?;
    }
    Ok(Some(Box::new(loaded)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::event::time::DAY;

    fn write(dir: &Path, text: &str, second: u64) {
        let path = dir.join("users.csv");
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
    }

    /// Rosters of a folder, and the hashes of the versions that were kept.
    struct Case {
        rosters: Rosters,
        settings: Settings,
        in_force: String,
        kept: Arc<Mutex<Vec<String>>>,
    }

    impl Case {
        fn of(dir: &Path) -> Case {
            let watch = FolderWatch::standing(dir);
            let mut settings = Settings::default();
            settings.rosters = Some(dir.to_owned());
            let files = crate::ingest::rosters::read_folder(dir).unwrap();
            let intake = Intake { previous: None, at: Time(0), allow_shrink: false };
            let loaded = load(&files, settings.default_zone.clone(), &intake);
            let rosters = Rosters::new(Some(watch), &settings, &loaded, Time(0));
            Case { rosters, settings, in_force: loaded.roster.hash().to_owned(), kept: Arc::default() }
        }

        fn poll(&mut self) -> Looked {
            let kept = self.kept.clone();
            let keep = move |hash: &str, _: Time, bytes: &dyn Fn() -> Vec<u8>| {
                assert_eq!(Accepted::from_bytes(&bytes()).unwrap().hash(), hash);
                kept.lock().unwrap().push(hash.to_owned());
                Ok(())
            };
            let looked = self.rosters.poll(&self.settings, &self.in_force, || Some(Box::new(keep)), Time(7));
            if let Some(News::Roster { roster, .. }) = &looked.news {
                self.in_force = roster.hash().to_owned();
            }
            looked
        }

        /// Polls until the thread is done.
        fn look(&mut self) -> Looked {
            let begun = Instant::now();
            let mut looked = [self.poll(), self.poll()];
            while self.rosters.is_loading() {
                assert!(begun.elapsed() < Duration::from_secs(60), "it is still loading");
                std::thread::sleep(Duration::from_millis(5));
                looked[1] = self.poll();
            }
            looked.into_iter().find(|looked| looked.news.is_some() || looked.answer.is_some()).unwrap_or_default()
        }
    }

    #[test]
    fn what_has_changed_is_loaded_to_the_side_kept_and_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "user_id,role\nu1,nurse\n", 1);
        let mut case = Case::of(dir.path());
        let before = case.in_force.clone();
        assert!(case.look().news.is_none(), "they are in force already");
        assert!(case.kept.lock().unwrap().is_empty());
        write(dir.path(), "user_id,role\nu1,nurse\nu2,clerk\n", 2);
        let looked = case.look();
        let Some(News::Roster { accepted, roster, .. }) = looked.news else { panic!("new rosters") };
        assert_eq!((looked.answer, roster.user_ids().count()), (None, 2));
        assert_eq!(accepted.hash(), roster.hash());
        assert!(roster.hash() != before && case.rosters.accepted == accepted && case.rosters.since == Time(7));
        assert_eq!(*case.kept.lock().unwrap(), [roster.hash()]);
    }

    #[test]
    fn whoever_asks_has_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "user_id,role\nu1,nurse\n", 1);
        let mut case = Case::of(dir.path());
        let ask = |case: &mut Case| {
            case.rosters.ask();
            let looked = case.look();
            (looked.news.is_some(), looked.answer.unwrap_or_default())
        };
        assert_eq!(ask(&mut case), (false, "the rosters have not changed".to_owned()));
        write(dir.path(), "user_id,role\nu1,clerk\n", 2);
        let (new, words) = ask(&mut case);
        assert!(new && words.starts_with("new rosters are in force ("), "{words}");
        write(dir.path(), "user_id,ro", 3);
        let (new, words) = ask(&mut case);
        assert!(!new && words == "the rosters were refused and the last ones stay", "{words}");
        assert_eq!(case.rosters.wrong(&Plan::default(), Time(30 * DAY)).len(), 2, "refused, and old");
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(ask(&mut case), (false, "the rosters cannot be read and the last ones stay".to_owned()));
        case.rosters.follow(None);
        assert_eq!(ask(&mut case), (false, "no rosters are named".to_owned()));
    }
}
