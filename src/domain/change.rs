//! What a command changed: the events of one revision, and how they become state.
//!
//! `apply` is the only way that state changes, in the writer, in tests and on replay alike.

use std::sync::Arc;

use super::appointment::Appointment;
use super::appointment_type::{AppointmentType, Stamps};
use super::calendar::{Busy, Calendar, Profile};
use super::ids::{CalendarId, Caller, Revision, TypeId};
use super::time::Instant;

/// One committed change.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// Its number.
    pub revision: Revision,
    /// The writer's `now`.
    pub time: Instant,
    /// Which command caused it.
    pub cause: Cause,
    /// Who sent it.
    pub caller: Caller,
    /// At least one, exactly one per touched appointment or calendar.
    pub events: Vec<Event>,
}

/// The command that caused a change, by name. The numbers are those that stores write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cause {
    /// CreateCalendar.
    CreateCalendar = 1,
    /// UpdateCalendar.
    UpdateCalendar = 2,
    /// DeleteCalendar.
    DeleteCalendar = 3,
    /// PutAppointmentType.
    PutAppointmentType = 4,
    /// DeleteAppointmentType.
    DeleteAppointmentType = 5,
    /// SetAvailability.
    SetAvailability = 6,
    /// PutOverrides.
    PutOverrides = 7,
    /// DeleteOverrides.
    DeleteOverrides = 8,
    /// PutBusy.
    PutBusy = 9,
    /// BookAppointment.
    BookAppointment = 10,
    /// HoldAppointment.
    HoldAppointment = 11,
    /// ExtendHold.
    ExtendHold = 12,
    /// ReleaseHold.
    ReleaseHold = 13,
    /// ConfirmAppointment.
    ConfirmAppointment = 14,
    /// ApproveAppointment.
    ApproveAppointment = 15,
    /// DeclineAppointment.
    DeclineAppointment = 16,
    /// RescheduleAppointment.
    RescheduleAppointment = 17,
    /// CancelAppointment.
    CancelAppointment = 18,
    /// UpdateAppointment.
    UpdateAppointment = 19,
    /// MarkNoShow.
    MarkNoShow = 20,
    /// CompleteAppointment.
    CompleteAppointment = 21,
    /// BookSeries.
    BookSeries = 22,
    /// CancelSeries.
    CancelSeries = 23,
    /// BatchBook.
    BatchBook = 24,
    /// RedactInvitee.
    RedactInvitee = 25,
    /// A hold ran out, or a request met its start; nobody sent it.
    Expiry = 26,
    /// `bookd import`.
    Import = 27,
}

impl Cause {
    /// Every cause, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::CreateCalendar,
        Self::UpdateCalendar,
        Self::DeleteCalendar,
        Self::PutAppointmentType,
        Self::DeleteAppointmentType,
        Self::SetAvailability,
        Self::PutOverrides,
        Self::DeleteOverrides,
        Self::PutBusy,
        Self::BookAppointment,
        Self::HoldAppointment,
        Self::ExtendHold,
        Self::ReleaseHold,
        Self::ConfirmAppointment,
        Self::ApproveAppointment,
        Self::DeclineAppointment,
        Self::RescheduleAppointment,
        Self::CancelAppointment,
        Self::UpdateAppointment,
        Self::MarkNoShow,
        Self::CompleteAppointment,
        Self::BookSeries,
        Self::CancelSeries,
        Self::BatchBook,
        Self::RedactInvitee,
        Self::Expiry,
        Self::Import,
    ];

    /// The method's name, or `Expiry` and `Import`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateCalendar => "CreateCalendar",
            Self::UpdateCalendar => "UpdateCalendar",
            Self::DeleteCalendar => "DeleteCalendar",
            Self::PutAppointmentType => "PutAppointmentType",
            Self::DeleteAppointmentType => "DeleteAppointmentType",
            Self::SetAvailability => "SetAvailability",
            Self::PutOverrides => "PutOverrides",
            Self::DeleteOverrides => "DeleteOverrides",
            Self::PutBusy => "PutBusy",
            Self::BookAppointment => "BookAppointment",
            Self::HoldAppointment => "HoldAppointment",
            Self::ExtendHold => "ExtendHold",
            Self::ReleaseHold => "ReleaseHold",
            Self::ConfirmAppointment => "ConfirmAppointment",
            Self::ApproveAppointment => "ApproveAppointment",
            Self::DeclineAppointment => "DeclineAppointment",
            Self::RescheduleAppointment => "RescheduleAppointment",
            Self::CancelAppointment => "CancelAppointment",
            Self::UpdateAppointment => "UpdateAppointment",
            Self::MarkNoShow => "MarkNoShow",
            Self::CompleteAppointment => "CompleteAppointment",
            Self::BookSeries => "BookSeries",
            Self::CancelSeries => "CancelSeries",
            Self::BatchBook => "BatchBook",
            Self::RedactInvitee => "RedactInvitee",
            Self::Expiry => "Expiry",
            Self::Import => "Import",
        }
    }

    /// The cause with this number, as stores write it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == number)
    }
}

