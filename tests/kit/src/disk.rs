//! A disk in memory that loses power, fails and lies as real ones do: what SQLite's files lie on in the proofs.
//!
//! What was written is seen at once, and survives the process; what was synced survives the power. Of the rest each
//! sector is kept, lost or torn by chance. A sync that fails has lost what it should have made safe, and says so only
//! once, as Linux does. A file's name is safe from the first sync of the file on, which syncs its folder as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bookd::store::sqlite::Drive;
use rusqlite::ffi;

use super::chance::Chance;
use super::locks::Locks;
use super::vfs::Registered;

/// What a disk writes whole or not at all, mostly.
const SECTOR: usize = 512;
/// A disk that was full stays so for a while: for the commit, for the WAL that would make room, and for one try more.
const FULL_WRITES: u32 = 2;

/// One access to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    Delete,
}

/// How an access fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device failed.
    Io,
    /// There is no room, for some writes more; for what does not need any it is as `Io`.
    Full,
}

/// A change to a file that no sync has made safe yet.
#[derive(Clone)]
enum Unsynced {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Default)]
struct File {
    /// What is read.
    content: Vec<u8>,
    /// What survives the power; none when not even the name does.
    safe: Option<Vec<u8>>,
    unsynced: Vec<Unsynced>,
    /// A sync of it failed: any later one that is taken for good would be a lie.
    has_failed_sync: bool,
    locks: Locks,
}

/// What all connections to a disk share.
pub struct State {
    files: BTreeMap<String, File>,
    /// Names that were removed and may come back, because no sync of the folder came after.
    ghosts: BTreeMap<String, Vec<u8>>,
    chance: Chance,
    accesses: u64,
    cut_at: Option<u64>,
    fail_at: Option<(u64, Fault)>,
    /// So many more writes find it full.
    full_writes: u32,
    /// The next sync of this file fails.
    fail_sync_of: Option<String>,
    /// The access that failed as it was told to.
    failed: Option<(u64, Access)>,
    /// Nothing reaches it any more.
    is_off: bool,
    /// What all files may have together, in bytes.
    quota: Option<usize>,
    /// It says that it synced, and did not.
    lies: bool,
    /// Syncs that were said to be good after one of the same file had failed.
    trusted_after_failure: u64,
    handles: u64,
}

/// An SQLite result code.
pub type Code = i32;

/// A disk, and the VFS that leads to it.
pub struct Disk {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) registered: Registered,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self::with(BTreeMap::new(), Chance(seed))
    }

    /// With the database already there, and safe.
    pub fn holding(seed: u64, database: &[u8]) -> Self {
        let disk = Self::new(seed);
        let file = File {
            content: database.to_owned(),
            safe: Some(database.to_owned()),
            ..File::default()
        };
        disk.state()
            .files
            .insert(disk.file().to_string_lossy().into_owned(), file);
        disk
    }

    fn with(files: BTreeMap<String, File>, chance: Chance) -> Self {
        let state = State {
            files,
            ghosts: BTreeMap::new(),
            chance,
            accesses: 0,
            cut_at: None,
            fail_at: None,
            full_writes: 0,
            fail_sync_of: None,
            failed: None,
            is_off: false,
            quota: None,
            lies: false,
            trusted_after_failure: 0,
            handles: 0,
        };
        let state = Arc::new(Mutex::new(state));
        Self {
            registered: Registered::new(Arc::clone(&state)),
            state,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wal(&self) -> String {
        format!("{}-wal", self.file().display())
    }

    /// How often it was accessed.
    pub fn accesses(&self) -> u64 {
        self.state().accesses
    }

    /// The power goes at so manieth access from now.
    pub fn cut_after(&self, accesses: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.accesses + accesses + 1);
    }

    /// The so manieth access from now fails.
    pub fn fail_after(&self, accesses: u64, fault: Fault) {
        let mut state = self.state();
        state.fail_at = Some((state.accesses + accesses + 1, fault));
        state.failed = None;
    }

    /// The next sync of the database itself fails.
    pub fn fail_sync_of_database(&self) {
        self.fail_sync_of(self.file().to_string_lossy().into_owned());
    }

    /// The next sync of its WAL fails.
    pub fn fail_sync_of_wal(&self) {
        self.fail_sync_of(self.wal());
    }

    fn fail_sync_of(&self, name: String) {
        let mut state = self.state();
        state.fail_sync_of = Some(name);
        state.failed = None;
    }

    /// Which access failed as it was told to, if it has come to that.
    pub fn failed(&self) -> Option<Access> {
        self.state().failed.map(|(_, access)| access)
    }

    /// Nothing fails that has not yet.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.fail_at, state.cut_at, state.full_writes) = (None, None, 0);
    }

    /// From now on there is room for so many bytes more; none = for any number.
    pub fn leave_room(&self, bytes: Option<usize>) {
        let mut state = self.state();
        state.quota = bytes.map(|bytes| state.used() + bytes);
    }

    /// How long a file beside the database is, by the end of its name.
    pub fn length(&self, ending: &str) -> usize {
        self.state()
            .size(&format!("{}{ending}", self.file().display()))
            .unwrap_or(0)
    }

    /// From now on it says that it syncs, and does not.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// Whether nothing reaches it any more.
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Asks the same later, from wherever.
    pub fn power(&self) -> Power {
        Power(Arc::clone(&self.state))
    }

    /// How many syncs were taken for good after one of the same file had failed.
    pub fn trusted_after_failure(&self) -> u64 {
        self.state().trusted_after_failure
    }

    /// The disk as the next process finds it: this one has died, and nothing of it reaches the disk any more.
    pub fn after_kill(&self) -> Self {
        let mut state = self.state();
        state.is_off = true;
        let mut files = state.files.clone();
        for file in files.values_mut() {
            (file.locks, file.has_failed_sync) = Default::default();
        }
        let next = Self::with(files, state.chance.fork());
        next.state().ghosts = state.ghosts.clone();
        (next.state().lies, next.state().quota) = (state.lies, state.quota);
        next
    }

    /// The disk as it is when the power comes back.
    pub fn after_power_loss(&self) -> Self {
        let mut state = self.state();
        state.is_off = true;
        let mut chance = state.chance.fork();
        // Now and then nothing that was not synced has reached it, or all of it; mostly some.
        let losses = chance.of(&[0, 1, 2, 8, u64::MAX]);
        let ghosts = state
            .ghosts
            .iter()
            .filter(|_| chance.is(2))
            .map(|(name, safe)| (name.clone(), safe.clone()));
        let mut survived: BTreeMap<String, Vec<u8>> = ghosts.collect();
        for (name, file) in &state.files {
            if file.safe.is_none() && chance.is(2) {
                survived.remove(name);
                continue;
            }
            let mut content = file.safe.clone().unwrap_or_default();
            for change in &file.unsynced {
                lose_some(&mut content, change, losses, &mut chance);
            }
            survived.insert(name.clone(), content);
        }
        let restored = |content: Vec<u8>| File {
            safe: Some(content.clone()),
            content,
            ..File::default()
        };
        Self::with(
            survived
                .into_iter()
                .map(|(name, content)| (name, restored(content)))
                .collect(),
            chance,
        )
    }
}

