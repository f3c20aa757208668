//! Delivery of changes to watchers: the writer hands over a batch and wakes one thread, which wakes
//! the watchers that want the changes.
//!
//! The writer does no work per watcher: it takes a lock that is held for a moment. The next reader,
//! or the waking thread, moves what was handed over into the log tail, so that a watcher sees every
//! change that was acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant as Monotonic;

use super::WatchSettings;
use super::committed::WholeChange;
use super::registry::{Registry, Subscriber, Wakes};
use super::tail::{Tail, TailPage};
use crate::bell::Bell;
use crate::layout::Layout;
use crate::store::{ChangePart, WatchFilter};
use bookd_core::change::Change;
use bookd_core::ids::Revision;

/// The largest number of changes that wait to be moved into the tail. Beyond it the oldest batches
/// are dropped, and watchers read them from the store.
const HANDOVER_CHANGES_MAX: usize = 8_192;
/// The pause after waking watchers, in which changes are coalesced: a single change is delivered at
/// once, and a stream of changes in groups, with fewer wake-ups.
const COALESCE: Duration = Duration::from_millis(2);

/// The batches that are handed over and not yet in the tail.
#[derive(Default)]
struct Handover {
    batches: VecDeque<Vec<Change>>,
    changes: usize,
}

impl Handover {
    /// Adds a batch, and returns the oldest batches for which there is no space any more.
    fn push(&mut self, batch: Vec<Change>) -> Vec<Vec<Change>> {
        self.changes += batch.len();
        self.batches.push_back(batch);
        let mut dropped = Vec::new();
        while self.changes > HANDOVER_CHANGES_MAX
            && let Some(first) = self.batches.pop_front()
        {
            self.changes -= first.len();
            dropped.push(first);
        }
        dropped
    }
}

/// The state that the writer publishes to the waking thread.
#[derive(Clone, Copy, Default)]
struct WriterState {
    revision: Revision,
    /// The number of times that the clock was moved by hand.
    ticks: u64,
}

/// The writer's end. When it is dropped, the thread that wakes watchers ends.
pub(crate) struct Publisher {
    subscriptions: Arc<Subscriptions>,
    writer_state: watch::Sender<WriterState>,
}

impl Publisher {
    /// Hands over changes that are committed and published. The cost does not depend on the number
    /// of watchers.
    pub(crate) fn publish(&self, changes: Vec<Change>, revision: Revision) {
        if self.subscriptions.count.load(Ordering::SeqCst) == 0 || changes.is_empty() {
            return;
        }
        let dropped = lock(&self.subscriptions.handover).push(changes);
        // Freed outside of the lock.
        drop(dropped);
        self.writer_state
            .send_modify(|writer_state| writer_state.revision = revision);
    }

    /// Notes that the clock was moved by hand.
    pub(crate) fn tick(&self) {
        self.writer_state
            .send_modify(|writer_state| writer_state.ticks += 1);
    }
}

/// The thread, or the task, that wakes watchers.
pub(crate) enum WakerThread {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl WakerThread {
    #[allow(
        clippy::disallowed_methods,
        reason = "the engine's own thread, joined by `RunningEngine::stopped`"
    )]
    fn spawn(
        subscriptions: Arc<Subscriptions>,
        writer_state: watch::Receiver<WriterState>,
        layout: Layout,
    ) -> Self {
        if layout == Layout::Inline {
            return Self::Task(tokio::spawn(wake(subscriptions, writer_state)));
        }
        let run = move || match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime.block_on(wake(subscriptions, writer_state)),
            Err(error) => {
                tracing::error!(%error, "nobody can be told of changes: watches are refused");
                subscriptions.close();
            }
        };
        let thread = std::thread::Builder::new()
            .name("bookd-watch".to_owned())
            .spawn(run);
        Self::Thread(thread.expect("a process that starts can have a third thread"))
    }

    pub(crate) async fn join(self) {
        let joined = match self {
            Self::Task(task) => task.await.is_ok(),
            Self::Thread(thread) => tokio::task::spawn_blocking(move || thread.join().is_ok())
                .await
                .unwrap_or(false),
        };
        if !joined {
            tracing::error!("the thread that wakes watchers panicked");
        }
    }
}

