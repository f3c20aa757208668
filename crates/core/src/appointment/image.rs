//! What an appointment is at a revision, but for what is personal: times, calendars, state, and everything else that may
//! change of it.
//!
//! The log keeps whole images, and whoever shows an appointment as it was takes one: nothing is put together from what
//! it was and what it is. Translations of an image take it apart field by field, so that a new field that one of them
//! forgets does not compile.

use std::sync::Arc;

use crate::appointment::transition::AppointmentState;
use crate::ids::{AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use crate::time::interval::Interval;
use crate::time::{Instant, Minutes, Wall};

/// What an appointment takes of one calendar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Which calendar.
    pub calendar: CalendarId,
    /// The revision at which that calendar came to be: one that is deleted and made again is another.
    pub since: Revision,
    /// That calendar's own type of the appointment's type id.
    pub type_number: TypeNumber,
    /// For which of the request's needs, counted from 0.
    pub need: u16,
    /// From when, a whole minute.
    pub start: Instant,
    /// For how long.
    pub duration: Minutes,
    /// Kept free before the start, as the type said when time was claimed.
    pub before: Minutes,
    /// Kept free after the end, likewise.
    pub after: Minutes,
    /// How many of the calendar's units; 1 of a calendar that is taken whole.
    pub units: u32,
}

impl Place {
    /// When it ends, what is kept free left out.
    pub fn end(&self) -> Instant {
        self.start.plus(self.duration.seconds())
    }

    /// From what is kept free before to what is kept free after.
    pub fn padded(&self) -> Interval {
        Interval::new(self.start, self.end()).padded(self.before.seconds(), self.after.seconds())
    }
}

/// Rules that staff may override, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct IgnoredRules {
    /// The slot may lie outside open time.
    pub outside_availability: bool,
    /// The start may lie off the grid.
    pub misaligned: bool,
    /// The start may be sooner than the notice.
    pub notice: bool,
    /// The start may be beyond the horizon.
    pub horizon: bool,
    /// A limit may be exceeded.
    pub limit: bool,
}

/// See the header.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Image {
    /// The calendars it claims, at least one; the first one's zone is the appointment's.
    pub places: Vec<Place>,
    /// What was booked.
    pub type_id: TypeId,
    /// A whole minute.
    pub start: Instant,
    /// At least a minute.
    pub duration: Minutes,
    /// The IANA name of the first calendar's zone when time was claimed.
    pub time_zone: Arc<str>,
    /// What a clock in that zone shows at the start.
    pub local_start: Wall,
    /// Where it stands; a hold past its expiry still says HELD here, `state_at` tells the truth.
    pub state: AppointmentState,
    /// False only of a PENDING whose type says that pending does not block.
    pub blocks: bool,
    /// Of HELD its expiry, of PENDING its start, of EXPIRED when it did; else none.
    pub expire_time: Option<Instant>,
    /// The key of the first seat of the session that it takes part in; its own where it was the first.
    pub session: AppointmentKey,
    /// How often it was moved or called off, as in iCalendar (RFC 5545 §3.8.7.4).
    pub sequence: u32,
    /// The rules that staff overrode when time was claimed.
    pub ignored_rules: IgnoredRules,
    /// The commit time of the change that made it so.
    pub update_time: Instant,
    /// The revision of that change.
    pub revision: Revision,
}

impl Image {
    /// When it ends.
    pub fn end(&self) -> Instant {
        self.start.plus(self.duration.seconds())
    }

    /// `[start, end)`, buffers left out.
    pub fn interval(&self) -> Interval {
        Interval::new(self.start, self.end())
    }

    /// The state as it shows at `now`: what has expired is EXPIRED, recorded or not.
    pub fn state_at(&self, now: Instant) -> AppointmentState {
        self.state.at(self.expire_time, now)
    }

    /// Whether it would expire by itself: HELD or PENDING.
    pub fn is_waiting(&self) -> bool {
        matches!(
            self.state,
            AppointmentState::Held | AppointmentState::Pending
        )
    }

    /// The ids of its calendars, in order.
    pub fn calendars(&self) -> impl Iterator<Item = &CalendarId> {
        self.places.iter().map(|place| &place.calendar)
    }
}
