//! The engine: one actor owns every calendar of the process, and all commands pass through its mailbox.
//!
//! `decide → durable → visible → answered`, in this order, is the whole argument for linearizability: no answer,
//! refusals included, leaves before every change that it saw is on disk. Readers use snapshots and never queue.
//!
//! Whoever waits for the writer waits on a channel of which the writer has the other end: when the writer ends, every
//! wait for it ends with a failure that says whether something may have happened.

mod actor;
mod actor_thread;
mod batch;
mod call;
mod clock;
mod closed_calendar;
mod commit;
mod damage;
mod damaged_batch;
mod deletion;
mod error;
mod fast_reject;
mod loading;
mod log_throttle;
mod mail;
mod offload;
mod prefetch;
mod queue;
mod reader_pool;
mod settings;
mod snapshot_decision;
mod snapshots;
mod stall;
mod stop;
mod submit;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests;
mod watch;
mod writer_clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::clock::Clock;
use crate::log::subscriptions::{Subscriptions, Waker};
use crate::store::{LogReader, Queries, Reader, Store, StoreError};
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;

pub use call::{Answer, Held, RequestId, Terms, Wait};
pub use clock::{CLOCK_AHEAD_MAX, CLOCK_BEHIND_LOGGED, CLOCK_JUMP_MAX, CLOCK_STEADY};
pub use deletion::Slices;
pub use error::Failure;
pub use settings::{BATCH_MAX, CALENDARS_IN_MEMORY_MAX, MAILBOX_MAX, Settings};
pub use snapshots::View;
pub use stop::Stopped;
pub use watch::{CalendarWatch, Wakeup, Watch, Watched};

use actor_thread::ActorThread;
use clock::EngineClock;
use mail::{Load, Mail};
use offload::{Offload, SEARCHES_MAX};
use reader_pool::ReaderPool;
use snapshots::Snapshots;

/// How many store reads run at a time; more wait for their turn until their deadline.
pub const READERS_MAX: usize = 4;
/// How many decisions are made beside the writer at a time; more wait for their turn until their deadline. Reads have
/// readers of their own: a list never waits for a dry run.
pub const DECIDERS_MAX: usize = 2;
/// How often a reader has calendars loaded that are dropped again before it sees them.
const LOADS_MAX: usize = 3;
/// How long a request id is remembered at least, in seconds.
pub const REQUEST_MEMORY: i64 = 8 * 24 * 60 * 60;
/// How long a call waits for the engine when it brings no deadline of its own.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A handle to the engine; copies share it.
#[derive(Clone)]
pub struct Engine {
    mailbox: mpsc::Sender<Mail>,
    published: Arc<Snapshots>,
    readers: Arc<ReaderPool>,
    /// For decisions beside the writer.
    deciders: Arc<ReaderPool>,
    decides_beside: bool,
    /// See `Settings`.
    slices: Slices,
    /// Held by who prepares the deletion of a calendar.
    deletions: Arc<Mutex<()>>,
    aside: Offload,
    subscriptions: Arc<Subscriptions>,
    /// Who may read the store at a time because its watch is behind.
    catching_up: Arc<Semaphore>,
    clock: Arc<EngineClock>,
    code_key: u64,
    /// See `cut`.
    is_cut: Arc<AtomicBool>,
}

/// The engine as it runs: waited for at the end, so that nothing is left undone.
pub struct RunningEngine {
    worker: ActorThread,
    waker: Waker,
}

impl RunningEngine {
    /// Waits until the actor has stopped: after every `Engine` is dropped, or after a failure that it must not outlive.
    pub async fn stopped(self) -> Stopped {
        let stopped = self.worker.join().await;
        // It ends when the writer is gone.
        self.waker.join().await;
        stopped
    }
}

