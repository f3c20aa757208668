//! The commands that the writer decides. A command is well-formed: `api/convert/parse` has checked
//! every field.
//!
//! Ids and zones come with the command and `now` with the batch, so that a decision needs only the
//! state besides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::appointment::recurrence::Recurrence;
use crate::appointment::{
    Assignment, EmailKey, IgnoredRules, Invitee, OccurrenceOf, Person, PersonDetails, PersonPatch,
};
use crate::calendar::appointment_type::{AppointmentType, Limits};
use crate::calendar::availability::{Override, Rule};
use crate::calendar::{Owner, Profile};
use crate::deletion::Staged;
use crate::ids::{AppointmentId, CalendarId, Etag, SeriesId, TypeId};
use crate::reach::Reach;
use crate::time::interval::Interval;
use crate::time::zone::Zone;
use crate::time::{Instant, LocalDate, Minutes, Seconds, Wall};
use crate::token::{NewToken, TokenId};

/// The appointments of a calendar that is deleted by force, found while no command could change
/// them.
#[derive(Clone, PartialEq, Debug)]
pub struct Beforehand {
    /// The cancellations that the store has already.
    pub staged: Staged,
    /// The appointments that the change itself cancels, except those that are over by then.
    pub others: Vec<AppointmentId>,
}

