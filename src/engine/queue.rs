//! The commands that wait to be decided: the commands of a connection in the order in which they
//! came, and the connections in turn.
//!
//! A command therefore waits for one command of each other connection, however many those have
//! sent. A large command has a batch of its own, and a batch of small ones follows it, so that no
//! small command waits for more than one commit of thousands of rows.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use tokio::time::Instant as Deadline;

use super::BATCH_MAX;
use super::batch::Envelope;

/// The connection that a command came by; none for commands of this process.
pub(super) type Sender = Option<SocketAddr>;

/// The least weight of a command that has a batch of its own.
const LARGE: usize = BATCH_MAX / 8;

fn is_large(envelope: &Envelope) -> bool {
    envelope.command.weight() >= LARGE
}

/// The queue of the writer.
#[derive(Default)]
pub(super) struct Queue {
    /// Commands that were taken and could not be decided. They go before all others.
    returned: VecDeque<Envelope>,
    /// The other commands by sender. No entry is empty.
    by_sender: HashMap<Sender, VecDeque<Envelope>>,
    /// The senders of `by_sender` in turn, each once: those whose next command is small, and those
    /// whose next command is large.
    small: VecDeque<Sender>,
    large: VecDeque<Sender>,
    /// Whether the last batch was a large command, so that small ones go next.
    is_turn_of_small: bool,
    len: usize,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of commands that wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a command after the others of its sender.
    pub(super) fn push(&mut self, envelope: Envelope) {
        let sender = envelope.options.sender;
        let theirs = self.by_sender.entry(sender).or_default();
        theirs.push_back(envelope);
        if theirs.len() == 1 {
            self.queue_sender(sender);
        }
        self.len += 1;
    }

    /// Puts a sender that has commands at the end of the turns.
    fn queue_sender(&mut self, sender: Sender) {
        if self.by_sender[&sender].front().is_some_and(is_large) {
            self.large.push_back(sender);
        } else {
            self.small.push_back(sender);
        }
    }

    /// Puts back commands that were taken, in this order, before all others.
    pub(super) fn put_back(&mut self, envelopes: impl Iterator<Item = Envelope>) {
        let before = self.returned.len();
        self.returned.extend(envelopes);
        self.len += self.returned.len() - before;
    }

    /// Takes the next batch: one large command alone, or at most `BATCH_MAX` small ones, which
    /// without the last of them weigh less than `BATCH_MAX` together. Commands that were put back
    /// come first.
    pub(super) fn take_batch(&mut self) -> Vec<Envelope> {
        let mut batch: Vec<Envelope> = self.returned.drain(..).collect();
        self.len -= batch.len();
        let is_for_large = batch.is_empty() && (self.small.is_empty() || !self.is_turn_of_small);
        if is_for_large && let Some(sender) = self.large.pop_front() {
            batch.push(self.take_from(sender));
        }
        self.is_turn_of_small = batch.first().is_some_and(is_large);
        let mut weight: usize = batch.iter().map(|it| it.command.weight()).sum();
        while weight < BATCH_MAX
            && !self.is_turn_of_small
            && let Some(sender) = self.small.pop_front()
        {
            let envelope = self.take_from(sender);
            weight += envelope.command.weight();
            batch.push(envelope);
        }
        batch
    }

    /// Takes the next command of a sender whose turn it is, and puts the sender at the end of the
    /// turns.
    fn take_from(&mut self, sender: Sender) -> Envelope {
        let theirs = self
            .by_sender
            .get_mut(&sender)
            .expect("a sender that waits for its turn has an entry");
        let next = theirs.pop_front().expect("no entry is empty");
        if theirs.is_empty() {
            self.by_sender.remove(&sender);
        } else {
            self.queue_sender(sender);
        }
        self.len -= 1;
        next
    }

