//! The deletion of a calendar with thousands of appointments: most cancellations are stored before
//! the change itself.
//!
//! Only appointments that no other event can touch are cancelled in advance: CONFIRMED ones on that
//! calendar alone. Holds and requests, which expire, and appointments on other calendars as well
//! are cancelled by the change itself.

use crate::appointment::{Appointment, AppointmentState, Image, Person, Target, Transition};
use crate::ids::Revision;
use crate::time::Instant;

/// The cancellation reason of the appointments of a deleted calendar.
const DELETED_REASON: &str = "The calendar was deleted.";

/// The stamps of a cancellation until its change has a time and a revision. No change has this
/// revision.
pub const STAMPS: (Instant, Revision) = (Instant::MAX, Revision(0));

/// Cancellations that were stored before their change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Staged {
    /// The number under which the store has them.
    pub number: u64,
    /// The number of events.
    pub events: u64,
    /// The `now` at which their appointments were upcoming.
    pub began: Instant,
}

/// Whether the deletion of the appointment's only calendar, begun at `began`, cancels it by a
/// staged event.
pub fn is_staged(appointment: &Appointment, began: Instant) -> bool {
    let is_upcoming = matches!(&appointment.places[..], [place] if place.end() > began);
    is_upcoming && appointment.state == AppointmentState::Confirmed
}

/// Whether the deletion of its calendar cancels an appointment in this state: not one that took
/// place, or that nobody came to.
pub fn is_cancelled_with_calendar(state: AppointmentState) -> bool {
    matches!(Transition::Cancel.target(state, false), Target::Becomes(_))
}

/// The appointment after the deletion of its calendar by a change with these stamps.
pub fn cancelled_with_calendar(
    appointment: &Appointment,
    (time, revision): (Instant, Revision),
) -> Appointment {
    let cancelled = called_off(appointment, AppointmentState::Cancelled, DELETED_REASON);
    let image = Image {
        update_time: time,
        revision,
        ..cancelled.image
    };
    Appointment { image, ..cancelled }
}

/// The appointment after its cancellation or refusal, with the stamps of the change still to be
/// set.
pub fn called_off(appointment: &Appointment, state: AppointmentState, reason: &str) -> Appointment {
    let sequence = appointment.sequence.saturating_add(1);
    let image = Image {
        state,
        blocks: true,
        expire_time: None,
        sequence,
        ..appointment.image.clone()
    };
    let person = Person {
        cancel_reason: reason.to_owned(),
        ..appointment.person.clone()
    };
    appointment.with(person, image)
}
