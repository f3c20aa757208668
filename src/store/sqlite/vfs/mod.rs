//! The VFS through which SQLite opens its files: it forwards to the system's VFS and holds each
//! page that is read to the checksums of `pages` and `frames`.
//!
//! A page that is not as it was written is an I/O error of the disk (SQLITE_IOERR_DATA), and is
//! logged. Databases and WALs are checked; the layer below opens every other file, and this layer
//! never sees those again. Here are pointers and calling conventions, and nothing else (SQLite,
//! "The OS Interface").
#![allow(unsafe_code, reason = "SQLite's interface is in C")]

mod file;
mod unchecked_file;

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use rusqlite::ffi;

pub(super) use file::damage_met;
pub(super) use unchecked_file::UncheckedFile;

use file::{OpenFile, open};

/// A VFS of ours, registered with SQLite until it is dropped.
pub(super) struct RegisteredVfs {
    name: &'static CStr,
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: SQLite registers and unregisters from any thread, and the pointer is used for nothing
// else.
unsafe impl Send for RegisteredVfs {}
// SAFETY: as above.
unsafe impl Sync for RegisteredVfs {}

impl RegisteredVfs {
    /// Registers a VFS over the one of this name, or over SQLite's default where `base` is none.
    /// None where SQLite has no such VFS.
    pub(super) fn over(base: Option<&str>) -> Option<Arc<Self>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let base = base.map(CString::new).transpose().ok()?;
        // SAFETY: the name ends with NUL or is null. A registered VFS stays where it is.
        let below =
            unsafe { ffi::sqlite3_vfs_find(base.as_ref().map_or(ptr::null(), |it| it.as_ptr())) };
        // SAFETY: SQLite returns a whole VFS or null.
        let like = unsafe { below.as_ref()? };
        // Never freed, like the VFS that points to it: SQLite may use both as long as a connection
        // is open.
        let name: &CStr = Box::leak(
            CString::new(format!("bookd-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
                .ok()?
                .into_boxed_c_str(),
        );
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: like
                .szOsFile
                .saturating_add(c_int::try_from(size_of::<OpenFile>()).ok()?),
            mxPathname: like.mxPathname,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: below.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_path),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_milliseconds),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: neither the VFS nor its name is ever freed, see `drop`.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        (code == ffi::SQLITE_OK).then(|| Arc::new(Self { name, vfs }))
    }

    /// The VFS over SQLite's default.
    pub(super) fn system() -> Option<Arc<Self>> {
        static SYSTEM: LazyLock<Option<Arc<RegisteredVfs>>> =
            LazyLock::new(|| RegisteredVfs::over(None));
        SYSTEM.clone()
    }

    /// The VFS over SQLite's `unix-none`, which takes no locks.
    pub(super) fn without_locks() -> Option<Arc<Self>> {
        static WITHOUT_LOCKS: LazyLock<Option<Arc<RegisteredVfs>>> =
            LazyLock::new(|| RegisteredVfs::over(Some("unix-none")));
        WITHOUT_LOCKS.clone()
    }

    pub(super) fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }
}

impl Drop for RegisteredVfs {
    fn drop(&mut self) {
        // SAFETY: it was registered. Its few bytes are leaked, because connections that are still
        // open use them; only the disks of tests ever get here.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
        }
    }
}

/// The layer below a VFS of ours.
unsafe fn below_vfs(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `RegisteredVfs::over` put it there.
    unsafe { (*vfs).pAppData.cast() }
}

/// Calls a method of the VFS below.
macro_rules! forward_vfs {
    ($vfs:expr, $method:ident, $without:expr $(, $argument:expr)*) => {
        // SAFETY: this is the VFS below ours, and it gets the arguments that SQLite gave.
        unsafe {
            let base = below_vfs($vfs);
            match (*base).$method {
                Some(method) => method(base $(, $argument)*),
                None => $without,
            }
        }
    };
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    syncs_folder: c_int,
) -> c_int {
    forward_vfs!(vfs, xDelete, ffi::SQLITE_IOERR_DELETE, name, syncs_folder)
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    what: c_int,
    out: *mut c_int,
) -> c_int {
    forward_vfs!(vfs, xAccess, ffi::SQLITE_IOERR_ACCESS, name, what, out)
}

unsafe extern "C" fn full_path(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    forward_vfs!(vfs, xFullPathname, ffi::SQLITE_CANTOPEN, name, length, out)
}

unsafe extern "C" fn randomness(
    vfs: *mut ffi::sqlite3_vfs,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    forward_vfs!(vfs, xRandomness, 0, length, out)
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    forward_vfs!(vfs, xSleep, 0, microseconds)
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    forward_vfs!(vfs, xCurrentTime, ffi::SQLITE_ERROR, out)
}

unsafe extern "C" fn current_milliseconds(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    forward_vfs!(vfs, xCurrentTimeInt64, ffi::SQLITE_ERROR, out)
}

unsafe extern "C" fn last_error(
    vfs: *mut ffi::sqlite3_vfs,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    forward_vfs!(vfs, xGetLastError, 0, length, out)
}
