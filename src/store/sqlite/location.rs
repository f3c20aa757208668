//! The location of a database, and the connections to it: of the writer, of readers, of a copy, and
//! of a read that leaves no trace at a file that nobody may write meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, FileControl, MAIN_DB, OpenFlags, ffi};

use super::file::has_wal;
use super::pages::SUM_BYTES;
use super::sweep::pass_over_counter;
use super::vfs::RegisteredVfs;
use crate::store::StoreError;

/// How long a connection waits for another program that has the file locked for a moment.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(2);

/// `cache_size` of a reader: negative is in KiB.
const READER_CACHE: i32 = -16_000;

/// How SQLite reaches a file, and which other programs may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FileAccess {
    /// The system's file system; other programs may read it meanwhile.
    Shared,
    /// Through the VFS of this name.
    Vfs(String),
    /// The system's file system, and nobody writes to the file as long as this process has its
    /// lock. This process writes neither to the file nor next to it, and neither the file nor its
    /// folder need be writable.
    Unwritten,
}

/// The path of a database, and the way to it.
#[derive(Clone)]
pub(super) struct Location {
    file: PathBuf,
    access: FileAccess,
    /// The VFS that checks the checksums of pages; none where SQLite has no VFS to put it over.
    vfs: Option<Arc<RegisteredVfs>>,
}

impl Location {
    pub(super) fn new(file: PathBuf, access: FileAccess) -> Self {
        let vfs = match &access {
            FileAccess::Shared => RegisteredVfs::system(),
            FileAccess::Unwritten if has_wal(&file) => RegisteredVfs::without_locks(),
            FileAccess::Unwritten => RegisteredVfs::system(),
            FileAccess::Vfs(name) => RegisteredVfs::over(Some(name)),
        };
        Self { file, access, vfs }
    }

    /// The path of the database.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The path of the database, if it is a file of the system.
    pub(super) fn system_file(&self) -> Option<&Path> {
        let is_of_vfs = matches!(self.access, FileAccess::Vfs(_));
        (!is_of_vfs).then_some(&*self.file)
    }

    /// A connection that writes, and creates the file if there is none.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.open(&self.file, OpenFlags::default())?;
        reserve_checksum_bytes(&connection)?;
        Ok(connection)
    }

    /// A connection that copies the file, whichever process has it open.
    pub(super) fn copier(&self) -> rusqlite::Result<Connection> {
        let connection = self.open(
            &self.file,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_WAIT)?;
        reserve_checksum_bytes(&connection)?;
        let _page = pass_over_counter(&connection);
        Ok(connection)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        let connection = match self.access {
            FileAccess::Unwritten => self.unwritten()?,
            // Not opened read-only: the first reader after a crash must be able to create the WAL
            // index.
            FileAccess::Shared | FileAccess::Vfs(_) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = self.open(&self.file, flags)?;
                connection.pragma_update(None, "query_only", true)?;
                connection
            }
        };
        connection.busy_timeout(BUSY_WAIT)?;
        let _page = pass_over_counter(&connection);
        connection.pragma_update(None, "cache_size", READER_CACHE)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    fn open(&self, file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let vfs = self.vfs.as_ref().ok_or_else(no_vfs)?;
        Connection::open_with_flags_and_vfs(file, flags, vfs.name())
    }

    /// A connection that leaves no trace. SQLite reads a file that is declared `immutable` without
    /// locks and WAL index, but without the WAL as well. Where the WAL holds changes, the exclusive
    /// locking mode keeps the index in private memory, and a VFS without locks does not take the
    /// locks of that mode.
    fn unwritten(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if !has_wal(&self.file) {
            let connection = self.open(
                Path::new(&immutable(&self.file)),
                flags | OpenFlags::SQLITE_OPEN_URI,
            )?;
            reserve_checksum_bytes(&connection)?;
            return Ok(connection);
        }
        let connection = self.open(&self.file, flags)?;
        reserve_checksum_bytes(&connection)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        Ok(connection)
    }
}

/// Makes SQLite reserve bytes for a checksum in each page of a file that it creates or rewrites by
/// VACUUM.
fn reserve_checksum_bytes(connection: &Connection) -> rusqlite::Result<()> {
    let mut bytes = i32::try_from(SUM_BYTES).expect("a few bytes");
    connection.file_control(Some(MAIN_DB), FileControl::ReserveBytes(&mut bytes))
}

fn no_vfs() -> rusqlite::Error {
    let message = "SQLite has no way to the files of this system".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(message))
}

/// The URI of an immutable file. The name of a file need not be UTF-8, and may have characters with
/// a meaning in URIs.
fn immutable(file: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_something_in_a_uri_is_still_that_name() {
        assert_eq!(
            immutable(Path::new("/a b/c?d#e%.db")),
            "file:/a%20b/c%3fd%23e%25.db?immutable=1"
        );
    }
}
