//! Deletions of calendars with thousands of appointments, in small transactions between which other
//! commits run.
//!
//! The cancellations are written to the log first, under a number that no change names yet. A
//! commit as small as any other then makes the change, which names that number: from then on the
//! rows of these appointments are read as cancelled, whatever they contain. The rows are written
//! last, a few at a time.
//!
//! ```text
//! begin ──▶ stage ──▶ stage ──▶ the change ──▶ settle ──▶ settle ──▶ nothing is left
//!   └─────────┴─────────┴─▶ no change is made: settle removes the staged events
//! ```

use rusqlite::{Connection, OptionalExtension, params};

use super::claims::{DELETE_CLAIM, INSERT_CLAIM};
use super::read::{known_calendar, raw_appointments_by_key};
use super::rows::{self, UPDATE_IN_PLACE, signed, write};
use super::segments::Segments;
use super::unsettled::Deletions;
use super::{Sqlite, log, store_error};
use crate::store::codec::change::write_event;
use crate::store::codec::record::damaged;
use crate::store::{CommitError, StoreError};
use bookd_core::deletion::STAMPS;
use bookd_core::ids::{AppointmentKey, CalendarId};
use bookd_core::log::LogEvent;
use bookd_core::time::{Instant, MINUTE};

const SELECT_NEXT: &str = "select number, calendar, revision, last_start, last_id from deletions \
     where revision is not null or number is not ?1 order by number limit 1";
/// The lowest number in use by a deletion, and by segments. Numbers of deletions are negative.
const SELECT_NUMBERS: [&str; 2] = [
    "select min(number) from deletions",
    "select min(revision) from change_segments",
];
const INSERT_DELETION: &str = "insert into deletions (number, calendar, began, last_start, last_id) \
     values (?1, ?2, ?3, ?4, x'')";
const MOVE_ON: &str = "update deletions set last_start = ?2, last_id = ?3 where number = ?1";
const DELETE_DELETION: &str = "delete from deletions where number = ?1";
const DELETE_STAGED: &str = "delete from change_segments where revision = ?1 and event in \
     (select event from change_segments where revision = ?1 order by event limit ?2)";
const SELECT_CLAIMS: &str = "select start, id, key from claims where calendar = ?1 and is_over = 0 \
     and (start, id) > (?2, ?3) order by start, id limit ?4";

/// Every read of tables that grow, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 3] = [SELECT_NUMBERS[0], SELECT_NUMBERS[1], SELECT_CLAIMS];

impl Sqlite {
    /// `Store::begin_deletion`.
    pub(super) fn begin(
        &mut self,
        calendar: &CalendarId,
        now: Instant,
    ) -> Result<u64, CommitError> {
        self.transaction(|connection, _| {
            let known = known_calendar(connection, calendar)?
                .ok_or_else(|| StoreError::Stale(calendar.clone()))?;
            let mut number = log::revision(connection)?.next().0;
            // No segment lies under the number, and no change names it.
            for select in SELECT_NUMBERS {
                let taken: Option<i64> = connection
                    .prepare_cached(select)?
                    .query_row([], |row| row.get(0))?;
                number = number.max(taken.filter(|it| *it < 0).map_or(0, i64::unsigned_abs) + 1);
            }
            let start = now.plus(-i64::from(known.reach_minutes) * MINUTE).seconds();
            let mut insert = connection.prepare_cached(INSERT_DELETION)?;
            insert.execute(params![-signed(number), known.key, now.seconds(), start])?;
            Ok(number)
        })
    }

    /// `Store::stage`.
    pub(super) fn stage_events(
        &mut self,
        number: u64,
        before: u64,
        events: &[LogEvent],
    ) -> Result<(), CommitError> {
        let bytes_max = self.segment_bytes_max;
        self.transaction(|connection, _| {
            let mut segments =
                Segments::continue_staged(connection, -signed(number), before, bytes_max);
            for event in events {
                segments.push(write_event(event, STAMPS.0))?;
            }
            segments.finish().map(drop)
        })
    }

