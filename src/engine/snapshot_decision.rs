//! Decisions on a snapshot of the store: dry runs, and the refusals of large commands.
//!
//! Neither changes anything, so that neither needs the writer. The decision is made off the
//! writer's thread, on one moment of the store that shows every change that was acknowledged. A
//! large command that is not refused goes to the writer, which decides it again. Calendars are
//! taken from memory where the moment has the same version of them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::store::{Last, Moment, Reader, StoreError};
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::decide::{decide_within, expire};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Caller, SeriesId};
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::batch::{Draft, dry_run};
use super::prefetch::{PrefetchSource, add_appointments, prefetch};
use super::snapshots::Snapshots;
use super::tenant_quotas::{TenantQuotas, steps_of};
use super::{Answer, Failure, SubmitOptions};

/// The source of one decision: a moment of the store, and the published calendars.
struct SnapshotSource<'a> {
    moment: &'a mut dyn Moment,
    snapshots: &'a Snapshots,
    state: State,
}

impl PrefetchSource for SnapshotSource<'_> {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn load_missing(
        &mut self,
        calendars: &mut dyn Iterator<Item = CalendarId>,
    ) -> Result<(), StoreError> {
        for id in calendars {
            if self.state.calendars.contains_key(&id) {
                continue;
            }
            let Some(version) = self.moment.version(&id)? else {
                continue;
            };
            let shown = self
                .snapshots
                .calendar(&id)
                .filter(|it| it.version == version);
            let found = match shown {
                Some(shown) => Some(shown),
                None => self
                    .moment
                    .calendar(&id, self.state.last_time)?
                    .map(Arc::new),
            };
            self.state.calendars.extend(found.map(|it| (id, it)));
        }
        Ok(())
    }

    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        self.moment.appointments(ids)
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError> {
        self.moment.appointments_by_key(keys)
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        self.moment.keys_of_email(email, reach, limit)
    }

    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        self.moment.series(series)
    }
}

/// Calendars that were loaded for the writer to adopt.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) calendars: Vec<Arc<Calendar>>,
    /// The first requested calendar that does not exist.
    pub(super) absent: Option<CalendarId>,
}

/// Loads these calendars as the writer does: as of the time of the last commit.
pub(super) fn load(reader: &mut dyn Reader, ids: &[CalendarId]) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    reader.at_once(&mut |moment| {
        let Last { time, .. } = moment.last()?;
        for id in ids {
            match moment.calendar(id, time)? {
                Some(calendar) => loaded.calendars.push(Arc::new(calendar)),
                None => loaded.absent = loaded.absent.take().or_else(|| Some(id.clone())),
            }
        }
        Ok(())
    })?;
    Ok(loaded)
}

/// The answer to a dry run, or the refusal of a command; none when the writer must decide.
pub(super) fn answer(
    reader: &mut dyn Reader,
    shared: (&Snapshots, &TenantQuotas),
    command: &Command,
    options: &SubmitOptions,
    clock: Instant,
) -> Result<Option<Result<Answer, Failure>>, StoreError> {
    let mut answer = None;
    reader.at_once(&mut |moment| {
        answer = answer_at(moment, shared, command, options, clock)?;
        Ok(())
    })?;
    Ok(answer)
}

fn answer_at(
    moment: &mut dyn Moment,
    (snapshots, quotas): (&Snapshots, &TenantQuotas),
    command: &Command,
    options: &SubmitOptions,
    clock: Instant,
) -> Result<Option<Result<Answer, Failure>>, StoreError> {
    let Last {
        revision,
        time,
        next_key,
    } = moment.last()?;
    let now = clock.max(time);
    let state = State {
        revision,
        last_time: time,
        next_key,
        tokens: snapshots.tokens().borrow().clone(),
        ..State::default()
    };
    let mut source = SnapshotSource {
        moment,
        snapshots,
        state,
    };
    let needs = command.needs_within(&options.reach);
    prefetch(&mut source, &[needs], [], now)?;
    source.expire(now)?;
    let decision = match decide_within(&options.reach, &source.state, command, now) {
        Err(refusal) => return Ok(Some(Err(refusal.into()))),
        Ok(decision) => decision,
    };
    let batch = quotas.batch(now);
    let steps = steps_of(batch.as_ref(), &source.state, &decision.events);
    let by = (decision.cause, &options.reach);
    if let Err(refusal) = quotas.expect(batch.as_ref(), &steps, by) {
        // Commits go on meanwhile: what tenants have may be counted of another moment.
        let is_of_moment = quotas.is_as_of(revision);
        return Ok(is_of_moment.then(|| Err(refusal.into())));
    }
    if !options.is_dry_run {
        return Ok(None);
    }
    let Draft {
        outcome, calendar, ..
    } = dry_run(&source.state, decision, now);
    Ok(Some(Ok(Answer {
        revision,
        outcome,
        calendar,
        outside: Vec::new(),
        time: now,
        commit: None,
    })))
}

impl SnapshotSource<'_> {
    /// Records expiries in the state of this decision, as the writer does before each batch.
    fn expire(&mut self, now: Instant) -> Result<(), StoreError> {
        let calendars: Vec<Arc<Calendar>> = self.state.calendars.values().cloned().collect();
        let claims = calendars
            .iter()
            .flat_map(|it| it.claims.iter().chain(it.requests.values()));
        let known: HashSet<AppointmentKey> =
            self.state.appointments.values().map(|it| it.key).collect();
        let due: Vec<AppointmentKey> = claims
            .filter(|it| !it.is_alive(now))
            .map(|it| it.key())
            .filter(|it| !known.contains(it))
            .collect();
        let found = self.moment.appointments_by_key(&due)?;
        add_appointments(self, found)?;
        let mut waiting: Vec<_> = self
            .state
            .appointments
            .values()
            .filter(|it| it.is_waiting())
            .cloned()
            .collect();
        waiting.retain(|it| it.expire_time.is_some_and(|due| due <= now));
        waiting.sort_unstable_by_key(|it| (it.expire_time, it.key));
        for it in waiting {
            let expired = expire(&self.state, it.id, now);
            if let Some(change) =
                expired.and_then(|it| it.change(&self.state, now, Caller::default()))
            {
                self.state.apply(&change);
            }
        }
        Ok(())
    }
}
