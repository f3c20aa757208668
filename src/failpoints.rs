//! Failpoints and slow disks on demand, for the tests that need them.
//!
//! A release build has none of it: `BOOKD_DIE_AT=Failpoint:n`, which aborts the process when it
//! reaches that failpoint for the n-th time, is read only where debug assertions are compiled in.
//! Deliberate bugs are not here: they are patches in `tests/bugs`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static DISK_DELAY_MILLIS: AtomicU64 = AtomicU64::new(0);

/// Makes each batch wait this long for the disk from now on: for simulations, whose stores wait for
/// nothing.
pub fn set_disk_delay(delay: Duration) {
    DISK_DELAY_MILLIS.store(
        u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
}

/// How long a batch waits for the disk; always none in a release build.
pub fn disk_delay() -> Option<Duration> {
    let delay = DISK_DELAY_MILLIS.load(Ordering::Relaxed);
    (cfg!(debug_assertions) && delay > 0).then(|| Duration::from_millis(delay))
}

/// A point at which a test can abort the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failpoint {
    /// The changes are written and not committed.
    BeforeCommit,
    /// The changes are committed and not yet published.
    AfterCommit,
    /// The changes are published and no caller is answered.
    BeforeAnswer,
    /// A new file gets its schema: before, between and after the steps.
    Migration,
    /// The WAL is copied into the database: before and after the copy.
    Checkpoint,
    /// A tenant is deleted: after each step, up to the removal of the folder of the new file.
    TenantDeletion,
}

impl Failpoint {
    /// All failpoints.
    pub const ALL: [Self; 6] = [
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeAnswer,
        Self::Migration,
        Self::Checkpoint,
        Self::TenantDeletion,
    ];

    /// The count at which this failpoint aborts the process; always none in a release build.
    fn armed(self) -> Option<u64> {
        static ARMED: OnceLock<Option<(Failpoint, u64)>> = OnceLock::new();
        if !cfg!(debug_assertions) {
            return None;
        }
        let (failpoint, count) = (*ARMED.get_or_init(Self::from_environment))?;
        (failpoint == self).then_some(count)
    }

    /// The failpoint and the count that `BOOKD_DIE_AT` names.
    fn from_environment() -> Option<(Self, u64)> {
        let text = std::env::var("BOOKD_DIE_AT").ok()?;
        let (name, count) = text.split_once(':')?;
        let failpoint = Self::ALL
            .into_iter()
            .find(|failpoint| format!("{failpoint:?}") == name)?;
        Some((failpoint, count.parse().ok()?))
    }

    /// Whether the process is to abort at this failpoint.
    pub fn is_armed(self) -> bool {
        self.armed().is_some()
    }

    /// Counts that the process reached this failpoint, and aborts it when the count is the armed
    /// one.
    pub fn reached(self) {
        static TIMES: AtomicU64 = AtomicU64::new(0);
        if let Some(count) = self.armed()
            && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == count
        {
            // As suddenly as SIGKILL: nothing is unwound, flushed or closed.
            std::process::abort();
        }
    }
}
