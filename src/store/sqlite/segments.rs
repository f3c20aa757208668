//! The events of a change in segments: no reader and no writer holds more than one segment in
//! memory.
//!
//! Most changes are one segment, in their own row. Each further segment of a larger change has the
//! ranges of its appointments and calendars, so that a read passes over the others; and within a
//! segment only the wanted events are decoded.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::read::appointments_by_key;
use super::rows::{self, signed};
use crate::store::codec::change::{ChangeRecord, EventHead, KnownRows, read_event, read_head};
use crate::store::codec::record::{self, damaged, in_row};
use crate::store::{CalendarFilter, StoreError};
use bookd_core::appointment::Appointment;
use bookd_core::change::Cause;
use bookd_core::deletion::STAMPS;
use bookd_core::ids::{AppointmentKey, Caller, Revision};
use bookd_core::log::{LogEntry, LogEvent};
use bookd_core::time::Instant;

/// The previous revision in an event that was staged before its change: it stands for the one in
/// the change's record.
const STAMPED: Revision = STAMPS.1;

/// The limit on the events of one segment, in bytes: one or two hundred events. A single larger
/// event is a segment alone.
pub(super) const SEGMENT_BYTES_MAX: usize = 32 * 1_024;

/// The columns of a `ChangeRow`.
pub(super) const CHANGE_COLUMNS: &str = "c.revision, c.time, c.caller, p.name, c.record, c.events, c.segments \
     from changes c \
     left join principals p on p.number = c.caller";
const SELECT_TIME: &str = "select time from changes where revision = ?1";
const SELECT_SEGMENTS: &str = "select event, record from change_segments where revision = ?1 \
     and event >= coalesce((select max(event) from change_segments where revision = ?1 and event <= ?2), 0) \
     and key_min <= ?4 and key_max >= ?3 and calendar_min <= ?6 and calendar_max >= ?5 order by event";
const INSERT_SEGMENT: &str = "insert into change_segments \
     (revision, event, key_min, key_max, calendar_min, calendar_max, record) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SELECT_UNCUT: &str = "select revision, record from changes \
     where revision > ?1 and length(record) > ?2 order by revision limit 1";
const UPDATE_CHANGE: &str = "update changes set record = ?2, events = ?3 where revision = ?1";

/// Every read of segments, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 3] = [SELECT_TIME, SELECT_SEGMENTS, SELECT_UNCUT];

/// A change with its first segment.
pub(super) struct ChangeRow {
    /// The entry without its events.
    pub(super) entry: LogEntry,
    /// The record with the events of the first segment.
    pub(super) record: ChangeRecord,
    /// How many events the change has; none where the first segment has all of them.
    pub(super) events: Option<u64>,
    /// The number under which the further segments lie.
    pub(super) segments: i64,
}

