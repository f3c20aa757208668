//! One watcher: from the store while it is behind, from the ring while it keeps up, and a mark of progress in time.
//!
//! It is asked for what comes next and does nothing in between, so a client that does not read costs nothing but its
//! place. Everything up to `position` was told, exactly once; whoever is too slow is cut, and never skips. A large change
//! is told in parts, one read of the store each, and is not up to `position` before its last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant as Monotonic;

use super::fanout::{Entry, Registration};
use super::ring::RING_CHANGES_MAX;
use super::{Engine, Failure, WAIT_MAX};
use crate::store::told::PART_EVENTS_MAX;
use crate::store::{CalendarFilter, Told, ToldPage};
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::log::LogPosition;

/// How often a watcher is told that it has missed nothing.
pub const PROGRESS: Duration = Duration::from_secs(30);
/// A watcher that does not read for longer is cut.
pub(super) const STALL_MAX: Duration = Duration::from_secs(60);
/// A watcher that was up to date, and then falls further behind than so many changes, is cut.
pub const LAG_CHANGES_MAX: u64 = 100_000;
/// Watches that are open at a time, of both kinds together.
pub const WATCHES_MAX: usize = 4_096;
/// The slots of one watch are looked for at most once in such a time.
pub(super) const SLOTS_PAUSE: Duration = Duration::from_millis(100);

/// How changes are told to watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// See `PROGRESS`.
    pub progress: Duration,
    /// See `STALL_MAX`.
    pub stall_max: Duration,
    /// See `LAG_CHANGES_MAX`.
    pub lag_changes_max: u64,
    /// See `WATCHES_MAX`.
    pub watches_max: usize,
    /// See `SLOTS_PAUSE`.
    pub slots_pause: Duration,
    /// See `RING_CHANGES_MAX`.
    pub ring_changes_max: usize,
    /// See `PART_EVENTS_MAX`.
    pub part_events_max: usize,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            progress: PROGRESS,
            stall_max: STALL_MAX,
            lag_changes_max: LAG_CHANGES_MAX,
            watches_max: WATCHES_MAX,
            slots_pause: SLOTS_PAUSE,
            ring_changes_max: RING_CHANGES_MAX,
            part_events_max: PART_EVENTS_MAX,
        }
    }
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    /// One change of which something passed, or a part of one; the parts of a change are numbered from 1.
    Change {
        /// What passed.
        told: Box<Told>,
        /// Which part of the change it is.
        part: u32,
    },
    /// Everything up to here was told.
    Progress(Revision),
}

/// See the header.
pub struct Watch {
    engine: Engine,
    registration: Registration,
    /// Everything up to here was told, or did not pass.
    position: Revision,
    /// Where what was told last ends; within a change while parts of it are still to come.
    told_upto: LogPosition,
    /// Of the change within which that is, so many parts were told.
    parts: u32,
    /// What comes next, where that ends, and at which revision it was read.
    queue: VecDeque<Told>,
    queue_end: LogPosition,
    read_at: Revision,
    /// How far it must go on before it waits.
    target: Revision,
    /// It has caught up once: from then on it is told when something is for it.
    was_current: bool,
    progress_due: Monotonic,
    /// The queue was read since it was asked for what comes next.
    is_fresh: bool,
    is_over: bool,
}

impl Watch {
    /// What comes next; waits for it. After an error there is nothing more.
    pub async fn next(&mut self) -> Result<Said, Failure> {
        let rested = self.registration.asks();
        if self.is_over {
            return Err(Failure::ShuttingDown);
        }
        if rested > self.registration.fanout.settings.stall_max || self.registration.entry.is_cut() {
            return Err(self.engine.lagged(self.position).await);
        }
        let said = self.look().await;
        if matches!(said, Ok(Said::Progress(_))) {
            self.progress_due = Monotonic::now() + self.registration.fanout.settings.progress;
        }
        self.registration.rests();
        said
    }

