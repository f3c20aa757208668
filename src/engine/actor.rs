//! The actor: takes what is waiting, decides it as one batch, commits, publishes, answers. It alone owns the state.
//!
//! The store runs on the actor's own thread: a commit is waited for anyway, and the mailbox fills meanwhile and makes
//! the next batch, so a thread of its own for the store would add two wake-ups to every batch and nothing else.

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
use super::clock::{CLOCK_LOOK, EngineClock, WriterClock};
use super::closed_calendar::{Closing, DeletionStep};
use super::damage::{Damaged, Met};
use super::log_throttle::StoreLog;
use super::queue::Queue;
use super::snapshots::{Commits, Snapshots};
use super::stall::Stall;
use super::stop::{Stopped, goes_on_without};
use super::{BATCH_MAX, Failure, Load, MAILBOX_MAX, Mail, Settings, Slices};
use crate::log::retention::Retention;
use crate::log::subscriptions::Publisher;

/// How many expiries one batch records at most; more wait for the next one.
const EXPIRIES_MAX: usize = 1_024;
/// How often what is beside the store is looked after.
const TEND_PERIOD: Duration = Duration::from_secs(60);
/// How long the actor sleeps at least before it records an expiry: clocks tick in whole seconds.
const LEAST_NAP: Duration = Duration::from_millis(20);

/// See the header.
pub(super) struct Actor {
    pub(super) store: Box<dyn Store>,
    pub(super) state: State,
    pub(super) writer_clock: WriterClock,
    pub(super) published: Arc<Snapshots>,
    pub(super) commits: Commits,
    pub(super) publisher: Publisher,
    retention: Option<Retention>,
    /// What expires next. An entry that is out of date is found to be so when its time comes.
    pub(super) expiries: BinaryHeap<Reverse<(Instant, AppointmentId)>>,
    /// Commands that wait to be decided.
    pub(super) queue: Queue,
    /// The deletion that is being prepared.
    pub(super) closing: Option<Closing>,
    /// When to go on with what deletions left behind; none = there is nothing.
    pub(super) settles: Option<Deadline>,
    /// See `Settings`.
    pub(super) slices: Slices,
    pub(super) batches: u64,
    /// See `CALENDARS_IN_MEMORY_MAX`.
    pub(super) calendars_in_memory_max: usize,
    /// The calendars that could not be loaded for the batch at hand, and why.
    pub(super) unloadable: HashMap<CalendarId, Failure>,
    /// The calendars that nothing is written to any more.
    pub(super) damaged: Damaged,
    /// Why it must not go on, though the batch at hand was answered.
    pub(super) must_stop: Option<StoreError>,
    /// Requests that were remembered since old ones were forgotten last.
    pub(super) remembered: usize,
    /// When the store was last asked whether it is still there.
    looked: Deadline,
    /// When what is beside the store was looked after last.
    tended: Deadline,
    pub(super) store_log: StoreLog,
    /// The last commit was refused: what has expired is not tried again at once, for a full disk stays full for a while.
    pub(super) is_refused: bool,
    /// See `Engine::cut`.
    is_cut: Arc<AtomicBool>,
}

impl Actor {
    pub(super) fn new(
        store: Box<dyn Store>,
        boot: Boot,
        clock: Arc<EngineClock>,
        (published, commits): (Arc<Snapshots>, Commits),
        publisher: Publisher,
        is_cut: Arc<AtomicBool>,
        settings: Settings,
    ) -> Self {
        let expiries = boot
            .expiring
            .iter()
            .map(|it| Reverse((it.expire_time, it.appointment)))
            .collect();
        let state = State {
            revision: boot.revision,
            last_time: boot.last_time,
            next_key: boot.next_key,
            ..State::default()
        };
        let writer_clock = WriterClock::new(clock, settings.is_clock_confirmed, boot.last_time);
        Self {
            store,
            state,
            writer_clock,
            published,
            commits,
            publisher,
            retention: settings
                .keep_changes
                .map(|keep| Retention::new(keep, BATCH_MAX)),
            expiries,
            queue: Queue::default(),
            closing: None,
            settles: Some(Deadline::now()),
            slices: settings.slices,
            batches: 0,
            calendars_in_memory_max: settings.calendars_in_memory_max,
            unloadable: HashMap::new(),
            damaged: Damaged::default(),
            must_stop: None,
            remembered: 0,
            looked: Deadline::now(),
            tended: Deadline::now(),
            store_log: StoreLog::default(),
            is_refused: false,
            is_cut,
        }
    }

