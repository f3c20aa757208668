//! The WAL that an earlier process left: made durable before anybody reads the database, and then
//! removed.
//!
//! No revision that a reader has seen is lost with the power: what is in the WAL is written and
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

/// Makes the WAL what it shows, on the disk as well.
///
/// Linux keeps in memory what a failed sync should have written, takes it for written, and never
/// writes it again: what is read of such a WAL is not what a power loss leaves of it. Copied into
/// the database as it is, and cut in the middle, half of the last commit would be in the file and
/// none of it in the WAL. Written again it is synced again. Meanwhile nobody else, a replication
/// either, may write to the WAL or begin it anew: both need the lock that is held here.
pub(super) fn renew_wal(
    connection: &Connection,
    rewrite: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<(), String> {
    let said = |error: rusqlite::Error| error.to_string();
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(said)?;
    let Some(file) = connection.path().filter(|_| mode == "wal") else {
        return Ok(());
    };
    let wal = beside(Path::new(file), "-wal");
    connection.execute_batch("begin immediate").map_err(said)?;
    let renewed = rewrite(&wal).map_err(|error| format!("its WAL {}: {error}", wal.display()));
    connection.execute_batch("rollback").map_err(said)?;
    renewed
}

/// Settles, where there is room for that, with the room of the reserve if need be.
///
/// Where there is none, the WAL stays what it is and is gone on with. That it was written anew and
/// synced just before is as good for what is in it; what is not copied out of it now is copied
/// later, from its beginning.
pub(super) fn settle_with_room(
    connection: &Connection,
    reserve: &mut Reserve,
) -> rusqlite::Result<()> {
    let is_full = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
    loop {
        // Half of it is not begun: it leaves a WAL, and comes back to one only by writing.
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
                // It may fit all the same, and what was copied of it need not be given room again.
                let copied =
                    connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
                return copied.or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) });
            }
            other => return other,
        }
    }
}

/// Makes durable what a process before this one has left, before anybody is shown it, and ends in
/// WAL mode.
///
/// A process that was killed, or that stopped because a sync had failed, may leave commits in the
/// WAL that no sync has made safe: SQLite takes them for good, and a power loss would take them
/// away again, with revisions that were shown. A WAL in which a sync has failed cannot even be
/// trusted by copying what is in it: Linux tells of the failure once. So all of it is written into
/// the database itself, and the WAL is removed, for good: the journal of the small transaction
/// between brings the sync of the folder with it (SQLite, "PRAGMA synchronous", EXTRA).
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    match set_journal_mode(connection, "delete") {
        // Replication has the file open beside: the WAL stays, and is synced and copied as far as
        // can be.
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

/// Sets the journal mode, and sees to it that it is so: where it cannot be had SQLite says which
/// one it is and no error; and it says so before it writes the file, so that a failure then is told
/// only to who asks for a second row.
pub(super) fn set_journal_mode(connection: &Connection, wanted: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("pragma journal_mode = {wanted}"))?;
    let modes: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mode = modes.concat();
    if mode == wanted {
        return Ok(());
    }
    let said = format!(
        "the journal mode is {mode} and {wanted} cannot be had; look at the disk, and start again"
    );
    Err(rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_CANTOPEN),
        Some(said),
    ))
}

/// Writes all that is read of a file to where it was read, and syncs it.
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
            // Whoever made it may have come to no sync, and its name would be lost.
            return folder.sync_all();
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&piece[..count])?;
        at += count as u64;
    }
}
