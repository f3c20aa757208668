//! A disk in memory that loses power, fails and lies as real ones do: what SQLite's files lie on in the proofs.
//!
//! What was written is seen at once, and survives the process; what was synced survives the power. Of the rest each
//! sector is kept, lost or torn by chance. A sync that fails has lost what it should have made safe, and says so only
//! once, as Linux does. A file's name is safe from the first sync of the file on, which syncs its folder as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bookd::store::sqlite::Drive;

use super::chance::Chance;
use super::locks::Locks;
use super::vfs::Registered;

mod files;

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
