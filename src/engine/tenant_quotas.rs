//! The quotas of tenants, and what each tenant has as of the last commit.
//!
//! What tenants have is counted where there are quotas at the start, from the store then and by the
//! changes from then on. A batch counts its own changes in steps, which are added when it is
//! published: a commit that fails leaves nothing to take back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::store::{Store, StoreError};
use bookd_core::change::{Cause, Event};
use bookd_core::decide::Decision;
use bookd_core::quota::{Quotas, Steps, Tenant, Usage, steps};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::Instant;

/// There were no quotas at the start, so that nobody knows what tenants have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first quota needs a restart: what tenants have is counted from the start on")]
pub struct NotCounted;

/// The quotas, and what they count; copies share them.
#[derive(Clone, Debug)]
pub struct TenantQuotas {
    quotas: Arc<RwLock<Quotas>>,
    /// None where nothing is counted.
    usage: Option<Arc<Mutex<Usage>>>,
}

impl TenantQuotas {
    /// The quotas of a store whose last change is of `last_time`.
    pub(super) fn start(
        quotas: Quotas,
        store: &mut dyn Store,
        last_time: Instant,
    ) -> Result<Self, StoreError> {
        let usage = (!quotas.is_empty())
            .then(|| store.usage(last_time))
            .transpose()?;
        Ok(Self {
            quotas: Arc::new(RwLock::new(quotas)),
            usage: usage.map(|it| Arc::new(Mutex::new(it))),
        })
    }

    /// Puts other quotas in force. Nothing is taken from a tenant that has more.
    ///
    /// # Errors
    ///
    /// `NotCounted` for the first quota of a running server: nothing changes.
    pub fn replace(&self, quotas: Quotas) -> Result<(), NotCounted> {
        if self.usage.is_none() && !quotas.is_empty() {
            return Err(NotCounted);
        }
        *self.quotas.write().unwrap_or_else(PoisonError::into_inner) = quotas;
        Ok(())
    }

    /// What each tenant has at `now`, which is not before the last change: its name, its calendars,
    /// its upcoming appointments. None where nothing is counted.
    pub fn usage(&self, now: Instant) -> Option<Vec<(Tenant, u64, u64)>> {
        self.usage.as_ref().map(|it| locked(it).all(now))
    }

    /// The steps of a batch at `now`; none where nothing is counted.
    pub(super) fn batch(&self, now: Instant) -> Option<Steps> {
        self.usage.is_some().then(|| Steps::at(now))
    }

    /// Refuses a decision on this state by which a tenant has more than its quota allows, after the
    /// steps of its batch. An import is of the operator, who sets the quotas.
    pub(super) fn expect(
        &self,
        earlier: Option<&Steps>,
        state: &State,
        decision: &Decision,
    ) -> Result<(), Refusal> {
        let (Some(usage), Some(earlier)) = (&self.usage, earlier) else {
            return Ok(());
        };
        if decision.events.is_empty() || decision.cause == Cause::Import {
            return Ok(());
        }
        let further = steps(state, &decision.events);
        let expected = earlier.expect(&self.quotas(), &locked(usage), &further);
        expected.map_err(|it| Refusal::QuotaExceeded(Box::new(it)))
    }

    /// Counts the changes of a batch that was committed.
    pub(super) fn made(&self, batch: Option<Steps>) {
        if let (Some(usage), Some(steps)) = (&self.usage, batch) {
            steps.make(&mut locked(usage));
        }
    }

    fn quotas(&self) -> RwLockReadGuard<'_, Quotas> {
        self.quotas.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the events of a change, which this state does not have yet, to the steps of its batch.
pub(super) fn count(batch: &mut Option<Steps>, state: &State, events: &[Event]) {
    if let Some(batch) = batch {
        batch.add(steps(state, events));
    }
}

fn locked(usage: &Mutex<Usage>) -> MutexGuard<'_, Usage> {
    usage.lock().unwrap_or_else(PoisonError::into_inner)
}
