//! Reads of the change log: each event with its appointment as of the change, and the personal data
//! as of now.
//!
//! Nothing personal is in the log, so that personal data which was removed from an appointment's
//! row is not shown either.

use bookd_core::appointment::Appointment;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Mark, Replaced};
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;

use super::{HistoryPage, HistoryQuery, StoreError};

/// The number of changes that one page of the log looks at.
pub const PAGE_CHANGES_MAX: usize = 256;
/// A page ends with the change, or part of one, that brings it to this many events: they wait in
/// memory until the watcher reads them.
pub const PAGE_EVENTS_MAX: usize = 128;
/// The largest number of events in one part of a change. Only imports, forced deletions of
/// calendars and redactions make more, and no booking does.
pub const PART_EVENTS_MAX: usize = 1_000;
/// A part, and a page of ListChanges, ends with the event that brings its message to this many
/// bytes, by estimate: gRPC clients accept 4 MiB by default.
pub const PART_BYTES_MAX: usize = 3 * 1_024 * 1_024;

/// Reads of the change log off the writer's thread. Each result is of one moment of the store.
pub trait LogReader {
    /// A page of the history of an appointment or a calendar; none when it never existed.
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError>;
    /// The profiles, overrides and types that a change replaced; empty for a change that is no
    /// longer kept.
    fn replaced(&mut self, revision: Revision) -> Result<Vec<Replaced>, StoreError>;
    /// The oldest change that is kept; none when there is no change at all.
    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError>;
    /// The changes from a position on, in order, as watchers receive them: a page of at most
    /// [`PAGE_CHANGES_MAX`] changes, each in parts of at most `part_events_max` events. Refused as
    /// compacted when the change before the position is not in the log, unless the position is at
    /// the oldest change that is kept.
    fn changes_from(
        &mut self,
        from: LogPosition,
        filter: &WatchFilter,
        part_events_max: usize,
    ) -> Result<ChangePage, StoreError>;
}

/// The oldest change that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// The revision of the change.
    pub revision: Revision,
    /// The time of the change.
    pub time: Instant,
    /// Whether there is a later change.
    pub is_followed: bool,
}

/// A filter of events by the calendars that they touch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CalendarFilter {
    /// Every event.
    All,
    /// Events that touch one of the calendars with these prefixes.
    Prefixes(Prefixes),
    /// Events that touch one of these calendars, whether it exists or not.
    Among(Vec<CalendarId>),
}

impl CalendarFilter {
    /// Events that touch a calendar whose id begins with this text.
    pub fn beginning_with(text: &str) -> Self {
        Self::Prefixes(Prefixes::beginning_with(text))
    }

    /// Whether events that touch this calendar pass.
    pub fn wants(&self, calendar: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefixes(prefixes) => prefixes.has(calendar),
            Self::Among(calendars) => calendars.iter().any(|id| id.as_str() == calendar),
        }
    }

    /// Whether this event passes.
    pub fn passes(&self, event: &LogEvent) -> bool {
        *self == Self::All
            || event
                .calendars
                .iter()
                .any(|touched| self.wants(touched.calendar.as_str()))
    }
}

/// What a watcher wants to see of the log, and may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchFilter {
    /// The calendars that it wants.
    pub calendars: CalendarFilter,
    /// What the watcher may see, judged by each appointment as it is now: of one customer alone the
    /// events of its appointments pass, and a person is shown only with all calendars within reach.
    pub reach: Reach,
}

impl WatchFilter {
    /// Every event, whole.
    pub const ALL: Self = Self {
        calendars: CalendarFilter::All,
        reach: Reach::ALL,
    };

    /// The events that pass this filter, for somebody who may see everything.
    pub const fn of(calendars: CalendarFilter) -> Self {
        Self {
            calendars,
            reach: Reach::ALL,
        }
    }

    /// Whether the watcher sees an event, whose appointment is now `now`.
    pub fn shows(&self, event: &LogEvent, now: Option<&Appointment>) -> bool {
        let is_own = || now.is_some_and(|it| self.reach.has_some_of(it));
        self.calendars.passes(event) && (self.reach.customer.is_none() || is_own())
    }
}

