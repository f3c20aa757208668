//! The locks of a database file and of its WAL index, as SQLite asks for them.

use std::sync::Arc;

use rusqlite::ffi;

use super::disk::Code;

/// The size of a region of the WAL index.
const REGION: usize = 32 * 1_024;
/// The number of lock slots of the WAL index.
const SHM_LOCKS: usize = 8;

/// Who has which lock of a database file (SQLite, "File Locking And Concurrency").
#[derive(Clone, Default)]
pub struct Locks {
    shared: Vec<u64>,
    reserved: Option<u64>,
    pending: Option<u64>,
    exclusive: Option<u64>,
    regions: Vec<Arc<Region>>,
    shm: [ShmLock; SHM_LOCKS],
}

#[derive(Clone, Default)]
struct ShmLock {
    shared: Vec<u64>,
    exclusive: Option<u64>,
}

/// A region of the WAL index, shared by all connections.
pub struct Region(pub std::cell::UnsafeCell<[u8; REGION]>);

impl Region {
    pub fn address(&self) -> *mut u8 {
        self.0.get().cast()
    }
}

impl Locks {
    /// Takes a lock of the levels 1 to 4: SHARED, RESERVED, PENDING (never asked for), EXCLUSIVE.
    pub fn lock(&mut self, handle: u64, level: i32) -> Result<(), Code> {
        let is_others = |holder: Option<u64>| holder.is_some_and(|it| it != handle);
        let is_free = match level {
            ffi::SQLITE_LOCK_SHARED => !is_others(self.pending) && !is_others(self.exclusive),
            ffi::SQLITE_LOCK_RESERVED => !is_others(self.reserved),
            _ => {
                self.pending = self.pending.or(Some(handle));
                !is_others(self.pending) && self.shared.iter().all(|it| *it == handle)
            }
        };
        if !is_free {
            return Err(ffi::SQLITE_BUSY);
        }
        match level {
            ffi::SQLITE_LOCK_SHARED if !self.shared.contains(&handle) => self.shared.push(handle),
            ffi::SQLITE_LOCK_SHARED => {}
            ffi::SQLITE_LOCK_RESERVED => self.reserved = Some(handle),
            _ => self.exclusive = Some(handle),
        }
        Ok(())
    }

    /// Lowers a lock to SHARED, or releases it.
    pub fn unlock(&mut self, handle: u64, level: i32) {
        for holder in [&mut self.reserved, &mut self.pending, &mut self.exclusive] {
            if *holder == Some(handle) {
                *holder = None;
            }
        }
        if level == ffi::SQLITE_LOCK_NONE {
            self.shared.retain(|it| *it != handle);
        }
    }

    pub fn is_reserved(&self) -> bool {
        self.reserved.is_some()
    }

    /// A region of the WAL index; none when there is none yet and none is to be made.
    pub fn region(&mut self, number: usize, makes: bool) -> Option<Arc<Region>> {
        let regions = &mut self.regions;
        while makes && regions.len() <= number {
            #[allow(
                clippy::arc_with_non_send_sync,
                reason = "SQLite sees to it who uses it when, by its locks"
            )]
            regions.push(Arc::new(Region(std::cell::UnsafeCell::new([0; REGION]))));
        }
        regions.get(number).cloned()
    }

    /// Takes or releases locks of the WAL index.
    pub fn shm_lock(
        &mut self,
        handle: u64,
        slots: std::ops::Range<usize>,
        flags: i32,
    ) -> Result<(), Code> {
        let slots = &mut self.shm[slots];
        let has = |flag: i32| flags & flag != 0;
        if has(ffi::SQLITE_SHM_UNLOCK) {
            for slot in slots {
                slot.shared.retain(|it| *it != handle);
                slot.exclusive = slot.exclusive.filter(|it| *it != handle);
            }
            return Ok(());
        }
        let is_free = |slot: &ShmLock| {
            let is_shared_by_others =
                has(ffi::SQLITE_SHM_EXCLUSIVE) && slot.shared.iter().any(|it| *it != handle);
            slot.exclusive.is_none_or(|it| it == handle) && !is_shared_by_others
        };
        if !slots.iter().all(is_free) {
            return Err(ffi::SQLITE_BUSY);
        }
        for slot in slots {
            if has(ffi::SQLITE_SHM_EXCLUSIVE) {
                slot.exclusive = Some(handle);
            } else if !slot.shared.contains(&handle) {
                slot.shared.push(handle);
            }
        }
        Ok(())
    }

    /// Releases all locks of a connection that is closed.
    pub fn leave(&mut self, handle: u64) {
        for slot in &mut self.shm {
            slot.shared.retain(|it| *it != handle);
            slot.exclusive = slot.exclusive.filter(|it| *it != handle);
        }
        self.unlock(handle, ffi::SQLITE_LOCK_NONE);
    }
}
