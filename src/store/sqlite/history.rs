//! The history of each calendar by the log: the last change that touched it, its profile and each
//! type, and its deletion.
//!
//! An id may be borne by one calendar after the other. Each has a history of its own, by the
//! revision that created it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::read::{BEARERS_MAX, bearers};
use crate::store::StoreError;
use bookd_core::change::Cause;
use bookd_core::ids::{CalendarId, Revision, TypeId};
use bookd_core::log::{CalendarEvent, LogEntry, LogEvent, What};
use bookd_core::time::Instant;

/// The history of a calendar by the log.
#[derive(Default)]
pub(super) struct History {
    /// The change that created the calendar; none when it is no longer in the log.
    pub(super) since: Option<Revision>,
    /// The last change that touched the id while this calendar was its newest bearer.
    pub(super) version: Revision,
    /// The last change of the profile; none when it is no longer in the log.
    pub(super) changed: Option<Revision>,
    /// When the calendar was deleted.
    pub(super) deleted: Option<Instant>,
    /// The last change of each type.
    pub(super) types: BTreeMap<TypeId, TypeChange>,
}

/// The last change of an appointment type.
pub(super) struct TypeChange {
    pub(super) revision: Revision,
    /// The time of the change if it deleted the type.
    pub(super) deleted: Option<Instant>,
    /// Whether an import made the change. An import may delete a type that it does not define.
    pub(super) is_imported: bool,
}

/// The histories of all calendars.
#[derive(Default)]
pub(super) struct Histories {
    /// The histories of the calendars that bore an id, in their order.
    pub(super) of_id: HashMap<CalendarId, Vec<History>>,
    /// The oldest change in the log.
    pub(super) oldest: Option<Revision>,
}

impl Histories {
    /// Begins the next change.
    pub(super) fn begin(&mut self, revision: Revision) {
        self.oldest = self.oldest.or(Some(revision));
    }

    /// Adds the next event of the change.
    pub(super) fn add(&mut self, entry: &LogEntry, event: &LogEvent) {
        for touched in &event.calendars {
            let bearers = self.of_id.entry(touched.calendar.clone()).or_default();
            let is_new = event.what == What::Calendar(CalendarEvent::Created);
            if is_new || bearers.is_empty() {
                bearers.push(History {
                    since: is_new.then_some(entry.revision),
                    ..History::default()
                });
            }
            if let Some(newest) = bearers.last_mut() {
                newest.add(&event.what, entry);
            }
        }
    }

    /// Removes the history of the calendar that revision `since` created; none when no change in
    /// the log touched it.
    pub(super) fn remove(
        &mut self,
        connection: &Connection,
        id: &CalendarId,
        since: Revision,
    ) -> Result<Option<History>, StoreError> {
        let Some(known) = self.of_id.get_mut(id) else {
            return Ok(None);
        };
        let at = match known.iter().position(|it| it.since == Some(since)) {
            Some(at) => Some(at),
            None => {
                // Events before the first creation in the log are of the newest calendar that is
                // older than the log.
                let oldest = self.oldest.unwrap_or_default();
                let newest = bearers(connection, id, BEARERS_MAX)?
                    .into_iter()
                    .find(|it| it.since < oldest);
                let is_newest = newest.is_some_and(|it| it.since == since);
                known.iter().position(|it| is_newest && it.since.is_none())
            }
        };
        Ok(at.map(|at| known.remove(at)))
    }
}

impl History {
    fn add(&mut self, what: &What, entry: &LogEntry) {
        let LogEntry { revision, time, .. } = *entry;
        let change = |deleted| TypeChange {
            revision,
            deleted,
            is_imported: entry.cause == Cause::Import,
        };
        self.version = revision;
        match what {
            What::Calendar(CalendarEvent::Created | CalendarEvent::ProfileChanged) => {
                self.changed = Some(revision)
            }
            What::Calendar(CalendarEvent::Deleted) => self.deleted = Some(time),
            What::Calendar(CalendarEvent::TypePut(id)) => {
                self.types.insert(id.clone(), change(None));
            }
            What::Calendar(CalendarEvent::TypeDeleted(id)) => {
                self.types.insert(id.clone(), change(Some(time)));
            }
            What::Calendar(CalendarEvent::BusyPut(_)) | What::Appointment(_) => {}
        }
    }
}
