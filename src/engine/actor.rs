//! The actor: takes the waiting commands, decides them as one batch, commits, publishes, answers.
//! It alone owns the state.
//!
//! The store runs on the actor's thread. The actor must wait for a commit anyway, and the mailbox
//! collects the next batch meanwhile, so that a separate thread for the store would only add two
//! wake-ups to every batch.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::failpoints;
use crate::store::{Boot, RequestRecord, Store, StoreError};
use bookd_core::decide::expire;
use bookd_core::ids::{AppointmentId, CalendarId, Caller};
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::batch::{Batch, Envelope, refuse};
use super::clock::CLOCK_LOOK;
use super::closed_calendar::{DeletionStep, OngoingDeletion};
use super::damage::{Damaged, DamagedBatch};
use super::log_throttle::StoreLog;
use super::metrics::EngineMetrics;
use super::queue::Queue;
use super::snapshots::{Commits, Snapshots};
use super::stall::Stall;
use super::stop::{Stopped, goes_on_without};
use super::writer_clock::WriterClock;
use super::{
    ActorShared, BATCH_MAX, DeletionSettings, Failure, Load, MAILBOX_MAX, Mail, Settings,
    TenantQuotas,
};
use crate::log::retention::Retention;
use crate::log::subscriptions::Publisher;

/// The largest number of expiries that one batch records; further ones wait for the next batch.
const EXPIRIES_MAX: usize = 1_024;
/// The period of the store's upkeep (`Store::tend`).
const TEND_PERIOD: Duration = Duration::from_secs(60);
/// The least time that the actor sleeps before it records an expiry: clocks tick in whole seconds.
const SLEEP_MIN: Duration = Duration::from_millis(20);

/// The writer: the state, the store, and what it needs between batches.
pub(super) struct Actor {
    pub(super) store: Box<dyn Store>,
    pub(super) state: State,
    pub(super) writer_clock: WriterClock,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) commits: Commits,
    pub(super) publisher: Publisher,
    retention: Option<Retention>,
    /// Expiry times of holds and requests, the next one first. Entries that are out of date are
    /// skipped when their time comes.
    pub(super) expiries: BinaryHeap<Reverse<(Instant, AppointmentId)>>,
    /// The commands that wait to be decided.
    pub(super) queue: Queue,
    /// The deletion that is being prepared, if any.
    pub(super) deletion: Option<OngoingDeletion>,
    /// When to go on with the rows that deletions left behind; none = there are none.
    pub(super) settle_due: Option<Deadline>,
    /// When and in which slices the calendars with many appointments are deleted.
    pub(super) deletion_settings: DeletionSettings,
    /// The number of batches since the start.
    pub(super) batches: u64,
    /// The number of calendars that stay in memory.
    pub(super) calendars_in_memory_max: usize,
    /// The calendars that could not be loaded for the current batch, and why.
    pub(super) unloadable: HashMap<CalendarId, Failure>,
    /// The calendars in which damage was met, which are not written to any more.
    pub(super) damaged: Damaged,
    /// Why the actor must stop after the current batch, which was committed and answered.
    pub(super) must_stop: Option<StoreError>,
    /// The number of request ids that were stored since old ones were last removed.
    pub(super) remembered: usize,
    /// When the store's file was last checked (`Store::still_there`).
    store_checked: Deadline,
    /// When the store's upkeep ran last.
    tended: Deadline,
    pub(super) store_log: StoreLog,
    /// The last commit was refused. Expiries are not tried again at once, for a full disk stays
    /// full for a while.
    pub(super) is_refused: bool,
    /// Nothing more is decided, because `Engine::cut` was called.
    is_cut: Arc<AtomicBool>,
    pub(super) metrics: Arc<EngineMetrics>,
    pub(super) quotas: TenantQuotas,
}

