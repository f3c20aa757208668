//! The tasks of a worker: its connections, and the tasks that hyper spawns for their calls.
//!
//! The receiver of [`Tasks::new`] closes when every task that was spawned has ended.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Spawns tasks on the worker, which does not end before they have ended.
#[derive(Clone)]
pub(crate) struct Tasks {
    running: mpsc::Sender<Infallible>,
}

impl Tasks {
    pub(crate) fn new() -> (Tasks, mpsc::Receiver<Infallible>) {
        let (running, ended) = mpsc::channel(1);
        (Tasks { running }, ended)
    }

    pub(crate) fn spawn<T>(&self, task: T)
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

/// hyper spawns every call through this. Calls end with their connection: HTTP/2 resets them when
/// it is dropped.
impl<T> hyper::rt::Executor<T> for Tasks
where
    T: Future + Send + 'static,
    T::Output: Send,
{
    fn execute(&self, task: T) {
        self.spawn(task);
    }
}
