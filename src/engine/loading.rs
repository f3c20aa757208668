//! What a batch looks at is loaded before any of it is decided: calendars, appointments, requests that were made before.
//!
//! Calendars that come into memory are published at once: readers ask for the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::appointment::Appointment;
use crate::domain::command::Needs;
use crate::domain::decide::REDACTED_MAX;
use crate::domain::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId};
use crate::domain::time::Instant;
use crate::store::{RequestRecord, StoreError};

use super::actor::{Actor, Load};
use super::batch::Envelope;

impl Actor {
    /// Loads whatever the batch will look at, and which of its requests were made before.
    pub(super) fn prepare(
        &mut self,
        now: Instant,
        envelopes: &[Envelope],
        loads: &[Load],
        due: &[(Instant, AppointmentId)],
    ) -> Result<HashMap<[u8; 16], RequestRecord>, StoreError> {
        let hashes: Vec<[u8; 16]> = envelopes.iter().filter_map(|it| Some(it.terms.request?.hash)).collect();
        let seen = if hashes.is_empty() { Vec::new() } else { self.store.seen_requests(&hashes)? };
        let needs: Vec<Needs> = envelopes.iter().map(|it| it.command.needs()).collect();
        let calendars = needs.iter().flat_map(|it| &it.calendars);
        let calendars = calendars.chain(loads.iter().flat_map(|(calendars, _)| calendars));
        self.load(calendars.chain(seen.iter().filter_map(|it| it.calendar.as_ref())))?;
        let mut keys: Vec<AppointmentKey> = Vec::new();
        for calendar in needs.iter().filter_map(|it| self.state.calendars.get(it.all_of.as_ref()?)) {
            let claims = calendar.claims.ending_after(now).chain(calendar.requests.values());
            keys.extend(claims.map(|claim| claim.key()));
        }
        let ids: HashSet<AppointmentId> = needs
            .iter()
            .flat_map(|it| it.appointments.iter().copied())
            .chain(due.iter().map(|(_, id)| *id))
            .chain(seen.iter().flat_map(|it| it.appointments.iter().copied()))
            .collect();
        for email in needs.iter().filter_map(|it| it.email.as_ref()) {
            keys.extend(self.store.keys_of_email(email, REDACTED_MAX)?);
        }
        self.load_appointments(&ids.into_iter().collect::<Vec<_>>(), &keys)?;
        self.load_series(&needs)?;
        Ok(seen.into_iter().map(|record| (record.hash, record)).collect())
    }

    fn load_appointments(&mut self, ids: &[AppointmentId], keys: &[AppointmentKey]) -> Result<(), StoreError> {
        if ids.is_empty() && keys.is_empty() {
            return Ok(());
        }
        let mut loaded = self.store.load_appointments(ids)?;
        loaded.extend(self.store.load_by_key(keys)?);
        self.keep_appointments(loaded)
    }

    fn load_series(&mut self, needs: &[Needs]) -> Result<(), StoreError> {
        let wanted: HashSet<SeriesId> = needs.iter().filter_map(|it| it.series_in(&self.state)).collect();
        for series in wanted {
            let loaded = self.store.load_series(series)?;
            self.keep_appointments(loaded)?;
        }
        Ok(())
    }

    /// Keeps appointments for the batch at hand, with the calendars they claim.
    fn keep_appointments(&mut self, loaded: Vec<Appointment>) -> Result<(), StoreError> {
        let calendars: HashSet<CalendarId> = loaded.iter().flat_map(|it| it.calendars().cloned()).collect();
        self.load(&calendars)?;
        self.state.appointments.extend(loaded.into_iter().map(|it| (it.id, Arc::new(it))));
        Ok(())
    }

    /// Loads and publishes those of these calendars that are not in memory. They are loaded as of the last commit, and not
    /// of what the clock shows: `now` may come back to that, when a clock that was ahead is set right, and no further. What
    /// a clock of next year takes for past is what is booked for tomorrow.
    pub(super) fn load<'a>(&mut self, calendars: impl IntoIterator<Item = &'a CalendarId>) -> Result<(), StoreError> {
        let mut missing: Vec<CalendarId> =
            calendars.into_iter().filter(|id| !self.state.calendars.contains_key(*id)).cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let (mut loaded, now) = (Vec::new(), self.state.last_time);
        for id in missing {
            // One calendar that cannot be loaded must not keep the others from their business.
            match self.store.load_calendars(std::slice::from_ref(&id), now) {
                Ok(found) => loaded.extend(found.into_iter().flatten().map(Arc::new)),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    tracing::warn!(calendar = %id, %error, "a calendar cannot be loaded");
                    self.unloadable.insert(id, error.to_string());
                }
            }
        }
        self.state.calendars.extend(loaded.iter().map(|it| (it.id.clone(), Arc::clone(it))));
        let shown = loaded.into_iter().map(|it| (it.id.clone(), Some(it)));
        self.published.publish(self.state.revision, self.state.last_time, shown);
        Ok(())
    }
}
