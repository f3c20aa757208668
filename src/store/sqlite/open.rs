//! Opening a database: locked, looked at before SQLite touches it, migrated, and set to be durable.
//!
//! What is not a bookd database of this version or an older one is left exactly as it was.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, ffi};

use super::Sqlite;
use super::checkpoint::Checkpoints;
use super::file::{Locked, beside, length};
use super::location::{BUSY_WAIT, FileAccess, Location};
use super::pages::{Format, PAGE_BYTES};
use super::reserve::{FileSystem, Reserve, Room};
use super::schema::{APPLICATION_ID, SCHEMA_VERSION, UNSUMMED_SCHEMA_VERSION};
use super::segments::SEGMENT_BYTES_MAX;
use super::upgrade::bring_along;
use super::vfs::damage_met;
use super::{recovery, sweep};
use crate::descriptors;
use crate::failpoints::Failpoint;
use crate::store::{OpenError, ZoneLookup};

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    refinery::embed_migrations!("src/store/migrations");
}

const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// What a WAL that begins anew keeps of its length: what it has when nobody reads for long.
const WAL_KEPT_BYTES: i64 = 64 * 1_024 * 1_024;

/// What is counted in pages and bytes.
#[derive(Clone, Copy)]
struct Sizes {
    /// Pages in the WAL at which it is copied into the database: small copies cost a fifth of the throughput.
    checkpoint_pages: u32,
    /// See `SEGMENT_BYTES_MAX`.
    segment_bytes_max: usize,
}

const SIZES: Sizes = Sizes {
    checkpoint_pages: 8_000,
    segment_bytes_max: SEGMENT_BYTES_MAX,
};
/// On disks that are there to fail: what is tried is small, and copies and large changes must be among it.
const SIZES_SMALL: Sizes = Sizes {
    checkpoint_pages: 100,
    segment_bytes_max: 512,
};

/// The room without which a file is not opened as usual, in bytes: for a header, its journal, and the index of a WAL.
const LEAST_BYTES: u64 = 1_024 * 1_024;
/// What of the WAL is read and written at a time, when it is written anew.
const PIECE_BYTES: usize = 1 << 20;

/// A disk of its own that SQLite reaches by a VFS, for one process, whose files are no others: there is nothing to be
/// locked, and nothing foreign to be met. This is how the store is tried on disks that fail.
pub trait Drive {
    /// The name of its VFS.
    fn vfs(&self) -> &str;
    /// Where the database lies on it.
    fn file(&self) -> &Path;
    /// How many bytes a file has; none of one that is not there.
    fn length(&self, file: &Path) -> io::Result<u64>;
    /// Fills the buffer from this byte of a file on.
    fn read(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all that is read of this file to where it was read, and syncs it.
    fn rewrite(&self, file: &Path) -> io::Result<()>;
    /// The room on it.
    fn room(&self) -> Box<dyn Room>;
}

impl Sqlite {
    /// Opens the database in this file, and makes it if there is none. `code_key` is the secret of a new one.
    pub fn open(file: &Path, zones: ZoneLookup, code_key: u64) -> Result<Self, OpenError> {
        Self::open_locked(file, Locked::to_write(file)?, zones, code_key)
    }

    /// The same of a database that must be there.
    pub fn open_existing(file: &Path, zones: ZoneLookup) -> Result<Self, OpenError> {
        let locked = Locked::to_write(file)?;
        match look_at(file, locked.file(), &locked.path)? {
            Content::Nothing => Err(empty(file)),
            Content::Database => Self::open_locked(file, locked, zones, 0),
        }
    }

