//! The commands that wait to be decided: each connection's in the order in which they came, and the connections in turn.
//!
//! So a command waits for one of each other connection, however many those have sent.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use tokio::time::Instant as Deadline;

use super::BATCH_MAX;
use super::batch::Envelope;

/// Whose turn it is: the connection that a command came by; none of a command of this process.
pub(super) type Sender = Option<SocketAddr>;

/// See the header.
#[derive(Default)]
pub(super) struct Queue {
    /// Those that were taken and could not be decided, before all others.
    first: VecDeque<Envelope>,
    /// Nobody here has nothing.
    of: HashMap<Sender, VecDeque<Envelope>>,
    /// Everybody in `of`, once.
    turns: VecDeque<Sender>,
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
        if theirs.is_empty() {
            self.turns.push_back(sender);
        }
        theirs.push_back(envelope);
        self.len += 1;
    }

    /// Puts commands back that were taken, in this order, before all others.
    pub(super) fn put_back(&mut self, envelopes: impl Iterator<Item = Envelope>) {
        let before = self.first.len();
        self.first.extend(envelopes);
        self.len += self.first.len() - before;
    }

    /// The commands of the next batch: no more than `BATCH_MAX`, and what they weigh together no more than that either,
    /// but for the last of them. A command that weighs as much as a whole batch is the last of its own.
    pub(super) fn take_batch(&mut self) -> Vec<Envelope> {
        let (mut batch, mut weight) = (Vec::new(), 0);
        while weight < BATCH_MAX
            && let Some(envelope) = self.pop()
        {
            weight += envelope.command.weight();
            batch.push(envelope);
        }
        batch
    }

    fn pop(&mut self) -> Option<Envelope> {
        let next = self.first.pop_front().or_else(|| self.pop_in_turn())?;
        self.len -= 1;
        Some(next)
    }

    /// The next command of whoever has waited longest for a turn.
    fn pop_in_turn(&mut self) -> Option<Envelope> {
        let sender = self.turns.pop_front()?;
        let theirs = self.of.get_mut(&sender)?;
        let next = theirs.pop_front();
        if theirs.is_empty() {
            self.of.remove(&sender);
        } else {
            self.turns.push_back(sender);
        }
        next
    }

    /// Takes out the commands that nobody waits for any more at this time.
    pub(super) fn take_late(&mut self, now: Deadline) -> Vec<Envelope> {
        let is_late = |it: &Envelope| it.terms.deadline.is_some_and(|deadline| deadline <= now);
        let mut late = Vec::new();
        for waiting in self.of.values_mut().chain([&mut self.first]) {
            if waiting.iter().any(is_late) {
                let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(waiting).into_iter().partition(is_late);
                late.extend(gone);
                *waiting = kept;
            }
        }
        self.len -= late.len();
        self.of.retain(|_, theirs| !theirs.is_empty());
        self.turns.retain(|sender| self.of.contains_key(sender));
        late
    }

    /// Takes out everything, in the order of turns.
    pub(super) fn take_all(&mut self) -> Vec<Envelope> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}
