//! Decisions that claim time: booking, holding, moving, batches. Each asks the one predicate of `feasible.rs`.
//!
//! All calendars of a claim are asked at one moment, and all or none are taken.

use std::sync::Arc;

use super::calendars::invalid;
use super::{At, Candidate, Decision, Outcome};
use crate::appointment::{Appointment, AppointmentState, Assignment, IgnoredRules, Image, Place};
use crate::calendar::Calendar;
use crate::calendar::appointment_type::AppointmentType;
use crate::calendar::claims::{Claim, Session};
use crate::change::{AppointmentEvent, Cause, Event};
use crate::command::{Booking, Move, Needs, Start};
use crate::field_violation::FieldViolation;
use crate::ids::{AppointmentKey, CalendarId, TypeId};
use crate::refusal::Refusal;
use crate::slots::multi_calendar::{asks, nearest};
use crate::slots::nearest_days;
use crate::slots::rules::{self, Ask};
use crate::slots::search::Search;
use crate::slots::violation::{SlotRefusal, Violation};
use crate::time::interval::Interval;
use crate::time::zone::{LocalInstants, Zone};
use crate::time::{Instant, Minutes, Seconds};

/// A calendar with its own type of the id that is booked.
#[derive(Clone, Copy)]
struct Offer<'a> {
    calendar: &'a Arc<Calendar>,
    appointment_type: &'a Arc<AppointmentType>,
}

/// What is asked of each calendar: a time, and what stays allowed or does not count in a move.
struct WantedTime {
    start: Instant,
    /// None = each calendar's default.
    duration: Option<Minutes>,
    ignore: Option<AppointmentKey>,
    present_duration: Option<Minutes>,
    ignored_rules: IgnoredRules,
    alternatives: Alternatives,
}

/// Whether a refusal comes with the nearest slots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alternatives {
    /// They are looked for at once.
    Now,
    /// They are looked for once the rest of a series has its time.
    Later,
}

/// How a new claim stands.
struct ClaimTerms {
    state: AppointmentState,
    blocks: bool,
    expire_time: Option<Instant>,
}

/// The calendars that take the claim, and what they take.
struct Taken<'a> {
    offers: Vec<Offer<'a>>,
    places: Vec<Place>,
    /// The session that is joined; none where the claim is the first seat of its own.
    session: Option<Session>,
    candidates: Vec<Candidate>,
}

impl<'a> At<'a> {
    pub(super) fn book(self, booking: &Booking) -> Result<Decision, Refusal> {
        if let Some(hold) = booking.hold {
            return self.book_hold(hold, booking);
        }
        self.book_new(booking, Cause::BookAppointment, Alternatives::Now)
    }

    /// A new appointment, CONFIRMED or PENDING as its types say.
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

    pub(super) fn hold(self, booking: &Booking, ttl: Seconds) -> Result<Decision, Refusal> {
        let expire_time = Some(self.now.plus(ttl.seconds()));
        let kind = (Cause::HoldAppointment, AppointmentEvent::Held);
        self.claim(booking, Alternatives::Now, kind, |_, _| ClaimTerms {
            state: AppointmentState::Held,
            blocks: true,
            expire_time,
        })
    }

    /// All bookings, one after the other, each on what the ones before it left; or the first refusal.
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
                now: self.now,
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

    /// A new appointment on the time that is asked for; `terms` says how it stands, by its types and its start.
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
            .expect("what is taken is taken by a calendar");
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

    /// The calendars of a booking, and when it begins.
    fn offered(
        self,
        booking: &Booking,
        type_id: &TypeId,
    ) -> Result<(Vec<Offer<'a>>, Instant), Refusal> {
        let offers = self.offers(&booking.calendars, type_id)?;
        let first = offers
            .first()
            .ok_or_else(|| invalid("calendar_id", "name at least one calendar"))?;
        let start = booking
            .start
            .as_ref()
            .ok_or_else(|| invalid("start_time", "is required without hold_id"))?;
        let start = resolve(start, first.calendar.zone())?;
        expect_one_duration(booking, &offers)?;
        Ok((offers, start))
    }

