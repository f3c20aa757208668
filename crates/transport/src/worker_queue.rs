//! The queue of connections that wait for one worker, and whether that worker is stuck.
//!
//! The listener puts connections in and takes them back, the worker takes them up. Neither waits
//! for the other while it holds the lock.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::OpenConnection;

/// Connections that may wait for a worker. Taking one up takes a few microseconds, so that a longer
/// queue would only hide a worker that is stuck.
const WAITING_MAX: usize = 64;

/// A connection on its way to a worker.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) number: u64,
    pub(crate) open: OpenConnection,
}

/// The connections that wait for one worker, in the order of their arrival.
pub(crate) struct WorkerQueue {
    state: Mutex<QueueState>,
    /// Notifies the worker: a connection was put in, or the queue was closed.
    arrived: Notify,
    /// Notifies the listener, for all workers: one of them took up a connection, or is no longer
    /// stuck.
    taken: Arc<Notify>,
}

#[derive(Default)]
struct QueueState {
    /// Each connection with the time of its arrival.
    waiting: VecDeque<(Accepted, Instant)>,
    is_stuck: bool,
    is_closed: bool,
    /// Since when the worker owes a sign of life; none when it owes none.
    asked: Option<Instant>,
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
        // No code under the lock can panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the worker's next connection. None when the queue is closed and empty.
    pub(crate) async fn next(&self) -> Option<Accepted> {
        loop {
            {
                let mut state = self.state();
                // A worker that asks is not stuck.
                let was_stuck = std::mem::take(&mut state.is_stuck);
                state.asked = None;
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

    /// Puts in a connection for the worker.
    pub(crate) fn put(&self, accepted: Accepted, now: Instant) {
        self.state().waiting.push_back((accepted, now));
        self.arrived.notify_one();
    }

    /// Takes back the first connection that a stuck worker has not taken up.
    pub(crate) fn take_back(&self) -> Option<Accepted> {
        let mut state = self.state();
        if state.is_stuck {
            state.waiting.pop_front().map(|(accepted, _)| accepted)
        } else {
            None
        }
    }

    /// Closes the queue: no further connection is put in.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.asked = None;
        drop(state);
        self.arrived.notify_one();
    }

    /// Asks the worker for a sign of life, unless it owes one already or takes no connections any
    /// more.
    pub(crate) fn ask(&self, now: Instant) {
        let mut state = self.state();
        if state.is_closed || state.asked.is_some() {
            return;
        }
        state.asked = Some(now);
        drop(state);
        self.arrived.notify_one();
    }

    /// Since when the worker owes a sign of life.
    pub(crate) fn asked_since(&self) -> Option<Instant> {
        self.state().asked
    }

    /// Whether the worker can take one more connection.
    pub(crate) fn has_capacity(&self) -> bool {
        let state = self.state();
        !state.is_stuck && state.waiting.len() < WAITING_MAX
    }

    /// Whether the worker is stuck while connections wait for it.
    pub(crate) fn has_leftovers(&self) -> bool {
        let state = self.state();
        state.is_stuck && !state.waiting.is_empty()
    }

    /// Since when the first connection waits. None when no connection waits, or the worker is known
    /// to be stuck.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        let state = self.state();
        state
            .waiting
            .front()
            .filter(|_| !state.is_stuck)
            .map(|(_, since)| *since)
    }

    /// Marks the worker as stuck if its first connection has waited since `latest` or longer; true
    /// when the worker was not marked before. The worker removes the mark as soon as it runs.
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
