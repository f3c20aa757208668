//! Opening a database: looked at before SQLite touches it, locked, migrated, and set to be durable.
//!
//! What is not a bookd database of this version or an older one is left exactly as it was.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};

use super::{Lock, Sqlite};
use crate::store::{OpenError, StoreError, ZoneLookup};

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    refinery::embed_migrations!("src/store/migrations");
}

/// "bkd1": what a bookd database says it is, at byte 68 of the file (SQLite file format, §1.3.8).
pub(super) const APPLICATION_ID: i32 = 0x626b_6431;
/// The schema that this binary writes; SQLite keeps it at byte 60 as `user_version`.
pub(super) const SCHEMA_VERSION: i32 = 1;

const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// How long to wait for another program that has the file locked for a moment.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// Pages in the WAL at which it is copied into the database: small copies cost a fifth of the throughput.
const CHECKPOINT_PAGES: i32 = 8_000;

impl Sqlite {
    /// Opens the database in this file, and makes it if there is none. `code_key` is the secret of a new one.
    pub fn open(file: &Path, zones: ZoneLookup, code_key: u64) -> Result<Self, OpenError> {
        let lock = lock(file)?;
        let is_new = look_at(file)?;
        let unreadable = |why: String| OpenError::Unreadable { file: file.to_owned(), why };
        let mut connection = Connection::open(file).map_err(|error| unreadable(error.to_string()))?;
        prepare(&mut connection, is_new, code_key).map_err(unreadable)?;
        Ok(Self { connection, file: file.to_owned(), zones, known: Default::default(), _lock: lock })
    }
}

/// Takes the lock that says that this process writes the file.
fn lock(file: &Path) -> Result<Lock, OpenError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let unreadable = |error: std::io::Error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "its folder does not exist; create it first".to_owned(),
            _ => format!("its lock file {}: {error}", path.display()),
        };
        OpenError::Unreadable { file: file.to_owned(), why }
    };
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(unreadable)?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { file: file.to_owned(), lock: path }),
        Err(TryLockError::Error(error)) => Err(unreadable(error)),
    }
}

/// Reads the header of the file, before SQLite would recover or change anything. True when there is no database yet.
fn look_at(file: &Path) -> Result<bool, OpenError> {
    let foreign = |why: &str| OpenError::Foreign { file: file.to_owned(), why: why.to_owned() };
    let unreadable = |error: std::io::Error| OpenError::Unreadable { file: file.to_owned(), why: error.to_string() };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(unreadable(error)),
        Ok(opened) => opened.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(unreadable)?,
    };
    if header.is_empty() {
        return Ok(true);
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(foreign("it is not an SQLite database"));
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(68) != APPLICATION_ID {
        return Err(foreign("its application_id is another program's"));
    }
    let found = number(60);
    if found > SCHEMA_VERSION {
        let (found, known) = (i64::from(found), i64::from(SCHEMA_VERSION));
        return Err(OpenError::Newer { file: file.to_owned(), found, known });
    }
    Ok(false)
}

fn prepare(connection: &mut Connection, is_new: bool, code_key: u64) -> Result<(), String> {
    let said = |error: rusqlite::Error| error.to_string();
    connection.busy_timeout(BUSY_WAIT).map_err(said)?;
    if is_new {
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(said)?;
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(said)?;
    connection.pragma_update(None, "synchronous", "full").map_err(said)?;
    // 64 MB of pages.
    connection.pragma_update(None, "cache_size", -64_000).map_err(said)?;
    checkpoint_by_itself(connection).map_err(said)?;
    // What is removed is overwritten where that costs no further write; VACUUM does the rest.
    connection.pragma_update(None, "secure_delete", "fast").map_err(said)?;
    connection.set_prepared_statement_cache_capacity(64);
    embedded::migrations::runner().run(connection).map_err(|error| error.to_string())?;
    let code_key = code_key.cast_signed();
    connection.execute("insert or ignore into meta (name, value) values ('code_key', ?1)", [code_key]).map_err(said)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(said)
}

/// Copies the WAL into the database whenever it has grown by so much, and begins it anew.
///
/// SQLite's own way waits for nobody, and so never begins a WAL anew while reads overlap: it grows without end, and is
/// copied again at every commit. Here the second time waits for those who read, which takes as long as the longest
/// read; who begins meanwhile reads the database. Somebody outside who reads for minutes, as a backup does, is waited
/// for twice as far on each time.
fn checkpoint_by_itself(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut next = CHECKPOINT_PAGES;
    connection.wal_hook(Some(move |wal: &mut Wal, pages: i32| {
        if pages < next / 2 {
            next = CHECKPOINT_PAGES;
        }
        if pages >= next {
            let is_second = pages >= 2 * CHECKPOINT_PAGES;
            let mode = if is_second { CheckpointMode::RESTART } else { CheckpointMode::PASSIVE };
            if let Err(error) = wal.checkpoint_v2(mode) {
                tracing::debug!(%error, pages, "the WAL could not be copied whole");
            }
            next = pages.saturating_mul(2);
        }
        // The commit has happened, whatever became of the copy.
        Ok(())
    }))
}

/// A connection for reads beside the writer.
pub(super) fn reader(file: &Path) -> Result<Connection, StoreError> {
    // Not read-only by flag: a reader must be able to make the WAL index when it comes first after a crash.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
