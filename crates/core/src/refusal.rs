//! The refusals of a command: one variant for each reason, with the facts that the answer needs.
//!
//! A refused command changes nothing. No refusal names another appointment: only Explain names
//! those in the way.

use crate::appointment::series::SeriesReport;
use crate::appointment::{AppointmentState, Transition};
use crate::field_violation::FieldViolation;
use crate::ids::{AppointmentId, CalendarId, SeriesId, TypeId};
use crate::quota::QuotaExceeded;
use crate::slots::violation::SlotRefusal;
use crate::time::Instant;
use crate::token::TokenId;

/// Why a command was refused. The order of the variants is the order in which the reasons are
/// checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Invalid fields that can be checked only with the calendar.
    FieldInvalid(Vec<FieldViolation>),
    /// The request id belongs to another request.
    RequestIdReused,
    /// There is no calendar of this id.
    CalendarNotFound(CalendarId),
    /// The calendar has no appointment type of this id.
    AppointmentTypeNotFound(CalendarId, TypeId),
    /// There is no appointment of this id.
    AppointmentNotFound(AppointmentId),
    /// The appointment is also on calendars that the caller may not change.
    OutOfReach(AppointmentId),
    /// There is no appointment of a series of this id.
    SeriesNotFound(SeriesId),
    /// There is no token of this id.
    TokenNotFound(TokenId),
    /// A calendar of this id exists already.
    CalendarExists(CalendarId),
    /// An appointment of this id exists already.
    AppointmentExists(AppointmentId),
    /// The resource was changed since the caller read its etag.
    EtagMismatch {
        /// The resource, as text for people: `calendar ada`.
        resource: String,
    },
    /// The hold has expired.
    HoldExpired {
        /// The time of the expiry.
        expire_time: Instant,
    },
    /// The table of transitions does not have the transition.
    AppointmentState {
        /// The state of the appointment.
        state: AppointmentState,
        /// The participle of the transition, as text for people: `approved`.
        asked: &'static str,
        /// A further reason, where the state alone does not explain the refusal: `it starts at …`.
        detail: Option<String>,
    },
    /// The cut-off has passed.
    TooLate {
        /// The participle of the command: `cancelled` or `moved`.
        asked: &'static str,
        /// The cut-off: the last instant at which it was possible.
        latest: Instant,
    },
    /// The calendar has upcoming appointments.
    CalendarNotEmpty {
        /// Their number.
        upcoming: usize,
    },
    /// The slot cannot be booked.
    Slot(Box<SlotRefusal>),
    /// One booking of a batch was refused, so that none was made.
    InBatch {
        /// The index of the booking, from 0.
        index: usize,
        /// The refusal of the booking.
        refusal: Box<Self>,
    },
    /// There are as many tokens as there may be.
    TooManyTokens,
    /// The token of the caller was revoked meanwhile.
    CallerRevoked,
    /// Occurrences of a series cannot be booked, so that none was.
    Series(Box<SeriesReport>),
    /// The command was refused for one appointment of a series, so that none was changed.
    OfSeries {
        /// The appointment's id.
        appointment: AppointmentId,
        /// The refusal for the appointment.
        refusal: Box<Self>,
    },
    /// The tenant has as many as its quota allows.
    QuotaExceeded(Box<QuotaExceeded>),
}

impl Refusal {
    /// The refusal of a transition that the table does not have.
    pub const fn state(state: AppointmentState, transition: Transition) -> Self {
        Self::AppointmentState {
            state,
            asked: transition.participle(),
            detail: None,
        }
    }
}
