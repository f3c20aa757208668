//! Commands of a caller who may book for one customer alone: they are given that customer, or
//! refused where they name another.

use bookd_core::appointment::{Email, EmailKey, Invitee};
use bookd_core::command::{Booking, Command, Redacted};

use crate::auth::AuthError;

/// Gives a command this customer.
///
/// # Errors
///
/// It names another one.
pub(super) fn narrow(command: &mut Command, customer: &EmailKey) -> Result<(), AuthError> {
    match command {
        Command::Book(booking) | Command::Hold { booking, .. } => of_booking(booking, customer),
        Command::BatchBook(bookings) => bookings
            .iter_mut()
            .try_for_each(|booking| of_booking(booking, customer)),
        Command::BookSeries(wanted) => of_booking(&mut wanted.booking, customer),
        Command::Confirm { invitee, .. } => of_invitee(invitee.as_mut(), customer),
        Command::UpdateAppointment { patch, .. } => of_invitee(patch.invitee.as_mut(), customer),
        Command::Redact(Redacted::Email(address) | Redacted::Found(address, _))
            if address != customer =>
        {
            Err(AuthError::OwnOnly)
        }
        // These name no person, and find the customer's own appointments alone.
        Command::Redact(_)
        | Command::ExtendHold { .. }
        | Command::ReleaseHold { .. }
        | Command::Approve { .. }
        | Command::Decline { .. }
        | Command::Reschedule(_)
        | Command::Cancel { .. }
        | Command::MarkNoShow { .. }
        | Command::Complete { .. }
        | Command::CancelSeries { .. } => Ok(()),
        Command::CreateCalendar { .. }
        | Command::UpdateCalendar { .. }
        | Command::DeleteCalendar { .. }
        | Command::PutAppointmentType { .. }
        | Command::DeleteAppointmentType { .. }
        | Command::SetAvailability { .. }
        | Command::PutOverrides { .. }
        | Command::DeleteOverrides { .. }
        | Command::PutBusy { .. }
        | Command::Import(_)
        | Command::CreateToken(_)
        | Command::RevokeToken(_) => Err(AuthError::OwnOnly),
    }
}

/// A booking without an invitee gets one, unless it is of a hold, which has its own.
fn of_booking(booking: &mut Booking, customer: &EmailKey) -> Result<(), AuthError> {
    let invitee = &mut booking.person.invitee;
    if booking.hold.is_none() {
        invitee.get_or_insert_default();
    }
    of_invitee(invitee.as_mut(), customer)
}

fn of_invitee(invitee: Option<&mut Invitee>, customer: &EmailKey) -> Result<(), AuthError> {
    let Some(invitee) = invitee else {
        return Ok(());
    };
    if invitee.email.key.is_empty() {
        invitee.email = Email {
            written: customer.as_str().to_owned(),
            key: customer.clone(),
        };
    }
    let is_own = invitee.email.key == *customer;
    is_own.then_some(()).ok_or(AuthError::OwnOnly)
}
