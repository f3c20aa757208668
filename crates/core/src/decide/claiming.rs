//! Decisions that claim time: booking, holding, moving, batches.
//!
//! Each asks the one predicate of `slots/rules.rs`, through `At::take`; all calendars of a claim
//! are taken, or none.

use std::sync::Arc;

use super::assignment::{Alternatives, Offer, WantedTime};
use super::calendars::invalid;
use super::start_time::resolve;
use super::{At, Decision, Outcome};
use crate::appointment::{Appointment, AppointmentState, Assignment, Image};
use crate::calendar::appointment_type::AppointmentType;
use crate::change::{AppointmentEvent, Cause, Event};
use crate::command::{Booking, Move, Needs};
use crate::field_violation::FieldViolation;
use crate::ids::{CalendarId, TypeId};
use crate::refusal::Refusal;
use crate::time::interval::Interval;
use crate::time::zone::Zone;
use crate::time::{Instant, Seconds};

/// The state of a new claim, whether it takes its time, and when it expires.
struct ClaimTerms {
    state: AppointmentState,
    blocks: bool,
    expire_time: Option<Instant>,
}

impl<'a> At<'a> {
    /// A new appointment, or the hold that the booking names, confirmed.
    pub(super) fn book(self, booking: &Booking) -> Result<Decision, Refusal> {
        if let Some(hold) = booking.hold {
            return self.book_hold(hold, booking);
        }
        self.book_new(booking, Cause::BookAppointment, Alternatives::Now)
    }

    /// A new appointment: PENDING where a type requires approval, CONFIRMED otherwise.
    pub(super) fn book_new(
        self,
        booking: &Booking,
        cause: Cause,
        alternatives: Alternatives,
    ) -> Result<Decision, Refusal> {
        self.claim(
            booking,
            alternatives,
            (cause, AppointmentEvent::Booked),
            |offers, start| {
                let types = || offers.iter().map(|offer| offer.appointment_type);
                let wants_approval = types().any(|it| it.requires_approval);
                let state = if wants_approval {
                    AppointmentState::Pending
                } else {
                    AppointmentState::Confirmed
                };
                let (blocks, expire_time) = self.claim_terms(state, types(), start);
                ClaimTerms {
                    state,
                    blocks,
                    expire_time,
                }
            },
        )
    }

    /// A new appointment in state HELD, which expires after `ttl`.
    pub(super) fn hold(self, booking: &Booking, ttl: Seconds) -> Result<Decision, Refusal> {
        let expire_time = Some(self.now.plus(ttl.seconds()));
        let kind = (Cause::HoldAppointment, AppointmentEvent::Held);
        self.claim(booking, Alternatives::Now, kind, |_, _| ClaimTerms {
            state: AppointmentState::Held,
            blocks: true,
            expire_time,
        })
    }

    /// All bookings, each decided on the state that the ones before it left; or the first refusal.
    pub(super) fn batch_book(self, bookings: &[Booking]) -> Result<Decision, Refusal> {
        let needs = Needs::of_bookings(bookings);
        let claimed = needs
            .appointments
            .iter()
            .filter_map(|id| self.state.appointments.get(id));
        let claimed = claimed.flat_map(|appointment| appointment.calendars());
        let mut scratch = self.state.scratch(needs.calendars.iter().chain(claimed));
        let mut all = Decision {
            cause: Cause::BatchBook,
            events: Vec::new(),
            outcome: Outcome::default(),
        };
        for (index, booking) in bookings.iter().enumerate() {
            let in_batch = |refusal| Refusal::InBatch {
                index,
                refusal: Box::new(refusal),
            };
            let decision = At {
                state: &scratch,
                ..self
            }
            .book(booking)
            .map_err(in_batch)?;
            decision
                .events
                .iter()
                .for_each(|event| scratch.apply_event(event, self.revision()));
            all.events.extend(decision.events);
            all.outcome
                .appointments
                .extend(decision.outcome.appointments);
            all.outcome.candidates.extend(decision.outcome.candidates);
        }
        Ok(all)
    }

