//! What lies in the store's blobs: messages written by tag, so that old files stay readable as fields are added.
//!
//! Nothing personal is in a `ChangeRecord`: names, addresses, notes and reasons live in the appointment's row alone,
//! where they can be erased.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use crate::domain::appointment::{Appointment, IgnoredRules, Place};
use crate::domain::appointment_type::{AppointmentType, Limits, Stamps};
use crate::domain::availability::{Availability, Override, Rule, Weekdays, Window};
use crate::domain::calendar::{Owner, Profile};
use crate::domain::change::{AppointmentEvent, Cause, Change, Event};
use crate::domain::ids::{AppointmentId, CalendarId, Caller, Revision, TypeId, TypeNumber};
use crate::domain::interval::Interval;
use crate::domain::time::{Instant, LocalDate, Minutes, Seconds};

use super::{StoreError, ZoneLookup};

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// A message from bytes; what cannot be one is damage.
pub(super) fn decode<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| damaged(what))
}

fn minutes(value: u32) -> Result<Minutes, StoreError> {
    u16::try_from(value).ok().and_then(Minutes::new).ok_or_else(|| damaged("a length of time"))
}

fn seconds(value: i64) -> Result<Seconds, StoreError> {
    Seconds::new(value).ok_or_else(|| damaged("a length of time"))
}

fn calendar_id(text: &str) -> Result<CalendarId, StoreError> {
    CalendarId::parse(text).map_err(|_| damaged("a calendar's id"))
}