/// What happened to one calendar or one appointment.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A calendar came to be, with these types.
    CalendarCreated {
        /// Its name.
        calendar: CalendarId,
        /// What it is.
        profile: Arc<Profile>,
        /// When, and at which revision.
        stamps: Stamps,
        /// What can be booked of it at first.
        types: Vec<Arc<AppointmentType>>,
    },
    /// Settings, weekly rules or overrides changed.
    ProfileChanged {
        /// Which calendar.
        calendar: CalendarId,
        /// What it is now.
        profile: Arc<Profile>,
        /// When, and at which revision.
        stamps: Stamps,
    },
    /// A calendar is gone; its appointments stay in the store.
    CalendarDeleted {
        /// Which calendar.
        calendar: CalendarId,
    },
    /// A type came to be or changed.
    TypePut {
        /// Whose type.
        calendar: CalendarId,
        /// What it is now.
        appointment_type: Arc<AppointmentType>,
    },
    /// A type is gone; what was booked with it stays.
    TypeDeleted {
        /// Whose type.
        calendar: CalendarId,
        /// Which type.
        type_id: TypeId,
    },
    /// A source said what is busy.
    BusyPut {
        /// Whose time.
        calendar: CalendarId,
        /// Which source.
        source: String,
        /// All sources, as they are now.
        busy: Arc<Busy>,
    },
    /// Something happened to an appointment.
    Appointment {
        /// What.
        kind: AppointmentEvent,
        /// As it was; none when it is new.
        before: Option<Arc<Appointment>>,
        /// As it is.
        after: Arc<Appointment>,
    },
}

/// What happened to an appointment. The numbers are those that stores write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum AppointmentEvent {
    /// It was booked, and is CONFIRMED or PENDING.
    Booked = 1,
    /// It was held.
    Held = 2,
    /// Its hold lasts longer.
    Extended = 3,
    /// Its hold was let go.
    Released = 4,
    /// Its hold became an appointment.
    Confirmed = 5,
    /// It was approved.
    Approved = 6,
    /// It was declined.
    Declined = 7,
    /// It was moved.
    Moved = 8,
    /// It was called off.
    Cancelled = 9,
    /// Invitee, note or metadata changed.
    Updated = 10,
    /// The invitee did not come.
    MarkedNoShow = 11,
    /// It took place.
    Completed = 12,
    /// NO_SHOW or COMPLETED was taken back.
    Undone = 13,
    /// It ran out.
    Expired = 14,
    /// A person's data was removed.
    Redacted = 15,
    /// It came with an import.
    Imported = 16,
}

impl Event {
    /// The calendars that it touches, in order.
    pub fn calendars(&self) -> Vec<&CalendarId> {
        match self {
            Self::CalendarCreated { calendar, .. }
            | Self::ProfileChanged { calendar, .. }
            | Self::CalendarDeleted { calendar }
            | Self::TypePut { calendar, .. }
            | Self::TypeDeleted { calendar, .. }
            | Self::BusyPut { calendar, .. } => vec![calendar],
            Self::Appointment { before, after, .. } => {
                let mut calendars: Vec<_> =
                    after.calendars().chain(before.iter().flat_map(|it| it.calendars())).collect();
                calendars.sort_unstable();
                calendars.dedup();
                calendars
            }
        }
    }
}

/// A calendar as it is right after it came to be.
pub fn new_calendar(
    id: &CalendarId,
    profile: &Arc<Profile>,
    stamps: Stamps,
    types: &[Arc<AppointmentType>],
) -> Calendar {
    let types = types.iter().map(|appointment_type| AppointmentType::clone(appointment_type));
    Calendar {
        id: id.clone(),
        since: stamps.revision,
        profile: Arc::clone(profile),
        stamps,
        types: Arc::new(super::calendar::Types::new(types, [])),
        busy: Arc::default(),
        claims: super::claims::Claims::default(),
        requests: Arc::default(),
        kept_from: Instant::MIN,
        version: stamps.revision,
    }
}
