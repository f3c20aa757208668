//! A batch that meets damage is split and decided again, each command alone, so that only the
//! commands are refused whose own reads or writes meet the damage.
//!
//! Nothing of the batch has happened by then: a commit that meets damage is undone before any
//! answer.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::store::StoreError;
use bookd_core::ids::{AppointmentId, CalendarId};
use bookd_core::time::Instant;

use super::Failure;
use super::actor::Actor;
use super::batch::{Envelope, refuse};
use super::damage::{DamagedBatch, log_damage};

impl Actor {
    /// Decides each command and expiry of a batch that met damage alone. One that is alone already
    /// is refused. Returns false when the outcome of a commit is not known.
    pub(super) fn decide_separately(
        &mut self,
        now: Instant,
        met: DamagedBatch,
    ) -> Result<bool, StoreError> {
        let DamagedBatch {
            envelopes,
            due,
            touched,
            error,
        } = met;
        if envelopes.len() + due.len() == 1 {
            self.damaged
                .unrecorded_expiries
                .extend(due.into_iter().map(|(time, _)| time));
            self.refuse_damaged(envelopes, touched, &error);
            return Ok(true);
        }
        let expiries = due.into_iter().map(|it| (Vec::new(), vec![it]));
        let mut parts = expiries.chain(envelopes.into_iter().map(|it| (vec![it], Vec::new())));
        while let Some((envelopes, due)) = parts.next() {
            let done = self.decide_alone(now, envelopes, due);
            let failure = match &done {
                Ok(true) => continue,
                Err(error) if !error.is_fatal() => Failure::StoreUnavailable(error.to_string()),
                _ => Failure::ShuttingDown,
            };
            for (envelopes, due) in parts {
                refuse(envelopes, &failure);
                self.put_back_expiries(due);
            }
            return done;
        }
        Ok(true)
    }

    /// Prepares and decides one command or expiry.
    fn decide_alone(
        &mut self,
        now: Instant,
        envelopes: Vec<Envelope>,
        due: Vec<(Instant, AppointmentId)>,
    ) -> Result<bool, StoreError> {
        // The appointments are as the undone batch left them.
        self.state.appointments.clear();
        match self.prepare(now, &envelopes, &mut [], &due) {
            Ok(seen) => self.decide(now, envelopes, due, &seen),
            Err(error) if error.is_damage() => self.decide_separately(
                now,
                DamagedBatch {
                    envelopes,
                    due,
                    touched: Vec::new(),
                    error,
                },
            ),
            Err(error) => {
                refuse(envelopes, &Failure::StoreUnavailable(error.to_string()));
                self.put_back_expiries(due);
                Err(error)
            }
        }
    }

    /// Puts back expiries that could not be recorded, to be tried again.
    pub(super) fn put_back_expiries(&mut self, due: Vec<(Instant, AppointmentId)>) {
        self.is_refused |= !due.is_empty();
        self.expiries.extend(due.into_iter().map(Reverse));
    }

    /// Refuses a command that met damage alone, and remembers its calendars. Damage of the
    /// request's own record is of no calendar.
    fn refuse_damaged(
        &mut self,
        envelopes: Vec<Envelope>,
        touched: Vec<CalendarId>,
        error: &StoreError,
    ) {
        let hashes: Vec<[u8; 16]> = envelopes
            .iter()
            .filter_map(|it| Some(it.options.request?.hash))
            .collect();
        let is_of_request = self.store.seen_requests(&hashes).is_err();
        let needed = envelopes.iter().flat_map(|it| it.command.needs().calendars);
        let calendars: HashSet<CalendarId> = if is_of_request {
            HashSet::new()
        } else {
            touched.into_iter().chain(needed).collect()
        };
        if calendars.is_empty() {
            log_damage(None, error);
        }
        calendars.iter().for_each(|id| self.damaged.note(id, error));
        refuse(envelopes, &Failure::Damaged);
    }
}
