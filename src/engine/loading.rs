//! Loading for a batch: its calendars, appointments and earlier requests, before any command is
//! decided.
//!
//! Calendars that come into memory are published at once, for reads of the same calendars.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::{RequestRecord, StoreError};
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::Calendar;
use bookd_core::command::{Command, Needs};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId};
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::actor::Actor;
use super::batch::Envelope;
use super::prefetch::{PrefetchSource, prefetch};
use super::{Failure, Load};

impl PrefetchSource for Actor {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn load_missing(
        &mut self,
        calendars: &mut dyn Iterator<Item = CalendarId>,
    ) -> Result<(), StoreError> {
        let mut missing: Vec<CalendarId> = calendars
            .filter(|id| !self.state.calendars.contains_key(id))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        self.load(missing)
    }

    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        self.store.load_appointments(ids)
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError> {
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

    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        self.store.load_series(series)
    }
}

impl Actor {
    /// Answers requests for calendars: loaded, or the first that does not exist, or why it cannot
    /// be loaded.
    pub(super) fn answer_loads(&self, loads: Vec<Load>, error: Option<&StoreError>) {
        for Load {
            calendars, reply, ..
        } in loads
        {
            let unloadable = calendars.iter().find_map(|id| self.unloadable.get(id));
            let why = error
                .map(|it| Failure::StoreUnavailable(it.to_string()))
                .or_else(|| unloadable.cloned());
            let absent = || {
                calendars
                    .iter()
                    .find(|id| !self.state.calendars.contains_key(*id))
                    .cloned()
            };
            let answer = why.map_or_else(|| Ok(absent()), Err);
            drop(reply.send(answer));
        }
    }

    /// Loads everything that the commands of a batch look at. Returns the stored answers of the
    /// requests among them that were made before.
    pub(super) fn prepare(
        &mut self,
        now: Instant,
        envelopes: &[Envelope],
        loads: &mut [Load],
        due: &[(Instant, AppointmentId)],
    ) -> Result<HashMap<[u8; 16], RequestRecord>, StoreError> {
        self.load_requested(loads)?;
        let hashes: Vec<[u8; 16]> = envelopes
            .iter()
            .filter_map(|it| Some(it.options.request?.hash))
            .collect();
        let seen = if hashes.is_empty() {
            Vec::new()
        } else {
            self.store.seen_requests(&hashes)?
        };
        self.load_missing(&mut seen.iter().filter_map(|it| it.calendar.clone()))?;
        let needs: Vec<Needs> = envelopes
            .iter()
            .map(|it| it.command.needs_within(&it.options.reach))
            .collect();
        let of_seen = seen.iter().flat_map(|it| it.appointments.iter().copied());
        prefetch(
            self,
            &needs,
            due.iter().map(|(_, id)| *id).chain(of_seen),
            now,
        )?;
        Ok(seen
            .into_iter()
            .map(|record| (record.hash, record))
            .collect())
    }

    /// Loads the calendars that reads have asked for. A calendar that a read has loaded already is
    /// adopted, if it has not changed since.
    pub(super) fn load_requested(&mut self, loads: &mut [Load]) -> Result<(), StoreError> {
        let mut adopted = Vec::new();
        for calendar in loads.iter_mut().flat_map(|it| it.adopted.drain(..)) {
            let is_missing = !self.state.calendars.contains_key(&calendar.id);
            let reaches_back = calendar.kept_from <= calendar.keep_from(self.state.last_time);
            let is_adopted = is_missing
                && reaches_back
                && match self.store.adopt(&calendar) {
                    Err(error) if error.is_fatal() => return Err(error),
                    // The calendar is loaded below, and the failure reported there.
                    adopted => adopted.unwrap_or(false),
                };
            if is_adopted {
                self.state
                    .calendars
                    .insert(calendar.id.clone(), Arc::clone(&calendar));
                adopted.push(calendar);
            }
        }
        self.publish_loaded(adopted);
        self.load_missing(&mut loads.iter().flat_map(|it| &it.calendars).cloned())
    }

    /// Loads and publishes calendars that are not in memory. They are loaded as of the time of the
    /// last commit, not of the clock: when a clock that was ahead is set right, `now` may go back
    /// to the last commit, but no further. A calendar loaded by a clock of next year would lack the
    /// claims of tomorrow.
    fn load(&mut self, missing: Vec<CalendarId>) -> Result<(), StoreError> {
        let (mut loaded, now) = (Vec::new(), self.state.last_time);
        for id in missing {
            // One calendar that cannot be loaded must not block commands on others.
            match self.store.load_calendars(std::slice::from_ref(&id), now) {
                Ok(found) => loaded.extend(found.into_iter().flatten().map(Arc::new)),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    if error.is_damage() {
                        self.damaged.note(&id, &error);
                    } else {
                        self.store_log.not_loaded(&id, &error);
                    }
                    self.unloadable.insert(id, error.into());
                }
            }
        }
        self.state
            .calendars
            .extend(loaded.iter().map(|it| (it.id.clone(), Arc::clone(it))));
        self.publish_loaded(loaded);
        Ok(())
    }

    /// Why nothing is written to a calendar, if it met damage.
    pub(super) fn refusal(&self, id: &CalendarId) -> Option<Failure> {
        self.damaged
            .refusal(id, self.state.calendars.get(id).map(|it| &**it))
    }

    /// Why a command cannot be decided now, if something that it looks at cannot be loaded or is
    /// damaged.
    pub(super) fn blocked(&self, command: &Command, reach: &Reach) -> Option<Failure> {
        if self.unloadable.is_empty() && self.damaged.is_empty() {
            return None;
        }
        let needs = command.needs();
        let named = needs
            .appointments
            .iter()
            .filter_map(|id| self.state.appointments.get(id))
            .filter(|it| reach.has_some_of(it));
        let series = needs.series_in(&self.state);
        let is_of_series = |it: &&Arc<Appointment>| it.series() == series && reach.has_some_of(it);
        let of_series = self
            .state
            .appointments
            .values()
            .filter(|it| series.is_some() && is_of_series(it));
        let mut calendars = needs
            .calendars
            .iter()
            .chain(named.chain(of_series).flat_map(|it| it.calendars()));
        calendars.find_map(|id| {
            self.unloadable
                .get(id)
                .cloned()
                .or_else(|| self.refusal(id))
        })
    }

    /// Loads the past claims that the limits of a calendar count and that are not in memory.
    /// Returns false when they cannot be loaded.
    pub(super) fn reach_back(&mut self, id: &CalendarId, now: Instant) -> bool {
        let Some(calendar) = self.state.calendars.get_mut(id) else {
            return true;
        };
        let from = calendar.keep_from(now);
        if calendar.kept_from <= from {
            return true;
        }
        match self.store.load_past(calendar, from) {
            Ok(past) => Arc::make_mut(calendar).reach_back(from, past),
            Err(error) => {
                tracing::warn!(calendar = %id, %error, "the past of a calendar cannot be loaded")
            }
        }
        calendar.kept_from <= from
    }

    /// Publishes calendars that came into memory.
    fn publish_loaded(&self, loaded: Vec<Arc<Calendar>>) {
        if !loaded.is_empty() {
            let shown = loaded.into_iter().map(|it| (it.id.clone(), Some(it)));
            self.snapshots
                .publish(self.state.revision, self.state.last_time, shown);
        }
    }
}
