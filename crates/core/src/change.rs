//! What a command changed: the events of one revision, and how they become state.
//!
//! `apply` is the only way that state changes, in the writer, in tests and on replay alike.

use std::sync::Arc;

use crate::appointment::Appointment;
use crate::calendar::appointment_type::{AppointmentType, Stamps};
use crate::calendar::{Busy, Calendar, Profile};
use crate::deletion::Staged;
use crate::ids::{CalendarId, Caller, Revision, TypeId};
use crate::time::Instant;

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
    /// Exactly one per touched appointment or calendar; none only in a mark.
    pub events: Vec<Event>,
}

/// The command that caused a change, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// CreateCalendar.
    CreateCalendar,
    /// UpdateCalendar.
    UpdateCalendar,
    /// DeleteCalendar.
    DeleteCalendar,
    /// PutAppointmentType.
    PutAppointmentType,
    /// DeleteAppointmentType.
    DeleteAppointmentType,
    /// SetAvailability.
    SetAvailability,
    /// PutOverrides.
    PutOverrides,
    /// DeleteOverrides.
    DeleteOverrides,
    /// PutBusy.
    PutBusy,
    /// BookAppointment.
    BookAppointment,
    /// HoldAppointment.
    HoldAppointment,
    /// ExtendHold.
    ExtendHold,
    /// ReleaseHold.
    ReleaseHold,
    /// ConfirmAppointment.
    ConfirmAppointment,
    /// ApproveAppointment.
    ApproveAppointment,
    /// DeclineAppointment.
    DeclineAppointment,
    /// RescheduleAppointment.
    RescheduleAppointment,
    /// CancelAppointment.
    CancelAppointment,
    /// UpdateAppointment.
    UpdateAppointment,
    /// MarkNoShow.
    MarkNoShow,
    /// CompleteAppointment.
    CompleteAppointment,
    /// BookSeries.
    BookSeries,
    /// CancelSeries.
    CancelSeries,
    /// BatchBook.
    BatchBook,
    /// RedactInvitee.
    RedactInvitee,
    /// A hold ran out, or a request met its start; nobody sent it.
    Expiry,
    /// `bookd import`.
    Import,
    /// `bookd restore`: a mark without events. Revisions below it that are in no log were taken back.
    Restore,
    /// `bookd clock reset`: a mark, with the holds that end earlier by it. Its time may be before that of the change
    /// before it.
    ClockReset,
}

impl Cause {
    /// Every cause, in the order of the enumeration.
    pub const ALL: [Self; 29] = [
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
        Self::Restore,
        Self::ClockReset,
    ];

    /// The method's name, or `Expiry`, `Import`, `Restore` and `ClockReset`.
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
            Self::Restore => "Restore",
            Self::ClockReset => "ClockReset",
        }
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
        /// What it was.
        before: Arc<Profile>,
        /// What it is now.
        profile: Arc<Profile>,
        /// When, and at which revision.
        stamps: Stamps,
    },
    /// A calendar is gone; its appointments stay in the store.
    CalendarDeleted {
        /// Which calendar.
        calendar: CalendarId,
        /// Events of the same change that the store has already: none of them is in the change.
        staged: Option<Staged>,
    },
    /// A type came to be or changed.
    TypePut {
        /// Whose type.
        calendar: CalendarId,
        /// What it was, before it was deleted too; none when it is new, or nobody knows.
        before: Option<Arc<AppointmentType>>,
        /// What it is now.
        appointment_type: Arc<AppointmentType>,
    },
    /// A type is gone; what was booked with it stays, and its last definition with that.
    TypeDeleted {
        /// Whose type.
        calendar: CalendarId,
        /// Which type.
        type_id: TypeId,
        /// Its last definition, by which what was booked of it is moved; none where an import does not tell it.
        last: Option<Arc<AppointmentType>>,
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

/// What happened to an appointment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AppointmentEvent {
    /// It was booked, and is CONFIRMED or PENDING.
    Booked,
    /// It was held.
    Held,
    /// Its hold lasts longer.
    Extended,
    /// Its hold was let go.
    Released,
    /// Its hold became an appointment.
    Confirmed,
    /// It was approved.
    Approved,
    /// It was declined.
    Declined,
    /// It was moved.
    Moved,
    /// It was called off.
    Cancelled,
    /// Invitee, note or metadata changed.
    Updated,
    /// The invitee did not come.
    MarkedNoShow,
    /// It took place.
    Completed,
    /// NO_SHOW or COMPLETED was taken back.
    Undone,
    /// It ran out.
    Expired,
    /// A person's data was removed.
    Redacted,
    /// It came with an import.
    Imported,
    /// Its hold ends earlier: the clock that said when was wrong.
    Shortened,
}

impl AppointmentEvent {
    /// Every kind, in the order of the enumeration.
    pub const ALL: [Self; 17] = [
        Self::Booked,
        Self::Held,
        Self::Extended,
        Self::Released,
        Self::Confirmed,
        Self::Approved,
        Self::Declined,
        Self::Moved,
        Self::Cancelled,
        Self::Updated,
        Self::MarkedNoShow,
        Self::Completed,
        Self::Undone,
        Self::Expired,
        Self::Redacted,
        Self::Imported,
        Self::Shortened,
    ];
}

impl Change {
    /// Those of its events that the store has already, and the calendar that they are of.
    pub fn staged(&self) -> Option<(&CalendarId, Staged)> {
        let of = |event| match event {
            &Event::CalendarDeleted {
                ref calendar,
                staged: Some(staged),
            } => Some((calendar, staged)),
            _ => None,
        };
        self.events.iter().find_map(of)
    }
}

impl Event {
    /// The calendars that it touches, in order.
    pub fn calendars(&self) -> Vec<&CalendarId> {
        match self {
            Self::CalendarCreated { calendar, .. }
            | Self::ProfileChanged { calendar, .. }
            | Self::CalendarDeleted { calendar, .. }
            | Self::TypePut { calendar, .. }
            | Self::TypeDeleted { calendar, .. }
            | Self::BusyPut { calendar, .. } => vec![calendar],
            Self::Appointment { before, after, .. } => {
                let mut calendars: Vec<_> = after
                    .calendars()
                    .chain(before.iter().flat_map(|it| it.calendars()))
                    .collect();
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
    let types = types
        .iter()
        .map(|appointment_type| AppointmentType::clone(appointment_type));
    Calendar {
        id: id.clone(),
        since: stamps.revision,
        profile: Arc::clone(profile),
        stamps,
        types: Arc::new(crate::calendar::Types::new(types, [])),
        busy: Arc::default(),
        claims: crate::calendar::claims::Claims::default(),
        requests: Arc::default(),
        kept_from: Instant::MIN,
        version: stamps.revision,
    }
}
