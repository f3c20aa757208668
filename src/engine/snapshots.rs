//! The published snapshot: the calendars in memory as of the last commit, all at one revision.
//!
//! The writer replaces the calendars that a batch touched in one short critical section, and a
//! reader copies handles in another. So a reader of several calendars never sees half of a batch,
//! and never waits for a decision or a disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::Failure;
use bookd_core::calendar::Calendar;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::time::Instant;
use bookd_core::token::Tokens;

/// Some calendars at one revision.
#[derive(Clone, Debug)]
pub struct View {
    /// The last change that the view shows.
    pub revision: Revision,
    /// The `now` of the view: the believed clock, but never before the last change.
    pub now: Instant,
    /// The calendars, in the order of the request.
    pub calendars: Vec<Arc<Calendar>>,
}

struct Entry {
    calendar: Arc<Calendar>,
    /// The epoch of the last use, by which idle calendars are dropped.
    used: AtomicU64,
}

#[derive(Default)]
struct Snapshot {
    revision: Revision,
    time: Instant,
    calendars: HashMap<CalendarId, Entry>,
}

/// The published snapshot, and the commits that are not yet published.
pub(super) struct Snapshots {
    snapshot: RwLock<Snapshot>,
    /// The number of publications.
    epoch: AtomicU64,
    /// The number of commits that began; `ended` has the number of those that ended and are
    /// published.
    begun: AtomicU64,
    ended: watch::Receiver<u64>,
    tokens: watch::Sender<Tokens>,
}

/// The writer's end. When it is dropped, every wait for a commit fails.
pub(super) struct Commits {
    snapshots: Arc<Snapshots>,
    ended: watch::Sender<u64>,
}

impl Commits {
    /// Notes that a commit begins: from now on the store may show changes that are not yet
    /// published.
    pub(super) fn begin(&self) {
        self.snapshots.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that the commit has ended, and that its changes are published or undone.
    pub(super) fn end(&self) {
        self.ended
            .send_replace(self.snapshots.begun.load(Ordering::SeqCst));
    }
}

impl Snapshots {
    pub(super) fn new(revision: Revision, time: Instant, tokens: Tokens) -> (Arc<Self>, Commits) {
        let snapshot = Snapshot {
            revision,
            time,
            calendars: HashMap::new(),
        };
        let (sender, ended) = watch::channel(0);
        let (epoch, begun) = (AtomicU64::new(0), AtomicU64::new(0));
        let snapshots = Arc::new(Self {
            snapshot: RwLock::new(snapshot),
            epoch,
            begun,
            ended,
            tokens: watch::Sender::new(tokens),
        });
        (
            Arc::clone(&snapshots),
            Commits {
                snapshots,
                ended: sender,
            },
        )
    }

    /// Waits until every commit that has begun is published, so that a call that has read the store
    /// never sees an older snapshot next. Fails when the writer ended within a commit: then the
    /// store may show what a restart takes back.
    pub(super) async fn wait_for_commits(&self) -> Result<(), Failure> {
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

    /// A view of these calendars; none when one of them is not in memory.
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

    /// The number of calendars in memory.
    pub(super) fn len(&self) -> usize {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .calendars
            .len()
    }

    /// The calendar, if it is in memory.
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

    /// The tokens as of the last commit, and each time that they change.
    pub(super) fn tokens(&self) -> watch::Receiver<Tokens> {
        self.tokens.subscribe()
    }

    /// Publishes the tokens of a batch that changed some.
    pub(super) fn publish_tokens(&self, tokens: Tokens) {
        self.tokens.send_replace(tokens);
    }

    /// Publishes a batch: these calendars as they are now, none for a deleted one.
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
        // Freed outside of the lock: the claims of a large calendar take milliseconds.
        drop(replaced);
    }

    /// Drops the least recently used calendars until at most `keep` stay, and returns the ids of
    /// the dropped ones.
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
