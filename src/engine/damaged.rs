//! What the writer does about damage: whatever meets it is refused, the rest goes on.
//!
//! A batch that meets damage is taken apart and decided again, each command alone, so that only those are refused whose own
//! reads or writes meet it. The calendars of these are not written to until a restart. Nothing has happened by then: a
//! commit that meets damage is undone before anybody is told.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant as Deadline;

use crate::domain::ids::{AppointmentId, CalendarId};
use crate::domain::time::Instant;
use crate::store::StoreError;

use super::Failure;
use super::actor::Actor;
use super::batch::{Envelope, refuse};

/// How often damage that is met again is told in the log, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How many calendars are noted; should there be more, each command that meets its damage is refused all the same.
const NOTED_MAX: usize = 100_000;

/// The calendars that damage was met in.
#[derive(Default)]
pub(super) struct Damaged(HashSet<CalendarId>);

impl Damaged {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes a calendar, and tells of it the first time.
    pub(super) fn note(&mut self, id: &CalendarId, error: &StoreError) {
        let is_first = self.0.len() < NOTED_MAX && self.0.insert(id.clone());
        tell(is_first.then_some(id), error);
    }

    /// Why nothing is written to this calendar.
    pub(super) fn refusal(&self, id: &CalendarId) -> Option<Failure> {
        self.0.contains(id).then_some(Failure::Damaged)
    }
}

/// Tells in the log of damage: of a calendar in which it is met for the first time at once, otherwise once a second.
pub(super) fn tell(calendar: Option<&CalendarId>, error: &StoreError) {
    /// When it was told last, and how often it was met since.
    static LAST: Mutex<(Option<Deadline>, u64)> = Mutex::new((None, 0));
    if let Some(calendar) = calendar {
        tracing::error!(%calendar, %error, "damage: this calendar is not written to until it is restored");
        return;
    }
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.1 += 1;
    let now = Deadline::now();
    // A clock of a test may begin anew.
    if last.0.is_none_or(|told| now < told || now.duration_since(told) >= TOLD_EVERY) {
        tracing::error!(%error, times = last.1, "damage was met, and what met it was refused");
        *last = (Some(now), 0);
    }
}

/// A batch that met damage. Nothing of it has happened.
pub(super) struct Met {
    pub(super) envelopes: Vec<Envelope>,
    pub(super) due: Vec<(Instant, AppointmentId)>,
    /// The calendars that it was about to change.
    pub(super) touched: Vec<CalendarId>,
    pub(super) error: StoreError,
}

impl Actor {
    /// Decides the parts of a batch that met damage, each alone; one that is alone is refused. False when the outcome of a
    /// commit is not known.
    pub(super) fn apart(&mut self, now: Instant, met: Met) -> Result<bool, StoreError> {
        let Met { envelopes, due, touched, error } = met;
        if envelopes.len() + due.len() == 1 {
            self.refuse_damaged(envelopes, touched, &error);
            return Ok(true);
        }
        let expiries = due.into_iter().map(|it| (Vec::new(), vec![it]));
        let mut parts = expiries.chain(envelopes.into_iter().map(|it| (vec![it], Vec::new())));
        while let Some((envelopes, due)) = parts.next() {
            let done = self.alone(now, envelopes, due);
            let failure = match &done {
                Ok(true) => continue,
                Err(error) if !error.is_fatal() => Failure::StoreUnavailable(error.to_string()),
                _ => Failure::ShuttingDown,
            };
            refuse(parts.flat_map(|(envelopes, _)| envelopes).collect(), &failure);
            return done;
        }
        Ok(true)
    }

    fn alone(
        &mut self,
        now: Instant,
        envelopes: Vec<Envelope>,
        due: Vec<(Instant, AppointmentId)>,
    ) -> Result<bool, StoreError> {
        // What an undone batch made of them is not so.
        self.state.appointments.clear();
        match self.prepare(now, &envelopes, &mut [], &due) {
            Ok(seen) => self.decide(now, envelopes, due, &seen),
            Err(error) if error.is_damage() => self.apart(now, Met { envelopes, due, touched: Vec::new(), error }),
            Err(error) => {
                refuse(envelopes, &Failure::StoreUnavailable(error.to_string()));
                Err(error)
            }
        }
    }

    /// Refuses what met damage alone. An expiry is not tried again before a restart: its time is free all the same.
    fn refuse_damaged(&mut self, envelopes: Vec<Envelope>, touched: Vec<CalendarId>, error: &StoreError) {
        let hashes: Vec<[u8; 16]> = envelopes.iter().filter_map(|it| Some(it.terms.request?.hash)).collect();
        let is_of_request = self.store.seen_requests(&hashes).is_err();
        let needed = envelopes.iter().flat_map(|it| it.command.needs().calendars);
        let calendars: HashSet<CalendarId> =
            if is_of_request { HashSet::new() } else { touched.into_iter().chain(needed).collect() };
        if calendars.is_empty() {
            tell(None, error);
        }
        calendars.iter().for_each(|id| self.damaged.note(id, error));
        refuse(envelopes, &Failure::Damaged);
    }
}
