//! Deaths and slow disks on demand, for the tests that need them: none of it is in a release build.
//!
//! `BOOKD_DIE_AT=moment:n` ends the process when it comes to a moment for the n-th time; it is read only where debug
//! assertions are compiled in. Bugs on purpose are not here: they are patches, in `tests/bugs`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static DISK_WAIT_MILLIS: AtomicU64 = AtomicU64::new(0);

/// From now on each batch waits so long for the disk: for simulations, whose stores wait for nothing.
pub fn slow_the_disk(wait: Duration) {
    DISK_WAIT_MILLIS.store(
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
}

/// How long to wait for a disk that was made slow; never in a release build.
pub fn disk_wait() -> Option<Duration> {
    let wait = DISK_WAIT_MILLIS.load(Ordering::Relaxed);
    (cfg!(debug_assertions) && wait > 0).then(|| Duration::from_millis(wait))
}

/// A moment at which a process may die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeathMoment {
    /// The changes are written, and not committed.
    BeforeCommit,
    /// They are committed, and not yet shown.
    AfterCommit,
    /// They are shown, and nobody is answered.
    BeforeAnswer,
    /// A new file is being given its schema: before, between and after its steps.
    Migration,
    /// The WAL is copied into the database: before it and after it.
    Checkpoint,
}

impl DeathMoment {
    /// Every one of them.
    pub const ALL: [Self; 5] = [
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeAnswer,
        Self::Migration,
        Self::Checkpoint,
    ];

    /// At which time it is deadly, if at any. Never in a release build.
    fn armed(self) -> Option<u64> {
        static ARMED: OnceLock<Option<(DeathMoment, u64)>> = OnceLock::new();
        let armed = || {
            let text = std::env::var("BOOKD_DIE_AT").ok()?;
            let (name, times) = text.split_once(':')?;
            Some((
                Self::ALL.into_iter().find(|it| format!("{it:?}") == name)?,
                times.parse().ok()?,
            ))
        };
        let (moment, times) = cfg!(debug_assertions)
            .then(|| *ARMED.get_or_init(armed))
            .flatten()?;
        (moment == self).then_some(times)
    }

    /// Whether the process is to end at it.
    pub fn is_armed(self) -> bool {
        self.armed().is_some()
    }

    /// The process has come to it: here it ends if it was told to.
    pub fn reached(self) {
        static TIMES: AtomicU64 = AtomicU64::new(0);
        if let Some(times) = self.armed()
            && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == times
        {
            // As suddenly as SIGKILL: nothing is unwound, flushed or closed.
            std::process::abort();
        }
    }
}
