//! The commands that wait to be decided: each connection's in the order in which they came, and the connections in turn.
//!
//! So a command waits for one of each other connection, however many those have sent. Large ones have a batch each, and
//! between two of them comes one of small ones: nobody waits for a commit of thousands of rows but once.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use tokio::time::Instant as Deadline;

use super::BATCH_MAX;
use super::batch::Envelope;

/// Whose turn it is: the connection that a command came by; none of a command of this process.
pub(super) type Sender = Option<SocketAddr>;

/// What a command weighs that has a batch of its own.
const LARGE: usize = BATCH_MAX / 8;

fn is_large(envelope: &Envelope) -> bool {
    envelope.command.weight() >= LARGE
}

/// See the header.
#[derive(Default)]
pub(super) struct Queue {
    /// Those that were taken and could not be decided, before all others.
    first: VecDeque<Envelope>,
    /// Nobody here has nothing.
    of: HashMap<Sender, VecDeque<Envelope>>,
    /// Those in `of` whose next command is small, and those whose next one is large: everybody once.
    small: VecDeque<Sender>,
    large: VecDeque<Sender>,
    /// Whether the last batch was a large command while small ones came: it is their turn.
    is_turn_of_small: bool,
    len: usize,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Puts a command behind the others of its sender.
    pub(super) fn push(&mut self, envelope: Envelope) {
        let sender = envelope.terms.sender;
        let theirs = self.of.entry(sender).or_default();
        theirs.push_back(envelope);
        if theirs.len() == 1 {
            self.wait_for_turn(sender);
        }
        self.len += 1;
    }

    /// Puts a sender who has something behind the others.
    fn wait_for_turn(&mut self, sender: Sender) {
        match self.of[&sender].front().is_some_and(is_large) {
            true => self.large.push_back(sender),
            false => self.small.push_back(sender),
        }
    }

    /// Puts commands back that were taken, in this order, before all others.
    pub(super) fn put_back(&mut self, envelopes: impl Iterator<Item = Envelope>) {
        let before = self.first.len();
        self.first.extend(envelopes);
        self.len += self.first.len() - before;
    }

    /// The commands of the next batch: a large one alone, or small ones, no more than `BATCH_MAX`, and what they weigh
    /// together no more than that either, but for the last of them. What was put back is the beginning of it.
    pub(super) fn take_batch(&mut self) -> Vec<Envelope> {
        let mut batch: Vec<Envelope> = self.first.drain(..).collect();
        self.len -= batch.len();
        let is_for_large = batch.is_empty() && (self.small.is_empty() || !self.is_turn_of_small);
        if is_for_large && let Some(sender) = self.large.pop_front() {
            batch.push(self.take_of(sender));
        }
        self.is_turn_of_small = batch.first().is_some_and(is_large);
        let mut weight: usize = batch.iter().map(|it| it.command.weight()).sum();
        while weight < BATCH_MAX
            && !self.is_turn_of_small
            && let Some(sender) = self.small.pop_front()
        {
            let envelope = self.take_of(sender);
            weight += envelope.command.weight();
            batch.push(envelope);
        }
        batch
    }

    /// The next command of this sender, who has just had a turn.
    fn take_of(&mut self, sender: Sender) -> Envelope {
        let theirs = self
            .of
            .get_mut(&sender)
            .expect("who waits for a turn has something");
        let next = theirs.pop_front().expect("nobody has nothing");
        if theirs.is_empty() {
            self.of.remove(&sender);
        } else {
            self.wait_for_turn(sender);
        }
        self.len -= 1;
        next
    }

    /// Takes out the commands that nobody waits for any more at this time.
    pub(super) fn take_late(&mut self, now: Deadline) -> Vec<Envelope> {
        let is_late = |it: &Envelope| it.terms.deadline.is_some_and(|deadline| deadline <= now);
        let mut late = Vec::new();
        for waiting in self.of.values_mut().chain([&mut self.first]) {
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
        self.of.retain(|_, theirs| !theirs.is_empty());
        // Whose next command was small may have a large one now, and the other way round.
        let waiting: Vec<Sender> = self.small.drain(..).chain(self.large.drain(..)).collect();
        for sender in waiting {
            if self.of.contains_key(&sender) {
                self.wait_for_turn(sender);
            }
        }
        late
    }

    /// Takes out everything.
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

    use tokio::sync::oneshot;

    use super::*;
    use crate::engine::Terms;
    use bookd_core::calendar::Profile;
    use bookd_core::calendar::availability::Availability;
    use bookd_core::command::Command;
    use bookd_core::ids::CalendarId;
    use bookd_core::time::zone::Zone;

    /// A command of some sender, that weighs as much as one of everything or nearly nothing.
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
        let terms = Terms {
            sender,
            deadline,
            ..Terms::default()
        };
        Envelope {
            command,
            terms,
            reply: oneshot::channel().0,
        }
    }

    fn senders(batch: &[Envelope]) -> Vec<u16> {
        batch
            .iter()
            .filter_map(|it| it.terms.sender)
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
            "then those that are small, in turn"
        );
        queue.put_back(second.into_iter().skip(1));
        assert_eq!(
            senders(&queue.take_batch()),
            [3, 2],
            "what could not be decided goes before all others"
        );
        assert_eq!(
            senders(&queue.take_batch()),
            [4],
            "whoever has large ones has but one turn"
        );
        assert_eq!(
            senders(&queue.take_batch()),
            [4],
            "and what came behind it comes behind it"
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
            "each by what it is now"
        );
    }
}
