//! Decides what a command changes: `decide(state, command, now)` returns events or a refusal, and
//! changes nothing.
//!
//! The order of refusals is fixed: not found, already exists, etag, state and cut-offs, rules,
//! races. A decision without events means that the state is already as the command wants it; that
//! is OK and spends no revision.

mod assignment;
mod calendars;
mod claiming;
mod clock_reset;
mod import;
mod lifecycle;
mod needs;
mod outside_open_time;
mod redaction;
mod series;
mod start_time;
mod tokens;

pub use clock_reset::reset_clock;
pub use import::IMPORT_VIOLATIONS_MAX;
pub use lifecycle::{HOLD_LIFE_MAX, HOLD_SECONDS_MAX};
pub use outside_open_time::{Hours, OUTSIDE_MAX};
pub use redaction::REDACTED_MAX;
pub use series::{SERIES_CLAIMS_MAX, SERIES_TEXT_BYTES_MAX};
pub use start_time::resolve;

use std::sync::Arc;

use crate::appointment::Appointment;
use crate::appointment::series::SeriesReport;
use crate::calendar::Calendar;
use crate::calendar::appointment_type::Stamps;
use crate::change::{AppointmentEvent, Cause, Change, Event};
use crate::command::Command;
use crate::ids::{AppointmentId, CalendarId, Caller, Etag, Revision, TypeId};
use crate::reach::Reach;
use crate::refusal::Refusal;
use crate::state::State;
use crate::time::Instant;
use crate::token::Token;

/// What a command changes, and what its answer shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// The command that was decided.
    pub cause: Cause,
    /// The changes; empty when the state is already as the command wants it.
    pub events: Vec<Event>,
    /// The resources that the answer shows.
    pub outcome: Outcome,
}

/// The resources that an answer shows, besides the revision.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outcome {
    /// The appointments after the command, in the order of the request.
    pub appointments: Vec<Arc<Appointment>>,
    /// The calendar of a command about one.
    pub calendar: Option<CalendarId>,
    /// The appointment type of a command about one.
    pub type_id: Option<TypeId>,
    /// How one calendar was chosen from several.
    pub candidates: Vec<Candidate>,
    /// The report of a series.
    pub series: Option<SeriesReport>,
    /// The token of a command about one, also where it was revoked.
    pub token: Option<Arc<Token>>,
}

impl Outcome {
    /// The ids by which a repeated request finds its appointments again. Those of a series are the
    /// ids of all occurrences, so that each keeps its index when some were not booked.
    pub fn remembered(&self) -> Vec<AppointmentId> {
        match &self.series {
            Some(report) => report.occurrences.iter().map(|it| it.id).collect(),
            None => self.appointments.iter().map(|it| it.id).collect(),
        }
    }
}

/// One of the calendars of a booking under ANY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The calendar's id.
    pub calendar: CalendarId,
    /// How many active appointments start on the slot's local date.
    pub load: u32,
    /// Whether the calendar was chosen.
    pub is_chosen: bool,
    /// Why it was chosen or not, as text for people.
    pub reason: String,
}

impl Decision {
    /// This decision as the change that is the next revision of `state`; none when it has no
    /// events.
    pub fn change(&self, state: &State, now: Instant, caller: Caller) -> Option<Change> {
        let revision = state.revision.next();
        let change = || Change {
            revision,
            time: now,
            cause: self.cause,
            caller,
            events: self.events.clone(),
        };
        (!self.events.is_empty()).then(change)
    }

    fn of_appointment(cause: Cause, event: Option<Event>, appointment: Arc<Appointment>) -> Self {
        let outcome = Outcome {
            appointments: vec![appointment],
            ..Outcome::default()
        };
        Self {
            cause,
            events: event.into_iter().collect(),
            outcome,
        }
    }

    fn of_calendar(cause: Cause, event: Option<Event>, calendar: &CalendarId) -> Self {
        let outcome = Outcome {
            calendar: Some(calendar.clone()),
            ..Outcome::default()
        };
        Self {
            cause,
            events: event.into_iter().collect(),
            outcome,
        }
    }
}

/// Decides a command at `now` of somebody who may change everything. The state must hold
/// everything in `command.needs()`, with all expiries recorded.
pub fn decide(state: &State, command: &Command, now: Instant) -> Result<Decision, Refusal> {
    decide_within(&Reach::ALL, state, command, now)
}

