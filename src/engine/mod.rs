//! The engine: one actor owns every calendar of the process, and all commands pass through its
//! mailbox.
//!
//! `decide → durable → visible → answered`, in this order, is the whole argument for
//! linearizability: no answer, refusals included, leaves before every change that it saw is on
//! disk. Readers use snapshots and never queue.
//!
//! Every wait for the writer is a wait on a channel whose other end the writer holds: when the
//! writer ends, each of them ends with a failure that says whether something may have happened.

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
mod metrics;
mod offload;
mod prefetch;
mod queue;
mod reader_pool;
mod reply;
mod settings;
mod snapshot_decision;
mod snapshots;
mod stall;
mod status;
mod stop;
mod submit;
mod tenant_quotas;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests;
mod watch;
mod writer_clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::log::subscriptions::{Subscriptions, WakerThread};
use crate::store::{LogReader, Queries, Reader, Store, StoreError};
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;
use bookd_core::token::Tokens;

pub use call::{Answer, CommitFigures, QueuePermit, RequestId, SubmitOptions, Wait};
pub use clock::{CLOCK_AHEAD_MAX, CLOCK_BEHIND_LOGGED, CLOCK_JUMP_MAX, CLOCK_STEADY};
pub use deletion::DeletionSettings;
pub use error::Failure;
pub use metrics::EngineMetrics;
pub use settings::{BATCH_MAX, CALENDARS_IN_MEMORY_MAX, MAILBOX_MAX, Settings};
pub use snapshots::View;
pub use status::EngineStatus;
pub use stop::Stopped;
pub use tenant_quotas::{NotCounted, TenantQuotas};
pub use watch::{CalendarWatch, Wakeup, Watch, Watched};

use actor_thread::ActorThread;
use clock::EngineClock;
use mail::{Load, Mail};
use offload::{Offload, SEARCHES_MAX};
use reader_pool::ReaderPool;
use snapshots::Snapshots;
use status::StoreStatus;

/// The number of store reads that run at a time; further ones wait until their deadline.
pub const READERS_MAX: usize = 4;
/// The number of decisions that are made on a snapshot of the store at a time; further ones wait
/// until their deadline. They have store connections of their own, so that a list never waits for a
/// dry run.
pub const DECIDERS_MAX: usize = 2;
/// How often a view loads its calendars anew when they were dropped again before it was taken.
const LOADS_MAX: usize = 3;
/// The least time for which a request id is remembered, in seconds.
pub const REQUEST_MEMORY: i64 = 8 * 24 * 60 * 60;
/// How long a call without a deadline waits for the engine.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A handle to the engine; copies share it.
#[derive(Clone)]
pub struct Engine {
    // Fields are dropped in this order: the readers close their connections before the end of the
    // mailbox ends the writer. `end` says why.
    readers: Arc<ReaderPool>,
    /// Store connections for decisions on a snapshot of the store.
    deciders: Arc<ReaderPool>,
    mailbox: mpsc::Sender<Mail>,
    snapshots: Arc<Snapshots>,
    decides_on_snapshots: bool,
    /// When and in which slices the calendars with many appointments are deleted.
    deletion_settings: DeletionSettings,
    /// Locked while the deletion of a calendar is prepared: one at a time.
    deletions: Arc<Mutex<()>>,
    searches: Offload,
    subscriptions: Arc<Subscriptions>,
    /// Bounds how many watches that are behind read the store at a time.
    catching_up: Arc<Semaphore>,
    clock: Arc<EngineClock>,
    code_key: u64,
    /// The bell of the worker on which the callers of this handle wait; none = they wait on no
    /// worker.
    bell: Option<Bell>,
    /// Nothing more is decided, because [`Engine::cut`] was called.
    is_cut: Arc<AtomicBool>,
    metrics: Arc<EngineMetrics>,
    store: StoreStatus,
    quotas: TenantQuotas,
}

/// What the actor shares with the handles of the engine.
struct ActorShared {
    clock: Arc<EngineClock>,
    snapshots: Arc<Snapshots>,
    is_cut: Arc<AtomicBool>,
    metrics: Arc<EngineMetrics>,
    quotas: TenantQuotas,
}

/// The running threads of the engine, to be joined at the end.
pub struct RunningEngine {
    worker: ActorThread,
    waker: WakerThread,
}