async fn wake(subscriptions: Arc<Subscriptions>, mut writer_state: watch::Receiver<WriterState>) {
    let mut ticks = 0;
    // `changed` fails when the writer has dropped its end.
    while writer_state.changed().await.is_ok() {
        let current = *writer_state.borrow_and_update();
        let is_tick = std::mem::replace(&mut ticks, current.ticks) != current.ticks;
        subscriptions.notify(current.revision, is_tick);
        tokio::time::sleep(COALESCE).await;
    }
    subscriptions.close();
}

/// Why a subscription was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionRefused {
    /// The server is stopping.
    Closed,
    /// The limit of open watches is reached; carries the limit.
    TooMany(usize),
}

/// The watchers, and the log tail that they read from.
pub(crate) struct Subscriptions {
    handover: Mutex<Handover>,
    tail: Mutex<Tail>,
    registry: Mutex<Registry>,
    /// The number of watchers.
    pub(crate) count: AtomicUsize,
    /// Watchers of changes up to this revision have been woken.
    seen: AtomicU64,
    /// The server is stopping. Written under the lock of the registry, so that no watcher registers
    /// afterwards.
    is_closed: AtomicBool,
    begun: Monotonic,
    pub(crate) settings: WatchSettings,
}

/// Locks a mutex. Its data is consistent even if the last holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscriptions {
    /// Starts the delivery for an engine at this revision. Returns the subscriptions, the writer's
    /// end, and the thread that wakes watchers.
    pub(crate) fn start(
        revision: Revision,
        settings: WatchSettings,
        layout: Layout,
    ) -> (Arc<Self>, Publisher, WakerThread) {
        let subscriptions = Arc::new(Self {
            handover: Mutex::default(),
            tail: Mutex::new(Tail::new(
                settings.tail_changes_max,
                settings.part_events_max,
            )),
            registry: Mutex::default(),
            count: AtomicUsize::new(0),
            seen: AtomicU64::new(revision.0),
            is_closed: AtomicBool::new(false),
            begun: Monotonic::now(),
            settings,
        });
        let (writer_state, received) = watch::channel(WriterState { revision, ticks: 0 });
        let waker = WakerThread::spawn(Arc::clone(&subscriptions), received, layout);
        (
            Arc::clone(&subscriptions),
            Publisher {
                subscriptions,
                writer_state,
            },
            waker,
        )
    }

    /// Locks the tail, with everything that was handed over moved into it.
    fn tail(&self) -> MutexGuard<'_, Tail> {
        let mut tail = lock(&self.tail);
        let handed = std::mem::take(&mut *lock(&self.handover));
        handed
            .batches
            .iter()
            .for_each(|changes| tail.absorb(changes));
        tail
    }

    /// A page of the changes after a revision; none when they must be read from the store.
    pub(crate) fn page(
        &self,
        after: Revision,
        newest: Revision,
        filter: &WatchFilter,
    ) -> Option<TailPage> {
        self.tail().page(after, newest, filter)
    }

    /// Brings the personal data of a part that was read at `read_at` up to date. Returns false when
    /// the part must be read again.
    pub(crate) fn refresh(
        &self,
        part: &mut ChangePart,
        (read_at, newest): (Revision, Revision),
        filter: &WatchFilter,
    ) -> bool {
        newest <= read_at || self.tail().refresh(part, (read_at, newest), filter)
    }

    /// Makes a change that was taken at `read_at` show persons as they are at `newest`. Returns false
    /// when the change must be read again.
    pub(crate) fn renew(
        &self,
        change: &mut WholeChange,
        (read_at, newest): (Revision, Revision),
        filter: &WatchFilter,
    ) -> bool {
        newest <= read_at || self.tail().renew(change, newest, filter)
    }

    /// The revision up to which watchers have been woken.
    pub(crate) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::SeqCst))
    }

    /// Wakes the watchers of changes up to `newest`, and on a tick those that watch the clock.
    fn notify(&self, newest: Revision, is_tick: bool) {
        let seen = self.seen();
        let fresh: Option<Vec<_>> = {
            let tail = self.tail();
            let is_whole = newest <= seen || tail.end().is_some_and(|end| end >= newest);
            tail.after(seen)
                .filter(|_| is_whole)
                .map(|it| it.cloned().collect())
        };
        let mut wakes = Wakes::new();
        let registry = lock(&self.registry);
        let mut end = newest.max(seen);
        match fresh {
            Some(fresh) => {
                let mut firsts: BTreeMap<&str, Revision> = BTreeMap::new();
                for committed in &fresh {
                    end = end.max(committed.revision());
                    for calendar in committed.calendars() {
                        firsts.entry(calendar).or_insert(committed.revision());
                    }
                }
                registry.note_matching(&firsts, &mut wakes);
            }
            // Some changes are not in the tail: every watcher is woken.
            None if newest > seen => registry
                .by_number
                .values()
                .for_each(|it| it.note(seen.next(), &mut wakes)),
            None => {}
        }
        if is_tick {
            registry
                .by_number
                .values()
                .filter(|it| it.is_timed)
                .for_each(|it| it.add_to(&mut wakes));
        }
        // Stored under the lock of the registry: a watcher that registers later is woken for later
        // changes.
        self.seen.store(end.0, Ordering::SeqCst);
        drop(registry);
        wakes.ring();
    }

    /// Milliseconds since the start of the subscriptions, plus one, so that 0 can mean none.
    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Registers a watcher of the changes that pass a filter, who may see these calendars. Refused when the limit is reached and no watcher is stalled, or when
    /// the server is stopping.
    pub(crate) fn register(
        self: &Arc<Self>,
        filter: WatchFilter,
        is_timed: bool,
        bell: Option<Bell>,
    ) -> Result<Subscription, SubscriptionRefused> {
        let mut registry = lock(&self.registry);
        if self.is_closed() {
            return Err(SubscriptionRefused::Closed);
        }
        if registry.by_number.len() >= self.settings.watches_max {
            self.evict_stalled(&mut registry);
        }
        if registry.by_number.len() >= self.settings.watches_max {
            return Err(SubscriptionRefused::TooMany(self.settings.watches_max));
        }
        let subscriber = Arc::new(Subscriber::new(filter, is_timed, bell));
        let number = registry.insert(Arc::clone(&subscriber));
        self.count.store(registry.by_number.len(), Ordering::SeqCst);
        Ok(Subscription {
            subscriptions: Arc::clone(self),
            number,
            subscriber,
        })
    }

    /// Removes the watchers that have not read for longer than `stall_max`.
    fn evict_stalled(&self, registry: &mut Registry) {
        let now = self.clock();
        let longest = u64::try_from(self.settings.stall_max.as_millis()).unwrap_or(u64::MAX);
        let is_stalled =
            |subscriber: &Subscriber| match subscriber.idle_since.load(Ordering::SeqCst) {
                0 => false,
                since => now.saturating_sub(since) > longest,
            };
        let stalled: Vec<u64> = registry
            .by_number
            .iter()
            .filter(|(_, it)| is_stalled(it))
            .map(|(it, _)| *it)
            .collect();
        for number in stalled {
            if let Some(subscriber) = registry.by_number.get(&number) {
                subscriber.is_cut.store(true, Ordering::SeqCst);
            }
            registry.remove(number);
        }
    }

    /// Ends every watch, and refuses new ones.
    pub(crate) fn close(&self) {
        let mut wakes = Wakes::new();
        let registry = lock(&self.registry);
        self.is_closed.store(true, Ordering::SeqCst);
        registry
            .by_number
            .values()
            .for_each(|it| it.add_to(&mut wakes));
        drop(registry);
        wakes.ring();
    }

    /// Whether the server is stopping.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