    fn open_locked(
        file: &Path,
        locked: Locked,
        zones: ZoneLookup,
        code_key: u64,
    ) -> Result<Self, OpenError> {
        look_at(file, locked.file(), &locked.path)?;
        look_at_wal(file, &locked)?;
        let location = Location::new(locked.path.clone(), FileAccess::Shared);
        let mut connection = location
            .writer()
            .map_err(|error| refused(file, error.to_string()))?;
        let sizes = if Failpoint::Checkpoint.is_armed() {
            SIZES_SMALL
        } else {
            SIZES
        };
        let mut reserve = Reserve::new(Box::new(FileSystem::of(&locked.path)));
        let prepared = prepare(&mut connection, code_key, sizes, &rewrite, &mut reserve);
        let checkpoints = prepared.map_err(|why| refused(file, why))?;
        let watched = locked
            .watch()
            .map_err(|error| unreadable(file, error.to_string()))?;
        let (watched, locked) = (Some(watched), Some(Arc::new(locked)));
        let (segment_bytes_max, known) = (sizes.segment_bytes_max, Default::default());
        Ok(Self {
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

    /// The same on a disk of its own.
    pub fn open_on(drive: &dyn Drive, zones: ZoneLookup, code_key: u64) -> Result<Self, OpenError> {
        let file = drive.file();
        let content = wal_of_drive(drive).map_err(|error| unreadable(file, error.to_string()))?;
        unless_damaged(file, file, &content)?;
        let location = Location::new(file.to_owned(), FileAccess::Vfs(drive.vfs().to_owned()));
        let mut connection = location
            .writer()
            .map_err(|error| refused(file, error.to_string()))?;
        let rewrite = |file: &Path| drive.rewrite(file);
        let mut reserve = Reserve::new(drive.room());
        let prepared = prepare(
            &mut connection,
            code_key,
            SIZES_SMALL,
            &rewrite,
            &mut reserve,
        );
        let checkpoints = prepared.map_err(|why| refused(file, why))?;
        let (segment_bytes_max, known) = (SIZES_SMALL.segment_bytes_max, Default::default());
        let (watched, locked) = (None, None);
        Ok(Self {
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
}

/// Why SQLite could not open a file. It does not tell want of descriptors from want of permissions.
pub(super) fn unreadable(file: &Path, why: String) -> OpenError {
    let why = if descriptors::ran_out() {
        descriptors::RAN_OUT.to_owned()
    } else {
        why
    };
    OpenError::Unreadable {
        file: file.to_owned(),
        why,
    }
}

/// Why a file was not opened: SQLite's words, unless they are about damage that was met.
pub(super) fn refused(file: &Path, why: String) -> OpenError {
    match damage_met() {
        Some(what) => OpenError::Damaged {
            file: file.to_owned(),
            what,
        },
        None => unreadable(file, why),
    }
}

/// Refuses a file whose WAL holds acknowledged changes that SQLite would not recover.
pub(super) fn look_at_wal(file: &Path, locked: &Locked) -> Result<(), OpenError> {
    let content = recovery::look_at_files(&locked.path, locked.file());
    let content = content.map_err(|error| unreadable(file, format!("its WAL: {error}")))?;
    unless_damaged(file, &locked.path, &content)
}

/// What the WAL of a file holds that may be written meanwhile.
pub(super) fn wal_content(file: &Path, opened: &File) -> Result<recovery::WalContent, OpenError> {
    let content = file
        .canonicalize()
        .and_then(|path| recovery::look_at_files(&path, opened));
    content.map_err(|error| unreadable(file, format!("its WAL: {error}")))
}

fn wal_of_drive(drive: &dyn Drive) -> io::Result<recovery::WalContent> {
    let file = drive.file();
    let wal = beside(file, "-wal");
    let bytes = |file: PathBuf| -> io::Result<recovery::Bytes<'_>> {
        let length = drive.length(&file)?;
        Ok(recovery::Bytes {
            length,
            read: Box::new(move |at, buffer| drive.read(&file, at, buffer)),
        })
    };
    recovery::look(&mut bytes(wal)?, &[], &mut bytes(file.to_owned())?)
}

fn unless_damaged(
    file: &Path,
    path: &Path,
    content: &recovery::WalContent,
) -> Result<(), OpenError> {
    match content.refusal(&beside(path, "-wal"), &beside(path, "-shm")) {
        Some(what) => Err(OpenError::Damaged {
            file: file.to_owned(),
            what,
        }),
        None => Ok(()),
    }
}

/// What is said of a file in which nothing is, where there must be a database.
pub(super) fn empty(file: &Path) -> OpenError {
    OpenError::Foreign {
        file: file.to_owned(),
        why: "it is empty".to_owned(),
    }
}

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Nothing yet: it was just made, or whoever made it was cut short.
    Nothing,
    /// A bookd database of this version or an older one, by its header.
    Database,
}

/// Reads the header of a file before SQLite would recover or change anything. `path` is where it lies, `file` what it is
/// called.
pub(super) fn look_at(file: &Path, mut opened: &File, path: &Path) -> Result<Content, OpenError> {
    let foreign = |why: &str| OpenError::Foreign {
        file: file.to_owned(),
        why: why.to_owned(),
    };
    let unreadable = |error: io::Error| OpenError::Unreadable {
        file: file.to_owned(),
        why: error.to_string(),
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    opened.rewind().map_err(unreadable)?;
    opened
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    // A machine that lost power while the file was made: its journal takes back what was written.
    let is_torn = header.iter().all(|byte| *byte == 0) && beside(path, "-journal").exists();
    if header.is_empty() || is_torn {
        return Ok(Content::Nothing);
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(foreign("it is not an SQLite database"));
    }
    let number = |at: usize| {
        i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if number(68) != APPLICATION_ID {
        return Err(foreign("its application_id is another program's"));
    }
    let found = number(60);
    if found > SCHEMA_VERSION {
        return Err(newer(file, found));
    }
    Ok(Content::Database)
}

/// What is said of a file of a schema above this one's.
pub(super) fn newer(file: &Path, found: i32) -> OpenError {
    OpenError::Newer {
        file: file.to_owned(),
        found: i64::from(found),
        known: i64::from(SCHEMA_VERSION),
    }
}

/// Writes all that is read of a file to where it was read, and syncs it.
fn rewrite(file: &Path) -> io::Result<()> {
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

/// Prepares a database to be written; where there is no room for that, the reserve is given up for it.
fn prepare(
    connection: &mut Connection,
    code_key: u64,
    sizes: Sizes,
    rewrite: &dyn Fn(&Path) -> io::Result<()>,
    reserve: &mut Reserve,
) -> Result<Checkpoints, String> {
    let prepared = prepare_once(connection, code_key, sizes, rewrite, reserve);
    let is_short = prepared.is_err() && reserve.lacks(LEAST_BYTES);
    if !is_short {
        return prepared;
    }
    let prepared = if reserve.give_up() {
        prepare_once(connection, code_key, sizes, rewrite, reserve)
    } else {
        prepared
    };
    prepared.map_err(|why| format!("{why}; the disk is full: free some room, and start again"))
}

fn prepare_once(
    connection: &mut Connection,
    code_key: u64,
    sizes: Sizes,
    rewrite: &dyn Fn(&Path) -> io::Result<()>,
    reserve: &mut Reserve,
) -> Result<Checkpoints, String> {
    let said = |error: rusqlite::Error| error.to_string();
    connection.busy_timeout(BUSY_WAIT).map_err(said)?;
    // Until there is a WAL, what is committed is safe only when the removal of its journal is.
    connection
        .pragma_update(None, "synchronous", "extra")
        .map_err(said)?;
    // Asked of SQLite and not of the file: what a process that died has begun is undone only now.
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(said)?;
    if id == 0 {
        connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(said)?;
    }
    renew_wal(connection, rewrite)?;
    settle_with_room(connection, reserve).map_err(said)?;
    connection
        .pragma_update(None, "synchronous", "full")
        .map_err(said)?;
    // 8 MB of pages: SQLite goes over all that it keeps at most commits that split a page, and the system's own cache has
    // the others.
    connection
        .pragma_update(None, "cache_size", -8_000)
        .map_err(said)?;
    // What a long read made of the WAL is given back when it begins anew.
    connection
        .pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)
        .map_err(said)?;
    let mut checkpoints = Checkpoints::of(connection, sizes.checkpoint_pages).map_err(said)?;
    if reserve.is_short() {
        checkpoints.keep_short();
    }
    // What is removed is overwritten where that costs no further write; VACUUM does the rest.
    connection
        .pragma_update(None, "secure_delete", "fast")
        .map_err(said)?;
    connection.set_prepared_statement_cache_capacity(64);
    Failpoint::Migration.reached();
    // As one transaction: alone, a migration and the note that it was applied are two, and a process may die between.
    embedded::migrations::runner()
        .set_grouped(true)
        .run(connection)
        .map_err(|error| error.to_string())?;
    Failpoint::Migration.reached();
    let _page = sweep::pass_over_counter(connection);
    bring_along(connection, sizes.segment_bytes_max).map_err(|error| error.to_string())?;
    Failpoint::Migration.reached();
    let code_key = code_key.cast_signed();
    connection
        .execute(
            "insert or ignore into meta (name, value) values ('code_key', ?1)",
            [code_key],
        )
        .map_err(said)?;
    Failpoint::Migration.reached();
    let is_summed = give_sums(connection, reserve).map_err(said)?;
    Failpoint::Migration.reached();
    let wanted = if is_summed {
        SCHEMA_VERSION
    } else {
        UNSUMMED_SCHEMA_VERSION
    };
    let schema: i32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(said)?;
    // What is so already need not be written: there may be no room for it.
    if schema != wanted {
        connection
            .pragma_update(None, "user_version", wanted)
            .map_err(said)?;
    }
    Failpoint::Migration.reached();
    Ok(checkpoints)
}

/// Sees to it that the pages of the file have checksums: SQLite writes a file of before schema 6 anew, with room for them.
/// False where it cannot, for now.
fn give_sums(connection: &Connection, reserve: &Reserve) -> rusqlite::Result<bool> {
    if sweep::format(connection) == Format::Summed {
        return Ok(true);
    }
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (page_bytes, bytes) = (
        number("page_size")?,
        number("page_count")?.saturating_mul(number("page_size")?),
    );
    if page_bytes != PAGE_BYTES as i64 {
        tracing::warn!(
            page_bytes,
            "pages carry no checksums: only pages of {PAGE_BYTES} bytes can"
        );
        return Ok(false);
    }
    let for_later = |why: &dyn Display| {
        tracing::warn!(
            %why, bytes,
            "pages carry no checksums, so that damage in them may go unnoticed; free as much room as the database \
             takes, beside it and in the folder for temporary files, and start again"
        );
    };
    // All of it goes through the WAL. Filled in vain the disk would be of no use to anybody.
    if reserve.lacks(bytes.unsigned_abs().saturating_add(LEAST_BYTES)) {
        for_later(&"there is no room for it");
        return Ok(false);
    }
    tracing::info!(
        bytes,
        "giving every page a checksum, which may take minutes"
    );
    match connection.execute_batch("vacuum") {
        Ok(()) => {}
        Err(error) if is_for_later(&error) => {
            for_later(&error);
            // What it took of the disk is given back, as far as that can be.
            let _given_back =
                connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    // It has another place now.
    let _page = sweep::pass_over_counter(connection);
    // Copied now, so that the file itself has them.
    connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))?;
    tracing::info!(bytes, "every page has a checksum");
    Ok(true)
}

/// Whether it may go well at another start.
fn is_for_later(error: &rusqlite::Error) -> bool {
    let busy = [
        ErrorCode::DiskFull,
        ErrorCode::DatabaseBusy,
        ErrorCode::DatabaseLocked,
    ];
    error
        .sqlite_error_code()
        .is_some_and(|it| busy.contains(&it))
}

/// Makes the WAL what it shows, on the disk as well.
///
/// Linux keeps in memory what a failed sync should have written, takes it for written, and never writes it again: what
/// is read of such a WAL is not what a power loss leaves of it. Copied into the database as it is, and cut in the middle,
/// half of the last commit would be in the file and none of it in the WAL. Written again it is synced again. Meanwhile
/// nobody else, a replication either, may write to the WAL or begin it anew: both need the lock that is held here.
fn renew_wal(
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
/// Where there is none, the WAL stays what it is and is gone on with. That it was written anew and synced just before is
/// as good for what is in it; what is not copied out of it now is copied later, from its beginning.
fn settle_with_room(connection: &Connection, reserve: &mut Reserve) -> rusqlite::Result<()> {
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

/// Makes durable what a process before this one has left, before anybody is shown it, and ends in WAL mode.
///
/// A process that was killed, or that stopped because a sync had failed, may leave commits in the WAL that no sync has
/// made safe: SQLite takes them for good, and a power loss would take them away again, with revisions that were shown.
/// A WAL in which a sync has failed cannot even be trusted by copying what is in it: Linux tells of the failure once.
/// So all of it is written into the database itself, and the WAL is removed, for good: the journal of the small
/// transaction between brings the sync of the folder with it (SQLite, "PRAGMA synchronous", EXTRA).
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    match set_journal_mode(connection, "delete") {
        // Replication has the file open beside: the WAL stays, and is synced and copied as far as can be.
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

/// Sets the journal mode, and sees to it that it is so: where it cannot be had SQLite says which one it is and no error;
/// and it says so before it writes the file, so that a failure then is told only to who asks for a second row.
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