impl Actor {
    pub(super) fn new(
        store: Box<dyn Store>,
        boot: Boot,
        shared: ActorShared,
        (commits, publisher): (Commits, Publisher),
        settings: Settings,
    ) -> Self {
        let ActorShared {
            clock,
            snapshots,
            is_cut,
            metrics,
            quotas,
        } = shared;
        let expiries = boot
            .expiring
            .iter()
            .map(|it| Reverse((it.expire_time, it.appointment)))
            .collect();
        let state = State {
            revision: boot.revision,
            last_time: boot.last_time,
            next_key: boot.next_key,
            tokens: boot.tokens,
            ..State::default()
        };
        let writer_clock = WriterClock::new(clock, settings.is_clock_confirmed, boot.last_time);
        Self {
            store,
            state,
            writer_clock,
            snapshots,
            commits,
            publisher,
            retention: settings
                .keep_changes
                .map(|keep| Retention::new(keep, BATCH_MAX)),
            expiries,
            queue: Queue::default(),
            deletion: None,
            settle_due: Some(Deadline::now()),
            deletion_settings: settings.deletion_settings,
            batches: 0,
            calendars_in_memory_max: settings.calendars_in_memory_max,
            unloadable: HashMap::new(),
            damaged: Damaged::default(),
            must_stop: None,
            remembered: 0,
            store_checked: Deadline::now(),
            tended: Deadline::now(),
            store_log: StoreLog::default(),
            is_refused: false,
            is_cut,
            metrics,
            quotas,
        }
    }

    /// Runs batches until every engine handle is dropped or a fatal failure; then refuses all that
    /// still wait.
    pub(super) async fn run(mut self, mut mail: mpsc::Receiver<Mail>) -> Stopped {
        let stopped = self.run_batches(&mut mail).await;
        self.end_deletion();
        refuse(self.queue.take_all(), &Failure::ShuttingDown);
        mail.close();
        // Receive until the channel is closed: messages that are sent meanwhile must be refused
        // too, and not dropped.
        while let Some(late) = mail.recv().await {
            late.refuse();
        }
        stopped
    }

    /// Waits for messages and runs a batch, again and again. Returns when and why the actor must
    /// stop.
    async fn run_batches(&mut self, mail: &mut mpsc::Receiver<Mail>) -> Stopped {
        let mut inbox = Vec::with_capacity(BATCH_MAX);
        while !self.is_cut.load(Ordering::Relaxed) {
            if self.queue.is_empty()
                && let Err(stopped) = self.wait(mail, &mut inbox).await
            {
                return stopped;
            }
            // Messages that came meanwhile join this batch.
            while self.queue.len() + inbox.len() < MAILBOX_MAX
                && let Ok(more) = mail.try_recv()
            {
                inbox.push(more);
            }
            if let Some(wait) = failpoints::disk_delay() {
                tokio::time::sleep(wait).await;
            }
            // The state is not used after a panic. A panic that is caught here ends the writer as
            // any failure does.
            match catch_unwind(AssertUnwindSafe(|| self.run_batch(&mut inbox))) {
                Ok(Ok(())) => {}
                Ok(Err(stopped)) => return stopped,
                Err(_) => return Stopped::panicked(),
            }
        }
        self.ended()
    }

    /// How the actor stops when every engine handle is dropped, or `Engine::cut` was called.
    fn ended(&mut self) -> Stopped {
        self.check_file()
            .map_or_else(|gone| Stopped::by(&gone), |()| Stopped::Done)
    }

    /// Waits until there is something to do, and checks the store's file meanwhile. An error stops
    /// the actor.
    async fn wait(
        &mut self,
        mail: &mut mpsc::Receiver<Mail>,
        inbox: &mut Vec<Mail>,
    ) -> Result<(), Stopped> {
        let wake_time = Deadline::now() + self.sleep_time();
        loop {
            let check = self
                .store
                .look_period()
                .map(|period| self.store_checked + period);
            if check.is_some_and(|due| due <= Deadline::now()) {
                self.check_file().map_err(|gone| Stopped::by(&gone))?;
                continue;
            }
            tokio::select! {
                biased;
                received = mail.recv_many(inbox, BATCH_MAX) => {
                    return if received == 0 { Err(self.ended()) } else { Ok(()) };
                }
                () = tokio::time::sleep_until(wake_time) => return Ok(()),
                () = until(check) => {}
            }
        }
    }

    /// Checks that the store's file is still where it was opened; an error is fatal.
    pub(super) fn check_file(&mut self) -> Result<(), StoreError> {
        self.store_checked = Deadline::now();
        self.store.still_there()
    }

