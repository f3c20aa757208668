//! How changes reach watchers: the writer hands a batch over and wakes one thread, and that one wakes who wants it.
//!
//! Nothing here makes the writer do work for each watcher: it takes a lock that is held for a moment, and goes on. What
//! is handed over is taken into the ring by whoever looks first, so a watcher sees everything that was answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant as Monotonic;

use super::ring::{Ring, RingPage};
use super::{Failure, Layout, READERS_MAX, WatchSettings};
use crate::store::{CalendarFilter, Told};
use bookd_core::change::Change;
use bookd_core::ids::{CalendarId, Revision};

/// Changes that wait to be taken into the ring at most; when more come, the oldest batches are left to the store.
const HANDOVER_CHANGES_MAX: usize = 8_192;
/// Watchers that read the store at a time; the other readers are for everybody else.
const CATCHING_UP_MAX: usize = READERS_MAX / 2;
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
pub(super) struct Publisher {
    fanout: Arc<Fanout>,
    news: watch::Sender<News>,
}

impl Publisher {
    /// Hands over what was committed and is published. Costs the same for any number of watchers.
    pub(super) fn publish(&self, changes: Vec<Change>, revision: Revision) {
        if self.fanout.count.load(Ordering::SeqCst) == 0 || changes.is_empty() {
            return;
        }
        let unseen = lock(&self.fanout.handover).put(changes);
        // Let go outside of the lock.
        drop(unseen);
        self.news.send_modify(|news| news.revision = revision);
    }

    /// Says that the clock was moved by hand.
    pub(super) fn tick(&self) {
        self.news.send_modify(|news| news.ticks += 1);
    }
}

/// The thread, or the task, that wakes watchers.
pub(super) enum Waker {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Waker {
    #[allow(clippy::disallowed_methods, reason = "the engine's own thread, joined by `Running::stopped`")]
    fn spawn(fanout: Arc<Fanout>, news: watch::Receiver<News>, layout: Layout) -> Self {
        if layout == Layout::Inline {
            return Self::Task(tokio::spawn(wake(fanout, news)));
        }
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(wake(fanout, news)),
            Err(error) => {
                tracing::error!(%error, "nobody can be told of changes: watches are refused");
                fanout.close();
            }
        };
        let thread = std::thread::Builder::new().name("bookd-watch".to_owned()).spawn(run);
        Self::Thread(thread.expect("a process that starts can have a third thread"))
    }

    pub(super) async fn join(self) {
        let joined = match self {
            Self::Task(task) => task.await.is_ok(),
            Self::Thread(thread) => tokio::task::spawn_blocking(move || thread.join().is_ok()).await.unwrap_or(false),
        };
        if !joined {
            tracing::error!("the thread that wakes watchers panicked");
        }
    }
}

async fn wake(fanout: Arc<Fanout>, mut news: watch::Receiver<News>) {
    let mut ticks = 0;
    // It fails when the writer is gone; then there is nothing more to say, and the service stops.
    while news.changed().await.is_ok() {
        let said = *news.borrow_and_update();
        let is_tick = std::mem::replace(&mut ticks, said.ticks) != said.ticks;
        fanout.spread(said.revision, is_tick);
        tokio::time::sleep(GATHER).await;
    }
    fanout.close();
}

/// What is known of one watcher.
pub(super) struct Entry {
    pub(super) filter: CalendarFilter,
    /// It also wants to know when the clock was moved by hand.
    is_timed: bool,
    /// The first change that it wants since it looked last; 0 = none.
    pending: AtomicU64,
    woken: Notify,
    /// Since when it has not asked for more, in milliseconds of the fan-out's life, plus one; 0 = it is asking.
    resting: AtomicU64,
    is_cut: AtomicBool,
}

impl Entry {
    fn wake(&self, revision: Revision) {
        // Only the first counts, and whoever was told once is told.
        if self.pending.compare_exchange(0, revision.0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.woken.notify_one();
        }
    }

    /// Waits until something that it wants may have happened.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// The first change that it wants since this was asked last.
    pub(super) fn take_pending(&self) -> Option<Revision> {
        match self.pending.swap(0, Ordering::SeqCst) {
            0 => None,
            revision => Some(Revision(revision)),
        }
    }

    /// It had to make room for others.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Registry {
    next: u64,
    all: HashMap<u64, Arc<Entry>>,
    /// Those whose filter names no calendars.
    wide: HashMap<u64, Arc<Entry>>,
    by_calendar: HashMap<CalendarId, HashMap<u64, Arc<Entry>>>,
}

impl Registry {
    fn put(&mut self, entry: Arc<Entry>) -> u64 {
        self.next += 1;
        let number = self.next;
        match &entry.filter {
            CalendarFilter::Among(calendars) => {
                for id in calendars {
                    self.by_calendar.entry(id.clone()).or_default().insert(number, Arc::clone(&entry));
                }
            }
            CalendarFilter::All | CalendarFilter::Prefix(_) => drop(self.wide.insert(number, Arc::clone(&entry))),
        }
        self.all.insert(number, entry);
        number
    }