impl RunningEngine {
    /// Waits until the actor has stopped: after every `Engine` was dropped, or after a fatal
    /// failure.
    pub async fn stopped(self) -> Stopped {
        let stopped = self.worker.join().await;
        // The thread that wakes watchers ends when the writer has dropped its `Publisher`.
        self.waker.join().await;
        stopped
    }
}

impl Engine {
    /// Starts the actor on an open store, which belongs to the actor from now on.
    pub fn start(
        mut store: Box<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<(Self, RunningEngine), StoreError> {
        let clock = Arc::new(EngineClock::new(clock));
        let boot = store.boot()?;
        let last = (boot.revision, boot.last_time);
        let quotas = TenantQuotas::start(settings.quotas.clone(), &mut *store, last)?;
        let readers = |count| {
            (0..count)
                .map(|_| store.reader())
                .collect::<Result<Vec<_>, _>>()
        };
        let (readers, deciders) = (readers(READERS_MAX)?, readers(DECIDERS_MAX)?);
        let readers = Arc::new(ReaderPool::new(readers, settings.layout));
        let deciders = Arc::new(ReaderPool::new(deciders, settings.layout));
        let (snapshots, commits) =
            Snapshots::new(boot.revision, boot.last_time, boot.tokens.clone());
        let (mailbox, mail) = mpsc::channel(settings.mailbox_max);
        let code_key = boot.code_key;
        let (subscriptions, publisher, waker) =
            Subscriptions::start(boot.revision, settings.watch, settings.layout);
        let catching_up = Arc::new(Semaphore::new(watch::CATCHING_UP_MAX));
        let is_cut = Arc::new(AtomicBool::new(false));
        let (metrics, status) = (Arc::new(EngineMetrics::new()), StoreStatus::of(&*store));
        let shared = ActorShared {
            clock: Arc::clone(&clock),
            snapshots: Arc::clone(&snapshots),
            is_cut: Arc::clone(&is_cut),
            metrics: Arc::clone(&metrics),
            quotas: quotas.clone(),
        };
        let (layout, deletion_settings) = (settings.layout, settings.deletion_settings);
        let decides_on_snapshots = settings.decides_on_snapshots;
        let actor = actor::Actor::new(store, boot, shared, (commits, publisher), settings);
        let worker = ActorThread::spawn(actor, mail, layout);
        let searches = Offload::new(layout, SEARCHES_MAX);
        let deletions = Arc::default();
        let engine = Self {
            mailbox,
            snapshots,
            readers,
            deciders,
            decides_on_snapshots,
            deletion_settings,
            deletions,
            searches,
            subscriptions,
            catching_up,
            clock,
            code_key,
            bell: None,
            is_cut,
            metrics,
            store: status,
            quotas,
        };
        Ok((engine, RunningEngine { worker, waker }))
    }

    /// A handle for the callers on one worker: their answers and the changes that they watch are
    /// handed over as one list for each batch.
    pub fn on_worker(&self, bell: Bell) -> Self {
        Self {
            bell: Some(bell),
            ..self.clone()
        }
    }

    /// These calendars at one revision, loaded if they are not in memory. A calendar that does not
    /// exist is a refusal.
    pub async fn view(&self, calendars: &[CalendarId], wait: &Wait) -> Result<View, Failure> {
        for _ in 0..LOADS_MAX {
            if let Some(view) = self.snapshots.view(calendars, self.clock.now()) {
                return Ok(view);
            }
            if let Some(absent) = self
                .load_missing(self.snapshots.missing(calendars), wait)
                .await?
            {
                return Err(Refusal::CalendarNotFound(absent).into());
            }
        }
        self.snapshots
            .view(calendars, self.clock.now())
            .ok_or(Failure::Overloaded)
    }

    /// Brings calendars into memory: a store connection loads them, and the writer adopts each that
    /// has not changed meanwhile. Returns the first calendar that does not exist.
    async fn load_missing(
        &self,
        calendars: Vec<CalendarId>,
        wait: &Wait,
    ) -> Result<Option<CalendarId>, Failure> {
        let deadline = wait.deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX);
        let (asked, snapshots) = (calendars.clone(), Arc::clone(&self.snapshots));
        // While this call waited for a connection, another one may have loaded them.
        let load = move |reader: &mut dyn Reader| {
            snapshot_decision::load(reader, &snapshots.missing(&asked))
        };
        let loaded = self.read(Some(deadline), load).await;
        let adopted = match loaded {
            Ok(snapshot_decision::Loaded {
                absent: Some(absent),
                ..
            }) => return Ok(Some(absent)),
            Ok(snapshot_decision::Loaded { calendars, .. }) => calendars,
            // The writer tries again what could not be read here, and reports the failure.
            Err(Failure::StoreUnavailable(_) | Failure::Damaged) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        if self.snapshots.missing(&calendars).is_empty() {
            return Ok(None);
        }
        let (reply, loaded) = oneshot::channel();
        self.post(Mail::Load(Load {
            calendars,
            adopted,
            deadline,
            _permit: wait.permit.clone(),
            reply,
        }))?;
        loaded.await.unwrap_or(Err(Failure::ShuttingDown))
    }

    /// Reads the store off the worker threads and without the writer. The result shows every change
    /// that was acknowledged before the call, and nothing of a commit whose outcome is not known.
    /// Fails with `ExpiredInQueue` when no connection is free by the deadline.
    pub async fn query<T, F>(&self, deadline: Option<Deadline>, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Queries) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(deadline, |reader| ask(reader)).await
    }

