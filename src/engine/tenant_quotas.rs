//! The quotas of tenants, and what each tenant has as of the last commit.
//!
//! What tenants have is counted where there are quotas at the start, from the store then and by the
//! changes from then on. A batch counts its own changes in steps, which are added when it is
//! published: a commit that fails leaves nothing to take back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::store::{Store, StoreError};
use bookd_core::change::{Cause, Event};
use bookd_core::ids::Revision;
use bookd_core::prefixes::Prefixes;
use bookd_core::quota::{QuotaStep, Quotas, Steps, Tenant, Usage, steps};
use bookd_core::reach::Reach;
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
    usage: Option<Arc<Mutex<CountedUsage>>>,
}

/// What tenants have as of a revision.
#[derive(Debug)]
struct CountedUsage {
    revision: Revision,
    usage: Usage,
}

impl TenantQuotas {
    /// The quotas of a store whose last change has this revision and time.
    pub(super) fn start(
        quotas: Quotas,
        store: &mut dyn Store,
        (revision, last_time): (Revision, Instant),
    ) -> Result<Self, StoreError> {
        let usage = (!quotas.is_empty())
            .then(|| store.usage(last_time))
            .transpose()?;
        let usage = usage.map(|usage| Arc::new(Mutex::new(CountedUsage { revision, usage })));
        Ok(Self {
            quotas: Arc::new(RwLock::new(quotas)),
            usage,
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
        self.usage.as_ref().map(|it| locked(it).usage.all(now))
    }

    /// The steps of a batch at `now`; none where nothing is counted.
    pub(super) fn batch(&self, now: Instant) -> Option<Steps> {
        self.usage.is_some().then(|| Steps::at(now))
    }

    /// Refuses a change by which a tenant has more than its quota allows, after the steps of the
    /// batch. An import is of the operator, who sets the quotas. A caller who may not see all of the
    /// tenant is not told how much it has.
    pub(super) fn expect(
        &self,
        earlier: Option<&Steps>,
        further: &[QuotaStep],
        (cause, reach): (Cause, &Reach),
    ) -> Result<(), Refusal> {
        let (Some(usage), Some(earlier)) = (&self.usage, earlier) else {
            return Ok(());
        };
        if further.is_empty() || cause == Cause::Import {
            return Ok(());
        }
        let expected = earlier.expect(&self.quotas(), &locked(usage).usage, further);
        expected.map_err(|mut exceeded| {
            if !sees_all_of(reach, &exceeded.tenant) {
                exceeded.has = None;
            }
            Refusal::QuotaExceeded(Box::new(exceeded))
        })
    }

    /// Whether what tenants have is counted as of this revision, or not at all.
    pub(super) fn is_as_of(&self, revision: Revision) -> bool {
        let usage = self.usage.as_ref();
        usage.is_none_or(|it| locked(it).revision == revision)
    }

    /// Counts the changes of a batch that was committed, of which this is the last revision.
    pub(super) fn made(&self, batch: Option<Steps>, revision: Revision) {
        if let (Some(usage), Some(steps)) = (&self.usage, batch) {
            let mut counted = locked(usage);
            steps.make(&mut counted.usage);
            counted.revision = revision;
        }
    }

    fn quotas(&self) -> RwLockReadGuard<'_, Quotas> {
        self.quotas.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The steps of events that this state does not have yet; nothing where nothing is counted.
pub(super) fn steps_of(batch: Option<&Steps>, state: &State, events: &[Event]) -> Vec<QuotaStep> {
    batch.map_or_else(Vec::new, |_| steps(state, events))
}

/// Whether somebody with this reach sees all calendars of a tenant, and everybody's appointments.
fn sees_all_of(reach: &Reach, tenant: &Tenant) -> bool {
    let all = Prefixes::beginning_with(tenant.as_str());
    reach.customer.is_none() && reach.calendars.include(&all)
}

fn locked(usage: &Mutex<CountedUsage>) -> MutexGuard<'_, CountedUsage> {
    usage.lock().unwrap_or_else(PoisonError::into_inner)
}
