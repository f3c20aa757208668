//! Copies of a whole database at one moment, made while another process may write it; and how a
//! restored copy continues.
//!
//! The copy is made by VACUUM INTO, which reads within one transaction: one moment, however long
//! the copy takes, while the writer goes on. SQLite's backup interface copies pages, which is
//! faster; but either it starts over whenever a process writes between two steps, or it holds the
//! same transaction for one long step. It copies free pages too: deleted personal data would live
//! on in every backup. The price of both is that the WAL cannot be restarted while they read.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::checkpoint::Checkpoints;
use super::file::{Locked, beside, length};
use super::header::{self, Content};
use super::leftover_wal::set_journal_mode;
use super::location::{FileAccess, Location};
use super::open;
use super::reserve::{FileSystem, Reserve};
use super::rows::signed;
use super::segments::SEGMENT_BYTES_MAX;
use super::{Sqlite, log, store_error, sweep, tokens};
use crate::store::codec::change::ChangeRecord;
use crate::store::codec::record;
use crate::store::{OpenError, StoreError, ZoneLookup};
use bookd_core::change::Cause;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::time::Instant;

const COUNT_CALENDARS: &str = "select count(*) from calendars where delete_time is null";
const COUNT_ROWS: &str =
    "select (select count(*) from changes) + (select count(*) from appointments)";
const SELECT_LAST_TIME: &str =
    "select coalesce((select time from changes order by revision desc limit 1), 0)";
/// Scans the log from its beginning: no index has the time.
const SELECT_FIRST_AFTER: &str =
    "select revision from changes where time > ?1 order by revision limit 1";
const INSERT_MARK: &str = "insert into changes (revision, time, record) values (?1, ?2, ?3)";
pub(super) const PUT_FIRST_KEY: &str = "insert into meta (name, value) values ('first_key', ?1) \
     on conflict (name) do update set value = max(value, excluded.value)";

/// How many steps SQLite's virtual machine runs between two calls of the progress handler.
const STEPS_A_LOOK: i32 = 100_000;

/// A lock on an existing file, which no other process may open as long as this value is alive.
pub struct ExclusiveLock {
    _locked: Arc<Locked>,
}

impl ExclusiveLock {
    /// Locks a file; refused while a process has it open.
    pub fn new(file: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            _locked: Arc::new(Locked::to_write(file)?),
        })
    }
}

/// Refuses a file that another process has open for writing. A file that does not exist is unused.
pub fn unused(file: &Path) -> Result<(), OpenError> {
    match file.exists().then(|| Locked::to_read(file)) {
        Some(Err(in_use @ OpenError::InUse { .. })) => Err(in_use),
        _ => Ok(()),
    }
}

/// A database that is read as a whole and never written.
pub struct CopySource {
    connection: Connection,
    location: Location,
    schema: i32,
    /// The lock against writers; none where a process may write the file meanwhile. Dropped after
    /// the connection: see `Locked`.
    locked: Option<Locked>,
}

impl CopySource {
    /// Opens a database of this version or an older one, whichever process has it open.
    pub fn open(file: &Path) -> Result<Self, OpenError> {
        let unreadable = |error: rusqlite::Error| unreadable(file, &error);
        let opened = File::open(file).map_err(|error| open::unreadable(file, error.to_string()))?;
        if header::check_header(file, &opened, file)? == Content::Nothing {
            return Err(header::empty(file));
        }
        let wal = open::wal_content(file, &opened)?;
        drop(opened);
        // Examined without a lock, so that no start of a server is refused for it; a write may be
        // in progress. A process that serves the file has examined the WAL at its start.
        if wal.damage.is_some() {
            match Locked::to_read(file) {
                Ok(locked) => open::check_wal(file, &locked)?,
                Err(OpenError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let location = Location::new(file.to_owned(), FileAccess::Shared);
        let connection = location.copier().map_err(unreadable)?;
        Self::of_this_version(file, connection, location, None)
    }

    /// Opens a database of this version or an older one that no process writes, and leaves no trace
    /// at it: neither the file nor its folder need be writable.
    pub fn open_unwritten(file: &Path) -> Result<Self, OpenError> {
        let locked = Locked::to_read(file)?;
        if header::check_header(file, locked.file(), &locked.path)? == Content::Nothing {
            return Err(header::empty(file));
        }
        if length(&beside(&locked.path, "-journal")) > 0 {
            return Err(OpenError::Unfinished {
                file: file.to_owned(),
            });
        }
        open::check_wal(file, &locked)?;
        let location = Location::new(locked.path.clone(), FileAccess::Unwritten);
        let connection = location
            .reader()
            .map_err(|error| open::refused(file, error.to_string()))?;
        Self::of_this_version(file, connection, location, Some(locked))
    }

    fn of_this_version(
        file: &Path,
        connection: Connection,
        location: Location,
        locked: Option<Locked>,
    ) -> Result<Self, OpenError> {
        // Read through SQLite: the WAL may hold a newer header than the file.
        let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0));
        match schema.map_err(|error| unreadable(file, &error))? {
            schema if schema > header::SCHEMA_VERSION => Err(header::newer(file, schema)),
            schema => Ok(Self {
                connection,
                location,
                schema,
                locked,
            }),
        }
    }

    /// Converts a source of this version into a store, which must only be read.
    pub fn into_store(mut self, zones: ZoneLookup) -> Result<Sqlite, StoreError> {
        let checkpoints = Checkpoints::of(&mut self.connection, u32::MAX)?;
        let Self {
            connection,
            location,
            locked,
            ..
        } = self;
        let locked = locked.map(Arc::new);
        let (segment_bytes_max, known, watched) = (SEGMENT_BYTES_MAX, HashMap::new(), None);
        let reserve = Reserve::new(Box::new(FileSystem::of(location.file())));
        Ok(Sqlite {
            connection,
            checkpoints,
            location,
            zones,
            segment_bytes_max,
            known,
            reserve,
            watched,
            locked,
        })
    }

    /// The path of the database.
    pub fn file(&self) -> &Path {
        self.location.file()
    }

    /// Whether the database has an older schema, or waits for checksums.
    pub fn is_older(&self) -> bool {
        self.schema < header::SCHEMA_VERSION
    }

    /// The length of the database in bytes.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        bytes(&self.connection)
    }

