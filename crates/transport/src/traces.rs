//! Traces: which calls are traced, their places in the traces of their callers, and what is told of
//! them when they have ended.
//!
//! A traced call has ids, its method, how it ended and figures of the server; nothing of its request
//! or its answer. Whoever takes the calls out of the queue never slows one down: a call that finds
//! the queue full is counted, and not told.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Calls that wait to be taken, each some 200 bytes.
const QUEUE_MAX: usize = 4_096;
/// The header of the caller's place in its trace; W3C Trace Context, section 3.2.
const TRACEPARENT: &str = "traceparent";
/// Bits of a trace id by which a fraction is chosen: all who see the trace choose alike; W3C Trace
/// Context 2, section 2.3.
const CHOICE_BITS: u32 = 56;

/// The place of a call in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace; not 0.
    pub trace_id: u128,
    /// The id of the call in it; not 0.
    pub span_id: u64,
    /// The id of what the call is a part of; none where the trace begins with the call.
    pub parent_id: Option<u64>,
}

/// A figure that the service adds to a traced call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TraceNote {
    /// A number of things.
    Count(&'static str, u64),
    /// A time in seconds.
    Seconds(&'static str, Duration),
}

/// The figures that the service adds to a traced call; in the extensions of its request.
#[derive(Debug, Default)]
pub struct TraceNotes(OnceLock<Vec<TraceNote>>);

impl TraceNotes {
    /// Adds figures. Those that come later are not added: a call has one outcome.
    pub fn add(&self, notes: Vec<TraceNote>) {
        let _earlier_ones_stay = self.0.set(notes);
    }

    /// The figures.
    pub fn read(&self) -> &[TraceNote] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

/// A traced call that has ended.
#[derive(Debug)]
pub struct TracedCall {
    /// Its place in the trace.
    pub context: TraceContext,
    /// The path of its method; none for a path that is no method.
    pub method: Option<&'static str>,
    /// The name of the code with which it ended; none when it was cut off.
    pub code: Option<&'static str>,
    /// The name of the reason of its error; none without one.
    pub reason: Option<&'static str>,
    /// When it began.
    pub begun: Instant,
    /// How long it took, a stream until its end.
    pub took: Duration,
    /// What the service has added.
    pub notes: Arc<TraceNotes>,
}

/// Chooses the calls that are traced, and keeps them until they are taken.
#[derive(Debug)]
pub struct Traces {
    queue: mpsc::Sender<TracedCall>,
    /// Traces whose chosen bits are below begin here.
    chosen_below: u64,
    random: fn() -> u128,
    dropped: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
}

impl Traces {
    /// Traces calls that are part of a sampled trace, and this fraction, from 0 to 1, of those
    /// that are part of none. Random ids are made by `random`. Answers the traces, and where their
    /// calls are taken.
    pub fn new(ratio: f64, random: fn() -> u128) -> (Arc<Self>, mpsc::Receiver<TracedCall>) {
        let (queue, taken) = mpsc::channel(QUEUE_MAX);
        let all = 1_u64 << CHOICE_BITS;
        let traces = Self {
            queue,
            // Exact at both ends, and near enough between.
            chosen_below: (ratio.clamp(0.0, 1.0) * all as f64) as u64,
            random,
            dropped: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        (Arc::new(traces), taken)
    }

    /// Notes that so many calls were passed on.
    pub fn note_exported(&self, calls: u64) {
        self.exported.fetch_add(calls, Relaxed);
    }

    /// Notes that so many calls were taken, and could not be passed on.
    pub fn note_failed(&self, calls: u64) {
        self.failed.fetch_add(calls, Relaxed);
    }

    /// Calls that were passed on.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// Calls that were taken, and could not be passed on.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Calls that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// The place of a call with these headers; none where it is not traced. `may_begin` says whether
    /// a trace may begin with it.
    pub(crate) fn begin(&self, headers: &HeaderMap, may_begin: bool) -> Option<TraceContext> {
        match parent(headers) {
            Some(Parent {
                is_sampled: false, ..
            }) => None,
            Some(Parent {
                trace_id,
                span_id: parent_id,
                ..
            }) => Some(TraceContext {
                trace_id,
                span_id: self.span_id(),
                parent_id: Some(parent_id),
            }),
            None if may_begin && self.chosen_below > 0 => {
                let trace_id = (self.random)().max(1);
                let choice = trace_id as u64 & ((1 << CHOICE_BITS) - 1);
                (choice < self.chosen_below).then(|| TraceContext {
                    trace_id,
                    span_id: self.span_id(),
                    parent_id: None,
                })
            }
            None => None,
        }
    }

    fn span_id(&self) -> u64 {
        ((self.random)() as u64).max(1)
    }

    /// Keeps a call that has ended, if there is room.
    pub(crate) fn end(&self, call: TracedCall) {
        if self.queue.try_send(call).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// What a call is a part of.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
}

/// What a call with these headers is a part of; none where they do not say it, or wrongly.
fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    parse(value.as_bytes())
}

/// Reads `VERSION-TRACE-PARENT-FLAGS`, all in small hexadecimal digits. Later versions may have more
/// behind a further dash.
fn parse(text: &[u8]) -> Option<Parent> {
    let (known, more) = text.split_at_checked(55)?;
    let part = |from: usize, to: usize| hexadecimal(known.get(from..to)?);
    let are_dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let version = part(0, 2)?;
    let is_whole = more.is_empty() || (version > 0 && more.starts_with(b"-"));
    let (trace_id, span_id) = (part(3, 35)?, part(36, 52)? as u64);
    let is_right = are_dashes && is_whole && version != 0xff && trace_id != 0 && span_id != 0;
    let is_sampled = part(53, 55)? & 1 == 1;
    is_right.then_some(Parent {
        trace_id,
        span_id,
        is_sampled,
    })
}

/// The number of at most 32 digits.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().expect("a header"));
        }
        headers
    }

    fn context(ratio: f64, values: &[&str], may_begin: bool) -> Option<TraceContext> {
        let (traces, _taken) = Traces::new(ratio, || 7);
        traces.begin(&headers(values), may_begin)
    }

    #[test]
    fn a_sampled_trace_is_followed_and_no_other_one() {
        let followed = TraceContext {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 7,
            parent_id: Some(0x00f0_67aa_0ba9_02b7),
        };
        assert_eq!(context(0.0, &[SAMPLED], false), Some(followed));
        let unsampled = SAMPLED.replace("-01", "-00");
        assert_eq!(context(1.0, &[&unsampled], true), None);
        let later = format!("{}-more", SAMPLED.replacen("00", "cc", 1));
        assert_eq!(context(0.0, &[&later], true), Some(followed));
    }

    #[test]
    fn a_header_that_is_no_place_in_a_trace_is_no_parent() {
        let begun = context(1.0, &[], true).expect("all are chosen");
        assert_eq!((begun.trace_id, begun.parent_id), (7, None));
        let upper = SAMPLED.to_uppercase();
        let longer = format!("{SAMPLED}-more");
        let zeros = |from, to: &str| SAMPLED.replace(from, to);
        for wrong in [
            "",
            "00",
            &SAMPLED[..54],
            &longer,
            &upper,
            &SAMPLED.replacen("00", "ff", 1),
            &SAMPLED.replace('-', "_"),
            &zeros("00f067aa0ba902b7", "0000000000000000"),
            &zeros(
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "00000000000000000000000000000000",
            ),
        ] {
            assert_eq!(context(1.0, &[wrong], true), Some(begun), "{wrong}");
            assert_eq!(context(0.0, &[wrong], true), None, "{wrong}");
        }
        assert_eq!(context(1.0, &[SAMPLED, SAMPLED], true), Some(begun));
        assert_eq!(context(1.0, &[], false), None);
    }

    #[test]
    fn a_fraction_of_the_calls_begins_a_trace() {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        /// Numbers that look random: the last steps of SplitMix64.
        fn spread() -> u128 {
            let number = NEXT.fetch_add(1, Relaxed);
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            u128::from(number ^ (number >> 27))
        }
        for (ratio, from, to) in [(0.0, 0, 0), (0.1, 70, 130), (1.0, 1_000, 1_000)] {
            let (traces, _taken) = Traces::new(ratio, spread);
            let none = HeaderMap::new();
            let begun = (0..1_000).filter(|_| traces.begin(&none, true).is_some());
            let begun = begun.count();
            assert!((from..=to).contains(&begun), "{ratio}: {begun}");
        }
    }

    #[test]
    fn a_full_queue_drops_calls_and_counts_them() {
        let (traces, mut taken) = Traces::new(1.0, || 7);
        let call = || TracedCall {
            context: traces.begin(&HeaderMap::new(), true).expect("all are"),
            method: None,
            code: None,
            reason: None,
            begun: Instant::now(),
            took: Duration::ZERO,
            notes: Arc::default(),
        };
        for _ in 0..QUEUE_MAX + 3 {
            traces.end(call());
        }
        assert_eq!(traces.dropped(), 3);
        assert!(taken.try_recv().is_ok());
        traces.end(call());
        assert_eq!(traces.dropped(), 3);
    }
}
