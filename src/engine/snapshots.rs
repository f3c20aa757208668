//! What readers see: the calendars in memory as of the last commit, all at one revision.
//!
//! The writer replaces what a batch touched in one short critical section; a reader copies handles in another. So a
//! reader of several calendars never sees half of a batch, and nobody waits for a decision or a disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::Failure;
use bookd_core::calendar::Calendar;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::time::Instant;

/// One moment of some calendars.
#[derive(Clone, Debug)]
pub struct View {
    /// The last change that it shows.
    pub revision: Revision,
    /// `now`: the clock, but never before the last change.
    pub now: Instant,
    /// In the order in which they were asked for.
    pub calendars: Vec<Arc<Calendar>>,
}

struct Entry {
    calendar: Arc<Calendar>,
    /// The batch in which it was last used; for dropping the idle ones.
    used: AtomicU64,
}

#[derive(Default)]
struct Snapshot {
    revision: Revision,
    time: Instant,
    calendars: HashMap<CalendarId, Entry>,
}

/// See the header.
pub(super) struct Snapshots {
    snapshot: RwLock<Snapshot>,
    epoch: AtomicU64,
    /// Commits that began, and those that have ended and are shown.
    begun: AtomicU64,
    ended: watch::Receiver<u64>,
}

/// The writer's end of its commits. When it is dropped, nobody waits for one any more.
pub(super) struct Commits {
    published: Arc<Snapshots>,
    ended: watch::Sender<u64>,
}

impl Commits {
    /// A commit begins: from now on the store may show what is not yet published.
    pub(super) fn begin(&self) {
        self.published.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// It has ended, and what it did is published or undone.
    pub(super) fn end(&self) {
        self.ended
            .send_replace(self.published.begun.load(Ordering::SeqCst));
    }
}

impl Snapshots {
    pub(super) fn new(revision: Revision, time: Instant) -> (Arc<Self>, Commits) {
        let snapshot = Snapshot {
            revision,
            time,
            calendars: HashMap::new(),
        };
        let (sender, ended) = watch::channel(0);
        let (epoch, begun) = (AtomicU64::new(0), AtomicU64::new(0));
        let published = Arc::new(Self {
            snapshot: RwLock::new(snapshot),
            epoch,
            begun,
            ended,
        });
        (
            Arc::clone(&published),
            Commits {
                published,
                ended: sender,
            },
        )
    }

    /// Waits until every commit that has begun is shown, so that nobody who read the store sees an older snapshot next.
    /// Fails when the writer ended within one: then the store may show what a restart takes back.
    pub(super) async fn settled(&self) -> Result<(), Failure> {
        let begun = self.begun.load(Ordering::SeqCst);
        if *self.ended.borrow() >= begun {
            return Ok(());
        }
        let mut ended = self.ended.clone();
        ended
            .wait_for(|ended| *ended >= begun)
            .await
            .map(drop)
            .map_err(|_| Failure::ShuttingDown)
    }

    /// All of these calendars, or none when one of them is not in memory.
    pub(super) fn view(&self, ids: &[CalendarId], clock: Instant) -> Option<View> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        let calendar = |id: &CalendarId| {
            let entry = snapshot.calendars.get(id)?;
            entry.used.store(epoch, Ordering::Relaxed);
            Some(Arc::clone(&entry.calendar))
        };
        let calendars = ids.iter().map(calendar).collect::<Option<Vec<_>>>()?;
        Some(View {
            revision: snapshot.revision,
            now: snapshot.time.max(clock),
            calendars,
        })
    }

    /// Those of these calendars that are not in memory.
    pub(super) fn missing(&self, ids: &[CalendarId]) -> Vec<CalendarId> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        ids.iter()
            .filter(|id| !snapshot.calendars.contains_key(*id))
            .cloned()
            .collect()
    }

    /// A calendar, if it is in memory.
    pub(super) fn calendar(&self, id: &CalendarId) -> Option<Arc<Calendar>> {
        self.view(std::slice::from_ref(id), Instant::MIN)?
            .calendars
            .pop()
    }

    pub(super) fn revision(&self) -> Revision {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .revision
    }

    pub(super) fn time(&self) -> Instant {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .time
    }

    /// Shows what a batch made: these calendars as they are now, or gone.
    pub(super) fn publish(
        &self,
        revision: Revision,
        time: Instant,
        calendars: impl IntoIterator<Item = (CalendarId, Option<Arc<Calendar>>)>,
    ) {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let mut snapshot = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        snapshot.revision = revision;
        snapshot.time = snapshot.time.max(time);
        let replaced: Vec<Entry> = calendars
            .into_iter()
            .filter_map(|(id, calendar)| match calendar {
                Some(calendar) => snapshot.calendars.insert(
                    id,
                    Entry {
                        calendar,
                        used: AtomicU64::new(epoch),
                    },
                ),
                None => snapshot.calendars.remove(&id),
            })
            .collect();
        drop(snapshot);
        // The claims of a large calendar take milliseconds to free: no reader waits for that.
        drop(replaced);
    }

    /// Those that were not used for longest, so many that at most `keep` stay. They are no longer published.
    pub(super) fn drop_idle(&self, keep: usize) -> Vec<CalendarId> {
        let mut snapshot = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let excess = snapshot.calendars.len().saturating_sub(keep);
        if excess == 0 {
            return Vec::new();
        }
        let mut uses: Vec<(u64, CalendarId)> = snapshot
            .calendars
            .iter()
            .map(|(id, entry)| (entry.used.load(Ordering::Relaxed), id.clone()))
            .collect();
        uses.select_nth_unstable(excess - 1);
        let idle: Vec<CalendarId> = uses.into_iter().take(excess).map(|(_, id)| id).collect();
        let dropped: Vec<Entry> = idle
            .iter()
            .filter_map(|id| snapshot.calendars.remove(id))
            .collect();
        drop(snapshot);
        drop(dropped);
        idle
    }
}
