//! A change: the events of one revision, which a command caused.
//!
//! `State::apply` is the only way in which a change becomes state, in the writer, in tests and in
//! the store in memory.

use std::sync::Arc;

use crate::appointment::Appointment;
use crate::calendar::appointment_type::{AppointmentType, Stamps};
use crate::calendar::{Busy, Calendar, Profile};
use crate::deletion::Staged;
use crate::ids::{CalendarId, Caller, Revision, TypeId};
use crate::time::Instant;
use crate::token::{Token, TokenId};

/// One committed change.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// The number of the change.
    pub revision: Revision,
    /// The writer's `now` at the decision.
    pub time: Instant,
    /// The command that caused it.
    pub cause: Cause,
    /// The caller who sent the command.
    pub caller: Caller,
    /// Exactly one event per touched appointment, calendar or token; empty only in a mark.
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
    /// CreateToken.
    CreateToken,
    /// RevokeToken.
    RevokeToken,
    /// A hold or a request expired. No caller sent a command.
    Expiry,
    /// `bookd import`.
    Import,
    /// `bookd restore`: a mark without events. Revisions below it that the log does not have were
    /// undone by the restore.
    Restore,
    /// `bookd clock reset`: a mark, with an event for each hold that expires earlier by it. Its
    /// time may lie before that of the change before it.
    ClockReset,
    /// `bookd tenant delete`: a mark without events, and without a caller, in place of each change
    /// that was the deleted tenant's alone. The last of them is the deletion itself.
    TenantDeletion,
}

impl Cause {
    /// Every cause, in the order of the enumeration.
    pub const ALL: [Self; 32] = [
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
        Self::CreateToken,
        Self::RevokeToken,
        Self::Expiry,
        Self::Import,
        Self::Restore,
        Self::ClockReset,
        Self::TenantDeletion,
    ];

    /// The method's name, or `Expiry`, `Import`, `Restore`, `ClockReset` and
    /// `TenantDeletion`.
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
            Self::CreateToken => "CreateToken",
            Self::RevokeToken => "RevokeToken",
            Self::Expiry => "Expiry",
            Self::Import => "Import",
            Self::Restore => "Restore",
            Self::ClockReset => "ClockReset",
            Self::TenantDeletion => "TenantDeletion",
        }
    }
}

/// What happened to one calendar, one appointment or one token.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A calendar was created, with these types.
    CalendarCreated {
        /// Its id.
        calendar: CalendarId,
        /// Its settings.
        profile: Arc<Profile>,
        /// The time and the revision of the change.
        stamps: Stamps,
        /// Its first appointment types.
        types: Vec<Arc<AppointmentType>>,
    },
    /// Settings, weekly rules or overrides changed.
    ProfileChanged {
        /// The calendar's id.
        calendar: CalendarId,
        /// The settings before the change.
        before: Arc<Profile>,
        /// The settings after the change.
        profile: Arc<Profile>,
        /// The time and the revision of the change.
        stamps: Stamps,
    },
    /// A calendar was deleted; its appointments stay in the store.
    CalendarDeleted {
        /// The calendar's id.
        calendar: CalendarId,
        /// Events of the same change that the store has already, and that are not in `events`.
        staged: Option<Staged>,
    },
    /// A type was created or changed.
    TypePut {
        /// The calendar's id.
        calendar: CalendarId,
        /// Its last definition, also of a deleted type; none when the type is new or its last
        /// definition is not known.
        before: Option<Arc<AppointmentType>>,
        /// Its new definition.
        appointment_type: Arc<AppointmentType>,
    },
    /// A type was deleted; its appointments and its last definition stay.
    TypeDeleted {
        /// The calendar's id.
        calendar: CalendarId,
        /// The type's id.
        type_id: TypeId,
        /// Its last definition, by which its appointments are moved; none where an import does not
        /// have it.
        last: Option<Arc<AppointmentType>>,
    },
    /// A source reported busy time.
    BusyPut {
        /// The calendar's id.
        calendar: CalendarId,
        /// The client's name of the source.
        source: String,
        /// The busy time of all sources after the change.
        busy: Arc<Busy>,
    },
    /// An appointment was created or changed.
    Appointment {
        /// What happened to it.
        kind: AppointmentEvent,
        /// The appointment before the change; none when it is new.
        before: Option<Arc<Appointment>>,
        /// The appointment after the change.
        after: Arc<Appointment>,
    },
    /// A token was created.
    TokenCreated {
        /// The token.
        token: Arc<Token>,
    },
    /// A token was revoked. Its row is removed.
    TokenRevoked {
        /// The token's id.
        id: TokenId,
    },
}

/// What happened to an appointment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AppointmentEvent {
    /// It was booked, and is CONFIRMED or PENDING.
    Booked,
    /// It was held.
    Held,
    /// Its hold was extended.
    Extended,
    /// Its hold was released.
    Released,
    /// Its hold became an appointment.
    Confirmed,
    /// It was approved.
    Approved,
    /// It was declined.
    Declined,
    /// It was moved.
    Moved,
    /// It was cancelled.
    Cancelled,
    /// A personal field changed, such as invitee, note or metadata.
    Updated,
    /// The invitee did not come.
    MarkedNoShow,
    /// It took place.
    Completed,
    /// NO_SHOW or COMPLETED was taken back.
    Undone,
    /// It expired.
    Expired,
    /// A person's data was removed.
    Redacted,
    /// It came with an import.
    Imported,
    /// Its hold expires earlier, because the clock that set the expiry was wrong.
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
    /// The events that the store has already, and their calendar.
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
    /// The token that it is about.
    pub fn token(&self) -> Option<&TokenId> {
        match self {
            Self::TokenCreated { token } => Some(&token.id),
            Self::TokenRevoked { id } => Some(id),
            _ => None,
        }
    }

    /// The calendars that the change touches, in order of their ids.
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
            Self::TokenCreated { .. } | Self::TokenRevoked { .. } => Vec::new(),
        }
    }
}

/// A calendar right after its creation.
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
