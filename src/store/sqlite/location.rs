//! Where a database lies, and how SQLite is to reach it: for the writer, for those who read beside it, and for who reads a
//! file that nobody may write meanwhile.

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

/// How long to wait for another program that has the file locked for a moment.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(2);

/// The pages that a reader keeps in memory, in KiB.
const READER_CACHE: i32 = -16_000;
/// Through what SQLite reaches a file, and who else may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FileAccess {
    /// The system's file system; other programs may read it meanwhile.
    Shared,
    /// A VFS of this name.
    Vfs(String),
    /// The system's, and nobody writes to it as long as this process has its lock: nothing of it or beside it is
    /// written, and neither it nor its folder need be writable.
    Unwritten,
}

/// Where a database lies.
#[derive(Clone)]
pub(super) struct Location {
    file: PathBuf,
    origin: FileAccess,
    /// What holds its pages to their checksums; none where SQLite has no such VFS.
    vfs: Option<Arc<RegisteredVfs>>,
}

impl Location {
    pub(super) fn new(file: PathBuf, origin: FileAccess) -> Self {
        let vfs = match &origin {
            FileAccess::Shared => RegisteredVfs::system(),
            FileAccess::Unwritten if has_wal(&file) => RegisteredVfs::without_locks(),
            FileAccess::Unwritten => RegisteredVfs::system(),
            FileAccess::Vfs(name) => RegisteredVfs::over(Some(name)),
        };
        Self { file, origin, vfs }
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A connection that writes, and makes the file if there is none.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.open(&self.file, OpenFlags::default())?;
        leave_room(&connection)?;
        Ok(connection)
    }

    /// A connection that copies the file, whoever else has it.
    pub(super) fn copier(&self) -> rusqlite::Result<Connection> {
        let connection = self.open(
            &self.file,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_WAIT)?;
        leave_room(&connection)?;
        let _page = pass_over_counter(&connection);
        Ok(connection)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        let connection = match self.origin {
            FileAccess::Unwritten => self.unwritten()?,
            // Not read-only by flag: a reader must be able to make the WAL index when it comes first after a crash.
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

    /// A connection that leaves no trace. SQLite says of a file that nobody writes that it is `immutable`, and then does
    /// without locks and index; but without the WAL as well. Where there are changes in that, SQLite has the index in
    /// memory of its own: that comes with the exclusive mode, whose locks a VFS without locks does not take.
    fn unwritten(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if !has_wal(&self.file) {
            let connection = self.open(
                Path::new(&immutable(&self.file)),
                flags | OpenFlags::SQLITE_OPEN_URI,
            )?;
            leave_room(&connection)?;
            return Ok(connection);
        }
        let connection = self.open(&self.file, flags)?;
        leave_room(&connection)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        Ok(connection)
    }
}

/// Has SQLite leave room for a checksum in each page of a file that it makes, and of one that it makes anew by VACUUM.
fn leave_room(connection: &Connection) -> rusqlite::Result<()> {
    let mut bytes = i32::try_from(SUM_BYTES).expect("a few bytes");
    connection.file_control(Some(MAIN_DB), FileControl::ReserveBytes(&mut bytes))
}

fn no_vfs() -> rusqlite::Error {
    let said = "SQLite has no way to the files of this system".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(said))
}

/// The URI of a file that nobody writes. A file's name need not be UTF-8, and may have what means something in a URI.
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
