//! The listener: accepts connections on a thread of its own and hands them to the workers in turn.
//!
//! A worker that does not take up its connections is stuck. Until it runs again it gets no further
//! ones, and the other workers get those that wait for it. An error of accepting never ends the
//! server and never makes it spin. The listener is closed as soon as the server drains, so that
//! clients go elsewhere.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::OpenConnection;
use crate::shared::{Shared, Stage};
use crate::worker_queue::{Accepted, WorkerQueue};

/// The first pause after an error that accepting again would meet again, such as EMFILE. The pause
/// doubles up to `BACK_OFF_LONGEST`.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause. Descriptors come back as connections end, and clients wait about a second
/// before they retry.
const BACK_OFF_LONGEST: Duration = Duration::from_secs(1);
/// A worker that is stuck again within this time is not logged again.
const STUCK_LOGGED: Duration = Duration::from_secs(60);

/// The listener, and the dispatcher to the workers.
pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) shared: Shared,
}

impl Listener {
    pub(crate) fn start_thread(self) -> io::Result<thread::JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("bookd-accept".to_owned())
            .spawn(move || runtime.block_on(self.run()))
    }

    pub(crate) fn start_here(self) -> io::Result<tokio::task::JoinHandle<()>> {
        let runtime = runtime::Handle::try_current().map_err(io::Error::other)?;
        Ok(runtime.spawn(self.run()))
    }

    /// Accepts until the server drains. Dropping the dispatcher closes the queues of the workers.
    async fn run(self) {
        let Listener {
            listener,
            dispatcher,
            mut shared,
        } = self;
        let mut drain = shared.clone();
        tokio::select! {
            () = drain.reached(Stage::Draining) => {}
            () = accept(listener, dispatcher, &mut shared) => {}
        }
    }
}

async fn accept(listener: TcpListener, mut dispatcher: Dispatcher, shared: &mut Shared) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listener cannot be registered with the runtime: nothing is accepted");
            return;
        }
    };
    let mut pause = BACK_OFF_FIRST;
    let mut number: u64 = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = dispatcher.work_to_do() => {
                dispatcher.look();
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = BACK_OFF_FIRST;
                let Some(open) =
                    OpenConnection::admit(&shared.metrics, shared.limits.connections_max)
                else {
                    tracing::debug!(%peer, "refused: too many connections");
                    continue;
                };
                // Without TCP_NODELAY small answers wait for the peer's delayed acknowledgement, 40
                // ms a call.
                let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else {
                    continue;
                };
                number = number.wrapping_add(1);
                dispatcher
                    .dispatch(Accepted {
                        stream,
                        peer,
                        number,
                        open,
                    })
                    .await;
            }
            Err(error) => {
                shared.metrics.accept_errors.fetch_add(1, Relaxed);
                if is_of_the_peer(&error) {
                    continue;
                }
                tracing::warn!(%error, pause_milliseconds = pause.as_millis(), "accepting failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF_LONGEST);
            }
        }
    }
}

/// Hands connections to the workers in turn.
pub(crate) struct Dispatcher {
    workers: Vec<Arc<WorkerQueue>>,
    /// The number of the worker that is next in turn.
    next: usize,
    /// Notified by the workers: one of them took up a connection, or is no longer stuck.
    taken: Arc<Notify>,
    /// How long a connection may wait before its worker counts as stuck.
    stuck: Duration,
    /// When each worker was last logged as stuck.
    logged: Vec<Option<Instant>>,
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.close());
    }
}

impl Dispatcher {
    /// A dispatcher to `count` workers, and the queue of each.
    pub(crate) fn new(count: usize, stuck: Duration) -> (Self, Vec<Arc<WorkerQueue>>) {
        let taken = Arc::new(Notify::new());
        let workers: Vec<_> = (0..count)
            .map(|_| Arc::new(WorkerQueue::new(Arc::clone(&taken))))
            .collect();
        (
            Self {
                workers: workers.clone(),
                next: 0,
                taken,
                stuck,
                logged: vec![None; count],
            },
            workers,
        )
    }

    /// The next worker in turn that can take one more connection.
    fn next_worker(&mut self) -> Option<&WorkerQueue> {
        let count = self.workers.len();
        let worker = (self.next..self.next + count)
            .map(|number| number % count)
            .find(|worker| self.workers[*worker].has_capacity())?;
        self.next = worker + 1;
        Some(&self.workers[worker])
    }

    /// Hands over one connection; waits while no worker can take it.
    async fn dispatch(&mut self, accepted: Accepted) {
        loop {
            if let Some(worker) = self.next_worker() {
                return worker.put(accepted, Instant::now());
            }
            tokio::select! {
                () = self.taken.notified() => {}
                () = self.overdue() => {}
            }
            self.look();
        }
    }

    /// Waits until `look` may find a stuck worker, or a connection that another worker can take.
    async fn work_to_do(&self) {
        let has_leftovers = self.workers.iter().any(|worker| worker.has_leftovers());
        tokio::select! {
            () = self.taken.notified(), if has_leftovers => {}
            () = self.overdue() => {}
        }
    }

    /// Waits until the connection that waits longest is overdue.
    async fn overdue(&self) {
        match self
            .workers
            .iter()
            .filter_map(|worker| worker.waiting_since())
            .min()
        {
            Some(since) => tokio::time::sleep_until(since + self.stuck).await,
            None => std::future::pending().await,
        }
    }

    /// Finds stuck workers, and hands the connections that wait for them to the others.
    fn look(&mut self) {
        let now = Instant::now();
        for number in 0..self.workers.len() {
            if now
                .checked_sub(self.stuck)
                .is_some_and(|latest| self.workers[number].judge(latest))
            {
                self.log(number, now);
            }
        }
        for from in self.workers.clone() {
            while from.has_leftovers()
                && let Some(to) = self.next_worker()
                && let Some(accepted) = from.take_back()
            {
                to.put(accepted, now);
            }
        }
    }

    fn log(&mut self, worker: usize, now: Instant) {
        if self.logged[worker].is_some_and(|logged| now.duration_since(logged) < STUCK_LOGGED) {
            return;
        }
        self.logged[worker] = Some(now);
        tracing::warn!(
            worker,
            milliseconds = self.stuck.as_millis(),
            "a worker is stuck: it has taken up no connection for so long. Calls on its connections wait until it runs \
             again; new connections go to the other workers"
        );
    }
}

/// Whether the error concerns only the connection that would have been accepted, so that accepting
/// may go on at once.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_waited_out_and_a_peer_that_left_is_not() {
        const EMFILE: i32 = 24;
        assert!(!is_of_the_peer(&io::Error::from_raw_os_error(EMFILE)));
        assert!(is_of_the_peer(&io::ErrorKind::ConnectionAborted.into()));
    }
}
