//! What is asked of a store beside its writer: appointments and calendars as they are, or were at one moment.

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::appointment_type::Stamps;
use bookd_core::calendar::{Calendar, Profile};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::time::Instant;

use super::{ListPage, ListQuery, StoreError};

/// Questions about what is stored. Every answer is of one moment of the store.
pub trait Queries {
    /// Those of these appointments that there are, and the revision.
    fn appointments(
        &mut self,
        ids: &[AppointmentId],
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// Those of these appointments that there are, and the revision.
    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// Appointments by key, whatever their state, and the revision: a walk over all there are.
    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// A page of a list.
    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError>;
    /// Whether there is a calendar with this id.
    fn has_calendar(&mut self, id: &CalendarId) -> Result<bool, StoreError>;
    /// Whether there is or ever was a calendar with this id: what was booked of it is listed under it.
    fn ever_had(&mut self, id: &CalendarId) -> Result<bool, StoreError>;
    /// Calendars by id, and the revision.
    fn list_calendars(
        &mut self,
        prefix: &str,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError>;
}

/// A calendar as a list shows it.
#[derive(Clone, Debug)]
pub struct CalendarRow {
    /// Its name.
    pub id: CalendarId,
    /// What it is.
    pub profile: Profile,
    /// When it changed.
    pub stamps: Stamps,
}

/// Where a store stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
}

/// One moment of a store: whatever a decision looks at, all of it as of the same revision.
pub trait Moment {
    /// Where the store stands.
    fn last(&mut self) -> Result<Last, StoreError>;
    /// The revision that last touched the calendar which has this id; none when there is none.
    fn version(&mut self, id: &CalendarId) -> Result<Option<Revision>, StoreError>;
    /// The calendar, with every claim that must be in memory at `now`; none when there is none.
    fn calendar(&mut self, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError>;
    /// Those of these appointments that there are.
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that there are.
    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError>;
    /// See `Store::keys_of_email`.
    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError>;
    /// See `Store::load_series`.
    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
}

/// What looks at one moment of a store.
pub type Look<'a> = &'a mut dyn FnMut(&mut dyn Moment) -> Result<(), StoreError>;
