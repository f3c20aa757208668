//! An appointment: a claim on the time of one or several calendars, with a state; and its transition table.
//!
//! `Transition::target` is the whole table: a state and a transition that it does not join are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::appointment_type::Stamps;
use super::ids::{AppointmentId, AppointmentKey, CalendarId, Etag, Revision, SeriesId, TypeId, TypeNumber};
use super::interval::Interval;
use super::time::{Instant, Minutes, Wall};

/// The longest name of a person, calendar or type, in characters.
pub const NAME_CHARACTERS_MAX: usize = 200;
/// The longest note or reason, in characters.
pub const NOTE_CHARACTERS_MAX: usize = 4_000;
/// The most keys of a `metadata` map.
pub const METADATA_KEYS_MAX: usize = 50;
/// The longest metadata key, in characters.
pub const METADATA_KEY_CHARACTERS_MAX: usize = 100;
/// The longest metadata value, in characters.
pub const METADATA_VALUE_CHARACTERS_MAX: usize = 1_000;
/// The most calendars of one appointment, and of one query.
pub const CALENDARS_MAX: usize = 100;

/// Where an appointment stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum AppointmentState {
    /// Blocks its time until it expires.
    Held = 1,
    /// Waits for approval.
    Pending = 2,
    /// Takes place.
    Confirmed = 3,
    /// Called off, or a hold released.
    Cancelled = 4,
    /// Approval was refused.
    Declined = 5,
    /// A hold that ran out, or a request nobody approved before its start.
    Expired = 6,
    /// The invitee did not come.
    NoShow = 7,
    /// Took place.
    Completed = 8,
}

impl AppointmentState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Held,
        Self::Pending,
        Self::Confirmed,
        Self::Cancelled,
        Self::Declined,
        Self::Expired,
        Self::NoShow,
        Self::Completed,
    ];

    /// The state with this number, as stores write it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// Whether it never takes time again, whatever happens.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Declined | Self::Expired)
    }

    /// Upper case with underscores, as it stands in errors: `NO_SHOW`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "CANCELLED",
            Self::Declined => "DECLINED",
            Self::Expired => "EXPIRED",
            Self::NoShow => "NO_SHOW",
            Self::Completed => "COMPLETED",
        }
    }
}

impl fmt::Display for AppointmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can happen to an appointment once it is there. Moving and editing keep the state and are not in this list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transition {
    /// HELD becomes CONFIRMED or, with a type that wants approval, PENDING.
    Confirm,
    /// PENDING becomes CONFIRMED.
    Approve,
    /// PENDING becomes DECLINED.
    Decline,
    /// HELD is let go.
    Release,
    /// PENDING and CONFIRMED are called off.
    Cancel,
    /// HELD ran out, or PENDING met its start.
    Expire,
    /// CONFIRMED becomes NO_SHOW.
    MarkNoShow,
    /// NO_SHOW becomes CONFIRMED again.
    UndoNoShow,
    /// CONFIRMED becomes COMPLETED.
    Complete,
    /// COMPLETED becomes CONFIRMED again.
    UndoComplete,
}

/// What a transition makes of a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// It becomes this.
    Becomes(AppointmentState),
    /// It was made already: OK, unchanged, no revision.
    Already,
    /// It is refused.
    Refused,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 10] = [
        Self::Confirm,
        Self::Approve,
        Self::Decline,
        Self::Release,
        Self::Cancel,
        Self::Expire,
        Self::MarkNoShow,
        Self::UndoNoShow,
        Self::Complete,
        Self::UndoComplete,
    ];

    /// The table. `wants_approval` says what confirming a hold leads to.
    pub fn target(self, from: AppointmentState, wants_approval: bool) -> Target {
        use AppointmentState as S;
        use Target::{Already, Becomes, Refused};
        match (self, from) {
            (Self::Confirm, S::Held) if wants_approval => Becomes(S::Pending),
            (Self::Confirm, S::Held) => Becomes(S::Confirmed),
            (Self::Confirm, S::Pending | S::Confirmed) => Already,
            (Self::Approve, S::Pending) => Becomes(S::Confirmed),
            (Self::Approve, S::Confirmed) => Already,
            (Self::Decline, S::Pending) => Becomes(S::Declined),
            (Self::Decline, S::Declined) => Already,
            (Self::Release, S::Held) => Becomes(S::Cancelled),
            (Self::Cancel, S::Held | S::Pending | S::Confirmed) => Becomes(S::Cancelled),
            (Self::Release | Self::Cancel, S::Cancelled) => Already,
            (Self::Expire, S::Held | S::Pending) => Becomes(S::Expired),
            (Self::Expire, S::Expired) => Already,
            (Self::MarkNoShow, S::Confirmed) => Becomes(S::NoShow),
            (Self::MarkNoShow, S::NoShow) => Already,
            (Self::Complete, S::Confirmed) => Becomes(S::Completed),
            (Self::Complete, S::Completed) => Already,
            (Self::UndoNoShow, S::NoShow) | (Self::UndoComplete, S::Completed) => Becomes(S::Confirmed),
            (Self::UndoNoShow | Self::UndoComplete, S::Confirmed) => Already,
            _ => Refused,
        }
    }

    /// The verb, as it stands in errors: "an appointment in state DECLINED cannot be *approved*".
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Confirm => "confirmed",
            Self::Approve => "approved",
            Self::Decline => "declined",
            Self::Release => "released",
            Self::Cancel => "cancelled",
            Self::Expire => "expired",
            Self::MarkNoShow => "marked as no-show",
            Self::UndoNoShow => "marked as not a no-show",
            Self::Complete => "completed",
            Self::UndoComplete => "marked as not completed",
        }
    }
}