/// Tells whether the power of a disk is gone.
#[derive(Clone)]
pub struct Power(Arc<Mutex<State>>);

impl Power {
    pub fn is_off(&self) -> bool {
        lock(&self.0).is_off
    }
}

/// Applies what of an unsynced change reached the disk.
fn lose_some(content: &mut Vec<u8>, change: &Unsynced, losses: u64, chance: &mut Chance) {
    let is_lost = |chance: &mut Chance| match losses {
        0 => false,
        u64::MAX => true,
        one_in => chance.is(one_in.max(2)),
    };
    match change {
        Unsynced::Truncate(length) if !is_lost(chance) => content.truncate(*length),
        Unsynced::Truncate(_) => {}
        Unsynced::Write { at, bytes } => {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(((at + from) / SECTOR + 1) * SECTOR - at);
                if !is_lost(chance) {
                    let torn = losses > 0 && chance.is(16);
                    let end = if torn {
                        from + usize::try_from(chance.below((to - from) as u64)).unwrap()
                    } else {
                        to
                    };
                    put(content, at + from, &bytes[from..end]);
                }
                from = to;
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

pub fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub fn handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }

    pub fn random(&mut self) -> u64 {
        self.chance.next()
    }

    /// Counts an access; an error when it fails.
    fn access(&mut self, access: Access) -> Result<(), Code> {
        if self.is_off {
            return Err(ffi::SQLITE_IOERR);
        }
        self.accesses += 1;
        if self.cut_at == Some(self.accesses) {
            self.is_off = true;
            return Err(ffi::SQLITE_IOERR);
        }
        match self.fail_at {
            _ if access == Access::Write && self.full_writes > 0 => {
                self.full_writes -= 1;
                Err(ffi::SQLITE_FULL)
            }
            Some((at, fault)) if at == self.accesses => {
                self.failed = Some((at, access));
                self.full_writes = if (access, fault) == (Access::Write, Fault::Full) {
                    FULL_WRITES
                } else {
                    0
                };
                Err(match (access, fault) {
                    (Access::Write, Fault::Full) => ffi::SQLITE_FULL,
                    (Access::Open, _) => ffi::SQLITE_CANTOPEN,
                    (Access::Read, _) => ffi::SQLITE_IOERR_READ,
                    (Access::Write, Fault::Io) => ffi::SQLITE_IOERR_WRITE,
                    (Access::Truncate, _) => ffi::SQLITE_IOERR_TRUNCATE,
                    (Access::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
                    (Access::Delete, _) => ffi::SQLITE_IOERR_DELETE,
                })
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> Result<&mut File, Code> {
        self.files.get_mut(name).ok_or(ffi::SQLITE_IOERR)
    }

    pub fn exists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    pub fn open(&mut self, name: &str, creates: bool) -> Result<(), Code> {
        self.access(Access::Open)?;
        if !self.exists(name) && !creates {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        self.files.entry(name.to_owned()).or_default();
        Ok(())
    }

    pub fn delete(&mut self, name: &str, syncs_folder: bool) -> Result<(), Code> {
        self.access(Access::Delete)?;
        let removed = self
            .files
            .remove(name)
            .ok_or(ffi::SQLITE_IOERR_DELETE_NOENT)?;
        if syncs_folder && !self.lies {
            self.ghosts.clear();
        } else if let Some(safe) = removed.safe {
            self.ghosts.insert(name.to_owned(), safe);
        }
        Ok(())
    }

    /// Fills the buffer; an error that says so when the file is shorter.
    pub fn read(&mut self, name: &str, buffer: &mut [u8], at: usize) -> Result<(), Code> {
        self.access(Access::Read)?;
        let content = &self.file(name)?.content;
        let there = content.get(at..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        buffer[count..].fill(0);
        if count < buffer.len() {
            Err(ffi::SQLITE_IOERR_SHORT_READ)
        } else {
            Ok(())
        }
    }

    pub fn write(&mut self, name: &str, bytes: &[u8], at: usize) -> Result<(), Code> {
        let accessed = self.access(Access::Write);
        // What is under way when the power goes, or the device fails, may have come to something.
        if accessed.is_err() && self.accesses != self.cut_at.unwrap_or_default() {
            return accessed;
        }
        let free = self.free().unwrap_or(usize::MAX);
        let file = self.file(name)?;
        // As much of it is written as there is room for.
        let end = file
            .content
            .len()
            .saturating_add(free)
            .saturating_sub(at)
            .min(bytes.len());
        let (bytes, is_full) = (&bytes[..end], end < bytes.len());
        put(&mut file.content, at, bytes);
        file.unsynced.push(Unsynced::Write {
            at,
            bytes: bytes.to_owned(),
        });
        if is_full {
            Err(ffi::SQLITE_FULL)
        } else {
            accessed
        }
    }

    /// How many bytes all files have.
    fn used(&self) -> usize {
        self.files.values().map(|file| file.content.len()).sum()
    }

    pub fn free(&self) -> Option<usize> {
        self.quota.map(|quota| quota.saturating_sub(self.used()))
    }

    /// Puts a file there that SQLite knows nothing of, or takes it away; false when nothing reaches the disk any more.
    pub fn put_beside(&mut self, name: &str, content: Option<Vec<u8>>) -> bool {
        let made = content.map(|it| File {
            content: it.clone(),
            safe: Some(it),
            ..File::default()
        });
        if !self.is_off {
            self.files.remove(name);
            self.files.extend(made.map(|it| (name.to_owned(), it)));
        }
        !self.is_off
    }

    pub fn truncate(&mut self, name: &str, length: usize) -> Result<(), Code> {
        self.access(Access::Truncate)?;
        let file = self.file(name)?;
        file.content.truncate(length);
        file.unsynced.push(Unsynced::Truncate(length));
        Ok(())
    }

    pub fn sync(&mut self, name: &str) -> Result<(), Code> {
        let mut accessed = self.access(Access::Sync);
        if accessed.is_ok() && self.fail_sync_of.as_deref() == Some(name) {
            self.fail_sync_of = None;
            self.failed = Some((self.accesses, Access::Sync));
            accessed = Err(ffi::SQLITE_IOERR_FSYNC);
        }
        let (lies, is_off) = (self.lies, self.is_off);
        let file = self.file(name)?;
        if accessed.is_err() {
            if !is_off {
                // What it should have made safe never will be, and the next sync does not say so.
                file.unsynced.clear();
                file.has_failed_sync = true;
            }
            return accessed;
        }
        if lies {
            return Ok(());
        }
        let is_first = file.safe.is_none();
        let safe = file.safe.get_or_insert_default();
        for change in file.unsynced.drain(..) {
            match change {
                Unsynced::Write { at, bytes } => put(safe, at, &bytes),
                Unsynced::Truncate(length) => safe.truncate(length),
            }
        }
        let is_trusted_wrongly = file.has_failed_sync;
        self.trusted_after_failure += u64::from(is_trusted_wrongly);
        if is_first {
            self.ghosts.clear();
        }
        Ok(())
    }

    pub fn size(&mut self, name: &str) -> Result<usize, Code> {
        Ok(self.file(name)?.content.len())
    }

    /// The locks of a file.
    pub fn locks(&mut self, name: &str) -> Result<&mut Locks, Code> {
        Ok(&mut self.file(name)?.locks)
    }

    /// The connection is gone, and its locks with it.
    pub fn close(&mut self, name: &str, handle: u64, deletes: bool) {
        if let Some(file) = self.files.get_mut(name) {
            file.locks.leave(handle);
        }
        if deletes {
            self.files.remove(name);
        }
    }
}