/// A part of a change as a watcher receives it; most changes have one part.
#[derive(Clone, PartialEq, Debug)]
pub struct ChangePart {
    /// The change, with those of its events that passed and are in this part; at least one.
    pub entry: LogEntry,
    /// The appointment of each of these events; none for events of calendars.
    pub appointments: Vec<Option<Appointment>>,
    /// The position of the next part: within this change, or after it.
    pub next: LogPosition,
}

impl ChangePart {
    /// Whether this is the last part of the change.
    pub const fn is_last(&self) -> bool {
        !self.next.is_within_change()
    }
}

/// A page of the log.
#[derive(Clone, PartialEq, Debug)]
pub struct ChangePage {
    /// The changes in order; those of which no event passed are left out.
    pub changes: Vec<ChangePart>,
    /// The position of the next page; the position of this page when there was nothing to look at.
    pub next: LogPosition,
    /// The marks among the changes of the page, in order.
    pub marks: Vec<Mark>,
}

/// The largest size of an event in a message, in bytes, by estimate: the ids of its calendars are
/// in the event, in both images and in the appointment.
pub(crate) fn message_bytes(event: &LogEvent, appointment: Option<&Appointment>) -> usize {
    const BARE_BYTES: usize = 512;
    const BYTES_BESIDE_ID: usize = 4;
    let ids: usize = event
        .calendars
        .iter()
        .map(|it| it.calendar.as_str().len() + BYTES_BESIDE_ID)
        .sum();
    BARE_BYTES + 4 * ids + appointment.map_or(0, |it| it.person.text_bytes())
}

/// The events and bytes that a page or a part may still take.
pub(super) struct PageBudget {
    events_left: usize,
    bytes_left: usize,
}

impl PageBudget {
    /// The budget of `events_max` events and a message of `PART_BYTES_MAX`.
    pub(super) const fn new(events_max: usize) -> Self {
        Self {
            events_left: events_max,
            bytes_left: PART_BYTES_MAX,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.events_left == 0 || self.bytes_left == 0
    }

    /// Counts an event; the first one always fits.
    pub(super) fn add(&mut self, event: &LogEvent, appointment: Option<&Appointment>) {
        self.events_left = self.events_left.saturating_sub(1);
        self.bytes_left = self
            .bytes_left
            .saturating_sub(message_bytes(event, appointment));
    }
}

/// Collects the events of a part of a change.
pub(super) struct PartBuilder {
    budget: PageBudget,
    events: Vec<LogEvent>,
    appointments: Vec<Option<Appointment>>,
}

impl PartBuilder {
    /// An empty part of at most `events_max` events.
    pub(super) const fn new(events_max: usize) -> Self {
        Self {
            budget: PageBudget::new(events_max),
            events: Vec::new(),
            appointments: Vec::new(),
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.budget.is_full()
    }

    /// Adds an event that passed, for a watcher with this reach; `now` is its appointment as it is
    /// now.
    pub(super) fn add(&mut self, event: LogEvent, now: Option<Appointment>, reach: &Reach) {
        let then = event.appointment().zip(now);
        let then = then.map(|(it, now)| now.with(reach.person_of(&now), it.after.clone()));
        self.budget.add(&event, then.as_ref());
        self.events.push(event);
        self.appointments.push(then);
    }

    /// The part of this change, if any event was added. `cut` is the event at which the next part
    /// begins; none = after the change.
    pub(super) fn finish(self, entry: LogEntry, cut: Option<u64>) -> Option<ChangePart> {
        let Self {
            events,
            appointments,
            ..
        } = self;
        let revision = entry.revision;
        let next = cut.map_or(LogPosition::after(revision), |event| LogPosition {
            revision,
            event,
        });
        (!events.is_empty()).then_some(ChangePart {
            entry: LogEntry { events, ..entry },
            appointments,
            next,
        })
    }
}
