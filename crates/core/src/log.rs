//! The log as its readers see it: what happened to which appointment or calendar, what each was before, and which revision
//! touched it last.
//!
//! Nothing personal is in it. How it is stored, and how it is sent, are translations of these types.

use std::collections::BTreeMap;

use crate::appointment::image::Image;
use crate::calendar::Profile;
use crate::calendar::appointment_type::{AppointmentType, Limits};
use crate::calendar::availability::{Rule, Window};
use crate::change::{AppointmentEvent, Cause, Change, Event};
use crate::ids::{AppointmentId, AppointmentKey, CalendarId, Caller, Revision, TypeId};
use crate::time::{Instant, LocalDate};

/// Where the log is read on: at one event of a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition {
    /// The change's.
    pub revision: Revision,
    /// How many events of the change come before it.
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

    /// Whether it stands within a change, with some of its events before it and some behind.
    pub const fn is_within_change(self) -> bool {
        self.event > 0
    }
}

/// A committed change, as the log keeps it, or those of its events that were asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct LogEntry {
    /// Its number.
    pub revision: Revision,
    /// The writer's `now`.
    pub time: Instant,
    /// Which command caused it.
    pub cause: Cause,
    /// Who sent it.
    pub caller: Caller,
    /// One per touched appointment or calendar; none only in a mark.
    pub events: Vec<LogEvent>,
}

/// An entry that says something of the log itself. Before the mark of a restore revisions may be missing; the mark of a
/// clock reset may have an earlier time than the entry before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Its number.
    pub revision: Revision,
    /// Of a restore that of the last change, of a clock reset `now` by the clock that is right.
    pub time: Instant,
    /// `Restore` or `ClockReset`.
    pub cause: Cause,
}

/// What happened to one appointment or calendar.
#[derive(Clone, PartialEq, Debug)]
pub struct LogEvent {
    /// Every calendar touched, in order.
    pub calendars: Vec<Touched>,
    /// What happened.
    pub what: What,
}

/// A calendar that an event touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    /// Which.
    pub calendar: CalendarId,
    /// The revision that touched it last before; 0 = none.
    pub previous: Revision,
}

/// See `LogEvent`.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// Something happened to a calendar.
    Calendar(CalendarEvent),
    /// Something happened to an appointment.
    Appointment(Box<LoggedAppointment>),
}

/// What happened to a calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CalendarEvent {
    /// It came to be.
    Created,
    /// Settings, weekly rules or overrides changed.
    ProfileChanged,
    /// It is gone.
    Deleted,
    /// A type came to be or changed.
    TypePut(TypeId),
    /// A type is gone.
    TypeDeleted(TypeId),
    /// A source said what is busy.
    BusyPut(String),
}

/// What a change replaced of a calendar: it is kept beside the log's entries, for those who ask what was in force then.
#[derive(Clone, PartialEq, Debug)]
pub struct Replaced {
    /// Whose it was.
    pub calendar: CalendarId,
    /// What it was.
    pub earlier: Earlier,
}

/// An earlier version.
#[derive(Clone, PartialEq, Debug)]
pub enum Earlier {
    /// Of settings, weekly rules and overrides.
    Profile(EarlierProfile),
    /// Of an appointment type.
    Type(Box<AppointmentType>),
}

/// What a calendar was before a change. Owner, display name, metadata and the notes of overrides are left out: they are
/// texts about people, which the log does not keep.
#[derive(Clone, PartialEq, Debug)]
pub struct EarlierProfile {
    /// The IANA name of its zone.
    pub time_zone: String,
    /// Whether it accepted no bookings.
    pub paused: bool,
    /// Sessions of all types together.
    pub limits: Limits,
    /// Weekly rules.
    pub rules: Vec<Rule>,
    /// Of each date whose override the change put, replaced or removed the windows that were in force; none = the weekly
    /// rules were.
    pub overrides: BTreeMap<LocalDate, Option<Vec<Window>>>,
}

impl Replaced {
    /// What a change replaced, in the order of its events.
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
            // What is deleted stays in its row, until a type of its name is put again.
            Event::CalendarCreated { .. }
            | Event::CalendarDeleted { .. }
            | Event::TypeDeleted { .. } => None,
            Event::BusyPut { .. } | Event::Appointment { .. } => None,
        };
        change.events.iter().filter_map(replaced).collect()
    }
}

impl EarlierProfile {
    /// What `before` was, where the change made `after` of it.
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
    /// What.
    pub kind: AppointmentEvent,
    /// Its name.
    pub id: AppointmentId,
    /// Its row number.
    pub key: AppointmentKey,
    /// The revision that touched it last before; 0 = none.
    pub previous: Revision,
    /// As it was; none when it is new.
    pub before: Option<Image>,
    /// As it is.
    pub after: Image,
}

impl LogEntry {
    /// The entry of a change; `touch` answers the revision that last touched a calendar, and notes this one.
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
            .map(|event| LogEvent::new(event, &mut touch))
            .collect();
        Self {
            revision: *revision,
            time: *time,
            cause: *cause,
            caller: caller.clone(),
            events,
        }
    }

    /// The same without what came before: what happened, and to what.
    pub fn of(change: &Change) -> Self {
        Self::new(change, |_| Revision(0))
    }

    /// What happened to appointments.
    pub fn appointments(&self) -> impl Iterator<Item = &LoggedAppointment> {
        self.events.iter().filter_map(LogEvent::appointment)
    }

    /// The calendars that it touched; one may come several times.
    pub fn touched(&self) -> impl Iterator<Item = &Touched> {
        self.events.iter().flat_map(|event| &event.calendars)
    }

    /// What it says of the log itself, if it is a mark.
    pub fn mark(&self) -> Option<Mark> {
        let Self {
            revision,
            time,
            cause,
            ..
        } = *self;
        matches!(cause, Cause::Restore | Cause::ClockReset).then_some(Mark {
            revision,
            time,
            cause,
        })
    }
}

impl LogEvent {
    /// The event as the log keeps it; `touch` answers the revision that last touched a calendar, and notes this one.
    pub fn new(event: &Event, mut touch: impl FnMut(&CalendarId) -> Revision) -> Self {
        let touched = event.calendars().into_iter();
        let calendars = touched
            .map(|id| Touched {
                calendar: id.clone(),
                previous: touch(id),
            })
            .collect();
        Self {
            calendars,
            what: What::of(event),
        }
    }

    /// What happened to an appointment; none when it happened to a calendar.
    pub fn appointment(&self) -> Option<&LoggedAppointment> {
        match &self.what {
            What::Appointment(it) => Some(it),
            What::Calendar(_) => None,
        }
    }
}

impl What {
    fn of(event: &Event) -> Self {
        match event {
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
        }
    }
}
