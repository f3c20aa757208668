//! What can be asked of the writer. A command that exists is well-formed: `api/convert/parse` read every field.
//!
//! Ids and zones come with the command, `now` comes with the batch; so a decision needs nothing but the state.

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
use crate::time::interval::Interval;
use crate::time::zone::Zone;
use crate::time::{Instant, LocalDate, Minutes, Seconds, Wall};

/// The appointments of a calendar that is deleted by force, as they were found while nobody could change them.
#[derive(Clone, PartialEq, Debug)]
pub struct Beforehand {
    /// The cancellations that are written already.
    pub staged: Staged,
    /// The appointments that the change itself cancels, unless they are over by then.
    pub others: Vec<AppointmentId>,
}

/// A mutation.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Makes a calendar, with the type `default`.
    CreateCalendar {
        /// Its name.
        calendar: CalendarId,
        /// What it is; without availability.
        profile: Profile,
    },
    /// Changes settings.
    UpdateCalendar {
        /// Which.
        calendar: CalendarId,
        /// What to change.
        patch: ProfilePatch,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Deletes a calendar.
    DeleteCalendar {
        /// Which.
        calendar: CalendarId,
        /// Cancel what is upcoming.
        force: bool,
        /// The version that it must have.
        etag: Option<Etag>,
        /// What of its work was done before it is decided; none = nothing.
        beforehand: Option<Box<Beforehand>>,
    },
    /// Makes or replaces a type. Its number and stamps are the writer's to fill in.
    PutAppointmentType {
        /// Whose.
        calendar: CalendarId,
        /// What it is to be.
        appointment_type: AppointmentType,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Deletes a type.
    DeleteAppointmentType {
        /// Whose.
        calendar: CalendarId,
        /// Which.
        type_id: TypeId,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Replaces the weekly rules, and makes the calendar if there is none.
    SetAvailability {
        /// Whose.
        calendar: CalendarId,
        /// Its zone from now on; none = as it is, UTC for a new one.
        zone: Option<Arc<Zone>>,
        /// The zone of a calendar that is made without one: UTC.
        utc: Arc<Zone>,
        /// The rules, whole.
        rules: Vec<Rule>,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Sets the hours of dates.
    PutOverrides {
        /// Whose.
        calendar: CalendarId,
        /// Ranges are expanded.
        overrides: BTreeMap<LocalDate, Override>,
        /// The version that the calendar must have.
        etag: Option<Etag>,
    },
    /// Gives dates back to the weekly rules.
    DeleteOverrides {
        /// Whose.
        calendar: CalendarId,
        /// Dates without an override are fine.
        dates: BTreeSet<LocalDate>,
        /// The version that the calendar must have.
        etag: Option<Etag>,
    },
    /// Replaces what a source said about a range.
    PutBusy {
        /// Whose time.
        calendar: CalendarId,
        /// Which source.
        source: String,
        /// About which range it speaks.
        range: Interval,
        /// What is busy in it; cut to the range.
        periods: Vec<Interval>,
    },
    /// Books, or turns a hold into an appointment.
    Book(Booking),
    /// Holds time.
    Hold {
        /// Which time, for whom.
        booking: Booking,
        /// For how long.
        ttl: Seconds,
    },
    /// Makes a hold last until now + ttl.
    ExtendHold {
        /// Which hold.
        appointment: AppointmentId,
        /// For how long.
        ttl: Seconds,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Lets a hold go.
    ReleaseHold {
        /// Which hold.
        appointment: AppointmentId,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Turns a hold into an appointment.
    Confirm {
        /// Which hold.
        appointment: AppointmentId,
        /// Who books; none = as the hold says.
        invitee: Option<Invitee>,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Approves a request.
    Approve {
        /// Which.
        appointment: AppointmentId,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Declines a request.
    Decline {
        /// Which.
        appointment: AppointmentId,
        /// Why.
        reason: String,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Moves an appointment.
    Reschedule(Move),
    /// Calls an appointment off.
    Cancel {
        /// Which.
        appointment: AppointmentId,
        /// Why.
        reason: String,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Changes what does not touch time.
    UpdateAppointment {
        /// Which.
        appointment: AppointmentId,
        /// What to change.
        patch: PersonPatch,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// The invitee did not come.
    MarkNoShow {
        /// Which.
        appointment: AppointmentId,
        /// Take it back.
        undo: bool,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// It took place.
    Complete {
        /// Which.
        appointment: AppointmentId,
        /// Take it back.
        undo: bool,
        /// The version that it must have.
        etag: Option<Etag>,
    },
    /// Books several, all or none.
    BatchBook(Vec<Booking>),
    /// Removes a person's data; their appointments keep their time.
    Redact(Redacted),
    /// Books one time again and again, in one change.
    BookSeries(Box<SeriesBooking>),
    /// Calls occurrences of a series off, in one change.
    CancelSeries {
        /// Which.
        scope: SeriesScope,
        /// Why.
        reason: String,
    },
    /// Brings calendars and appointments from elsewhere, all or none.
    Import(Vec<ImportedCalendar>),
}

/// What UpdateCalendar changes; none = as it is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProfilePatch {
    /// See `Profile`.
    pub display_name: Option<String>,
    /// See `Profile`.
    pub owner: Option<Owner>,
    /// See `Profile`.
    pub zone: Option<Arc<Zone>>,
    /// See `Profile`.
    pub paused: Option<bool>,
    /// See `Profile`.
    pub limits: Option<Limits>,
    /// See `Profile`.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Whose data is to be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redacted {
    /// Of every appointment with this address.
    Email(EmailKey),
    /// Of this appointment.
    Appointment(AppointmentId),
}

/// When an appointment is to begin.
#[derive(Clone, PartialEq, Debug)]
pub enum Start {
    /// At this instant, a whole minute.
    At(Instant),
    /// When a clock shows this; it must do so exactly once.
    Local {
        /// What it shows.
        wall: Wall,
        /// Where it hangs; none = in the (first) calendar's zone.
        zone: Option<Arc<Zone>>,
    },
}

/// The id of a new appointment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewId {
    /// Made by the server, and new.
    Made(AppointmentId),
    /// Brought by the client, and perhaps taken.
    Brought(AppointmentId),
}

impl NewId {
    /// The id itself.
    pub const fn id(self) -> AppointmentId {
        match self {
            Self::Made(id) | Self::Brought(id) => id,
        }
    }

    /// The id if a client brought it; one that the server made needs no look-up.
    pub fn brought(self) -> Option<AppointmentId> {
        match self {
            Self::Made(_) => None,
            Self::Brought(id) => Some(id),
        }
    }
}

/// A claim on time that is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Booking {
    /// The new appointment's name; with `hold` the hold keeps its own.
    pub id: NewId,
    /// At least one, unless `hold` says it; no duplicates.
    pub calendars: Vec<CalendarId>,
    /// All of them or any one.
    pub assignment: Assignment,
    /// What is booked; none = `default`, or what the hold says.
    pub type_id: Option<TypeId>,
    /// When; none only with `hold`.
    pub start: Option<Start>,
    /// How long; none = the type's default, or what the hold says.
    pub duration: Option<Minutes>,
    /// Who books, and what is said of it.
    pub person: PersonDetails,
    /// The hold that becomes the appointment.
    pub hold: Option<AppointmentId>,
    /// The rules that staff override.
    pub ignored_rules: IgnoredRules,
    /// Of which series it is an occurrence.
    pub occurrence: Option<OccurrenceOf>,
}

/// A move that is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Move {
    /// Which appointment.
    pub appointment: AppointmentId,
    /// To when; none = as it is.
    pub start: Option<Start>,
    /// How long; none = as it is.
    pub duration: Option<Minutes>,
    /// To whom; empty = as it is.
    pub calendars: Vec<CalendarId>,
    /// All of them or any one.
    pub assignment: Assignment,
    /// The rules that staff override.
    pub ignored_rules: IgnoredRules,
    /// The version that it must have.
    pub etag: Option<Etag>,
}

/// A series that is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct SeriesBooking {
    /// What the occurrences share.
    pub series: SeriesId,
    /// New ids, one for each occurrence that there can be.
    pub ids: Vec<AppointmentId>,
    /// What is booked; its start is the first occurrence's, its id is nobody's.
    pub booking: Booking,
    /// When it repeats.
    pub rule: Recurrence,
    /// What becomes of it when an occurrence cannot be booked.
    pub otherwise: Otherwise,
    /// Nothing is to be changed: what cannot be booked is reported, and refuses nothing.
    pub is_report: bool,
}

/// What becomes of a series one of whose occurrences cannot be booked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Otherwise {
    /// Nothing is booked.
    Nothing,
    /// The others are.
    TheOthers,
}

/// Which occurrences of a series are called off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SeriesScope {
    /// The one that is named.
    One(AppointmentId),
    /// The one that is named, and those after it.
    Following(AppointmentId),
    /// All that have not begun, of the series or of the one that this appointment belongs to.
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

/// A calendar that `bookd import` brings, with what is booked of it.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportedCalendar {
    /// Its name; it must be new.
    pub calendar: CalendarId,
    /// What it is, availability included.
    pub profile: Profile,
    /// What can be booked; `default` is added when it is missing, unless it is among the deleted ones.
    pub types: Vec<AppointmentType>,
    /// Types that are no more, of which there are appointments still; each with its last definition, where that is known.
    /// Of what is not known an appointment is moved as if it were of 60 minutes.
    pub deleted_types: Vec<(TypeId, Option<AppointmentType>)>,
    /// Busy time by source.
    pub busy: Vec<(String, Vec<Interval>)>,
    /// What is booked; rules are not asked, conflicts are.
    pub appointments: Vec<ImportedAppointment>,
    /// Where it stands in the file, for errors.
    pub origin: String,
}

/// An appointment that `bookd import` brings.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportedAppointment {
    /// Its name.
    pub id: NewId,
    /// The calendars besides the one it stands under.
    pub further_calendars: Vec<CalendarId>,
    /// What was booked.
    pub type_id: TypeId,
    /// When.
    pub start: Start,
    /// How long; none = the type's default.
    pub duration: Option<Minutes>,
    /// Kept free before and after on the calendar it stands under; none = as its type says.
    pub buffers: (Option<Minutes>, Option<Minutes>),
    /// The zone's name and what its clock showed when time was claimed; none = what they are by today's rules.
    pub recorded: Option<(Arc<str>, Wall)>,
    /// Where it stands; not HELD, for a hold lives for minutes.
    pub state: crate::appointment::AppointmentState,
    /// Who booked, and what was said of it.
    pub person: Person,
    /// Which series it belongs to.
    pub series: Option<SeriesId>,
    /// When that series said that it begins; none = when it does.
    pub original_start: Option<Instant>,
    /// How often it was moved or called off.
    pub sequence: u32,
    /// The rules that staff overrode when time was claimed.
    pub ignored_rules: IgnoredRules,
    /// Where it stands in the file, for errors.
    pub origin: String,
}

/// What a command looks at, to be loaded before it is decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Calendars by id.
    pub calendars: Vec<CalendarId>,
    /// Appointments by id, with the calendars they claim.
    pub appointments: Vec<AppointmentId>,
    /// An address all of whose appointments are looked at, up to `REDACTED_MAX` of them.
    pub email: Option<EmailKey>,
    /// A calendar all of whose active appointments are looked at, with the calendars they claim.
    pub all_of: Option<CalendarId>,
    /// A series all of whose appointments are looked at, with the calendars they claim.
    pub series: Option<SeriesName>,
}