    /// When the first occurrence of a series begins, and the zone in which it repeats.
    pub(super) fn first_occurrence(
        self,
        booking: &Booking,
    ) -> Result<(Instant, &'a Zone), Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        let first = offers
            .first()
            .expect("what is offered is offered by a calendar");
        Ok((start, first.calendar.zone()))
    }

    /// The last slot offered before the start of a booking, and the first after it.
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

    pub(super) fn reschedule(self, to: &Move) -> Result<Decision, Refusal> {
        // Existence of everything comes before etag and state.
        let before = self.appointment(to.appointment)?;
        let present: Vec<CalendarId> = before.calendars().cloned().collect();
        let (calendars, assignment) = if to.calendars.is_empty() {
            (&present, Assignment::All)
        } else {
            (&to.calendars, to.assignment)
        };
        let offers = self.offers_to_move(calendars, &before.type_id, Some(&before.image))?;
        // So does a field that only a calendar's zone can judge.
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
            .expect("what is taken is taken by a calendar");
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

    /// The calendars by name, each with its own type of that id.
    fn offers(self, calendars: &[CalendarId], type_id: &TypeId) -> Result<Vec<Offer<'a>>, Refusal> {
        self.offers_to_move(calendars, type_id, None)
    }

    /// The same, where an appointment is given for moving that.
    fn offers_to_move(
        self,
        calendars: &[CalendarId],
        type_id: &TypeId,
        moved: Option<&Image>,
    ) -> Result<Vec<Offer<'a>>, Refusal> {
        let offer = |calendar: &'a Arc<Calendar>| {
            let not_found =
                || Refusal::AppointmentTypeNotFound(calendar.id.clone(), type_id.clone());
            Ok(Offer {
                calendar,
                appointment_type: calendar
                    .type_to_book(type_id, moved)
                    .ok_or_else(not_found)?,
            })
        };
        // All calendars come before any type; of one alone there is nothing to remember.
        if let [only] = calendars {
            return Ok(vec![offer(self.calendar(only)?)?]);
        }
        let calendars = calendars
            .iter()
            .map(|id| self.calendar(id))
            .collect::<Result<Vec<_>, _>>()?;
        calendars.into_iter().map(offer).collect()
    }

    /// Whether a claim in this state takes its time, and when it ends by itself: only a request may wait without taking
    /// time, and only a request runs out.
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

    /// When a request that nobody answers runs out: at its start, but never at the moment that makes it, for what is
    /// made dead would stand in the way of nobody, and yet stand there.
    pub(super) fn request_expiry(self, start: Instant) -> Instant {
        start.max(self.now.plus(1))
    }

    /// The types of an appointment's places, by their last definition where they were deleted.
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

    fn take(
        self,
        offers: Vec<Offer<'a>>,
        assignment: Assignment,
        wanted: &WantedTime,
    ) -> Result<Taken<'a>, Refusal> {
        let is_any = assignment == Assignment::Any;
        let here = Interval::new(wanted.start, wanted.start);
        let searches = offers.iter().map(|offer| self.search(offer, wanted, here));
        let asks = asks(searches, assignment, wanted.start);
        let mut answers = in_the_way(&asks);
        let session = asks.first().and_then(|ask| ask.session);
        if !is_any && answers.is_empty() {
            return Ok(Taken {
                offers,
                places: places(&asks),
                session,
                candidates: Vec::new(),
            });
        }
        answers.resize_with(asks.len(), Vec::new);
        if is_any && answers.iter().any(Vec::is_empty) {
            let (chosen, candidates) = self.choose(&offers, &answers, wanted);
            let ask = &asks[chosen..=chosen];
            let session = ask[0].session;
            return Ok(Taken {
                offers: vec![offers[chosen]],
                places: places(ask),
                session,
                candidates,
            });
        }
        Err(self.refused(&offers, answers, is_any, wanted))
    }

    /// The least loaded of the calendars that could take it, then the first by id.
    fn choose(
        self,
        offers: &[Offer<'_>],
        answers: &[Vec<Violation>],
        wanted: &WantedTime,
    ) -> (usize, Vec<Candidate>) {
        let loads: Vec<u32> = offers
            .iter()
            .map(|offer| self.load(offer.calendar, wanted))
            .collect();
        let is_free = |index: &usize| answers[*index].is_empty();
        let chosen = (0..offers.len())
            .filter(is_free)
            .min_by_key(|index| (loads[*index], offers[*index].calendar.id.as_str()))
            .expect("one of them is free");
        let candidates = offers.iter().zip(&loads).zip(answers).enumerate();
        let candidates = candidates.map(|(index, ((offer, load), violations))| {
            let codes: Vec<&str> = violations
                .iter()
                .map(|violation| violation.code.name())
                .collect();
            let reason = match violations.len() {
                0 if index == chosen => {
                    format!("free, and {load} appointments that day are the fewest")
                }
                0 => format!("free, with {load} appointments that day"),
                _ => codes.join(", "),
            };
            Candidate {
                calendar: offer.calendar.id.clone(),
                load: *load,
                is_chosen: index == chosen,
                reason,
            }
        });
        (chosen, candidates.collect())
    }

    /// Active appointments that start on the local date of the slot, the moved one not counted.
    fn load(self, calendar: &Calendar, wanted: &WantedTime) -> u32 {
        let zone = calendar.zone();
        let date = zone.wall(wanted.start).date();
        let first = zone.day(date).next();
        let since = first.map_or(wanted.start, |interval| interval.start);
        let starts_that_day = |claim: &&Claim| zone.wall(claim.start()).date() == date;
        let claims = calendar.claims.ending_after(since);
        let claims = claims.take_while(|claim| zone.wall(claim.padded().start).date() <= date);
        let counted =
            claims.filter(|claim| claim.is_alive(self.now) && Some(claim.key()) != wanted.ignore);
        u32::try_from(counted.filter(starts_that_day).count()).unwrap_or(u32::MAX)
    }

    fn search<'q>(self, offer: &Offer<'q>, wanted: &WantedTime, range: Interval) -> Search<'q> {
        Search {
            calendar: offer.calendar,
            appointment_type: offer.appointment_type,
            duration: wanted.duration_on(offer),
            range,
            now: self.now,
            ignore: wanted.ignore,
            present_duration: wanted.present_duration,
            ignored_rules: wanted.ignored_rules,
        }
    }

    fn refused(
        self,
        offers: &[Offer<'_>],
        answers: Vec<Vec<Violation>>,
        is_any: bool,
        wanted: &WantedTime,
    ) -> Refusal {
        let is_race = |violations: &Vec<Violation>| {
            violations.iter().all(|violation| !violation.code.is_rule())
        };
        // Of ANY, one calendar that is merely taken makes it a lost race: it would be bookable but for the others.
        let is_race_lost = is_any && answers.iter().any(is_race);
        let violations = answers
            .into_iter()
            .filter(|violations| !is_race_lost || is_race(violations))
            .flatten()
            .collect();
        let first = offers.first().expect("a refusal is some calendar's");
        let slot = Interval::new(
            wanted.start,
            wanted.start.plus(wanted.duration_on(first).seconds()),
        );
        let assignment = if is_any {
            Assignment::Any
        } else {
            Assignment::All
        };
        let mut refusal = SlotRefusal {
            slot,
            violations,
            nearest_before: None,
            nearest_after: None,
            nearest_days: 0,
        };
        if matches!(wanted.alternatives, Alternatives::Now) {
            (refusal.nearest_before, refusal.nearest_after) =
                self.nearest(offers, assignment, wanted);
            refusal.nearest_days = nearest_days(offers.len());
        }
        Refusal::Slot(Box::new(refusal))
    }

    fn nearest(
        self,
        offers: &[Offer<'_>],
        assignment: Assignment,
        wanted: &WantedTime,
    ) -> (Option<Interval>, Option<Interval>) {
        let here = Interval::new(wanted.start, wanted.start);
        let searches: Vec<Search<'_>> = offers
            .iter()
            .map(|offer| self.search(offer, wanted, here))
            .collect();
        nearest(&searches, assignment, wanted.start)
    }
}

/// What is in the way of each; nothing at all where nothing is in the way of any, as most times.
fn in_the_way(asks: &[Ask<'_>]) -> Vec<Vec<Violation>> {
    let mut answers = Vec::new();
    for (index, ask) in asks.iter().enumerate() {
        let found = rules::violations(ask);
        if answers.is_empty() && found.is_empty() {
            continue;
        }
        answers.resize_with(index, Vec::new);
        answers.push(found);
    }
    answers
}

/// What a claim takes of the calendars that are asked, each for a need of its own.
pub(super) fn places(asks: &[Ask<'_>]) -> Vec<Place> {
    let place = |(ask, need): (&Ask<'_>, u16)| {
        let (before, after) = rules::buffers(ask);
        Place {
            calendar: ask.calendar.id.clone(),
            since: ask.calendar.since,
            type_number: ask.appointment_type.number,
            need,
            start: ask.start,
            duration: ask.duration,
            before,
            after,
            units: 1,
        }
    };
    asks.iter().zip(0..).map(place).collect()
}

impl WantedTime {
    fn of_booking(booking: &Booking, start: Instant, alternatives: Alternatives) -> Self {
        let Booking {
            duration,
            ignored_rules,
            ..
        } = *booking;
        Self {
            start,
            duration,
            ignore: None,
            present_duration: None,
            ignored_rules,
            alternatives,
        }
    }

    fn duration_on(&self, offer: &Offer<'_>) -> Minutes {
        self.duration.unwrap_or(offer.appointment_type.duration)
    }
}

/// Under ALL the calendars take part for one duration: where none is asked for, their defaults must agree.
fn expect_one_duration(booking: &Booking, offers: &[Offer<'_>]) -> Result<(), Refusal> {
    let is_each_its_own = booking.duration.is_some() || booking.assignment == Assignment::Any;
    let durations = offers.iter().map(|offer| offer.appointment_type.duration);
    let is_one = durations
        .clone()
        .zip(durations.skip(1))
        .all(|(one, next)| one == next);
    if is_each_its_own || is_one {
        return Ok(());
    }
    Err(invalid(
        "duration",
        "is required, because the default durations of these calendars differ",
    ))
}

/// The instant that a start means. A local time must exist exactly once, and be a whole minute of UTC.
pub fn resolve(start: &Start, calendar_zone: &Zone) -> Result<Instant, Refusal> {
    let (wall, zone) = match start {
        Start::At(instant) => return Ok(*instant),
        Start::Local { wall, zone } => (*wall, zone.as_deref().unwrap_or(calendar_zone)),
    };
    let name = zone.name();
    let description = match zone.instants(wall) {
        LocalInstants::One(instant) if !instant.is_whole_minute() => {
            format!("{wall} in {name} is {instant}, which is not a whole minute; use start_time")
        }
        LocalInstants::One(instant)
            if instant < Claim::START_MIN || instant >= Claim::START_END =>
        {
            format!("{wall} lies outside the years 1 to 5999")
        }
        LocalInstants::One(instant) => return Ok(instant),
        LocalInstants::None { before, after } => {
            let (first, second) = (before.min(after), before.max(after));
            format!(
                "{wall} does not exist in {name}, where the clock skips it; choose start_time {first} ({}) or {second} ({})",
                zone.wall(first),
                zone.wall(second)
            )
        }
        LocalInstants::Two(first, second) => {
            format!(
                "{wall} exists twice in {name}, where the clock is set back; choose start_time {first} or {second}"
            )
        }
    };
    Err(Refusal::FieldInvalid(vec![FieldViolation::new(
        "local_start",
        description,
    )]))
}

/// Which fields of a booking differ from those of the hold that it names.
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