    /// The time until the next expiry, removal of old changes, settling of a deletion, or reading of
    /// the clock.
    fn sleep_time(&self) -> Duration {
        if self.is_refused || self.writer_clock.is_in_doubt() {
            return CLOCK_LOOK;
        }
        let now = self.writer_clock.read_now(self.state.last_time);
        let until = |due: Instant| Duration::from_secs(due.since(now).max(0).unsigned_abs());
        let sleep_time = self
            .next_due()
            .map_or(CLOCK_LOOK, until)
            .clamp(SLEEP_MIN, CLOCK_LOOK);
        self.settle_due.map_or(sleep_time, |due| {
            sleep_time.min(due.saturating_duration_since(Deadline::now()))
        })
    }

    /// The time of the next expiry or removal of old changes, if any.
    fn next_due(&self) -> Option<Instant> {
        let expiry = self.expiries.peek().map(|Reverse((due, _))| *due);
        expiry
            .into_iter()
            .chain(self.retention.as_ref().map(|it| it.due))
            .min()
    }

    /// Handles the received messages and runs one batch. An error stops the actor: the process must
    /// not go on with the state that it has in memory.
    fn run_batch(&mut self, inbox: &mut Vec<Mail>) -> Result<(), Stopped> {
        let mut loads: Vec<Load> = Vec::new();
        let mut ticks: Vec<oneshot::Sender<()>> = Vec::new();
        let mut steps: Vec<DeletionStep> = Vec::new();
        let steady = Deadline::now();
        self.metrics.note_look(steady);
        self.tend(steady);
        for mail in inbox.drain(..) {
            match mail {
                Mail::Command {
                    command,
                    options,
                    reply,
                } => {
                    self.queue.push(Envelope {
                        command: *command,
                        options,
                        reply,
                    });
                }
                // Loading changes nothing, so that it is skipped when its caller has gone away.
                Mail::Load(load) if load.reply.is_closed() => {}
                Mail::Load(load) if steady < load.deadline => loads.push(load),
                Mail::Load(load) => drop(load.reply.send(Err(Failure::ExpiredInQueue))),
                Mail::Deletion(step) => steps.push(step),
                Mail::Tick { reply } => ticks.push(reply),
            }
        }
        self.check_deletion(steady);
        for step in steps {
            self.stop_unless_known(|actor| actor.step(step))?;
        }
        refuse(self.queue.take_late(steady), &Failure::ExpiredInQueue);
        let envelopes = self.queue.take_batch();
        self.metrics.queued.set_len(self.queue.len());
        self.metrics
            .damaged_calendars
            .set_len(self.damaged.calendar_count());
        self.unloadable.clear();
        let done = match self.writer_clock.look(self.state.last_time) {
            Ok(now)
                if envelopes.is_empty()
                    && loads.is_empty()
                    && self.next_due().is_none_or(|due| due > now) =>
            {
                Ok(true)
            }
            Ok(now) => self.run_batch_at(now, envelopes, loads),
            Err(suspect) => {
                self.writer_clock.count_refused(envelopes.len());
                refuse(envelopes, &Failure::StoreUnavailable(suspect.to_string()));
                let loaded = self.load_requested(&mut loads);
                self.answer_loads(loads, loaded.as_ref().err());
                loaded.map(|()| true)
            }
        };
        self.state.appointments.clear();
        if !ticks.is_empty() {
            self.publisher.tick();
        }
        for reply in ticks {
            let _nobody_waits = reply.send(());
        }
        self.stop_unless_known(|_| done)?;
        self.stop_unless_known(Self::settle_deletions)
    }

