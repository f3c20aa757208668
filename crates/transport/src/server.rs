//! The start and the shutdown of a server: one listener, and workers that serve the connections.
//!
//! Every task and thread that is started here is joined by [`Running::shutdown`].

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::connection;
use crate::connection_service::Calls;
use crate::limits::ServerLimits;
use crate::listener::{Dispatcher, Listener};
use crate::liveness::Liveness;
use crate::metrics::Metrics;
use crate::shared::{Shared, Stage, Stopper};
use crate::tasks::Tasks;
use crate::tls::Tls;
use crate::worker::Worker;

/// Where connections are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// On this many threads, each with a current-thread runtime.
    Threads(NonZeroUsize),
    /// By one worker on the runtime that calls [`start`]: for tests and simulations.
    Here,
}

impl Workers {
    /// One worker for every core that this process may use.
    pub fn per_core() -> Workers {
        Workers::Threads(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every call in flight finished.
    InOrder,
    /// The grace period was over, or was cut short, and calls were dropped.
    Cut,
}

/// A server that accepts connections. Dropping it aborts the server without waiting; prefer
/// [`Running::shutdown`].
#[derive(Debug)]
pub struct Running {
    local_address: SocketAddr,
    metrics: Arc<Metrics>,
    liveness: Liveness,
    stopper: Stopper,
    /// The workers and the listener.
    joinables: Vec<Joinable>,
}

#[derive(Debug)]
enum Joinable {
    Thread(thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

/// Serves the connections that `listener` accepts, which are plain, by the services that `service`
/// makes.
///
/// `service` is called once on every worker, with the number of the worker, inside the worker's
/// runtime. It makes the service, and a future that runs on the worker beside the calls until the
/// last of them has ended; `std::future::ready(())` where nothing has to run.
///
/// # Errors
///
/// A thread or a runtime cannot be made, or [`Workers::Here`] is used outside a runtime.
pub fn start<F, S, B>(
    listener: TcpListener,
    limits: ServerLimits,
    workers: Workers,
    service: F,
) -> io::Result<Running>
where
    F: Fn(usize) -> (S, B) + Send + Sync + 'static,
    S: Calls,
    B: Future<Output = ()> + Send + 'static,
{
    start_with_tls(listener, limits, workers, None, service)
}

/// Does as [`start`], with connections inside `tls` if there is one. A reload of the handle holds
/// for the connections that are accepted afterwards.
///
/// # Errors
///
/// As those of [`start`].
pub fn start_with_tls<F, S, B>(
    listener: TcpListener,
    limits: ServerLimits,
    workers: Workers,
    tls: Option<Tls>,
    service: F,
) -> io::Result<Running>
where
    F: Fn(usize) -> (S, B) + Send + Sync + 'static,
    S: Calls,
    B: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let local_address = listener.local_addr()?;
    let (sender, stage) = watch::channel(Stage::Serving);
    let shared = Shared::new(limits, tls, stage);
    let metrics = shared.metrics.clone();
    let stopper = Stopper {
        stage: Arc::new(sender),
    };
    let worker_count = match workers {
        Workers::Threads(count) => count.get(),
        Workers::Here => 1,
    };
    let (dispatcher, queues) = Dispatcher::new(worker_count, shared.limits.stuck);
    // From here on an early return drops `running`, which stops the workers that were started.
    let mut running = Running {
        local_address,
        metrics,
        liveness: Liveness::of(&queues),
        stopper,
        joinables: Vec::new(),
    };

    // The listener does not run on a worker: a worker may be stuck, and the other workers must get
    // connections all the same.
    let listener = Listener {
        listener,
        dispatcher,
        shared: shared.clone(),
    };
    let service = Arc::new(service);
    for (number, queue) in queues.into_iter().enumerate() {
        let worker = Worker {
            number,
            queue,
            shared: shared.clone(),
            service: service.clone(),
        };
        running.joinables.push(match workers {
            Workers::Threads(_) => Joinable::Thread(worker.start_thread()?),
            Workers::Here => Joinable::Task(worker.start_here()?),
        });
    }
    running.joinables.push(match workers {
        Workers::Threads(_) => Joinable::Thread(listener.start_thread()?),
        Workers::Here => Joinable::Task(listener.start_here()?),
    });
    Ok(running)
}

/// Serves one connection that was accepted elsewhere, on the runtime of the caller, until the
/// connection and its calls have ended. For listeners other than this machine's TCP, such as a
/// simulated network. Dropping the future cuts the connection.
pub async fn serve_connection<I, S>(
    io: I,
    peer: SocketAddr,
    number: u64,
    limits: ServerLimits,
    service: S,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Calls,
{
    let (_never_stops, stage) = watch::channel(Stage::Serving);
    let shared = Shared::new(limits, None, stage);
    let (tasks, mut ended) = Tasks::new();
    connection::serve(
        io,
        connection::Origin { peer, number },
        service,
        shared,
        tasks,
    )
    .await;
    let _none = ended.recv().await;
}

impl Running {
    /// The address that the server listens on, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// The counters since the start.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// A handle that asks the workers for signs of life.
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// A handle that begins the shutdown, or cuts its grace period short.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until a [`Stopper`] asks for the shutdown.
    pub async fn stop_asked(&self) {
        let mut stage = self.stopper.stage.subscribe();
        let _sender_is_ours = stage.wait_for(|stage| *stage > Stage::Serving).await;
    }

    /// Stops accepting, sends GOAWAY, lets calls in flight finish for `grace`, drops the remaining
    /// ones, and joins all threads and tasks.
    pub async fn shutdown(mut self, grace: Duration) -> Ended {
        self.stopper.drain();
        if tokio::time::timeout(grace, self.stopper.stage.closed())
            .await
            .is_err()
        {
            self.stopper.abort();
            self.stopper.stage.closed().await;
        }
        for joinable in std::mem::take(&mut self.joinables) {
            let joined = match joinable {
                // A runtime that is dropped waits for its blocking calls, which would block this
                // one.
                Joinable::Thread(thread) => {
                    tokio::task::spawn_blocking(move || thread.join().is_ok())
                        .await
                        .unwrap_or(false)
                }
                Joinable::Task(task) => task.await.is_ok(),
            };
            if !joined {
                tracing::error!("a thread of the server panicked");
            }
        }
        match *self.stopper.stage.borrow() {
            Stage::Aborted => Ended::Cut,
            Stage::Serving | Stage::Draining => Ended::InOrder,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.joinables.is_empty() {
            self.stopper.abort();
        }
    }
}
