//! The reference for transitions: the outcome of each command about an existing appointment, by the
//! table of states, written out once more.
//!
//! The time of a move is taken by `Reference::take` alone.

use std::collections::BTreeSet;

use bookd_core::appointment::{AppointmentState as S, Assignment};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::time::{HOUR, Minutes, Seconds};

use crate::checker::{Checker, Mates};
use crate::reference::{Booked, Outcome, Reference, Refused, Taken, Wish};

impl Reference {
    fn find(&self, id: u128) -> Result<(Booked, S), Refused> {
        let booked = self.appointments.get(&id).ok_or(Refused::NotFound)?;
        Ok((booked.clone(), booked.state_at(self.now)))
    }

    fn put(&mut self, id: u128, booked: Booked) -> Outcome {
        self.appointments.insert(id, booked);
        Ok(true)
    }

    fn hold(&self, id: u128) -> Result<(Booked, S), Refused> {
        match self.find(id)? {
            (booked, S::Expired) if booked.expiry.is_some() => Err(Refused::HoldExpired),
            found => Ok(found),
        }
    }

    /// Turns a hold into an appointment, with a name of its own or that of the hold.
    pub(crate) fn confirm(&mut self, id: u128, brings_name: bool) -> Outcome {
        let (booked, state) = self.hold(id)?;
        match state {
            S::Held if !brings_name && !booked.is_named => Err(Refused::Invalid),
            S::Held => {
                let (state, blocks, expiry) =
                    self.new_state(&booked.calendars, &booked.type_id, booked.start);
                self.put(
                    id,
                    Booked {
                        state,
                        blocks,
                        expiry,
                        is_named: true,
                        ..booked
                    },
                )
            }
            S::Pending | S::Confirmed if brings_name && !booked.is_named => Err(Refused::State),
            S::Pending | S::Confirmed => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn extend(&mut self, id: u128, ttl: Seconds) -> Outcome {
        let (booked, state) = self.hold(id)?;
        let expiry = Some(self.now.plus(ttl.seconds()).min(booked.made.plus(2 * HOUR)));
        match state {
            S::Held if expiry == booked.expiry => Ok(false),
            S::Held => self.put(id, Booked { expiry, ..booked }),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn release(&mut self, id: u128) -> Outcome {
        let (booked, state) = self.hold(id)?;
        match state {
            S::Held => self.put(
                id,
                Booked {
                    state: S::Cancelled,
                    expiry: None,
                    ..booked
                },
            ),
            S::Cancelled => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn approve(&mut self, id: u128) -> Outcome {
        let (booked, state) = self.find(id)?;
        match state {
            S::Pending => {
                let buffers = if booked.blocks {
                    booked.buffers.clone()
                } else {
                    self.take_later(&booked)?
                };
                self.put(
                    id,
                    Booked {
                        state: S::Confirmed,
                        blocks: true,
                        expiry: None,
                        buffers,
                        ..booked
                    },
                )
            }
            S::Confirmed => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// The buffers of a request that takes its time only now; refused where its time is taken.
    fn take_later(&self, booked: &Booked) -> Result<Vec<(Minutes, Minutes)>, Refused> {
        let types = booked
            .calendars
            .iter()
            .map(|id| self.type_of(id, &booked.type_id));
        let types = types.collect::<Result<Vec<_>, _>>()?;
        let is_shared = types.iter().all(|it| it.capacity > 1);
        let mut buffers = Vec::new();
        for (id, of_type) in booked.calendars.iter().zip(&types) {
            let calendar = self.with_claims(id);
            let mut checker = Checker::new(&calendar, of_type, booked.duration, self.now);
            checker.ignored_rules = booked.ignored;
            checker.mates = if is_shared {
                self.mates(
                    &booked.type_id,
                    booked.start,
                    booked.duration,
                    &booked.calendars,
                )
            } else {
                Mates::Keys(BTreeSet::new())
            };
            if !checker.is_available(booked.start) {
                return Err(Refused::Race);
            }
            buffers.push(checker.buffers(booked.start));
        }
        Ok(buffers)
    }

    pub(crate) fn decline(&mut self, id: u128) -> Outcome {
        let (booked, state) = self.find(id)?;
        match state {
            S::Pending => self.put(
                id,
                Booked {
                    state: S::Declined,
                    blocks: true,
                    expiry: None,
                    ..booked
                },
            ),
            S::Declined => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// Whether the cut-off has passed, by the strictest of its types.
    fn is_late(
        &self,
        booked: &Booked,
        state: S,
        notice: impl Fn(&AppointmentType) -> Option<Seconds>,
    ) -> bool {
        let types = booked
            .calendars
            .iter()
            .map(|id| self.type_of(id, &booked.type_id).unwrap());
        let strictest = types.filter_map(|it| notice(&it)).max();
        state != S::Held
            && strictest.is_some_and(|notice| self.now > booked.start.plus(-notice.seconds()))
    }

    pub(crate) fn cancel(&mut self, id: u128) -> Outcome {
        let (booked, state) = self.find(id)?;
        match state {
            S::Held | S::Pending | S::Confirmed
                if self.is_late(&booked, state, |it| it.cancel_notice) =>
            {
                Err(Refused::TooLate)
            }
            S::Held | S::Pending | S::Confirmed => self.put(
                id,
                Booked {
                    state: S::Cancelled,
                    blocks: true,
                    expiry: None,
                    ..booked
                },
            ),
            S::Cancelled => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// Moves an appointment; a wish without calendars keeps the present ones.
    pub(crate) fn reschedule(&mut self, id: u128, to: &Wish) -> Outcome {
        let (booked, state) = self.find(id)?;
        let stays = to.calendars.is_empty();
        let calendars = if stays {
            booked.calendars.clone()
        } else {
            to.calendars.clone()
        };
        let assignment = if stays {
            Assignment::All
        } else {
            to.assignment
        };
        for calendar in &calendars {
            self.type_of(calendar, &booked.type_id)?;
        }
        if !matches!(state, S::Held | S::Pending | S::Confirmed) {
            return Err(Refused::State);
        }
        if self.is_late(&booked, state, |it| it.reschedule_notice) {
            return Err(Refused::TooLate);
        }
        let duration = to.duration.unwrap_or(booked.duration);
        if (to.start, duration, &calendars) == (booked.start, booked.duration, &booked.calendars) {
            return Ok(false);
        }
        let duration = Some(duration);
        let wish = Wish {
            calendars,
            assignment,
            type_id: booked.type_id.clone(),
            duration,
            ..to.clone()
        };
        let Taken {
            calendars,
            buffers,
            duration,
        } = self.take(&wish, Some(&booked))?;
        let expiry = if state == S::Pending {
            Some(to.start.max(self.now.plus(1)))
        } else {
            booked.expiry
        };
        self.put(
            id,
            Booked {
                calendars,
                buffers,
                duration,
                start: to.start,
                expiry,
                ignored: to.ignored,
                ..booked
            },
        )
    }

    /// States that it took place or that the invitee did not come, or takes the statement back.
    pub(crate) fn attend(&mut self, id: u128, stated: S, undo: bool) -> Outcome {
        let (booked, state) = self.find(id)?;
        let (from, to) = if undo {
            (stated, S::Confirmed)
        } else {
            (S::Confirmed, stated)
        };
        if state == to {
            return Ok(false);
        }
        if state != from || self.now < booked.start {
            return Err(Refused::State);
        }
        self.put(
            id,
            Booked {
                state: to,
                ..booked
            },
        )
    }

    /// Records the expiries up to now.
    pub(crate) fn expire(&mut self) {
        let now = self.now;
        for booked in self
            .appointments
            .values_mut()
            .filter(|booked| booked.expiry.is_some_and(|expiry| expiry <= now))
        {
            (booked.state, booked.blocks) = (S::Expired, true);
        }
    }
}
