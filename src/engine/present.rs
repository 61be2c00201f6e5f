//! Who is there on a local day: a seat for each subject, and what its day begins with.

use serde::{Deserialize, Serialize};

use super::stats::dense::Dense;
use super::subjects::{GroupIx, Sort, SubjectIx};
use crate::event::Time;

/// Number of a subject among those present on a day, by order of arrival.
pub type Seat = u32;

/// Number of the name of a zone.
pub type ZoneIx = u32;

/// A subject on one of its local days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Presence {
    /// Its number among those present.
    pub seat: Seat,
    /// Its group at 04:00 of that day.
    pub group: GroupIx,
    /// Sort of account.
    pub sort: Sort,
    /// Weekend or holiday at the home site.
    pub off_day: bool,
    /// When the local day begins.
    pub start: Time,
    /// When it ends.
    pub end: Time,
    /// From when to when findings speak: the day in every zone in which it was lived. Those without a home have the zone of each event's
    /// site, and somebody may move house in mid-day.
    pub window: (Time, Time),
    /// The unit (home site and department) for co-activity.
    pub unit: u32,
    /// The zone of the place at which the day was lived; of several the first by name, whatever the order of events.
    pub zone: ZoneIx,
}

/// Those present on one local day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Present {
    /// By number of the subject, one more than its seat; 0 for those who are not there.
    seats: Dense<u32>,
    seated: Dense<Seated>,
    count: u32,
    /// What many have in common; there are about as many as zones.
    forms: Vec<Form>,
}

/// A presence as it is kept.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Seated {
    subject: SubjectIx,
    group: GroupIx,
    unit: u32,
    form: u32,
}

/// What presences have in common.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Form {
    pub sort: Sort,
    pub off_day: bool,
    pub start: Time,
    pub end: Time,
    pub window: (Time, Time),
    pub zone: ZoneIx,
    /// Where the first event of the day was lived.
    pub place: u32,
}

impl Present {
    /// The seat of a subject that is there.
    pub fn seat(&self, subject: SubjectIx) -> Option<Seat> {
        self.seats.get(subject)?.checked_sub(1)
    }

    fn form(&mut self, form: Form) -> u32 {
        let known = self.forms.iter().position(|known| *known == form);
        known.unwrap_or_else(|| {
            self.forms.push(form);
            self.forms.len() - 1
        }) as u32
    }

    /// A subject comes for the first time that day.
    pub fn enter(&mut self, subject: SubjectIx, group: GroupIx, unit: u32, form: Form) -> Seat {
        let (seat, form) = (self.count, self.form(form));
        *self.seated.entry(seat) = Seated { subject, group, unit, form };
        self.count += 1;
        *self.seats.entry(subject) = self.count;
        seat
    }

    /// Who sits there, and how.
    pub fn presence(&self, seat: Seat) -> (SubjectIx, Presence) {
        let Seated { subject, group, unit, form } = *self.seated.get(seat).expect("somebody sits there");
        let Form { sort, off_day, start, end, window, zone, .. } = self.forms[form as usize];
        (subject, Presence { seat, group, sort, off_day, start, end, window, unit, zone })
    }

    /// Notes a place at which the day was lived; its window may grow. `lived` says its span there, and which zone it is told by, from now
    /// on or as it was before.
    pub fn move_to(&mut self, seat: Seat, place: usize, lived: impl FnOnce(ZoneIx) -> ((Time, Time), ZoneIx)) {
        let mut form = self.forms[self.seated.entry(seat).form as usize];
        if form.place != place as u32 {
            let ((start, end), zone) = lived(form.zone);
            form.window = (form.window.0.min(start), form.window.1.max(end));
            form.zone = zone;
            // The place stays that of the first event, so that two places by turns make one form.
            self.seated.entry(seat).form = self.form(form);
        }
    }

    /// Everybody, by seat.
    pub fn all(&self) -> impl Iterator<Item = (SubjectIx, Presence)> {
        (0..self.count).map(|seat| self.presence(seat))
    }
}
