//! A list of appointments: what is asked for, and which appointments belong on it.

use bookd_core::appointment::{Appointment, AppointmentState, EmailKey, Image};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId, TypeId};
use bookd_core::reach::Reach;
use bookd_core::time::{Instant, Minutes};

/// The filters of a list of appointments, and its page.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// Appointments of every calendar that ever had this id.
    pub calendar: Option<CalendarId>,
    /// Appointments of the invitee with this address.
    pub email: Option<EmailKey>,
    /// The appointment with this key, which a confirmation code stands for.
    pub key: Option<AppointmentKey>,
    /// Appointments of this series.
    pub series: Option<SeriesId>,
    /// Appointments of this type.
    pub type_id: Option<TypeId>,
    /// Appointments in one of these states at `now`.
    pub states: Vec<AppointmentState>,
    /// Appointments that end after this time.
    pub from: Instant,
    /// Appointments that start before this time.
    pub to: Option<Instant>,
    /// Whether the latest appointment comes first.
    pub is_descending: bool,
    /// Start and id of the last appointment of the page before.
    pub after: Option<(Instant, AppointmentId)>,
    /// The largest number of appointments on the page.
    pub limit: usize,
    /// The number of appointments within reach, matching or not, that the store looks at before it
    /// ends the page: at least 1, usually `SCANNED_MAX`. Others do not count, so that no page tells
    /// of them by its length. The store in memory looks at all of them.
    pub scanned_max: usize,
    /// The revision that the list shows; none = the current one.
    pub at: Option<Revision>,
    /// The time by which HELD and PENDING past their expiry count as EXPIRED.
    pub now: Instant,
    /// Appointments of which at least one calendar is within reach, or all of them in a list by
    /// `email`.
    pub reach: Reach,
}

/// The fields of an appointment by which it can be ruled out before all of it is read.
pub(super) struct Outline<'a> {
    pub(super) start: Instant,
    pub(super) duration: Minutes,
    /// The recorded state, which may have expired since.
    pub(super) state: AppointmentState,
    pub(super) expire_time: Option<Instant>,
    pub(super) type_id: &'a str,
}

impl<'a> Outline<'a> {
    fn of(it: &'a Appointment) -> Self {
        let Image {
            start,
            duration,
            state,
            expire_time,
            type_id,
            ..
        } = &it.image;
        Self {
            start: *start,
            duration: *duration,
            state: *state,
            expire_time: *expire_time,
            type_id: type_id.as_str(),
        }
    }
}

impl ListQuery {
    /// The number of appointments that a page looks at. Then it ends, however few match, with a
    /// token for the next page.
    pub const SCANNED_MAX: usize = 50_000;

    /// Whether an appointment with this outline may match. True of every one that does.
    pub(super) fn may_match(&self, it: &Outline<'_>) -> bool {
        it.start.plus(it.duration.seconds()) > self.from
            && self.to.is_none_or(|to| it.start < to)
            && self.states.contains(&it.state.at(it.expire_time, self.now))
            && self
                .type_id
                .as_ref()
                .is_none_or(|id| it.type_id == id.as_str())
    }

    /// Whether the caller may find this appointment by such a list. Whose appointment it is, is told
    /// only to those who see all of its calendars.
    pub(super) fn shows(&self, it: &Appointment) -> bool {
        match self.email {
            Some(_) => self.reach.has_all_of(it),
            None => self.reach.has_some_of(it),
        }
    }

    /// An appointment with this image of an earlier revision. Its person is that of now, and is
    /// left out unless the appointment is within reach as it is now.
    pub(super) fn then(&self, now: Appointment, image: &Image) -> Appointment {
        now.with(self.reach.person_of(&now), image.clone())
    }

    /// Whether this appointment belongs on this page or a later one.
    pub(super) fn matches(&self, it: &Appointment) -> bool {
        let order = (it.start, it.id);
        let is_after = |after| {
            if self.is_descending {
                order < after
            } else {
                order > after
            }
        };
        self.may_match(&Outline::of(it))
            && self.shows(it)
            && self.after.is_none_or(is_after)
            && self
                .calendar
                .as_ref()
                .is_none_or(|id| it.calendars().any(|calendar| calendar == id))
            && self.series.is_none_or(|series| it.series() == Some(series))
            && self.key.is_none_or(|key| it.key == key)
            && self
                .email
                .as_ref()
                .is_none_or(|email| it.person.invitee.email.key == *email)
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// The appointments by start, then id.
    pub appointments: Vec<Appointment>,
    /// Start and id after which the next page goes on; none when there is no further page.
    pub next: Option<(Instant, AppointmentId)>,
    /// The revision that the page shows.
    pub revision: Revision,
}
