//! The image of an appointment: all its facts at a revision that are not personal, such as times,
//! calendars and state.
//!
//! The log keeps complete images. A past appointment is always shown from one image, never put
//! together from past and present values. Translations destructure an image field by field, so that
//! a new field that one of them forgets does not compile.

use std::sync::Arc;

use crate::appointment::transition::AppointmentState;
use crate::ids::{AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use crate::time::interval::Interval;
use crate::time::{Instant, Minutes, Wall};

/// The time that an appointment takes of one calendar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The calendar's id.
    pub calendar: CalendarId,
    /// The revision of the calendar's creation. A calendar that is deleted and created again is
    /// another one.
    pub since: Revision,
    /// The number of the calendar's own type of the appointment's type id.
    pub type_number: TypeNumber,
    /// The index of the need of the request that the calendar serves, from 0.
    pub need: u16,
    /// The start, a whole minute.
    pub start: Instant,
    /// The duration.
    pub duration: Minutes,
    /// The buffer before the start, by the type at the time of the claim.
    pub before: Minutes,
    /// The buffer after the end, by the type at the time of the claim.
    pub after: Minutes,
    /// How many units of the calendar it takes; 1 for a calendar that is taken as a whole.
    pub units: u32,
}

impl Place {
    /// The end, buffers left out.
    pub fn end(&self) -> Instant {
        self.start.plus(self.duration.seconds())
    }

    /// The interval from the start of the buffer before to the end of the buffer after.
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

/// The facts of an appointment at a revision, but for the personal ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Image {
    /// The calendars it claims, at least one; the first one's zone is the appointment's.
    pub places: Vec<Place>,
    /// The id of its appointment type.
    pub type_id: TypeId,
    /// The start, a whole minute.
    pub start: Instant,
    /// The duration, at least a minute.
    pub duration: Minutes,
    /// The IANA name of the first calendar's zone at the time of the claim.
    pub time_zone: Arc<str>,
    /// The local time in that zone at the start.
    pub local_start: Wall,
    /// The recorded state. An expired hold may still be HELD here; `state_at` gives the state at an
    /// instant.
    pub state: AppointmentState,
    /// Whether it takes its time; false only for PENDING with a type whose requests do not block.
    pub blocks: bool,
    /// The expiry of HELD, the start for PENDING, the time of the expiry for EXPIRED; otherwise
    /// none.
    pub expire_time: Option<Instant>,
    /// The key of the first seat of its session; its own key where it was the first.
    pub session: AppointmentKey,
    /// How often it was moved or cancelled, as in iCalendar (RFC 5545 §3.8.7.4).
    pub sequence: u32,
    /// The rules that staff overrode at the time of the claim.
    pub ignored_rules: IgnoredRules,
    /// The commit time of the change that made this image.
    pub update_time: Instant,
    /// The revision of that change.
    pub revision: Revision,
}

impl Image {
    /// The end, buffers left out.
    pub fn end(&self) -> Instant {
        self.start.plus(self.duration.seconds())
    }

    /// `[start, end)`, buffers left out.
    pub fn interval(&self) -> Interval {
        Interval::new(self.start, self.end())
    }

    /// The state at `now`: EXPIRED from the expiry on, whether the expiry is recorded or not.
    pub fn state_at(&self, now: Instant) -> AppointmentState {
        self.state.at(self.expire_time, now)
    }

    /// Whether it can expire: HELD or PENDING.
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
