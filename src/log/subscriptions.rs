//! How changes reach watchers: the writer hands a batch over and wakes one thread, and that one wakes who wants it.
//!
//! Nothing here makes the writer do work for each watcher: it takes a lock that is held for a moment, and goes on. What
//! is handed over is taken into the tail by whoever looks first, so a watcher sees everything that was answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant as Monotonic;

use super::WatchSettings;
use super::registry::{Registry, Subscriber};
use super::tail::{Tail, TailPage};
use crate::layout::Layout;
use crate::store::{CalendarFilter, ChangePart};
use bookd_core::change::Change;
use bookd_core::ids::Revision;

/// Changes that wait to be taken into the tail at most; when more come, the oldest batches are left to the store.
const HANDOVER_CHANGES_MAX: usize = 8_192;
/// The pause after waking watchers, in which changes gather: what comes first is told at once, and a stream of changes in
/// gulps, which costs everybody fewer wake-ups.
const GATHER: Duration = Duration::from_millis(2);

/// What was handed over and not yet taken.
#[derive(Default)]
struct Handover {
    batches: VecDeque<Vec<Change>>,
    changes: usize,
}

impl Handover {
    /// Puts a batch behind the others; answers what there is no room for any more.
    fn put(&mut self, batch: Vec<Change>) -> Vec<Vec<Change>> {
        self.changes += batch.len();
        self.batches.push_back(batch);
        let mut unseen = Vec::new();
        while self.changes > HANDOVER_CHANGES_MAX
            && let Some(first) = self.batches.pop_front()
        {
            self.changes -= first.len();
            unseen.push(first);
        }
        unseen
    }
}

/// What the writer says.
#[derive(Clone, Copy, Default)]
struct News {
    revision: Revision,
    /// How often the clock was moved by hand.
    ticks: u64,
}

/// The writer's end. When it is dropped, the thread that wakes watchers ends.
pub(crate) struct Publisher {
    subscriptions: Arc<Subscriptions>,
    news: watch::Sender<News>,
}

impl Publisher {
    /// Hands over what was committed and is published. Costs the same for any number of watchers.
    pub(crate) fn publish(&self, changes: Vec<Change>, revision: Revision) {
        if self.subscriptions.count.load(Ordering::SeqCst) == 0 || changes.is_empty() {
            return;
        }
        let unseen = lock(&self.subscriptions.handover).put(changes);
        // Let go outside of the lock.
        drop(unseen);
        self.news.send_modify(|news| news.revision = revision);
    }

    /// Says that the clock was moved by hand.
    pub(crate) fn tick(&self) {
        self.news.send_modify(|news| news.ticks += 1);
    }
}

