//! The log: along its chains, back to a revision, on from one, and what is forgotten of it.
//!
//! The oldest change that is kept is the log's first row; nothing else says so, and nothing else could differ.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::appointments_by_key;
use super::rows::{self, signed};
use super::write::alone_failed;
use super::{Sqlite, store_error};
use crate::domain::appointment::{Appointment, Image};
use crate::domain::ids::{AppointmentKey, Caller, Revision};
use crate::domain::log::{LogEntry, Replaced, What};
use crate::domain::time::Instant;
use crate::store::change_record::{ChangeRecord, Rows};
use crate::store::record::{self, damaged, decode};
use crate::store::replaced_record::ReplacedRecord;
use crate::store::told::{TOLD_CHANGES_MAX, TOLD_EVENTS_MAX, tell};
use crate::store::{CalendarFilter, CommitError, Oldest, StoreError, ToldPage, UNDONE_CHANGES_MAX};

pub(super) const SELECT_REVISION: &str = "select coalesce(max(revision), 0) from changes";
const SELECT_CHANGE: &str = "select c.revision, c.time, c.caller, p.name, c.record from changes c \
     left join principals p on p.number = c.caller where c.revision = ?1";
const SELECT_REPLACED: &str = "select replaced from changes where revision = ?1";
const SELECT_NEXT: &str = "select min(revision) from changes where revision >= ?1";
const SELECT_CHANGES_AFTER: &str = "select c.revision, c.time, c.caller, p.name, c.record from changes c \
     left join principals p on p.number = c.caller where c.revision > ?1 order by c.revision";
const SELECT_OLD: &str =
    "select revision, time from changes where revision >= -9223372036854775808 order by revision limit ?1";
/// The last clock reset, as long as it is kept.
const SELECT_RESET: &str =
    "select c.revision, c.time from meta m join changes c on c.revision = m.value where m.name = 'clock_reset'";
const DELETE_CHANGES: &str = "delete from changes where revision <= ?1";

/// Every statement on the log, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 8] = [
    SELECT_REVISION,
    SELECT_CHANGE,
    SELECT_REPLACED,
    SELECT_NEXT,
    SELECT_CHANGES_AFTER,
    SELECT_OLD,
    SELECT_RESET,
    DELETE_CHANGES,
];

pub(super) fn revision(connection: &Connection) -> Result<Revision, StoreError> {
    record::revision(connection.prepare_cached(SELECT_REVISION)?.query_row([], |row| row.get::<_, i64>(0))?)
}

pub(super) fn oldest(connection: &Connection) -> Result<Option<Oldest>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_OLD)?;
    let mut rows = statement.query([2])?;
    let Some(first) = rows.next()? else { return Ok(None) };
    let revision = rows::revision_of_change(first, 0)?;
    let time = ages(connection)?(revision, rows::instant(first, 1)?);
    Ok(Some(Oldest { revision, time, is_followed: rows.next()?.is_some() }))
}

/// How old changes count: what was made before a clock reset was made no later than that, whatever its own time says.
fn ages(connection: &Connection) -> Result<impl Fn(Revision, Instant) -> Instant + use<>, StoreError> {
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

/// A row of `SELECT_CHANGE`, or of another statement that has its columns first.
pub(super) fn entry(connection: &Connection, row: &Row<'_>) -> Result<(ChangeRecord, LogEntry), StoreError> {
    let (revision, time) = (rows::revision_of_change(row, 0)?, rows::instant(row, 1)?);
    let caller = match (row.get::<_, Option<i64>>(2)?, row.get::<_, Option<String>>(3)?) {
        (None, _) => Caller::default(),
        (Some(_), Some(name)) => Caller(name.into()),
        (Some(_), None) => return Err(damaged("the caller of a change")),
    };
    let record: ChangeRecord = decode(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?, "a change")?;
    let entry = record.read((revision, time, caller), &Stored(connection))?;
    Ok((record, entry))
}

struct Stored<'a>(&'a Connection);

impl Rows for Stored<'_> {
    fn appointment(&self, key: AppointmentKey) -> Result<Option<Appointment>, StoreError> {
        Ok(appointments_by_key(self.0, &[key])?.pop())
    }

    fn time_of(&self, revision: Revision) -> Result<Option<Instant>, StoreError> {
        let time = |row: &Row<'_>| Ok(rows::instant(row, 1));
        self.0.prepare_cached(SELECT_CHANGE)?.query_row([signed(revision.0)], time).optional()?.transpose()
    }
}

/// Walks the log back along what each entry says came before, newest first, to the one at `oldest`.
pub(super) fn chain(
    transaction: &Transaction<'_>,
    (newest, oldest): (Revision, Revision),
    limit: usize,
    previous: impl Fn(&LogEntry) -> Option<Revision>,
) -> Result<Vec<LogEntry>, StoreError> {
    let mut statement = transaction.prepare_cached(SELECT_CHANGE)?;
    let mut at = newest;
    let mut found = Vec::new();
    while at >= oldest && at > Revision(0) && found.len() < limit {
        let mut rows = statement.query([signed(at.0)])?;
        let Some(row) = rows.next()? else { break };
        let (_, entry) = entry(transaction, row)?;
        // A page token may name any revision: what is not of this chain is not shown.
        let Some(next) = previous(&entry) else { break };
        found.push(entry);
        at = if next < at { next } else { Revision(0) };
    }
    Ok(found)
}

