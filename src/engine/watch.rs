//! One watch: it reads from the store while it is behind, from the log tail in memory while it
//! keeps up, and gives a progress mark in time.
//!
//! It works only when it is asked for the next item, so that a client that does not read costs
//! nothing but its registration. Every change up to `position` was delivered exactly once. A
//! watcher that is too slow is cut, and never skips. A large change is delivered in parts, each by
//! a read of the store, and `position` reaches it with its last part.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant as Monotonic;

use super::{Engine, Failure, READERS_MAX, WAIT_MAX};
use crate::log::committed::TailChange;
use crate::log::registry::Subscriber;
use crate::log::subscriptions::{Subscription, SubscriptionRefused};
use crate::log::{WatchSettings, WholeChange};
use crate::store::{CalendarFilter, ChangePage, ChangePart, WatchFilter};
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::log::LogPosition;

/// The number of watches that read the store at a time; the other connections are for other calls.
pub(super) const CATCHING_UP_MAX: usize = READERS_MAX / 2;

impl From<SubscriptionRefused> for Failure {
    fn from(refused: SubscriptionRefused) -> Self {
        match refused {
            SubscriptionRefused::Closed => Self::ShuttingDown,
            SubscriptionRefused::TooMany(most) => Self::TooManyWatches(most),
        }
    }
}

/// An item of a watch.
pub enum Watched {
    /// A change of which all events passed the filter, from memory.
    Whole(WholeChange),
    /// A change of which an event passed the filter, or a part of a large one.
    Change {
        /// The events that passed.
        change: Box<ChangePart>,
        /// The number of the part, from 1.
        part: u32,
    },
    /// Every change up to this revision was delivered, or did not pass.
    Progress(Revision),
}

/// A change that was read and not delivered yet.
enum Queued {
    Whole(WholeChange),
    Part(ChangePart),
}

/// A watch of the change log.
pub struct Watch {
    engine: Engine,
    subscription: Subscription,
    /// Every change up to this revision was delivered, or did not pass.
    position: Revision,
    /// The end of the last delivered item; within a change while further parts of it are to come.
    delivered_to: LogPosition,
    /// The number of delivered parts of the change that `delivered_to` is within.
    parts_delivered: u32,
    /// The next items, the position after them, and the revision at which they were read.
    queue: VecDeque<Queued>,
    queue_end: LogPosition,
    read_at: Revision,
    /// The revision up to which it reads on before it waits.
    target: Revision,
    /// It has caught up once: from then on it waits for the subscription to wake it.
    was_current: bool,
    progress_due: Monotonic,
    /// The queue was read since `next` was called.
    is_fresh: bool,
    is_over: bool,
}

impl Watch {
    /// Waits for the next item. After an error there is nothing more.
    pub async fn next(&mut self) -> Result<Watched, Failure> {
        let idle = self.subscription.end_idle();
        if self.is_over {
            return Err(Failure::ShuttingDown);
        }
        if idle > self.subscription.subscriptions.settings.stall_max
            || self.subscription.subscriber.is_cut()
        {
            return Err(self.engine.lagged(self.position).await);
        }
        let item = self.next_item().await;
        if matches!(item, Ok(Watched::Progress(_))) {
            self.progress_due =
                Monotonic::now() + self.subscription.subscriptions.settings.progress;
        }
        self.subscription.begin_idle();
        item
    }

