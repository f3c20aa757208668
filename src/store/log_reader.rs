//! Reads of the change log: each event with its appointment as of then, and what is personal as of now.
//!
//! Nothing personal is in the log, so what was removed from an appointment's row since is not shown either.

use bookd_core::appointment::Appointment;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Mark, Replaced};
use bookd_core::time::Instant;

use super::{HistoryPage, HistoryQuery, StoreError};

/// How many changes one page of the log looks at.
pub const PAGE_CHANGES_MAX: usize = 256;
/// A page ends with the change, or the part of one, that brings it to so many events: they wait in memory until the
/// watcher reads them.
pub const PAGE_EVENTS_MAX: usize = 128;
/// Events of one part of a change at most. No booking makes more: only imports, forced deletions of calendars and
/// redactions do.
pub const PART_EVENTS_MAX: usize = 1_000;
/// A part, and a page of ListChanges, ends with the event that brings its message to so many bytes, by estimate: gRPC
/// clients take 4 MiB unless they are told otherwise.
pub const PART_BYTES_MAX: usize = 3 * 1_024 * 1_024;

/// The log, read beside its writer. Every answer is of one moment of the store.
pub trait LogReader {
    /// A page of what happened to an appointment or a calendar; none when there never was one.
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError>;
    /// What a change replaced of profiles, overrides and types; nothing of one that is no longer kept.
    fn replaced(&mut self, revision: Revision) -> Result<Vec<Replaced>, StoreError>;
    /// The oldest change that is kept; none when there is no change at all.
    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError>;
    /// What happened from a position on, in order, as watchers are told it: a page of at most `log_reader::PAGE_CHANGES_MAX`
    /// changes, each in parts of at most so many events. Refused as compacted when the change before that position is no
    /// longer kept, unless it is the first that is.
    fn changes_from(
        &mut self,
        from: LogPosition,
        filter: &CalendarFilter,
        part_events_max: usize,
    ) -> Result<ChangePage, StoreError>;
}

/// The oldest change that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// Its number.
    pub revision: Revision,
    /// When it was made.
    pub time: Instant,
    /// Whether there is a later one.
    pub is_followed: bool,
}

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
        *self == Self::All
            || event
                .calendars
                .iter()
                .any(|touched| self.wants(touched.calendar.as_str()))
    }
}

/// A part of a change, as a watcher is told it; most changes are one part.
#[derive(Clone, PartialEq, Debug)]
pub struct ChangePart {
    /// With those of its events that passed and are of this part; at least one.
    pub entry: LogEntry,
    /// For each of these events its appointment, if it is about one.
    pub appointments: Vec<Option<Appointment>>,
    /// Where the next part begins: within this change, or after it.
    pub next: LogPosition,
}

impl ChangePart {
    /// Whether no other part of the change comes after it.
    pub const fn is_last(&self) -> bool {
        !self.next.is_within_change()
    }
}

/// A page of the log.
#[derive(Clone, PartialEq, Debug)]
pub struct ChangePage {
    /// In order; changes of which nothing passed are left out.
    pub changes: Vec<ChangePart>,
    /// Where the next page begins; where this one began when there was nothing to look at.
    pub next: LogPosition,
    /// The marks among what was looked at, in order.
    pub marks: Vec<Mark>,
}

/// What an event takes of a message at most, in bytes, by estimate: the ids of its calendars are in it, in both images
/// and in the appointment.
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

/// The events of a page or a part as they are gathered, until there is no room for more.
pub(super) struct Gathered {
    events_left: usize,
    bytes_left: usize,
}

impl Gathered {
    /// Room for so many events, and for a message of `PART_BYTES_MAX`.
    pub(super) const fn new(events_max: usize) -> Self {
        Self {
            events_left: events_max,
            bytes_left: PART_BYTES_MAX,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.events_left == 0 || self.bytes_left == 0
    }

    /// Notes an event; the first always has room.
    pub(super) fn add(&mut self, event: &LogEvent, appointment: Option<&Appointment>) {
        self.events_left = self.events_left.saturating_sub(1);
        self.bytes_left = self
            .bytes_left
            .saturating_sub(message_bytes(event, appointment));
    }
}

/// A part of a change in the making.
pub(super) struct PartBuilder {
    gathered: Gathered,
    events: Vec<LogEvent>,
    appointments: Vec<Option<Appointment>>,
}

impl PartBuilder {
    /// Of at most so many events.
    pub(super) const fn new(events_max: usize) -> Self {
        Self {
            gathered: Gathered::new(events_max),
            events: Vec::new(),
            appointments: Vec::new(),
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.gathered.is_full()
    }

    /// Adds an event that passes; `now` is its appointment as it is now.
    pub(super) fn add(&mut self, event: LogEvent, now: Option<Appointment>) {
        let then = event
            .appointment()
            .and_then(|it| Some(now?.with_image(it.after.clone())));
        self.gathered.add(&event, then.as_ref());
        self.events.push(event);
        self.appointments.push(then);
    }

    /// The part of this change, if there is anything in it. `cut` is where the next part begins, if not after the change.
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