    /// A new appointment on the booking's time; `terms` gives its state by its types and its start.
    fn claim(
        self,
        booking: &Booking,
        alternatives: Alternatives,
        (cause, kind): (Cause, AppointmentEvent),
        terms: impl FnOnce(&[Offer<'a>], Instant) -> ClaimTerms,
    ) -> Result<Decision, Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        if let Some(id) = booking.id.brought()
            && self.state.appointments.contains_key(&id)
        {
            return Err(Refusal::AppointmentExists(id));
        }
        let wanted = WantedTime::of_booking(booking, start, alternatives);
        let taken = self.take(offers, booking.assignment, &wanted)?;
        let chosen = taken
            .offers
            .first()
            .expect("at least one calendar takes a claim");
        let ClaimTerms {
            state,
            blocks,
            expire_time,
        } = terms(&taken.offers, start);
        let key = self.state.next_key;
        let image = Image {
            type_id,
            start,
            duration: wanted.duration_on(chosen),
            time_zone: chosen.calendar.zone().shared_name(),
            local_start: chosen.calendar.zone().wall(start),
            state,
            blocks,
            expire_time,
            // A request that takes no time takes no seat.
            session: taken
                .session
                .filter(|_| blocks)
                .map_or(key, |session| session.key),
            sequence: 0,
            ignored_rules: booking.ignored_rules,
            update_time: self.now,
            revision: self.revision(),
            places: taken.places,
        };
        let (id, create_time) = (booking.id.id(), self.now);
        let (occurrence, person) = (booking.occurrence, booking.person.person());
        let appointment = Arc::new(Appointment {
            id,
            key,
            create_time,
            occurrence,
            person,
            image,
        });
        let event = Event::Appointment {
            kind,
            before: None,
            after: Arc::clone(&appointment),
        };
        let mut decision = Decision::of_appointment(cause, Some(event), appointment);
        decision.outcome.candidates = taken.candidates;
        Ok(decision)
    }

    /// The start of the first occurrence of a series, and the zone in which the series repeats.
    pub(super) fn first_occurrence(
        self,
        booking: &Booking,
    ) -> Result<(Instant, &'a Zone), Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        let first = offers.first().expect("a booking has at least one calendar");
        Ok((start, first.calendar.zone()))
    }

    /// The last slot that is offered before the start of a booking, and the first after it.
    pub(super) fn alternatives(
        self,
        booking: &Booking,
    ) -> Result<(Option<Interval>, Option<Interval>), Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        Ok(self.nearest(
            &offers,
            booking.assignment,
            &WantedTime::of_booking(booking, start, Alternatives::Now),
        ))
    }

