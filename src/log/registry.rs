//! The watchers that are registered, by what they watch, so that a change wakes only those that
//! want it.
//!
//! A watcher remembers the first change that it wants since it looked last, and is woken once for
//! all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::bell::{Bell, Lists};
use crate::store::{CalendarFilter, WatchFilter};
use bookd_core::ids::{CalendarId, Revision};

/// A registered watcher.
pub(crate) struct Subscriber {
    pub(crate) filter: WatchFilter,
    /// Also woken when the clock is moved by hand.
    pub(super) is_timed: bool,
    /// The first change that passes the filter since the watcher looked last; 0 = none.
    pending: AtomicU64,
    woken: Notify,
    /// The bell of the worker on which the watcher waits; none for a watcher on no worker.
    bell: Option<Bell>,
    /// Since when the client has not asked for more, in milliseconds since the start of the
    /// subscriptions plus one; 0 = it is asking.
    pub(super) idle_since: AtomicU64,
    /// Evicted because the client did not read.
    pub(super) is_cut: AtomicBool,
}

impl Subscriber {
    pub(super) fn new(filter: WatchFilter, is_timed: bool, bell: Option<Bell>) -> Self {
        Self {
            filter,
            is_timed,
            pending: AtomicU64::new(0),
            woken: Notify::new(),
            bell,
            idle_since: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
        }
    }

    /// Notes a change that passes the filter, and adds the watcher to those to be woken if it is
    /// the first one.
    pub(super) fn note(self: &Arc<Self>, revision: Revision, wakes: &mut Wakes) {
        // Only the first pending change counts; the watcher is awake already for any other.
        if self
            .pending
            .compare_exchange(0, revision.0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.add_to(wakes);
        }
    }

    /// Adds the watcher to those to be woken.
    pub(super) fn add_to(self: &Arc<Self>, wakes: &mut Wakes) {
        wakes.0.push(self.bell.as_ref(), Arc::clone(self));
    }

    /// Waits until a change that passes the filter may have been made.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Takes the first change that passes the filter since the last call.
    pub(crate) fn take_pending(&self) -> Option<Revision> {
        match self.pending.swap(0, Ordering::SeqCst) {
            0 => None,
            revision => Some(Revision(revision)),
        }
    }

    /// Whether the watcher was evicted.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }
}

/// The watchers that are to be woken, in a list for each worker. Dropping it wakes nobody.
pub(super) struct Wakes(Lists<Arc<Subscriber>>);

impl Wakes {
    pub(super) fn new() -> Self {
        Self(Lists::new(|watcher| watcher.woken.notify_one()))
    }

    /// Wakes the watchers of each worker by one wake-up of the worker.
    pub(super) fn ring(self) {
        self.0.ring();
    }
}

/// The registered watchers by number, and by what their filters name.
#[derive(Default)]
pub(super) struct Registry {
    last_number: u64,
    pub(super) by_number: HashMap<u64, Arc<Subscriber>>,
    /// The watchers whose filter names no single calendars: all, or a prefix.
    unnamed: HashMap<u64, Arc<Subscriber>>,
    by_calendar: HashMap<CalendarId, HashMap<u64, Arc<Subscriber>>>,
}

impl Registry {
    /// Registers a watcher, and returns its number.
    pub(super) fn insert(&mut self, subscriber: Arc<Subscriber>) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        match &subscriber.filter.calendars {
            CalendarFilter::Among(calendars) => {
                for id in calendars {
                    self.by_calendar
                        .entry(id.clone())
                        .or_default()
                        .insert(number, Arc::clone(&subscriber));
                }
            }
            CalendarFilter::All | CalendarFilter::Prefixes(_) => {
                drop(self.unnamed.insert(number, Arc::clone(&subscriber)))
            }
        }
        self.by_number.insert(number, subscriber);
        number
    }

    /// Notes changes for the watchers of these calendars, for each the first change that passes its
    /// filter. `firsts` has for each calendar the first change that touches it.
    pub(super) fn note_matching(&self, firsts: &BTreeMap<&str, Revision>, wakes: &mut Wakes) {
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
                .for_each(|it| it.note(*first, wakes));
        }
        for subscriber in self.unnamed.values() {
            let first = match &subscriber.filter.calendars {
                CalendarFilter::Prefixes(prefixes) => {
                    let of = |prefix| {
                        let from = firsts.range(prefix..);
                        from.take_while(move |(calendar, _)| calendar.starts_with(prefix))
                    };
                    let touched = prefixes.iter().flat_map(of);
                    touched.map(|(_, first)| *first).min()
                }
                _ => named.first().map(|(first, _)| *first),
            };
            if let Some(first) = first {
                subscriber.note(first, wakes);
            }
        }
    }

    /// Removes a watcher, if it is registered.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(subscriber) = self.by_number.remove(&number) else {
            return;
        };
        self.unnamed.remove(&number);
        if let CalendarFilter::Among(calendars) = &subscriber.filter.calendars {
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