    async fn next_item(&mut self) -> Result<Watched, Failure> {
        self.is_fresh = false;
        loop {
            if self.subscription.subscriptions.is_closed() {
                self.is_over = true;
                if self.queue.is_empty() {
                    self.pass_queue();
                    self.update_target();
                }
                return Ok(Watched::Progress(self.position));
            }
            let is_due = Monotonic::now() >= self.progress_due;
            match self.queue.pop_front() {
                Some(change) if is_due => {
                    self.queue.push_front(change);
                    return Ok(Watched::Progress(self.position));
                }
                Some(mut change) => {
                    if !self.is_up_to_date(&mut change) {
                        continue;
                    }
                    return Ok(self.deliver(change));
                }
                None => self.pass_queue(),
            }
            let newest = self.update_target();
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
                // The next round of the loop finds out which of the two happened.
                let _or_time = tokio::time::timeout_at(self.progress_due, woken).await;
            }
        }
    }

    fn deliver(&mut self, change: Queued) -> Watched {
        let change = match change {
            Queued::Whole(whole) => {
                self.position = whole.revision();
                self.delivered_to = LogPosition::after(self.position);
                return Watched::Whole(whole);
            }
            Queued::Part(change) => change,
        };
        let part = self.parts_delivered + 1;
        self.delivered_to = change.next;
        if change.is_last() {
            (self.position, self.parts_delivered) = (change.entry.revision, 0);
        } else {
            // Within a change it reads on without waiting.
            (self.target, self.parts_delivered) = (self.target.max(change.entry.revision), part);
        }
        Watched::Change {
            change: Box::new(change),
            part,
        }
    }

    /// The queue is empty: moves on to its end, since the changes before it that were not queued
    /// did not pass.
    fn pass_queue(&mut self) {
        self.delivered_to = self.delivered_to.max(self.queue_end);
        self.position = self
            .position
            .max(Revision(self.delivered_to.revision.0.saturating_sub(1)));
    }

    /// Brings the personal data of a queued item up to date, which may have been removed while the
    /// item waited. Where that is not possible, clears the queue to be read again, and returns
    /// false.
    fn is_up_to_date(&mut self, change: &mut Queued) -> bool {
        let newest = self.engine.revision();
        let subscriptions = &self.subscription.subscriptions;
        let filter = &self.subscription.subscriber.filter;
        let is_known = self.is_fresh
            || match change {
                Queued::Whole(whole) => subscriptions.renew(whole, (self.read_at, newest), filter),
                Queued::Part(part) => subscriptions.refresh(part, (self.read_at, newest), filter),
            };
        if !is_known {
            self.queue.clear();
            self.queue_end = self.delivered_to;
            self.target = self.target.max(newest);
        }
        is_known
    }

    /// Moves `target` and `position` by what the subscription knows, and returns the newest
    /// revision. The order of these reads matters: a change that one of them misses is seen by the
    /// next.
    fn update_target(&mut self) -> Revision {
        let seen = self.subscription.subscriptions.seen();
        let pending = self.subscription.subscriber.take_pending();
        let newest = self.engine.revision();
        if !self.was_current {
            self.target = self.target.max(newest);
            return newest;
        }
        if self.position >= self.target {
            // No change before the first pending one passes the filter; without a pending one, none
            // up to `seen` does.
            let before = pending.map_or(seen, |first| Revision(first.0.saturating_sub(1)));
            self.position = self.position.max(before);
        }
        if pending.is_some() {
            self.target = self.target.max(newest);
        }
        newest
    }

    /// Reads further items into the queue, from the log tail in memory or from the store.
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
        let from = self.delivered_to.max(LogPosition::after(self.position));
        let of_tail = if from.is_within_change() {
            None
        } else {
            subscriptions.page(self.position, newest, &subscriber.filter)
        };
        if let Some(page) = of_tail {
            self.queue
                .extend(page.changes.into_iter().map(|found| match found {
                    TailChange::Whole(whole) => Queued::Whole(whole),
                    TailChange::InPart(committed, latest) => {
                        Queued::Part(committed.to_part(&subscriber.filter, &latest))
                    }
                }));
            self.queue_end = page.next;
            // A long stretch in which nothing passes must yield to the other tasks of this worker.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let page = self
            .engine
            .read_log_page(from, Arc::clone(subscriber), None)
            .await
            .map_err(busy)?;
        self.queue
            .extend(page.changes.into_iter().map(Queued::Part));
        self.queue_end = page.next;
        Ok(())
    }
}

