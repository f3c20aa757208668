//! The deletion of a calendar with thousands of appointments: most of what it cancels is written before the change that
//! makes it so.
//!
//! Only what nothing else can touch is cancelled that way: CONFIRMED appointments of that calendar alone. Holds and
//! requests, which run out, and what takes other calendars too are cancelled by the change itself.

use crate::appointment::{Appointment, AppointmentState, Image, Person};
use crate::ids::Revision;
use crate::time::Instant;

/// Why the appointments of a deleted calendar were cancelled.
const DELETED_REASON: &str = "The calendar was deleted.";

/// The stamps of a cancellation until it has those of its change. No change has this revision.
pub const STAMPS: (Instant, Revision) = (Instant::MAX, Revision(0));

/// Cancellations that were written before their change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Staged {
    /// Under which number the store has them.
    pub number: u64,
    /// How many there are.
    pub events: u64,
    /// The `now` at which they were found to be upcoming.
    pub began: Instant,
}

/// Whether deleting its only calendar cancels the appointment by a staged event, where the deletion began then.
pub fn is_staged(appointment: &Appointment, began: Instant) -> bool {
    let is_upcoming = matches!(&appointment.places[..], [place] if place.end() > began);
    is_upcoming && appointment.state == AppointmentState::Confirmed
}

/// The appointment as it is once its calendar was deleted by a change.
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

/// The appointment as it is once it is called off, but for the stamps of the change.
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
