//! Counters of what calls hold, up to a limit, shared out among connections.
//!
//! Every addition is given back in full, and a few connections never take all of a kind.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A connection gets at most what the other connections leave of a kind, divided by this number, so
/// that a few connections never take all of it.
const REST_DIVISOR: usize = 8;

/// What is held by all connections together, or by one.
#[derive(Debug, Default)]
pub(crate) struct Amounts {
    /// Calls: of one connection those that are begun or being worked on, of all connections only
    /// those that are being worked on.
    pub(crate) calls: Amount,
    /// Calls that are known to lack a part of their request; counted for all connections only.
    pub(crate) begun: Amount,
    /// Calls of health and reflection.
    pub(crate) standard: Amount,
    /// Refused requests whose rest is waited for.
    pub(crate) rests: Amount,
    /// Bytes of requests that are being received.
    pub(crate) receiving: Amount,
    /// Bytes of answers that clients have not taken, each answer with its fixed weight.
    pub(crate) untaken: Amount,
    /// The bytes in `untaken` without the fixed weight; counted for single connections only.
    pub(crate) unsent: Amount,
    /// How often `untaken` became 0; counted for single connections only.
    pub(crate) emptied: Amount,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Amount(AtomicUsize);

impl Amount {
    pub(crate) fn held(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Adds `amount`; returns what is held now.
    pub(crate) fn add(&self, amount: usize) -> usize {
        self.0.fetch_add(amount, Relaxed).saturating_add(amount)
    }

    /// Adds `amount` for one connection, if the connection stays within `granted` or within its
    /// share of what the other connections leave of `max`. Returns whether the amount was added.
    pub(crate) fn share_out(&self, amount: usize, max: usize, granted: usize, own: &Self) -> bool {
        let (mine, all) = (own.add(amount), self.add(amount));
        let left = max.saturating_sub(all.saturating_sub(mine));
        let fits = mine <= granted || mine <= left / REST_DIVISOR;
        if !fits {
            own.give_back(amount);
            self.give_back(amount);
        }
        fits
    }

    /// Subtracts `amount`; returns what is held now.
    pub(crate) fn give_back(&self, amount: usize) -> usize {
        self.0.fetch_sub(amount, Relaxed) - amount
    }
}
