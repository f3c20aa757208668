//! Reads of the log: along its chains, back to a revision, and forward from a position; and the
//! removal of old changes.
//!
//! The oldest change is the first row of the log. No other place in the file notes it, so nothing
//! can differ.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::read::appointments_by_key;
use super::rows::{self, signed};
#[cfg(test)]
use super::segments;
use super::segments::{CHANGE_COLUMNS, ChangeRow, WantedEvents};
use super::{Sqlite, autocommit_error, store_error};
use crate::store::codec::change::ChangeRecord;
use crate::store::codec::record::{self, decode};
use crate::store::codec::replaced::ReplacedRecord;
use crate::store::history::HistoryBuilder;
use crate::store::log_reader::{PAGE_CHANGES_MAX, PAGE_EVENTS_MAX, PartBuilder};
use crate::store::{
    ChangePage, ChangePart, CommitError, Oldest, StoreError, UNDONE_APPOINTMENTS_MAX,
    UNDONE_CHANGES_MAX, WatchFilter,
};
use bookd_core::appointment::Image;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::log::{LogPosition, Replaced, What};
use bookd_core::time::Instant;

const SELECT_REVISION: &str = "select coalesce(max(revision), 0) from changes";
static SELECT_CHANGE: LazyLock<String> =
    LazyLock::new(|| format!("select {CHANGE_COLUMNS} where c.revision = ?1"));
static SELECT_CHANGES_FROM: LazyLock<String> =
    LazyLock::new(|| format!("select {CHANGE_COLUMNS} where c.revision >= ?1 order by c.revision"));
const SELECT_RECORD: &str = "select record from changes where revision = ?1";
const SELECT_REPLACED: &str = "select replaced from changes where revision = ?1";
const SELECT_NEXT: &str = "select min(revision) from changes where revision >= ?1";
const SELECT_OLD: &str = "select revision, time from changes where revision >= -9223372036854775808 order by revision limit ?1";
/// The last clock reset; no row once its change is removed.
const SELECT_RESET: &str = "select c.revision, c.time from meta m join changes c on c.revision = m.value where m.name = 'clock_reset'";
const DELETE_CHANGES: &str = "delete from changes where revision <= ?1";

/// Every statement on the log, for the test of their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let consts = [
        SELECT_REVISION,
        SELECT_RECORD,
        SELECT_REPLACED,
        SELECT_NEXT,
        SELECT_OLD,
        SELECT_RESET,
        DELETE_CHANGES,
    ];
    consts
        .into_iter()
        .chain([SELECT_CHANGE.as_str(), &SELECT_CHANGES_FROM])
        .chain(segments::STATEMENTS)
        .collect()
}

/// The last revision; 0 in a new file.
pub(super) fn revision(connection: &Connection) -> Result<Revision, StoreError> {
    record::revision(
        connection
            .prepare_cached(SELECT_REVISION)?
            .query_row([], |row| row.get::<_, i64>(0))?,
    )
}

/// The oldest change; none in a new file.
pub(super) fn oldest(connection: &Connection) -> Result<Option<Oldest>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_OLD)?;
    let mut rows = statement.query([2])?;
    let Some(first) = rows.next()? else {
        return Ok(None);
    };
    let revision = rows::revision_of_change(first, 0)?;
    let time = ages(connection)?(revision, rows::instant(first, 1)?);
    Ok(Some(Oldest {
        revision,
        time,
        is_followed: rows.next()?.is_some(),
    }))
}

/// The times by which the age of changes counts: a change from before a clock reset counts as no
/// younger than the reset, whatever its own time is.
fn ages(
    connection: &Connection,
) -> Result<impl Fn(Revision, Instant) -> Instant + use<>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_RESET)?;
    let mut rows = statement.query([])?;
    let reset = match rows.next()? {
        Some(row) => Some((rows::revision_of_change(row, 0)?, rows::instant(row, 1)?)),
        None => None,
    };
    Ok(move |revision, time: Instant| match reset {
        Some((reset, at)) if revision < reset => time.min(at),
        _ => time,
    })
}