/// Decides a command of somebody with this reach, in which all calendars are that the command
/// names. An appointment beyond it is refused as one that does not exist, and one that is on
/// calendars beyond it too as out of reach.
pub fn decide_within(
    reach: &Reach,
    state: &State,
    command: &Command,
    now: Instant,
) -> Result<Decision, Refusal> {
    let at = At { state, now, reach };
    match command {
        Command::CreateCalendar { .. }
        | Command::UpdateCalendar { .. }
        | Command::DeleteCalendar { .. }
        | Command::PutAppointmentType { .. }
        | Command::DeleteAppointmentType { .. }
        | Command::SetAvailability { .. }
        | Command::PutOverrides { .. }
        | Command::DeleteOverrides { .. }
        | Command::PutBusy { .. } => at.change_calendar(command),
        Command::Book(booking) => at.book(booking),
        Command::Hold { booking, ttl } => at.hold(booking, *ttl),
        Command::Reschedule(to) => at.reschedule(to),
        Command::BatchBook(bookings) => at.batch_book(bookings),
        Command::BookSeries(wanted) => at.book_series(wanted),
        Command::CancelSeries { scope, reason } => at.cancel_series(*scope, reason),
        Command::ExtendHold {
            appointment,
            ttl,
            etag,
        } => at.extend_hold(*appointment, *ttl, *etag),
        Command::ReleaseHold { appointment, etag } => at.release_hold(*appointment, *etag),
        Command::Confirm {
            appointment,
            invitee,
            etag,
        } => at.confirm(*appointment, invitee.as_ref(), *etag),
        Command::Approve { appointment, etag } => at.approve(*appointment, *etag),
        Command::Decline {
            appointment,
            reason,
            etag,
        } => at.decline(*appointment, reason, *etag),
        Command::Cancel {
            appointment,
            reason,
            etag,
        } => at.cancel(*appointment, reason, *etag),
        Command::UpdateAppointment {
            appointment,
            patch,
            etag,
        } => at.update_appointment(*appointment, patch, *etag),
        Command::MarkNoShow {
            appointment,
            undo,
            etag,
        } => at.mark_no_show(*appointment, *undo, *etag),
        Command::Complete {
            appointment,
            undo,
            etag,
        } => at.complete(*appointment, *undo, *etag),
        Command::Redact(redacted) => at.redact(redacted),
        Command::Import(calendars) => at.import(calendars),
        Command::CreateToken(new) => at.create_token(new),
        Command::RevokeToken(id) => at.revoke_token(id),
    }
}

/// The decision that records the expiry of an appointment at or before `now`; none when it has not
/// expired.
pub fn expire(state: &State, appointment: AppointmentId, now: Instant) -> Option<Decision> {
    At::unbounded(state, now).expire(appointment)
}

/// The state at an instant, on which a command is decided.
#[derive(Clone, Copy)]
struct At<'a> {
    state: &'a State,
    now: Instant,
    /// What the caller may change.
    reach: &'a Reach,
}

impl<'a> At<'a> {
    /// The state for what no caller asks for.
    const fn unbounded(state: &'a State, now: Instant) -> Self {
        Self {
            state,
            now,
            reach: &Reach::ALL,
        }
    }

    /// The revision that a change made now gets.
    fn revision(self) -> Revision {
        self.state.revision.next()
    }

    fn calendar(self, id: &CalendarId) -> Result<&'a Arc<Calendar>, Refusal> {
        self.state
            .calendars
            .get(id)
            .ok_or_else(|| Refusal::CalendarNotFound(id.clone()))
    }

    fn appointment(self, id: AppointmentId) -> Result<&'a Arc<Appointment>, Refusal> {
        let found = self.state.appointments.get(&id);
        let found = found.ok_or(Refusal::AppointmentNotFound(id))?;
        if self.reach.has_all_of(found) {
            return Ok(found);
        }
        Err(if self.reach.has_some_of(found) {
            Refusal::OutOfReach(id)
        } else {
            Refusal::AppointmentNotFound(id)
        })
    }

    /// Refuses an appointment that is on calendars which the caller may not change.
    fn expect_all_of(self, appointment: &Appointment) -> Result<(), Refusal> {
        if self.reach.has_all_of(appointment) {
            Ok(())
        } else {
            Err(Refusal::OutOfReach(appointment.id))
        }
    }

    /// The appointment; refused unless it has the expected etag.
    fn appointment_at(
        self,
        id: AppointmentId,
        etag: Option<Etag>,
    ) -> Result<&'a Arc<Appointment>, Refusal> {
        let appointment = self.appointment(id)?;
        expect_etag(etag, appointment.etag(), || format!("appointment {id}"))?;
        Ok(appointment)
    }

    /// The event that turns `before` into `after`, and `after` with the stamps of this change.
    fn event(
        self,
        kind: AppointmentEvent,
        before: &Arc<Appointment>,
        mut after: Appointment,
    ) -> (Event, Arc<Appointment>) {
        (after.image.update_time, after.image.revision) = (self.now, self.revision());
        let after = Arc::new(after);
        (
            Event::Appointment {
                kind,
                before: Some(Arc::clone(before)),
                after: Arc::clone(&after),
            },
            after,
        )
    }

    fn stamps(self) -> Stamps {
        Stamps::created(self.now, self.revision())
    }
}

/// Refuses a resource whose etag is not the expected one.
pub fn expect_etag(
    expected: Option<Etag>,
    current: Etag,
    resource: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != current => Err(Refusal::EtagMismatch {
            resource: resource(),
        }),
        _ => Ok(()),
    }
}