    /// Reads the log, under the same conditions as [`Engine::query`].
    pub async fn read_log<T, F>(&self, deadline: Option<Deadline>, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn LogReader) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(deadline, |reader| ask(reader)).await
    }

    /// Reads appointments, calendars and the log by one connection, under the same conditions as
    /// [`Engine::query`]. The API uses `query` and `read_log`, which show it less.
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
        self.snapshots.wait_for_commits().await?;
        answer
    }

    /// Runs a computation of many milliseconds off the worker threads.
    pub async fn compute<T: Send + 'static>(
        &self,
        deadline: Option<Deadline>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.searches
            .compute(deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX), work)
            .await
    }

    /// The status, for whoever watches the engine. It does not keep the engine from ending.
    pub fn status(&self) -> EngineStatus {
        EngineStatus::new(
            &self.mailbox,
            &self.snapshots,
            &self.subscriptions,
            &self.clock,
            &self.metrics,
            &self.store,
        )
    }

    /// The tokens of the store as of the last commit, and each time that they change.
    pub fn tokens(&self) -> Receiver<Tokens> {
        self.snapshots.tokens()
    }

    /// The quotas of tenants, to be replaced or looked at.
    pub fn quotas(&self) -> TenantQuotas {
        self.quotas.clone()
    }

    /// The last published revision.
    pub fn revision(&self) -> Revision {
        self.snapshots.revision()
    }

    /// `now` as reads see it: the believed clock, but never before the last change.
    pub fn now(&self) -> Instant {
        self.snapshots.time().max(self.clock.now())
    }

    /// The secret of the store from which confirmation codes are derived.
    pub fn code_key(&self) -> u64 {
        self.code_key
    }

    /// Stops deciding: what the writer has decided becomes durable and is answered, and every
    /// command that still waits is refused as shutting down. For a stop whose grace period is over.
    pub fn cut(&self) {
        cut(&self.mailbox, &self.is_cut);
    }

    /// Gives up this handle, and stops deciding as [`Engine::cut`] does. The readers of the last
    /// handle close their connections before the writer is told: of two SQLite connections that
    /// close at the same time each takes the other for one that stays, and neither copies the WAL.
    pub fn end(self) {
        let Self {
            readers,
            deciders,
            mailbox,
            is_cut,
            ..
        } = self;
        drop((readers, deciders));
        cut(&mailbox, &is_cut);
    }

    /// Waits until the actor has ended.
    pub async fn closed(&self) {
        self.mailbox.closed().await;
    }

    /// Makes the actor read the clock, and waits until it has. For clocks that are moved by hand.
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

fn cut(mailbox: &mpsc::Sender<Mail>, is_cut: &AtomicBool) {
    is_cut.store(true, Ordering::Relaxed);
    // The tick wakes the writer if it sleeps; while the mailbox is full it does not sleep.
    let _is_awake = mailbox.try_send(Mail::Tick {
        reply: oneshot::channel().0,
    });
}
