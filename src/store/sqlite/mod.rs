//! The default store: one SQLite file in WAL mode, fsynced at every commit (`synchronous=FULL`).
//!
//! One process writes it, which a lock on the file itself ensures; readers, backups and replication
//! may have it open meanwhile.

mod checkpoint;
mod claims;
mod copy;
mod deletion;
mod derived;
mod file;
mod frames;
mod header;
mod history;
mod leftover_wal;
mod list;
mod location;
mod log;
mod moment;
mod open;
mod pages;
mod prepare;
mod read;
mod reader;
mod recovery;
mod reserve;
mod rows;
mod segments;
mod sweep;
mod tenant;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests;
mod tokens;
mod touched_calendars;
mod transaction;
mod unsettled;
mod upgrade;
mod usage;
mod vfs;
mod walk;
mod write;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, ffi, params};

use crate::descriptors;
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::{Calendar, LoadedClaims};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::log::LogEvent;
use bookd_core::quota::Usage;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;
use bookd_core::token::Tokens;

use super::{
    Boot, CommitBatch, CommitError, Last, Oldest, Reader, RequestRecord, Store, StoreError,
    StoreMetrics, ZoneLookup,
};
use crate::store::codec::record;

use checkpoint::Checkpoints;
pub use copy::{CopySource, ExclusiveLock, unused};
pub use file::is_there;
use file::{Locked, Missing, WatchedFiles};
use location::Location;
pub use open::Drive;
pub use reserve::DiskSpace;
use reserve::Reserve;
pub use sweep::SweptPages;
pub use tenant::{DeletedCalendar, TenantSize};
use upgrade::SESSIONS_FROM;

const SELECT_META: &str = "select value from meta where name = ?1";
const SELECT_LAST_CHANGE: &str =
    "select revision, time from changes order by revision desc limit 1";
const SELECT_LAST_KEY: &str = "select max(key) from appointments";
const SELECT_EXPIRING: &str = "select expire_time, id from appointments where state in (1, 2) and expire_time is not null order by expire_time";

/// The name of the VFS through which the system's files are opened, for tests that do damage on
/// purpose: a write through another VFS leaves pages that do not match their checksums.
#[doc(hidden)]
pub fn vfs_name() -> String {
    vfs::RegisteredVfs::system().map_or_else(String::new, |it| it.name().to_owned())
}

/// How long an idle writer goes at most without checking that its files are where they were opened.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// The store in a SQLite file, as the writer has it.
pub struct Sqlite {
    connection: Connection,
    checkpoints: Checkpoints,
    location: Location,
    zones: ZoneLookup,
    /// The limit on the events of one segment, in bytes: `segments::SEGMENT_BYTES_MAX`, or less in
    /// tests.
    segment_bytes_max: usize,
    /// The calendars that the writer has in memory.
    known: HashMap<CalendarId, KnownCalendar>,
    reserve: Reserve,
    /// The files that must stay where they are. None on a `Drive`, and none for a file that is only
    /// read.
    watched: Option<WatchedFiles>,
    /// The lock on the file, shared with the readers and dropped after all connections: see
    /// `Locked`.
    locked: Option<Arc<Locked>>,
}

/// A calendar in the file: the key of its row, its last change, and the reach of its claims.
#[derive(Clone, Copy, Debug)]
struct KnownCalendar {
    /// The key of the row.
    key: i64,
    /// The revision that created the calendar. The place of an appointment names a calendar by this
    /// and the id.
    since: Revision,
    /// The last revision that touched the calendar.
    version: Revision,
    /// How far the longest claim reaches beyond its start, the buffer after it included.
    reach_minutes: u32,
}

/// An error of SQLite as an error of the store.
fn store_error(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    if error
        .sqlite_error()
        .is_some_and(|it| it.extended_code == ffi::SQLITE_IOERR_DATA)
    {
        return StoreError::Damaged(vfs::damage_met().unwrap_or(text));
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::CannotOpen) if descriptors::ran_out() => StoreError::Descriptors,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            StoreError::ReadOnly
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(text),
        Some(ErrorCode::SystemIoFailure) => StoreError::Io(text),
        // A column of another type than the schema's: another program changed the file.
        None => StoreError::Damaged(text),
        Some(_) => StoreError::Other(text),
    }
}