impl ChangeRow {
    /// Reads a row with `CHANGE_COLUMNS`.
    pub(super) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Self::of(row).map_err(|error| rows::by_key("changes", row, error))
    }

    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        let (revision, time) = (rows::revision_of_change(row, 0)?, rows::instant(row, 1)?);
        let caller = match (
            row.get::<_, Option<i64>>(2)?,
            row.get::<_, Option<String>>(3)?,
        ) {
            (None, _) => Caller::default(),
            (Some(_), Some(name)) => Caller(name.into()),
            (Some(_), None) => return Err(damaged("the caller of a change")),
        };
        let record = change_record(row.get(4)?)?;
        let events = row.get::<_, Option<i64>>(5)?;
        // Only present when above the events of the first segment; no change ever had 2^32 events.
        let is_possible = |count: i64| {
            u32::try_from(count).is_ok_and(|count| count as usize > record.events.len())
        };
        if !events.is_none_or(is_possible) {
            return Err(damaged("a change"));
        }
        let events = events.map(i64::unsigned_abs);
        let cause: Cause = record.cause()?;
        let segments = match row.get::<_, Option<i64>>(6)? {
            None => signed(revision.0),
            // Staged segments have a negative number, and none of their events is in the row of the
            // change.
            Some(number) if number < 0 && events.is_some() && record.events.is_empty() => number,
            Some(_) => return Err(damaged("a change")),
        };
        Ok(Self {
            entry: LogEntry {
                revision,
                time,
                cause,
                caller,
                events: Vec::new(),
            },
            record,
            events,
            segments,
        })
    }

    /// The ids of the tokens that the change created, revoked or dropped.
    pub(super) fn tokens(&self) -> &[String] {
        &self.record.tokens
    }

    /// Decodes one of the events.
    pub(super) fn event(
        &self,
        connection: &Connection,
        bytes: &Bytes,
    ) -> Result<LogEvent, StoreError> {
        let mut event = read_event(
            bytes,
            (self.entry.time, self.entry.revision),
            &Stored(connection),
        )?;
        for touched in event
            .calendars
            .iter_mut()
            .filter(|it| it.previous == STAMPED)
        {
            touched.previous = record::revision(self.record.previous)?;
        }
        Ok(event)
    }

    /// The revision that last touched the appointment, or one of the calendars, before an event
    /// that is wanted.
    pub(super) fn previous(
        &self,
        wanted: &WantedEvents<'_>,
        event: &Bytes,
    ) -> Result<Revision, StoreError> {
        match wanted.previous(event)? {
            // The event was staged before its change; or it is the first of the calendar, and the
            // record has no previous revision either.
            STAMPED if matches!(wanted, WantedEvents::Calendars(_)) => {
                record::revision(self.record.previous)
            }
            previous => Ok(previous),
        }
    }

    /// Calls `take` with the wanted events in order, from event number `from` on, each with its
    /// number in the change, until `take` returns `Break`. When all events are wanted, a gap
    /// between segments is damage.
    pub(super) fn walk(
        &self,
        connection: &Connection,
        from: u64,
        wanted: &WantedEvents<'_>,
        take: impl FnMut(u64, &Bytes) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let walked = self.walk_on(connection, from, wanted, take);
        walked.map_err(|error| in_row("changes", self.entry.revision, error))
    }

    fn walk_on(
        &self,
        connection: &Connection,
        from: u64,
        wanted: &WantedEvents<'_>,
        mut take: impl FnMut(u64, &Bytes) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut take_all = |first: u64, events: &[Bytes]| {
            let numbered = (first..).zip(events);
            // An event that was erased with its tenant is empty.
            for (number, event) in
                numbered.filter(|(number, event)| *number >= from && !event.is_empty())
            {
                if wanted.wants(event)? && take(number, event)?.is_break() {
                    return Ok::<_, StoreError>(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        if take_all(0, &self.record.events)?.is_break() {
            return Ok(());
        }
        let Some(count) = self.events else {
            return Ok(());
        };
        let mut statement = connection.prepare_cached(SELECT_SEGMENTS)?;
        let ((key_min, key_max), (calendar_min, calendar_max)) = wanted.ranges();
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![
            self.segments,
            from,
            key_min,
            key_max,
            calendar_min,
            calendar_max
        ])?;
        let mut next = self.record.events.len() as u64;
        while let Some(row) = rows.next()? {
            let first = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| damaged("a change"))?;
            if wanted.is_all() && first > next.max(from.unsigned_abs()) {
                return Err(damaged("a change"));
            }
            let record = change_record(row.get(1)?)?;
            next = first + record.events.len() as u64;
            if take_all(first, &record.events)?.is_break() {
                return Ok(());
            }
        }
        let is_whole = !wanted.is_all() || next == count;
        if is_whole {
            Ok(())
        } else {
            Err(damaged("a change"))
        }
    }
}

fn change_record(bytes: Vec<u8>) -> Result<ChangeRecord, StoreError> {
    // The events share these bytes.
    ChangeRecord::decode(Bytes::from(bytes)).map_err(|_| damaged("a change"))
}

struct Stored<'a>(&'a Connection);