    /// Takes turns until nobody is left or it must not go on; then whoever still waits is told.
    pub(super) async fn run(mut self, mut mail: mpsc::Receiver<Mail>) -> Stopped {
        let stopped = self.turns(&mut mail).await;
        self.end_deletion();
        refuse(self.queue.take_all(), &Failure::ShuttingDown);
        mail.close();
        // To the end, and not only what is there: dropping the mailbox would leave behind what is put into it meanwhile.
        while let Some(late) = mail.recv().await {
            late.refuse();
        }
        stopped
    }

    async fn turns(&mut self, mail: &mut mpsc::Receiver<Mail>) -> Stopped {
        let mut inbox = Vec::with_capacity(BATCH_MAX);
        while !self.is_cut.load(Ordering::Relaxed) {
            if self.queue.is_empty()
                && let Err(stopped) = self.wait(mail, &mut inbox).await
            {
                return stopped;
            }
            // What came meanwhile has its turn beside what has waited.
            while self.queue.len() + inbox.len() < MAILBOX_MAX
                && let Ok(more) = mail.try_recv()
            {
                inbox.push(more);
            }
            if let Some(wait) = failpoints::disk_delay() {
                tokio::time::sleep(wait).await;
            }
            // Nothing of the state is used after a panic. Caught here, the writer ends in the same way as by any failure.
            match catch_unwind(AssertUnwindSafe(|| self.batch(&mut inbox))) {
                Ok(Ok(())) => {}
                Ok(Err(stopped)) => return stopped,
                Err(_) => return Stopped::panicked(),
            }
        }
        self.ended()
    }

    /// Nobody is left to send it anything, or to wait for what was sent.
    fn ended(&mut self) -> Stopped {
        self.look()
            .map_or_else(|gone| Stopped::by(&gone), |()| Stopped::Done)
    }

    /// Waits until there is something to do, and looks meanwhile whether the store is still there. An error is the end.
    async fn wait(
        &mut self,
        mail: &mut mpsc::Receiver<Mail>,
        inbox: &mut Vec<Mail>,
    ) -> Result<(), Stopped> {
        let nap = Deadline::now() + self.nap();
        loop {
            let look = self.store.look_period().map(|period| self.looked + period);
            if look.is_some_and(|due| due <= Deadline::now()) {
                self.look().map_err(|gone| Stopped::by(&gone))?;
                continue;
            }
            tokio::select! {
                biased;
                received = mail.recv_many(inbox, BATCH_MAX) => {
                    return if received == 0 { Err(self.ended()) } else { Ok(()) };
                }
                () = tokio::time::sleep_until(nap) => return Ok(()),
                () = until(look) => {}
            }
        }
    }

    pub(super) fn look(&mut self) -> Result<(), StoreError> {
        self.looked = Deadline::now();
        self.store.still_there()
    }

    /// How long until something expires, is to be forgotten, or the clock is to be looked at.
    fn nap(&self) -> Duration {
        if self.is_refused || self.writer_clock.is_in_doubt() {
            return CLOCK_LOOK;
        }
        let now = self.writer_clock.read_now(self.state.last_time);
        let until = |due: Instant| Duration::from_secs(due.since(now).max(0).unsigned_abs());
        let nap = self
            .next_due()
            .map_or(CLOCK_LOOK, until)
            .clamp(LEAST_NAP, CLOCK_LOOK);
        self.settles.map_or(nap, |due| {
            nap.min(due.saturating_duration_since(Deadline::now()))
        })
    }

    /// When something expires or is to be forgotten next; none when nothing is.
    fn next_due(&self) -> Option<Instant> {
        let expiry = self.expiries.peek().map(|Reverse((due, _))| *due);
        expiry
            .into_iter()
            .chain(self.retention.as_ref().map(|it| it.due))
            .min()
    }

