//! Log entries as readers of the log see them: what happened to each appointment or calendar, its
//! image before, and the revision that touched it last.
//!
//! No entry has personal data. The stored form and the sent form are translations of these types.

use std::collections::BTreeMap;

use crate::appointment::image::Image;
use crate::calendar::Profile;
use crate::calendar::appointment_type::{AppointmentType, Limits};
use crate::calendar::availability::{Rule, Window};
use crate::change::{AppointmentEvent, Cause, Change, Event};
use crate::ids::{AppointmentId, AppointmentKey, CalendarId, Caller, Revision, TypeId};
use crate::time::{Instant, LocalDate};

/// A position in the log: one event of a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition {
    /// The revision of the change.
    pub revision: Revision,
    /// The index of the event in the change, from 0.
    pub event: u64,
}

impl LogPosition {
    /// The first event of the change with this revision.
    pub const fn of(revision: Revision) -> Self {
        Self { revision, event: 0 }
    }

    /// The first event after the change with this revision.
    pub const fn after(revision: Revision) -> Self {
        Self::of(revision.next())
    }

    /// Whether it lies within a change, after its first event.
    pub const fn is_within_change(self) -> bool {
        self.event > 0
    }
}

/// A committed change as the log keeps it, with all its events or those that a reader asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct LogEntry {
    /// The number of the change.
    pub revision: Revision,
    /// The writer's `now` at the decision.
    pub time: Instant,
    /// The command that caused it.
    pub cause: Cause,
    /// The caller who sent the command.
    pub caller: Caller,
    /// One event per touched appointment or calendar; empty in a mark and in a change of tokens.
    pub events: Vec<LogEvent>,
}

/// An entry that no reader is shown as a change, or that is about the log itself. Before the mark of
/// a restore revisions may be missing; the mark of a clock reset may have an earlier time than the
/// entry before it. Changes of tokens, and changes that a deleted tenant left, have no events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The number of the entry.
    pub revision: Revision,
    /// The time of the entry: of the last change before a restore, or `now` by the right clock for
    /// a clock reset.
    pub time: Instant,
    /// `Restore`, `ClockReset`, `CreateToken`, `RevokeToken` or `TenantDeletion`.
    pub cause: Cause,
}

/// What happened to one appointment or calendar.
#[derive(Clone, PartialEq, Debug)]
pub struct LogEvent {
    /// Every calendar that the event touched, in order.
    pub calendars: Vec<Touched>,
    /// What happened.
    pub what: What,
}

/// A calendar that an event touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    /// The calendar's id.
    pub calendar: CalendarId,
    /// The last revision before this one that touched it; 0 = none.
    pub previous: Revision,
}

/// The subject of an event, and what happened to it.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// A calendar was created, changed or deleted.
    Calendar(CalendarEvent),
    /// An appointment was created or changed.
    Appointment(Box<LoggedAppointment>),
}

/// What happened to a calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CalendarEvent {
    /// It was created.
    Created,
    /// Settings, weekly rules or overrides changed.
    ProfileChanged,
    /// It was deleted.
    Deleted,
    /// The type of this id was created or changed.
    TypePut(TypeId),
    /// The type of this id was deleted.
    TypeDeleted(TypeId),
    /// The source of this name reported busy time.
    BusyPut(String),
}

/// A version that a change replaced on a calendar. It is kept next to the log entries, so that the
/// settings of any revision can be shown.
#[derive(Clone, PartialEq, Debug)]
pub struct Replaced {
    /// The calendar's id.
    pub calendar: CalendarId,
    /// The replaced version.
    pub earlier: Earlier,
}

/// An earlier version.
#[derive(Clone, PartialEq, Debug)]
pub enum Earlier {
    /// A version of settings, weekly rules and overrides.
    Profile(EarlierProfile),
    /// A version of an appointment type.
    Type(Box<AppointmentType>),
}

/// The settings of a calendar before a change. Owner, display name, metadata and the notes of
/// overrides are left out: they are texts about people, which the log does not keep.
#[derive(Clone, PartialEq, Debug)]
pub struct EarlierProfile {
    /// The IANA name of its zone.
    pub time_zone: String,
    /// Whether it accepted no bookings.
    pub paused: bool,
    /// The limits on sessions of all types together.
    pub limits: Limits,
    /// The weekly rules.
    pub rules: Vec<Rule>,
    /// The windows before the change of each date whose override it put, replaced or removed; none
    /// = the weekly rules applied.
    pub overrides: BTreeMap<LocalDate, Option<Vec<Window>>>,
}

impl Replaced {
    /// The versions that a change replaced, in the order of its events.
    pub fn by(change: &Change) -> Vec<Self> {
        let replaced = |event: &Event| match event {
            Event::ProfileChanged {
                calendar,
                before,
                profile,
                ..
            } => {
                let earlier = Earlier::Profile(EarlierProfile::new(before, profile));
                Some(Self {
                    calendar: calendar.clone(),
                    earlier,
                })
            }
            Event::TypePut {
                calendar, before, ..
            } => {
                let earlier = Earlier::Type(Box::new(AppointmentType::clone(before.as_ref()?)));
                Some(Self {
                    calendar: calendar.clone(),
                    earlier,
                })
            }
            // A deleted type stays in its row, until a type of its id is put again.
            Event::CalendarCreated { .. }
            | Event::CalendarDeleted { .. }
            | Event::TypeDeleted { .. } => None,
            Event::BusyPut { .. } | Event::Appointment { .. } => None,
            Event::TokenCreated { .. } | Event::TokenRevoked { .. } => None,
        };
        change.events.iter().filter_map(replaced).collect()
    }
}

