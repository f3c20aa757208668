//! One watcher: from the store while it is behind, from the tail of the log in memory while it keeps up, and a mark of progress in time.
//!
//! It is asked for what comes next and does nothing in between, so a client that does not read costs nothing but its
//! place. Everything up to `position` was told, exactly once; whoever is too slow is cut, and never skips. A large change
//! is told in parts, one read of the store each, and is not up to `position` before its last.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant as Monotonic;

use super::{Engine, Failure, READERS_MAX, WAIT_MAX};
use crate::log::WatchSettings;
use crate::log::registry::Subscriber;
use crate::log::subscriptions::{Subscription, SubscriptionRefused};
use crate::store::{CalendarFilter, ChangePage, ChangePart};
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::log::LogPosition;

/// Watchers that read the store at a time; the other readers are for everybody else.
pub(super) const CATCHING_UP_MAX: usize = READERS_MAX / 2;

impl From<SubscriptionRefused> for Failure {
    fn from(refused: SubscriptionRefused) -> Self {
        match refused {
            SubscriptionRefused::Closed => Self::ShuttingDown,
            SubscriptionRefused::TooMany(most) => Self::TooManyWatches(most),
        }
    }
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Watched {
    /// One change of which something passed, or a part of one; the parts of a change are numbered from 1.
    Change {
        /// What passed.
        told: Box<ChangePart>,
        /// Which part of the change it is.
        part: u32,
    },
    /// Everything up to here was told.
    Progress(Revision),
}

/// See the header.
pub struct Watch {
    engine: Engine,
    subscription: Subscription,
    /// Everything up to here was told, or did not pass.
    position: Revision,
    /// Where what was told last ends; within a change while parts of it are still to come.
    told_upto: LogPosition,
    /// Of the change within which that is, so many parts were told.
    parts: u32,
    /// What comes next, where that ends, and at which revision it was read.
    queue: VecDeque<ChangePart>,
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
    pub async fn next(&mut self) -> Result<Watched, Failure> {
        let rested = self.subscription.asks();
        if self.is_over {
            return Err(Failure::ShuttingDown);
        }
        if rested > self.subscription.subscriptions.settings.stall_max
            || self.subscription.subscriber.is_cut()
        {
            return Err(self.engine.lagged(self.position).await);
        }
        let said = self.look().await;
        if matches!(said, Ok(Watched::Progress(_))) {
            self.progress_due =
                Monotonic::now() + self.subscription.subscriptions.settings.progress;
        }
        self.subscription.rests();
        said
    }