    /// Takes out the commands whose deadline has passed at `now`.
    pub(super) fn take_late(&mut self, now: Deadline) -> Vec<Envelope> {
        let is_late = |it: &Envelope| it.options.deadline.is_some_and(|deadline| deadline <= now);
        let mut late = Vec::new();
        for waiting in self.by_sender.values_mut().chain([&mut self.returned]) {
            if waiting.iter().any(is_late) {
                let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                    std::mem::take(waiting).into_iter().partition(is_late);
                late.extend(gone);
                *waiting = kept;
            }
        }
        if late.is_empty() {
            return late;
        }
        self.len -= late.len();
        self.by_sender.retain(|_, theirs| !theirs.is_empty());
        // The next command of a sender may have changed from small to large, or back.
        let waiting: Vec<Sender> = self.small.drain(..).chain(self.large.drain(..)).collect();
        for sender in waiting {
            if self.by_sender.contains_key(&sender) {
                self.queue_sender(sender);
            }
        }
        late
    }

    /// Takes out all commands.
    pub(super) fn take_all(&mut self) -> Vec<Envelope> {
        let mut all = Vec::with_capacity(self.len);
        while !self.is_empty() {
            all.extend(self.take_batch());
        }
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::SubmitOptions;
    use crate::engine::reply::Reply;
    use bookd_core::calendar::Profile;
    use bookd_core::calendar::availability::Availability;
    use bookd_core::command::Command;
    use bookd_core::ids::CalendarId;
    use bookd_core::time::zone::Zone;

    /// A command of this sender, which is large or small.
    fn envelope(sender: u16, is_heavy: bool, deadline: Option<Deadline>) -> Envelope {
        let sender = Some(SocketAddr::from(([127, 0, 0, 1], sender)));
        let calendar = CalendarId::parse("ada").unwrap();
        let command = if is_heavy {
            Command::DeleteCalendar {
                calendar,
                force: true,
                etag: None,
                beforehand: None,
            }
        } else {
            let profile = Profile::open(Arc::new(Zone::utc()), Availability::default());
            Command::CreateCalendar { calendar, profile }
        };
        let options = SubmitOptions {
            sender,
            deadline,
            ..SubmitOptions::default()
        };
        Envelope {
            command,
            options,
            reply: Reply::new(None).0,
        }
    }

    fn senders(batch: &[Envelope]) -> Vec<u16> {
        batch
            .iter()
            .filter_map(|it| it.options.sender)
            .map(|it| it.port())
            .collect()
    }

    #[test]
    fn each_connection_has_its_turn_and_a_large_command_a_batch() {
        let mut queue = Queue::default();
        (0..3).for_each(|_| queue.push(envelope(1, true, None)));
        (0..2).for_each(|_| queue.push(envelope(2, false, None)));
        queue.push(envelope(3, false, None));
        queue.push(envelope(4, true, None));
        queue.push(envelope(4, false, None));
        assert_eq!(queue.len(), 8);
        assert_eq!(senders(&queue.take_batch()), [1], "a large one alone");
        let second = queue.take_batch();
        assert_eq!(
            senders(&second),
            [2, 3, 2],
            "then small ones, the senders in turn"
        );
        queue.put_back(second.into_iter().skip(1));
        assert_eq!(
            senders(&queue.take_batch()),
            [3, 2],
            "commands that were put back go before all others"
        );
        assert_eq!(
            senders(&queue.take_batch()),
            [4],
            "a sender with large commands has one turn too"
        );
        assert_eq!(
            senders(&queue.take_batch()),
            [4],
            "and a command that came after it stays after it"
        );
        assert_eq!(senders(&queue.take_all()), [1, 1]);
        assert!(queue.is_empty());
        let now = Deadline::now();
        queue.push(envelope(1, false, Some(now)));
        queue.push(envelope(1, true, None));
        queue.push(envelope(2, false, Some(now)));
        queue.push(envelope(3, false, None));
        assert_eq!(queue.take_late(now).len(), 2);
        let batches = [queue.take_batch(), queue.take_batch()];
        assert_eq!(
            (queue.len(), batches.map(|it| senders(&it))),
            (0, [vec![3], vec![1]]),
            "each sender by its next command now"
        );
    }
}
