//! The bell of a worker: other threads hand the tasks of a worker what they wait for as one list,
//! with one wake-up for the whole list.
//!
//! A wake-up across threads for each answer costs more than most answers, and a worker that is
//! woken for each writes each to its socket alone. The tasks that one list wakes all run before the
//! connections that they answer on, so that one write carries their answers.

use tokio::sync::mpsc;

/// Lists that may wait for one worker. A worker takes up all of them at once, so that more only
/// wait while it computes; they are then delivered by the thread that has them.
const WAITING_MAX: usize = 64;

type Delivery = Box<dyn FnOnce() + Send>;

/// Has lists delivered on one worker. Copies ring the same bell.
#[derive(Clone, Debug)]
pub struct Bell(mpsc::Sender<Delivery>);

impl Bell {
    /// A bell, and the future that delivers what is rung for. The future belongs on the worker; it
    /// ends when every copy of the bell is dropped.
    pub fn new() -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut lists) = mpsc::channel::<Delivery>(WAITING_MAX);
        let delivering = async move {
            while let Some(deliver) = lists.recv().await {
                deliver();
            }
        };
        (Self(sender), delivering)
    }

    /// Delivers on the worker; on this thread where too many lists wait already, or the worker has
    /// ended.
    fn ring(&self, deliver: Delivery) {
        if let Err(refused) = self.0.try_send(deliver) {
            let (mpsc::error::TrySendError::Full(deliver)
            | mpsc::error::TrySendError::Closed(deliver)) = refused;
            deliver();
        }
    }
}

/// What tasks of several workers wait for, in a list for each worker.
pub(crate) struct Lists<T> {
    /// One entry for each bell. A process has few workers, so that a search is cheaper than a map.
    by_bell: Vec<(Bell, Vec<T>)>,
    deliver: fn(T),
}

impl<T: Send + 'static> Lists<T> {
    /// Empty lists of items that are delivered by `deliver`.
    pub(crate) fn new(deliver: fn(T)) -> Self {
        Self {
            by_bell: Vec::new(),
            deliver,
        }
    }

    /// Adds an item to the list of a worker. An item of no worker is delivered at once.
    pub(crate) fn push(&mut self, bell: Option<&Bell>, item: T) {
        let Some(bell) = bell else {
            return (self.deliver)(item);
        };
        let list = self
            .by_bell
            .iter_mut()
            .find(|(it, _)| it.0.same_channel(&bell.0));
        match list {
            Some((_, items)) => items.push(item),
            None => self.by_bell.push((bell.clone(), vec![item])),
        }
    }

    /// Rings the bell of each worker that has a list.
    pub(crate) fn ring(self) {
        let deliver = self.deliver;
        for (bell, items) in self.by_bell {
            bell.ring(Box::new(move || items.into_iter().for_each(deliver)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::thread::{self, ThreadId};

    use tokio::sync::oneshot;

    use super::*;

    type Asked = oneshot::Sender<ThreadId>;

    fn answer(asked: Asked) {
        let _answered = asked.send(thread::current().id());
    }

    /// Lists of so many questions for this worker, and their answers.
    fn asked(bell: &Bell, count: usize) -> (Lists<Asked>, Vec<oneshot::Receiver<ThreadId>>) {
        let mut lists = Lists::new(answer);
        let answers = (0..count)
            .map(|_| {
                let (asked, answer) = oneshot::channel();
                lists.push(Some(bell), asked);
                answer
            })
            .collect();
        (lists, answers)
    }

    #[tokio::test]
    async fn a_list_is_delivered_whole_by_the_worker_whose_bell_is_rung() {
        let (bell, delivering) = Bell::new();
        let (other, _never_delivers) = Bell::new();
        let (mut lists, answers) = asked(&bell, 100);
        let (of_other, mut unanswered) = oneshot::channel();
        lists.push(Some(&other), of_other);
        let (of_none, at_once) = oneshot::channel();
        lists.push(None, of_none);
        assert_eq!(at_once.await.unwrap(), thread::current().id());

        let ringing = thread::Builder::new()
            .name("ringing".to_owned())
            .spawn(move || lists.ring())
            .unwrap();
        let worker = tokio::spawn(delivering);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), thread::current().id());
        }
        ringing.join().unwrap();
        assert!(
            unanswered.try_recv().is_err(),
            "the other worker does not run"
        );
        drop(bell);
        worker.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_lost_where_a_worker_is_behind_or_has_ended() {
        let (bell, delivering) = Bell::new();
        let mut rung: Vec<_> = (0..=WAITING_MAX).map(|_| asked(&bell, 1)).collect();
        let (lists, last) = rung.pop().unwrap();
        let waiting: Vec<_> = rung
            .into_iter()
            .map(|(lists, answers)| {
                lists.ring();
                answers
            })
            .collect();
        lists.ring();
        for answer in last {
            assert_eq!(answer.await.unwrap(), thread::current().id());
        }
        let worker = tokio::spawn(delivering);
        for answer in waiting.into_iter().flatten() {
            answer.await.unwrap();
        }
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
        let (lists, answers) = asked(&bell, 1);
        lists.ring();
        for answer in answers {
            answer.await.unwrap();
        }
    }
}