/// A command that changes something.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Creates a calendar, with the appointment type `default`.
    CreateCalendar {
        /// The new calendar's id.
        calendar: CalendarId,
        /// Its settings, without availability.
        profile: Profile,
    },
    /// Changes settings of a calendar.
    UpdateCalendar {
        /// The calendar's id.
        calendar: CalendarId,
        /// The fields to change.
        patch: ProfilePatch,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Deletes a calendar.
    DeleteCalendar {
        /// The calendar's id.
        calendar: CalendarId,
        /// Whether to cancel its upcoming appointments; otherwise a calendar that has some is not
        /// deleted.
        force: bool,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
        /// The cancellations that were prepared before the decision; none = there were none to
        /// prepare.
        beforehand: Option<Box<Beforehand>>,
    },
    /// Creates or replaces a type. The writer sets its number and stamps.
    PutAppointmentType {
        /// The calendar's id.
        calendar: CalendarId,
        /// The new definition.
        appointment_type: AppointmentType,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Deletes a type.
    DeleteAppointmentType {
        /// The calendar's id.
        calendar: CalendarId,
        /// The type's id.
        type_id: TypeId,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Replaces the weekly rules, and creates the calendar if it does not exist.
    SetAvailability {
        /// The calendar's id.
        calendar: CalendarId,
        /// The new zone; none = as it is, or UTC for a new calendar.
        zone: Option<Arc<Zone>>,
        /// UTC, the zone of a new calendar without another.
        utc: Arc<Zone>,
        /// All weekly rules.
        rules: Vec<Rule>,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Sets the hours of single dates.
    PutOverrides {
        /// The calendar's id.
        calendar: CalendarId,
        /// The override of each date; ranges of dates are expanded.
        overrides: BTreeMap<LocalDate, Override>,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Removes overrides, so that the weekly rules apply to their dates again.
    DeleteOverrides {
        /// The calendar's id.
        calendar: CalendarId,
        /// The dates; those without an override are ignored.
        dates: BTreeSet<LocalDate>,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Replaces the busy periods of a source within a range.
    PutBusy {
        /// The calendar's id.
        calendar: CalendarId,
        /// The client's name of the source.
        source: String,
        /// The range that the report covers.
        range: Interval,
        /// The busy periods, which are cut to the range.
        periods: Vec<Interval>,
    },
    /// Books an appointment, or turns a hold into one.
    Book(Booking),
    /// Holds time for a short while.
    Hold {
        /// The time to hold, and the person if known.
        booking: Booking,
        /// The time from now to its expiry.
        ttl: Seconds,
    },
    /// Extends a hold to now + ttl.
    ExtendHold {
        /// The hold's id.
        appointment: AppointmentId,
        /// The time from now to its expiry.
        ttl: Seconds,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Releases a hold.
    ReleaseHold {
        /// The hold's id.
        appointment: AppointmentId,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Turns a hold into an appointment.
    Confirm {
        /// The hold's id.
        appointment: AppointmentId,
        /// The person who books; none = the invitee of the hold.
        invitee: Option<Invitee>,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Approves a request.
    Approve {
        /// The appointment's id.
        appointment: AppointmentId,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Declines a request.
    Decline {
        /// The appointment's id.
        appointment: AppointmentId,
        /// The reason, as text for people.
        reason: String,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Moves an appointment.
    Reschedule(Move),
    /// Cancels an appointment.
    Cancel {
        /// The appointment's id.
        appointment: AppointmentId,
        /// The reason, as text for people.
        reason: String,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Changes the personal fields of an appointment, which take no time.
    UpdateAppointment {
        /// The appointment's id.
        appointment: AppointmentId,
        /// The fields to change.
        patch: PersonPatch,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// States that the invitee did not come.
    MarkNoShow {
        /// The appointment's id.
        appointment: AppointmentId,
        /// Takes the statement back instead.
        undo: bool,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// States that the appointment took place.
    Complete {
        /// The appointment's id.
        appointment: AppointmentId,
        /// Takes the statement back instead.
        undo: bool,
        /// The etag that it must have; none = any.
        etag: Option<Etag>,
    },
    /// Books several appointments, all or none.
    BatchBook(Vec<Booking>),
    /// Removes a person's data; the appointments keep their time.
    Redact(Redacted),
    /// Books a repeating time, in one change.
    BookSeries(Box<SeriesBooking>),
    /// Cancels occurrences of a series, in one change.
    CancelSeries {
        /// The occurrences to cancel.
        scope: SeriesScope,
        /// The reason, as text for people.
        reason: String,
    },
    /// Imports calendars and appointments, all or none.
    Import(Vec<ImportedCalendar>),
    /// Creates a token.
    CreateToken(Box<NewToken>),
    /// Revokes a token.
    RevokeToken(TokenId),
}

/// The fields that UpdateCalendar changes; none = as it is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProfilePatch {
    /// The name for people.
    pub display_name: Option<String>,
    /// The owner.
    pub owner: Option<Owner>,
    /// The zone of its clock times.
    pub zone: Option<Arc<Zone>>,
    /// Whether it accepts no bookings.
    pub paused: Option<bool>,
    /// The limits on sessions of all types together.
    pub limits: Option<Limits>,
    /// The client's own keys and values, whole.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The appointments whose personal data are removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redacted {
    /// Every appointment whose invitee has this address.
    Email(EmailKey),
    /// Those of these appointments whose invitee has this address: all that there were of it within
    /// reach.
    Found(EmailKey, Vec<AppointmentId>),
    /// This appointment.
    Appointment(AppointmentId),
}

/// The requested start of an appointment.
#[derive(Clone, PartialEq, Debug)]
pub enum Start {
    /// An instant, a whole minute.
    At(Instant),
    /// The instant at which a clock shows a local time, which it must do exactly once.
    Local {
        /// The local time.
        wall: Wall,
        /// The zone of the clock; none = that of the (first) calendar.
        zone: Option<Arc<Zone>>,
    },
}

/// The id of a new appointment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewId {
    /// Made by the server, so that no other appointment has it.
    Made(AppointmentId),
    /// Brought by the client; another appointment may have it.
    Brought(AppointmentId),
}

impl NewId {
    /// The id itself.
    pub const fn id(self) -> AppointmentId {
        match self {
            Self::Made(id) | Self::Brought(id) => id,
        }
    }

    /// The id if the client brought it. An id that the server made needs no look-up.
    pub fn brought(self) -> Option<AppointmentId> {
        match self {
            Self::Made(_) => None,
            Self::Brought(id) => Some(id),
        }
    }
}

/// A request to claim time for an appointment.
#[derive(Clone, PartialEq, Debug)]
pub struct Booking {
    /// The new appointment's id; with `hold` the hold keeps its own.
    pub id: NewId,
    /// The calendars, at least one and no duplicates; may be empty with `hold`.
    pub calendars: Vec<CalendarId>,
    /// Whether all calendars are taken or any one of them.
    pub assignment: Assignment,
    /// The appointment type; none = `default`, or that of the hold.
    pub type_id: Option<TypeId>,
    /// The start; none only with `hold`.
    pub start: Option<Start>,
    /// The duration; none = the type's default, or that of the hold.
    pub duration: Option<Minutes>,
    /// The invitee and the texts of the booking.
    pub person: PersonDetails,
    /// The hold that becomes the appointment.
    pub hold: Option<AppointmentId>,
    /// The rules that staff override.
    pub ignored_rules: IgnoredRules,
    /// The series of which the appointment is an occurrence.
    pub occurrence: Option<OccurrenceOf>,
}

/// A request to move an appointment.
#[derive(Clone, PartialEq, Debug)]
pub struct Move {
    /// The appointment's id.
    pub appointment: AppointmentId,
    /// The new start; none = as it is.
    pub start: Option<Start>,
    /// The new duration; none = as it is.
    pub duration: Option<Minutes>,
    /// The new calendars; empty = as they are.
    pub calendars: Vec<CalendarId>,
    /// Whether all calendars are taken or any one of them.
    pub assignment: Assignment,
    /// The rules that staff override.
    pub ignored_rules: IgnoredRules,
    /// The etag that it must have; none = any.
    pub etag: Option<Etag>,
}

/// A request to book a series.
#[derive(Clone, PartialEq, Debug)]
pub struct SeriesBooking {
    /// The id that all occurrences share.
    pub series: SeriesId,
    /// New ids, at least as many as the rule can have occurrences.
    pub ids: Vec<AppointmentId>,
    /// The booking of each occurrence. Its start is that of the first one; its id is not used.
    pub booking: Booking,
    /// The rule by which it repeats.
    pub rule: Recurrence,
    /// What to do when an occurrence cannot be booked.
    pub otherwise: Otherwise,
    /// Whether only a report is wanted: occurrences that cannot be booked are in the report, and
    /// refuse nothing.
    pub is_report: bool,
}

/// What to do with a series when one of its occurrences cannot be booked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Otherwise {
    /// Book no occurrence.
    Nothing,
    /// Book the other occurrences.
    TheOthers,
}

/// The occurrences of a series that are cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SeriesScope {
    /// The named occurrence.
    One(AppointmentId),
    /// The named occurrence, and those after it.
    Following(AppointmentId),
    /// All occurrences of the series that have not begun.
    All(SeriesName),
}

/// How a series is named.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SeriesName {
    /// By its id.
    Id(SeriesId),
    /// By one of its occurrences.
    Of(AppointmentId),
}

/// A calendar that `bookd import` brings, with its appointments.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportedCalendar {
    /// Its id, which no calendar may have yet.
    pub calendar: CalendarId,
    /// Its settings, availability included.
    pub profile: Profile,
    /// Its appointment types. `default` is added when it is neither among them nor among the
    /// deleted ones.
    pub types: Vec<AppointmentType>,
    /// Deleted types that still have appointments, each with its last definition if that is known.
    /// An appointment of a type without one is moved as if the type had 60 minutes.
    pub deleted_types: Vec<(TypeId, Option<AppointmentType>)>,
    /// Busy time by source.
    pub busy: Vec<(String, Vec<Interval>)>,
    /// Its appointments. Conflicts between them are refused; the rules of a slot are not checked.
    pub appointments: Vec<ImportedAppointment>,
    /// Its path in the file, for errors.
    pub origin: String,
}

/// An appointment that `bookd import` brings.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportedAppointment {
    /// Its id.
    pub id: NewId,
    /// Its calendars besides the one that lists it.
    pub further_calendars: Vec<CalendarId>,
    /// The id of its appointment type.
    pub type_id: TypeId,
    /// The start.
    pub start: Start,
    /// The duration; none = the type's default.
    pub duration: Option<Minutes>,
    /// The buffers before and after it on the calendar that lists it; none = those of its type.
    pub buffers: (Option<Minutes>, Option<Minutes>),
    /// The name of the zone and the local start at the time of the booking; none = as by today's
    /// rules.
    pub recorded: Option<(Arc<str>, Wall)>,
    /// Its state; never HELD, because a hold lasts for minutes only.
    pub state: crate::appointment::AppointmentState,
    /// The invitee and the texts of the appointment.
    pub person: Person,
    /// The series of which it is an occurrence.
    pub series: Option<SeriesId>,
    /// Its start by the rule of the series; none = `start`.
    pub original_start: Option<Instant>,
    /// How often it was moved or cancelled.
    pub sequence: u32,
    /// The rules that staff overrode at the time of the booking.
    pub ignored_rules: IgnoredRules,
    /// Its path in the file, for errors.
    pub origin: String,
}

/// Everything that the decision of a command may read, to be loaded before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Calendars by id.
    pub calendars: Vec<CalendarId>,
    /// Appointments by id, with the calendars that they claim.
    pub appointments: Vec<AppointmentId>,
    /// An address, for those of its appointments that are within reach, at most `REDACTED_MAX`.
    pub email: Option<EmailKey>,
    /// What the caller may change.
    pub reach: Reach,
    /// A calendar, for all its active appointments, with the calendars that they claim.
    pub all_of: Option<CalendarId>,
    /// A series, for all its appointments, with the calendars that they claim.
    pub series: Option<SeriesName>,
}
