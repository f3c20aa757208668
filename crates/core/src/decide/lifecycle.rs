//! Decisions about an existing appointment: its transitions, its hold, its invitee.
//!
//! Which transitions are possible is in `Transition::target` alone; this file has the cut-offs and
//! the other effects of each.

use std::sync::Arc;

use super::calendars::invalid;
use super::claiming::differences;
use super::start_time::resolve;
use super::{At, Decision};
use crate::appointment::person::METADATA_KEYS_MAX;
use crate::appointment::{
    Appointment, AppointmentState, Image, Invitee, PersonDetails, PersonPatch, Target, Transition,
};
use crate::change::{AppointmentEvent, Cause};
use crate::command::Booking;
use crate::deletion::called_off;
use crate::ids::{AppointmentId, Etag};
use crate::refusal::Refusal;
use crate::slots::rules::{Ask, buffers, join, race_violations};
use crate::slots::violation::{SlotRefusal, Violation};
use crate::time::{HOUR, Instant, MINUTE, Seconds};

/// The longest time from `now` for which a hold is made or extended, in seconds.
pub const HOLD_SECONDS_MAX: i64 = 30 * MINUTE;
/// The longest life of a hold from its creation, all extensions included, in seconds.
pub const HOLD_LIFE_MAX: i64 = 2 * HOUR;

impl<'a> At<'a> {
    /// The state after a transition, or the decision without events when the appointment has that
    /// state already; refused by the table of transitions.
    fn transition(
        self,
        before: &Arc<Appointment>,
        transition: Transition,
        cause: Cause,
    ) -> Result<Result<AppointmentState, Decision>, Refusal> {
        let wants_approval = self.types_of(before).any(|it| it.requires_approval);
        let state = before.state_at(self.now);
        match transition.target(state, wants_approval) {
            Target::Becomes(target) => Ok(Ok(target)),
            Target::Already => Ok(Err(Decision::of_appointment(
                cause,
                None,
                Arc::clone(before),
            ))),
            Target::Refused => Err(Refusal::state(state, transition)),
        }
    }

    /// The decision that turns `before` into `after`.
    fn changed(
        self,
        cause: Cause,
        kind: AppointmentEvent,
        before: &Arc<Appointment>,
        after: Appointment,
    ) -> Decision {
        let (event, after) = self.event(kind, before, after);
        Decision::of_appointment(cause, Some(event), after)
    }

    /// Refuses a hold that has expired, with HOLD_EXPIRED, whether the expiry is recorded or not.
    fn expect_hold_alive(self, appointment: &Appointment) -> Result<(), Refusal> {
        match (appointment.state_at(self.now), appointment.expire_time) {
            (AppointmentState::Expired, Some(expire_time)) => {
                Err(Refusal::HoldExpired { expire_time })
            }
            _ => Ok(()),
        }
    }

    /// The hold that a booking names, confirmed; refused where a field of the booking differs from
    /// the hold.
    pub(super) fn book_hold(
        self,
        id: AppointmentId,
        booking: &Booking,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment(id)?;
        let zone = before
            .calendars()
            .next()
            .and_then(|calendar| self.state.calendars.get(calendar));
        let start = match (&booking.start, zone) {
            (Some(start), Some(calendar)) => Some(resolve(start, calendar.zone())?),
            _ => None,
        };
        let violations = differences(booking, before, start);
        if !violations.is_empty() {
            return Err(Refusal::FieldInvalid(violations));
        }
        self.confirm_hold(before, &booking.person, Cause::BookAppointment)
    }

    pub(super) fn confirm(
        self,
        id: AppointmentId,
        invitee: Option<&Invitee>,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        let details = PersonDetails {
            invitee: invitee.cloned(),
            ..PersonDetails::default()
        };
        self.confirm_hold(before, &details, Cause::ConfirmAppointment)
    }

    /// Turns a hold into an appointment. Its time is taken already, so that no rule is checked.
    fn confirm_hold(
        self,
        before: &Arc<Appointment>,
        details: &PersonDetails,
        cause: Cause,
    ) -> Result<Decision, Refusal> {
        self.expect_hold_alive(before)?;
        let state = match self.transition(before, Transition::Confirm, cause)? {
            Ok(state) => state,
            // With another invitee the call does not repeat the one that confirmed the hold.
            Err(_)
                if details
                    .invitee
                    .as_ref()
                    .is_some_and(|asked| *asked != before.person.invitee) =>
            {
                return Err(Refusal::state(before.state, Transition::Confirm));
            }
            Err(already) => return Ok(already),
        };
        let person = details.over(&before.person);
        if person.invitee.name.is_empty() {
            return Err(invalid("invitee.name", "is required"));
        }
        let keys = person.carried.metadata.len();
        if keys > METADATA_KEYS_MAX {
            let why = format!(
                "must have at most {METADATA_KEYS_MAX} keys, those of the hold included; these are {keys}"
            );
            return Err(invalid("metadata", why));
        }
        let (blocks, expire_time) = self.claim_terms(state, self.types_of(before), before.start);
        // A request that takes no time takes no seat.
        let session = if blocks { before.session } else { before.key };
        let image = Image {
            state,
            blocks,
            expire_time,
            session,
            ..before.image.clone()
        };
        let after = before.with(person, image);
        Ok(self.changed(cause, AppointmentEvent::Confirmed, before, after))
    }

