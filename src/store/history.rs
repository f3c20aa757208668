//! Pages of the history of one appointment or calendar: of each change the events that are about
//! it, the newest change first.

use super::log_reader::PageBudget;
use bookd_core::ids::{AppointmentId, CalendarId, Revision};
use bookd_core::log::{LogEntry, LogEvent, LogPosition};
use bookd_core::prefixes::Prefixes;

/// The largest number of events on a page, of all its changes together; a change with more of them
/// continues on the next page.
pub const HISTORY_EVENTS_MAX: usize = 1_000;

/// The subject of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HistorySubject {
    /// An appointment.
    Appointment(AppointmentId),
    /// The calendars that had an id, one after the other.
    Calendar(CalendarId),
}

/// A request for a page of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// The appointment or calendar.
    pub subject: HistorySubject,
    /// The position of the first event; none = the newest change.
    pub from: Option<LogPosition>,
    /// The largest number of changes on the page.
    pub changes_max: usize,
    /// Only events that touch at least one of these calendars.
    pub prefixes: Prefixes,
}

/// A page of a history.
#[derive(Clone, PartialEq, Debug)]
pub struct HistoryPage {
    /// The changes, newest first, each with its events about the subject that are on this page.
    pub entries: Vec<LogEntry>,
    /// The position of the next page; none = this is the last one.
    pub next: Option<LogPosition>,
}

/// Collects the changes of a page.
pub(super) struct HistoryBuilder {
    changes_max: usize,
    prefixes: Prefixes,
    budget: PageBudget,
    entries: Vec<LogEntry>,
}

impl HistoryBuilder {
    pub(super) fn new(query: &HistoryQuery) -> Self {
        Self {
            changes_max: query.changes_max,
            prefixes: query.prefixes.clone(),
            budget: PageBudget::new(HISTORY_EVENTS_MAX),
            entries: Vec::new(),
        }
    }

    /// Whether an event may be on the page at all.
    pub(super) fn shows(&self, event: &LogEvent) -> bool {
        let mut calendars = event.calendars.iter();
        calendars.any(|it| self.prefixes.has(it.calendar.as_str()))
    }

    /// Whether an event of the change with this revision fits. If not, it is the first event of the
    /// next page.
    pub(super) fn has_room(&self, revision: Revision) -> bool {
        let is_begun = self
            .entries
            .last()
            .is_some_and(|it| it.revision == revision);
        !self.budget.is_full() && (is_begun || self.entries.len() < self.changes_max)
    }

    /// Adds an event of a change.
    pub(super) fn add(&mut self, change: &LogEntry, event: LogEvent) {
        self.budget.add(&event, None);
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
