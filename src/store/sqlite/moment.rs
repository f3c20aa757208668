//! Reads on a snapshot of the file, for decisions off the writer's thread.
//!
//! All of them see one moment of the file: that of the transaction that is open.

use rusqlite::Connection;

use super::read;
use crate::store::{Last, Moment, StoreError, ZoneLookup};
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::Calendar;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::reach::Reach;
use bookd_core::time::Instant;

/// A snapshot of the file, within an open transaction of `connection`.
pub(super) struct SqliteMoment<'a> {
    pub(super) connection: &'a Connection,
    pub(super) zones: &'a ZoneLookup,
}

impl Moment for SqliteMoment<'_> {
    fn last(&mut self) -> Result<Last, StoreError> {
        super::last(self.connection)
    }

    fn version(&mut self, id: &CalendarId) -> Result<Option<Revision>, StoreError> {
        Ok(read::known_calendar(self.connection, id)?.map(|it| it.version))
    }

    fn calendar(&mut self, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError> {
        Ok(read::calendar(self.connection, self.zones, id, now)?.map(|(_, calendar)| calendar))
    }

    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        read::appointments(self.connection, ids)
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError> {
        read::appointments_by_key(self.connection, keys)
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        read::keys_of_email(self.connection, email, reach, limit)
    }

    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        read::appointments_of_series(self.connection, series)
    }
}
