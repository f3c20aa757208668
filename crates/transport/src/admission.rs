//! Admission control: how many calls, and how much memory for their requests and answers, all connections together have.
//!
//! ServerLimits of one connection bound nothing when there may be ten thousand of them: what is counted here is counted over
//! the process. Whatever was counted is given back when what it stands for is dropped, whichever way that comes about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::amounts::Amounts;
use crate::methods::Method;
use crate::retry_schedule::RetrySchedule;

/// Calls that are being worked on, until the beginning of their answer: enough to keep every thread at work, and few
/// enough that none of them waits for long. When there are more, only connections with few calls are let in, before
/// anything of the call is read: that costs a small part of a booking.
const CALLS_MAX: usize = 2_048;
/// Calls whose request was looked for and is not whole. Counted by themselves: who never finishes a request keeps nobody
/// out who does. When there are more, only those of connections with few calls are waited for.
const BEGUN_CALLS_MAX: usize = 8_192;
/// What an answer weighs beside its bytes, for as long as its client has not taken it: tonic's buffer of 8 KiB, which a
/// part of it keeps whole, and the stream. Measured with small answers: 12.9 KiB each.
const ANSWER_BYTES: usize = 12 * 1_024;
/// Calls of one connection that are let in whatever the others do: who opens many calls keeps nobody out who has few.
const CALLS_GRANTED: usize = 4;
/// Calls of the standard services, health and reflection, until their end: their streams are bounded by nothing else.
/// They are not counted among the others, so that a full server still says that it lives.
const STANDARD_CALLS_MAX: usize = 1_024;
/// Requests that are refused, and whose rest is waited for; when there are more, it is not. Shared out as memory is.
const RESTS_MAX: usize = 4_096;
/// Of one connection whatever the others do.
const RESTS_GRANTED: usize = 4;
/// What it gets of each kind whatever the others do: a usual request, a usual answer.
const BYTES_GRANTED: usize = 16 * 1_024;
/// Bytes of requests that have begun to arrive and have not ended. A request that comes in one piece takes none of it.
const RECEIVING_BYTES_MAX: usize = 128 * 1_024 * 1_024;
/// Bytes of answers that were written and that their clients have not taken.
const UNTAKEN_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// Time in which a request is received once its headers are there. 1 MiB in it is 420 kbit/s.
const RECEIVE_SECONDS_MAX: u64 = 20;

/// What all calls together may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// See `CALLS_MAX`.
    pub calls_max: usize,
    /// See `BEGUN_CALLS_MAX`.
    pub begun_calls_max: usize,
    /// See `RECEIVING_BYTES_MAX`.
    pub receiving_bytes_max: usize,
    /// See `UNTAKEN_BYTES_MAX`.
    pub untaken_bytes_max: usize,
    /// See `RECEIVE_SECONDS_MAX`.
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

/// What is held now; shared by everything that serves calls.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    all: Amounts,
    retries: RetrySchedule,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(AdmissionLimits::default())
    }
}

/// In the extensions of a request: what its connection holds. The transport looks at it, to see who does not read.
#[derive(Clone, Debug, Default)]
pub struct ConnectionShare(Arc<Amounts>);

impl ConnectionShare {
    /// Bytes of answers that the peer has not taken, without what else they weigh: what it is still to be sent.
    pub fn unsent(&self) -> usize {
        self.0.unsent.held()
    }