    async fn look(&mut self) -> Result<Watched, Failure> {
        self.is_fresh = false;
        loop {
            if self.subscription.subscriptions.is_closed() {
                self.is_over = true;
                if self.queue.is_empty() {
                    self.pass_queue();
                    self.note();
                }
                return Ok(Watched::Progress(self.position));
            }
            let is_due = Monotonic::now() >= self.progress_due;
            match self.queue.pop_front() {
                Some(told) if is_due => {
                    self.queue.push_front(told);
                    return Ok(Watched::Progress(self.position));
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
                return Ok(Watched::Progress(self.position));
            }
            if self.position < self.target {
                self.fill(newest).await?;
            } else if !self.was_current {
                self.was_current = true;
                return Ok(Watched::Progress(self.position));
            } else {
                let woken = self.subscription.subscriber.woken();
                // Whichever comes first, the next turn finds out.
                let _or_time = tokio::time::timeout_at(self.progress_due, woken).await;
            }
        }
    }

    fn tell(&mut self, told: ChangePart) -> Watched {
        let part = self.parts + 1;
        self.told_upto = told.next;
        if told.is_last() {
            (self.position, self.parts) = (told.entry.revision, 0);
        } else {
            // Nothing else is waited for within a change.
            (self.target, self.parts) = (self.target.max(told.entry.revision), part);
        }
        Watched::Change {
            told: Box::new(told),
            part,
        }
    }

    /// Nothing of the queue is left: what it ends with did not pass.
    fn pass_queue(&mut self) {
        self.told_upto = self.told_upto.max(self.queue_end);
        self.position = self
            .position
            .max(Revision(self.told_upto.revision.0.saturating_sub(1)));
    }

    /// What waited while the client read something else may show what was removed meanwhile: then it is read again.
    fn is_up_to_date(&mut self, told: &mut ChangePart) -> bool {
        let newest = self.engine.revision();
        let is_known = self.is_fresh
            || self
                .subscription
                .subscriptions
                .refresh(told, self.read_at, newest);
        if !is_known {
            self.queue.clear();
            self.queue_end = self.told_upto;
            self.target = self.target.max(newest);
        }
        is_known
    }

    /// How far there is to go. The order of these reads matters: what is not seen by one is seen by the next.
    fn note(&mut self) -> Revision {
        let seen = self.subscription.subscriptions.seen();
        let pending = self.subscription.subscriber.take_pending();
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

    /// Reads on, from the tail in memory or from the store.
    async fn fill(&mut self, newest: Revision) -> Result<(), Failure> {
        let Subscription {
            subscriptions,
            subscriber,
            ..
        } = &self.subscription;
        (self.is_fresh, self.read_at) = (true, newest);
        let behind = newest.0.saturating_sub(self.position.0);
        if self.was_current && behind > subscriptions.settings.lag_changes_max {
            return Err(self.engine.lagged(self.position).await);
        }
        let from = self.told_upto.max(LogPosition::after(self.position));
        let of_tail = if from.is_within_change() {
            None
        } else {
            subscriptions.page(self.position, newest, &subscriber.filter)
        };
        if let Some(page) = of_tail {
            self.queue.extend(
                page.changes
                    .iter()
                    .map(|found| found.tell(&subscriber.filter)),
            );
            self.queue_end = page.next;
            // A long stretch in which nothing passes must leave room for the others of this worker.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let page = self
            .engine
            .told_from(from, Arc::clone(subscriber), None)
            .await
            .map_err(busy)?;
        self.queue.extend(page.changes);
        self.queue_end = page.next;
        Ok(())
    }
}

/// A read that found no connection in time says nothing about the client's deadline.
fn busy(failure: Failure) -> Failure {
    if failure == Failure::ExpiredInQueue {
        Failure::Overloaded
    } else {
        failure
    }
}

/// Why a wait for calendars ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
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
pub struct CalendarWatch {
    subscription: Subscription,
}

impl CalendarWatch {
    /// Waits until a change touches one of them, but no longer than this.
    pub async fn woken(&mut self, until: Monotonic) -> Wakeup {
        let Subscription {
            subscriptions,
            subscriber,
            ..
        } = &self.subscription;
        let mut pending = subscriber.take_pending();
        if pending.is_none() && !subscriptions.is_closed() && !subscriber.is_cut() {
            let _or_time = tokio::time::timeout_at(until, subscriber.woken()).await;
            pending = subscriber.take_pending();
        }
        match pending {
            _ if subscriptions.is_closed() => Wakeup::Closed,
            _ if subscriber.is_cut() => Wakeup::Cut,
            Some(_) => Wakeup::Touched,
            None => Wakeup::Time,
        }
    }

    /// It has been given something, and has not asked for more yet.
    pub fn rests(&self) {
        self.subscription.rests();
    }

    /// It asks for more.
    pub fn asks(&self) {
        self.subscription.asks();
    }

    /// How it is told.
    pub fn settings(&self) -> WatchSettings {
        self.subscription.subscriptions.settings
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
        let subscription = self.subscriptions.register(filter, false)?;
        let newest = self.revision();
        let position = if start == Revision(0) {
            newest
        } else {
            Revision(start.0 - 1)
        };
        if position > newest {
            return Err(Failure::InFuture {
                newest,
                oldest: self.oldest(deadline).await?,
            });
        }
        let told_upto = LogPosition::after(position);
        let (mut queue, mut queue_end) = (VecDeque::new(), told_upto);
        if position < newest {
            let page = self
                .told_from(told_upto, Arc::clone(&subscription.subscriber), deadline)
                .await?;
            queue.extend(page.changes);
            queue_end = page.next;
        }
        let progress_due = Monotonic::now() + self.subscriptions.settings.progress;
        Ok(Watch {
            engine: self.clone(),
            subscription,
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
        subscriber: Arc<Subscriber>,
        deadline: Option<Monotonic>,
    ) -> Result<ChangePage, Failure> {
        let deadline = deadline.unwrap_or_else(|| Monotonic::now() + WAIT_MAX);
        let turn = tokio::time::timeout_at(deadline, self.catching_up.acquire()).await;
        let _turn = turn
            .map_err(|_| Failure::ExpiredInQueue)?
            .map_err(|_| Failure::ShuttingDown)?;
        let part_events_max = self.subscriptions.settings.part_events_max;
        self.read_log(Some(deadline), move |log| {
            log.changes_from(from, &subscriber.filter, part_events_max)
        })
        .await
    }

    /// The oldest revision that can be watched from; 1 while nothing is compacted.
    async fn oldest(&self, deadline: Option<Monotonic>) -> Result<Revision, Failure> {
        let oldest = self.read_log(deadline, |log| log.oldest_change()).await?;
        Ok(oldest.map_or(Revision(1), |it| it.revision))
    }

    /// Too slow. That nobody can say where the log begins makes no difference to that.
    pub async fn lagged(&self, last: Revision) -> Failure {
        let oldest = self.oldest(None).await.unwrap_or(Revision(1));
        Failure::Lagged { last, oldest }
    }

    /// Tells when something touches one of these calendars.
    pub fn touches(&self, calendars: Vec<CalendarId>) -> Result<CalendarWatch, Failure> {
        Ok(CalendarWatch {
            subscription: self
                .subscriptions
                .register(CalendarFilter::Among(calendars), true)?,
        })
    }

    /// Ends every watch with the last revision that it was told of. From then on no watch begins.
    pub fn end_watches(&self) {
        self.subscriptions.close();
    }
}
