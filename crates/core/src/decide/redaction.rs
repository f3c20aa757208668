//! The decision that removes a person's data from the appointment's row, the only place that has
//! them.
//!
//! Time, calendars and state of the appointment stay; only the person is not known any more.

use std::sync::Arc;

use super::{At, Decision, Outcome};
use crate::appointment::{Appointment, Person};
use crate::change::{AppointmentEvent, Cause};
use crate::command::Redacted;
use crate::refusal::Refusal;

/// The most appointments of one redaction: they are one change, for which all other commands wait.
pub const REDACTED_MAX: usize = 1_000;

impl At<'_> {
    /// Removes the data of one appointment, or of the earliest `REDACTED_MAX` with an address.
    pub(super) fn redact(self, redacted: &Redacted) -> Result<Decision, Refusal> {
        let mut found: Vec<&Arc<Appointment>> = match redacted {
            Redacted::Appointment(id) => vec![self.appointment(*id)?],
            Redacted::Email(email) | Redacted::Found(email, _) => {
                // Of an appointment that is on other calendars too, the caller does not see the
                // person.
                let is_theirs = |appointment: &&Arc<Appointment>| {
                    appointment.person.invitee.email.key == *email
                        && self.reach.has_all_of(appointment)
                };
                self.state.appointments.values().filter(is_theirs).collect()
            }
        };
        found.sort_by_key(|it| (it.start, it.key));
        found.truncate(REDACTED_MAX);
        let is_there = |appointment: &&Arc<Appointment>| appointment.person != Person::default();
        let redact = |appointment| {
            self.event(
                AppointmentEvent::Redacted,
                appointment,
                appointment.with_person(Person::default()),
            )
        };
        let changed = found.into_iter().filter(is_there).map(redact);
        let (events, appointments) = changed.unzip();
        let outcome = Outcome {
            appointments,
            ..Outcome::default()
        };
        Ok(Decision {
            cause: Cause::RedactInvitee,
            events,
            outcome,
        })
    }
}
