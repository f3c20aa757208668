//! A disk in memory for SQLite's files that loses power, fails and lies as real disks do.
//!
//! A write is read at once and survives the process; a synced write survives a power loss. Of the
//! other writes each sector is kept, lost or torn by chance. A failed sync loses what it should
//! have made safe, and reports this only once, as Linux does. The name of a file is safe from the
//! first sync of the file on, which syncs its folder as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bookd::store::sqlite::Drive;

use super::chance::Chance;
use super::locks::Locks;
use super::vfs::Registered;

mod files;

/// Bytes that a disk mostly writes whole or not at all.
const SECTOR: usize = 512;
/// Writes that fail after a write found the disk full: the commit, the copy of the WAL that would
/// make space, and one more attempt.
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

/// How an access to the disk fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device failed.
    Io,
    /// There is no space for this write and the next `FULL_WRITES`; an access that needs no space
    /// fails like `Io`.
    Full,
}

/// A change of a file that no sync has made safe yet.
#[derive(Clone)]
enum Unsynced {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Default)]
struct File {
    /// The bytes that a read returns.
    content: Vec<u8>,
    /// The bytes that survive a power loss; none while not even the name survives.
    safe: Option<Vec<u8>>,
    unsynced: Vec<Unsynced>,
    /// A sync of the file failed, so that a later sync which is taken for good would be a lie.
    has_failed_sync: bool,
    locks: Locks,
}

/// The state of a disk, which all connections to it share.
pub struct State {
    files: BTreeMap<String, File>,
    /// Removed files that a power loss brings back, because their folder was not synced after the
    /// removal.
    ghosts: BTreeMap<String, Vec<u8>>,
    chance: Chance,
    accesses: u64,
    cut_at: Option<u64>,
    fail_at: Option<(u64, Fault)>,
    /// How many more writes find the disk full.
    full_writes: u32,
    /// The file whose next sync fails.
    fail_sync_of: Option<String>,
    /// The access that failed as the test asked for, and its number.
    failed: Option<(u64, Access)>,
    /// The power is gone or the process is dead: every access fails.
    is_off: bool,
    /// The most bytes of all files together; none for no limit.
    quota: Option<usize>,
    /// A sync reports success and does nothing.
    lies: bool,
    /// How many syncs reported success after a failed sync of the same file.
    trusted_after_failure: u64,
    handles: u64,
}

/// A result code of SQLite.
pub type Code = i32;

/// A disk in memory, and the VFS by which SQLite reaches it.
pub struct Disk {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) registered: Registered,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self::with(BTreeMap::new(), Chance(seed))
    }

    /// A disk that holds this database, synced.
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

    /// How many accesses there were.
    pub fn accesses(&self) -> u64 {
        self.state().accesses
    }

    /// Cuts the power at an access after so many more.
    pub fn cut_after(&self, accesses: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.accesses + accesses + 1);
    }

    /// Lets an access fail after so many more.
    pub fn fail_after(&self, accesses: u64, fault: Fault) {
        let mut state = self.state();
        state.fail_at = Some((state.accesses + accesses + 1, fault));
        state.failed = None;
    }

    /// Lets the next sync of the database file fail.
    pub fn fail_sync_of_database(&self) {
        self.fail_sync_of(self.file().to_string_lossy().into_owned());
    }

    /// Lets the next sync of the WAL fail.
    pub fn fail_sync_of_wal(&self) {
        self.fail_sync_of(self.wal());
    }

    fn fail_sync_of(&self, name: String) {
        let mut state = self.state();
        state.fail_sync_of = Some(name);
        state.failed = None;
    }

    /// The access that failed as the test asked for, if one did.
    pub fn failed(&self) -> Option<Access> {
        self.state().failed.map(|(_, access)| access)
    }

    /// Cancels the failures and power cuts that have not come yet.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.fail_at, state.cut_at, state.full_writes) = (None, None, 0);
    }

    /// Limits the disk to so many more bytes from now on; none removes the limit.
    pub fn leave_room(&self, bytes: Option<usize>) {
        let mut state = self.state();
        state.quota = bytes.map(|bytes| state.used() + bytes);
    }

    /// The length of a file beside the database, by the end of its name; 0 if it is not there.
    pub fn length(&self, ending: &str) -> usize {
        self.state()
            .size(&format!("{}{ending}", self.file().display()))
            .unwrap_or(0)
    }

    /// From now on a sync reports success and does nothing.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// Whether every access fails because the power is gone or the process is dead.
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// A handle that tells whether the power is gone.
    pub fn power(&self) -> Power {
        Power(Arc::clone(&self.state))
    }

    /// How many syncs reported success after a failed sync of the same file.
    pub fn trusted_after_failure(&self) -> u64 {
        self.state().trusted_after_failure
    }

    /// The disk as the next process finds it after this process died: from here on nothing of this
    /// one reaches the disk.
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
        // In some losses nothing or everything that was not synced is lost; in most a part of it.
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

/// A handle on a disk that tells whether its power is gone.
#[derive(Clone)]
pub struct Power(Arc<Mutex<State>>);

impl Power {
    pub fn is_off(&self) -> bool {
        lock(&self.0).is_off
    }
}

/// Applies the part of an unsynced change that reached the disk.
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
