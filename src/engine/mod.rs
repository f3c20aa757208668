//! The engine: one actor owns every calendar of the process, and all commands pass through its mailbox.
//!
//! `decide → durable → visible → answered`, in this order, is the whole argument for linearizability: no answer,
//! refusals included, leaves before every change that it saw is on disk. ReaderPool use snapshots and never queue.
//!
//! Whoever waits for the writer waits on a channel of which the writer has the other end: when the writer ends, every
//! wait for it ends with a failure that says whether something may have happened.

mod actor;
mod actor_thread;
mod batch;
mod clock;
mod closed_calendar;
mod commit;
mod damage;
mod damaged_batch;
mod deletion;
mod fast_reject;
mod loading;
mod log_throttle;
mod offload;
mod prefetch;
mod queue;
mod reader_pool;
mod snapshot_decision;
mod snapshots;
mod stall;
mod stop;
mod submit;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests;
mod watch;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::clock::Clock;
use crate::layout::Layout;
use crate::log::WatchSettings;
use crate::log::subscriptions::{Subscriptions, Waker};
use crate::store::{LogReader, Queries, Reader, Store, StoreError};
use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::decide::Outcome;
use bookd_core::ids::{CalendarId, Caller, Revision};
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;

pub use clock::{CLOCK_AHEAD_MAX, CLOCK_BEHIND_LOGGED, CLOCK_JUMP_MAX, CLOCK_STEADY};
pub use deletion::Slices;
pub use snapshots::View;
pub use stop::Stopped;
pub use watch::{CalendarWatch, Wakeup, Watch, Watched};

use actor_thread::Worker;
use clock::EngineClock;
use closed_calendar::{Asking, Step};
use offload::{Offload, SEARCHES_MAX};
use reader_pool::ReaderPool;
use snapshots::Snapshots;

/// How many commands may wait for the writer to take them up, and as many more for their turn. A full mailbox refuses at once: waiting longer than this many decisions helps nobody.
pub const MAILBOX_MAX: usize = 8_192;
/// How many commands share a commit at most: bounds what a failed commit takes with it, and how long readers wait.
pub const BATCH_MAX: usize = 1_024;
/// How many store reads run at a time; more wait for their turn until their deadline.
pub const READERS_MAX: usize = 4;
/// How many decisions are made beside the writer at a time; more wait for their turn until their deadline. Reads have
/// readers of their own: a list never waits for a dry run.
pub const DECIDERS_MAX: usize = 2;
/// How many calendars stay in memory; the least recently used beyond are dropped and come back on demand.
pub const CALENDARS_IN_MEMORY_MAX: usize = 200_000;
/// How often a reader has calendars loaded that are dropped again before it sees them.
const LOADS_MAX: usize = 3;
/// How long a request id is remembered at least, in seconds.
pub const REQUEST_MEMORY: i64 = 8 * 24 * 60 * 60;
/// How long a call waits for the engine when it brings no deadline of its own.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// What counts for as long as it stands in the writer's queue, though nobody may wait for its answer any more.
pub type Held = Arc<dyn Any + Send + Sync>;

/// How a reader waits.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// After this it does not.
    pub deadline: Option<Deadline>,
    /// See `Held`.
    pub held: Option<Held>,
}

/// How a command is to be taken.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who sends it.
    pub caller: Caller,
    /// By which connection it came; none = from this process. Commands of several are decided in turn.
    pub sender: Option<SocketAddr>,
    /// By which method, for the log.
    pub method: &'static str,
    /// The client's idempotency key, if it gave one.
    pub request: Option<RequestId>,
    /// Decide and answer, but change nothing.
    pub is_dry_run: bool,
    /// After this nobody waits for the answer.
    pub deadline: Option<Deadline>,
    /// See `Held`.
    pub held: Option<Held>,
    /// The engine's own: with the end of a deletion goes what stands for whoever waits for it.
    pub asking: Option<Asking>,
}

/// A client's idempotency key and what it stands for, as hashes; the store never learns the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId {
    /// Of caller and `request_id`.
    pub hash: [u8; 16],
    /// Of RPC and canonical request.
    pub fingerprint: [u8; 16],
}

