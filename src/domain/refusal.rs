//! Why a command was refused: every reason there is, with the facts that an answer needs.
//!
//! A refusal changes nothing and names nobody: which appointment has a time is known to Explain alone.

use std::fmt;

use super::appointment::{AppointmentState, Transition};
use super::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId, TypeId};
use super::interval::Interval;
use super::series::SeriesReport;
use super::time::Instant;

/// A field that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldViolation {
    /// Its path in the request: `calendar.time_zone`, `rules[2].start_time`.
    pub field: String,
    /// What must be: "must be an IANA time zone …".
    pub description: String,
}

impl FieldViolation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Why nothing was changed. The order of the variants is the order in which they are asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Fields that could only be judged with the calendar at hand.
    FieldInvalid(Vec<FieldViolation>),
    /// The request id belongs to another request.
    RequestIdReused,
    /// No such calendar.
    CalendarNotFound(CalendarId),
    /// No such appointment type on that calendar.
    AppointmentTypeNotFound(CalendarId, TypeId),
    /// No such appointment.
    AppointmentNotFound(AppointmentId),
    /// No appointment of such a series.
    SeriesNotFound(SeriesId),
    /// The calendar is there already.
    CalendarExists(CalendarId),
    /// The appointment is there already.
    AppointmentExists(AppointmentId),
    /// Somebody changed it since.
    EtagMismatch {
        /// What was to be changed, for people: `calendar ada`.
        resource: String,
    },
    /// The hold ran out.
    HoldExpired {
        /// When.
        expire_time: Instant,
    },
    /// The transition table says no.
    AppointmentState {
        /// Where the appointment stands.
        state: AppointmentState,
        /// What was asked, for people: `approved`.
        asked: &'static str,
        /// More, where the state alone does not tell: `it starts at …`.
        detail: Option<String>,
    },
    /// The cut-off has passed.
    TooLate {
        /// What was asked: `cancelled` or `moved`.
        asked: &'static str,
        /// Until when it could have been.
        latest: Instant,
    },
    /// The calendar has appointments to come.
    CalendarNotEmpty {
        /// How many.
        upcoming: usize,
    },
    /// The time cannot be had.
    Slot(Box<SlotRefusal>),
    /// One of a batch was refused, and so none happened.
    InBatch {
        /// Which, counted from 0.
        index: usize,
        /// Why.
        refusal: Box<Self>,
    },
    /// Occurrences of a series cannot be booked, and so none was.
    Series(Box<SeriesReport>),
    /// An appointment of a series refused, and so nothing happened to any.
    OfSeries {
        /// Which.
        appointment: AppointmentId,
        /// Why.
        refusal: Box<Self>,
    },
}

impl Refusal {
    /// A transition that the table does not have.
    pub const fn state(state: AppointmentState, transition: Transition) -> Self {
        Self::AppointmentState { state, asked: transition.participle(), detail: None }
    }
}

/// Why a time cannot be had, and which times near it can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotRefusal {
    /// What was asked for.
    pub slot: Interval,
    /// All that fail, in the order of scheduling.md; never empty.
    pub violations: Vec<Violation>,
    /// The last slot offered before.
    pub nearest_before: Option<Interval>,
    /// The first slot offered after.
    pub nearest_after: Option<Interval>,
    /// Within how many days either way these two were looked for; 0 where nobody looked.
    pub nearest_days: i64,
}

impl SlotRefusal {
    /// Whether a rule was broken; else a race was lost.
    pub fn is_rule_broken(&self) -> bool {
        self.violations.iter().any(|violation| violation.code.is_rule())
    }
}

/// The rules of a slot, in the order in which they are reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ViolationCode {
    /// The calendar accepts no bookings.
    CalendarPaused,
    /// The type does not have that duration.
    Duration,
    /// The start is before now.
    InThePast,
    /// The start is sooner than the notice.
    Notice,
    /// The start is beyond the horizon.
    Horizon,
    /// Not every instant is open.
    OutsideAvailability,
    /// The start is off the grid.
    Misaligned,
    /// An appointment has that time.
    BusyBooking,
    /// A hold has that time.
    BusyHold,
    /// An external calendar has that time.
    BusyExternal,
    /// The session is full.
    Capacity,
    /// A limit is reached.
    Limit,
}

impl ViolationCode {
    /// Whether it is a broken rule, whoever comes first; else a lost race.
    pub const fn is_rule(self) -> bool {
        !matches!(self, Self::BusyBooking | Self::BusyHold | Self::BusyExternal | Self::Capacity | Self::Limit)
    }

    /// As scheduling.md writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CalendarPaused => "CALENDAR_PAUSED",
            Self::Duration => "DURATION",
            Self::InThePast => "IN_THE_PAST",
            Self::Notice => "NOTICE",
            Self::Horizon => "HORIZON",
            Self::OutsideAvailability => "OUTSIDE_AVAILABILITY",
            Self::Misaligned => "MISALIGNED",
            Self::BusyBooking => "BUSY_BOOKING",
            Self::BusyHold => "BUSY_HOLD",
            Self::BusyExternal => "BUSY_EXTERNAL",
            Self::Capacity => "CAPACITY",
            Self::Limit => "LIMIT",
        }
    }
}

impl fmt::Display for ViolationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One rule that a slot breaks on one calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which rule.
    pub code: ViolationCode,
    /// Of which calendar.
    pub calendar: CalendarId,
    /// The rule with its numbers, for people: `min_notice is 1 h: the earliest start is 2027-03-26T08:00:00Z`.
    pub rule: String,
    /// The time that is in the way, where there is one.
    pub interval: Option<Interval>,
    /// The appointments in the way, at most `CONFLICTS_MAX`; for Explain alone.
    pub conflicts: Vec<AppointmentKey>,
}

/// How many conflicting appointments Explain names.
pub const CONFLICTS_MAX: usize = 20;
