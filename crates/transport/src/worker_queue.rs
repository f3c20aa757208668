//! What a worker was handed and has not taken up yet, and whether the worker is stuck.
//!
//! The listener puts in and takes back, the worker takes; neither waits for the other while it holds the lock.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::OpenConnection;

/// Connections that may wait for a worker. Taking one up is a few microseconds, so a longer queue would only hide a worker
/// that stands still.
const WAITING_MAX: usize = 64;

/// A connection on its way to a worker.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) number: u64,
    pub(crate) open: OpenConnection,
}

/// The connections that wait for one worker, in the order in which they were handed to it.
pub(crate) struct WorkerQueue {
    state: Mutex<QueueState>,
    /// For the worker: something was put in, or it is asked for a sign of life.
    arrived: Notify,
    /// For the listener, from all workers: one of them took something up, or is no longer stuck.
    taken: Arc<Notify>,
}

#[derive(Default)]
struct QueueState {
    /// Each with when it was handed.
    waiting: VecDeque<(Accepted, Instant)>,
    is_stuck: bool,
    is_closed: bool,
}

impl WorkerQueue {
    pub(crate) fn new(taken: Arc<Notify>) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            taken,
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        // Nothing is done under the lock that could leave half of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker's next connection; waits for it. None when nothing more comes.
    pub(crate) async fn next(&self) -> Option<Accepted> {
        loop {
            {
                let mut state = self.state();
                // Whoever asks is not stuck.
                let was_stuck = std::mem::take(&mut state.is_stuck);
                let first = state.waiting.pop_front();
                if was_stuck || first.is_some() {
                    self.taken.notify_one();
                }
                if let Some((accepted, _)) = first {
                    return Some(accepted);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Hands the worker a connection.
    pub(crate) fn put(&self, accepted: Accepted, now: Instant) {
        self.state().waiting.push_back((accepted, now));
        self.arrived.notify_one();
    }

    /// Takes back what a stuck worker has not taken up, the first of it.
    pub(crate) fn take_back(&self) -> Option<Accepted> {
        let mut state = self.state();
        if state.is_stuck {
            state.waiting.pop_front().map(|(accepted, _)| accepted)
        } else {
            None
        }
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.arrived.notify_one();
    }

    /// Whether the worker can be handed one more.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state();
        !state.is_stuck && state.waiting.len() < WAITING_MAX
    }

    /// Whether it is stuck, and connections wait in it.
    pub(crate) fn has_leftovers(&self) -> bool {
        let state = self.state();
        state.is_stuck && !state.waiting.is_empty()
    }

    /// Since when its first connection waits; none when none does, or when it is known to be stuck.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        let state = self.state();
        state
            .waiting
            .front()
            .filter(|_| !state.is_stuck)
            .map(|(_, since)| *since)
    }

    /// Calls the worker stuck if its first connection has waited since then or longer; true when it was not before. The
    /// worker takes that back as soon as it runs.
    pub(crate) fn judge(&self, latest: Instant) -> bool {
        let mut state = self.state();
        let is_overdue = !state.is_stuck
            && state
                .waiting
                .front()
                .is_some_and(|(_, since)| *since <= latest);
        state.is_stuck |= is_overdue;
        is_overdue
    }
}
