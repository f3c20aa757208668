//! A list of appointments: what is asked for, and which appointments belong on it.

use bookd_core::appointment::{Appointment, AppointmentState, EmailKey, Image};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId, TypeId};
use bookd_core::time::{Instant, Minutes};

/// Which appointments to list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// Of every calendar that ever had this id.
    pub calendar: Option<CalendarId>,
    /// Of the invitee with this address.
    pub email: Option<EmailKey>,
    /// With this key, which a confirmation code stands for.
    pub key: Option<AppointmentKey>,
    /// Of this series.
    pub series: Option<SeriesId>,
    /// Of this type.
    pub type_id: Option<TypeId>,
    /// In one of these states at `now`.
    pub states: Vec<AppointmentState>,
    /// Ending after this.
    pub from: Instant,
    /// Starting before this.
    pub to: Option<Instant>,
    /// Latest first.
    pub is_descending: bool,
    /// The last one of the page before.
    pub after: Option<(Instant, AppointmentId)>,
    /// How many.
    pub limit: usize,
    /// How many appointments the store looks at before it ends the page, found or passed over: at least 1, usually
    /// `SCANNED_MAX`. The store in memory looks at all of them.
    pub scanned_max: usize,
    /// As of this revision; none = as it is.
    pub at: Option<Revision>,
    /// HELD and PENDING past their expiry show as EXPIRED.
    pub now: Instant,
}

/// What can be judged of an appointment before all of it is read.
pub(super) struct Outline<'a> {
    pub(super) start: Instant,
    pub(super) duration: Minutes,
    /// As it is recorded.
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
    /// How many appointments a page looks at; then it ends, however few it found, and says where to go on.
    pub const SCANNED_MAX: usize = 50_000;

    /// Whether an appointment with this outline may belong on the page: whatever matches does.
    pub(super) fn may_match(&self, it: &Outline<'_>) -> bool {
        it.start.plus(it.duration.seconds()) > self.from
            && self.to.is_none_or(|to| it.start < to)
            && self.states.contains(&it.state.at(it.expire_time, self.now))
            && self
                .type_id
                .as_ref()
                .is_none_or(|id| it.type_id == id.as_str())
    }

    /// Whether this appointment belongs on the page or after it.
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
    /// By start, then id.
    pub appointments: Vec<Appointment>,
    /// Where the next page goes on; none when there is nothing more.
    pub next: Option<(Instant, AppointmentId)>,
    /// What it shows.
    pub revision: Revision,
}