/// What a command led to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The change's; of an answer that changed nothing, the last one it saw.
    pub revision: Revision,
    /// What it is about.
    pub outcome: Outcome,
    /// The calendar it is about, as it is after the command.
    pub calendar: Option<Arc<Calendar>>,
    /// The appointments that lie outside open time now.
    pub outside: Vec<Appointment>,
    /// The writer's `now`.
    pub time: Instant,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The command was decided, and refused.
    #[error("refused: {0:?}")]
    Refused(Box<Refusal>),
    /// The mailbox is full. Nothing happened.
    #[error("{MAILBOX_MAX} commands are waiting already")]
    Overloaded,
    /// The engine is stopping. Nothing happened.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store refused before the commit. Nothing happened.
    #[error("{0}")]
    StoreUnavailable(String),
    /// What is stored of it is not what was written. Nothing happened.
    #[error("what is stored of this is damaged")]
    Damaged,
    /// The store failed in the commit itself: it happened, or it did not.
    #[error("the outcome of the commit is not known")]
    CommitUnknown,
    /// The deadline passed before the work began. Nothing happened.
    #[error("the deadline passed before the work began")]
    ExpiredInQueue,
    /// Paging or watching at a revision that is no longer kept; the oldest one that is.
    #[error("history before revision {0} is compacted")]
    Compacted(Revision),
    /// Watching from a revision that has not been made.
    #[error("the newest revision is {newest}")]
    InFuture {
        /// The newest one.
        newest: Revision,
        /// The oldest one that is kept.
        oldest: Revision,
    },
    /// The watcher was too slow.
    #[error("the watcher was too slow; it was told of everything up to revision {last}")]
    Lagged {
        /// The last revision that it was told of.
        last: Revision,
        /// The oldest one that is kept.
        oldest: Revision,
    },
    /// So many watches are open already.
    #[error("{0} watches are open already")]
    TooManyWatches(usize),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { oldest } => Self::Compacted(oldest),
            StoreError::Damaged(_) => Self::Damaged,
            other => Self::StoreUnavailable(other.to_string()),
        }
    }
}

/// A message to the actor.
enum Mail {
    /// Decide this.
    Command { command: Box<Command>, terms: Terms, reply: oneshot::Sender<Result<Answer, Failure>> },
    /// Bring these calendars into memory, so that a reader finds them published.
    Load(Load),
    /// Prepare the deletion of a calendar.
    Deletion(Step),
    /// Look at the clock: tests move it by hand.
    Tick { reply: oneshot::Sender<()> },
}

/// Calendars that somebody asks for.
struct Load {
    calendars: Vec<CalendarId>,
    /// Those of them that were loaded beside the writer, as of some moment.
    adopted: Vec<Arc<Calendar>>,
    deadline: Deadline,
    _held: Option<Held>,
    /// The answer is the first that does not exist.
    reply: oneshot::Sender<Result<Option<CalendarId>, Failure>>,
}

impl Mail {
    /// Answers that the writer has ended. Nothing happened: it was not taken.
    fn refuse(self) {
        match self {
            Self::Command { reply, .. } => drop(reply.send(Err(Failure::ShuttingDown))),
            Self::Load(load) => drop(load.reply.send(Err(Failure::ShuttingDown))),
            Self::Deletion(step) => step.refuse(),
            // Whoever waits for a tick is told by the end of the channel.
            Self::Tick { reply } => drop(reply),
        }
    }
}

