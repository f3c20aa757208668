//! The question of a slot search about one calendar, and the slots that are its answer.
//!
//! A slot that is listed was free at the search's `now`; nothing is reserved by listing it.

use crate::appointment::IgnoredRules;
use crate::calendar::Calendar;
use crate::calendar::appointment_type::AppointmentType;
use crate::calendar::claims::Claim;
use crate::ids::AppointmentKey;
use crate::slots::rules::{Ask, bookable, is_duration_allowed, session_here};
use crate::time::interval::Interval;
use crate::time::{DAY, Instant, LocalDate, Minutes};

/// A search for slots of one appointment type and duration on one calendar.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The calendar that is searched.
    pub calendar: &'a Calendar,
    /// The appointment type to book, one of the calendar's.
    pub appointment_type: &'a AppointmentType,
    /// The duration of every slot.
    pub duration: Minutes,
    /// The range of the starts.
    pub range: Interval,
    /// The writer's clock.
    pub now: Instant,
    /// The appointment that is being moved: its own time counts as free.
    pub ignore: Option<AppointmentKey>,
    /// The duration of the moved appointment, which stays allowed.
    pub present_duration: Option<Minutes>,
    /// The rules that staff override. Only NOTICE, HORIZON and LIMIT have an effect: without
    /// OUTSIDE_AVAILABILITY or MISALIGNED every minute would be listed.
    pub ignored_rules: IgnoredRules,
}

impl<'a> Search<'a> {
    /// The question that a booking of this calendar alone asks about a start.
    pub fn ask(&self, start: Instant) -> Ask<'a> {
        self.ask_among(start, 1)
    }

    /// The question that a booking of `places` calendars at once asks this one about a start. The
    /// session to join is the one that this calendar alone suggests.
    pub(crate) fn ask_among(&self, start: Instant, places: usize) -> Ask<'a> {
        let ask = self.ask_without_session(start);
        Ask {
            session: session_here(&ask, places),
            ..ask
        }
    }

    /// As `ask`, for a booking that joins no session.
    pub(crate) fn ask_without_session(&self, start: Instant) -> Ask<'a> {
        let Self {
            calendar,
            appointment_type,
            duration,
            now,
            ignore,
            present_duration,
            ignored_rules,
            ..
        } = *self;
        Ask {
            calendar,
            appointment_type,
            start,
            duration,
            now,
            ignore,
            present_duration,
            ignored_rules,
            is_grid_judged: true,
            session: None,
        }
    }

    /// The range in which the starts of slots lie, and the last local date of one; an empty range
    /// where a rule forbids every start.
    pub(crate) fn starts(&self) -> (Interval, LocalDate) {
        let Self {
            calendar,
            appointment_type,
            duration,
            range,
            now,
            present_duration,
            ignored_rules,
            ..
        } = *self;
        let bookable = bookable(calendar, appointment_type, now, ignored_rules);
        let start = range
            .start
            .max(bookable.earliest)
            .max(now)
            .max(Claim::START_MIN);
        // No clock is further than 26 hours from UTC. Which instants have the last date is judged
        // by the cursor, which knows the date of each stretch of open time.
        let horizon =
            Instant::from_seconds(bookable.last_date.plus(1).midnight().seconds()).plus(2 * DAY);
        let end = range.end.min(horizon).min(Claim::START_END);
        let is_possible = !calendar.profile.paused
            && is_duration_allowed(appointment_type, duration, present_duration);
        (
            Interval::new(start, if is_possible { end } else { start }),
            bookable.last_date,
        )
    }
}

/// A start and an end that can be booked now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// A whole minute.
    pub start: Instant,
    /// The start plus the duration.
    pub end: Instant,
    /// How many seats are left; at least 1.
    pub seats_remaining: u32,
}

impl Slot {
    /// `[start, end)`.
    pub fn interval(self) -> Interval {
        Interval::new(self.start, self.end)
    }
}
