//! The open files of the VFS: SQLite's I/O methods, each forwarded to the file of the layer below,
//! with the checks of `pages` after a read and before a write of a database, and those of `frames`
//! on a WAL.
//!
//! SQLite uses a file from one thread at a time (SQLite, "The OS Interface").

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;
use std::sync::{LazyLock, Mutex, PoisonError};

use rusqlite::ffi;

use super::below_vfs;
use crate::store::sqlite::frames::Frames;
use crate::store::sqlite::pages::{self, Fault, Pages};

/// The device characteristic of reads of parts of pages (SQLITE_IOCAP_SUBPAGE_READ): only whole
/// pages can be checked.
const SUBPAGE_READ: c_int = 0x8000;
/// How many places of damage are logged, each once.
const LOGGED_MAX: usize = 1_000;

thread_local! {
    /// The last damage that this thread met and nobody has taken yet.
    static DAMAGE_MET: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the description of the damage behind an error of SQLite on this thread; each is returned
/// once.
pub(crate) fn damage_met() -> Option<String> {
    DAMAGE_MET.with(RefCell::take)
}

/// The head of an open file as SQLite allocates it: SQLite's own fields, then ours; the file of the
/// layer below follows.
#[repr(C)]
pub(super) struct OpenFile {
    base: ffi::sqlite3_file,
    checked: *mut CheckedFile,
}

/// A file of which every access is checked.
pub(super) struct CheckedFile {
    path: PathBuf,
    pub(super) kind: Kind,
}

/// The kind of a checked file, with the state of its checks.
pub(super) enum Kind {
    Database(Pages),
    Wal(Frames),
}

/// The file of the layer below.
pub(super) fn below(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // Within the bytes that SQLite allocated, `szOsFile`.
    file.cast::<OpenFile>().wrapping_add(1).cast()
}

/// Our state of an open file.
pub(super) unsafe fn checked<'a>(file: *mut ffi::sqlite3_file) -> &'a mut CheckedFile {
    // SAFETY: `open` put it there, and SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<OpenFile>()).checked }
}

/// Calls a method of the layer below. `$without` is the result where it has no such method.
macro_rules! forward {
    ($file:expr, $method:ident, $without:expr $(, $argument:expr)*) => {{
        let file = below($file);
        // SAFETY: the layer below opened the file, and gets the arguments that SQLite gave.
        unsafe {
            match (*file).pMethods.as_ref().and_then(|it| it.$method) {
                Some(method) => method(file $(, $argument)*),
                None => $without,
            }
        }
    }};
}
pub(super) use forward;

pub(super) unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a VFS of ours, a name that ends with NUL or is null, and space for an
    // `OpenFile` followed by a file of the layer below.
    unsafe {
        let base = below_vfs(vfs);
        let Some(opens) = (*base).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let kind = match flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL) {
            ffi::SQLITE_OPEN_MAIN_DB => Kind::Database(Pages::new()),
            ffi::SQLITE_OPEN_WAL => Kind::Wal(Frames::new()),
            _ => return opens(base, name, file, flags, out_flags),
        };
        if name.is_null() {
            return opens(base, name, file, flags, out_flags);
        }
        let handle = file.cast::<OpenFile>();
        (*handle).base.pMethods = ptr::null();
        (*below(file)).pMethods = ptr::null();
        let code = opens(base, name, below(file), flags, out_flags);
        let Some(methods) = (*below(file)).pMethods.as_ref() else {
            return code;
        };
        // SQLite closes every file that has methods, even one that could not be opened.
        let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        (*handle).checked = Box::into_raw(Box::new(CheckedFile { path, kind }));
        let has_index = methods.iVersion >= 2 && methods.xShmMap.is_some();
        (*handle).base.pMethods = if has_index {
            &METHODS
        } else {
            &METHODS_WITHOUT_INDEX
        };
        code
    }
}

pub(super) static METHODS: ffi::sqlite3_io_methods = ALL_METHODS;
pub(super) static METHODS_WITHOUT_INDEX: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    ..ALL_METHODS
};

/// Without `xFetch`, so that SQLite calls `xRead` for every page and maps none into memory.
const ALL_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = forward!(file, xClose, ffi::SQLITE_OK);
    // SAFETY: `open` allocated it, and SQLite closes a file once.
    drop(unsafe { Box::from_raw((*file.cast::<OpenFile>()).checked) });
    code
}

