//! The watchers that are registered, by what they watch, so that a change wakes only those that want it.
//!
//! A watcher remembers the first change that it wants since it looked last, and is woken once for all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::store::CalendarFilter;
use bookd_core::ids::{CalendarId, Revision};

/// What is known of one watcher.
pub(crate) struct Subscriber {
    pub(crate) filter: CalendarFilter,
    /// It also wants to know when the clock was moved by hand.
    pub(super) is_timed: bool,
    /// The first change that it wants since it looked last; 0 = none.
    pending: AtomicU64,
    pub(super) woken: Notify,
    /// Since when it has not asked for more, in milliseconds of the fan-out's life, plus one; 0 = it is asking.
    pub(super) resting: AtomicU64,
    pub(super) is_cut: AtomicBool,
}

impl Subscriber {
    pub(super) fn new(filter: CalendarFilter, is_timed: bool) -> Self {
        Self {
            filter,
            is_timed,
            pending: AtomicU64::new(0),
            woken: Notify::new(),
            resting: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
        }
    }

    pub(super) fn wake(&self, revision: Revision) {
        // Only the first counts, and whoever was told once is told.
        if self
            .pending
            .compare_exchange(0, revision.0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.woken.notify_one();
        }
    }

    /// Waits until something that it wants may have happened.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// The first change that it wants since this was asked last.
    pub(crate) fn take_pending(&self) -> Option<Revision> {
        match self.pending.swap(0, Ordering::SeqCst) {
            0 => None,
            revision => Some(Revision(revision)),
        }
    }

    /// It had to make room for others.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }
}

/// The registered watchers by number, and by what their filters name.
#[derive(Default)]
pub(super) struct Registry {
    next: u64,
    pub(super) all: HashMap<u64, Arc<Subscriber>>,
    /// Those whose filter names no calendars.
    wide: HashMap<u64, Arc<Subscriber>>,
    by_calendar: HashMap<CalendarId, HashMap<u64, Arc<Subscriber>>>,
}

impl Registry {
    pub(super) fn put(&mut self, subscriber: Arc<Subscriber>) -> u64 {
        self.next += 1;
        let number = self.next;
        match &subscriber.filter {
            CalendarFilter::Among(calendars) => {
                for id in calendars {
                    self.by_calendar
                        .entry(id.clone())
                        .or_default()
                        .insert(number, Arc::clone(&subscriber));
                }
            }
            CalendarFilter::All | CalendarFilter::Prefix(_) => {
                drop(self.wide.insert(number, Arc::clone(&subscriber)))
            }
        }
        self.all.insert(number, subscriber);
        number
    }

    /// Wakes those who want something of these calendars, each with the first change that it wants.
    pub(super) fn tell(&self, firsts: &BTreeMap<&str, Revision>) {
        let mut named: Vec<(Revision, &str)> = firsts
            .iter()
            .map(|(calendar, first)| (*first, *calendar))
            .collect();
        named.sort_unstable();
        for (first, calendar) in &named {
            self.by_calendar
                .get(*calendar)
                .into_iter()
                .flat_map(HashMap::values)
                .for_each(|it| it.wake(*first));
        }
        for subscriber in self.wide.values() {
            let first = match &subscriber.filter {
                CalendarFilter::Prefix(prefix) => {
                    let from = firsts.range(prefix.as_str()..);
                    from.take_while(|(calendar, _)| calendar.starts_with(prefix.as_str()))
                        .map(|(_, first)| *first)
                        .min()
                }
                _ => named.first().map(|(first, _)| *first),
            };
            if let Some(first) = first {
                subscriber.wake(first);
            }
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(subscriber) = self.all.remove(&number) else {
            return;
        };
        self.wide.remove(&number);
        if let CalendarFilter::Among(calendars) = &subscriber.filter {
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