    /// Wakes those who want something of these calendars, each with the first change that it wants.
    fn tell(&self, firsts: &BTreeMap<&str, Revision>) {
        let mut named: Vec<(Revision, &str)> = firsts.iter().map(|(calendar, first)| (*first, *calendar)).collect();
        named.sort_unstable();
        for (first, calendar) in &named {
            self.by_calendar.get(*calendar).into_iter().flat_map(HashMap::values).for_each(|it| it.wake(*first));
        }
        for entry in self.wide.values() {
            let first = match &entry.filter {
                CalendarFilter::Prefix(prefix) => {
                    let from = firsts.range(prefix.as_str()..);
                    from.take_while(|(calendar, _)| calendar.starts_with(prefix.as_str()))
                        .map(|(_, first)| *first)
                        .min()
                }
                _ => named.first().map(|(first, _)| *first),
            };
            if let Some(first) = first {
                entry.wake(first);
            }
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(entry) = self.all.remove(&number) else { return };
        self.wide.remove(&number);
        if let CalendarFilter::Among(calendars) = &entry.filter {
            for id in calendars {
                if let Some(watchers) = self.by_calendar.get_mut(id) {
                    watchers.remove(&number);
                    if watchers.is_empty() {
                        self.by_calendar.remove(id);
                    }
                }
            }
        }
    }
}

/// See the header.
pub(super) struct Fanout {
    handover: Mutex<Handover>,
    ring: Mutex<Ring>,
    registry: Mutex<Registry>,
    /// How many watchers there are.
    count: AtomicUsize,
    /// Whoever wants a change up to this one has been told.
    seen: AtomicU64,
    /// The server is stopping. Written while the registry is held, so that nobody slips in.
    is_closed: AtomicBool,
    /// Who may read the store at a time because it is behind.
    pub(super) catching_up: Semaphore,
    begun: Monotonic,
    pub(super) settings: WatchSettings,
}

/// A lock that is held for a moment; what it guards is whole even if its last holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fanout {
    /// The fan-out of an engine that stands at this revision, the writer's end of it, and what wakes watchers.
    pub(super) fn start(revision: Revision, settings: WatchSettings, layout: Layout) -> (Arc<Self>, Publisher, Waker) {
        let fanout = Arc::new(Self {
            handover: Mutex::default(),
            ring: Mutex::new(Ring::new(settings.ring_changes_max, settings.part_events_max)),
            registry: Mutex::default(),
            count: AtomicUsize::new(0),
            seen: AtomicU64::new(revision.0),
            is_closed: AtomicBool::new(false),
            catching_up: Semaphore::new(CATCHING_UP_MAX),
            begun: Monotonic::now(),
            settings,
        });
        let (news, received) = watch::channel(News { revision, ticks: 0 });
        let waker = Waker::spawn(Arc::clone(&fanout), received, layout);
        (Arc::clone(&fanout), Publisher { fanout, news }, waker)
    }

