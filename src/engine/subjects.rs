//! Who is watched: accounts by number, the peers that each belongs to, and who was there on the open days.
//!
//! Numbers are given in the order of arrival and never leave; wherever a sum or an output depends on order, subjects go by their id.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::present::{Form, Present, ZoneIx};
use super::stats::delayed::{Delayed, Learn};
use crate::event::facts::Account;
use crate::event::{Day, Event, Facts, Subject, SubjectKind, Time, Zone};
use crate::roster::{Roster, UserKind};

pub use super::present::{Presence, Seat};

/// Number of a subject.
pub type SubjectIx = u32;
/// Number of a group.
pub type GroupIx = u32;

/// Fewer active members than this say nothing by themselves: the group above speaks for them.
pub const MEMBERS_MIN: u32 = 8;
/// Members are those who were active within this many days.
const MEMBER_DAYS: i32 = 28;

/// What sort of account it is; each has its own root group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sort {
    /// A person on the staff, known or not.
    Human,
    /// A person of a vendor.
    Vendor,
    /// A service, a device or a patient's own account: judged by other detectors.
    Machine,
}

/// One watched account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watched {
    /// Kind and id, as alerts name it.
    pub subject: Subject,
    /// Sort of account on its newest day.
    pub sort: Sort,
    /// Group and day of the newest activity that has settled.
    last: Option<(Day, GroupIx)>,
}

/// A group of peers and the chain above it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// Site, role and department, as far as they define it; for sentences.
    pub name: String,
    /// The next larger group; `None` for a root.
    pub parent: Option<GroupIx>,
}

/// Active members by group, as of a settled day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sizes(Vec<u32>);

impl Learn for Sizes {
    type Step = Vec<u32>;
    fn fold(&mut self, _: Day, step: &Vec<u32>) {
        self.0.clone_from(step);
    }
}

fn hash(kind: SubjectKind, id: &str) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), kind as u64)
}

fn hash_of(subject: &Subject) -> u64 {
    hash(subject.kind, &subject.id)
}

/// All subjects and groups.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Subjects {
    /// Places in `all`, by kind and id: made anew by [`Subjects::indexed`] after reading.
    #[serde(skip)]
    by_id: HashTable<SubjectIx>,
    all: Vec<Watched>,
    by_name: BTreeMap<String, GroupIx>,
    groups: Vec<Group>,
    sizes: Delayed<Sizes>,
    units: BTreeMap<String, u32>,
    /// Names of the zones in which days were lived.
    zones: Vec<String>,
    days: BTreeMap<Day, Present>,
}

/// Number of the name of a zone; there are few.
fn numbered(zones: &mut Vec<String>, name: &str) -> ZoneIx {
    let known = zones.iter().position(|known| known == name);
    known.unwrap_or_else(|| {
        zones.push(name.to_owned());
        zones.len() - 1
    }) as ZoneIx
}

/// The local day at a place.
fn span(roster: &Roster, place: usize, day: Day) -> (Time, Time) {
    let zone = roster.zone_at(place);
    (zone.day_start(day), zone.day_start(day.plus(1)))
}

impl Subjects {
    /// The subject of an event and its presence on the event's day; `None` where the record names nobody.
    pub fn meet(&mut self, roster: &Roster, event: &Event<'_>, facts: &Facts<'_>) -> Option<(SubjectIx, Presence)> {
        let id = event.actor_id()?;
        let kind = if facts.account == Account::VendorAccount { SubjectKind::VendorAccount } else { SubjectKind::User };
        let ix = self.number(kind, id);
        let place = roster.place(facts.home_site.or_else(|| event.site()));
        if let Some(day) = self.days.get_mut(&facts.day)
            && let Some(seat) = day.seat(ix)
        {
            let zones = &mut self.zones;
            day.move_to(seat, place, |before| {
                let here = numbered(zones, roster.zone_at(place).name());
                let first = if zones[here as usize] < zones[before as usize] { here } else { before };
                (span(roster, place, facts.day), first)
            });
            return Some(day.presence(seat));
        }
        let (group, unit, form) = self.present(roster, facts, id, place);
        self.all[ix as usize].sort = form.sort;
        let day = self.days.entry(facts.day).or_default();
        let seat = day.enter(ix, group, unit, form);
        Some(day.presence(seat))
    }

