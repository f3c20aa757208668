//! Counts of calls: how many are open, how long those that ended took, and with which reasons.
//!
//! Each worker has counters of its own, which no other thread writes, so that counting a call waits
//! for nobody. Methods, codes and reasons are closed lists: nothing that a client sends makes the
//! counters more.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bookd_metrics::{Counter, DURATION_BOUNDS, Gauge, Histogram, HistogramValues};

use crate::methods::Methods;
use crate::protocol::{CallOutcome, Protocol};

/// The counts of all workers of a server.
pub struct CallMetrics {
    methods: &'static Methods,
    /// The names of the codes, by their numbers.
    codes: &'static [&'static str],
    /// The names of the reasons, by their numbers.
    reasons: &'static [&'static str],
    workers: Mutex<Vec<Arc<WorkerCalls>>>,
}

/// The calls of one method that ended alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedCalls {
    /// The path of the method, `/package.Service/Method`; none for all paths that are no method.
    pub method: Option<&'static str>,
    /// The name of the code; none for calls that were dropped before their end.
    pub code: Option<&'static str>,
    /// How long they took, in nanoseconds.
    pub durations: HistogramValues,
}

impl CallMetrics {
    /// Counts of calls of `methods`, which are answered by `P`.
    pub fn new<P: Protocol>(methods: &'static Methods) -> Arc<Self> {
        Arc::new(Self {
            methods,
            codes: P::CODES,
            reasons: P::reasons(),
            workers: Mutex::default(),
        })
    }

    /// The counters of one more worker.
    pub fn on_worker(&self) -> Arc<WorkerCalls> {
        let worker = Arc::new(WorkerCalls::new(
            self.methods.len(),
            self.codes.len(),
            self.reasons.len(),
        ));
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&worker));
        worker
    }

    fn workers(&self) -> Vec<Arc<WorkerCalls>> {
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls that have begun and not ended.
    pub fn open(&self) -> u64 {
        let open = self.workers().into_iter().map(|it| it.open.value());
        open.fold(0, u64::wrapping_add)
    }

    /// The calls that ended, by method and code; nothing for what no call had.
    pub fn ended(&self) -> Vec<EndedCalls> {
        let (workers, methods) = (self.workers(), self.methods.paths());
        let mut ended = Vec::new();
        for (place, method) in methods.into_iter().map(Some).chain([None]).enumerate() {
            let codes = self.codes.iter().copied().map(Some).chain([None]);
            for (code_place, code) in codes.enumerate() {
                let of_workers = workers
                    .iter()
                    .filter_map(|it| it.durations(place, code_place).get());
                let durations = of_workers.map(|it| it.values()).reduce(|mut all, more| {
                    all.merge(&more);
                    all
                });
                ended.extend(durations.map(|durations| EndedCalls {
                    method,
                    code,
                    durations,
                }));
            }
        }
        ended
    }

    /// Each reason with the number of calls that ended with it.
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        let workers = self.workers();
        let count = |number: usize| {
            let counts = workers.iter().map(|it| it.reasons[number].value());
            counts.fold(0, u64::wrapping_add)
        };
        let names = self.reasons.iter().copied().enumerate();
        names.map(|(number, name)| (name, count(number))).collect()
    }
}

impl fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallMetrics").finish_non_exhaustive()
    }
}

/// The counts of one worker.
#[derive(Debug)]
pub struct WorkerCalls {
    /// By method, those of no method last, and in each by code, calls that were cut off last. Each
    /// is made when the first call ends so: most methods end with few of the codes.
    durations: Box<[OnceLock<Histogram>]>,
    codes: usize,
    open: Gauge,
    reasons: Box<[Counter]>,
}

impl WorkerCalls {
    fn new(methods: usize, codes: usize, reasons: usize) -> Self {
        Self {
            durations: (0..(methods + 1) * (codes + 1))
                .map(|_| OnceLock::new())
                .collect(),
            codes,
            open: Gauge::default(),
            reasons: (0..reasons).map(|_| Counter::default()).collect(),
        }
    }

    fn durations(&self, method: usize, code: usize) -> &OnceLock<Histogram> {
        &self.durations[method * (self.codes + 1) + code]
    }

    /// Counts a call that begins.
    pub(crate) fn begin(&self) {
        self.open.increment();
    }

    /// Counts the end of a call that began, `took` ago: of the method with this number, or none,
    /// with this outcome, or cut off.
    pub(crate) fn end(&self, method: Option<usize>, outcome: Option<&CallOutcome>, took: Duration) {
        self.open.decrement();
        let code = outcome.map_or(self.codes, |it| it.code);
        let unknown = self.durations.len() / (self.codes + 1) - 1;
        self.durations(method.unwrap_or(unknown), code)
            .get_or_init(|| Histogram::new(DURATION_BOUNDS))
            .observe_duration(took);
        if let Some(reason) = outcome.and_then(|it| it.reason) {
            self.reasons[reason].increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::Method;
    use crate::testing::Plain;

    #[test]
    fn calls_are_counted_by_method_code_and_reason_over_all_workers() {
        let methods: Methods = ["/s/a", "/s/b"]
            .map(|path| (path.to_owned(), Method::default()))
            .into_iter()
            .collect();
        let calls = CallMetrics::new::<Plain>(Box::leak(Box::new(methods)));
        let (one, other) = (calls.on_worker(), calls.on_worker());
        let ended = |code, reason| CallOutcome { code, reason };
        (0..4).for_each(|_| one.begin());
        other.begin();
        assert_eq!((calls.open(), calls.ended().len()), (5, 0));
        let second = Duration::from_secs(1);
        one.end(Some(1), Some(&ended(0, Some(1))), second);
        other.end(Some(1), Some(&ended(0, None)), second);
        one.end(None, Some(&ended(1, None)), second);
        one.end(Some(0), None, second);
        let found: Vec<_> = calls
            .ended()
            .into_iter()
            .map(|it| (it.method, it.code, it.durations.count(), it.durations.sum()))
            .collect();
        let nanoseconds = 1_000_000_000;
        assert_eq!(
            found,
            [
                (Some("/s/a"), None, 1, nanoseconds),
                (Some("/s/b"), Some("Ended"), 2, 2 * nanoseconds),
                (None, Some("Foreign"), 1, nanoseconds),
            ]
        );
        assert_eq!(calls.open(), 1);
        assert_eq!(calls.reasons(), [("FULL", 0), ("LATE", 1)]);
    }
}