impl Engine {
    /// Starts the actor on this store. The store has been opened and belongs to the actor from now on.
    pub fn start(
        mut store: Box<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<(Self, RunningEngine), StoreError> {
        let clock = Arc::new(EngineClock::new(clock));
        let boot = store.boot()?;
        let readers = |count| {
            (0..count)
                .map(|_| store.reader())
                .collect::<Result<Vec<_>, _>>()
        };
        let (readers, deciders) = (readers(READERS_MAX)?, readers(DECIDERS_MAX)?);
        let readers = Arc::new(ReaderPool::new(readers, settings.layout));
        let deciders = Arc::new(ReaderPool::new(deciders, settings.layout));
        let (published, commits) = Snapshots::new(boot.revision, boot.last_time);
        let (mailbox, mail) = mpsc::channel(settings.mailbox_max);
        let code_key = boot.code_key;
        let (subscriptions, publisher, waker) =
            Subscriptions::start(boot.revision, settings.watch, settings.layout);
        let catching_up = Arc::new(Semaphore::new(watch::CATCHING_UP_MAX));
        let shown = (Arc::clone(&published), commits);
        let is_cut = Arc::new(AtomicBool::new(false));
        let actor = actor::Actor::new(
            store,
            boot,
            Arc::clone(&clock),
            shown,
            publisher,
            Arc::clone(&is_cut),
            settings,
        );
        let worker = ActorThread::spawn(actor, mail, settings.layout);
        let (decides_beside, aside) = (
            settings.decides_beside,
            Offload::new(settings.layout, SEARCHES_MAX),
        );
        let (slices, deletions) = (settings.slices, Arc::default());
        let engine = Self {
            mailbox,
            published,
            readers,
            deciders,
            decides_beside,
            slices,
            deletions,
            aside,
            subscriptions,
            catching_up,
            clock,
            code_key,
            is_cut,
        };
        Ok((engine, RunningEngine { worker, waker }))
    }

    /// One moment of these calendars: all at one revision. A calendar that does not exist is a refusal.
    pub async fn view(&self, calendars: &[CalendarId], wait: &Wait) -> Result<View, Failure> {
        for _ in 0..LOADS_MAX {
            if let Some(view) = self.published.view(calendars, self.clock.now()) {
                return Ok(view);
            }
            if let Some(absent) = self.bring(self.published.missing(calendars), wait).await? {
                return Err(Refusal::CalendarNotFound(absent).into());
            }
        }
        self.published
            .view(calendars, self.clock.now())
            .ok_or(Failure::Overloaded)
    }

    /// Has calendars come into memory: they are loaded beside the writer, which takes them over as they are unless they
    /// changed meanwhile. Answers the first that does not exist.
    async fn bring(
        &self,
        calendars: Vec<CalendarId>,
        wait: &Wait,
    ) -> Result<Option<CalendarId>, Failure> {
        let deadline = wait.deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX);
        let (asked, published) = (calendars.clone(), Arc::clone(&self.published));
        // While it waited for a reader, another may have brought them.
        let load = move |reader: &mut dyn Reader| {
            snapshot_decision::load(reader, &published.missing(&asked))
        };
        let loaded = self.read(Some(deadline), load).await;
        let adopted = match loaded {
            Ok(snapshot_decision::Loaded {
                absent: Some(absent),
                ..
            }) => return Ok(Some(absent)),
            Ok(snapshot_decision::Loaded { calendars, .. }) => calendars,
            // What cannot be read the writer tries, too, and says so.
            Err(Failure::StoreUnavailable(_) | Failure::Damaged) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        if self.published.missing(&calendars).is_empty() {
            return Ok(None);
        }
        let (reply, loaded) = oneshot::channel();
        self.post(Mail::Load(Load {
            calendars,
            adopted,
            deadline,
            _held: wait.held.clone(),
            reply,
        }))?;
        loaded.await.unwrap_or(Err(Failure::ShuttingDown))
    }

    /// Asks the store, beside the writer. The answer holds everything that was answered before it was asked, and nothing
    /// of a commit whose outcome is not known. Fails with `ExpiredInQueue` when no connection is free by the deadline.
    pub async fn query<T, F>(&self, deadline: Option<Deadline>, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Queries) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(deadline, |reader| ask(reader)).await
    }

    /// Reads the log, on the terms of [`Engine::query`].
    pub async fn read_log<T, F>(&self, deadline: Option<Deadline>, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn LogReader) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(deadline, |reader| ask(reader)).await
    }

    /// Both, with one connection; the API asks for the one that it needs.
    pub async fn read<T, F>(&self, deadline: Option<Deadline>, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    {
        self.read_by(&self.readers, deadline, ask).await
    }

    async fn read_by<T, F>(
        &self,
        readers: &ReaderPool,
        deadline: Option<Deadline>,
        ask: F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let answer = readers
            .read(deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX), ask)
            .await;
        self.published.settled().await?;
        answer
    }

    /// Does what takes a processor for many milliseconds where nobody else is waiting for the thread.
    pub async fn compute<T: Send + 'static>(
        &self,
        deadline: Option<Deadline>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.aside
            .compute(deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX), work)
            .await
    }

    /// The last published revision.
    pub fn revision(&self) -> Revision {
        self.published.revision()
    }

    /// `now` as reads see it: the clock as far as it is believed, and never before the last change.
    pub fn now(&self) -> Instant {
        self.published.time().max(self.clock.now())
    }

    /// The store's secret behind confirmation codes.
    pub fn code_key(&self) -> u64 {
        self.code_key
    }

    /// Lets nothing more be decided: what the writer has decided becomes durable and is answered, and whatever still waits
    /// is told that the server is shutting down. For a stop whose grace is over.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        // It may be asleep. Where the mailbox is full it is not.
        let _is_awake = self.mailbox.try_send(Mail::Tick {
            reply: oneshot::channel().0,
        });
    }

    /// Waits until the actor is gone.
    pub async fn closed(&self) {
        self.mailbox.closed().await;
    }

    /// Makes the actor look at the clock, and waits until it did. For clocks that are moved by hand.
    pub async fn tick(&self) -> Result<(), Failure> {
        let (reply, done) = oneshot::channel();
        self.post(Mail::Tick { reply })?;
        done.await.map_err(|_| Failure::ShuttingDown)
    }

    fn post(&self, mail: Mail) -> Result<(), Failure> {
        self.mailbox.try_send(mail).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Failure::ShuttingDown,
        })
    }
}