/// How several calendars take part in one appointment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Assignment {
    /// Every one of them: a doctor and a room.
    All,
    /// One of them: any stylist who is free.
    Any,
}

/// The person who books.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Invitee {
    /// At most 200 characters; empty on holds, and once redacted.
    pub name: String,
    /// Empty, or an address with one `@`.
    pub email: String,
    /// Free text, at most 200 characters.
    pub phone: String,
    /// Empty, or an IANA name.
    pub time_zone: String,
}

/// A calendar that an appointment claims, with what the claim keeps free there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which calendar.
    pub calendar: CalendarId,
    /// The revision at which that calendar came to be: one that is deleted and made again is another.
    pub since: Revision,
    /// That calendar's own type of the appointment's type id.
    pub type_number: TypeNumber,
    /// Kept free before the start, as the type said when time was claimed.
    pub before: Minutes,
    /// Kept free after the end, likewise.
    pub after: Minutes,
}

/// Rules that staff may override, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct IgnoredRules {
    /// The slot may lie outside open time.
    pub outside_availability: bool,
    /// The start may lie off the grid.
    pub misaligned: bool,
    /// The start may be sooner than the notice.
    pub notice: bool,
    /// The start may be beyond the horizon.
    pub horizon: bool,
    /// A limit may be exceeded.
    pub limit: bool,
}

/// A claim on time, whole: what a person sees of it and what the writer needs of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appointment {
    /// Its name.
    pub id: AppointmentId,
    /// Its row number.
    pub key: AppointmentKey,
    /// The calendars it claims, at least one; the first one's zone is the appointment's.
    pub places: Vec<Place>,
    /// What was booked.
    pub type_id: TypeId,
    /// A whole minute.
    pub start: Instant,
    /// At least a minute, at most seven days.
    pub duration: Minutes,
    /// The IANA name of the first calendar's zone when time was claimed.
    pub time_zone: Arc<str>,
    /// What a clock in that zone shows at the start.
    pub local_start: Wall,
    /// Where it stands; a hold past its expiry still says HELD here, `state_at` tells the truth.
    pub state: AppointmentState,
    /// False only of a PENDING whose type says that pending does not block.
    pub blocks: bool,
    /// Of HELD its expiry, of PENDING its start, of EXPIRED when it did; else none.
    pub expire_time: Option<Instant>,
    /// Who booked.
    pub invitee: Invitee,
    /// Free text.
    pub note: String,
    /// The client's own keys.
    pub metadata: BTreeMap<String, String>,
    /// Why it was cancelled or declined.
    pub cancel_reason: String,
    /// Which series it belongs to.
    pub series: Option<SeriesId>,
    /// How often it was moved or called off, as in iCalendar (RFC 5545 §3.8.7.4).
    pub sequence: u32,
    /// The rules that staff overrode when time was claimed.
    pub ignored_rules: IgnoredRules,
    /// When it changed.
    pub stamps: Stamps,
}

impl Appointment {
    /// When it ends.
    pub fn end(&self) -> Instant {
        self.start.plus(self.duration.seconds())
    }

    /// `[start, end)`, buffers left out.
    pub fn interval(&self) -> Interval {
        Interval::new(self.start, self.end())
    }

    /// The state as it shows at `now`: what has expired is EXPIRED, recorded or not.
    pub fn state_at(&self, now: Instant) -> AppointmentState {
        match self.expire_time {
            Some(expire_time) if expire_time <= now => AppointmentState::Expired,
            _ => self.state,
        }
    }

    /// Whether it would expire by itself: HELD or PENDING.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, AppointmentState::Held | AppointmentState::Pending)
    }

    /// The etag of the appointment as it is.
    pub fn etag(&self) -> Etag {
        Etag::of(self.id.0.as_bytes(), self.stamps.revision)
    }

    /// The ids of its calendars, in order.
    pub fn calendars(&self) -> impl Iterator<Item = &CalendarId> {
        self.places.iter().map(|place| &place.calendar)
    }
}
