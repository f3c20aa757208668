//! The WAL that an earlier process left: made durable before anybody reads the database, and then
//! removed.
//!
//! No revision that a reader has seen is lost with the power: the content of the WAL is written and
//! synced again first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use super::file::{beside, length};
use super::reserve::Reserve;

/// The free space below which a file is not opened as usual, in bytes: for a header, its journal,
/// and a WAL index.
pub(super) const LEAST_BYTES: u64 = 1_024 * 1_024;
/// How many bytes of the WAL are read and written at a time when it is rewritten.
const PIECE_BYTES: usize = 1 << 20;

/// Rewrites and syncs the WAL, so that the disk has what a read of the WAL returns.
///
/// After a failed sync Linux keeps the pages in memory, marks them clean, and never writes them
/// again: a read of such a WAL returns content that a power loss takes away. If the WAL were copied
/// into the database as it is, and the power went in the middle, half of the last commit would be
/// in the database and none of it in the WAL. A rewritten WAL is synced again. No other program,
/// such as a replication, may write to the WAL or restart it meanwhile: both need the lock that
/// is held here.
pub(super) fn renew_wal(
    connection: &Connection,
    rewrite: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(text)?;
    let Some(file) = connection.path().filter(|_| mode == "wal") else {
        return Ok(());
    };
    let wal = beside(Path::new(file), "-wal");
    connection.execute_batch("begin immediate").map_err(text)?;
    let renewed = rewrite(&wal).map_err(|error| format!("its WAL {}: {error}", wal.display()));
    connection.execute_batch("rollback").map_err(text)?;
    renewed
}

/// Settles the WAL, with the space of the reserve if need be.
///
/// Without enough space the WAL stays as it is and remains in use. Its content is as safe:
/// `renew_wal` has just rewritten and synced it, and a later checkpoint copies it from its
/// beginning.
pub(super) fn settle_or_keep(
    connection: &Connection,
    reserve: &mut Reserve,
) -> rusqlite::Result<()> {
    let is_full = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
    loop {
        // Not begun without space for all of it: half of it removes the WAL, and only a write
        // brings a WAL back.
        let wal_bytes = connection
            .path()
            .map_or(0, |file| length(&beside(Path::new(file), "-wal")));
        let full = || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None);
        let settled = if reserve.lacks(wal_bytes + LEAST_BYTES) {
            Err(full())
        } else {
            settle(connection)
        };
        match settled {
            Err(error) if is_full(&error) => {
                if reserve.give_up() {
                    continue;
                }
                let mode: String =
                    connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
                if mode != "wal" {
                    set_journal_mode(connection, "wal")?;
                }
                tracing::warn!(
                    "the disk is full: what is in the WAL stays there until there is room; reads go on"
                );
                // The copy may fit all the same, and pages that were copied need no further space.
                let copied =
                    connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
                return copied.or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) });
            }
            other => return other,
        }
    }
}

/// Makes durable what an earlier process left, before anybody reads it, and ends in WAL mode.
///
/// A process that was killed, or that stopped because a sync had failed, may leave commits in the
/// WAL that no sync made safe. SQLite takes them as committed, and a power loss would take them
/// away again, with revisions that readers have seen. Nor is a copy of a WAL in which a sync failed
/// to be trusted, because Linux reports the failure once. So the whole WAL is written into the
/// database, and removed for good: the journal of the small transaction between the two mode
/// changes brings the sync of the folder with it (SQLite, "PRAGMA synchronous", EXTRA).
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    match set_journal_mode(connection, "delete") {
        // A replication has the file open: the WAL stays, and is synced and copied as far as
        // possible.
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            return connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
        }
        other => other?,
    }
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", version)?;
    set_journal_mode(connection, "wal")
}

/// Sets the journal mode, and fails where SQLite keeps another.
///
/// SQLite reports a mode that it cannot set by returning the current mode, without an error. It
/// returns the new mode before it writes the file, so that a failed write shows only when a second
/// row is asked for: all rows are read.
pub(super) fn set_journal_mode(connection: &Connection, wanted: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("pragma journal_mode = {wanted}"))?;
    let modes: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mode = modes.concat();
    if mode == wanted {
        return Ok(());
    }
    let message = format!(
        "the journal mode is {mode} and {wanted} cannot be had; look at the disk, and start again"
    );
    Err(rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_CANTOPEN),
        Some(message),
    ))
}

/// Rewrites every byte of a file in place, and syncs the file and its folder.
pub(super) fn rewrite(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    let mut file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let count = file.read(&mut piece)?;
        if count == 0 {
            file.sync_all()?;
            // The process that created the file may not have synced the folder, and the file's name
            // would be lost.
            return folder.sync_all();
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&piece[..count])?;
        at += count as u64;
    }
}
