//! A copy of a whole database as it is at one moment, made beside whoever writes it; and how a copy goes on after it.
//!
//! The copy is made by VACUUM INTO, which reads within one transaction: one moment, however long it takes, and the writer
//! goes on meanwhile. SQLite's backup interface copies pages, which is faster; but either it begins anew whenever
//! somebody writes between two steps, or it holds the same transaction for one long step. And it copies free pages too:
//! what was removed with a person's data would live on in every backup. The price of both is the WAL, which cannot be
//! begun anew while they read.

use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, params};

use super::open::{self, SCHEMA_VERSION};
use super::rows::signed;
use super::{Lock, Sqlite, log, store_error};
use crate::domain::ids::{AppointmentKey, Revision};
use crate::domain::log::LogEntry;
use crate::domain::time::Instant;
use crate::store::change_record::ChangeRecord;
use crate::store::{OpenError, StoreError};

const COUNT_CALENDARS: &str = "select count(*) from calendars where delete_time is null";
const COUNT_ROWS: &str = "select (select count(*) from changes) + (select count(*) from appointments)";
const SELECT_LAST_TIME: &str = "select coalesce(max(time), 0) from changes";
const INSERT_RESTORED: &str = "insert into changes (revision, time, record) values (?1, ?2, ?3)";
const PUT_FIRST_KEY: &str = "insert into meta (name, value) values ('first_key', ?1) \
     on conflict (name) do update set value = max(value, excluded.value)";

/// How many steps of SQLite's machine there are between two looks at how far it is.
const STEPS_A_LOOK: i32 = 100_000;

/// Says that nobody else may open this file, whether it is there or not, as long as it is kept.
pub struct Reserved {
    _lock: Lock,
}

impl Reserved {
    /// Reserves a file; refused while a process serves it.
    pub fn new(file: &Path) -> Result<Self, OpenError> {
        Ok(Self { _lock: open::lock(file)? })
    }
}

/// A database that is read whole and never written, whoever else has it.
pub struct Source {
    connection: Connection,
    file: PathBuf,
    schema: i32,
}

impl Source {
    /// Opens a database of this version or an older one.
    pub fn open(file: &Path) -> Result<Self, OpenError> {
        open::look_at(file)?;
        let unreadable = |error: rusqlite::Error| OpenError::Unreadable {
            file: file.to_owned(),
            why: store_error(&error).to_string(),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(unreadable)?;
        connection.busy_timeout(open::BUSY_WAIT).map_err(unreadable)?;
        // The header may say less than what is in the WAL.
        let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unreadable)?;
        if schema > SCHEMA_VERSION {
            let (found, known) = (i64::from(schema), i64::from(SCHEMA_VERSION));
            return Err(OpenError::Newer { file: file.to_owned(), found, known });
        }
        Ok(Self { connection, file: file.to_owned(), schema })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether an older bookd made it, or one that was stopped while it did.
    pub fn is_older(&self) -> bool {
        self.schema < SCHEMA_VERSION
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok(number("page_count")?.unsigned_abs() * number("page_size")?.unsigned_abs())
    }

    /// What SQLite finds wrong with it; nothing when it is sound.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        integrity(&self.connection)
    }

    /// Writes a copy as it is at one moment to a file that is not there yet. `progress` is told how many bytes there are
    /// of the copy.
    pub fn copy_into(&mut self, to: &Path, progress: impl Fn(u64) + Send + 'static) -> Result<(), StoreError> {
        let written = to.to_owned();
        let look = move || {
            // While it is not there nothing is.
            progress(std::fs::metadata(&written).map_or(0, |it| it.len()));
            false
        };
        self.connection.progress_handler(STEPS_A_LOOK, Some(look))?;
        // A file's name need not be UTF-8.
        let name = ToSqlOutput::Borrowed(ValueRef::Text(to.as_os_str().as_encoded_bytes()));
        let copied = self.connection.execute("vacuum into ?1", params![name]);
        self.connection.progress_handler(0, None::<fn() -> bool>)?;
        copied?;
        Ok(())
    }
}

/// What SQLite finds wrong with a database; nothing when it is sound.
pub(super) fn integrity(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("pragma integrity_check(100)")?;
    let said = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

impl Sqlite {
    /// How many calendars there are.
    pub fn count_calendars(&self) -> Result<u64, StoreError> {
        self.count(COUNT_CALENDARS)
    }

    /// How many changes and appointments there are, together.
    pub fn count_rows(&self) -> Result<u64, StoreError> {
        self.count(COUNT_ROWS)
    }

    fn count(&self, sql: &str) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Makes a restored copy go on from this revision and this key, which must be above all that were ever given out: what
    /// came after the copy was made is gone, and its revisions and confirmation codes are still in people's hands. The
    /// log gets a mark with this revision and nothing in it.
    pub fn go_on_from(&mut self, revision: Revision, first_key: AppointmentKey) -> Result<(), StoreError> {
        let last = log::revision(&self.connection)?;
        assert!(revision > last, "a revision is never given out again");
        let transaction = self.connection.transaction()?;
        let time: i64 = transaction.query_row(SELECT_LAST_TIME, [], |row| row.get(0))?;
        let entry = LogEntry::restored(revision, Instant::from_seconds(time));
        let mark = prost::Message::encode_to_vec(&ChangeRecord::new(&entry));
        transaction.execute(INSERT_RESTORED, params![signed(revision.0), time, mark])?;
        transaction.execute(PUT_FIRST_KEY, [signed(first_key.0)])?;
        transaction.commit()?;
        Ok(())
    }

    /// Closes it so that it is one file that stands alone: with nothing beside it, and readable where nothing can be written.
    pub fn close_alone(self) -> Result<(), StoreError> {
        open::set_journal_mode(&self.connection, "delete")?;
        let Self { connection, .. } = self;
        connection.close().map_err(|(_, error)| StoreError::from(error))
    }
}