    pub(super) fn extend_hold(
        self,
        id: AppointmentId,
        ttl: Seconds,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        self.expect_hold_alive(before)?;
        if before.state != AppointmentState::Held {
            return Err(Refusal::AppointmentState {
                state: before.state,
                asked: "extended",
                detail: None,
            });
        }
        // The age of a hold that was made by a wrong clock, before a reset, is not known: it is not
        // extended.
        let is_of_wrong_clock = before.create_time > self.now;
        let latest = if is_of_wrong_clock {
            before.expire_time
        } else {
            Some(before.create_time.plus(HOLD_LIFE_MAX))
        };
        let expire_time = latest.map(|latest| latest.min(self.now.plus(ttl.seconds())));
        if expire_time == before.expire_time {
            return Ok(Decision::of_appointment(
                Cause::ExtendHold,
                None,
                Arc::clone(before),
            ));
        }
        let after = before.with_image(Image {
            expire_time,
            ..before.image.clone()
        });
        Ok(self.changed(Cause::ExtendHold, AppointmentEvent::Extended, before, after))
    }

    pub(super) fn release_hold(
        self,
        id: AppointmentId,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        self.expect_hold_alive(before)?;
        match self.transition(before, Transition::Release, Cause::ReleaseHold)? {
            Ok(state) => {
                let mut after = called_off(before, state, "");
                after.image.sequence = before.sequence;
                Ok(self.changed(
                    Cause::ReleaseHold,
                    AppointmentEvent::Released,
                    before,
                    after,
                ))
            }
            Err(already) => Ok(already),
        }
    }

    /// Approves a request. One that does not block its time takes it now, if it is still free.
    pub(super) fn approve(
        self,
        id: AppointmentId,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        let state = match self.transition(before, Transition::Approve, Cause::ApproveAppointment)? {
            Ok(state) => state,
            Err(already) => return Ok(already),
        };
        let mut image = Image {
            state,
            blocks: true,
            expire_time: None,
            ..before.image.clone()
        };
        if !before.blocks {
            self.take_time(before, &mut image)?;
        }
        Ok(self.changed(
            Cause::ApproveAppointment,
            AppointmentEvent::Approved,
            before,
            before.with_image(image),
        ))
    }

    /// Takes the time of a request that did not block it until now.
    fn take_time(self, before: &Appointment, image: &mut Image) -> Result<(), Refusal> {
        let mut asks = Vec::with_capacity(image.places.len());
        for it in &image.places {
            let calendar = self.calendar(&it.calendar)?;
            let not_found =
                || Refusal::AppointmentTypeNotFound(calendar.id.clone(), before.type_id.clone());
            let appointment_type = calendar
                .types
                .last_of(it.type_number)
                .ok_or_else(not_found)?;
            asks.push(Ask {
                calendar,
                appointment_type,
                start: it.start,
                duration: it.duration,
                now: self.now,
                ignore: Some(before.key),
                present_duration: Some(before.duration),
                ignored_rules: before.ignored_rules,
                is_grid_judged: false,
                session: None,
            });
        }
        let session = join(&mut asks);
        let violations: Vec<Violation> = asks.iter().flat_map(race_violations).collect();
        if !violations.is_empty() {
            let slot = before.interval();
            let refusal = SlotRefusal {
                slot,
                violations,
                nearest_before: None,
                nearest_after: None,
                nearest_days: 0,
            };
            return Err(Refusal::Slot(Box::new(refusal)));
        }
        for (place, ask) in image.places.iter_mut().zip(&asks) {
            (place.before, place.after) = buffers(ask);
        }
        image.session = session.map_or(before.key, |session| session.key);
        Ok(())
    }

    pub(super) fn decline(
        self,
        id: AppointmentId,
        reason: &str,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        match self.transition(before, Transition::Decline, Cause::DeclineAppointment)? {
            Ok(state) => {
                let after = called_off(before, state, reason);
                Ok(self.changed(
                    Cause::DeclineAppointment,
                    AppointmentEvent::Declined,
                    before,
                    after,
                ))
            }
            Err(already) => Ok(already),
        }
    }