/// The registration of a watcher, which ends when it is dropped.
pub(crate) struct Subscription {
    pub(crate) subscriptions: Arc<Subscriptions>,
    number: u64,
    pub(crate) subscriber: Arc<Subscriber>,
}

impl Subscription {
    /// Notes that an item was given to the client, which has not asked for more yet.
    pub(crate) fn begin_idle(&self) {
        self.subscriber
            .idle_since
            .store(self.subscriptions.clock(), Ordering::SeqCst);
    }

    /// Notes that the client asks for more, and returns how long it was idle.
    pub(crate) fn end_idle(&self) -> Duration {
        match self.subscriber.idle_since.swap(0, Ordering::SeqCst) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.subscriptions.clock().saturating_sub(since)),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut registry = lock(&self.subscriptions.registry);
        registry.remove(self.number);
        self.subscriptions
            .count
            .store(registry.by_number.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::store::CalendarFilter;
    use bookd_core::change::{Cause, Event};
    use bookd_core::ids::{CalendarId, Caller};
    use bookd_core::time::Instant;

    fn id(text: &str) -> CalendarId {
        CalendarId::parse(text).unwrap()
    }

    /// Changes from this revision on, one for each of these calendars.
    fn changes<'a>(first: u64, calendars: impl IntoIterator<Item = &'a str>) -> Vec<Change> {
        let change = |(revision, calendar): (u64, &str)| Change {
            revision: Revision(revision),
            time: Instant::from_seconds(0),
            cause: Cause::DeleteCalendar,
            caller: Caller::default(),
            events: vec![Event::CalendarDeleted {
                calendar: id(calendar),
                staged: None,
            }],
        };
        (first..).zip(calendars).map(change).collect()
    }

