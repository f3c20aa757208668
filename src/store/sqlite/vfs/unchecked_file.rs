//! Reads of an open file as the layer below has them, without a look at checksums: for the sweep
//! over all pages.

use std::ffi::c_int;
use std::ptr;

use rusqlite::{Connection, ffi};

use super::file::{Kind, METHODS, METHODS_WITHOUT_INDEX, below, checked, forward, read_below};
use crate::store::sqlite::pages::Fault;

/// An open file of a connection.
pub(crate) struct UncheckedFile<'a> {
    file: *mut ffi::sqlite3_file,
    _connection: &'a Connection,
}

impl<'a> UncheckedFile<'a> {
    /// The database of a connection; none when it was not opened through this VFS.
    pub(crate) fn database(connection: &'a Connection) -> Option<Self> {
        Self::of(connection, ffi::SQLITE_FCNTL_FILE_POINTER)
    }

    /// The WAL of a connection; none when it has not opened one.
    pub(crate) fn wal(connection: &'a Connection) -> Option<Self> {
        Self::of(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)
    }

    fn of(connection: &'a Connection, which: c_int) -> Option<Self> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open, and SQLite writes one pointer: to a file that is open as
        // long as the connection is.
        let is_ours = unsafe {
            let out = (&raw mut file).cast();
            let code = ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), which, out);
            let methods = file.as_ref().map_or(ptr::null(), |it| it.pMethods);
            code == ffi::SQLITE_OK
                && [&raw const METHODS, &raw const METHODS_WITHOUT_INDEX].contains(&methods)
        };
        is_ours.then_some(Self {
            file,
            _connection: connection,
        })
    }

    /// Sets the page of Litestream's counter, which has no valid checksum.
    pub(crate) fn pass_over(&self, page: u64) {
        // SAFETY: this VFS opened the file, and the connection, which is borrowed, does not use it
        // meanwhile.
        if let Kind::Database(pages) = unsafe { &mut checked(self.file).kind } {
            pages.counter = Some(page);
        }
    }

    /// The length of the file, in bytes.
    pub(crate) fn length(&self) -> Result<u64, Fault> {
        let mut length = 0;
        match forward!(
            self.file,
            xFileSize,
            ffi::SQLITE_IOERR_FSTAT,
            &raw mut length
        ) {
            ffi::SQLITE_OK => Ok(length.unsigned_abs()),
            code => Err(Fault::Code(code)),
        }
    }

    /// Fills the buffer from byte `at` on.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        read_below(self.file, at, buffer)
    }
}