/// The error of a statement that is a transaction of its own.
///
/// An I/O error other than of a read may be one of the commit: its outcome is unknown, because
/// nobody knows what a failed fsync left on the disk, and a second fsync reports success.
pub(super) fn autocommit_error(error: &rusqlite::Error) -> CommitError {
    let is_of_read = error.sqlite_error().is_some_and(|sqlite| {
        [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ].contains(&sqlite.extended_code)
    });
    match store_error(error) {
        error @ StoreError::Io(_) if !is_of_read => CommitError::Unknown(error),
        error => CommitError::Refused(error),
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        store_error(&error)
    }
}

/// The last change in the file, and the next key.
fn last(connection: &Connection) -> Result<Last, StoreError> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let change = connection
        .prepare_cached(SELECT_LAST_CHANGE)?
        .query_row([], row)
        .optional()?;
    let (revision, time) = match change {
        Some((revision, time)) => (
            record::revision_of_change(revision)?,
            record::instant(time)?,
        ),
        None => Default::default(),
    };
    let last_key: Option<i64> = connection
        .prepare_cached(SELECT_LAST_KEY)?
        .query_row([], |row| row.get(0))?;
    let next_key = last_key
        .map(record::key)
        .transpose()?
        .map_or(AppointmentKey(1), AppointmentKey::next);
    // After a restore keys continue further up: the keys between were given out by the history that
    // is gone.
    let mut first_key = connection.prepare_cached(SELECT_META)?;
    let first_key: Option<i64> = first_key
        .query_row(["first_key"], |row| row.get(0))
        .optional()?;
    let first_key = first_key.map(record::key).transpose()?;
    Ok(Last {
        revision,
        time,
        next_key: first_key.map_or(next_key, |it| it.max(next_key)),
    })
}

impl Sqlite {
    /// The damage found in the file itself, each in words; empty when the file is sound.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.look_over()?.findings)
    }

    /// Checks every page of the file.
    pub fn look_over(&self) -> Result<SweptPages, StoreError> {
        sweep::look_over(&self.connection)
    }

    /// Keeps a reserve file next to the database from now on, of this many bytes or as many as the
    /// disk has space for. It is removed when the disk is full, and made again when there is space.
    /// 0 = no reserve.
    pub fn keep_reserve(&mut self, bytes: u64) {
        self.reserve.keep(bytes);
        self.note_space();
    }

    /// Notes in the figures how the disk is off.
    fn note_space(&self) {
        let metrics = &self.checkpoints.metrics;
        metrics.is_disk_short.set_flag(self.reserve.is_short());
        metrics
            .is_reserve_given_up
            .set_flag(self.reserve.is_given_up());
    }

    /// All tokens.
    pub fn tokens(&self) -> Result<Tokens, StoreError> {
        tokens::load(&self.connection)
    }

    /// The oldest change in the log; none in a new file.
    pub fn oldest(&self) -> Result<Option<Oldest>, StoreError> {
        log::oldest(&self.connection)
    }
}

