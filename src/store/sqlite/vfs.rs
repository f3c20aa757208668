//! What SQLite opens its files through: its own way to the system, and between the two the checksums of `pages` and
//! `frames`. A page that is not as it was written is an error of the disk (SQLITE_IOERR_DATA), and logged.
//!
//! Databases and WALs are looked at, everything else is opened by the layer below and never seen again. Here are pointers
//! and calling conventions, and nothing else (SQLite, "The OS Interface").
#![allow(unsafe_code, reason = "SQLite's interface is of C")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rusqlite::{Connection, ffi};

use super::frames::Frames;
use super::pages::{self, Fault, Pages};

/// Reading a part of a page: what was not read whole cannot be judged.
const SUBPAGE_READ: c_int = 0x8000;
/// How many places of damage are logged; each once.
const LOGGED_MAX: usize = 1_000;

thread_local! {
    /// The damage that this thread has met and not asked about yet.
    static MET: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The damage that an error of SQLite on this thread was about, in words; each is told once.
pub(super) fn damage_met() -> Option<String> {
    MET.with(RefCell::take)
}

/// A VFS that is known to SQLite until it is dropped.
pub(super) struct RegisteredVfs {
    name: &'static CStr,
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: SQLite takes registrations from any thread; the pointer is only used to take it back.
unsafe impl Send for RegisteredVfs {}
// SAFETY: as above.
unsafe impl Sync for RegisteredVfs {}

impl RegisteredVfs {
    /// Over the VFS of this name; over SQLite's own where none is named.
    pub(super) fn over(base: Option<&str>) -> Option<Arc<Self>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let base = base.map(CString::new).transpose().ok()?;
        // SAFETY: a name that ends with NUL, or none. What is registered stays where it is.
        let below =
            unsafe { ffi::sqlite3_vfs_find(base.as_ref().map_or(ptr::null(), |it| it.as_ptr())) };
        // SAFETY: SQLite gives one that is whole.
        let like = unsafe { below.as_ref()? };
        // SQLite may ask for it as long as a connection is open, so it is as little freed as what bears it.
        let name: &CStr = Box::leak(
            CString::new(format!("bookd-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
                .ok()?
                .into_boxed_c_str(),
        );
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: like
                .szOsFile
                .saturating_add(c_int::try_from(size_of::<Handle>()).ok()?),
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
        // SAFETY: it is never freed, see `drop`, and its name lives as long as it is registered.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        (code == ffi::SQLITE_OK).then(|| Arc::new(Self { name, vfs }))
    }

    /// The one over SQLite's own.
    pub(super) fn system() -> Option<Arc<Self>> {
        static SYSTEM: LazyLock<Option<Arc<RegisteredVfs>>> =
            LazyLock::new(|| RegisteredVfs::over(None));
        SYSTEM.clone()
    }

    /// The one over SQLite's own without locks.
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
        // SAFETY: it was registered. Connections that are still open go by it, so its few bytes are left to them; this
        // happens to disks of proofs alone.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
        }
    }
}

/// An open file, as SQLite allocates it: what it knows first, then what is ours, then the file of the layer below.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    ours: *mut Ours,
}

struct Ours {
    file: PathBuf,
    kind: Kind,
}

enum Kind {
    Database(Pages),
    Wal(Frames),
}

/// The layer below a VFS of ours.
unsafe fn below_vfs(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `over` put it there.
    unsafe { (*vfs).pAppData.cast() }
}

/// The file of the layer below.
fn below(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // Within what SQLite allocated: see `szOsFile`.
    file.cast::<Handle>().wrapping_add(1).cast()
}

unsafe fn ours<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Ours {
    // SAFETY: `open` put it there, and SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<Handle>()).ours }
}