    pub(super) fn cancel(
        self,
        id: AppointmentId,
        reason: &str,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        match self.transition(before, Transition::Cancel, Cause::CancelAppointment)? {
            Ok(state) => {
                let notices = self.types_of(before).filter_map(|it| it.cancel_notice);
                self.expect_in_time(before, notices.max(), "cancelled")?;
                let after = called_off(before, state, reason);
                Ok(self.changed(
                    Cause::CancelAppointment,
                    AppointmentEvent::Cancelled,
                    before,
                    after,
                ))
            }
            Err(already) => Ok(already),
        }
    }

    /// Refuses a move of an appointment that is not HELD, PENDING or CONFIRMED, or is past its
    /// cut-off.
    pub(super) fn expect_movable(self, before: &Appointment) -> Result<(), Refusal> {
        let state = before.state_at(self.now);
        if !matches!(
            state,
            AppointmentState::Held | AppointmentState::Pending | AppointmentState::Confirmed
        ) {
            return Err(Refusal::AppointmentState {
                state,
                asked: "moved",
                detail: None,
            });
        }
        let notices = self.types_of(before).filter_map(|it| it.reschedule_notice);
        self.expect_in_time(before, notices.max(), "moved")
    }

    /// Refuses a change after the cut-off. The cut-off itself is in time; a hold has none, because
    /// nobody relies on it yet.
    fn expect_in_time(
        self,
        before: &Appointment,
        notice: Option<Seconds>,
        asked: &'static str,
    ) -> Result<(), Refusal> {
        let Some(notice) = notice else { return Ok(()) };
        let latest = before.start.plus(-notice.seconds());
        if self.now > latest && before.state != AppointmentState::Held {
            return Err(Refusal::TooLate { asked, latest });
        }
        Ok(())
    }

    pub(super) fn mark_no_show(
        self,
        id: AppointmentId,
        undo: bool,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let transition = if undo {
            Transition::UndoNoShow
        } else {
            Transition::MarkNoShow
        };
        self.attend(id, transition, etag, Cause::MarkNoShow)
    }

    pub(super) fn complete(
        self,
        id: AppointmentId,
        undo: bool,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let transition = if undo {
            Transition::UndoComplete
        } else {
            Transition::Complete
        };
        self.attend(id, transition, etag, Cause::CompleteAppointment)
    }

    /// A statement about the attendance, which is possible only from the start on.
    fn attend(
        self,
        id: AppointmentId,
        transition: Transition,
        etag: Option<Etag>,
        cause: Cause,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        let state = match self.transition(before, transition, cause)? {
            Ok(state) => state,
            Err(already) => return Ok(already),
        };
        if self.now < before.start {
            let detail = Some(format!(
                "it starts at {}, and only from then on can this be said",
                before.start
            ));
            return Err(Refusal::AppointmentState {
                state: before.state,
                asked: transition.participle(),
                detail,
            });
        }
        let kind = match transition {
            Transition::MarkNoShow => AppointmentEvent::MarkedNoShow,
            Transition::Complete => AppointmentEvent::Completed,
            _ => AppointmentEvent::Undone,
        };
        Ok(self.changed(
            cause,
            kind,
            before,
            before.with_image(Image {
                state,
                ..before.image.clone()
            }),
        ))
    }

    pub(super) fn update_appointment(
        self,
        id: AppointmentId,
        patch: &PersonPatch,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let before = self.appointment_at(id, etag)?;
        let person = patch.clone().applied_to(&before.person);
        if person == before.person {
            return Ok(Decision::of_appointment(
                Cause::UpdateAppointment,
                None,
                Arc::clone(before),
            ));
        }
        let after = before.with_person(person);
        Ok(self.changed(
            Cause::UpdateAppointment,
            AppointmentEvent::Updated,
            before,
            after,
        ))
    }

    pub(super) fn expire(self, id: AppointmentId) -> Option<Decision> {
        let before = self.state.appointments.get(&id)?;
        let is_due = |expire_time: Instant| expire_time <= self.now;
        let is_waiting = matches!(
            before.state,
            AppointmentState::Held | AppointmentState::Pending
        );
        if !is_waiting || !before.expire_time.is_some_and(is_due) {
            return None;
        }
        // `expire_time` stays, so that the refusal of a late command can name it.
        let image = Image {
            state: AppointmentState::Expired,
            blocks: true,
            ..before.image.clone()
        };
        Some(self.changed(
            Cause::Expiry,
            AppointmentEvent::Expired,
            before,
            before.with_image(image),
        ))
    }
}