/// Walks the log back from one revision to another along the previous revisions that wanted events
/// name, and adds these events to the page, newest change first. `from` may be a position within
/// the newest change. Returns the position at which the page was full.
pub(super) fn chain(
    transaction: &Transaction<'_>,
    (newest, oldest): (Revision, Revision),
    from: Option<LogPosition>,
    wanted: &WantedEvents<'_>,
    page: &mut HistoryBuilder,
) -> Result<Option<LogPosition>, StoreError> {
    let mut statement = transaction.prepare_cached(&SELECT_CHANGE)?;
    let mut at = newest;
    while at >= oldest && at > Revision(0) {
        let mut rows = statement.query([signed(at.0)])?;
        let Some(row) = rows.next()? else { break };
        let change = ChangeRow::read(row)?;
        let first = from.filter(|it| it.revision == at).map_or(0, |it| it.event);
        // Later events of the change name this very change as the previous one: the first wanted
        // event names the one before.
        let (mut previous, mut next) = (None, None);
        if first > 0 {
            change.walk(transaction, 0, wanted, |_, bytes| {
                previous = Some(change.previous(wanted, bytes)?);
                Ok(ControlFlow::Break(()))
            })?;
        }
        change.walk(transaction, first, wanted, |event, bytes| {
            if previous.is_none() {
                previous = Some(change.previous(wanted, bytes)?);
            }
            let wanted = change.event(transaction, bytes)?;
            if !page.shows(&wanted) {
                return Ok(ControlFlow::Continue(()));
            }
            if !page.has_room(at) {
                next = Some(LogPosition {
                    revision: at,
                    event,
                });
                return Ok(ControlFlow::Break(()));
            }
            page.add(&change.entry, wanted);
            Ok(ControlFlow::Continue(()))
        })?;
        if next.is_some() {
            return Ok(next);
        }
        // A page token may name any revision: a change without wanted events is not of this chain,
        // and ends the walk.
        let Some(previous) = previous else { break };
        at = if previous < at { previous } else { Revision(0) };
    }
    Ok(None)
}

/// The earlier profiles and types that a change replaced.
pub(super) fn replaced(
    connection: &Connection,
    revision: Revision,
) -> Result<Vec<Replaced>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_REPLACED)?;
    let replaced = statement
        .query_row([signed(revision.0)], |row| row.get::<_, Option<Vec<u8>>>(0))
        .optional()?;
    match replaced.flatten() {
        Some(bytes) => decode::<ReplacedRecord>(&bytes, "what a change replaced")?.read(),
        None => Ok(Vec::new()),
    }
}

/// The start of an appointment before the oldest of its changes in the log, or after that change if
/// it created the appointment; none when the log has no change of it. For the upgrade: incomplete
/// rows are not read, and changes are not cut into segments yet.
pub(super) fn first_start(
    transaction: &Transaction<'_>,
    key: AppointmentKey,
    newest: Revision,
) -> Result<Option<Instant>, StoreError> {
    let mut statement = transaction.prepare_cached(SELECT_RECORD)?;
    let (mut at, mut first) = (newest.0, None);
    while at > 0 {
        let Some(record) = statement
            .query_row([signed(at)], |row| row.get::<_, Vec<u8>>(0))
            .optional()?
        else {
            break;
        };
        let record: ChangeRecord = decode(&record, "a change")?;
        let Some((start, previous)) = record.start_of(key)? else {
            break;
        };
        first = Some(start);
        at = if previous < at { previous } else { 0 };
    }
    Ok(first)
}