    /// How often it had taken all of them.
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
        }
    }

    /// Calls that are being worked on, without those of health and reflection.
    pub fn calls(&self) -> usize {
        self.all.calls.held()
    }

    /// Lets a call in; or says when to come again, when there are too many.
    pub(crate) fn admit(
        self: &Arc<Self>,
        share: &ConnectionShare,
        method: Method,
    ) -> Result<Arc<CallPermit>, Duration> {
        self.try_admit(share, method)
            .ok_or_else(|| self.retry_after())
    }

    fn retry_after(&self) -> Duration {
        self.retries.next(Instant::now())
    }

    fn try_admit(
        self: &Arc<Self>,
        share: &ConnectionShare,
        method: Method,
    ) -> Option<Arc<CallPermit>> {
        let phase = AtomicU8::new(ADMITTED);
        let permit = CallPermit {
            admission: Arc::clone(self),
            share: share.clone(),
            method,
            phase,
        };
        if method.is_standard {
            let (own, all) = (share.0.standard.add(1), self.all.standard.add(1));
            return (all <= STANDARD_CALLS_MAX || own <= CALLS_GRANTED).then(|| Arc::new(permit));
        }
        let (own, calls) = (share.0.calls.add(1), self.all.calls.add(1));
        (calls <= self.limits.calls_max || own <= CALLS_GRANTED).then(|| Arc::new(permit))
    }

    /// Room to wait for the rest of a request that is refused.
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

    /// Room for a request that is being received.
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

    /// Keeps a piece of an answer until the client has taken it; nothing when too much is kept already.
    pub(crate) fn keep(self: &Arc<Self>, piece: Bytes, share: &ConnectionShare) -> Option<Bytes> {
        let bytes = weight(&piece);
        let fits = self.all.untaken.share_out(
            bytes,
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

/// How far a call has come: just let in, found to have no whole request yet, with all of its request, answered.
const ADMITTED: u8 = 0;
const BEGUN: u8 = 1;
const RECEIVED: u8 = 2;
const ANSWERED: u8 = 3;

/// In the extensions of a request, in an `Arc`: its call, which counts until what it asks for is decided. A client that
/// gives a call up takes nothing out of a queue: whoever keeps the command there keeps this with it.
#[derive(Debug)]
pub struct CallPermit {
    admission: Arc<Admission>,
    share: ConnectionShare,
    /// One of the standard services is counted by itself, from the beginning of the call to its end.
    method: Method,
    phase: AtomicU8,
}

impl CallPermit {
    /// A part of its request is still to come: until then it is no work. False when there is no room to wait for it;
    /// then it is over.
    pub(crate) fn begin(&self) -> bool {
        let is_new = self.advance(BEGUN);
        let is_too_many =
            || self.admission.all.begun.held() > self.admission.limits.begun_calls_max;
        let is_refused = is_new && is_too_many() && self.share.0.calls.held() > CALLS_GRANTED;
        if is_refused {
            self.advance(ANSWERED);
        }
        !is_refused
    }

    /// All of its request is there.
    pub(crate) fn mark_received(&self) {
        self.advance(RECEIVED);
    }

    /// Its answer has begun: from here on it is counted by its bytes, and a stream by its own limit.
    pub(crate) fn mark_answered(&self) {
        self.advance(ANSWERED);
    }

    /// The method changes nothing.
    pub(crate) fn is_reading(&self) -> bool {
        self.method.is_reading
    }

    /// When to come again, of a call that has begun above the limit.
    pub(crate) fn retry_after(&self) -> Duration {
        self.admission.retry_after()
    }

    /// See `AdmissionLimits::receive`.
    pub(crate) fn receive_time(&self) -> Duration {
        self.admission.limits.receive
    }

    /// Room for so much of its request.
    pub(crate) fn receive(&self, bytes: usize) -> Option<ReceivePermit> {
        self.admission.receive(bytes, &self.share)
    }

    /// See `Admission::wait_for_rest`.
    pub(crate) fn wait_for_rest(&self) -> Option<RestPermit> {
        self.admission.wait_for_rest(&self.share)
    }

    /// See `Admission::keep`.
    pub(crate) fn keep(&self, piece: Bytes) -> Option<Bytes> {
        self.admission.keep(piece, &self.share)
    }

    /// Whether it had not come so far, and is counted by how far it has.
    fn advance(&self, to: u8) -> bool {
        let from = self.phase.fetch_max(to, Relaxed);
        if from >= to || self.method.is_standard {
            return false;
        }
        match from {
            BEGUN => self.admission.all.begun.give_back(1),
            _ => self.admission.all.calls.give_back(1),
        };
        match to {
            BEGUN => self.admission.all.begun.add(1),
            RECEIVED => self.admission.all.calls.add(1),
            _ => self.share.0.calls.give_back(1),
        };
        true
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.advance(ANSWERED);
        if self.method.is_standard {
            self.share.0.standard.give_back(1);
            self.admission.all.standard.give_back(1);
        }
    }
}

/// Room that the rest of a refused request takes.
#[derive(Debug)]
pub(crate) struct RestPermit {
    admission: Arc<Admission>,
    share: ConnectionShare,
}

impl Drop for RestPermit {
    fn drop(&mut self) {
        self.share.0.rests.give_back(1);
        self.admission.all.rests.give_back(1);
    }
}

/// Room that a request takes while it is being received.
#[derive(Debug)]
pub(crate) struct ReceivePermit {
    admission: Arc<Admission>,
    share: ConnectionShare,
    bytes: usize,
}

impl ReceivePermit {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for ReceivePermit {
    fn drop(&mut self) {
        self.share.0.receiving.give_back(self.bytes);
        self.admission.all.receiving.give_back(self.bytes);
    }
}

fn weight(piece: &Bytes) -> usize {
    ANSWER_BYTES + piece.len()
}

/// A piece of an answer; HTTP/2 drops it when the last byte of it is sent, or its stream is reset.
struct UntakenPiece {
    admission: Arc<Admission>,
    share: ConnectionShare,
    piece: Bytes,
}

impl AsRef<[u8]> for UntakenPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for UntakenPiece {
    fn drop(&mut self) {
        self.share.0.unsent.give_back(self.piece.len());
        if self.share.0.untaken.give_back(weight(&self.piece)) == 0 {
            self.share.0.emptied.add(1);
        }
        self.admission.all.untaken.give_back(weight(&self.piece));
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
            .map(|_| admission.admit(&many, USUAL).expect("there is room"))
            .collect();
        assert!(
            admission.admit(&many, USUAL).is_err(),
            "what was let in counts at once"
        );
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
            "what is answered makes room"
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
        let enter = |share| admission.admit(share, USUAL).expect("there is room");
        let begun: Vec<_> = (0..BEGUN_CALLS_MAX)
            .map(|_| enter(&many))
            .filter(|call| call.begin())
            .collect();
        let count = || (admission.calls(), admission.all.begun.held());
        assert_eq!(count(), (0, BEGUN_CALLS_MAX));
        let calls: Vec<_> = (0..200).map(|_| enter(&few)).collect();
        assert_eq!(count(), (200, BEGUN_CALLS_MAX), "however many it has");
        assert!(
            !calls[0].begin(),
            "who lets itself be waited for must have few"
        );
        assert_eq!(
            (count(), few.0.calls.held()),
            ((199, BEGUN_CALLS_MAX), 199),
            "and is not counted any more"
        );
        drop(calls);
        let call = enter(&few);
        assert!(call.begin());
        assert_eq!(count(), (0, BEGUN_CALLS_MAX + 1));
        let more: Vec<_> = (0..CALLS_GRANTED).map(|_| enter(&few)).collect();
        assert!(call.begin(), "what is waited for goes on being waited for");
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
        assert_eq!(held.len(), STREAMS, "it has as many as it has calls");
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
        let first = admission.receive(60 * KIB, &one).expect("there is room");
        let second = admission.receive(40 * KIB, &one).expect("there is room");
        assert!(
            admission.receive(1, &one).is_none(),
            "100 of 800 KiB are its share"
        );
        assert!(
            admission.receive(88 * KIB, &other).is_none()
                && admission.receive(800 * KIB, &other).is_none()
        );
        let third = admission.receive(87 * KIB, &other);
        assert!(third.is_some(), "700 are left");
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
            .map(|_| admission.keep(piece(), &one).expect("there is room"))
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