    /// Takes what was handed over into the ring.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        let mut ring = lock(&self.ring);
        let handed = std::mem::take(&mut *lock(&self.handover));
        handed.batches.iter().for_each(|changes| ring.absorb(changes));
        ring
    }

    /// A page of what came after a revision; none when the store must be asked.
    pub(super) fn page(&self, after: Revision, newest: Revision, filter: &CalendarFilter) -> Option<RingPage> {
        self.ring().page(after, newest, filter)
    }

    /// Brings what was read at a revision up to date in what is personal. False when it must be read again.
    pub(super) fn refresh(&self, told: &mut Told, read_at: Revision, newest: Revision) -> bool {
        newest <= read_at || self.ring().refresh(told, read_at, newest)
    }

    /// Everybody who wants a change up to this one has been told.
    pub(super) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::SeqCst))
    }

    /// Wakes those who want what is new.
    fn spread(&self, newest: Revision, is_tick: bool) {
        let seen = self.seen();
        let fresh: Option<Vec<_>> = {
            let ring = self.ring();
            let is_whole = newest <= seen || ring.end().is_some_and(|end| end >= newest);
            ring.after(seen).filter(|_| is_whole).map(|it| it.cloned().collect())
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
            registry.all.values().filter(|it| it.is_timed).for_each(|it| it.woken.notify_one());
        }
        // Before the registry is let go: whoever registers now is told of what comes after.
        self.seen.store(end.0, Ordering::SeqCst);
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Notes a watcher. Refused when there are too many that are served, or when the server is stopping.
    pub(super) fn register(self: &Arc<Self>, filter: CalendarFilter, is_timed: bool) -> Result<Registration, Failure> {
        let mut registry = lock(&self.registry);
        if self.is_closed() {
            return Err(Failure::ShuttingDown);
        }
        if registry.all.len() >= self.settings.watches_max {
            self.make_room(&mut registry);
        }
        if registry.all.len() >= self.settings.watches_max {
            return Err(Failure::TooManyWatches(self.settings.watches_max));
        }
        let (pending, resting) = (AtomicU64::new(0), AtomicU64::new(0));
        let (woken, is_cut) = (Notify::new(), AtomicBool::new(false));
        let entry = Arc::new(Entry { filter, is_timed, pending, woken, resting, is_cut });
        let number = registry.put(Arc::clone(&entry));
        self.count.store(registry.all.len(), Ordering::SeqCst);
        Ok(Registration { fanout: Arc::clone(self), number, entry })
    }

    /// Those who do not read what they are sent go first.
    fn make_room(&self, registry: &mut Registry) {
        let now = self.clock();
        let longest = u64::try_from(self.settings.stall_max.as_millis()).unwrap_or(u64::MAX);
        let is_stalled = |entry: &Entry| match entry.resting.load(Ordering::SeqCst) {
            0 => false,
            since => now.saturating_sub(since) > longest,
        };
        let stalled: Vec<u64> = registry.all.iter().filter(|(_, it)| is_stalled(it)).map(|(it, _)| *it).collect();
        for number in stalled {
            if let Some(entry) = registry.all.get(&number) {
                entry.is_cut.store(true, Ordering::SeqCst);
            }
            registry.remove(number);
        }
    }

    /// Ends every watch, each with the last revision that it was told of; no new one begins.
    pub(super) fn close(&self) {
        let registry = lock(&self.registry);
        self.is_closed.store(true, Ordering::SeqCst);
        registry.all.values().for_each(|it| it.woken.notify_one());
    }

    /// The server is stopping.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

/// A watcher's place among the others, given back when it is dropped.
pub(super) struct Registration {
    pub(super) fanout: Arc<Fanout>,
    number: u64,
    pub(super) entry: Arc<Entry>,
}

impl Registration {
    /// It has been given something, and has not asked for more yet.
    pub(super) fn rests(&self) {
        self.entry.resting.store(self.fanout.clock(), Ordering::SeqCst);
    }

    /// It asks for more; answers how long it has rested.
    pub(super) fn asks(&self) -> Duration {
        match self.entry.resting.swap(0, Ordering::SeqCst) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.fanout.clock().saturating_sub(since)),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = lock(&self.fanout.registry);
        registry.remove(self.number);
        self.fanout.count.store(registry.all.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use bookd_core::change::{Cause, Event};
    use bookd_core::ids::Caller;
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
            events: vec![Event::CalendarDeleted { calendar: id(calendar), staged: None }],
        };
        (first..).zip(calendars).map(change).collect()
    }

    #[tokio::test]
    async fn only_who_is_touched_is_woken_and_told_the_first_change_that_is_for_him() {
        let (fanout, publisher, waker) = Fanout::start(Revision(0), WatchSettings::default(), Layout::Inline);
        let watch = |filter| fanout.register(filter, false).unwrap();
        let of = |names: &[&str]| CalendarFilter::Among(names.iter().map(|name| id(name)).collect());
        let (ada, several) = (watch(of(&["ada"])), watch(of(&["nobody", "b/2", "ada"])));
        let (all, prefix) = (watch(CalendarFilter::All), watch(CalendarFilter::Prefix("b/".to_owned())));
        let (other, nobody) = (watch(of(&["b"])), watch(CalendarFilter::Prefix("b/22".to_owned())));
        publisher.publish(changes(1, ["zoe", "b/2", "b/1", "ada", "ada"]), Revision(5));
        all.entry.woken().await;
        let pending = [ada, several, all, prefix, other, nobody].map(|it| it.entry.take_pending().map(|first| first.0));
        assert_eq!(pending, [Some(4), Some(2), Some(1), Some(2), None, None]);
        assert_eq!(fanout.seen(), Revision(5));
        drop(publisher);
        waker.join().await;
        assert_eq!(fanout.register(CalendarFilter::All, false).err(), Some(Failure::ShuttingDown));
    }

    #[tokio::test]
    async fn what_was_not_taken_in_time_is_left_to_the_store_and_nobody_is_forgotten() {
        let (fanout, publisher, waker) = Fanout::start(Revision(0), WatchSettings::default(), Layout::Inline);
        let watcher = fanout.register(CalendarFilter::Among(vec![id("ada")]), false).unwrap();
        // Nobody takes anything meanwhile: the first batch has no room any more.
        publisher.publish(changes(1, std::iter::repeat_n("ada", 1)), Revision(1));
        publisher.publish(changes(2, std::iter::repeat_n("zoe", HANDOVER_CHANGES_MAX)), Revision(8_193));
        watcher.entry.woken().await;
        assert_eq!(watcher.entry.take_pending(), Some(Revision(1)));
        let page = |after| fanout.page(Revision(after), Revision(8_193), &watcher.entry.filter);
        assert!(page(0).is_none() && page(1).is_some());
        drop(publisher);
        waker.join().await;
    }
}
