//! Decisions beside the writer: dry runs, and the refusals of large commands.
//!
//! Neither changes anything, so neither needs the writer: it is decided on one moment of the store that has everything
//! which anybody was answered, by whichever thread has time. A large command that is not refused goes to the writer,
//! which decides it again. Calendars are taken from memory where the moment has the same version of them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::store::{Last, Moment, Reader, StoreError};
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::decide::{decide, expire};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Caller, SeriesId};
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::batch::{Draft, dry_run};
use super::prefetch::{PrefetchSource, gather, keep};
use super::snapshots::Snapshots;
use super::{Answer, Failure, Terms};

/// What one decision looks at.
struct Beside<'a> {
    moment: &'a mut dyn Moment,
    published: &'a Snapshots,
    state: State,
}

impl PrefetchSource for Beside<'_> {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn bring(&mut self, calendars: &mut dyn Iterator<Item = CalendarId>) -> Result<(), StoreError> {
        for id in calendars {
            if self.state.calendars.contains_key(&id) {
                continue;
            }
            let Some(version) = self.moment.version(&id)? else {
                continue;
            };
            let shown = self
                .published
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
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        self.moment.keys_of_email(email, limit)
    }

    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        self.moment.series(series)
    }
}

/// What was loaded for the writer to take over.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) calendars: Vec<Arc<Calendar>>,
    /// The first that does not exist.
    pub(super) absent: Option<CalendarId>,
}

/// Loads these calendars as the writer does: as of the last commit.
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

/// The answer to a dry run, or the refusal of a command; none when the writer must be asked.
pub(super) fn answer(
    reader: &mut dyn Reader,
    published: &Snapshots,
    command: &Command,
    terms: &Terms,
    clock: Instant,
) -> Result<Option<Result<Answer, Failure>>, StoreError> {
    let mut answer = None;
    reader.at_once(&mut |moment| {
        answer = answer_at(moment, published, command, terms, clock)?;
        Ok(())
    })?;
    Ok(answer)
}

fn answer_at(
    moment: &mut dyn Moment,
    published: &Snapshots,
    command: &Command,
    terms: &Terms,
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
        ..State::default()
    };
    let mut beside = Beside {
        moment,
        published,
        state,
    };
    gather(&mut beside, &[command.needs()], [], now)?;
    beside.expire(now)?;
    let decision = match decide(&beside.state, command, now) {
        Err(refusal) => return Ok(Some(Err(refusal.into()))),
        Ok(decision) if terms.is_dry_run => decision,
        Ok(_) => return Ok(None),
    };
    let Draft {
        outcome, calendar, ..
    } = dry_run(&beside.state, decision, now);
    Ok(Some(Ok(Answer {
        revision,
        outcome,
        calendar,
        outside: Vec::new(),
        time: now,
    })))
}

impl Beside<'_> {
    /// Records for this decision what has run out, as the writer does before each of its own.
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
        keep(self, found)?;
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