impl KnownRows for Stored<'_> {
    fn appointment(&self, key: AppointmentKey) -> Result<Option<Appointment>, StoreError> {
        Ok(appointments_by_key(self.0, &[key])?.pop())
    }

    fn time_of(&self, revision: Revision) -> Result<Option<Instant>, StoreError> {
        let time = |row: &Row<'_>| Ok(rows::instant(row, 0));
        self.0
            .prepare_cached(SELECT_TIME)?
            .query_row([signed(revision.0)], time)
            .optional()?
            .transpose()
    }
}

/// A filter on the events of a change.
pub(super) enum WantedEvents<'a> {
    /// The events that touch calendars of a filter.
    Calendars(&'a CalendarFilter),
    /// The events of one appointment.
    Appointment(AppointmentKey),
}

impl WantedEvents<'_> {
    pub(super) const ALL: WantedEvents<'static> = WantedEvents::Calendars(&CalendarFilter::All);

    fn is_all(&self) -> bool {
        matches!(self, Self::Calendars(CalendarFilter::All))
    }

    fn wants(&self, event: &Bytes) -> Result<bool, StoreError> {
        Ok(match self {
            Self::Calendars(CalendarFilter::All) => true,
            Self::Calendars(filter) => read_head(event)?
                .calendars
                .iter()
                .any(|it| filter.wants(&it.calendar)),
            Self::Appointment(key) => read_head(event)?.key == key.0,
        })
    }

    /// The revision that last touched the appointment, or one of the calendars, before an event
    /// that is wanted.
    fn previous(&self, event: &Bytes) -> Result<Revision, StoreError> {
        let EventHead {
            previous,
            calendars,
            ..
        } = read_head(event)?;
        let previous = match self {
            Self::Calendars(filter) => {
                let touched = calendars.iter().filter(|it| filter.wants(&it.calendar));
                touched.map(|it| it.previous).min().unwrap_or(0)
            }
            Self::Appointment(_) => previous,
        };
        record::revision(previous)
    }

    /// The first and last key of the appointments, and the first and last id of the calendars, that
    /// wanted events may have.
    fn ranges(&self) -> ((i64, i64), (String, String)) {
        let (all_keys, last) = ((0, i64::MAX), char::MAX);
        match self {
            Self::Calendars(CalendarFilter::All) => (all_keys, (String::new(), last.into())),
            Self::Calendars(CalendarFilter::Prefixes(prefixes)) => {
                let first = prefixes.iter().next().unwrap_or_default().to_owned();
                let end = prefixes.iter().last().unwrap_or_default();
                (all_keys, (first, format!("{end}{last}")))
            }
            Self::Calendars(CalendarFilter::Among(calendars)) => {
                let id = |id: Option<&str>| id.unwrap_or_default().to_owned();
                let ids = || calendars.iter().map(|it| it.as_str());
                (all_keys, (id(ids().min()), id(ids().max())))
            }
            Self::Appointment(key) => {
                ((signed(key.0), signed(key.0)), (String::new(), last.into()))
            }
        }
    }
}

/// The write of the events of one change into segments.
pub(super) struct Segments<'a> {
    connection: &'a Connection,
    /// The number under which the segments lie: the revision of the change, or a negative one for
    /// staged segments.
    number: i64,
    bytes_max: usize,
    /// The events of the first segment, once it is full.
    first: Option<Vec<Bytes>>,
    /// How many events are in segments before the current one.
    count: u64,
    /// The events of the current segment.
    events: Vec<Bytes>,
    /// The length of these events in bytes.
    bytes: usize,
}

impl<'a> Segments<'a> {
    /// Begins the segments of this change. Segments after the first are written as soon as they are
    /// full.
    pub(super) fn new(connection: &'a Connection, revision: Revision, bytes_max: usize) -> Self {
        Self::under(connection, signed(revision.0), bytes_max)
    }