/// What the engine needs to know when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How it runs.
    pub layout: Layout,
    /// The operator says that the clock is right at the start, though it is far ahead of the last commit. What it jumps
    /// afterwards is not confirmed by that.
    pub is_clock_confirmed: bool,
    /// See `MAILBOX_MAX`.
    pub mailbox_max: usize,
    /// See `CALENDARS_IN_MEMORY_MAX`.
    pub calendars_in_memory_max: usize,
    /// How long changes are kept, in seconds; none = for ever. At least `log::retention::KEEP_CHANGES_MIN`.
    pub keep_changes: Option<i64>,
    /// How changes are told to watchers.
    pub watch: WatchSettings,
    /// Dry runs, and large commands that may be refused, are decided beside the writer. Proofs ask the writer, too: what
    /// it has in memory shows in its own decisions alone.
    pub decides_beside: bool,
    /// How calendars with many appointments are deleted.
    pub slices: Slices,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layout: Layout::Threads,
            is_clock_confirmed: false,
            mailbox_max: MAILBOX_MAX,
            calendars_in_memory_max: CALENDARS_IN_MEMORY_MAX,
            keep_changes: None,
            watch: WatchSettings::default(),
            decides_beside: true,
            slices: Slices::default(),
        }
    }
}

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
pub struct Running {
    worker: Worker,
    waker: Waker,
}

impl Running {
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
    ) -> Result<(Self, Running), StoreError> {
        let clock = Arc::new(EngineClock::new(clock));
        let boot = store.boot()?;
        let readers = |count| (0..count).map(|_| store.reader()).collect::<Result<Vec<_>, _>>();
        let (readers, deciders) = (readers(READERS_MAX)?, readers(DECIDERS_MAX)?);
        let readers = Arc::new(ReaderPool::new(readers, settings.layout));
        let deciders = Arc::new(ReaderPool::new(deciders, settings.layout));
        let (published, commits) = Snapshots::new(boot.revision, boot.last_time);
        let (mailbox, mail) = mpsc::channel(settings.mailbox_max);
        let code_key = boot.code_key;
        let (subscriptions, publisher, waker) = Subscriptions::start(boot.revision, settings.watch, settings.layout);
        let catching_up = Arc::new(Semaphore::new(watch::CATCHING_UP_MAX));
        let shown = (Arc::clone(&published), commits);
        let is_cut = Arc::new(AtomicBool::new(false));
        let actor = actor::Actor::new(store, boot, Arc::clone(&clock), shown, publisher, Arc::clone(&is_cut), settings);
        let worker = Worker::spawn(actor, mail, settings.layout);
        let (decides_beside, aside) = (settings.decides_beside, Offload::new(settings.layout, SEARCHES_MAX));
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
        Ok((engine, Running { worker, waker }))
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
        self.published.view(calendars, self.clock.now()).ok_or(Failure::Overloaded)
    }

    /// Has calendars come into memory: they are loaded beside the writer, which takes them over as they are unless they
    /// changed meanwhile. Answers the first that does not exist.
    async fn bring(&self, calendars: Vec<CalendarId>, wait: &Wait) -> Result<Option<CalendarId>, Failure> {
        let deadline = wait.deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX);
        let (asked, published) = (calendars.clone(), Arc::clone(&self.published));
        // While it waited for a reader, another may have brought them.
        let load = move |reader: &mut dyn Reader| snapshot_decision::load(reader, &published.missing(&asked));
        let loaded = self.read(Some(deadline), load).await;
        let adopted = match loaded {
            Ok(snapshot_decision::Loaded { absent: Some(absent), .. }) => return Ok(Some(absent)),
            Ok(snapshot_decision::Loaded { calendars, .. }) => calendars,
            // What cannot be read the writer tries, too, and says so.
            Err(Failure::StoreUnavailable(_) | Failure::Damaged) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        if self.published.missing(&calendars).is_empty() {
            return Ok(None);
        }
        let (reply, loaded) = oneshot::channel();
        self.post(Mail::Load(Load { calendars, adopted, deadline, _held: wait.held.clone(), reply }))?;
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

    async fn read_by<T, F>(&self, readers: &ReaderPool, deadline: Option<Deadline>, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let answer = readers.read(deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX), ask).await;
        self.published.settled().await?;
        answer
    }

    /// Does what takes a processor for many milliseconds where nobody else is waiting for the thread.
    pub async fn compute<T: Send + 'static>(
        &self,
        deadline: Option<Deadline>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.aside.compute(deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX), work).await
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
        let _is_awake = self.mailbox.try_send(Mail::Tick { reply: oneshot::channel().0 });
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