    /// One turn. An error is fatal: the process must not go on with what it has in memory.
    fn batch(&mut self, inbox: &mut Vec<Mail>) -> Result<(), Stopped> {
        let mut loads: Vec<Load> = Vec::new();
        let mut ticks: Vec<oneshot::Sender<()>> = Vec::new();
        let mut steps: Vec<DeletionStep> = Vec::new();
        let steady = Deadline::now();
        self.tend(steady);
        for mail in inbox.drain(..) {
            match mail {
                Mail::Command {
                    command,
                    terms,
                    reply,
                } => {
                    self.queue.push(Envelope {
                        command: *command,
                        terms,
                        reply,
                    });
                }
                // It changes nothing: nobody needs what nobody waits for.
                Mail::Load(load) if load.reply.is_closed() => {}
                Mail::Load(load) if steady < load.deadline => loads.push(load),
                Mail::Load(load) => drop(load.reply.send(Err(Failure::ExpiredInQueue))),
                Mail::Deletion(step) => steps.push(step),
                Mail::Tick { reply } => ticks.push(reply),
            }
        }
        self.look_after_deletion(steady);
        for step in steps {
            self.stop_unless_known(|it| it.step(step))?;
        }
        refuse(self.queue.take_late(steady), &Failure::ExpiredInQueue);
        let envelopes = self.queue.take_batch();
        self.unloadable.clear();
        let done = match self.writer_clock.look(self.state.last_time) {
            Ok(now)
                if envelopes.is_empty()
                    && loads.is_empty()
                    && self.next_due().is_none_or(|due| due > now) =>
            {
                Ok(true)
            }
            Ok(now) => self.batch_at(now, envelopes, loads),
            Err(suspect) => {
                self.writer_clock.count_refused(envelopes.len());
                refuse(envelopes, &Failure::StoreUnavailable(suspect.to_string()));
                let loaded = self.bring_asked(&mut loads);
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
        self.stop_unless_known(Self::settle)
    }

    /// Does some work; it is the end where that says so, or does not know whether a commit happened.
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

    fn tend(&mut self, now: Deadline) {
        self.store_log.look();
        if now >= self.tended + TEND_PERIOD {
            self.tended = now;
            self.store.tend();
        }
    }

    /// A batch at `now`. False when the outcome of its commit is not known.
    fn batch_at(
        &mut self,
        now: Instant,
        mut envelopes: Vec<Envelope>,
        mut loads: Vec<Load>,
    ) -> Result<bool, StoreError> {
        self.put_named_aside(&mut envelopes);
        let due = self.due(now);
        let prepared = self.prepare(now, &envelopes, &mut loads, &due);
        // Damage is met behind what readers asked for: that has its own.
        self.answer_loads(loads, prepared.as_ref().err().filter(|it| !it.is_damage()));
        let is_known = match prepared {
            Ok(seen) => self.decide(now, envelopes, due, &seen)?,
            Err(error) if error.is_damage() => self.apart(
                now,
                Met {
                    envelopes,
                    due,
                    touched: Vec::new(),
                    error,
                },
            )?,
            Err(error) => {
                self.is_refused = true;
                self.store_log.refused(envelopes.len(), &error);
                self.put_off(due);
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

    /// Decides and commits what was prepared. False when the outcome of the commit is not known.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        envelopes: Vec<Envelope>,
        mut due: Vec<(Instant, AppointmentId)>,
        seen: &HashMap<[u8; 16], RequestRecord>,
    ) -> Result<bool, StoreError> {
        self.keep_back(&mut due);
        let stall = Stall::begin(&envelopes);
        let mut batch = Batch::new(&self.state, now);
        for (_, appointment) in &due {
            let expired = expire(&self.state, *appointment, now);
            if let Some(change) =
                expired.and_then(|it| it.change(&self.state, now, Caller::default()))
            {
                batch.apply(&mut self.state, change);
            }
        }
        let (mut waiting, mut ends_deletion) = (envelopes.into_iter(), false);
        // A decision relies on it that what has expired is recorded: while more is due, everybody waits.
        let is_more_due = self
            .expiries
            .peek()
            .is_some_and(|Reverse((time, _))| *time <= now);
        while !is_more_due && !batch.must_end() && !self.is_cut.load(Ordering::Relaxed) {
            let Some(envelope) = waiting.next() else {
                break;
            };
            let Some(envelope) = self.put_aside(envelope) else {
                continue;
            };
            ends_deletion |= self.is_end_of_deletion(&envelope.command);
            match self.blocked(&envelope.command) {
                Some(failure) => drop(envelope.reply.send(Err(failure))),
                None => batch.take(&mut self.state, envelope, seen),
            }
        }
        stall.end();
        self.queue.put_back(waiting);
        let done = self.finish(batch, due);
        if ends_deletion {
            self.end_deletion();
        }
        done
    }

    /// Tells those who asked for calendars: loaded, or which of them does not exist, or why they cannot be had.
    fn answer_loads(&self, loads: Vec<Load>, error: Option<&StoreError>) {
        for Load {
            calendars, reply, ..
        } in loads
        {
            let unloadable = calendars.iter().find_map(|id| self.unloadable.get(id));
            let why = error
                .map(|it| Failure::StoreUnavailable(it.to_string()))
                .or_else(|| unloadable.cloned());
            let absent = || {
                calendars
                    .iter()
                    .find(|id| !self.state.calendars.contains_key(*id))
                    .cloned()
            };
            let answer = why.map_or_else(|| Ok(absent()), Err);
            drop(reply.send(answer));
        }
    }

    /// What has expired at `now`, taken out of the heap.
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

/// Sleeps until then; for ever when nothing is to be waited for.
async fn until(due: Option<Deadline>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
