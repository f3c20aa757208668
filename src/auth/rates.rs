//! How often somebody may call: each principal, or the address of a caller who is none.
//!
//! A limit is a rate with a burst, as a token bucket has it (GCRA, ITU-T I.371): the burst is what
//! may come at once after a pause, the rate what may come for ever. Limits are of one process.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Callers that are counted one by one, principals and addresses apart. With more, all share one
/// count until those who have been quiet are forgotten.
const CALLERS_MAX: usize = 100_000;
/// How often callers who have been quiet for long are forgotten, at most.
const FORGETTING: Duration = Duration::from_secs(1);
/// The bits of an IPv6 address that tell one customer from another; RFC 6177, section 2.
const NETWORK_BITS: u32 = 64;
/// Wrong credentials of one address that are answered at once, and then one for each second.
const FAILURES_BURST: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// Signatures of one address that are verified at once, and then for each second: each takes some
/// 100 µs of a worker. A token that was verified before does not count.
const VERIFICATIONS_BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("1,000 is not 0");
const VERIFICATIONS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");

/// A rate with its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls per second, in the long run.
    pub per_second: NonZeroU32,
    /// Calls at once after a pause.
    pub burst: NonZeroU32,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RateKey {
    Principal(Arc<str>),
    /// An address, or the network of an IPv6 address.
    Address(IpAddr),
    /// All who are not counted one by one.
    Others,
}

impl RateKey {
    /// The address of a caller who is no principal. A call within this process has none.
    pub(super) fn address(address: Option<IpAddr>) -> Self {
        Self::Address(
            match address
                .unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST))
                .to_canonical()
            {
                IpAddr::V6(own) => {
                    let host_bits = u128::BITS - NETWORK_BITS;
                    IpAddr::V6(Ipv6Addr::from_bits(own.to_bits() >> host_bits << host_bits))
                }
                of_four => of_four,
            },
        )
    }
}

type Limiter<C> =
    RateLimiter<RateKey, HashMapStateStore<RateKey>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The counts of all callers under one rate.
struct Counts<C: Clock> {
    limiter: Limiter<C>,
    clock: C,
    begun: C::Instant,
    callers_max: usize,
    /// When the quiet ones were forgotten last, in nanoseconds since `begun`.
    forgotten: AtomicU64,
}

impl<C: Clock + Clone> Counts<C> {
    fn new(rate: Rate, callers_max: usize, clock: C) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()),
            begun: clock.now(),
            clock,
            callers_max,
            forgotten: AtomicU64::new(0),
        }
    }

    /// Counts a call; an error if it is one too many, with the time after which it is not.
    fn count(&self, caller: &RateKey) -> Result<(), Duration> {
        let is_full = self.limiter.len() >= self.callers_max && !self.has_forgotten();
        let caller = if is_full { &RateKey::Others } else { caller };
        self.limiter
            .check_key(caller)
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Forgets who has been quiet for long, unless that was just done: it looks at every caller.
    /// Answers whether there is room again.
    fn has_forgotten(&self) -> bool {
        let now = self.clock.now().duration_since(self.begun).as_u64();
        let last = self.forgotten.load(Ordering::Relaxed);
        let pause = u64::try_from(FORGETTING.as_nanos()).unwrap_or(u64::MAX);
        let is_due = now >= last.saturating_add(pause)
            && self
                .forgotten
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            self.limiter.retain_recent();
        }
        is_due && self.limiter.len() < self.callers_max
    }
}

/// The counts of calls under one rate.
struct CallCounts {
    rate: Rate,
    /// Those of principals, and those of addresses: so that no number of strangers touches who is
    /// known.
    of_principals: Counts<MonotonicClock>,
    of_addresses: Counts<MonotonicClock>,
}

impl CallCounts {
    fn new(rate: Rate) -> Self {
        let counts = || Counts::new(rate, CALLERS_MAX, MonotonicClock);
        Self {
            rate,
            of_principals: counts(),
            of_addresses: counts(),
        }
    }
}

/// The rates of a server.
pub struct Rates {
    /// Whether calls are counted, for those who need not ask more.
    counts_calls: AtomicBool,
    calls: RwLock<Option<CallCounts>>,
    failures: Counts<MonotonicClock>,
    verifications: Counts<MonotonicClock>,
}

impl Rates {
    /// The rates with this one of calls; none = as often as they will.
    pub fn new(calls: Option<Rate>) -> Self {
        let failures = Rate {
            per_second: FAILURES_PER_SECOND,
            burst: FAILURES_BURST,
        };
        let verifications = Rate {
            per_second: VERIFICATIONS_PER_SECOND,
            burst: VERIFICATIONS_BURST,
        };
        let counts = |rate| Counts::new(rate, CALLERS_MAX, MonotonicClock);
        Self {
            counts_calls: AtomicBool::new(calls.is_some()),
            calls: RwLock::new(calls.map(CallCounts::new)),
            failures: counts(failures),
            verifications: counts(verifications),
        }
    }

