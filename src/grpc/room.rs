//! How much all calls together may hold in memory while they wait for their peers.
//!
//! Limits of one connection bound nothing when there may be ten thousand of them: what is counted here is counted over
//! the process. Whatever was counted is given back when what it stands for is dropped, whichever way that comes about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

/// Calls in progress, from their headers to the end of their answer, open streams among them. More are refused before
/// anything of them is read, which costs a small part of what a booking does.
pub const CALLS_MAX: usize = 16_384;
/// Further calls of the health service, so that a full server still says that it lives.
const HEALTH_CALLS_MAX: usize = 256;
/// Bytes of requests whose message has begun to arrive and is not complete. A request that comes at once, as those
/// that fit a frame do, takes none of it.
const RECEIVING_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Bytes of answers that were written and that their clients have not taken.
const UNTAKEN_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// The same of one connection: it takes several that do not read to make the others feel it.
const UNTAKEN_BYTES_CONNECTION_MAX: usize = 32 * 1_024 * 1_024;
/// Answers up to this size are bounded by their number.
const SMALL_ANSWER_BYTES: usize = 4 * 1_024;

/// What all calls together may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// See `CALLS_MAX`.
    pub calls_max: usize,
    /// See `RECEIVING_BYTES_MAX`.
    pub receiving_bytes_max: usize,
    /// See `UNTAKEN_BYTES_MAX`.
    pub untaken_bytes_max: usize,
    /// See `UNTAKEN_BYTES_CONNECTION_MAX`.
    pub untaken_bytes_connection_max: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            calls_max: CALLS_MAX,
            receiving_bytes_max: RECEIVING_BYTES_MAX,
            untaken_bytes_max: UNTAKEN_BYTES_MAX,
            untaken_bytes_connection_max: UNTAKEN_BYTES_CONNECTION_MAX,
        }
    }
}

/// What is held now; shared by everything that serves calls.
#[derive(Debug, Default)]
pub struct Room {
    limits: RoomLimits,
    calls: Amount,
    receiving: Amount,
    untaken: Amount,
}

/// In the extensions of a request: what its connection's answers hold. The transport looks at it, to see who does not
/// read.
#[derive(Clone, Debug, Default)]
pub struct Untaken(Arc<Amount>);

impl Untaken {
    /// Bytes of answers that the peer has not taken.
    pub fn bytes(&self) -> usize {
        self.0.0.load(Relaxed)
    }
}

/// A number that is held, up to a limit.
#[derive(Debug, Default)]
struct Amount(AtomicUsize);

impl Amount {
    fn take(&self, amount: usize, max: usize) -> bool {
        let before = self.0.fetch_add(amount, Relaxed);
        let fits = before.checked_add(amount).is_some_and(|sum| sum <= max);
        if !fits {
            self.give_back(amount);
        }
        fits
    }

    fn give_back(&self, amount: usize) {
        self.0.fetch_sub(amount, Relaxed);
    }
}

impl Room {
    /// Room with other limits, for tests.
    pub fn new(limits: RoomLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Calls in progress.
    pub fn calls(&self) -> usize {
        self.calls.0.load(Relaxed)
    }

    /// Lets a call in; nothing when there are too many.
    pub(super) fn enter(self: &Arc<Self>, is_health: bool) -> Option<Entered> {
        let extra = if is_health { HEALTH_CALLS_MAX } else { 0 };
        self.calls.take(1, self.limits.calls_max + extra).then(|| Entered { room: Arc::clone(self) })
    }

    /// Room for a request that is being received.
    pub(super) fn receive(self: &Arc<Self>, bytes: usize) -> Option<Received> {
        let fits = self.receiving.take(bytes, self.limits.receiving_bytes_max);
        fits.then(|| Received { room: Arc::clone(self), bytes })
    }

    /// Keeps a piece of an answer until the client has taken it; nothing when too much is kept already.
    pub(super) fn keep(self: &Arc<Self>, piece: Bytes, connection: &Untaken) -> Option<Bytes> {
        let bytes = piece.len();
        if bytes <= SMALL_ANSWER_BYTES {
            return Some(piece);
        }
        if !connection.0.take(bytes, self.limits.untaken_bytes_connection_max) {
            return None;
        }
        if !self.untaken.take(bytes, self.limits.untaken_bytes_max) {
            connection.0.give_back(bytes);
            return None;
        }
        Some(Bytes::from_owner(Kept { room: Arc::clone(self), connection: connection.clone(), piece }))
    }
}

/// A call in progress.
#[derive(Debug)]
pub(super) struct Entered {
    room: Arc<Room>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.room.calls.give_back(1);
    }
}

/// Room that a half-received request takes.
#[derive(Debug)]
pub(super) struct Received {
    room: Arc<Room>,
    bytes: usize,
}

impl Drop for Received {
    fn drop(&mut self) {
        self.room.receiving.give_back(self.bytes);
    }
}

/// A piece of an answer; HTTP/2 drops it when the last byte of it is sent, or its stream is reset.
struct Kept {
    room: Arc<Room>,
    connection: Untaken,
    piece: Bytes,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.untaken.give_back(self.piece.len());
        self.connection.0.give_back(self.piece.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Arc<Room> {
        Arc::new(Room::new(RoomLimits {
            calls_max: 2,
            receiving_bytes_max: 100,
            untaken_bytes_max: 30_000,
            untaken_bytes_connection_max: 20_000,
        }))
    }

    #[test]
    fn a_call_above_the_limit_is_not_let_in_until_another_has_ended_and_health_still_is() {
        let room = room();
        let first = room.enter(false);
        let second = room.enter(false);
        assert!(first.is_some() && second.is_some() && room.enter(false).is_none());
        assert!(room.enter(true).is_some());
        drop(first);
        assert!(room.enter(false).is_some());
        drop(second);
        assert_eq!(room.calls(), 0);
    }

    #[test]
    fn requests_are_received_up_to_the_limit_and_their_room_comes_back() {
        let room = room();
        let first = room.receive(60);
        assert!(first.is_some() && room.receive(41).is_none());
        assert!(room.receive(usize::MAX).is_none());
        assert!(room.receive(40).is_some());
        drop(first);
        assert!(room.receive(100).is_some());
    }

    #[test]
    fn answers_are_kept_up_to_the_limits_of_their_connection_and_of_all() {
        let room = room();
        let (one, other) = (Untaken::default(), Untaken::default());
        let piece = || Bytes::from(vec![7; 10_000]);
        let kept: Vec<_> = [&one, &one].map(|it| room.keep(piece(), it).expect("there is room")).into();
        assert!(room.keep(piece(), &one).is_none(), "the connection has its share");
        let third = room.keep(piece(), &other);
        assert!(third.is_some() && room.keep(piece(), &other).is_none(), "all have theirs");
        assert!(room.keep(Bytes::from(vec![7; SMALL_ANSWER_BYTES]), &one).is_some(), "small ones are not counted");
        assert_eq!((one.bytes(), other.bytes()), (20_000, 10_000));
        // A part that is still being sent keeps the whole.
        let mut kept = kept;
        let part = kept.pop().map(|it| it.slice(9_999..));
        drop(kept);
        assert_eq!(one.bytes(), 10_000);
        drop((part, third));
        assert_eq!((one.bytes(), other.bytes()), (0, 0));
        assert!(room.keep(Bytes::from(vec![7; 20_000]), &one).is_some());
    }
}
