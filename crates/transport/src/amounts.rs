//! What is held, as numbers that go up to a limit and are shared out among connections.
//!
//! Whoever adds gives back as much, and few connections never take all of anything.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A connection gets at most this part of what the other connections leave of its kind: so few of them never
/// take all of it.
const PART_OF_REST: usize = 8;

/// What is held, by all or by one connection.
#[derive(Debug, Default)]
pub(crate) struct Amounts {
    /// Begun or being worked on, of a connection; being worked on, of all.
    pub(crate) calls: Amount,
    pub(crate) begun: Amount,
    /// Of health and reflection.
    pub(crate) standard: Amount,
    /// Refused, and still coming.
    pub(crate) rests: Amount,
    pub(crate) receiving: Amount,
    pub(crate) untaken: Amount,
    /// The bytes in `untaken` that go to the peer; counted for connections only.
    pub(crate) unsent: Amount,
    /// How often `untaken` became nothing; counted for connections only.
    pub(crate) emptied: Amount,
}

/// A number that is held, up to a limit.
#[derive(Debug, Default)]
pub(crate) struct Amount(AtomicUsize);

impl Amount {
    pub(crate) fn held(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Takes so much, and tells how much is held now.
    pub(crate) fn add(&self, amount: usize) -> usize {
        self.0.fetch_add(amount, Relaxed).saturating_add(amount)
    }

    /// Takes so much for a connection, which gets a part of what the others leave, and always a little.
    pub(crate) fn share_out(&self, amount: usize, max: usize, granted: usize, own: &Self) -> bool {
        let (mine, all) = (own.add(amount), self.add(amount));
        let left = max.saturating_sub(all.saturating_sub(mine));
        let fits = mine <= granted || mine <= left / PART_OF_REST;
        if !fits {
            own.give_back(amount);
            self.give_back(amount);
        }
        fits
    }

    /// Gives so much back, and tells how much is held now.
    pub(crate) fn give_back(&self, amount: usize) -> usize {
        self.0.fetch_sub(amount, Relaxed) - amount
    }
}