fn type_id(text: &str) -> Result<TypeId, StoreError> {
    TypeId::parse(text).map_err(|_| damaged("a type's id"))
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LimitsRecord {
    #[prost(uint32, optional, tag = "1")]
    per_day: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    per_week: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    per_month: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    per_year: Option<u32>,
}

impl LimitsRecord {
    fn new(limits: Limits) -> Self {
        let Limits { per_day, per_week, per_month, per_year } = limits;
        Self { per_day, per_week, per_month, per_year }
    }

    fn read(&self) -> Limits {
        let Self { per_day, per_week, per_month, per_year } = *self;
        Limits { per_day, per_week, per_month, per_year }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RuleRecord {
    #[prost(uint32, tag = "1")]
    weekdays: u32,
    #[prost(uint32, tag = "2")]
    start: u32,
    #[prost(uint32, tag = "3")]
    end: u32,
    #[prost(sint32, optional, tag = "4")]
    first_date: Option<i32>,
    #[prost(sint32, optional, tag = "5")]
    last_date: Option<i32>,
}

fn window(start: u32, end: u32) -> Result<Window, StoreError> {
    let minute = |value: u32| u16::try_from(value).map_err(|_| damaged("a window"));
    Window::new(minute(start)?, minute(end)?).map_err(|_| damaged("a window"))
}

impl RuleRecord {
    fn new(rule: &Rule) -> Self {
        Self {
            weekdays: u32::from(rule.weekdays.bits()),
            start: u32::from(rule.window.start_minutes()),
            end: u32::from(rule.window.end_minutes()),
            first_date: rule.first_date.map(LocalDate::days),
            last_date: rule.last_date.map(LocalDate::days),
        }
    }

    fn read(&self) -> Result<Rule, StoreError> {
        Ok(Rule {
            weekdays: Weekdays::from_bits(u8::try_from(self.weekdays).map_err(|_| damaged("a weekday"))?),
            window: window(self.start, self.end)?,
            first_date: self.first_date.map(LocalDate::from_days),
            last_date: self.last_date.map(LocalDate::from_days),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OverrideRecord {
    #[prost(sint32, tag = "1")]
    date: i32,
    /// Start and end in turn.
    #[prost(uint32, repeated, tag = "2")]
    windows: Vec<u32>,
    #[prost(string, tag = "3")]
    note: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProfileRecord {
    #[prost(string, tag = "1")]
    display_name: String,
    #[prost(string, tag = "2")]
    owner_name: String,
    #[prost(string, tag = "3")]
    owner_email: String,
    #[prost(string, tag = "4")]
    time_zone: String,
    #[prost(bool, tag = "5")]
    paused: bool,
    #[prost(message, optional, tag = "6")]
    limits: Option<LimitsRecord>,
    #[prost(btree_map = "string, string", tag = "7")]
    metadata: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "8")]
    rules: Vec<RuleRecord>,
    #[prost(message, repeated, tag = "9")]
    overrides: Vec<OverrideRecord>,
}

impl ProfileRecord {
    pub(super) fn new(profile: &Profile) -> Self {
        let overrides = profile.availability.overrides.iter().map(|(date, hours)| OverrideRecord {
            date: date.days(),
            windows: hours
                .windows
                .iter()
                .flat_map(|it| [u32::from(it.start_minutes()), u32::from(it.end_minutes())])
                .collect(),
            note: hours.note.clone(),
        });
        Self {
            display_name: profile.display_name.clone(),
            owner_name: profile.owner.name.clone(),
            owner_email: profile.owner.email.clone(),
            time_zone: profile.zone.name().to_owned(),
            paused: profile.paused,
            limits: (!profile.limits.is_unlimited()).then(|| LimitsRecord::new(profile.limits)),
            metadata: profile.metadata.clone(),
            rules: profile.availability.rules.iter().map(RuleRecord::new).collect(),
            overrides: overrides.collect(),
        }
    }

    pub(super) fn read(self, zones: &ZoneLookup) -> Result<Profile, StoreError> {
        let zone = zones(&self.time_zone).ok_or(StoreError::UnknownZone(self.time_zone))?;
        let mut overrides = BTreeMap::new();
        for it in self.overrides {
            let windows = it.windows.chunks(2).map(|pair| match pair {
                [start, end] => window(*start, *end),
                _ => Err(damaged("an override")),
            });
            let windows = windows.collect::<Result<_, _>>()?;
            overrides.insert(LocalDate::from_days(it.date), Override { windows, note: it.note });
        }
        let rules = self.rules.iter().map(RuleRecord::read).collect::<Result<_, _>>()?;
        Ok(Profile {
            display_name: self.display_name,
            owner: Owner { name: self.owner_name, email: self.owner_email },
            zone,
            paused: self.paused,
            limits: self.limits.map(|it| it.read()).unwrap_or_default(),
            metadata: self.metadata,
            availability: Availability { rules, overrides },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeRecord {
    #[prost(string, tag = "1")]
    display_name: String,
    #[prost(uint32, tag = "2")]
    duration: u32,
    #[prost(uint32, repeated, tag = "3")]
    duration_options: Vec<u32>,
    #[prost(uint32, optional, tag = "4")]
    slot_step: Option<u32>,
    #[prost(uint32, tag = "5")]
    buffer_before: u32,
    #[prost(uint32, tag = "6")]
    buffer_after: u32,
    #[prost(int64, tag = "7")]
    min_notice: i64,
    #[prost(uint32, tag = "8")]
    horizon_days: u32,
    #[prost(uint32, tag = "9")]
    capacity: u32,
    #[prost(message, optional, tag = "10")]
    limits: Option<LimitsRecord>,
    #[prost(bool, tag = "11")]
    requires_approval: bool,
    #[prost(bool, tag = "12")]
    pending_blocks: bool,
    #[prost(int64, optional, tag = "13")]
    cancel_notice: Option<i64>,
    #[prost(int64, optional, tag = "14")]
    reschedule_notice: Option<i64>,
    #[prost(message, repeated, tag = "15")]
    rules: Vec<RuleRecord>,
    #[prost(int64, tag = "16")]
    create_time: i64,
    #[prost(int64, tag = "17")]
    update_time: i64,
    #[prost(uint64, tag = "18")]
    revision: u64,
}

impl TypeRecord {
    pub(super) fn new(it: &AppointmentType) -> Self {
        Self {
            display_name: it.display_name.clone(),
            duration: u32::from(it.duration.minutes()),
            duration_options: it.duration_options.iter().map(|option| u32::from(option.minutes())).collect(),
            slot_step: it.slot_step.map(|step| u32::from(step.minutes())),
            buffer_before: u32::from(it.buffer_before.minutes()),
            buffer_after: u32::from(it.buffer_after.minutes()),
            min_notice: it.min_notice.seconds(),
            horizon_days: it.horizon_days,
            capacity: it.capacity,
            limits: (!it.limits.is_unlimited()).then(|| LimitsRecord::new(it.limits)),
            requires_approval: it.requires_approval,
            pending_blocks: it.pending_blocks,
            cancel_notice: it.cancel_notice.map(Seconds::seconds),
            reschedule_notice: it.reschedule_notice.map(Seconds::seconds),
            rules: it.rules.iter().map(RuleRecord::new).collect(),
            create_time: it.stamps.create_time.seconds(),
            update_time: it.stamps.update_time.seconds(),
            revision: it.stamps.revision.0,
        }
    }

    pub(super) fn read(self, id: &str, number: TypeNumber) -> Result<AppointmentType, StoreError> {
        Ok(AppointmentType {
            id: type_id(id)?,
            number,
            display_name: self.display_name,
            duration: minutes(self.duration)?,
            duration_options: self.duration_options.into_iter().map(minutes).collect::<Result<_, _>>()?,
            slot_step: self.slot_step.map(minutes).transpose()?,
            buffer_before: minutes(self.buffer_before)?,
            buffer_after: minutes(self.buffer_after)?,
            min_notice: seconds(self.min_notice)?,
            horizon_days: self.horizon_days,
            capacity: self.capacity,
            limits: self.limits.map(|it| it.read()).unwrap_or_default(),
            requires_approval: self.requires_approval,
            pending_blocks: self.pending_blocks,
            cancel_notice: self.cancel_notice.map(seconds).transpose()?,
            reschedule_notice: self.reschedule_notice.map(seconds).transpose()?,
            rules: self.rules.iter().map(RuleRecord::read).collect::<Result<_, _>>()?,
            stamps: Stamps {
                create_time: Instant::from_seconds(self.create_time),
                update_time: Instant::from_seconds(self.update_time),
                revision: Revision(self.revision),
            },
        })
    }
}

/// Busy periods: start and end in turn, seconds.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PeriodsRecord {
    #[prost(sint64, repeated, tag = "1")]
    bounds: Vec<i64>,
}

impl PeriodsRecord {
    pub(super) fn new(periods: &[Interval]) -> Self {
        Self { bounds: periods.iter().flat_map(|it| [it.start.seconds(), it.end.seconds()]).collect() }
    }

    pub(super) fn read(&self) -> Vec<Interval> {
        let pairs = self.bounds.chunks_exact(2);
        pairs.map(|it| Interval::new(Instant::from_seconds(it[0]), Instant::from_seconds(it[1]))).collect()
    }
}

/// The calendars of an appointment.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PlacesRecord {
    #[prost(message, repeated, tag = "1")]
    places: Vec<PlaceRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PlaceRecord {
    #[prost(string, tag = "1")]
    calendar: String,
    #[prost(uint32, tag = "2")]
    type_number: u32,
    #[prost(uint32, tag = "3")]
    before: u32,
    #[prost(uint32, tag = "4")]
    after: u32,
    #[prost(uint64, tag = "5")]
    since: u64,
}

impl PlacesRecord {
    pub(super) fn new(places: &[Place]) -> Self {
        let place = |it: &Place| PlaceRecord {
            calendar: it.calendar.as_str().to_owned(),
            type_number: u32::from(it.type_number.0),
            before: u32::from(it.before.minutes()),
            after: u32::from(it.after.minutes()),
            since: it.since.0,
        };
        Self { places: places.iter().map(place).collect() }
    }

    pub(super) fn read(&self) -> Result<Vec<Place>, StoreError> {
        let place = |it: &PlaceRecord| {
            Ok(Place {
                calendar: calendar_id(&it.calendar)?,
                since: Revision(it.since),
                type_number: TypeNumber(u16::try_from(it.type_number).map_err(|_| damaged("a type's number"))?),
                before: minutes(it.before)?,
                after: minutes(it.after)?,
            })
        };
        self.places.iter().map(place).collect()
    }
}

/// A `metadata` map.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(super) entries: BTreeMap<String, String>,
}

/// What a remembered request was about.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SubjectRecord {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) appointments: Vec<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    pub(super) calendar: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(super) type_id: Option<String>,
}

/// The ignored rules as bits.
pub(super) fn ignored_bits(rules: IgnoredRules) -> u32 {
    let IgnoredRules { outside_availability, misaligned, notice, horizon, limit } = rules;
    let bits = [outside_availability, misaligned, notice, horizon, limit];
    bits.iter().zip(0..).map(|(bit, position)| u32::from(*bit) << position).sum()
}

/// The bits as ignored rules.
pub fn ignored_rules(bits: u32) -> IgnoredRules {
    let bit = |position: u32| bits >> position & 1 == 1;
    IgnoredRules { outside_availability: bit(0), misaligned: bit(1), notice: bit(2), horizon: bit(3), limit: bit(4) }
}

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
}

impl ImageRecord {
    fn new(it: &Appointment) -> Self {
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
        }
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

impl ChangeRecord {
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

    /// What happened to the appointment, if it is about one.
    pub fn appointment_event(&self) -> Option<AppointmentEvent> {
        u8::try_from(self.kind).ok().and_then(AppointmentEvent::from_number)
    }
}
