//! Reads of a store off the writer's thread: appointments and calendars as they are, or as of one
//! moment.

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::appointment_type::Stamps;
use bookd_core::calendar::{Calendar, Profile};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;

use super::{ListPage, ListQuery, StoreError};

/// Queries for appointments and calendars. Each result is of one moment of the store.
pub trait Queries {
    /// Those of these appointments that exist, and the revision.
    fn appointments(
        &mut self,
        ids: &[AppointmentId],
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// Those of these appointments that exist, and the revision.
    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// At most `limit` appointments with keys after `after`, by key and in any state, and the
    /// revision: a walk over all appointments.
    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// A page of a list.
    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError>;
    /// Whether a calendar with this id exists.
    fn has_calendar(&mut self, id: &CalendarId) -> Result<bool, StoreError>;
    /// Whether a calendar with this id exists or existed: its appointments are listed under the id.
    fn ever_had(&mut self, id: &CalendarId) -> Result<bool, StoreError>;
    /// At most `limit` of these calendars by id, and the revision.
    fn list_calendars(
        &mut self,
        prefixes: &Prefixes,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError>;
}

/// A calendar as a list shows it.
#[derive(Clone, Debug)]
pub struct CalendarRow {
    /// The id of the calendar.
    pub id: CalendarId,
    /// Its settings and hours.
    pub profile: Profile,
    /// When it was created and last changed.
    pub stamps: Stamps,
}

/// The last change of a store, and the next key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// The revision of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
}

/// One moment of a store: all data that a decision looks at, as of the same revision.
pub trait Moment {
    /// The last change, and the next key.
    fn last(&mut self) -> Result<Last, StoreError>;
    /// The revision that last touched the calendar with this id; none when there is no such
    /// calendar.
    fn version(&mut self, id: &CalendarId) -> Result<Option<Revision>, StoreError>;
    /// The calendar, with every claim that must be in memory at `now`; none when there is no such
    /// calendar.
    fn calendar(&mut self, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError>;
    /// Those of these appointments that exist.
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that exist.
    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError>;
    /// The keys of at most `limit` appointments with this address and all calendars within reach,
    /// the earliest first.
    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError>;
    /// The appointments of a series, by start and id.
    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
}

/// A function that reads one moment of a store.
pub type Look<'a> = &'a mut dyn FnMut(&mut dyn Moment) -> Result<(), StoreError>;