    async fn look(&mut self) -> Result<Said, Failure> {
        self.is_fresh = false;
        loop {
            if self.registration.fanout.is_closed() {
                self.is_over = true;
                if self.queue.is_empty() {
                    self.pass_queue();
                    self.note();
                }
                return Ok(Said::Progress(self.position));
            }
            let is_due = Monotonic::now() >= self.progress_due;
            match self.queue.pop_front() {
                Some(told) if is_due => {
                    self.queue.push_front(told);
                    return Ok(Said::Progress(self.position));
                }
                Some(mut told) => {
                    if !self.is_up_to_date(&mut told) {
                        continue;
                    }
                    return Ok(self.tell(told));
                }
                None => self.pass_queue(),
            }
            let newest = self.note();
            if is_due {
                return Ok(Said::Progress(self.position));
            }
            if self.position < self.target {
                self.fill(newest).await?;
            } else if !self.was_current {
                self.was_current = true;
                return Ok(Said::Progress(self.position));
            } else {
                let woken = self.registration.entry.woken();
                // Whichever comes first, the next turn finds out.
                let _or_time = tokio::time::timeout_at(self.progress_due, woken).await;
            }
        }
    }

    fn tell(&mut self, told: Told) -> Said {
        let part = self.parts + 1;
        self.told_upto = told.next;
        if told.is_last() {
            (self.position, self.parts) = (told.entry.revision, 0);
        } else {
            // Nothing else is waited for within a change.
            (self.target, self.parts) = (self.target.max(told.entry.revision), part);
        }
        Said::Change { told: Box::new(told), part }
    }

    /// Nothing of the queue is left: what it ends with did not pass.
    fn pass_queue(&mut self) {
        self.told_upto = self.told_upto.max(self.queue_end);
        self.position = self.position.max(Revision(self.told_upto.revision.0.saturating_sub(1)));
    }

    /// What waited while the client read something else may show what was removed meanwhile: then it is read again.
    fn is_up_to_date(&mut self, told: &mut Told) -> bool {
        let newest = self.engine.revision();
        let is_known = self.is_fresh || self.registration.fanout.refresh(told, self.read_at, newest);
        if !is_known {
            self.queue.clear();
            self.queue_end = self.told_upto;
            self.target = self.target.max(newest);
        }
        is_known
    }

    /// How far there is to go. The order of these reads matters: what is not seen by one is seen by the next.
    fn note(&mut self) -> Revision {
        let seen = self.registration.fanout.seen();
        let pending = self.registration.entry.take_pending();
        let newest = self.engine.revision();
        if !self.was_current {
            self.target = self.target.max(newest);
            return newest;
        }
        if self.position >= self.target {
            // Nothing before the first that it wants is for it; when it wants none, nothing that was looked at is.
            let before = pending.map_or(seen, |first| Revision(first.0.saturating_sub(1)));
            self.position = self.position.max(before);
        }
        if pending.is_some() {
            self.target = self.target.max(newest);
        }
        newest
    }

    /// Reads on, from the ring or from the store.
    async fn fill(&mut self, newest: Revision) -> Result<(), Failure> {
        let Registration { fanout, entry, .. } = &self.registration;
        (self.is_fresh, self.read_at) = (true, newest);
        let behind = newest.0.saturating_sub(self.position.0);
        if self.was_current && behind > fanout.settings.lag_changes_max {
            return Err(self.engine.lagged(self.position).await);
        }
        let from = self.told_upto.max(LogPosition::after(self.position));
        let of_ring = if from.is_within_change() { None } else { fanout.page(self.position, newest, &entry.filter) };
        if let Some(page) = of_ring {
            self.queue.extend(page.changes.iter().map(|found| found.tell(&entry.filter)));
            self.queue_end = page.next;
            // A long stretch in which nothing passes must leave room for the others of this worker.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let page = self.engine.told_from(from, Arc::clone(entry), None).await.map_err(busy)?;
        self.queue.extend(page.changes);
        self.queue_end = page.next;
        Ok(())
    }
}

/// A read that found no connection in time says nothing about the client's deadline.
fn busy(failure: Failure) -> Failure {
    if failure == Failure::ExpiredInQueue { Failure::Overloaded } else { failure }
}

/// Why a wait for calendars ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A change touched one of them.
    Touched,
    /// The time is up, or the clock was moved by hand.
    Time,
    /// The server is stopping.
    Closed,
    /// The watcher did not read for too long, and had to make room.
    Cut,
}

