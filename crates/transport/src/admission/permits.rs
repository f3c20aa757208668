//! What is counted for a call: the call itself, the rest of its request, its request while it is
//! received, its answer until the client has taken it.
//!
//! Each value gives back on drop exactly what was counted for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;

use super::{ANSWER_BYTES, Admission, CALLS_GRANTED, ConnectionShare};
use crate::methods::Method;

/// The phases of a call, which only advance: just let in.
const ADMITTED: u8 = 0;
/// A part of the request is known to be missing.
const BEGUN: u8 = 1;
/// The whole request is there.
const RECEIVED: u8 = 2;
/// The answer has begun.
const ANSWERED: u8 = 3;

/// A call that was let in, in the extensions of its request, in an `Arc`. It counts until what it
/// asks for is decided: a client that gives a call up takes nothing out of a queue, so the queue
/// keeps the permit together with the command.
#[derive(Debug)]
pub struct CallPermit {
    admission: Arc<Admission>,
    share: ConnectionShare,
    /// A method of the standard services is counted apart, from the beginning of the call to its
    /// end.
    method: Method,
    phase: AtomicU8,
}

impl CallPermit {
    /// A permit in its first phase. The caller counts the call.
    pub(super) fn new(admission: &Arc<Admission>, share: &ConnectionShare, method: Method) -> Self {
        Self {
            admission: Arc::clone(admission),
            share: share.clone(),
            method,
            phase: AtomicU8::new(ADMITTED),
        }
    }

    /// Notes that a part of the request is missing: until it is there the call is no work. False
    /// when too many requests are waited for; the call is over then.
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

    /// Notes that the whole request is there.
    pub(crate) fn mark_received(&self) {
        self.advance(RECEIVED);
    }

    /// Notes that the answer has begun. From here on the answer is counted by its bytes, and a
    /// stream by a limit of its own.
    pub(crate) fn mark_answered(&self) {
        self.advance(ANSWERED);
    }

    /// Whether the method changes nothing.
    pub(crate) fn is_reading(&self) -> bool {
        self.method.is_reading
    }

    /// When the client of a call that is refused after it has begun may retry.
    pub(crate) fn retry_after(&self) -> Duration {
        self.admission.retry_after()
    }

    /// The time in which the request must be received once its headers are there.
    pub(crate) fn receive_time(&self) -> Duration {
        self.admission.limits.receive
    }

    /// Memory for `bytes` of the request; none where too much is being received.
    pub(crate) fn receive(&self, bytes: usize) -> Option<ReceivePermit> {
        self.admission.receive(bytes, &self.share)
    }

    /// Permission to wait for the rest of the request, which is refused.
    pub(crate) fn wait_for_rest(&self) -> Option<RestPermit> {
        self.admission.wait_for_rest(&self.share)
    }

    /// Counts a piece of the answer until the client has taken it; none where too much is kept
    /// already.
    pub(crate) fn keep(&self, piece: Bytes) -> Option<Bytes> {
        self.admission.keep(piece, &self.share)
    }

    /// Whether the call is in an earlier phase than `to` and is counted by its phase; it is in
    /// phase `to` from here on.
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

/// The rest of a refused request that is waited for.
#[derive(Debug)]
pub(crate) struct RestPermit {
    pub(super) admission: Arc<Admission>,
    pub(super) share: ConnectionShare,
}

impl Drop for RestPermit {
    fn drop(&mut self) {
        self.share.0.rests.give_back(1);
        self.admission.all.rests.give_back(1);
    }
}

/// Memory of a request while it is being received.
#[derive(Debug)]
pub(crate) struct ReceivePermit {
    pub(super) admission: Arc<Admission>,
    pub(super) share: ConnectionShare,
    pub(super) bytes: usize,
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

/// What a piece of an answer counts while it is kept.
pub(super) fn weight(piece: &Bytes) -> usize {
    ANSWER_BYTES + piece.len()
}

/// A piece of an answer. HTTP/2 drops it when its last byte is sent, or its stream is reset.
pub(super) struct UntakenPiece {
    pub(super) admission: Arc<Admission>,
    pub(super) share: ConnectionShare,
    pub(super) piece: Bytes,
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
