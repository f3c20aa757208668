//! What the log says of each calendar: the last change that touched it, of its profile and of each type, and deletions.
//!
//! An id may be borne by one calendar after the other. Each has a history of its own, by the revision that made it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::read::{BEARERS_MAX, bearers};
use crate::store::StoreError;
use bookd_core::change::Cause;
use bookd_core::ids::{CalendarId, Revision, TypeId};
use bookd_core::log::{CalendarEvent, LogEntry, LogEvent, What};
use bookd_core::time::Instant;

/// What the log says of a calendar.
#[derive(Default)]
pub(super) struct History {
    /// The change that made it; none when that is no longer kept.
    pub(super) since: Option<Revision>,
    /// The last change that touched its id while it was the newest that bears it.
    pub(super) version: Revision,
    /// The last change of its profile.
    pub(super) changed: Option<Revision>,
    pub(super) deleted: Option<Instant>,
    /// The last change of each type.
    pub(super) types: BTreeMap<TypeId, TypeChange>,
}

/// A change of a type.
pub(super) struct TypeChange {
    pub(super) revision: Revision,
    /// When, if it was a deletion.
    pub(super) deleted: Option<Instant>,
    /// An import may delete what it does not define.
    pub(super) is_imported: bool,
}

/// Of each id the calendars that bore it one after the other, and the oldest change that is kept.
#[derive(Default)]
pub(super) struct Histories {
    pub(super) of: HashMap<CalendarId, Vec<History>>,
    pub(super) oldest: Option<Revision>,
}

impl Histories {
    /// The next change begins.
    pub(super) fn begin(&mut self, revision: Revision) {
        self.oldest = self.oldest.or(Some(revision));
    }

    /// The next event of this change.
    pub(super) fn take(&mut self, entry: &LogEntry, event: &LogEvent) {
        for touched in &event.calendars {
            let bearers = self.of.entry(touched.calendar.clone()).or_default();
            let is_new = event.what == What::Calendar(CalendarEvent::Created);
            if is_new || bearers.is_empty() {
                bearers.push(History {
                    since: is_new.then_some(entry.revision),
                    ..History::default()
                });
            }
            if let Some(newest) = bearers.last_mut() {
                newest.take(&event.what, entry);
            }
        }
    }

    /// That of the calendar which came to be at this revision; none when it is in no change that is kept.
    pub(super) fn remove(
        &mut self,
        connection: &Connection,
        id: &CalendarId,
        since: Revision,
    ) -> Result<Option<History>, StoreError> {
        let Some(known) = self.of.get_mut(id) else {
            return Ok(None);
        };
        let at = match known.iter().position(|it| it.since == Some(since)) {
            Some(at) => Some(at),
            None => {
                // What comes before the first that the log made is of the newest of those before.
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
    fn take(&mut self, what: &What, entry: &LogEntry) {
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
