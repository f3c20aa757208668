//! The writer's side of the store in memory: loading, committing and forgetting.
//!
//! A batch is judged before anything of it is applied, so that it happens whole or not at all.

use std::sync::Arc;

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::claims::Claim;
use bookd_core::calendar::{Calendar, LoadedClaims};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::quota::{QuotaStep, Usage};
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::{Memory, ScriptedFault, loaded};
use crate::store::{
    Boot, CommitBatch, CommitError, Expiring, Oldest, Reader, RequestRecord, Store, StoreError,
};

impl Store for Memory {
    fn boot(&mut self) -> Result<Boot, StoreError> {
        let data = self.lock();
        let waiting = data
            .state
            .appointments
            .values()
            .filter(|it| it.is_waiting());
        let expiring = waiting.filter_map(|it| {
            it.expire_time.map(|expire_time| Expiring {
                expire_time,
                appointment: it.id,
            })
        });
        let mut expiring: Vec<_> = expiring.collect();
        expiring.sort_by_key(|it| it.expire_time);
        let State {
            revision,
            last_time,
            next_key,
            ..
        } = data.state;
        let (code_key, sessions_from) = (data.code_key, Revision(1));
        let tokens = data.state.tokens.clone();
        Ok(Boot {
            revision,
            last_time,
            next_key,
            expiring,
            code_key,
            sessions_from,
            tokens,
        })
    }

    fn usage(&mut self, now: Instant) -> Result<Usage, StoreError> {
        let (data, mut usage) = (self.lock(), Usage::default());
        let appointments = data.state.appointments.values();
        let steps = data.state.calendars.keys().map(QuotaStep::calendar);
        let steps = steps.chain(appointments.flat_map(|it| QuotaStep::appointment(it)));
        steps.for_each(|step| usage.take(&step, now));
        Ok(usage)
    }

    fn load_calendars(
        &mut self,
        ids: &[CalendarId],
        now: Instant,
    ) -> Result<Vec<Option<Calendar>>, StoreError> {
        let mut data = self.lock();
        let load = |id: &CalendarId| {
            let calendar = loaded(data.state.calendars.get(id)?, now);
            data.known.insert(id.clone());
            Some(calendar)
        };
        Ok(ids.iter().map(load).collect())
    }

    fn load_past(
        &mut self,
        calendar: &Calendar,
        from: Instant,
    ) -> Result<LoadedClaims, StoreError> {
        let data = self.lock();
        let is_past =
            |claim: &&Claim| claim.padded().end > from && claim.padded().end <= calendar.kept_from;
        let claims = data
            .state
            .calendars
            .get(&calendar.id)
            .map(|it| it.claims.iter().filter(is_past).copied().collect());
        // Requests that take no time always stay in memory.
        Ok(LoadedClaims {
            claims: claims.unwrap_or_default(),
            requests: Default::default(),
        })
    }

    fn let_go(&mut self, ids: &[CalendarId]) {
        let mut data = self.lock();
        for id in ids {
            data.known.remove(id);
        }
    }

    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.lock().by_ids(ids))
    }

    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.lock().by_keys(keys))
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        Ok(self.lock().keys_by_email(email, reach, limit))
    }

    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.lock().by_series(series))
    }

    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError> {
        Ok(self.lock().requests_by_hash(hashes))
    }

    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError> {
        let mut data = self.lock();
        let is_as_it_is =
            |it: &Arc<Calendar>| (it.since, it.version) == (calendar.since, calendar.version);
        let is_known = data
            .state
            .calendars
            .get(&calendar.id)
            .is_some_and(is_as_it_is);
        data.known.extend(is_known.then(|| calendar.id.clone()));
        Ok(is_known)
    }

    fn commit(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        let held = self.lock().held.take();
        if let Some(held) = held {
            let _released_or_dropped = held.recv();
        }
        let mut data = self.lock();
        let fault = data.faults.pop_front();
        if let Some(ScriptedFault {
            error,
            is_late: false,
        }) = fault
        {
            return Err(error);
        }
        data.check(batch)?;
        batch.changes.iter().for_each(|change| data.apply(change));
        data.requests.extend(
            batch
                .requests
                .iter()
                .map(|request| (request.hash, request.clone())),
        );
        fault.map_or(Ok(()), |fault| Err(fault.error))
    }

    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError> {
        let mut data = self.lock();
        if let Some(error) = data.forgetting_fault.take() {
            return Err(error);
        }
        let mut old: Vec<_> = data
            .requests
            .values()
            .filter(|it| it.time < before)
            .map(|it| (it.time, it.hash))
            .collect();
        old.sort_unstable();
        old.truncate(limit);
        old.iter()
            .for_each(|(_, hash)| drop(data.requests.remove(hash)));
        Ok(old.len())
    }

    fn compact_changes(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError> {
        let mut data = self.lock();
        let but_last = data.changes.len().saturating_sub(1);
        let old = data.changes[..but_last]
            .iter()
            .take(limit)
            .take_while(|it| data.age(it) < before)
            .count();
        let gone: Vec<Revision> = data.changes.drain(..old).map(|it| it.revision).collect();
        gone.iter()
            .for_each(|revision| drop(data.replaced.remove(revision)));
        Ok(data.oldest())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}