/// Calls a method of the layer below; what it lacks SQLite does not ask for, or takes this answer.
macro_rules! forward {
    ($file:expr, $method:ident, $without:expr $(, $argument:expr)*) => {{
        let file = below($file);
        // SAFETY: the layer below has opened it, and gets what SQLite gave.
        unsafe {
            match (*file).pMethods.as_ref().and_then(|it| it.$method) {
                Some(method) => method(file $(, $argument)*),
                None => $without,
            }
        }
    }};
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a VFS of ours, a name that ends with NUL or none, and room for a `Handle` with a file of the
    // layer below behind it.
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
        let handle = file.cast::<Handle>();
        (*handle).base.pMethods = ptr::null();
        (*below(file)).pMethods = ptr::null();
        let code = opens(base, name, below(file), flags, out_flags);
        let Some(methods) = (*below(file)).pMethods.as_ref() else {
            return code;
        };
        // SQLite closes what has methods, even where it could not be opened.
        let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        (*handle).ours = Box::into_raw(Box::new(Ours { file: path, kind }));
        let has_index = methods.iVersion >= 2 && methods.xShmMap.is_some();
        (*handle).base.pMethods = if has_index {
            &METHODS
        } else {
            &METHODS_WITHOUT_INDEX
        };
        code
    }
}

static METHODS: ffi::sqlite3_io_methods = ALL_METHODS;
static METHODS_WITHOUT_INDEX: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    ..ALL_METHODS
};

/// Without `xFetch`, so that SQLite reads what it looks at.
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
    // SAFETY: `open` made it, and SQLite closes it once.
    drop(unsafe { Box::from_raw((*file.cast::<Handle>()).ours) });
    code
}

/// Fills a buffer from the layer below.
fn read_below(file: *mut ffi::sqlite3_file, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
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

/// The result code of an access; damage is logged where it is met first.
fn code(file: &Path, result: Result<(), Fault>) -> c_int {
    static LOGGED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Default::default);
    let what = match result {
        Ok(()) => return ffi::SQLITE_OK,
        Err(Fault::Code(code)) => return code,
        Err(Fault::Damage(what)) => what,
    };
    let told = format!("{}: {what}", file.display());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() < LOGGED_MAX && logged.insert(told.clone()) {
        pages::log(file, &what);
    }
    drop(logged);
    MET.with(|met| met.replace(Some(told)));
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
    // SAFETY: the buffer has `length` bytes, and they were filled.
    let (ours, read) = unsafe {
        (
            ours(file),
            slice::from_raw_parts_mut(buffer.cast::<u8>(), bytes),
        )
    };
    let mut below = |at: u64, buffer: &mut [u8]| read_below(file, at, buffer);
    let judged = match &mut ours.kind {
        Kind::Database(pages) => pages.after_read(from, read, &mut below),
        Kind::Wal(frames) => frames.after_read(from, read, &mut below),
    };
    code(&ours.file, judged)
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
    // SAFETY: there are `length` bytes.
    let (ours, given) = unsafe { (ours(file), slice::from_raw_parts(bytes.cast::<u8>(), count)) };
    let mut below = |at: u64, buffer: &mut [u8]| read_below(file, at, buffer);
    let sealed = match &mut ours.kind {
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
        Err(fault) => code(&ours.file, Err(fault)),
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let code = forward!(file, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, length);
    // SAFETY: as SQLite promises.
    match unsafe { &mut ours(file).kind } {
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

/// Calls a method of the VFS below.
macro_rules! forward_vfs {
    ($vfs:expr, $method:ident, $without:expr $(, $argument:expr)*) => {
        // SAFETY: it is the VFS that ours was put over, and gets what SQLite gave.
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

/// A file of a connection, as the layer below reads it: without a look at checksums.
pub(super) struct UncheckedFile<'a> {
    file: *mut ffi::sqlite3_file,
    _connection: &'a Connection,
}

impl<'a> UncheckedFile<'a> {
    /// The database of a connection; none when it was not opened through here.
    pub(super) fn database(connection: &'a Connection) -> Option<Self> {
        Self::of(connection, ffi::SQLITE_FCNTL_FILE_POINTER)
    }

    /// Its WAL; none when it has not opened one.
    pub(super) fn wal(connection: &'a Connection) -> Option<Self> {
        Self::of(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)
    }

    fn of(connection: &'a Connection, which: c_int) -> Option<Self> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open, and SQLite writes one pointer, to a file that is as long open as it is.
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

    /// Says which page Litestream's counter is.
    pub(super) fn pass_over(&self, page: u64) {
        // SAFETY: it was opened here, and nobody uses its connection at this moment.
        if let Kind::Database(pages) = unsafe { &mut ours(self.file).kind } {
            pages.counter = Some(page);
        }
    }

    /// How long it is, in bytes.
    pub(super) fn length(&self) -> Result<u64, Fault> {
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

    /// Fills the buffer from this byte on.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        read_below(self.file, at, buffer)
    }
}
