//! The status of an engine for whoever watches it, such as a probe: its figures, and whether it
//! goes on.
//!
//! A status is no handle: it does not keep the engine from ending, and asking it never waits for
//! the writer or the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::clock::EngineClock;
use super::mail::Mail;
use super::metrics::EngineMetrics;
use super::snapshots::Snapshots;
use crate::log::subscriptions::Subscriptions;
use crate::store::{Store, StoreMetrics};
use bookd_core::ids::Revision;

/// The status of one engine.
#[derive(Clone)]
pub struct EngineStatus {
    mailbox: mpsc::WeakSender<Mail>,
    snapshots: Arc<Snapshots>,
    subscriptions: Arc<Subscriptions>,
    clock: Arc<EngineClock>,
    metrics: Arc<EngineMetrics>,
    store: StoreStatus,
}

/// The figures of the engine's store, and where it lies.
#[derive(Clone)]
pub(super) struct StoreStatus {
    metrics: Arc<StoreMetrics>,
    file: Option<PathBuf>,
}

impl StoreStatus {
    pub(super) fn of(store: &dyn Store) -> Self {
        Self {
            metrics: store.metrics(),
            file: store.file().map(Path::to_owned),
        }
    }
}

impl EngineStatus {
    pub(super) fn new(
        mailbox: &mpsc::Sender<Mail>,
        snapshots: &Arc<Snapshots>,
        subscriptions: &Arc<Subscriptions>,
        clock: &Arc<EngineClock>,
        metrics: &Arc<EngineMetrics>,
        store: &StoreStatus,
    ) -> Self {
        Self {
            mailbox: mailbox.downgrade(),
            snapshots: Arc::clone(snapshots),
            subscriptions: Arc::clone(subscriptions),
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            store: store.clone(),
        }
    }

    /// The messages in the writer's mailbox; none when the writer has ended or is about to.
    pub fn mailbox_depth(&self) -> Option<usize> {
        let mailbox = self.mailbox.upgrade().filter(|it| !it.is_closed())?;
        Some(mailbox.max_capacity() - mailbox.capacity())
    }

    /// The last published revision.
    pub fn revision(&self) -> Revision {
        self.snapshots.revision()
    }

    /// The number of calendars in memory.
    pub fn calendars_in_memory(&self) -> usize {
        self.snapshots.len()
    }

    /// The number of open watches.
    pub fn watches_open(&self) -> usize {
        self.subscriptions.count.load(Ordering::SeqCst)
    }

    /// Whether the writer refuses changes because of the clock.
    pub fn is_clock_in_doubt(&self) -> bool {
        self.clock.is_in_doubt()
    }

    /// The figures of the engine.
    pub fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }

    /// The figures of the store.
    pub fn store_metrics(&self) -> &StoreMetrics {
        &self.store.metrics
    }

    /// The path of the database; none for a store that is no file of the system.
    pub fn store_file(&self) -> Option<&Path> {
        self.store.file.as_deref()
    }
}
