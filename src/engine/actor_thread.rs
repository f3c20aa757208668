//! The thread of the actor, or its task on the caller's runtime.

use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::Mail;
use super::actor::Actor;
use super::stop::Stopped;
use crate::layout::Layout;

/// The running actor, to be joined at the end.
pub(super) enum ActorThread {
    Thread(JoinHandle<Stopped>),
    Task(tokio::task::JoinHandle<Stopped>),
}

impl ActorThread {
    #[allow(
        clippy::disallowed_methods,
        reason = "the actor's own thread, joined by `RunningEngine::stopped`"
    )]
    pub(super) fn spawn(actor: Actor, mail: mpsc::Receiver<Mail>, layout: Layout) -> Self {
        if layout == Layout::Inline {
            return Self::Task(tokio::spawn(actor.run(mail)));
        }
        let run = move || {
            let failed =
                |error| Stopped::Failed(format!("the writer's runtime cannot start: {error}"));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            runtime.map_or_else(failed, |runtime| runtime.block_on(actor.run(mail)))
        };
        let thread = std::thread::Builder::new()
            .name("bookd-writer".to_owned())
            .spawn(run);
        Self::Thread(thread.expect("a process that starts can have a second thread"))
    }

    pub(super) async fn join(self) -> Stopped {
        match self {
            Self::Task(task) => task.await.unwrap_or_else(|_| Stopped::panicked()),
            Self::Thread(thread) => {
                let joined = tokio::task::spawn_blocking(move || thread.join()).await;
                joined
                    .ok()
                    .and_then(Result::ok)
                    .unwrap_or_else(Stopped::panicked)
            }
        }
    }
}
