//! What a slot search asks of one calendar, and the slots that it answers.

use crate::appointment::IgnoredRules;
use crate::calendar::Calendar;
use crate::calendar::appointment_type::AppointmentType;
use crate::calendar::claims::Claim;
use crate::ids::AppointmentKey;
use crate::slots::rules::{Ask, bookable, is_duration_allowed, session_here};
use crate::time::interval::Interval;
use crate::time::{DAY, Instant, LocalDate, Minutes};

/// What to look for, where.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Whose time.
    pub calendar: &'a Calendar,
    /// What is to be booked: a type of the calendar.
    pub appointment_type: &'a AppointmentType,
    /// How long.
    pub duration: Minutes,
    /// In which the starts lie.
    pub range: Interval,
    /// The writer's clock.
    pub now: Instant,
    /// The appointment that is being moved: it takes nothing.
    pub ignore: Option<AppointmentKey>,
    /// The duration it has, which stays allowed.
    pub present_duration: Option<Minutes>,
    /// Only NOTICE, HORIZON and LIMIT count: without OUTSIDE_AVAILABILITY or MISALIGNED every minute would be listed.
    pub ignored_rules: IgnoredRules,
}

impl<'a> Search<'a> {
    /// The question that booking one start of this calendar alone would ask.
    pub fn ask(&self, start: Instant) -> Ask<'a> {
        self.ask_among(start, 1)
    }

    /// The question that booking one start of so many calendars at once would ask of this one, as far as it alone can tell
    /// which session would be joined.
    pub(crate) fn ask_among(&self, start: Instant, places: usize) -> Ask<'a> {
        let ask = self.ask_without_session(start);
        Ask {
            session: session_here(&ask, places),
            ..ask
        }
    }

    /// The same for who joins no session.
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

    /// The range in which the starts of slots lie, and the last local date of one; an empty range where a rule forbids
    /// every start.
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
        // No clock is further than 26 hours from UTC. Which instants have the last date is judged by the cursor, which
        // knows the date of each stretch of open time.
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

/// A start and an end that could be booked now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// A whole minute.
    pub start: Instant,
    /// The duration later.
    pub end: Instant,
    /// How many can still book it; at least 1.
    pub seats_remaining: u32,
}

impl Slot {
    /// `[start, end)`.
    pub fn interval(self) -> Interval {
        Interval::new(self.start, self.end)
    }
}