/// A read that found no free connection in time is an overload, and no expired deadline of the
/// client.
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
    /// The given time has come, or the clock was moved by hand.
    Time,
    /// The server is stopping.
    Closed,
    /// The watcher did not read for too long, and was evicted for others.
    Cut,
}

/// Wakes its owner when a change touches one of some calendars.
pub struct CalendarWatch {
    subscription: Subscription,
}

impl CalendarWatch {
    /// Waits until a change touches one of the calendars, at most until `until`.
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

    /// Notes that an item was given to the client, which has not asked for more yet.
    pub fn begin_idle(&self) {
        self.subscription.begin_idle();
    }

    /// Notes that the client asks for more.
    pub fn end_idle(&self) {
        self.subscription.end_idle();
    }

    /// The limits and intervals of watches.
    pub fn settings(&self) -> WatchSettings {
        self.subscription.subscriptions.settings
    }
}

impl Engine {
    /// Watches from the revision `start` on: 0 = changes after now, 1 = from the beginning. The
    /// revision after the newest one waits; a later one is refused.
    pub async fn watch(
        &self,
        filter: WatchFilter,
        start: Revision,
        deadline: Option<Monotonic>,
    ) -> Result<Watch, Failure> {
        // Registered before anything is read, so that no later change is missed.
        let subscription = self
            .subscriptions
            .register(filter, false, self.bell.clone())?;
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
        let delivered_to = LogPosition::after(position);
        let (mut queue, mut queue_end) = (VecDeque::new(), delivered_to);
        if position < newest {
            let page = self
                .read_log_page(delivered_to, Arc::clone(&subscription.subscriber), deadline)
                .await?;
            queue.extend(page.changes.into_iter().map(Queued::Part));
            queue_end = page.next;
        }
        let progress_due = Monotonic::now() + self.subscriptions.settings.progress;
        Ok(Watch {
            engine: self.clone(),
            subscription,
            position,
            delivered_to,
            parts_delivered: 0,
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

    /// Reads a page of the log from the store. At most `CATCHING_UP_MAX` connections are used, so
    /// that other calls find one however many watchers come back at a time.
    async fn read_log_page(
        &self,
        from: LogPosition,
        subscriber: Arc<Subscriber>,
        deadline: Option<Monotonic>,
    ) -> Result<ChangePage, Failure> {
        let deadline = deadline.unwrap_or_else(|| Monotonic::now() + WAIT_MAX);
        let permit = tokio::time::timeout_at(deadline, self.catching_up.acquire()).await;
        let _permit = permit
            .map_err(|_| Failure::ExpiredInQueue)?
            .map_err(|_| Failure::ShuttingDown)?;
        let part_events_max = self.subscriptions.settings.part_events_max;
        self.read_log(Some(deadline), move |log| {
            log.changes_from(from, &subscriber.filter, part_events_max)
        })
        .await
    }

    /// The oldest revision that a watch can start from; 1 while nothing is compacted.
    async fn oldest(&self, deadline: Option<Monotonic>) -> Result<Revision, Failure> {
        let oldest = self.read_log(deadline, |log| log.oldest_change()).await?;
        Ok(oldest.map_or(Revision(1), |it| it.revision))
    }

    /// The failure of a watcher that was too slow. It is given even when the beginning of the log
    /// cannot be read.
    pub async fn lagged(&self, last: Revision) -> Failure {
        self.metrics.watches_lagged.increment();
        let oldest = self.oldest(None).await.unwrap_or(Revision(1));
        Failure::Lagged { last, oldest }
    }

    /// Registers a watch of changes that touch one of these calendars.
    pub fn touches(&self, calendars: Vec<CalendarId>) -> Result<CalendarWatch, Failure> {
        Ok(CalendarWatch {
            subscription: self.subscriptions.register(
                WatchFilter::of(CalendarFilter::Among(calendars)),
                true,
                self.bell.clone(),
            )?,
        })
    }

    /// Ends every watch with a progress mark of its position, and refuses new ones.
    pub fn end_watches(&self) {
        self.subscriptions.close();
    }
}
