//! Pages of what happened to one appointment or calendar: of each change those events that are about it, newest change
//! first.

use super::log_reader::Gathered;
use bookd_core::ids::{AppointmentId, CalendarId, Revision};
use bookd_core::log::{LogEntry, LogEvent, LogPosition};

/// Events of one page at most, of all its changes together; a change with more of them goes on on the next page.
pub const HISTORY_EVENTS_MAX: usize = 1_000;

/// Whose history it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HistorySubject {
    /// Of an appointment.
    Appointment(AppointmentId),
    /// Of the calendars that had an id, one after the other.
    Calendar(CalendarId),
}

/// Which page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Whose history it is.
    pub subject: HistorySubject,
    /// Where it begins; none = with the newest change.
    pub from: Option<LogPosition>,
    /// Changes at most.
    pub changes_max: usize,
}

/// A page of a history.
#[derive(Clone, PartialEq, Debug)]
pub struct HistoryPage {
    /// Newest first, each with those of its events that are about the subject and of this page.
    pub entries: Vec<LogEntry>,
    /// Where the next page begins; none = this is the last one.
    pub next: Option<LogPosition>,
}

/// A page in the making.
pub(super) struct HistoryBuilder {
    changes_max: usize,
    gathered: Gathered,
    entries: Vec<LogEntry>,
}

impl HistoryBuilder {
    pub(super) const fn new(changes_max: usize) -> Self {
        Self {
            changes_max,
            gathered: Gathered::new(HISTORY_EVENTS_MAX),
            entries: Vec::new(),
        }
    }

    /// Whether an event of the change with this revision fits: if not, it is the next page's first.
    pub(super) fn has_room(&self, revision: Revision) -> bool {
        let is_begun = self
            .entries
            .last()
            .is_some_and(|it| it.revision == revision);
        !self.gathered.is_full() && (is_begun || self.entries.len() < self.changes_max)
    }

    /// Adds an event of a change.
    pub(super) fn add(&mut self, change: &LogEntry, event: LogEvent) {
        self.gathered.add(&event, None);
        match self
            .entries
            .last_mut()
            .filter(|it| it.revision == change.revision)
        {
            Some(entry) => entry.events.push(event),
            None => self.entries.push(LogEntry {
                events: vec![event],
                caller: change.caller.clone(),
                ..*change
            }),
        }
    }

    pub(super) fn finish(self, next: Option<LogPosition>) -> HistoryPage {
        HistoryPage {
            entries: self.entries,
            next,
        }
    }
}
