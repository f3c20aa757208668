//! A store whose machine may lose power: a commit that ends after the power is gone is answered as
//! unknown, because a program without power says nothing.

use bookd::store::{
    Boot, CommitBatch, CommitError, Oldest, Reader, RequestRecord, Store, StoreError,
};
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::{Calendar, LoadedClaims};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId};
use bookd_core::log::LogEvent;
use bookd_core::quota::Usage;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;

use super::disk::Power;

pub struct PowerLossStore<S> {
    pub store: S,
    pub power: Power,
}

impl<S: Store> PowerLossStore<S> {
    fn believed<T>(&self, said: Result<T, CommitError>) -> Result<T, CommitError> {
        if self.power.is_off() {
            return Err(CommitError::Unknown(StoreError::Io(
                "the power is gone".to_owned(),
            )));
        }
        said
    }
}

impl<S: Store> Store for PowerLossStore<S> {
    fn boot(&mut self) -> Result<Boot, StoreError> {
        self.store.boot()
    }

    fn usage(&mut self, now: Instant) -> Result<Usage, StoreError> {
        self.store.usage(now)
    }

    fn load_calendars(
        &mut self,
        ids: &[CalendarId],
        now: Instant,
    ) -> Result<Vec<Option<Calendar>>, StoreError> {
        self.store.load_calendars(ids, now)
    }

    fn load_past(
        &mut self,
        calendar: &Calendar,
        from: Instant,
    ) -> Result<LoadedClaims, StoreError> {
        self.store.load_past(calendar, from)
    }

    fn let_go(&mut self, ids: &[CalendarId]) {
        self.store.let_go(ids);
    }

    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        self.store.load_appointments(ids)
    }

    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError> {
        self.store.load_by_key(keys)
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        self.store.keys_of_email(email, reach, limit)
    }

    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        self.store.load_series(series)
    }

    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError> {
        self.store.seen_requests(hashes)
    }

    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError> {
        self.store.adopt(calendar)
    }

    fn commit(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        let said = self.store.commit(batch);
        self.believed(said)
    }

    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError> {
        let said = self.store.forget_requests(before, limit);
        self.believed(said)
    }

    fn compact_changes(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError> {
        let said = self.store.compact_changes(before, limit);
        self.believed(said)
    }

    fn compare_derived(&mut self, found: &mut dyn FnMut(String)) -> Result<u64, StoreError> {
        self.store.compare_derived(found)
    }

    fn begin_deletion(
        &mut self,
        calendar: &CalendarId,
        now: Instant,
    ) -> Result<Option<u64>, CommitError> {
        let said = self.store.begin_deletion(calendar, now);
        self.believed(said)
    }

    fn stage(
        &mut self,
        deletion: u64,
        before: u64,
        events: &[LogEvent],
    ) -> Result<(), CommitError> {
        let said = self.store.stage(deletion, before, events);
        self.believed(said)
    }

    fn settle(&mut self, limit: usize, under_way: Option<u64>) -> Result<bool, CommitError> {
        let said = self.store.settle(limit, under_way);
        self.believed(said)
    }

    fn after_commit(&mut self) -> Result<(), CommitError> {
        self.store.after_commit()
    }

    fn tend(&mut self) {
        self.store.tend();
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.store.reader()
    }
}