/// The image at revision `at` of every appointment that changed after it; none for an appointment
/// that did not exist then.
pub(super) fn undone(
    transaction: &Transaction<'_>,
    at: Revision,
    current: Revision,
) -> Result<HashMap<AppointmentKey, Option<Box<Image>>>, StoreError> {
    let mut images = HashMap::new();
    if at >= current {
        return Ok(images);
    }
    let oldest = oldest(transaction)?.map_or(Revision(0), |it| it.revision);
    let is_kept = at.0 + 1 >= oldest.0 && current.0 - at.0 <= UNDONE_CHANGES_MAX as u64;
    if !is_kept {
        let reach = current.0.saturating_sub(UNDONE_CHANGES_MAX as u64);
        return Err(StoreError::Compacted {
            oldest: Revision(oldest.0.max(reach)),
        });
    }
    let mut statement = transaction.prepare_cached(&SELECT_CHANGES_FROM)?;
    let mut rows = statement.query([signed(at.next().0)])?;
    while let Some(row) = rows.next()? {
        let change = ChangeRow::read(row)?;
        change.walk(transaction, 0, &WantedEvents::ALL, |_, bytes| {
            if let What::Appointment(it) = change.event(transaction, bytes)?.what {
                // The first change after `at` has the image as of `at`.
                images.entry(it.key).or_insert(it.before.map(Box::new));
            }
            let has_room = images.len() <= UNDONE_APPOINTMENTS_MAX;
            Ok(if has_room {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        if images.len() > UNDONE_APPOINTMENTS_MAX {
            return Err(StoreError::Compacted {
                oldest: change.entry.revision,
            });
        }
    }
    Ok(images)
}

/// A page of the log from a position on, for watchers.
pub(super) fn page_from(
    transaction: &Transaction<'_>,
    from: LogPosition,
    filter: &WatchFilter,
    part_events_max: usize,
) -> Result<ChangePage, StoreError> {
    expect_kept(transaction, from)?;
    let mut statement = transaction.prepare_cached(&SELECT_CHANGES_FROM)?;
    let mut rows = statement.query([signed(from.revision.0)])?;
    let mut page = ChangePage {
        changes: Vec::new(),
        next: from,
        marks: Vec::new(),
    };
    let (mut looked_at, mut events) = (0, 0);
    while looked_at < PAGE_CHANGES_MAX
        && events < PAGE_EVENTS_MAX
        && let Some(row) = rows.next()?
    {
        looked_at += 1;
        let change = ChangeRow::read(row)?;
        let revision = change.entry.revision;
        page.marks.extend(change.entry.mark());
        let first = if revision == from.revision {
            from.event
        } else {
            0
        };
        let part = part(transaction, change, first, filter, part_events_max)?;
        events += part.as_ref().map_or(0, |it| it.appointments.len());
        page.next = part
            .as_ref()
            .map_or(LogPosition::after(revision), |it| it.next);
        page.changes.extend(part);
        if page.next.is_within_change() {
            break;
        }
    }
    Ok(page)
}

/// Refuses a position of which changes are no longer kept, or of a history that a restore took
/// back.
fn expect_kept(transaction: &Transaction<'_>, from: LogPosition) -> Result<(), StoreError> {
    let oldest = oldest(transaction)?.map_or(Revision(0), |it| it.revision);
    if from.revision < oldest {
        return Err(StoreError::Compacted { oldest });
    }
    if from.revision == oldest || from.is_within_change() {
        return Ok(());
    }
    let last_seen = Revision(from.revision.0 - 1);
    let next: Option<i64> = transaction
        .prepare_cached(SELECT_NEXT)?
        .query_row([signed(last_seen.0)], |row| row.get(0))?;
    match next.map(record::revision).transpose()? {
        // The revision that the watcher saw last is not in the log: it was sent before a restore.
        Some(next) if next != last_seen => Err(StoreError::Compacted { oldest: next }),
        _ => Ok(()),
    }
}

/// The events of a change from one of them on that a filter shows, at most so many, with their appointments as they are now. None where there are no such events.
fn part(
    transaction: &Transaction<'_>,
    change: ChangeRow,
    first: u64,
    filter: &WatchFilter,
    events_max: usize,
) -> Result<Option<ChangePart>, StoreError> {
    let (mut part, mut cut) = (PartBuilder::new(events_max), None);
    let wanted = WantedEvents::Calendars(&filter.calendars);
    change.walk(transaction, first, &wanted, |number, bytes| {
        let event = change.event(transaction, bytes)?;
        let now = match event.appointment() {
            Some(logged) => appointments_by_key(transaction, &[logged.key])?.pop(),
            None => None,
        };
        if !filter.shows(&event, now.as_ref()) {
            return Ok(ControlFlow::Continue(()));
        }
        if part.is_full() {
            cut = Some(number);
            return Ok(ControlFlow::Break(()));
        }
        part.add(event, now, &filter.reach);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(part.finish(change.entry, cut))
}

impl Sqlite {
    /// Removes old changes: `Store::compact_changes`.
    pub(super) fn compact(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError> {
        let refused = |error: rusqlite::Error| CommitError::Refused(store_error(&error));
        let last = revision(&self.connection)?;
        let age = ages(&self.connection)?;
        let last_old = {
            let mut statement = self
                .connection
                .prepare_cached(SELECT_OLD)
                .map_err(refused)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![limit]).map_err(refused)?;
            let mut last_old = None;
            while let Some(row) = rows.next().map_err(refused)? {
                let (revision, time) = (rows::revision_of_change(row, 0)?, rows::instant(row, 1)?);
                if age(revision, time) >= before || revision >= last {
                    break;
                }
                last_old = Some(revision);
            }
            last_old
        };
        if let Some(revision) = last_old {
            self.connection
                .execute(DELETE_CHANGES, [signed(revision.0)])
                .map_err(|error| autocommit_error(&error))?;
        }
        Ok(oldest(&self.connection)?)
    }
}