    /// The damage found in the file itself, each in words; empty when the file is sound.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        Ok(sweep::look_over(&self.connection)?.findings)
    }

    /// Writes a copy of one moment to a file that does not exist yet. `progress` is called with the
    /// bytes that the copy has so far.
    pub fn copy_into(
        &mut self,
        to: &Path,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<(), StoreError> {
        copy_into(&mut self.connection, to, progress)
    }
}

fn bytes(connection: &Connection) -> Result<u64, StoreError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(number("page_count")?.unsigned_abs() * number("page_size")?.unsigned_abs())
}

fn copy_into(
    connection: &mut Connection,
    to: &Path,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<(), StoreError> {
    let written = to.to_owned();
    let look = move || {
        // 0 as long as the file does not exist.
        progress(std::fs::metadata(&written).map_or(0, |it| it.len()));
        false
    };
    connection.progress_handler(STEPS_A_LOOK, Some(look))?;
    // The name of a file need not be UTF-8.
    let name = ToSqlOutput::Borrowed(ValueRef::Text(to.as_os_str().as_encoded_bytes()));
    let copied = connection.execute("vacuum into ?1", params![name]);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    copied?;
    Ok(())
}

/// The error of a file that SQLite could not open or read.
fn unreadable(file: &Path, error: &rusqlite::Error) -> OpenError {
    match store_error(error) {
        StoreError::Damaged(what) => OpenError::Damaged {
            file: file.to_owned(),
            what,
        },
        other => open::unreadable(file, other.to_string()),
    }
}

/// The result of a statement that counts.
pub(super) fn count(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Adds a mark to the log, at the time of the change before it.
pub(super) fn put_mark(
    connection: &Connection,
    revision: Revision,
    mark: &ChangeRecord,
) -> Result<(), StoreError> {
    let time: i64 = connection.query_row(SELECT_LAST_TIME, [], |row| row.get(0))?;
    let record = mark.encode_to_vec();
    connection.execute(INSERT_MARK, params![signed(revision.0), time, record])?;
    Ok(())
}

impl Sqlite {
    /// How many calendars there are, deleted ones excluded.
    pub fn count_calendars(&self) -> Result<u64, StoreError> {
        count(&self.connection, COUNT_CALENDARS)
    }

    /// How many changes and appointments there are, together.
    pub fn count_rows(&self) -> Result<u64, StoreError> {
        count(&self.connection, COUNT_ROWS)
    }

    /// The first change in the log whose time is after this one; none when there is none.
    pub fn first_change_after(&self, time: Instant) -> Result<Option<Revision>, StoreError> {
        let first: Option<i64> = self
            .connection
            .query_row(SELECT_FIRST_AFTER, [time.seconds()], |row| row.get(0))
            .optional()?;
        first.map(record::revision).transpose()
    }

    /// Makes a restored copy continue from this revision and this key, which must be above all that
    /// were ever given out: everything after the copy is gone, but clients still hold its revisions
    /// and confirmation codes. The log gets an empty entry with this revision, as a mark. Unless
    /// `keeps_tokens`, all tokens are dropped, which the mark names: some may have been revoked after
    /// the copy. Returns how many were dropped.
    pub fn go_on_from(
        &mut self,
        revision: Revision,
        first_key: AppointmentKey,
        keeps_tokens: bool,
    ) -> Result<usize, StoreError> {
        let last = log::revision(&self.connection)?;
        assert!(revision > last, "a revision is never given out again");
        let transaction = self.connection.transaction()?;
        let mut mark = ChangeRecord::new(Cause::Restore, Vec::new());
        if !keeps_tokens {
            mark.tokens = tokens::delete_all(&transaction)?;
        }
        put_mark(&transaction, revision, &mark)?;
        transaction.execute(PUT_FIRST_KEY, [signed(first_key.0)])?;
        transaction.commit()?;
        Ok(mark.tokens.len())
    }

    /// The length of the database in bytes.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        bytes(&self.connection)
    }

    /// Writes a copy to a file that does not exist yet. `progress` is called with the bytes that the
    /// copy has so far.
    pub fn copy_into(
        &mut self,
        to: &Path,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<(), StoreError> {
        copy_into(&mut self.connection, to, progress)
    }

    /// Moves the WAL into the file and removes it, until the next start. Refused while another process
    /// reads the file.
    pub fn leave_alone(&mut self) -> Result<(), StoreError> {
        Ok(set_journal_mode(&self.connection, "delete")?)
    }

    /// Closes the database as `close_alone` does, and keeps its lock, if it has one.
    pub fn close_alone_locked(self) -> Result<Option<ExclusiveLock>, StoreError> {
        let locked = self.locked.clone();
        self.close_alone()?;
        Ok(locked.map(|_locked| ExclusiveLock { _locked }))
    }

    /// Closes the database as a single file: with no file next to it, and readable on a read-only
    /// disk.
    pub fn close_alone(mut self) -> Result<(), StoreError> {
        self.leave_alone()?;
        let Self { connection, .. } = self;
        connection
            .close()
            .map_err(|(_, error)| StoreError::from(error))
    }
}
