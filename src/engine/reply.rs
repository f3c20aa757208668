//! The channel of an answer, and how the answers of a batch reach their callers.

use tokio::sync::oneshot;

use super::{Answer, Failure};
use crate::bell::{Bell, Lists};

/// An answer, or why there is none.
type Settled = Result<Answer, Failure>;

/// The channel of the answer to one command.
pub(super) struct Reply {
    sender: oneshot::Sender<Settled>,
    /// The bell of the worker on which the caller waits; none for a caller on no worker.
    bell: Option<Bell>,
}

impl Reply {
    /// The channel of an answer for a caller on this worker, and its end for the caller.
    pub(super) fn new(bell: Option<Bell>) -> (Self, oneshot::Receiver<Settled>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender, bell }, answer)
    }

    /// Answers one caller, from this thread.
    pub(super) fn send(self, answer: Settled) {
        send((self.sender, answer));
    }
}

/// The caller may have gone away; it finds the answer by its request id.
fn send((sender, answer): (oneshot::Sender<Settled>, Settled)) {
    drop(sender.send(answer));
}

/// Answers the callers of a batch: those of each worker by one list.
pub(super) fn send_all(answers: impl Iterator<Item = (Reply, Settled)>) {
    let mut lists = Lists::new(send);
    for (Reply { sender, bell }, answer) in answers {
        lists.push(bell.as_ref(), (sender, answer));
    }
    lists.ring();
}
