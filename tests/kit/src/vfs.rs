//! The disk as SQLite sees it: a VFS of its own (SQLite, "The OS Interface"), with the WAL index in
//! memory.
//!
//! `disk` has all behaviour of a disk; this file has pointers and calling conventions, and nothing
//! else.
#![allow(unsafe_code, reason = "SQLite's interface is of C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::ffi;

use super::disk::{Code, State, lock};
use super::locks::Region;

// SAFETY: SQLite's own locks say who may touch it when; what points there is only ever its address.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A VFS that is registered with SQLite until it is dropped.
pub struct Registered {
    name: CString,
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: SQLite takes registrations from any thread; the pointer is only used to take it back.
unsafe impl Send for Registered {}

/// An open file, as SQLite allocates it: the part that SQLite knows, then a pointer to ours.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    ours: *mut Ours,
}

struct Ours {
    state: Arc<Mutex<State>>,
    name: String,
    number: u64,
    deletes: bool,
    /// The mapped regions of the WAL index, kept while SQLite may read them.
    regions: Vec<Arc<Region>>,
}

const PATH_MAX: c_int = 512;

impl Registered {
    pub fn new(state: Arc<Mutex<State>>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = CString::new(format!("disk-{}", COUNT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<Handle>()).unwrap(),
            mxPathname: PATH_MAX,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: Arc::into_raw(state).cast_mut().cast(),
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
        // SAFETY: it lives until `drop` takes it back.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes a VFS of a new name");
        Self { name, vfs }
    }

    pub fn name(&self) -> &str {
        self.name.to_str().unwrap()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it was made by `new`. Connections that are still open go on with the files that
        // they have, and each of these has its own share of the state; the little that names the
        // VFS is left to them.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
        }
    }
}

fn code(result: Result<(), Code>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// The disk behind a VFS.
unsafe fn state_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Mutex<State> {
    // SAFETY: `new` put it there, and nobody takes it away.
    unsafe { &*(*vfs).pAppData.cast::<Mutex<State>>() }
}

unsafe fn text(name: *const c_char) -> String {
    // SAFETY: SQLite gives names that end with NUL.
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

unsafe fn ours<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Ours {
    // SAFETY: `open` put it there, and SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<Handle>()).ours }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a VFS of ours and room for a `Handle`.
    unsafe {
        let handle = file.cast::<Handle>();
        (*handle).base.pMethods = ptr::null();
        let shared = (*vfs).pAppData.cast::<Mutex<State>>();
        Arc::increment_strong_count(shared);
        let state = Arc::from_raw(shared.cast_const());
        let mut locked = lock(&state);
        let number = locked.handle();
        let name = if name.is_null() {
            format!("/temporary-{number}")
        } else {
            text(name)
        };
        let opened = locked.open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0);
        drop(locked);
        if let Err(code) = opened {
            return code;
        }
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        let deletes = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
        (*handle).ours = Box::into_raw(Box::new(Ours {
            state,
            name,
            number,
            deletes,
            regions: Vec::new(),
        }));
        (*handle).base.pMethods = &METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    syncs_folder: c_int,
) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe { code(lock(state_of(vfs)).delete(&text(name), syncs_folder != 0)) }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe { *out = c_int::from(lock(state_of(vfs)).exists(&text(name))) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `out` has room for `length` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > usize::try_from(length).unwrap() {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(
    vfs: *mut ffi::sqlite3_vfs,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `out` has room for `length` bytes.
    unsafe {
        let mut state = lock(state_of(vfs));
        for at in 0..usize::try_from(length).unwrap() {
            out.add(at).write(state.random() as c_char);
        }
    }
    length
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as SQLite promises. Julian days; nothing here asks what day it is.
    unsafe { *out = 2_460_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_milliseconds(_: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe { *out = 2_460_000 * 86_400_000 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(take_lock),
    xUnlock: Some(give_lock),
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
    // SAFETY: `open` made it, and SQLite closes it once.
    let ours = unsafe { Box::from_raw((*file.cast::<Handle>()).ours) };
    lock(&ours.state).close(&ours.name, ours.number, ours.deletes);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    length: c_int,
    at: i64,
) -> c_int {
    // SAFETY: the buffer has room for `length` bytes.
    unsafe {
        let buffer =
            slice::from_raw_parts_mut(buffer.cast::<u8>(), usize::try_from(length).unwrap());
        let ours = ours(file);
        code(lock(&ours.state).read(&ours.name, buffer, usize::try_from(at).unwrap()))
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    // SAFETY: there are `length` bytes.
    unsafe {
        let bytes = slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(length).unwrap());
        let ours = ours(file);
        code(lock(&ours.state).write(&ours.name, bytes, usize::try_from(at).unwrap()))
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    code(lock(&ours.state).truncate(&ours.name, usize::try_from(length).unwrap()))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    code(lock(&ours.state).sync(&ours.name))
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    match lock(&ours.state).size(&ours.name) {
        // SAFETY: as SQLite promises.
        Ok(size) => unsafe { *out = i64::try_from(size).unwrap() },
        Err(code) => return code,
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn take_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    code(
        lock(&ours.state)
            .locks(&ours.name)
            .and_then(|it| it.lock(ours.number, level)),
    )
}

unsafe extern "C" fn give_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    code(
        lock(&ours.state)
            .locks(&ours.name)
            .map(|it| it.unlock(ours.number, level)),
    )
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    match lock(&ours.state)
        .locks(&ours.name)
        .map(|it| it.is_reserved())
    {
        // SAFETY: as SQLite promises.
        Ok(is_reserved) => unsafe { *out = c_int::from(is_reserved) },
        Err(code) => return code,
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    number: c_int,
    _size: c_int,
    makes: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    let number = usize::try_from(number).unwrap();
    let region = lock(&ours.state)
        .locks(&ours.name)
        .map(|it| it.region(number, makes != 0));
    let address = match region {
        Err(code) => return code,
        Ok(None) => ptr::null_mut(),
        Ok(Some(region)) => {
            let address = region.address().cast();
            ours.regions.push(region);
            address
        }
    };
    // SAFETY: as SQLite promises.
    unsafe { *out = address };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: as SQLite promises.
    let ours = unsafe { ours(file) };
    let first = usize::try_from(first).unwrap();
    let slots = first..first + usize::try_from(count).unwrap();
    code(
        lock(&ours.state)
            .locks(&ours.name)
            .and_then(|it| it.shm_lock(ours.number, slots, flags)),
    )
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}