    /// The appointment moved to another start, duration or calendars; its own time counts as free.
    pub(super) fn reschedule(self, to: &Move) -> Result<Decision, Refusal> {
        // Order of refusals: first appointment, calendars and types that do not exist, then fields
        // that need a calendar's zone, then etag and state.
        let before = self.appointment(to.appointment)?;
        let present: Vec<CalendarId> = before.calendars().cloned().collect();
        let (calendars, assignment) = if to.calendars.is_empty() {
            (&present, Assignment::All)
        } else {
            (&to.calendars, to.assignment)
        };
        let offers = self.offers(calendars, &before.type_id, Some(&before.image))?;
        let first = offers
            .first()
            .ok_or_else(|| invalid("calendar_ids", "name at least one calendar"))?;
        let start = to.start.as_ref().map_or(Ok(before.start), |start| {
            resolve(start, first.calendar.zone())
        })?;
        let before = self.appointment_at(to.appointment, to.etag)?;
        self.expect_movable(before)?;
        let duration = to.duration.unwrap_or(before.duration);
        let is_same_time = start == before.start && duration == before.duration;
        if is_same_time && (to.calendars.is_empty() || *calendars == present) {
            return Ok(Decision::of_appointment(
                Cause::RescheduleAppointment,
                None,
                Arc::clone(before),
            ));
        }
        let wanted = WantedTime {
            start,
            duration: Some(duration),
            ignore: Some(before.key),
            present_duration: Some(before.duration),
            ignored_rules: to.ignored_rules,
            alternatives: Alternatives::Now,
        };
        let taken = self.take(offers, assignment, &wanted)?;
        let chosen = taken
            .offers
            .first()
            .expect("at least one calendar takes a claim");
        let is_pending = before.state == AppointmentState::Pending;
        let image = Image {
            start,
            duration,
            time_zone: chosen.calendar.zone().shared_name(),
            local_start: chosen.calendar.zone().wall(start),
            expire_time: if is_pending {
                Some(self.request_expiry(start))
            } else {
                before.expire_time
            },
            session: taken
                .session
                .filter(|_| before.blocks)
                .map_or(before.key, |session| session.key),
            sequence: before.sequence.saturating_add(1),
            ignored_rules: to.ignored_rules,
            places: taken.places,
            ..before.image.clone()
        };
        let (event, after) = self.event(AppointmentEvent::Moved, before, before.with_image(image));
        let mut decision =
            Decision::of_appointment(Cause::RescheduleAppointment, Some(event), after);
        decision.outcome.candidates = taken.candidates;
        Ok(decision)
    }

    /// Whether a claim in this state takes its time, and when it expires. Of the states that a
    /// booking or a confirmation leads to, only PENDING may wait without taking time, and only
    /// PENDING expires.
    pub(super) fn claim_terms<'t>(
        self,
        state: AppointmentState,
        types: impl IntoIterator<Item = &'t Arc<AppointmentType>>,
        start: Instant,
    ) -> (bool, Option<Instant>) {
        if state != AppointmentState::Pending {
            return (true, None);
        }
        let blocks = types
            .into_iter()
            .any(|it| it.requires_approval && it.pending_blocks);
        (blocks, Some(self.request_expiry(start)))
    }

    /// When an unanswered request expires: at its start, but at least a second after it was made. A
    /// request that has expired when it is made would block nobody and yet have a claim, which the
    /// next claim of that time would overlap.
    pub(super) fn request_expiry(self, start: Instant) -> Instant {
        start.max(self.now.plus(1))
    }

    /// The types of an appointment's places; of deleted types the last definition.
    pub(super) fn types_of(
        self,
        appointment: &Appointment,
    ) -> impl Iterator<Item = &'a Arc<AppointmentType>> {
        appointment.places.iter().filter_map(move |place| {
            let calendar = self
                .state
                .calendars
                .get(&place.calendar)
                .filter(|it| it.since == place.since)?;
            calendar.types.last_of(place.type_number)
        })
    }
}

/// The fields of a booking that differ from those of the hold that it names.
pub(super) fn differences(
    booking: &Booking,
    hold: &Appointment,
    start: Option<Instant>,
) -> Vec<FieldViolation> {
    let calendars: Vec<&CalendarId> = hold.calendars().collect();
    let is_other_calendar = match booking.assignment {
        _ if booking.calendars.is_empty() => false,
        Assignment::All => !booking.calendars.iter().eq(calendars.iter().copied()),
        Assignment::Any => !calendars
            .iter()
            .all(|calendar| booking.calendars.contains(calendar)),
    };
    let checks = [
        (is_other_calendar, "calendar_id"),
        (
            booking
                .type_id
                .as_ref()
                .is_some_and(|id| *id != hold.type_id),
            "appointment_type_id",
        ),
        (start.is_some_and(|start| start != hold.start), "start_time"),
        (
            booking
                .duration
                .is_some_and(|duration| duration != hold.duration),
            "duration",
        ),
    ];
    let violation = |field| {
        FieldViolation::new(
            field,
            "differs from the hold's; leave it out, or move the hold first",
        )
    };
    checks
        .into_iter()
        .filter(|(is_different, _)| *is_different)
        .map(|(_, field)| violation(field))
        .collect()
}