/// Tells when a change touches one of some calendars.
pub struct Touches {
    registration: Registration,
}

impl Touches {
    /// Waits until a change touches one of them, but no longer than this.
    pub async fn woken(&mut self, until: Monotonic) -> Woken {
        let Registration { fanout, entry, .. } = &self.registration;
        let mut pending = entry.take_pending();
        if pending.is_none() && !fanout.is_closed() && !entry.is_cut() {
            let _or_time = tokio::time::timeout_at(until, entry.woken()).await;
            pending = entry.take_pending();
        }
        match pending {
            _ if fanout.is_closed() => Woken::Closed,
            _ if entry.is_cut() => Woken::Cut,
            Some(_) => Woken::Touched,
            None => Woken::Time,
        }
    }

    /// It has been given something, and has not asked for more yet.
    pub fn rests(&self) {
        self.registration.rests();
    }

    /// It asks for more.
    pub fn asks(&self) {
        self.registration.asks();
    }

    /// How it is told.
    pub fn settings(&self) -> WatchSettings {
        self.registration.fanout.settings
    }
}

impl Engine {
    /// Watches from this revision on: 0 = what comes after now, 1 = the beginning, one above the newest waits.
    pub async fn watch(
        &self,
        filter: CalendarFilter,
        start: Revision,
        deadline: Option<Monotonic>,
    ) -> Result<Watch, Failure> {
        // Registered before anything is read: what happens from here on is told.
        let registration = self.fanout.register(filter, false)?;
        let newest = self.revision();
        let position = if start == Revision(0) { newest } else { Revision(start.0 - 1) };
        if position > newest {
            return Err(Failure::InFuture { newest, oldest: self.oldest(deadline).await? });
        }
        let told_upto = LogPosition::after(position);
        let (mut queue, mut queue_end) = (VecDeque::new(), told_upto);
        if position < newest {
            let page = self.told_from(told_upto, Arc::clone(&registration.entry), deadline).await?;
            queue.extend(page.changes);
            queue_end = page.next;
        }
        let progress_due = Monotonic::now() + self.fanout.settings.progress;
        Ok(Watch {
            engine: self.clone(),
            registration,
            position,
            told_upto,
            parts: 0,
            queue,
            queue_end,
            read_at: newest,
            target: newest,
            was_current: false,
            progress_due,
            is_fresh: false,
            is_over: false,
        })
    }

    /// A page of the log from the store. Only some of its readers at a time: however many watchers come back at once,
    /// other calls find one.
    async fn told_from(
        &self,
        from: LogPosition,
        entry: Arc<Entry>,
        deadline: Option<Monotonic>,
    ) -> Result<ToldPage, Failure> {
        let deadline = deadline.unwrap_or_else(|| Monotonic::now() + WAIT_MAX);
        let turn = tokio::time::timeout_at(deadline, self.fanout.catching_up.acquire()).await;
        let _turn = turn.map_err(|_| Failure::ExpiredInQueue)?.map_err(|_| Failure::ShuttingDown)?;
        let part_events_max = self.fanout.settings.part_events_max;
        self.read(Some(deadline), move |reader| reader.changes_from(from, &entry.filter, part_events_max)).await
    }

    /// The oldest revision that can be watched from; 1 while nothing is compacted.
    async fn oldest(&self, deadline: Option<Monotonic>) -> Result<Revision, Failure> {
        let oldest = self.read(deadline, |reader| reader.oldest_change()).await?;
        Ok(oldest.map_or(Revision(1), |it| it.revision))
    }

    /// Too slow. That nobody can say where the log begins makes no difference to that.
    pub async fn lagged(&self, last: Revision) -> Failure {
        let oldest = self.oldest(None).await.unwrap_or(Revision(1));
        Failure::Lagged { last, oldest }
    }

    /// Tells when something touches one of these calendars.
    pub fn touches(&self, calendars: Vec<CalendarId>) -> Result<Touches, Failure> {
        Ok(Touches { registration: self.fanout.register(CalendarFilter::Among(calendars), true)? })
    }

    /// Ends every watch with the last revision that it was told of. From then on no watch begins.
    pub fn end_watches(&self) {
        self.fanout.close();
    }
}