/// The thread, or the task, that wakes watchers.
pub(crate) enum Waker {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Waker {
    #[allow(
        clippy::disallowed_methods,
        reason = "the engine's own thread, joined by `Running::stopped`"
    )]
    fn spawn(
        subscriptions: Arc<Subscriptions>,
        news: watch::Receiver<News>,
        layout: Layout,
    ) -> Self {
        if layout == Layout::Inline {
            return Self::Task(tokio::spawn(wake(subscriptions, news)));
        }
        let run = move || match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime.block_on(wake(subscriptions, news)),
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

async fn wake(subscriptions: Arc<Subscriptions>, mut news: watch::Receiver<News>) {
    let mut ticks = 0;
    // It fails when the writer is gone; then there is nothing more to say, and the service stops.
    while news.changed().await.is_ok() {
        let said = *news.borrow_and_update();
        let is_tick = std::mem::replace(&mut ticks, said.ticks) != said.ticks;
        subscriptions.spread(said.revision, is_tick);
        tokio::time::sleep(GATHER).await;
    }
    subscriptions.close();
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionRefused {
    /// The server is stopping.
    Closed,
    /// So many are open already.
    TooMany(usize),
}

/// All who are told of changes, and what they are told from.
pub(crate) struct Subscriptions {
    handover: Mutex<Handover>,
    tail: Mutex<Tail>,
    registry: Mutex<Registry>,
    /// How many watchers there are.
    count: AtomicUsize,
    /// Whoever wants a change up to this one has been told.
    seen: AtomicU64,
    /// The server is stopping. Written while the registry is held, so that nobody slips in.
    is_closed: AtomicBool,
    begun: Monotonic,
    pub(crate) settings: WatchSettings,
}

/// A lock that is held for a moment; what it guards is whole even if its last holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscriptions {
    /// The fan-out of an engine that stands at this revision, the writer's end of it, and what wakes watchers.
    pub(crate) fn start(
        revision: Revision,
        settings: WatchSettings,
        layout: Layout,
    ) -> (Arc<Self>, Publisher, Waker) {
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
        let (news, received) = watch::channel(News { revision, ticks: 0 });
        let waker = Waker::spawn(Arc::clone(&subscriptions), received, layout);
        (
            Arc::clone(&subscriptions),
            Publisher {
                subscriptions,
                news,
            },
            waker,
        )
    }

    /// Takes what was handed over into the tail.
    fn tail(&self) -> MutexGuard<'_, Tail> {
        let mut tail = lock(&self.tail);
        let handed = std::mem::take(&mut *lock(&self.handover));
        handed
            .batches
            .iter()
            .for_each(|changes| tail.absorb(changes));
        tail
    }

    /// A page of what came after a revision; none when the store must be asked.
    pub(crate) fn page(
        &self,
        after: Revision,
        newest: Revision,
        filter: &CalendarFilter,
    ) -> Option<TailPage> {
        self.tail().page(after, newest, filter)
    }

    /// Brings what was read at a revision up to date in what is personal. False when it must be read again.
    pub(crate) fn refresh(
        &self,
        told: &mut ChangePart,
        read_at: Revision,
        newest: Revision,
    ) -> bool {
        newest <= read_at || self.tail().refresh(told, read_at, newest)
    }

    /// Everybody who wants a change up to this one has been told.
    pub(crate) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::SeqCst))
    }

    /// Wakes those who want what is new.
    fn spread(&self, newest: Revision, is_tick: bool) {
        let seen = self.seen();
        let fresh: Option<Vec<_>> = {
            let tail = self.tail();
            let is_whole = newest <= seen || tail.end().is_some_and(|end| end >= newest);
            tail.after(seen)
                .filter(|_| is_whole)
                .map(|it| it.cloned().collect())
        };
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
                registry.tell(&firsts);
            }
            // Something was not handed over: everybody looks for himself.
            None if newest > seen => registry.all.values().for_each(|it| it.wake(seen.next())),
            None => {}
        }
        if is_tick {
            registry
                .all
                .values()
                .filter(|it| it.is_timed)
                .for_each(|it| it.woken.notify_one());
        }
        // Before the registry is let go: whoever registers now is told of what comes after.
        self.seen.store(end.0, Ordering::SeqCst);
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Notes a watcher. SubscriptionRefused when there are too many that are served, or when the server is stopping.
    pub(crate) fn register(
        self: &Arc<Self>,
        filter: CalendarFilter,
        is_timed: bool,
    ) -> Result<Subscription, SubscriptionRefused> {
        let mut registry = lock(&self.registry);
        if self.is_closed() {
            return Err(SubscriptionRefused::Closed);
        }
        if registry.all.len() >= self.settings.watches_max {
            self.make_room(&mut registry);
        }
        if registry.all.len() >= self.settings.watches_max {
            return Err(SubscriptionRefused::TooMany(self.settings.watches_max));
        }
        let subscriber = Arc::new(Subscriber::new(filter, is_timed));
        let number = registry.put(Arc::clone(&subscriber));
        self.count.store(registry.all.len(), Ordering::SeqCst);
        Ok(Subscription {
            subscriptions: Arc::clone(self),
            number,
            subscriber,
        })
    }

    /// Those who do not read what they are sent go first.
    fn make_room(&self, registry: &mut Registry) {
        let now = self.clock();
        let longest = u64::try_from(self.settings.stall_max.as_millis()).unwrap_or(u64::MAX);
        let is_stalled = |subscriber: &Subscriber| match subscriber.resting.load(Ordering::SeqCst) {
            0 => false,
            since => now.saturating_sub(since) > longest,
        };
        let stalled: Vec<u64> = registry
            .all
            .iter()
            .filter(|(_, it)| is_stalled(it))
            .map(|(it, _)| *it)
            .collect();
        for number in stalled {
            if let Some(subscriber) = registry.all.get(&number) {
                subscriber.is_cut.store(true, Ordering::SeqCst);
            }
            registry.remove(number);
        }
    }

    /// Ends every watch, each with the last revision that it was told of; no new one begins.
    pub(crate) fn close(&self) {
        let registry = lock(&self.registry);
        self.is_closed.store(true, Ordering::SeqCst);
        registry.all.values().for_each(|it| it.woken.notify_one());
    }

    /// The server is stopping.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

/// A watcher's place among the others, given back when it is dropped.
pub(crate) struct Subscription {
    pub(crate) subscriptions: Arc<Subscriptions>,
    number: u64,
    pub(crate) subscriber: Arc<Subscriber>,
}

impl Subscription {
    /// It has been given something, and has not asked for more yet.
    pub(crate) fn rests(&self) {
        self.subscriber
            .resting
            .store(self.subscriptions.clock(), Ordering::SeqCst);
    }

    /// It asks for more; answers how long it has rested.
    pub(crate) fn asks(&self) -> Duration {
        match self.subscriber.resting.swap(0, Ordering::SeqCst) {
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
            .store(registry.all.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
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
        let watch = |filter| subscriptions.register(filter, false).unwrap();
        let of =
            |names: &[&str]| CalendarFilter::Among(names.iter().map(|name| id(name)).collect());
        let (ada, several) = (watch(of(&["ada"])), watch(of(&["nobody", "b/2", "ada"])));
        let (all, prefix) = (
            watch(CalendarFilter::All),
            watch(CalendarFilter::Prefix("b/".to_owned())),
        );
        let (other, nobody) = (
            watch(of(&["b"])),
            watch(CalendarFilter::Prefix("b/22".to_owned())),
        );
        publisher.publish(changes(1, ["zoe", "b/2", "b/1", "ada", "ada"]), Revision(5));
        all.subscriber.woken().await;
        let pending = [ada, several, all, prefix, other, nobody]
            .map(|it| it.subscriber.take_pending().map(|first| first.0));
        assert_eq!(pending, [Some(4), Some(2), Some(1), Some(2), None, None]);
        assert_eq!(subscriptions.seen(), Revision(5));
        drop(publisher);
        waker.join().await;
        assert_eq!(
            subscriptions.register(CalendarFilter::All, false).err(),
            Some(SubscriptionRefused::Closed)
        );
    }

    #[tokio::test]
    async fn what_was_not_taken_in_time_is_left_to_the_store_and_nobody_is_forgotten() {
        let (subscriptions, publisher, waker) =
            Subscriptions::start(Revision(0), WatchSettings::default(), Layout::Inline);
        let watcher = subscriptions
            .register(CalendarFilter::Among(vec![id("ada")]), false)
            .unwrap();
        // Nobody takes anything meanwhile: the first batch has no room any more.
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