    /// Runs `work`, which returns false when the outcome of a commit is not known. Stops the actor
    /// then, after a fatal error, and when `must_stop` is set.
    fn stop_unless_known(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<bool, StoreError>,
    ) -> Result<(), Stopped> {
        let done = work(self);
        if let Some(error) = self.must_stop.take() {
            return Err(Stopped::by(&error));
        }
        match done {
            Ok(false) => Err(Stopped::unknown()),
            Err(error) if error.is_fatal() => Err(Stopped::by(&error)),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Writes log lines that are due, and runs the store's upkeep once per `TEND_PERIOD`.
    fn tend(&mut self, now: Deadline) {
        self.store_log.flush();
        if now >= self.tended + TEND_PERIOD {
            self.tended = now;
            self.store.tend();
        }
    }

    /// Runs a batch at `now`. Returns false when the outcome of its commit is not known.
    fn run_batch_at(
        &mut self,
        now: Instant,
        mut envelopes: Vec<Envelope>,
        mut loads: Vec<Load>,
    ) -> Result<bool, StoreError> {
        self.hold_back_named(&mut envelopes);
        let due = self.due(now);
        let prepared = self.prepare(now, &envelopes, &mut loads, &due);
        // `prepare` loads what reads asked for first, and notes damage of that per calendar. So
        // damage that it returns is of the commands.
        self.answer_loads(loads, prepared.as_ref().err().filter(|it| !it.is_damage()));
        let is_known = match prepared {
            Ok(seen) => self.decide(now, envelopes, due, &seen)?,
            Err(error) if error.is_damage() => self.decide_separately(
                now,
                DamagedBatch {
                    envelopes,
                    due,
                    touched: Vec::new(),
                    error,
                },
            )?,
            Err(error) => {
                self.store_refused(envelopes.len(), &error);
                self.put_back_expiries(due);
                refuse(envelopes, &Failure::StoreUnavailable(error.to_string()));
                return Err(error);
            }
        };
        if let Some(retention) = self
            .retention
            .as_mut()
            .filter(|it| is_known && it.due <= now)
        {
            let step = retention.step(self.store.as_mut(), now);
            return step.map_or_else(
                |error| goes_on_without(error, "old changes could not be removed"),
                |()| Ok(true),
            );
        }
        Ok(is_known)
    }

    /// Decides and commits the commands, for which everything is loaded. Returns false when the
    /// outcome of the commit is not known.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        envelopes: Vec<Envelope>,
        mut due: Vec<(Instant, AppointmentId)>,
        seen: &HashMap<[u8; 16], RequestRecord>,
    ) -> Result<bool, StoreError> {
        self.hold_back_expiries(&mut due);
        if !envelopes.is_empty() {
            self.metrics.batch_commands.observe_len(envelopes.len());
        }
        let stall = Stall::begin(&envelopes);
        let mut batch = Batch::new(&self.state, now, &self.quotas);
        for (_, appointment) in &due {
            let expired = expire(&self.state, *appointment, now);
            if let Some(change) =
                expired.and_then(|it| it.change(&self.state, now, Caller::default()))
            {
                batch.apply(&mut self.state, change);
            }
        }
        let (mut waiting, mut ends_deletion) = (envelopes.into_iter(), false);
        // Decisions rely on recorded expiries: while more are due, all commands wait for the next
        // batch.
        let is_more_due = self
            .expiries
            .peek()
            .is_some_and(|Reverse((time, _))| *time <= now);
        while !is_more_due && !batch.must_end() && !self.is_cut.load(Ordering::Relaxed) {
            let Some(envelope) = waiting.next() else {
                break;
            };
            let Some(envelope) = self.hold_back(envelope) else {
                continue;
            };
            ends_deletion |= self.is_end_of_deletion(&envelope.command);
            match self.blocked(&envelope.command, &envelope.options.reach) {
                Some(failure) => envelope.reply.send(Err(failure)),
                None => batch.decide_command(&mut self.state, envelope, seen),
            }
        }
        if stall.end() {
            self.metrics.stalls.increment();
        }
        self.queue.put_back(waiting);
        let done = self.finish(batch, due);
        if ends_deletion {
            self.end_deletion();
        }
        done
    }

    /// Takes the expiries that are due at `now` out of the heap, at most `EXPIRIES_MAX`.
    fn due(&mut self, now: Instant) -> Vec<(Instant, AppointmentId)> {
        let mut due = Vec::new();
        while due.len() < EXPIRIES_MAX
            && self
                .expiries
                .peek()
                .is_some_and(|Reverse((time, _))| *time <= now)
        {
            due.extend(self.expiries.pop().map(|Reverse(it)| it));
        }
        due
    }
}

/// Sleeps until `due`; for ever without one.
async fn until(due: Option<Deadline>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
