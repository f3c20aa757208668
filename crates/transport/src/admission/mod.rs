//! Admission control: how many calls, and how much memory for their requests and answers, all
//! connections together may have.
//!
//! `ServerLimits` limits each connection, which bounds nothing when there may be ten thousand of
//! them: what is counted here is counted over the process. Each count is held by a value of
//! `permits`, which gives it back when it is dropped, however a call ends.

mod permits;

use std::sync::Arc;
use std::time::Duration;

use bookd_metrics::Counter;
use bytes::Bytes;
use tokio::time::Instant;

use crate::amounts::Amounts;
use crate::methods::Method;
use crate::retry_schedule::RetrySchedule;

pub use permits::CallPermit;
pub(crate) use permits::{ReceivePermit, RestPermit};
use permits::{UntakenPiece, weight};

/// Calls that are being worked on, until their answer begins: enough to keep every thread busy, and
/// few enough that none waits for long. Above the limit only connections with few calls are let in.
/// A call is refused before anything of it is read, which costs a small fraction of a booking.
const CALLS_MAX: usize = 2_048;
/// Calls that are known to lack a part of their request. They are counted apart, so that clients
/// that never finish a request keep no other client out. Above the limit only the requests of
/// connections with few calls are waited for.
const BEGUN_CALLS_MAX: usize = 8_192;
/// What an answer weighs besides its bytes until its client has taken it: tonic's buffer of 8 KiB,
/// which any remaining slice of the answer keeps whole, and the stream. Measured with small
/// answers: 12.9 KiB each.
const ANSWER_BYTES: usize = 12 * 1_024;
/// Calls of one connection that are let in whatever the other connections do: a client that opens
/// many calls does not keep out one that has few.
const CALLS_GRANTED: usize = 4;
/// Calls of the standard services, health and reflection, until their end, because nothing else
/// limits their streams. They are counted apart, so that a full server still answers health checks.
const STANDARD_CALLS_MAX: usize = 1_024;
/// Refused requests whose rest is waited for; above the limit the rest is not waited for. Shared
/// out among connections as memory is.
const RESTS_MAX: usize = 4_096;
/// Rests of one connection that are waited for whatever the other connections do.
const RESTS_GRANTED: usize = 4;
/// Bytes of each kind that one connection gets whatever the other connections do: a usual request,
/// a usual answer.
const BYTES_GRANTED: usize = 16 * 1_024;
/// Bytes of requests that have begun to arrive and have not ended. A request that comes in one
/// piece is not counted.
const RECEIVING_BYTES_MAX: usize = 128 * 1_024 * 1_024;
/// Bytes of answers that are written and that their clients have not taken.
const UNTAKEN_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// Seconds in which a request must be received once its headers are there. 1 MiB in 20 s is 420
/// kbit/s.
const RECEIVE_SECONDS_MAX: u64 = 20;

/// What all calls together may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Calls that are being worked on, until their answer begins.
    pub calls_max: usize,
    /// Calls that are known to lack a part of their request.
    pub begun_calls_max: usize,
    /// Bytes of requests that have begun to arrive and have not ended.
    pub receiving_bytes_max: usize,
    /// Bytes of answers that are written and that their clients have not taken.
    pub untaken_bytes_max: usize,
    /// The time in which a request must be received once its headers are there.
    pub receive: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            calls_max: CALLS_MAX,
            begun_calls_max: BEGUN_CALLS_MAX,
            receiving_bytes_max: RECEIVING_BYTES_MAX,
            untaken_bytes_max: UNTAKEN_BYTES_MAX,
            receive: Duration::from_secs(RECEIVE_SECONDS_MAX),
        }
    }
}

/// What all calls hold now; shared by everything that serves calls.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    all: Amounts,
    retries: RetrySchedule,
    /// Calls that were not let in, because there were too many.
    refused: Counter,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(AdmissionLimits::default())
    }
}

/// What one connection holds; in the extensions of each of its requests. The transport looks at it
/// to find clients that do not read their answers.
#[derive(Clone, Debug, Default)]
pub struct ConnectionShare(Arc<Amounts>);

