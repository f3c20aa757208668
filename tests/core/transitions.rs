//! The reference, second half: what each transition of an appointment leads to, by the table of states alone.
//!
//! Meant to be read beside the table of scheduling.md; a time is taken only by `Reference::take`.

use std::collections::BTreeSet;

use bookd_core::appointment::{AppointmentState as S, Assignment};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::time::{HOUR, Minutes, Seconds};

use crate::checker::{Checker, Mates};
use crate::reference::{Kept, Outcome, Reference, Refused, Taken, Wish};

impl Reference {
    fn find(&self, id: u128) -> Result<(Kept, S), Refused> {
        let kept = self.kept.get(&id).ok_or(Refused::NotFound)?;
        Ok((kept.clone(), kept.state_at(self.now)))
    }

    fn put(&mut self, id: u128, kept: Kept) -> Outcome {
        self.kept.insert(id, kept);
        Ok(true)
    }

    fn hold(&self, id: u128) -> Result<(Kept, S), Refused> {
        match self.find(id)? {
            (kept, S::Expired) if kept.expiry.is_some() => Err(Refused::HoldExpired),
            found => Ok(found),
        }
    }

    /// Turns a hold into an appointment, with the invitee's name or with the hold's.
    pub(crate) fn confirm(&mut self, id: u128, brings_name: bool) -> Outcome {
        let (kept, state) = self.hold(id)?;
        match state {
            S::Held if !brings_name && !kept.is_named => Err(Refused::Invalid),
            S::Held => {
                let (state, blocks, expiry) =
                    self.booked(&kept.calendars, &kept.type_id, kept.start);
                self.put(
                    id,
                    Kept {
                        state,
                        blocks,
                        expiry,
                        is_named: true,
                        ..kept
                    },
                )
            }
            S::Pending | S::Confirmed if brings_name && !kept.is_named => Err(Refused::State),
            S::Pending | S::Confirmed => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn extend(&mut self, id: u128, ttl: Seconds) -> Outcome {
        let (kept, state) = self.hold(id)?;
        let expiry = Some(self.now.plus(ttl.seconds()).min(kept.made.plus(2 * HOUR)));
        match state {
            S::Held if expiry == kept.expiry => Ok(false),
            S::Held => self.put(id, Kept { expiry, ..kept }),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn release(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.hold(id)?;
        match state {
            S::Held => self.put(
                id,
                Kept {
                    state: S::Cancelled,
                    expiry: None,
                    ..kept
                },
            ),
            S::Cancelled => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn approve(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.find(id)?;
        match state {
            S::Pending => {
                let buffers = if kept.blocks {
                    kept.buffers.clone()
                } else {
                    self.take_later(&kept)?
                };
                self.put(
                    id,
                    Kept {
                        state: S::Confirmed,
                        blocks: true,
                        expiry: None,
                        buffers,
                        ..kept
                    },
                )
            }
            S::Confirmed => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// The buffers of a request that takes its time only now; refused where its time is taken.
    fn take_later(&self, kept: &Kept) -> Result<Vec<(Minutes, Minutes)>, Refused> {
        let types = kept
            .calendars
            .iter()
            .map(|id| self.type_of(id, &kept.type_id));
        let types = types.collect::<Result<Vec<_>, _>>()?;
        let is_shared = types.iter().all(|it| it.capacity > 1);
        let mut buffers = Vec::new();
        for (id, of_type) in kept.calendars.iter().zip(&types) {
            let calendar = self.with_claims(id);
            let mut checker = Checker::new(&calendar, of_type, kept.duration, self.now);
            checker.ignored_rules = kept.ignored;
            checker.mates = if is_shared {
                self.mates(&kept.type_id, kept.start, kept.duration, &kept.calendars)
            } else {
                Mates::Keys(BTreeSet::new())
            };
            if !checker.is_to_be_had(kept.start) {
                return Err(Refused::Race);
            }
            buffers.push(checker.buffers(kept.start));
        }
        Ok(buffers)
    }

    pub(crate) fn decline(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.find(id)?;
        match state {
            S::Pending => self.put(
                id,
                Kept {
                    state: S::Declined,
                    blocks: true,
                    expiry: None,
                    ..kept
                },
            ),
            S::Declined => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// Whether it is too late, by the strictest of its types.
    fn is_late(
        &self,
        kept: &Kept,
        state: S,
        notice: impl Fn(&AppointmentType) -> Option<Seconds>,
    ) -> bool {
        let types = kept
            .calendars
            .iter()
            .map(|id| self.type_of(id, &kept.type_id).unwrap());
        let strictest = types.filter_map(|it| notice(&it)).max();
        state != S::Held
            && strictest.is_some_and(|notice| self.now > kept.start.plus(-notice.seconds()))
    }

    pub(crate) fn cancel(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.find(id)?;
        match state {
            S::Held | S::Pending | S::Confirmed
                if self.is_late(&kept, state, |it| it.cancel_notice) =>
            {
                Err(Refused::TooLate)
            }
            S::Held | S::Pending | S::Confirmed => self.put(
                id,
                Kept {
                    state: S::Cancelled,
                    blocks: true,
                    expiry: None,
                    ..kept
                },
            ),
            S::Cancelled => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// Moves; no calendars = those that it has.
    pub(crate) fn reschedule(&mut self, id: u128, to: &Wish) -> Outcome {
        let (kept, state) = self.find(id)?;
        let stays = to.calendars.is_empty();
        let calendars = if stays {
            kept.calendars.clone()
        } else {
            to.calendars.clone()
        };
        let assignment = if stays {
            Assignment::All
        } else {
            to.assignment
        };
        for calendar in &calendars {
            self.type_of(calendar, &kept.type_id)?;
        }
        if !matches!(state, S::Held | S::Pending | S::Confirmed) {
            return Err(Refused::State);
        }
        if self.is_late(&kept, state, |it| it.reschedule_notice) {
            return Err(Refused::TooLate);
        }
        let duration = to.duration.unwrap_or(kept.duration);
        if (to.start, duration, &calendars) == (kept.start, kept.duration, &kept.calendars) {
            return Ok(false);
        }
        let duration = Some(duration);
        let wish = Wish {
            calendars,
            assignment,
            type_id: kept.type_id.clone(),
            duration,
            ..to.clone()
        };
        let Taken {
            calendars,
            buffers,
            duration,
        } = self.take(&wish, Some(&kept))?;
        let expiry = if state == S::Pending {
            Some(to.start.max(self.now.plus(1)))
        } else {
            kept.expiry
        };
        self.put(
            id,
            Kept {
                calendars,
                buffers,
                duration,
                start: to.start,
                expiry,
                ignored: to.ignored,
                ..kept
            },
        )
    }

    /// Says that it took place, or that the invitee did not come, or takes that back.
    pub(crate) fn attend(&mut self, id: u128, said: S, undo: bool) -> Outcome {
        let (kept, state) = self.find(id)?;
        let (from, to) = if undo {
            (said, S::Confirmed)
        } else {
            (S::Confirmed, said)
        };
        if state == to {
            return Ok(false);
        }
        if state != from || self.now < kept.start {
            return Err(Refused::State);
        }
        self.put(id, Kept { state: to, ..kept })
    }

    /// Records what ran out.
    pub(crate) fn expire(&mut self) {
        let now = self.now;
        for kept in self
            .kept
            .values_mut()
            .filter(|kept| kept.expiry.is_some_and(|expiry| expiry <= now))
        {
            (kept.state, kept.blocks) = (S::Expired, true);
        }
    }
}
