//! A lane: one thread's share of the connections.
//!
//! A lane ends when nothing more can arrive and the last task that was spawned on it is gone, its calls included.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::mpsc;

use super::accept::Accepted;
use super::inbox::Inbox;
use super::{Calls, Shared, connection};

/// A lane that is about to run.
pub(super) struct Lane<F> {
    pub(super) number: usize,
    pub(super) inbox: Arc<Inbox>,
    pub(super) shared: Shared,
    pub(super) service: Arc<F>,
}

impl<F, S> Lane<F>
where
    F: Fn(usize) -> S + Send + Sync + 'static,
    S: Calls,
{
    pub(super) fn start_thread(self) -> io::Result<thread::JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(format!("bookd-lane-{}", self.number)).spawn(move || runtime.block_on(self.run()))
    }

    pub(super) fn start_here(self) -> io::Result<tokio::task::JoinHandle<()>> {
        let runtime = runtime::Handle::try_current().map_err(io::Error::other)?;
        Ok(runtime.spawn(self.run()))
    }

    async fn run(self) {
        let Lane { number, inbox, shared, service } = self;
        serve(&inbox, service(number), shared).await;
    }
}

async fn serve<S: Calls>(inbox: &Inbox, service: S, shared: Shared) {
    let (tasks, mut ended) = Tasks::new();
    while let Some(accepted) = inbox.next().await {
        let Accepted { stream, peer, number, open } = accepted;
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let origin = connection::Origin { peer, number };
                let served = connection::serve(stream, origin, service.clone(), shared.clone(), tasks.clone());
                tasks.spawn(async move {
                    served.await;
                    drop(open);
                });
            }
            Err(error) => tracing::warn!(%peer, %error, "a connection cannot be registered with its lane"),
        }
    }
    drop(tasks);
    // Nothing is ever sent: this is how the last task to go is noticed.
    let _none = ended.recv().await;
}

/// Spawns on the lane and keeps the lane from ending before what was spawned has.
#[derive(Clone)]
pub(super) struct Tasks {
    running: mpsc::Sender<Infallible>,
}

impl Tasks {
    pub(super) fn new() -> (Tasks, mpsc::Receiver<Infallible>) {
        let (running, ended) = mpsc::channel(1);
        (Tasks { running }, ended)
    }

    fn spawn<T>(&self, task: T)
    where
        T: Future + Send + 'static,
        T::Output: Send,
    {
        let running = self.running.clone();
        tokio::spawn(async move {
            task.await;
            drop(running);
        });
    }
}

/// hyper spawns every call through this. Calls end with their connection: HTTP/2 resets them when it is dropped.
impl<T> hyper::rt::Executor<T> for Tasks
where
    T: Future + Send + 'static,
    T::Output: Send,
{
    fn execute(&self, task: T) {
        self.spawn(task);
    }
}
