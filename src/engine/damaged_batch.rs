//! A batch that meets damage is taken apart and decided again, each command alone, so that only those are refused whose own
//! reads or writes meet it.
//!
//! Nothing has happened by then: a commit that meets damage is undone before anybody is told.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::store::StoreError;
use bookd_core::ids::{AppointmentId, CalendarId};
use bookd_core::time::Instant;

use super::Failure;
use super::actor::Actor;
use super::batch::{Envelope, refuse};
use super::damage::{Met, tell};

impl Actor {
    /// Decides the parts of a batch that met damage, each alone; one that is alone is refused. False when the outcome of a
    /// commit is not known.
    pub(super) fn apart(&mut self, now: Instant, met: Met) -> Result<bool, StoreError> {
        let Met {
            envelopes,
            due,
            touched,
            error,
        } = met;
        if envelopes.len() + due.len() == 1 {
            self.damaged
                .given_up
                .extend(due.into_iter().map(|(time, _)| time));
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
            for (envelopes, due) in parts {
                refuse(envelopes, &failure);
                self.put_off(due);
            }
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
            Err(error) if error.is_damage() => self.apart(
                now,
                Met {
                    envelopes,
                    due,
                    touched: Vec::new(),
                    error,
                },
            ),
            Err(error) => {
                refuse(envelopes, &Failure::StoreUnavailable(error.to_string()));
                self.put_off(due);
                Err(error)
            }
        }
    }

    /// What could not be recorded now is tried again.
    pub(super) fn put_off(&mut self, due: Vec<(Instant, AppointmentId)>) {
        self.is_refused |= !due.is_empty();
        self.expiries.extend(due.into_iter().map(Reverse));
    }

    /// Refuses what met damage alone. An expiry is not tried again before a restart; until then nothing is written to
    /// calendars that it holds time of.
    fn refuse_damaged(
        &mut self,
        envelopes: Vec<Envelope>,
        touched: Vec<CalendarId>,
        error: &StoreError,
    ) {
        let hashes: Vec<[u8; 16]> = envelopes
            .iter()
            .filter_map(|it| Some(it.terms.request?.hash))
            .collect();
        let is_of_request = self.store.seen_requests(&hashes).is_err();
        let needed = envelopes.iter().flat_map(|it| it.command.needs().calendars);
        let calendars: HashSet<CalendarId> = if is_of_request {
            HashSet::new()
        } else {
            touched.into_iter().chain(needed).collect()
        };
        if calendars.is_empty() {
            tell(None, error);
        }
        calendars.iter().for_each(|id| self.damaged.note(id, error));
        refuse(envelopes, &Failure::Damaged);
    }
}