/// What a change replaced.
pub(super) fn replaced(transaction: &Transaction<'_>, revision: Revision) -> Result<Vec<Replaced>, StoreError> {
    let mut statement = transaction.prepare_cached(SELECT_REPLACED)?;
    let replaced = statement.query_row([signed(revision.0)], |row| row.get::<_, Option<Vec<u8>>>(0)).optional()?;
    match replaced.flatten() {
        Some(bytes) => decode::<ReplacedRecord>(&bytes, "what a change replaced")?.read(),
        None => Ok(Vec::new()),
    }
}

/// When an appointment began as the oldest change of it that is kept found or made it; none when no change of it is.
/// Rows that are not whole yet are not read.
pub(super) fn first_start(
    transaction: &Transaction<'_>,
    key: AppointmentKey,
    newest: Revision,
) -> Result<Option<Instant>, StoreError> {
    let mut statement = transaction.prepare_cached(SELECT_CHANGE)?;
    let (mut at, mut first) = (newest.0, None);
    while at > 0 {
        let mut rows = statement.query([signed(at)])?;
        let Some(row) = rows.next()? else { break };
        let record: ChangeRecord = decode(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?, "a change")?;
        let Some((start, previous)) = record.start_of(key)? else { break };
        first = Some(start);
        at = if previous < at { previous } else { 0 };
    }
    Ok(first)
}

/// Of every appointment that changed after `at`: what it was then, none = it was not there.
pub(super) fn undone(
    transaction: &Transaction<'_>,
    at: Revision,
    current: Revision,
) -> Result<HashMap<AppointmentKey, Option<Image>>, StoreError> {
    let mut images = HashMap::new();
    if at >= current {
        return Ok(images);
    }
    let oldest = oldest(transaction)?.map_or(Revision(0), |it| it.revision);
    let is_kept = at.0 + 1 >= oldest.0 && current.0 - at.0 <= UNDONE_CHANGES_MAX as u64;
    if !is_kept {
        let reach = current.0.saturating_sub(UNDONE_CHANGES_MAX as u64);
        return Err(StoreError::Compacted { oldest: Revision(oldest.0.max(reach)) });
    }
    let mut statement = transaction.prepare_cached(SELECT_CHANGES_AFTER)?;
    let mut rows = statement.query([signed(at.0)])?;
    while let Some(row) = rows.next()? {
        for event in entry(transaction, row)?.1.events {
            if let What::Appointment(it) = event.what {
                // The first change after `at` holds what was there at it.
                images.entry(it.key).or_insert(it.before);
            }
        }
    }
    Ok(images)
}

/// A page of what came after a revision, as watchers are told it.
pub(super) fn told_after(
    transaction: &Transaction<'_>,
    after: Revision,
    filter: &CalendarFilter,
) -> Result<ToldPage, StoreError> {
    let oldest = oldest(transaction)?.map_or(Revision(0), |it| it.revision);
    if after.next() < oldest {
        return Err(StoreError::Compacted { oldest });
    }
    if after.next() > oldest {
        // A revision that is in no log was told before a restore, by a history that the restore took back.
        let next: Option<i64> =
            transaction.prepare_cached(SELECT_NEXT)?.query_row([signed(after.0)], |row| row.get(0))?;
        if let Some(next) = next.map(record::revision).transpose()?.filter(|next| *next != after) {
            return Err(StoreError::Compacted { oldest: next });
        }
    }
    let mut statement = transaction.prepare_cached(SELECT_CHANGES_AFTER)?;
    let mut rows = statement.query([signed(after.0)])?;
    let mut page = ToldPage { changes: Vec::new(), upto: after, marks: Vec::new() };
    let (mut looked_at, mut events) = (0, 0);
    while looked_at < TOLD_CHANGES_MAX
        && events < TOLD_EVENTS_MAX
        && let Some(row) = rows.next()?
    {
        looked_at += 1;
        let (_, entry) = entry(transaction, row)?;
        page.upto = entry.revision;
        page.marks.extend(entry.mark());
        let told = tell(entry, filter, |key| Ok(appointments_by_key(transaction, &[key])?.pop()))?;
        events += told.as_ref().map_or(0, |it| it.appointments.len());
        page.changes.extend(told);
    }
    Ok(page)
}

impl Sqlite {
    /// Forgets old changes, see `Store::compact_changes`.
    pub(super) fn compact(&mut self, before: Instant, limit: usize) -> Result<Option<Oldest>, CommitError> {
        let refused = |error: rusqlite::Error| CommitError::Refused(store_error(&error));
        let last = revision(&self.connection)?;
        let age = ages(&self.connection)?;
        let last_old = {
            let mut statement = self.connection.prepare_cached(SELECT_OLD).map_err(refused)?;
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
            self.connection.execute(DELETE_CHANGES, [signed(revision.0)]).map_err(|error| alone_failed(&error))?;
        }
        Ok(oldest(&self.connection)?)
    }
}
