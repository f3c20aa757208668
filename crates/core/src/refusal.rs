//! Why a command was refused: every reason there is, with the facts that an answer needs.
//!
//! A refusal changes nothing and names nobody: which appointment has a time is known to Explain alone.

use crate::appointment::series::SeriesReport;
use crate::appointment::{AppointmentState, Transition};
use crate::field_violation::FieldViolation;
use crate::ids::{AppointmentId, CalendarId, SeriesId, TypeId};
use crate::slots::violation::SlotRefusal;
use crate::time::Instant;

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
        Self::AppointmentState {
            state,
            asked: transition.participle(),
            detail: None,
        }
    }
}