    /// Whether calls are counted.
    pub(super) fn counts_calls(&self) -> bool {
        self.counts_calls.load(Ordering::Relaxed)
    }

    /// Counts calls under this rate from now on; none = not at all. The same rate goes on with what
    /// it has counted.
    pub(super) fn set_calls(&self, rate: Option<Rate>) {
        let mut calls = self.calls.write().unwrap_or_else(PoisonError::into_inner);
        if calls.as_ref().map(|it| it.rate) != rate {
            *calls = rate.map(CallCounts::new);
            self.counts_calls.store(rate.is_some(), Ordering::Relaxed);
        }
    }

    /// Counts a call; an error with the time after which the caller may come again.
    pub(super) fn call(&self, caller: &RateKey) -> Result<(), Duration> {
        let calls = self.calls.read().unwrap_or_else(PoisonError::into_inner);
        let Some(calls) = calls.as_ref() else {
            return Ok(());
        };
        match caller {
            RateKey::Principal(_) => calls.of_principals.count(caller),
            RateKey::Address(_) | RateKey::Others => calls.of_addresses.count(caller),
        }
    }

    /// Counts wrong credentials; an error with the time after which the address may come again.
    pub(super) fn failure(&self, address: &RateKey) -> Result<(), Duration> {
        self.failures.count(address)
    }

    /// Counts a signature that is to be verified; an error with the time after which the address
    /// may come again.
    pub(super) fn verification(&self, address: &RateKey) -> Result<(), Duration> {
        self.verifications.count(address)
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn counts(per_second: u32, burst: u32, callers_max: usize) -> Counts<FakeRelativeClock> {
        let rate = Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Counts::new(rate, callers_max, FakeRelativeClock::default())
    }

    fn principal(name: &str) -> RateKey {
        RateKey::Principal(name.into())
    }

    fn address(text: &str) -> RateKey {
        RateKey::address(Some(text.parse().unwrap()))
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_and_the_wait_is_told() {
        let counts = counts(10, 3, 9);
        let (ada, bob) = (principal("ada"), principal("bob"));
        for _ in 0..3 {
            counts.count(&ada).unwrap();
        }
        let wait = counts.count(&ada).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        counts.count(&bob).unwrap();
        counts.clock.advance(wait);
        counts.count(&ada).unwrap();
        assert!(counts.count(&ada).is_err());
        counts.clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            counts.count(&ada).unwrap();
        }
        assert!(
            counts.count(&ada).is_err(),
            "a long pause saves no more than the burst"
        );
    }

    #[test]
    fn more_callers_than_are_counted_share_one_count_until_others_are_forgotten() {
        let counts = counts(1, 1, 3);
        counts.clock.advance(FORGETTING);
        for name in ["a", "b", "c"] {
            counts.count(&principal(name)).unwrap();
        }
        counts.count(&principal("d")).unwrap();
        assert!(
            counts.count(&principal("e")).is_err(),
            "d has used what e may"
        );
        assert!(counts.limiter.len() <= 4);
        counts.clock.advance(Duration::from_secs(10));
        counts.count(&principal("e")).unwrap();
        counts.count(&principal("f")).unwrap();
    }

    #[test]
    fn an_address_counts_as_its_network_however_it_is_written() {
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.2"), address("10.0.0.1"));
        assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::2"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        assert_eq!(RateKey::address(None), address("::1"));
    }

    #[test]
    fn wrong_credentials_are_slowed_down_by_themselves() {
        let rates = Rates::new(None);
        assert!(!rates.counts_calls());
        let stranger = address("10.0.0.1");
        let tries = (0..1_000)
            .filter(|_| rates.failure(&stranger).is_ok())
            .count();
        assert!((20..1_000).contains(&tries), "{tries}");
        assert!(rates.failure(&address("10.0.0.2")).is_ok());
        for _ in 0..1_000 {
            rates.call(&stranger).unwrap();
        }
    }

    #[test]
    fn another_rate_counts_anew_and_the_same_one_goes_on() {
        let rate = |burst| {
            Some(Rate {
                per_second: NonZeroU32::MIN,
                burst: NonZeroU32::new(burst).unwrap(),
            })
        };
        let rates = Rates::new(None);
        let ada = principal("ada");
        let passed = || (0..9).filter(|_| rates.call(&ada).is_ok()).count();
        assert_eq!(passed(), 9);
        rates.set_calls(rate(2));
        assert!(rates.counts_calls());
        assert_eq!(passed(), 2);
        rates.set_calls(rate(2));
        assert_eq!(passed(), 0, "the same rate goes on");
        rates.set_calls(rate(3));
        assert_eq!(passed(), 3);
        rates.set_calls(None);
        assert!(!rates.counts_calls());
        assert_eq!(passed(), 9);
    }
}
