//! The stored numbers of enumerations.
//!
//! Each number is given by an explicit match and never changes, whatever changes in the
//! enumeration.

use super::record::damaged;
use crate::store::StoreError;
use bookd_core::appointment::AppointmentState;
use bookd_core::change::{AppointmentEvent, Cause};

/// The state's number. The partial indexes of SQLite name some of them.
pub(crate) const fn of_state(state: AppointmentState) -> u8 {
    use AppointmentState as S;
    match state {
        S::Held => 1,
        S::Pending => 2,
        S::Confirmed => 3,
        S::Cancelled => 4,
        S::Declined => 5,
        S::Expired => 6,
        S::NoShow => 7,
        S::Completed => 8,
    }
}

/// The state with this number.
pub(crate) fn state(number: impl TryInto<u8>) -> Result<AppointmentState, StoreError> {
    let number = number.try_into().map_err(|_| damaged("a state"))?;
    AppointmentState::ALL
        .into_iter()
        .find(|it| of_state(*it) == number)
        .ok_or_else(|| damaged("a state"))
}

/// The cause's number.
pub(crate) const fn of_cause(cause: Cause) -> u32 {
    use Cause as C;
    match cause {
        C::CreateCalendar => 1,
        C::UpdateCalendar => 2,
        C::DeleteCalendar => 3,
        C::PutAppointmentType => 4,
        C::DeleteAppointmentType => 5,
        C::SetAvailability => 6,
        C::PutOverrides => 7,
        C::DeleteOverrides => 8,
        C::PutBusy => 9,
        C::BookAppointment => 10,
        C::HoldAppointment => 11,
        C::ExtendHold => 12,
        C::ReleaseHold => 13,
        C::ConfirmAppointment => 14,
        C::ApproveAppointment => 15,
        C::DeclineAppointment => 16,
        C::RescheduleAppointment => 17,
        C::CancelAppointment => 18,
        C::UpdateAppointment => 19,
        C::MarkNoShow => 20,
        C::CompleteAppointment => 21,
        C::BookSeries => 22,
        C::CancelSeries => 23,
        C::BatchBook => 24,
        C::RedactInvitee => 25,
        C::Expiry => 26,
        C::Import => 27,
        C::CreateToken => 28,
        C::RevokeToken => 29,
        C::Restore => 200,
        C::ClockReset => 201,
        C::TenantDeletion => 202,
    }
}

/// The cause with this number.
pub(crate) fn cause(number: u32) -> Result<Cause, StoreError> {
    Cause::ALL
        .into_iter()
        .find(|it| of_cause(*it) == number)
        .ok_or_else(|| damaged("the cause of a change"))
}

/// The number of what happened to an appointment.
pub(crate) const fn of_appointment_event(kind: AppointmentEvent) -> u32 {
    use AppointmentEvent as E;
    match kind {
        E::Booked => 1,
        E::Held => 2,
        E::Extended => 3,
        E::Released => 4,
        E::Confirmed => 5,
        E::Approved => 6,
        E::Declined => 7,
        E::Moved => 8,
        E::Cancelled => 9,
        E::Updated => 10,
        E::MarkedNoShow => 11,
        E::Completed => 12,
        E::Undone => 13,
        E::Expired => 14,
        E::Redacted => 15,
        E::Imported => 16,
        E::Shortened => 17,
    }
}

/// What happened to an appointment, by its number.
pub(crate) fn appointment_event(number: u32) -> Result<AppointmentEvent, StoreError> {
    let kind = AppointmentEvent::ALL
        .into_iter()
        .find(|it| of_appointment_event(*it) == number);
    kind.ok_or_else(|| damaged("an event"))
}

/// The numbers of calendar events, which are above those of appointment events.
pub(crate) mod calendar_event {
    /// The calendar was created.
    pub(in super::super) const CREATED: u32 = 100;
    /// Settings, rules or overrides of the calendar changed.
    pub(in super::super) const PROFILE_CHANGED: u32 = 101;
    /// The calendar was deleted.
    pub(in super::super) const DELETED: u32 = 102;
    /// A type was created or changed.
    pub(in super::super) const TYPE_PUT: u32 = 103;
    /// A type was deleted.
    pub(in super::super) const TYPE_DELETED: u32 = 104;
    /// A source replaced its busy periods.
    pub(in super::super) const BUSY_PUT: u32 = 105;
}
