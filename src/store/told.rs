//! The log as watchers are told it: each event with its appointment as of then, and what is personal as of now.
//!
//! Nothing personal is in the log, so what was removed from an appointment's row since is not told either.

use super::StoreError;
use crate::domain::appointment::Appointment;
use crate::domain::ids::{AppointmentKey, CalendarId, Revision};
use crate::domain::log::{LogEntry, LogEvent, Mark};

/// How many changes one page of the log looks at.
pub const TOLD_CHANGES_MAX: usize = 256;
/// A page ends with the change that brings it to so many events: they wait in memory until the watcher reads them.
pub const TOLD_EVENTS_MAX: usize = 128;

/// Which events a watcher wants, by the calendars that they touch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CalendarFilter {
    /// Every event.
    All,
    /// Those that touch a calendar whose id begins so.
    Prefix(String),
    /// Those that touch one of these, whether it exists or not.
    Among(Vec<CalendarId>),
}

impl CalendarFilter {
    /// Whether it wants what touches this calendar.
    pub fn wants(&self, calendar: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => calendar.starts_with(prefix.as_str()),
            Self::Among(calendars) => calendars.iter().any(|id| id.as_str() == calendar),
        }
    }

    /// Whether it wants this event.
    pub fn passes(&self, event: &LogEvent) -> bool {
        *self == Self::All || event.calendars.iter().any(|touched| self.wants(touched.calendar.as_str()))
    }
}

/// One change, as a watcher is told it.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// With those of its events that passed.
    pub entry: LogEntry,
    /// For each of these events its appointment, if it is about one.
    pub appointments: Vec<Option<Appointment>>,
}

/// A page of the log.
#[derive(Clone, PartialEq, Debug)]
pub struct ToldPage {
    /// In order; changes of which nothing passed are left out.
    pub changes: Vec<Told>,
    /// The last change that was looked at: the next page goes on after it.
    pub upto: Revision,
    /// The marks among what was looked at, in order.
    pub marks: Vec<Mark>,
}

/// The events of a change that pass, each with its appointment; `find` answers the appointment as it is now.
pub(super) fn tell(
    entry: LogEntry,
    filter: &CalendarFilter,
    mut find: impl FnMut(AppointmentKey) -> Result<Option<Appointment>, StoreError>,
) -> Result<Option<Told>, StoreError> {
    let LogEntry { events, .. } = entry;
    let events: Vec<LogEvent> = events.into_iter().filter(|it| filter.passes(it)).collect();
    if events.is_empty() {
        return Ok(None);
    }
    let mut appointments = Vec::with_capacity(events.len());
    for event in &events {
        let then = match event.appointment() {
            Some(it) => find(it.key)?.map(|now| now.with_image(it.after.clone())),
            None => None,
        };
        appointments.push(then);
    }
    Ok(Some(Told { entry: LogEntry { events, ..entry }, appointments }))
}
