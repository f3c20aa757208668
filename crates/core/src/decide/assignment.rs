//! Which of the asked calendars take a time: all of them, or the least loaded of those that can.
//!
//! All calendars are asked at one moment, each by the predicate of `slots/rules.rs`; all of the
//! chosen ones are taken, or none.

use std::sync::Arc;

use super::calendars::invalid;
use super::start_time::resolve;
use super::{At, Candidate};
use crate::appointment::{Assignment, IgnoredRules, Image, Place};
use crate::calendar::Calendar;
use crate::calendar::appointment_type::AppointmentType;
use crate::calendar::claims::{Claim, Session};
use crate::command::Booking;
use crate::ids::{AppointmentKey, CalendarId, TypeId};
use crate::refusal::Refusal;
use crate::slots::multi_calendar::{asks, nearest};
use crate::slots::nearest_days;
use crate::slots::rules::{self, Ask};
use crate::slots::search::Search;
use crate::slots::violation::{SlotRefusal, Violation};
use crate::time::interval::Interval;
use crate::time::{Instant, Minutes};

/// A calendar, and its own definition of the appointment type that is booked.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) calendar: &'a Arc<Calendar>,
    pub(super) appointment_type: &'a Arc<AppointmentType>,
}

/// The time that each calendar is asked for, and the exceptions for the appointment that is being
/// moved.
pub(super) struct WantedTime {
    pub(super) start: Instant,
    /// The duration; none = the default of each calendar's type.
    pub(super) duration: Option<Minutes>,
    /// The appointment that is being moved: its own time counts as free.
    pub(super) ignore: Option<AppointmentKey>,
    /// The duration of the moved appointment, which stays allowed.
    pub(super) present_duration: Option<Minutes>,
    pub(super) ignored_rules: IgnoredRules,
    pub(super) alternatives: Alternatives,
}

/// When the nearest slots of a refusal are searched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alternatives {
    /// With the refusal.
    Now,
    /// After the other occurrences of a series have their time.
    Later,
}

/// The calendars that take a claim, and the time that it takes of each.
pub(super) struct Taken<'a> {
    pub(super) offers: Vec<Offer<'a>>,
    pub(super) places: Vec<Place>,
    /// The session that the claim joins; none where it is the first seat of a new one.
    pub(super) session: Option<Session>,
    /// Under ANY, how the calendar was chosen.
    pub(super) candidates: Vec<Candidate>,
}

impl<'a> At<'a> {
    /// The calendars of a booking, and the instant at which it starts.
    pub(super) fn offered(
        self,
        booking: &Booking,
        type_id: &TypeId,
    ) -> Result<(Vec<Offer<'a>>, Instant), Refusal> {
        let offers = self.offers(&booking.calendars, type_id, None)?;
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

    /// The calendars by id, each with its own type of `type_id`, for a new appointment or to move
    /// one.
    pub(super) fn offers(
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
        // A calendar that is not found is refused before a type that is not found. One calendar
        // alone needs no list.
        if let [only] = calendars {
            return Ok(vec![offer(self.calendar(only)?)?]);
        }
        let calendars = calendars
            .iter()
            .map(|id| self.calendar(id))
            .collect::<Result<Vec<_>, _>>()?;
        calendars.into_iter().map(offer).collect()
    }

    /// The calendars that take the wanted time, by the assignment; or the refusal with all that is
    /// in the way.
    pub(super) fn take(
        self,
        offers: Vec<Offer<'a>>,
        assignment: Assignment,
        wanted: &WantedTime,
    ) -> Result<Taken<'a>, Refusal> {
        let is_any = assignment == Assignment::Any;
        let here = Interval::new(wanted.start, wanted.start);
        let searches = offers.iter().map(|offer| self.search(offer, wanted, here));
        let asks = asks(searches, assignment, wanted.start);
        let mut answers = violations_of_each(&asks);
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

    /// The least loaded of the free calendars, of several the first by id; and how each calendar
    /// fared.
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
            .expect("one of the calendars is free");
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

    /// How many active appointments start on the local date of the slot, the moved one not counted.
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

    /// The refusal of a time that the calendars do not take.
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
        // Under ANY one calendar that is only taken makes the refusal a lost race: without the
        // other bookings the time could be booked.
        let is_race_lost = is_any && answers.iter().any(is_race);
        let violations = answers
            .into_iter()
            .filter(|violations| !is_race_lost || is_race(violations))
            .flatten()
            .collect();
        let first = offers
            .first()
            .expect("a refusal is of at least one calendar");
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

    /// The last slot offered before the wanted start, and the first after it.
    pub(super) fn nearest(
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

/// The violations of each question; an empty list where no question has any, as in most cases.
fn violations_of_each(asks: &[Ask<'_>]) -> Vec<Vec<Violation>> {
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

/// The places of a claim, one for each question and need.
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
    pub(super) fn of_booking(
        booking: &Booking,
        start: Instant,
        alternatives: Alternatives,
    ) -> Self {
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

    /// The wanted duration, or the default of the calendar's type.
    pub(super) fn duration_on(&self, offer: &Offer<'_>) -> Minutes {
        self.duration.unwrap_or(offer.appointment_type.duration)
    }
}

/// Refuses a booking under ALL without a duration whose calendars have different default durations.
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