    #[tokio::test]
    async fn only_who_is_touched_is_woken_and_told_the_first_change_that_is_for_him() {
        let (subscriptions, publisher, waker) =
            Subscriptions::start(Revision(0), WatchSettings::default(), Layout::Inline);
        let register = |filter| subscriptions.register(WatchFilter::of(filter), false, None);
        let watch = |filter| register(filter).unwrap();
        let of =
            |names: &[&str]| CalendarFilter::Among(names.iter().map(|name| id(name)).collect());
        let (ada, several) = (watch(of(&["ada"])), watch(of(&["nobody", "b/2", "ada"])));
        let (all, prefix) = (
            watch(CalendarFilter::All),
            watch(CalendarFilter::beginning_with("b/")),
        );
        let (other, nobody) = (
            watch(of(&["b"])),
            watch(CalendarFilter::beginning_with("b/22")),
        );
        publisher.publish(changes(1, ["zoe", "b/2", "b/1", "ada", "ada"]), Revision(5));
        all.subscriber.woken().await;
        let pending = [ada, several, all, prefix, other, nobody]
            .map(|it| it.subscriber.take_pending().map(|first| first.0));
        assert_eq!(pending, [Some(4), Some(2), Some(1), Some(2), None, None]);
        assert_eq!(subscriptions.seen(), Revision(5));
        drop(publisher);
        waker.join().await;
        let refused = register(CalendarFilter::All).err();
        assert_eq!(refused, Some(SubscriptionRefused::Closed));
    }

    #[tokio::test]
    async fn what_was_not_taken_in_time_is_left_to_the_store_and_nobody_is_forgotten() {
        let (subscriptions, publisher, waker) =
            Subscriptions::start(Revision(0), WatchSettings::default(), Layout::Inline);
        let of_ada = WatchFilter::of(CalendarFilter::Among(vec![id("ada")]));
        let watcher = subscriptions.register(of_ada, false, None).unwrap();
        // Nothing is moved into the tail meanwhile, so that the first batch is dropped.
        publisher.publish(changes(1, std::iter::repeat_n("ada", 1)), Revision(1));
        publisher.publish(
            changes(2, std::iter::repeat_n("zoe", HANDOVER_CHANGES_MAX)),
            Revision(8_193),
        );
        watcher.subscriber.woken().await;
        assert_eq!(watcher.subscriber.take_pending(), Some(Revision(1)));
        let page = |after| {
            subscriptions.page(Revision(after), Revision(8_193), &watcher.subscriber.filter)
        };
        assert!(page(0).is_none() && page(1).is_some());
        drop(publisher);
        waker.join().await;
    }
}
