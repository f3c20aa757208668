//! The change log as it is stored: what happened to which appointment or calendar, and what came before.
//!
//! Nothing personal is in it. Every event names the revision that last touched its appointment and its calendars, so
//! that the log is read back along these chains without an index.

use std::sync::Arc;

use prost::Message;

use super::StoreError;
use super::record::{self, damaged, decode, ignored_bits, ignored_rules};
use crate::domain::appointment::{Appointment, AppointmentState, Place};
use crate::domain::appointment_type::Stamps;
use crate::domain::change::{Cause, Change, Event};
use crate::domain::ids::{AppointmentId, CalendarId, Caller, Revision, TypeNumber};
use crate::domain::time::{Instant, Minutes, Wall};

/// A committed change, as the log keeps it.
#[derive(Clone, PartialEq, Message)]
pub struct ChangeRecord {
    /// Its number; not in the bytes, for it is the row's.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// Seconds UTC; likewise.
    #[prost(int64, tag = "2")]
    pub time: i64,
    /// A `Cause` by number.
    #[prost(uint32, tag = "3")]
    pub cause: u32,
    /// Who sent it.
    #[prost(string, tag = "4")]
    pub caller: String,
    /// One per touched appointment or calendar.
    #[prost(message, repeated, tag = "5")]
    pub events: Vec<EventRecord>,
}

/// What happened to one appointment or calendar.
#[derive(Clone, PartialEq, Message)]
pub struct EventRecord {
    /// An `AppointmentEvent` by number, or 100 and more for calendars.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The appointment's id; empty for calendars.
    #[prost(bytes = "vec", tag = "2")]
    pub appointment: Vec<u8>,
    /// The appointment's key.
    #[prost(uint64, tag = "3")]
    pub key: u64,
    /// The revision that last touched this appointment before; 0 = none.
    #[prost(uint64, tag = "4")]
    pub previous: u64,
    /// As it was; none when it is new.
    #[prost(message, optional, tag = "5")]
    pub before: Option<ImageRecord>,
    /// As it is.
    #[prost(message, optional, tag = "6")]
    pub after: Option<ImageRecord>,
    /// Every calendar touched, with the revision that last touched it before.
    #[prost(message, repeated, tag = "7")]
    pub calendars: Vec<TouchedRecord>,
    /// The type or the source, of calendar events about one.
    #[prost(string, tag = "8")]
    pub detail: String,
}

/// A calendar that a change touched.
#[derive(Clone, PartialEq, Message)]
pub struct TouchedRecord {
    /// Which.
    #[prost(string, tag = "1")]
    pub calendar: String,
    /// The revision that last touched it before; 0 = none.
    #[prost(uint64, tag = "2")]
    pub previous: u64,
}

/// What of an appointment the log keeps: nothing personal.
#[derive(Clone, PartialEq, Message)]
pub struct ImageRecord {
    /// Its calendars.
    #[prost(string, repeated, tag = "1")]
    pub calendars: Vec<String>,
    /// Its type.
    #[prost(string, tag = "2")]
    pub type_id: String,
    /// Seconds UTC.
    #[prost(sint64, tag = "3")]
    pub start: i64,
    /// Minutes.
    #[prost(uint32, tag = "4")]
    pub duration: u32,
    /// An `AppointmentState` by number.
    #[prost(uint32, tag = "5")]
    pub state: u32,
    /// Seconds UTC.
    #[prost(sint64, optional, tag = "6")]
    pub expire_time: Option<i64>,
    /// See `Appointment`.
    #[prost(uint32, tag = "7")]
    pub sequence: u32,
    /// Bits.
    #[prost(uint32, tag = "8")]
    pub ignored_rules: u32,
    /// The revision that made it so.
    #[prost(uint64, tag = "9")]
    pub revision: u64,
    /// Minutes kept free before and after, of each calendar in turn; empty when there are none.
    #[prost(uint32, repeated, tag = "10")]
    pub buffers: Vec<u32>,
    /// What a clock showed at the start, in seconds after the start; so it is not worked out by later rules. It was of
    /// 32 bits once, which are the same bytes.
    #[prost(sint64, tag = "11")]
    pub offset: i64,
}

impl ImageRecord {
    /// What the log would keep of this appointment.
    pub fn new(it: &Appointment) -> Self {
        let has_buffers = it.places.iter().any(|place| place.before.max(place.after) > Minutes::ZERO);
        let buffers = it.places.iter().filter(|_| has_buffers).flat_map(|place| [place.before, place.after]);
        Self {
            calendars: it.calendars().map(|calendar| calendar.as_str().to_owned()).collect(),
            type_id: it.type_id.as_str().to_owned(),
            start: it.start.seconds(),
            duration: u32::from(it.duration.minutes()),
            state: u32::from(it.state as u8),
            expire_time: it.expire_time.map(Instant::seconds),
            sequence: it.sequence,
            ignored_rules: ignored_bits(it.ignored_rules),
            revision: it.stamps.revision.0,
            buffers: buffers.map(|it| u32::from(it.minutes())).collect(),
            offset: it.local_start.seconds().saturating_sub(it.start.seconds()),
        }
    }
}