impl ConnectionShare {
    /// Bytes of answers that the peer has not taken, without what the answers weigh besides them.
    pub fn unsent(&self) -> usize {
        self.0.unsent.held()
    }

    /// How often the peer had taken all answers that were written.
    pub fn emptied(&self) -> usize {
        self.0.emptied.held()
    }
}

impl Admission {
    /// With these limits.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            all: Amounts::default(),
            retries: RetrySchedule::new(Instant::now()),
            refused: Counter::default(),
        }
    }

    /// Calls that are being worked on, without those of health and reflection.
    pub fn calls(&self) -> usize {
        self.all.calls.held()
    }

    /// Calls that are known to lack a part of their request.
    pub fn begun_calls(&self) -> usize {
        self.all.begun.held()
    }

    /// Bytes of requests that have begun to arrive and have not ended.
    pub fn receiving_bytes(&self) -> usize {
        self.all.receiving.held()
    }

    /// Bytes of answers that clients have not taken, each answer with its fixed weight.
    pub fn untaken_bytes(&self) -> usize {
        self.all.untaken.held()
    }

    /// Calls since the start that were not let in, because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.value()
    }

    /// Lets a call in, or returns when to retry if there are too many calls.
    pub(crate) fn admit(
        self: &Arc<Self>,
        share: &ConnectionShare,
        method: Method,
    ) -> Result<Arc<CallPermit>, Duration> {
        self.try_admit(share, method).ok_or_else(|| {
            self.refused.increment();
            self.retry_after()
        })
    }

    fn retry_after(&self) -> Duration {
        self.retries.next(Instant::now())
    }

    fn try_admit(
        self: &Arc<Self>,
        share: &ConnectionShare,
        method: Method,
    ) -> Option<Arc<CallPermit>> {
        // Dropping the permit of a call that is not let in gives its count back.
        let permit = CallPermit::new(self, share, method);
        if method.is_standard {
            let (own, all) = (share.0.standard.add(1), self.all.standard.add(1));
            return (all <= STANDARD_CALLS_MAX || own <= CALLS_GRANTED).then(|| Arc::new(permit));
        }
        let (own, calls) = (share.0.calls.add(1), self.all.calls.add(1));
        (calls <= self.limits.calls_max || own <= CALLS_GRANTED).then(|| Arc::new(permit))
    }

    /// Permission to wait for the rest of a refused request; none where too many rests are waited
    /// for.
    pub(crate) fn wait_for_rest(self: &Arc<Self>, share: &ConnectionShare) -> Option<RestPermit> {
        let fits = self
            .all
            .rests
            .share_out(1, RESTS_MAX, RESTS_GRANTED, &share.0.rests);
        fits.then(|| RestPermit {
            admission: Arc::clone(self),
            share: share.clone(),
        })
    }

    /// Memory for a request that is being received; none where too much is being received.
    fn receive(self: &Arc<Self>, bytes: usize, share: &ConnectionShare) -> Option<ReceivePermit> {
        let fits = self.all.receiving.share_out(
            bytes,
            self.limits.receiving_bytes_max,
            BYTES_GRANTED,
            &share.0.receiving,
        );
        fits.then(|| ReceivePermit {
            admission: Arc::clone(self),
            share: share.clone(),
            bytes,
        })
    }

    /// Counts a piece of an answer until the client has taken it; none where too much is kept
    /// already.
    pub(crate) fn keep(self: &Arc<Self>, piece: Bytes, share: &ConnectionShare) -> Option<Bytes> {
        let fits = self.all.untaken.share_out(
            weight(&piece),
            self.limits.untaken_bytes_max,
            BYTES_GRANTED,
            &share.0.untaken,
        );
        fits.then(|| {
            share.0.unsent.add(piece.len());
            Bytes::from_owner(UntakenPiece {
                admission: Arc::clone(self),
                share: share.clone(),
                piece,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1_024;
    const USUAL: Method = Method {
        is_reading: false,
        is_standard: false,
    };
    const HEALTH: Method = Method {
        is_reading: true,
        is_standard: true,
    };

    fn admission() -> Arc<Admission> {
        Arc::new(Admission::new(AdmissionLimits {
            calls_max: 6,
            receiving_bytes_max: 800 * KIB,
            untaken_bytes_max: 800 * KIB,
            ..AdmissionLimits::default()
        }))
    }

    #[test]
    fn a_full_server_lets_in_connections_with_few_calls_and_health_and_nobody_else() {
        let (admission, many, few) = (
            admission(),
            ConnectionShare::default(),
            ConnectionShare::default(),
        );
        let calls: Vec<_> = (0..6)
            .map(|_| {
                admission
                    .admit(&many, USUAL)
                    .expect("it is below the limit")
            })
            .collect();
        assert!(
            admission.admit(&many, USUAL).is_err(),
            "a call counts as soon as it is let in"
        );
        assert_eq!(admission.refused(), 1);
        calls.iter().for_each(|call| call.mark_received());
        assert!(admission.admit(&many, USUAL).is_err());
        let granted: Vec<_> = (0..CALLS_GRANTED)
            .map(|_| admission.admit(&few, USUAL).expect("it has few"))
            .collect();
        assert!(admission.admit(&few, USUAL).is_err());
        assert!(admission.admit(&many, HEALTH).is_ok());
        assert_eq!(
            (admission.calls(), admission.all.begun.held()),
            (6 + CALLS_GRANTED, 0)
        );
        drop(granted);
        assert!(admission.admit(&many, USUAL).is_err());
        calls[0].mark_answered();
        assert!(
            admission.admit(&many, USUAL).is_ok(),
            "an answered call does not count"
        );
        drop(calls);
        assert_eq!(
            (
                admission.calls(),
                admission.all.standard.held(),
                many.0.calls.held(),
                few.0.calls.held()
            ),
            (0, 0, 0, 0)
        );
        assert_eq!(admission.all.begun.held(), 0);
    }

    #[test]
    fn requests_that_never_arrive_keep_nobody_out_whose_arrive() {
        let (admission, many, few) = (
            Arc::new(Admission::default()),
            ConnectionShare::default(),
            ConnectionShare::default(),
        );
        let enter = |share| {
            admission
                .admit(share, USUAL)
                .expect("it is below the limit")
        };
        let begun: Vec<_> = (0..BEGUN_CALLS_MAX)
            .map(|_| enter(&many))
            .filter(|call| call.begin())
            .collect();
        let count = || (admission.calls(), admission.all.begun.held());
        assert_eq!(count(), (0, BEGUN_CALLS_MAX));
        let calls: Vec<_> = (0..200).map(|_| enter(&few)).collect();
        assert_eq!(
            count(),
            (200, BEGUN_CALLS_MAX),
            "the other connection has any number of calls"
        );
        assert!(
            !calls[0].begin(),
            "above the limit only connections with few calls are waited for"
        );
        assert_eq!(
            (count(), few.0.calls.held()),
            ((199, BEGUN_CALLS_MAX), 199),
            "a refused call does not count"
        );
        drop(calls);
        let call = enter(&few);
        assert!(call.begin());
        assert_eq!(count(), (0, BEGUN_CALLS_MAX + 1));
        let more: Vec<_> = (0..CALLS_GRANTED).map(|_| enter(&few)).collect();
        assert!(call.begin(), "a call that is waited for stays so");
        call.mark_received();
        assert!(call.begin());
        assert_eq!(count(), (1 + more.len(), BEGUN_CALLS_MAX));
        drop((begun, call, more));
        assert_eq!(count(), (0, 0));
    }

    #[test]
    fn however_many_requests_are_refused_the_rest_of_the_next_one_is_waited_for() {
        const STREAMS: usize = 200;
        let (admission, last) = (Arc::new(Admission::default()), ConnectionShare::default());
        let mut held: Vec<_> = (0..STREAMS)
            .map_while(|_| admission.wait_for_rest(&last))
            .collect();
        assert_eq!(held.len(), STREAMS, "as many rests as calls");
        held.clear();
        let of_others = (0..100).flat_map(|_| {
            let other = ConnectionShare::default();
            (0..STREAMS)
                .map_while(|_| admission.wait_for_rest(&other))
                .collect::<Vec<_>>()
        });
        held.extend(of_others);
        assert!(
            held.len() <= RESTS_MAX + 100 * RESTS_GRANTED,
            "{}",
            held.len()
        );
        assert!(admission.wait_for_rest(&last).is_some(), "{}", held.len());
        held.clear();
        assert_eq!((admission.all.rests.held(), last.0.rests.held()), (0, 0));
    }

    #[test]
    fn a_request_is_received_into_an_eighth_of_what_the_others_leave_and_its_room_comes_back() {
        let (admission, one, other) = (
            admission(),
            ConnectionShare::default(),
            ConnectionShare::default(),
        );
        let first = admission
            .receive(60 * KIB, &one)
            .expect("it is below the limit");
        let second = admission
            .receive(40 * KIB, &one)
            .expect("it is below the limit");
        assert!(
            admission.receive(1, &one).is_none(),
            "its share is 100 of 800 KiB"
        );
        assert!(
            admission.receive(88 * KIB, &other).is_none()
                && admission.receive(800 * KIB, &other).is_none()
        );
        let third = admission.receive(87 * KIB, &other);
        assert!(
            third.is_some(),
            "its share is an eighth of the other 700 KiB"
        );
        assert_eq!(
            (first.bytes(), admission.all.receiving.held()),
            (60 * KIB, 187 * KIB)
        );
        drop((first, second, third));
        assert!(admission.receive(100 * KIB, &one).is_some());
        assert_eq!(
            (
                admission.all.receiving.held(),
                one.0.receiving.held(),
                other.0.receiving.held()
            ),
            (0, 0, 0)
        );
    }

    #[test]
    fn however_many_leave_their_answers_the_next_one_is_answered() {
        let admission = admission();
        let piece = |bytes| Bytes::from(vec![7; bytes]);
        let mut kept = Vec::new();
        for _ in 0..1_000 {
            let deaf = ConnectionShare::default();
            while let Some(answer) = admission.keep(piece(KIB), &deaf) {
                kept.push(answer);
            }
            assert!(deaf.0.untaken.held() > 0, "{}", kept.len());
        }
        let (all, granted) = (admission.all.untaken.held(), 1_000 * BYTES_GRANTED);
        assert!(all <= 800 * KIB + granted, "{all}");
        assert!(
            admission
                .keep(piece(KIB), &ConnectionShare::default())
                .is_some()
        );
        assert!(
            admission
                .keep(piece(BYTES_GRANTED), &ConnectionShare::default())
                .is_none()
        );
    }

    #[test]
    fn a_part_of_an_answer_that_is_still_being_sent_keeps_the_whole() {
        let (admission, one) = (admission(), ConnectionShare::default());
        let piece = || Bytes::from_static(&[7; 20 * KIB]);
        let weight = 20 * KIB + ANSWER_BYTES;
        let mut kept: Vec<_> = (0..3)
            .map(|_| {
                admission
                    .keep(piece(), &one)
                    .expect("it is below the limit")
            })
            .collect();
        assert!(
            admission.keep(piece(), &one).is_none(),
            "the connection has its share"
        );
        let part = kept.pop().map(|it| it.slice(9..));
        drop(kept);
        assert_eq!(
            (one.0.untaken.held(), one.unsent(), one.emptied()),
            (weight, 20 * KIB, 0)
        );
        drop(part);
        assert_eq!((one.0.untaken.held(), one.unsent()), (0, 0));
        assert_eq!(
            (
                one.0.untaken.held(),
                one.emptied(),
                admission.all.untaken.held()
            ),
            (0, 1, 0)
        );
    }
}