    /// The zone in which a day was lived; the default one where the rosters do not have it any more.
    pub fn zone<'a>(&self, roster: &'a Roster, zone: ZoneIx) -> &'a Zone {
        let name = &self.zones[zone as usize];
        roster.zones().iter().find(|zone| zone.name() == name).unwrap_or_else(|| roster.zone(None))
    }

    /// Something was found on a day, so that it settles also where nobody is present.
    pub fn open_day(&mut self, day: Day) {
        self.days.entry(day).or_default();
    }

    /// These subjects after they were read: the index is not kept.
    pub fn indexed(mut self) -> Subjects {
        self.by_id.clear();
        for ix in 0..self.all.len() as SubjectIx {
            self.index(ix);
        }
        self
    }

    fn index(&mut self, ix: SubjectIx) {
        let of = |ix: &SubjectIx| hash_of(&self.all[*ix as usize].subject);
        self.by_id.insert_unique(of(&ix), ix, of);
    }

    fn number(&mut self, kind: SubjectKind, id: &str) -> SubjectIx {
        if let Some(ix) = self.find(kind, id) {
            return ix;
        }
        let ix = self.all.len() as SubjectIx;
        let subject = Subject { kind, id: id.to_owned() };
        self.all.push(Watched { subject, sort: Sort::Human, last: None });
        self.index(ix);
        ix
    }

    /// Role, group and holiday that shape a threshold are those valid at 04:00 of the day.
    fn present(&mut self, roster: &Roster, facts: &Facts<'_>, id: &str, place: usize) -> (GroupIx, u32, Form) {
        let asked = roster.zone(None).day_start(facts.day);
        let user =
            if matches!(facts.account, Account::User | Account::Service) { roster.user(id, asked) } else { None };
        let home = user.as_ref().and_then(|user| user.site);
        let zone = roster.zone(home);
        let (start, end) = (zone.day_start(facts.day), zone.day_start(facts.day.plus(1)));
        let (sort, site, role, department) = match &user {
            _ if facts.account == Account::VendorAccount => (Sort::Vendor, "", facts.vendor_id.unwrap_or(""), ""),
            Some(user) => {
                let sort = if user.kind == UserKind::Service { Sort::Machine } else { Sort::Human };
                (sort, user.site.unwrap_or(""), user.role.unwrap_or(""), user.department.unwrap_or(""))
            }
            None => (Sort::Human, "", "", ""),
        };
        let off_day = facts.day.weekday() >= 5 || roster.holiday(home, facts.day);
        let group = self.group(sort, site, role, department);
        let units = self.units.len() as u32;
        let unit = *self.units.entry(format!("{site}\u{1f}{department}")).or_insert(units);
        let (window, zone) = (span(roster, place, facts.day), numbered(&mut self.zones, roster.zone_at(place).name()));
        (group, unit, Form { sort, off_day, start, end, window, zone, place: place as u32 })
    }

    /// Site, role and department; above it the role at the site; above that the sort of account.
    fn group(&mut self, sort: Sort, site: &str, role: &str, department: &str) -> GroupIx {
        let root_name = match sort {
            Sort::Human => "staff",
            Sort::Vendor => "vendor accounts",
            Sort::Machine => "machine accounts",
        };
        let root = self.named(root_name.to_owned(), root_name, None);
        if role.is_empty() && department.is_empty() {
            return root;
        }
        let role_name = if role.is_empty() { "accounts without a role" } else { role };
        let role_key = format!("{root_name}\u{1f}{site}\u{1f}{role}");
        let middle = self.named(role_key.clone(), role_name, Some(root));
        if department.is_empty() {
            return middle;
        }
        self.named(format!("{role_key}\u{1f}{department}"), &format!("{role_name} in {department}"), Some(middle))
    }

    fn named(&mut self, key: String, name: &str, parent: Option<GroupIx>) -> GroupIx {
        let next = self.groups.len() as GroupIx;
        let ix = *self.by_name.entry(key).or_insert(next);
        if ix == next {
            self.groups.push(Group { name: name.to_owned(), parent });
        }
        ix
    }

    /// A subject.
    pub fn get(&self, ix: SubjectIx) -> &Watched {
        &self.all[ix as usize]
    }

    /// The subject with this kind and id, where it was ever met.
    pub fn find(&self, kind: SubjectKind, id: &str) -> Option<SubjectIx> {
        let is = |ix: &SubjectIx| {
            let subject = &self.all[*ix as usize].subject;
            subject.kind == kind && subject.id == id
        };
        self.by_id.find(hash(kind, id), is).copied()
    }

    /// A group.
    pub fn named_group(&self, ix: GroupIx) -> &Group {
        &self.groups[ix as usize]
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// A group and those above it, smallest first.
    pub fn chain(&self, group: GroupIx) -> impl Iterator<Item = GroupIx> + '_ {
        std::iter::successors(Some(group), |ix| self.groups[*ix as usize].parent)
    }

    /// The group whose history scores are ranked in: the role at a site, or the root.
    pub fn role(&self, group: GroupIx) -> GroupIx {
        // The last but one of the chain.
        self.chain(group)
            .find(|ix| {
                self.groups[*ix as usize].parent.is_none_or(|parent| self.groups[parent as usize].parent.is_none())
            })
            .unwrap_or(group)
    }

    /// The smallest group of the chain with enough active members as of `day`, else its root.
    pub fn peers(&self, group: GroupIx, sizes: &Sizes) -> GroupIx {
        let big = |ix: &GroupIx| sizes.0.get(*ix as usize).is_some_and(|size| *size >= MEMBERS_MIN);
        self.chain(group).find(big).unwrap_or_else(|| self.chain(group).last().unwrap_or(group))
    }

    /// The seat of a subject on a day that has not settled, where it was there.
    pub fn seat_on(&self, day: Day, subject: SubjectIx) -> Option<Seat> {
        self.days.get(&day)?.seat(subject)
    }

    /// Active members by group as `day` may know them.
    pub fn sizes(&self, day: Day) -> Sizes {
        self.sizes.for_day(day)
    }

    /// Days with somebody present that have not settled, oldest first.
    pub fn open_days(&self) -> Vec<Day> {
        self.days.keys().copied().collect()
    }

    /// Those present on a day, by kind and id.
    pub fn present_on(&self, day: Day) -> Vec<(SubjectIx, Presence)> {
        let mut present: Vec<(SubjectIx, Presence)> = self.days.get(&day).into_iter().flat_map(Present::all).collect();
        present.sort_unstable_by_key(|(ix, _)| &self.all[*ix as usize].subject);
        present
    }

    /// Human accounts, known or not, that were there on `day` or within four weeks before it.
    pub fn humans(&self, day: Day) -> u32 {
        let present = self.days.get(&day);
        let seen = |(ix, watched): (usize, &Watched)| {
            watched.sort == Sort::Human
                && (watched.last.is_some_and(|(last, _)| last > day.plus(-MEMBER_DAYS))
                    || present.is_some_and(|present| present.seat(ix as SubjectIx).is_some()))
        };
        self.all.iter().enumerate().filter(|entry| seen(*entry)).count() as u32
    }

    /// Closes a settled day: who was there counts as a member of a group from now on.
    pub fn settle(&mut self, day: Day) {
        let Some(present) = self.days.remove(&day) else { return };
        for (ix, presence) in present.all() {
            self.all[ix as usize].last = Some((day, presence.group));
        }
        let mut sizes = vec![0_u32; self.groups.len()];
        for watched in &self.all {
            if let Some((last, group)) = watched.last
                && last > day.plus(-MEMBER_DAYS)
            {
                for ix in std::iter::successors(Some(group), |ix| self.groups[*ix as usize].parent) {
                    sizes[ix as usize] += 1;
                }
            }
        }
        self.sizes.teach(day, sizes);
    }

    /// Forgets who was there on days that settled before, for backfill that came since.
    pub fn forget(&mut self, through: Day) {
        self.days = self.days.split_off(&through.plus(1));
    }
}