impl EarlierProfile {
    /// The replaced version of a change from `before` to `after`.
    fn new(before: &Profile, after: &Profile) -> Self {
        let Profile {
            display_name: _,
            owner: _,
            zone,
            paused,
            limits,
            metadata: _,
            availability,
        } = before;
        let (were, are) = (&availability.overrides, &after.availability.overrides);
        let dates = were
            .keys()
            .chain(are.keys())
            .filter(|date| were.get(date) != are.get(date));
        Self {
            time_zone: zone.name().to_owned(),
            paused: *paused,
            limits: *limits,
            rules: availability.rules.clone(),
            overrides: dates
                .map(|date| (*date, were.get(date).map(|hours| hours.windows.clone())))
                .collect(),
        }
    }
}

/// What happened to an appointment.
#[derive(Clone, PartialEq, Debug)]
pub struct LoggedAppointment {
    /// The kind of the event.
    pub kind: AppointmentEvent,
    /// The appointment's id.
    pub id: AppointmentId,
    /// Its row number.
    pub key: AppointmentKey,
    /// The last revision before this one that touched it; 0 = none.
    pub previous: Revision,
    /// Its image before the change; none when it is new.
    pub before: Option<Image>,
    /// Its image after the change.
    pub after: Image,
}

impl LogEntry {
    /// The entry of a change. `touch` returns the revision that touched a calendar last, and
    /// records this one.
    pub fn new(change: &Change, mut touch: impl FnMut(&CalendarId) -> Revision) -> Self {
        let Change {
            revision,
            time,
            cause,
            caller,
            events,
        } = change;
        let events = events
            .iter()
            .filter_map(|event| LogEvent::new(event, &mut touch))
            .collect();
        Self {
            revision: *revision,
            time: *time,
            cause: *cause,
            caller: caller.clone(),
            events,
        }
    }

    /// The entry of a change, without the earlier revisions of the calendars.
    pub fn of(change: &Change) -> Self {
        Self::new(change, |_| Revision(0))
    }

    /// The events of appointments.
    pub fn appointments(&self) -> impl Iterator<Item = &LoggedAppointment> {
        self.events.iter().filter_map(LogEvent::appointment)
    }

    /// The calendars that the events touched; one may come several times.
    pub fn touched(&self) -> impl Iterator<Item = &Touched> {
        self.events.iter().flat_map(|event| &event.calendars)
    }

    /// The mark that it is, if it is one.
    pub fn mark(&self) -> Option<Mark> {
        let Self {
            revision,
            time,
            cause,
            ..
        } = *self;
        let is_of_log = matches!(cause, Cause::Restore | Cause::ClockReset);
        let is_of_token = matches!(cause, Cause::CreateToken | Cause::RevokeToken);
        let is_mark = is_of_log || is_of_token || cause == Cause::TenantDeletion;
        is_mark.then_some(Mark {
            revision,
            time,
            cause,
        })
    }
}

impl LogEvent {
    /// The event as the log keeps it; none for one of a token, which no reader of the log is shown.
    /// `touch` returns the revision that touched a calendar last, and records this one.
    pub fn new(event: &Event, mut touch: impl FnMut(&CalendarId) -> Revision) -> Option<Self> {
        let what = What::of(event)?;
        let touched = event.calendars().into_iter();
        let calendars = touched
            .map(|id| Touched {
                calendar: id.clone(),
                previous: touch(id),
            })
            .collect();
        Some(Self { calendars, what })
    }

    /// The event of an appointment; none for one of a calendar.
    pub fn appointment(&self) -> Option<&LoggedAppointment> {
        match &self.what {
            What::Appointment(it) => Some(it),
            What::Calendar(_) => None,
        }
    }
}

impl What {
    fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::CalendarCreated { .. } => Self::Calendar(CalendarEvent::Created),
            Event::ProfileChanged { .. } => Self::Calendar(CalendarEvent::ProfileChanged),
            Event::CalendarDeleted { .. } => Self::Calendar(CalendarEvent::Deleted),
            Event::TypePut {
                appointment_type, ..
            } => Self::Calendar(CalendarEvent::TypePut(appointment_type.id.clone())),
            Event::TypeDeleted { type_id, .. } => {
                Self::Calendar(CalendarEvent::TypeDeleted(type_id.clone()))
            }
            Event::BusyPut { source, .. } => Self::Calendar(CalendarEvent::BusyPut(source.clone())),
            Event::Appointment {
                kind,
                before,
                after,
            } => Self::Appointment(Box::new(LoggedAppointment {
                kind: *kind,
                id: after.id,
                key: after.key,
                previous: before.as_ref().map_or(Revision(0), |it| it.revision),
                before: before.as_ref().map(|it| it.image.clone()),
                after: after.image.clone(),
            })),
            Event::TokenCreated { .. } | Event::TokenRevoked { .. } => return None,
        })
    }
}
