//! A worker: one thread that serves its share of the connections.
//!
//! A worker ends when its queue is closed and the last task that was spawned on it has ended, calls
//! included. What its service needs to run beside the calls ends with it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime;

use crate::connection;
use crate::connection_service::Calls;
use crate::shared::Shared;
use crate::tasks::Tasks;
use crate::worker_queue::{Accepted, WorkerQueue};

/// A worker that has not started yet.
pub(crate) struct Worker<F> {
    pub(crate) number: usize,
    pub(crate) queue: Arc<WorkerQueue>,
    pub(crate) shared: Shared,
    pub(crate) service: Arc<F>,
}

impl<F, S, B> Worker<F>
where
    F: Fn(usize) -> (S, B) + Send + Sync + 'static,
    S: Calls,
    B: Future<Output = ()> + Send + 'static,
{
    pub(crate) fn start_thread(self) -> io::Result<thread::JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name(format!("bookd-worker-{}", self.number))
            .spawn(move || runtime.block_on(self.run()))
    }

    pub(crate) fn start_here(self) -> io::Result<tokio::task::JoinHandle<()>> {
        let runtime = runtime::Handle::try_current().map_err(io::Error::other)?;
        Ok(runtime.spawn(self.run()))
    }

    async fn run(self) {
        let Worker {
            number,
            queue,
            shared,
            service,
        } = self;
        let (service, beside) = service(number);
        let mut serving = pin!(serve(&queue, service, shared));
        tokio::select! {
            biased;
            () = beside => serving.await,
            () = &mut serving => {}
        }
    }
}

async fn serve<S: Calls>(queue: &WorkerQueue, service: S, shared: Shared) {
    let (tasks, mut ended) = Tasks::new();
    while let Some(accepted) = queue.next().await {
        let Accepted {
            stream,
            peer,
            number,
            open,
        } = accepted;
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let origin = connection::Origin { peer, number };
                let served = connection::serve(
                    stream,
                    origin,
                    service.clone(),
                    shared.clone(),
                    tasks.clone(),
                );
                tasks.spawn(async move {
                    served.await;
                    drop(open);
                });
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "a connection cannot be registered with its worker")
            }
        }
    }
    drop(tasks);
    // Nothing is ever sent: the channel closes when the last task has ended.
    let _none = ended.recv().await;
}