/// Fills a buffer from the layer below.
pub(super) fn read_below(
    file: *mut ffi::sqlite3_file,
    at: u64,
    buffer: &mut [u8],
) -> Result<(), Fault> {
    let too_far = Fault::Code(ffi::SQLITE_IOERR_READ);
    let (Ok(length), Ok(at)) = (c_int::try_from(buffer.len()), i64::try_from(at)) else {
        return Err(too_far);
    };
    match forward!(
        file,
        xRead,
        ffi::SQLITE_IOERR_READ,
        buffer.as_mut_ptr().cast(),
        length,
        at
    ) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Fault::Code(code)),
    }
}

/// The result code of an access. Damage is logged when it is met first.
fn code(path: &Path, result: Result<(), Fault>) -> c_int {
    static LOGGED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Default::default);
    let damage = match result {
        Ok(()) => return ffi::SQLITE_OK,
        Err(Fault::Code(code)) => return code,
        Err(Fault::Damage(damage)) => damage,
    };
    let description = format!("{}: {damage}", path.display());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() < LOGGED_MAX && logged.insert(description.clone()) {
        pages::log(path, &damage);
    }
    drop(logged);
    DAMAGE_MET.with(|met| met.replace(Some(description)));
    ffi::SQLITE_IOERR_DATA
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    length: c_int,
    at: i64,
) -> c_int {
    let (Ok(bytes), Ok(from)) = (usize::try_from(length), u64::try_from(at)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    let read = forward!(file, xRead, ffi::SQLITE_IOERR_READ, buffer, length, at);
    if read != ffi::SQLITE_OK {
        return read;
    }
    // SAFETY: the buffer has `length` bytes, and the layer below filled them.
    let (checked, read) = unsafe {
        (
            checked(file),
            slice::from_raw_parts_mut(buffer.cast::<u8>(), bytes),
        )
    };
    let mut below = |at: u64, buffer: &mut [u8]| read_below(file, at, buffer);
    let result = match &mut checked.kind {
        Kind::Database(pages) => pages.after_read(from, read, &mut below),
        Kind::Wal(frames) => frames.after_read(from, read, &mut below),
    };
    code(&checked.path, result)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    let (Ok(count), Ok(to)) = (usize::try_from(length), u64::try_from(at)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite gives `length` bytes.
    let (checked, given) = unsafe {
        (
            checked(file),
            slice::from_raw_parts(bytes.cast::<u8>(), count),
        )
    };
    let mut below = |at: u64, buffer: &mut [u8]| read_below(file, at, buffer);
    let sealed = match &mut checked.kind {
        Kind::Database(pages) => pages.before_write(to, given, &mut below),
        Kind::Wal(frames) => {
            frames.before_write(to, count);
            Ok(given)
        }
    };
    match sealed {
        Ok(sealed) => forward!(
            file,
            xWrite,
            ffi::SQLITE_IOERR_WRITE,
            sealed.as_ptr().cast(),
            length,
            at
        ),
        Err(fault) => code(&checked.path, Err(fault)),
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let code = forward!(file, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, length);
    // SAFETY: SQLite uses a file from one thread at a time.
    match unsafe { &mut checked(file).kind } {
        Kind::Database(pages) => pages.truncated(length.unsigned_abs()),
        Kind::Wal(frames) => frames.truncated(),
    }
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    forward!(file, xSync, ffi::SQLITE_IOERR_FSYNC, flags)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    forward!(file, xFileSize, ffi::SQLITE_IOERR_FSTAT, out)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    forward!(file, xLock, ffi::SQLITE_IOERR_LOCK, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    forward!(file, xUnlock, ffi::SQLITE_IOERR_UNLOCK, level)
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    forward!(
        file,
        xCheckReservedLock,
        ffi::SQLITE_IOERR_CHECKRESERVEDLOCK,
        out
    )
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    what: c_int,
    argument: *mut c_void,
) -> c_int {
    forward!(file, xFileControl, ffi::SQLITE_NOTFOUND, what, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    forward!(file, xSectorSize, 0)
}

unsafe extern "C" fn characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    forward!(file, xDeviceCharacteristics, 0) & !SUBPAGE_READ
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    number: c_int,
    size: c_int,
    makes: c_int,
    out: *mut *mut c_void,
) -> c_int {
    forward!(
        file,
        xShmMap,
        ffi::SQLITE_IOERR_SHMMAP,
        number,
        size,
        makes,
        out
    )
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    forward!(
        file,
        xShmLock,
        ffi::SQLITE_IOERR_SHMLOCK,
        first,
        count,
        flags
    )
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    forward!(file, xShmBarrier, ());
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, deletes: c_int) -> c_int {
    forward!(file, xShmUnmap, ffi::SQLITE_OK, deletes)
}
