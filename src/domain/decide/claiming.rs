//! Decisions that claim time: booking, holding, moving, batches. Each asks the one predicate of `feasible.rs`.
//!
//! All calendars of a claim are asked at one moment, and all or none are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::appointment::{Appointment, AppointmentState, Assignment, IgnoredRules, Invitee, Place};
use super::super::appointment_type::AppointmentType;
use super::super::calendar::Calendar;
use super::super::change::{AppointmentEvent, Cause, Event};
use super::super::claims::Claim;
use super::super::command::{Booking, Move, Needs, Start};
use super::super::feasible::{self, Ask};
use super::super::ids::{AppointmentKey, CalendarId, TypeId};
use super::super::interval::Interval;
use super::super::refusal::{FieldViolation, Refusal, SlotRefusal, Violation};
use super::super::several::nearest;
use super::super::slots::Search;
use super::super::time::{Instant, Minutes, Seconds};
use super::super::zone::{LocalInstants, Zone};
use super::calendars::invalid;
use super::{At, Candidate, Decision, Outcome};

/// A calendar with its own type of the id that is booked.
struct Offer<'a> {
    calendar: &'a Arc<Calendar>,
    appointment_type: &'a Arc<AppointmentType>,
}

/// What is asked of each calendar: a time, and what stays allowed or does not count in a move.
struct Wanted {
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

/// The calendars that take the claim.
struct Taken<'a> {
    offers: Vec<Offer<'a>>,
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
        let (mut appointment, taken) = self.claim(booking, alternatives)?;
        let types: Vec<_> = taken.offers.iter().map(|offer| offer.appointment_type).collect();
        appointment.state = if types.iter().any(|it| it.requires_approval) {
            AppointmentState::Pending
        } else {
            AppointmentState::Confirmed
        };
        (appointment.blocks, appointment.expire_time) = self.claim_terms(appointment.state, &types, appointment.start);
        Ok(self.claimed(cause, AppointmentEvent::Booked, appointment, taken.candidates))
    }

    pub(super) fn hold(self, booking: &Booking, ttl: Seconds) -> Result<Decision, Refusal> {
        let (mut appointment, taken) = self.claim(booking, Alternatives::Now)?;
        appointment.state = AppointmentState::Held;
        appointment.expire_time = Some(self.now.plus(ttl.seconds()));
        Ok(self.claimed(Cause::HoldAppointment, AppointmentEvent::Held, appointment, taken.candidates))
    }

    /// All bookings, one after the other, each on what the ones before it left; or the first refusal.
    pub(super) fn batch_book(self, bookings: &[Booking]) -> Result<Decision, Refusal> {
        let needs = Needs::of_bookings(bookings);
        let claimed = needs.appointments.iter().filter_map(|id| self.state.appointments.get(id));
        let claimed = claimed.flat_map(|appointment| appointment.calendars());
        let mut scratch = self.state.scratch(needs.calendars.iter().chain(claimed));
        let mut all = Decision { cause: Cause::BatchBook, events: Vec::new(), outcome: Outcome::default() };
        for (index, booking) in bookings.iter().enumerate() {
            let in_batch = |refusal| Refusal::InBatch { index, refusal: Box::new(refusal) };
            let decision = At { state: &scratch, now: self.now }.book(booking).map_err(in_batch)?;
            decision.events.iter().for_each(|event| scratch.apply_event(event, self.revision()));
            all.events.extend(decision.events);
            all.outcome.appointments.extend(decision.outcome.appointments);
            all.outcome.candidates.extend(decision.outcome.candidates);
        }
        Ok(all)
    }

    fn claimed(
        self,
        cause: Cause,
        kind: AppointmentEvent,
        appointment: Appointment,
        candidates: Vec<Candidate>,
    ) -> Decision {
        let appointment = Arc::new(appointment);
        let event = Event::Appointment { kind, before: None, after: Arc::clone(&appointment) };
        let mut decision = Decision::of_appointment(cause, Some(event), appointment);
        decision.outcome.candidates = candidates;
        decision
    }

    /// A new appointment on the time that is asked for, and who takes it; its state is the caller's to say.
    fn claim(self, booking: &Booking, alternatives: Alternatives) -> Result<(Appointment, Taken<'a>), Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        if let Some(id) = booking.id.brought()
            && self.state.appointments.contains_key(&id)
        {
            return Err(Refusal::AppointmentExists(id));
        }
        let wanted = Wanted::of_booking(booking, start, alternatives);
        let taken = self.take(offers, booking.assignment, &wanted)?;
        let places = taken.offers.iter().map(|offer| self.place(offer, &wanted)).collect();
        let chosen = taken.offers.first().expect("what is taken is taken by a calendar");
        let (zone, duration) = (chosen.calendar.zone(), wanted.duration_on(chosen));
        let appointment = Appointment {
            id: booking.id.id(),
            key: self.state.next_key,
            places,
            type_id,
            start,
            duration,
            time_zone: zone.shared_name(),
            local_start: zone.wall(start),
            state: AppointmentState::Confirmed,
            blocks: true,
            expire_time: None,
            invitee: booking.invitee.clone().unwrap_or_default(),
            note: booking.note.clone(),
            metadata: booking.metadata.clone(),
            cancel_reason: String::new(),
            series: booking.series,
            sequence: 0,
            ignored_rules: booking.ignored_rules,
            stamps: self.stamps(),
        };
        Ok((appointment, taken))
    }

    /// The calendars of a booking, and when it begins.
    fn offered(self, booking: &Booking, type_id: &TypeId) -> Result<(Vec<Offer<'a>>, Instant), Refusal> {
        let offers = self.offers(&booking.calendars, type_id)?;
        let first = offers.first().ok_or_else(|| invalid("calendar_id", "name at least one calendar"))?;
        let start = booking.start.as_ref().ok_or_else(|| invalid("start_time", "is required without hold_id"))?;
        let start = resolve(start, first.calendar.zone())?;
        expect_one_duration(booking, &offers)?;
        Ok((offers, start))
    }

    /// When the first occurrence of a series begins, and the zone in which it repeats.
    pub(super) fn first_occurrence(self, booking: &Booking) -> Result<(Instant, &'a Zone), Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        let first = offers.first().expect("what is offered is offered by a calendar");
        Ok((start, first.calendar.zone()))
    }

    /// The last slot offered before the start of a booking, and the first after it.
    pub(super) fn alternatives(self, booking: &Booking) -> Result<(Option<Interval>, Option<Interval>), Refusal> {
        let type_id = booking.type_id.clone().unwrap_or_else(TypeId::default_type);
        let (offers, start) = self.offered(booking, &type_id)?;
        Ok(self.nearest(&offers, booking.assignment, &Wanted::of_booking(booking, start, Alternatives::Now)))
    }

    pub(super) fn reschedule(self, to: &Move) -> Result<Decision, Refusal> {
        // Existence of everything comes before etag and state.
        let before = self.appointment(to.appointment)?;
        let present: Vec<CalendarId> = before.calendars().cloned().collect();
        let (calendars, assignment) =
            if to.calendars.is_empty() { (&present, Assignment::All) } else { (&to.calendars, to.assignment) };
        let offers = self.offers(calendars, &before.type_id)?;
        // So does a field that only a calendar's zone can judge.
        let first = offers.first().ok_or_else(|| invalid("calendar_ids", "name at least one calendar"))?;
        let start = to.start.as_ref().map_or(Ok(before.start), |start| resolve(start, first.calendar.zone()))?;
        let before = self.appointment_at(to.appointment, to.etag)?;
        self.expect_movable(before)?;
        let duration = to.duration.unwrap_or(before.duration);
        let is_same_time = start == before.start && duration == before.duration;
        if is_same_time && (to.calendars.is_empty() || *calendars == present) {
            return Ok(Decision::of_appointment(Cause::RescheduleAppointment, None, Arc::clone(before)));
        }
        let wanted = Wanted {
            start,
            duration: Some(duration),
            ignore: Some(before.key),
            present_duration: Some(before.duration),
            ignored_rules: to.ignored_rules,
            alternatives: Alternatives::Now,
        };
        let taken = self.take(offers, assignment, &wanted)?;
        let places: Vec<Place> = taken.offers.iter().map(|offer| self.place(offer, &wanted)).collect();
        let zone = taken
            .offers
            .first()
            .map_or_else(|| Arc::clone(&before.time_zone), |offer| offer.calendar.zone().shared_name());
        let local_start = taken.offers.first().map_or(before.local_start, |it| it.calendar.zone().wall(start));
        let is_pending = before.state == AppointmentState::Pending;
        let after = Appointment {
            places,
            start,
            duration,
            time_zone: zone,
            local_start,
            expire_time: if is_pending { Some(self.request_expiry(start)) } else { before.expire_time },
            sequence: before.sequence.saturating_add(1),
            ignored_rules: to.ignored_rules,
            ..Appointment::clone(before)
        };
        let (event, after) = self.event(AppointmentEvent::Moved, before, after);
        let mut decision = Decision::of_appointment(Cause::RescheduleAppointment, Some(event), after);
        decision.outcome.candidates = taken.candidates;
        Ok(decision)
    }

    /// The calendars by name, each with its own type of that id.
    fn offers(self, calendars: &[CalendarId], type_id: &TypeId) -> Result<Vec<Offer<'a>>, Refusal> {
        // All calendars come before any type.
        let calendars = calendars.iter().map(|id| self.calendar(id)).collect::<Result<Vec<_>, _>>()?;
        let offer = |calendar: &'a Arc<Calendar>| {
            let not_found = || Refusal::AppointmentTypeNotFound(calendar.id.clone(), type_id.clone());
            Ok(Offer { calendar, appointment_type: calendar.types.find(type_id).ok_or_else(not_found)? })
        };
        calendars.into_iter().map(offer).collect()
    }

    /// Whether a claim in this state takes its time, and when it ends by itself: only a request may wait without taking
    /// time, and only a request runs out.
    pub(super) fn claim_terms(
        self,
        state: AppointmentState,
        types: &[&Arc<AppointmentType>],
        start: Instant,
    ) -> (bool, Option<Instant>) {
        if state != AppointmentState::Pending {
            return (true, None);
        }
        let blocks = types.iter().any(|it| it.requires_approval && it.pending_blocks);
        (blocks, Some(self.request_expiry(start)))
    }

    /// When a request that nobody answers runs out: at its start, but never at the moment that makes it, for what is
    /// made dead would stand in the way of nobody, and yet stand there.
    pub(super) fn request_expiry(self, start: Instant) -> Instant {
        start.max(self.now.plus(1))
    }

    /// The types of an appointment's places, but for those that were deleted.
    pub(super) fn types_of(self, appointment: &Appointment) -> Vec<&'a Arc<AppointmentType>> {
        let type_of = |place: &Place| {
            let calendar = self.state.calendars.get(&place.calendar).filter(|it| it.since == place.since)?;
            calendar.types.numbered(place.type_number)
        };
        appointment.places.iter().filter_map(type_of).collect()
    }

    fn take(self, offers: Vec<Offer<'a>>, assignment: Assignment, wanted: &Wanted) -> Result<Taken<'a>, Refusal> {
        let is_any = assignment == Assignment::Any;
        let answers: Vec<Vec<Violation>> = offers
            .iter()
            .enumerate()
            .map(|(index, offer)| feasible::violations(&self.ask(offer, wanted, is_any || index == 0)))
            .collect();
        if !is_any && answers.iter().all(Vec::is_empty) {
            return Ok(Taken { offers, candidates: Vec::new() });
        }
        if is_any && answers.iter().any(Vec::is_empty) {
            return Ok(self.take_any(offers, &answers, wanted));
        }
        Err(self.refused(&offers, answers, is_any, wanted))
    }

    /// The least loaded of the calendars that could take it, then the first by id.
    fn take_any(self, offers: Vec<Offer<'a>>, answers: &[Vec<Violation>], wanted: &Wanted) -> Taken<'a> {
        let loads: Vec<u32> = offers.iter().map(|offer| self.load(offer.calendar, wanted)).collect();
        let is_free = |index: &usize| answers[*index].is_empty();
        let chosen = (0..offers.len())
            .filter(is_free)
            .min_by_key(|index| (loads[*index], offers[*index].calendar.id.as_str()))
            .expect("one of them is free");
        let candidates = offers.iter().zip(&loads).zip(answers).enumerate();
        let candidates = candidates.map(|(index, ((offer, load), violations))| {
            let codes: Vec<&str> = violations.iter().map(|violation| violation.code.name()).collect();
            let reason = match violations.len() {
                0 if index == chosen => format!("free, and {load} appointments that day are the fewest"),
                0 => format!("free, with {load} appointments that day"),
                _ => codes.join(", "),
            };
            Candidate { calendar: offer.calendar.id.clone(), load: *load, is_chosen: index == chosen, reason }
        });
        let candidates = candidates.collect();
        let offers = offers.into_iter().skip(chosen).take(1).collect();
        Taken { offers, candidates }
    }

    /// Active appointments that start on the local date of the slot, the moved one not counted.
    fn load(self, calendar: &Calendar, wanted: &Wanted) -> u32 {
        let zone = calendar.zone();
        let date = zone.wall(wanted.start).date();
        let first = zone.day(date).next();
        let since = first.map_or(wanted.start, |interval| interval.start);
        let starts_that_day = |claim: &&Claim| zone.wall(claim.start()).date() == date;
        let claims = calendar.claims.ending_after(since);
        let claims = claims.take_while(|claim| zone.wall(claim.padded().start).date() <= date);
        let counted = claims.filter(|claim| claim.is_alive(self.now) && Some(claim.key()) != wanted.ignore);
        u32::try_from(counted.filter(starts_that_day).count()).unwrap_or(u32::MAX)
    }

    fn ask<'q>(self, offer: &'q Offer<'_>, wanted: &Wanted, is_grid_judged: bool) -> Ask<'q> {
        let here = Interval::new(wanted.start, wanted.start);
        Ask { is_grid_judged, ..self.search(offer, wanted, here).ask(wanted.start) }
    }

    fn search<'q>(self, offer: &'q Offer<'_>, wanted: &Wanted, range: Interval) -> Search<'q> {
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

    fn place(self, offer: &Offer<'_>, wanted: &Wanted) -> Place {
        let (before, after) = feasible::buffers(&self.ask(offer, wanted, true));
        Place {
            calendar: offer.calendar.id.clone(),
            since: offer.calendar.since,
            type_number: offer.appointment_type.number,
            before,
            after,
        }
    }

    fn refused(self, offers: &[Offer<'_>], answers: Vec<Vec<Violation>>, is_any: bool, wanted: &Wanted) -> Refusal {
        let is_race = |violations: &Vec<Violation>| violations.iter().all(|violation| !violation.code.is_rule());
        // Of ANY, one calendar that is merely taken makes it a lost race: it would be bookable but for the others.
        let is_race_lost = is_any && answers.iter().any(is_race);
        let violations =
            answers.into_iter().filter(|violations| !is_race_lost || is_race(violations)).flatten().collect();
        let first = offers.first().expect("a refusal is some calendar's");
        let slot = Interval::new(wanted.start, wanted.start.plus(wanted.duration_on(first).seconds()));
        let assignment = if is_any { Assignment::Any } else { Assignment::All };
        let (nearest_before, nearest_after) = match wanted.alternatives {
            Alternatives::Now => self.nearest(offers, assignment, wanted),
            Alternatives::Later => (None, None),
        };
        Refusal::Slot(Box::new(SlotRefusal { slot, violations, nearest_before, nearest_after }))
    }

    fn nearest(
        self,
        offers: &[Offer<'_>],
        assignment: Assignment,
        wanted: &Wanted,
    ) -> (Option<Interval>, Option<Interval>) {
        let here = Interval::new(wanted.start, wanted.start);
        let searches: Vec<Search<'_>> = offers.iter().map(|offer| self.search(offer, wanted, here)).collect();
        nearest(&searches, assignment, wanted.start)
    }
}

impl Wanted {
    fn of_booking(booking: &Booking, start: Instant, alternatives: Alternatives) -> Self {
        let Booking { duration, ignored_rules, .. } = *booking;
        Self { start, duration, ignore: None, present_duration: None, ignored_rules, alternatives }
    }

    fn duration_on(&self, offer: &Offer<'_>) -> Minutes {
        self.duration.unwrap_or(offer.appointment_type.duration)
    }
}

/// Under ALL the calendars take part for one duration: where none is asked for, their defaults must agree.
fn expect_one_duration(booking: &Booking, offers: &[Offer<'_>]) -> Result<(), Refusal> {
    let is_each_its_own = booking.duration.is_some() || booking.assignment == Assignment::Any;
    let durations = offers.iter().map(|offer| offer.appointment_type.duration);
    let is_one = durations.clone().zip(durations.skip(1)).all(|(one, next)| one == next);
    if is_each_its_own || is_one {
        return Ok(());
    }
    Err(invalid("duration", "is required, because the default durations of these calendars differ"))
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
        LocalInstants::One(instant) if instant < Claim::START_MIN || instant >= Claim::START_END => {
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
            format!("{wall} exists twice in {name}, where the clock is set back; choose start_time {first} or {second}")
        }
    };
    Err(Refusal::FieldInvalid(vec![FieldViolation::new("local_start", description)]))
}

/// Which fields of a booking differ from those of the hold that it names.
pub(super) fn differences(booking: &Booking, hold: &Appointment, start: Option<Instant>) -> Vec<FieldViolation> {
    let calendars: Vec<&CalendarId> = hold.calendars().collect();
    let is_other_calendar = match booking.assignment {
        _ if booking.calendars.is_empty() => false,
        Assignment::All => !booking.calendars.iter().eq(calendars.iter().copied()),
        Assignment::Any => !calendars.iter().all(|calendar| booking.calendars.contains(calendar)),
    };
    let checks = [
        (is_other_calendar, "calendar_id"),
        (booking.type_id.as_ref().is_some_and(|id| *id != hold.type_id), "appointment_type_id"),
        (start.is_some_and(|start| start != hold.start), "start_time"),
        (booking.duration.is_some_and(|duration| duration != hold.duration), "duration"),
    ];
    let violation = |field| FieldViolation::new(field, "differs from the hold's; leave it out, or move the hold first");
    checks.into_iter().filter(|(is_different, _)| *is_different).map(|(_, field)| violation(field)).collect()
}

/// The person of a booking: as asked for, else as the hold says. A name is required.
pub(super) fn invitee_of(asked: Option<&Invitee>, held: &Invitee) -> Result<Invitee, Refusal> {
    let invitee = asked.unwrap_or(held);
    if invitee.name.is_empty() {
        return Err(invalid("invitee.name", "is required"));
    }
    Ok(invitee.clone())
}

/// The metadata of a booking that turns a hold: the booking's keys over the hold's.
pub(super) fn merged(held: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    held.iter().chain(asked).map(|(key, value)| (key.clone(), value.clone())).collect()
}