impl Store for Sqlite {
    fn boot(&mut self) -> Result<Boot, StoreError> {
        let connection = &self.connection;
        let Last {
            revision,
            time: last_time,
            next_key,
        } = last(connection)?;
        let code_key: i64 = connection.query_row(SELECT_META, ["code_key"], |row| row.get(0))?;
        let sessions_from: i64 =
            connection.query_row(SELECT_META, [SESSIONS_FROM], |row| row.get(0))?;
        let mut statement = connection.prepare(SELECT_EXPIRING)?;
        let mut expiring = Vec::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let expire_time = rows::instant(row, 0)?;
            expiring.push(super::Expiring {
                expire_time,
                appointment: rows::appointment_id(row, 1)?,
            });
        }
        Ok(Boot {
            revision,
            last_time,
            next_key,
            expiring,
            code_key: code_key.cast_unsigned(),
            sessions_from: record::revision(sessions_from)?,
            tokens: tokens::load(connection)?,
        })
    }

    fn usage(&mut self, now: Instant) -> Result<Usage, StoreError> {
        let transaction = self.connection.transaction()?;
        usage::usage(&transaction, now)
    }

    fn load_calendars(
        &mut self,
        ids: &[CalendarId],
        now: Instant,
    ) -> Result<Vec<Option<Calendar>>, StoreError> {
        ids.iter().map(|id| self.load_calendar(id, now)).collect()
    }

    fn load_past(
        &mut self,
        calendar: &Calendar,
        from: Instant,
    ) -> Result<LoadedClaims, StoreError> {
        self.past(calendar, from)
    }

    fn let_go(&mut self, ids: &[CalendarId]) {
        for id in ids {
            self.known.remove(id);
        }
    }

    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        read::appointments(&self.connection, ids)
    }

    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError> {
        read::appointments_by_key(&self.connection, keys)
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        read::keys_of_email(&self.connection, email, reach, limit)
    }

    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        read::appointments_of_series(&self.connection, series)
    }

    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError> {
        read::requests(&self.connection, hashes)
    }

    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError> {
        let known = read::known_calendar(&self.connection, &calendar.id)?;
        let known = known.filter(|it| (it.since, it.version) == (calendar.since, calendar.version));
        self.known.extend(known.map(|it| (calendar.id.clone(), it)));
        Ok(known.is_some())
    }

    fn commit(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        self.write(batch)
    }

    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError> {
        const DELETE_REQUESTS: &str = "delete from requests where hash in
            (select hash from requests where time < ?1 order by time limit ?2)";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let deleted = self
            .connection
            .execute(DELETE_REQUESTS, params![before.seconds(), limit]);
        deleted.map_err(|error| autocommit_error(&error))
    }

    fn compact_changes(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError> {
        self.compact(before, limit)
    }

    fn compare_derived(&mut self, found: &mut dyn FnMut(String)) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction()?;
        derived::compare(&transaction, found)
    }

    fn begin_deletion(
        &mut self,
        calendar: &CalendarId,
        now: Instant,
    ) -> Result<Option<u64>, CommitError> {
        self.retry_when_full(|store| store.begin(calendar, now))
            .map(Some)
    }

    fn stage(
        &mut self,
        deletion: u64,
        before: u64,
        events: &[LogEvent],
    ) -> Result<(), CommitError> {
        self.retry_when_full(|store| store.stage_events(deletion, before, events))
    }

    fn settle(&mut self, limit: usize, under_way: Option<u64>) -> Result<bool, CommitError> {
        self.retry_when_full(|store| store.settle_some(limit, under_way))
    }

    fn after_commit(&mut self) -> Result<(), CommitError> {
        self.checkpoints.after_commit(&self.connection)
    }

    fn tend(&mut self) {
        if self.reserve.tend() {
            self.checkpoints.lengthen();
        }
        self.note_space();
    }

    fn still_there(&mut self) -> Result<(), StoreError> {
        let Some(Err(Missing { is_database, error })) =
            self.watched.as_ref().map(WatchedFiles::check)
        else {
            return Ok(());
        };
        if is_database {
            // The WAL belongs to the database file that was moved, and shows that one was here: a
            // start without that file is refused.
            self.checkpoints.keep_wal(&self.connection);
        }
        Err(error)
    }

    fn look_period(&self) -> Option<Duration> {
        self.watched.as_ref().map(|_| LOOK_PERIOD)
    }

    fn metrics(&self) -> Arc<StoreMetrics> {
        Arc::clone(&self.checkpoints.metrics)
    }

    fn file(&self) -> Option<&Path> {
        self.location.system_file()
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let connection = self.location.reader()?;
        let (zones, wal_kept) = (self.zones.clone(), self.checkpoints.wal_kept());
        Ok(Box::new(reader::SqliteReader::new(
            connection,
            zones,
            wal_kept,
            self.locked.clone(),
        )))
    }
}