    /// Begins segments under this number, which no segment has.
    pub(super) fn under(connection: &'a Connection, number: i64, bytes_max: usize) -> Self {
        Self {
            connection,
            number,
            bytes_max,
            first: None,
            count: 0,
            events: Vec::new(),
            bytes: 0,
        }
    }

    /// Continues staged segments after the `count` events that lie under this number. None of these
    /// is in the row of the change.
    pub(super) fn continue_staged(
        connection: &'a Connection,
        number: i64,
        count: u64,
        bytes_max: usize,
    ) -> Self {
        Self {
            connection,
            number,
            bytes_max,
            first: Some(Vec::new()),
            count,
            events: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds an event after the others.
    pub(super) fn push(&mut self, event: Bytes) -> Result<(), StoreError> {
        if !self.events.is_empty() && self.bytes + event.len() > self.bytes_max {
            self.cut()?;
        }
        // An event that was erased takes room too: a segment has a bounded number of them.
        self.bytes += event.len().max(1);
        self.events.push(event);
        Ok(())
    }

    /// Ends the current segment.
    fn cut(&mut self) -> Result<(), StoreError> {
        let events = std::mem::take(&mut self.events);
        let (first_event, count) = (self.count, events.len() as u64);
        (self.count, self.bytes) = (first_event + count, 0);
        if self.first.is_none() {
            self.first = Some(events);
            return Ok(());
        }
        let (mut keys, mut calendars) = (
            Vec::with_capacity(events.len()),
            Vec::with_capacity(events.len()),
        );
        for event in &events {
            let head = read_head(event)?;
            // The head of a calendar's event has the key 0.
            keys.push(if head.key == 0 {
                AppointmentKey(0)
            } else {
                record::key(head.key)?
            });
            calendars.extend(head.calendars.into_iter().map(|it| it.calendar));
        }
        let key = |key: Option<&AppointmentKey>| signed(key.map_or(0, |it| it.0));
        let calendar = |id: Option<&String>| id.cloned().unwrap_or_default();
        let mut insert = self.connection.prepare_cached(INSERT_SEGMENT)?;
        insert.execute(params![
            self.number,
            signed(first_event),
            key(keys.iter().min()),
            key(keys.iter().max()),
            calendar(calendars.iter().min()),
            calendar(calendars.iter().max()),
            ChangeRecord::segment(events).encode_to_vec(),
        ])?;
        Ok(())
    }

    /// Ends the last segment. Returns the events of the first one, and the number of all events if
    /// there are more.
    pub(super) fn finish(mut self) -> Result<(Vec<Bytes>, Option<i64>), StoreError> {
        if self.first.is_none() {
            return Ok((self.events, None));
        }
        if !self.events.is_empty() {
            self.cut()?;
        }
        Ok((self.first.unwrap_or_default(), Some(signed(self.count))))
    }
}

/// Cuts the changes of a file from before schema 5 into segments.
pub(super) fn cut_changes(connection: &Connection, bytes_max: usize) -> Result<(), StoreError> {
    let mut select = connection.prepare(SELECT_UNCUT)?;
    let mut update = connection.prepare(UPDATE_CHANGE)?;
    let mut last = 0;
    loop {
        let bytes_max_of_row = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let Some((revision, bytes)) = select.query_row([last, bytes_max_of_row], row).optional()?
        else {
            return Ok(());
        };
        last = revision;
        let record = change_record(bytes)?;
        let cause = record.cause()?;
        let mut segments = Segments::new(connection, record::revision(revision)?, bytes_max);
        for event in record.events {
            segments.push(event)?;
        }
        let (first, count) = segments.finish()?;
        update.execute(params![
            revision,
            ChangeRecord::new(cause, first).encode_to_vec(),
            count
        ])?;
    }
}