    /// `Store::settle`.
    pub(super) fn settle_some(
        &mut self,
        limit: usize,
        under_way: Option<u64>,
    ) -> Result<bool, CommitError> {
        let next = {
            let refused = |error: rusqlite::Error| CommitError::Refused(store_error(&error));
            let mut select = self
                .connection
                .prepare_cached(SELECT_NEXT)
                .map_err(refused)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok(PendingDeletion {
                    number: row.get(0)?,
                    calendar: row.get(1)?,
                    is_made: row.get::<_, Option<i64>>(2)?.is_some(),
                    last: (row.get(3)?, row.get(4)?),
                })
            };
            select
                .query_row([under_way.map(|it| -signed(it))], row)
                .optional()
                .map_err(refused)?
        };
        let Some(next) = next else { return Ok(false) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.transaction(|connection, _| {
            let is_done = if next.is_made {
                next.settle(connection, limit)?
            } else {
                next.remove(connection, limit)?
            };
            if is_done {
                connection
                    .prepare_cached(DELETE_DELETION)?
                    .execute([next.number])?;
            }
            Ok(())
        })?;
        Ok(true)
    }
}

/// The deletion that is settled next.
struct PendingDeletion {
    number: i64,
    /// The key of the calendar's row.
    calendar: i64,
    /// Whether the change was made.
    is_made: bool,
    /// Start and id of the last claim that was settled.
    last: (i64, Vec<u8>),
}

impl PendingDeletion {
    /// Writes the next rows as cancelled, and moves their claims to those that are over. True when
    /// no row is left.
    fn settle(&self, connection: &Connection, limit: i64) -> Result<bool, StoreError> {
        let deletions = Deletions::unsettled(connection)?;
        let claims: Vec<(i64, Vec<u8>, AppointmentKey)> = {
            let mut select = connection.prepare_cached(SELECT_CLAIMS)?;
            let mut rows = select.query(params![self.calendar, self.last.0, self.last.1, limit])?;
            let mut claims = Vec::new();
            while let Some(row) = rows.next()? {
                claims.push((row.get(0)?, row.get(1)?, rows::key(row, 2)?));
            }
            claims
        };
        let keys: Vec<AppointmentKey> = claims.iter().map(|(_, _, key)| *key).collect();
        let found = raw_appointments_by_key(connection, &keys)?;
        if found.len() != keys.len() {
            return Err(damaged("a claim"));
        }
        for ((start, id, key), row) in claims.iter().zip(found) {
            let shown = deletions.show(row.clone());
            if shown.revision != row.revision {
                write(&mut *connection.prepare_cached(&UPDATE_IN_PLACE)?, &shown)?;
            }
            // The row itself may have been written already by a later change; its claim still lies
            // with those of the future.
            if shown.state.is_over() {
                connection.prepare_cached(DELETE_CLAIM)?.execute(params![
                    self.calendar,
                    false,
                    start,
                    id
                ])?;
                let mut insert = connection.prepare_cached(INSERT_CLAIM)?;
                insert.execute(params![self.calendar, true, start, id, signed(key.0)])?;
            }
        }
        let is_last = i64::try_from(claims.len()).is_ok_and(|it| it < limit);
        let Some((start, id, _)) = claims.last().filter(|_| !is_last) else {
            return Ok(true);
        };
        connection
            .prepare_cached(MOVE_ON)?
            .execute(params![self.number, start, id])?;
        Ok(false)
    }

    /// Removes events that were staged for a change that was not made. True when none is left.
    fn remove(&self, connection: &Connection, limit: i64) -> Result<bool, StoreError> {
        let removed = connection
            .prepare_cached(DELETE_STAGED)?
            .execute(params![self.number, limit])?;
        Ok(i64::try_from(removed).is_ok_and(|it| it < limit))
    }
}