impl ImageRecord {
    /// The appointment with times, state and calendars of this image; what is personal stays as it is now.
    pub(super) fn put_back(&self, now: Appointment) -> Result<Appointment, StoreError> {
        let unreadable = || damaged("an earlier appointment");
        let start = Instant::from_seconds(self.start);
        let minutes = |value: u32| u16::try_from(value).ok().and_then(Minutes::new).ok_or_else(unreadable);
        let duration = minutes(self.duration)?;
        let state = u8::try_from(self.state).ok().and_then(AppointmentState::from_number).ok_or_else(unreadable)?;
        let place = |(index, id): (usize, &String)| -> Result<Place, StoreError> {
            let calendar = CalendarId::parse(id).map_err(|_| unreadable())?;
            let known = now.places.iter().find(|it| it.calendar == calendar);
            let (since, type_number) = known.map_or((Revision(0), TypeNumber(0)), |it| (it.since, it.type_number));
            let buffer = |at: usize| match self.buffers.as_slice() {
                [] => Ok(Minutes::ZERO),
                buffers => buffers.get(at).copied().ok_or_else(unreadable).and_then(minutes),
            };
            let (before, after) = (buffer(2 * index)?, buffer(2 * index + 1)?);
            Ok(Place { calendar, since, type_number, before, after })
        };
        Ok(Appointment {
            places: self.calendars.iter().enumerate().map(place).collect::<Result<_, _>>()?,
            start,
            local_start: Wall::from_seconds(self.start).plus(self.offset),
            duration,
            state,
            expire_time: self.expire_time.map(Instant::from_seconds),
            sequence: self.sequence,
            ignored_rules: ignored_rules(self.ignored_rules),
            stamps: Stamps { revision: record::revision(self.revision)?, ..now.stamps },
            ..now
        })
    }
}

/// Kinds of calendar events, as numbers beside those of `AppointmentEvent`.
pub mod calendar_event {
    /// It came to be.
    pub const CREATED: u32 = 100;
    /// Settings, rules or overrides changed.
    pub const PROFILE_CHANGED: u32 = 101;
    /// It is gone.
    pub const DELETED: u32 = 102;
    /// A type came to be or changed.
    pub const TYPE_PUT: u32 = 103;
    /// A type is gone.
    pub const TYPE_DELETED: u32 = 104;
    /// A source said what is busy.
    pub const BUSY_PUT: u32 = 105;
}

/// The cause of a mark; no command has this number.
const RESTORED: u32 = 200;

impl ChangeRecord {
    /// The mark of a restore: it changes nothing, and the revisions below it that are in no log were taken back.
    pub(super) fn restored() -> Self {
        Self { cause: RESTORED, ..Self::default() }
    }

    /// Whether it is the mark of a restore.
    pub fn is_restored(&self) -> bool {
        self.cause == RESTORED && self.events.is_empty()
    }

    /// The record of the change with this number and time, as it lies in the log.
    pub(super) fn read(bytes: &[u8], revision: Revision, time: Instant) -> Result<Self, StoreError> {
        let read: Self = decode(bytes, "a change")?;
        for event in &read.events {
            if !event.appointment.is_empty() && event.appointment_id().is_none() {
                return Err(damaged("the id of an appointment in a change"));
            }
            record::key(event.key)?;
        }
        Ok(Self { revision: revision.0, time: time.seconds(), ..read })
    }

    /// The record of a change; `touch` answers the revision that last touched a calendar, and notes this one.
    pub(super) fn new(change: &Change, mut touch: impl FnMut(&CalendarId) -> u64) -> Self {
        let events = change.events.iter().map(|event| {
            let calendars = event
                .calendars()
                .into_iter()
                .map(|id| TouchedRecord { calendar: id.as_str().to_owned(), previous: touch(id) })
                .collect();
            EventRecord { calendars, ..EventRecord::of(event) }
        });
        Self {
            revision: 0,
            time: 0,
            cause: u32::from(change.cause as u8),
            caller: change.caller.0.to_string(),
            events: events.collect(),
        }
    }

    /// The same without the chains: what happened, and nothing of what came before.
    pub fn of(change: &Change) -> Self {
        Self { revision: change.revision.0, time: change.time.seconds(), ..Self::new(change, |_| 0) }
    }

    /// The command that caused it.
    pub fn cause(&self) -> Result<Cause, StoreError> {
        u8::try_from(self.cause).ok().and_then(Cause::from_number).ok_or_else(|| damaged("a change"))
    }

    /// Who sent it.
    pub fn caller(&self) -> Caller {
        Caller(Arc::from(self.caller.as_str()))
    }
}

impl EventRecord {
    fn of(event: &Event) -> Self {
        use calendar_event as kind;
        let of_calendar = |kind: u32, detail: &str| Self { kind, detail: detail.to_owned(), ..Self::default() };
        match event {
            Event::CalendarCreated { .. } => of_calendar(kind::CREATED, ""),
            Event::ProfileChanged { .. } => of_calendar(kind::PROFILE_CHANGED, ""),
            Event::CalendarDeleted { .. } => of_calendar(kind::DELETED, ""),
            Event::TypePut { appointment_type, .. } => of_calendar(kind::TYPE_PUT, appointment_type.id.as_str()),
            Event::TypeDeleted { type_id, .. } => of_calendar(kind::TYPE_DELETED, type_id.as_str()),
            Event::BusyPut { source, .. } => of_calendar(kind::BUSY_PUT, source),
            Event::Appointment { kind, before, after } => Self {
                kind: u32::from(*kind as u8),
                appointment: after.id.0.as_bytes().to_vec(),
                key: after.key.0,
                previous: before.as_ref().map_or(0, |it| it.stamps.revision.0),
                before: before.as_deref().map(ImageRecord::new),
                after: Some(ImageRecord::new(after)),
                ..Self::default()
            },
        }
    }

    /// The appointment that it is about, if it is about one.
    pub fn appointment_id(&self) -> Option<AppointmentId> {
        uuid::Uuid::from_slice(&self.appointment).ok().map(AppointmentId)
    }
}
