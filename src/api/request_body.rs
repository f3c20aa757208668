//! The body of a request as it arrives: bounded in time and, together with all others, in memory.
//!
//! tonic sets aside what a message announces as soon as its length is there, so five bytes are enough to claim 1 MiB, and
//! keeps it until the request has ended. Here the claim is counted first. A request that comes in one piece passes without
//! being counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bookd_transport::admission::{ReceivePermit, RestPermit};
use bookd_transport::deadline::Timer;
use bookd_transport::{Admission, CallPermit, ConnectionShare};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::api::convert::status;
use crate::api::wire::REQUEST_BYTES_MAX;

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// See the header.
pub struct RequestBody<B> {
    body: B,
    room: Arc<Admission>,
    share: ConnectionShare,
    entered: Arc<CallPermit>,
    progress: Progress,
    received: Option<ReceivePermit>,
    timer: Timer,
    /// There is no room for it: what comes is passed over.
    refused: Option<Refused>,
}

impl<B> RequestBody<B> {
    pub(crate) fn new(
        body: B,
        room: Arc<Admission>,
        share: ConnectionShare,
        entered: Arc<CallPermit>,
        now: Instant,
    ) -> Self {
        let timer = Timer::at(now + room.receive_time());
        Self { body, room, share, entered, progress: Progress::default(), received: None, timer, refused: None }
    }

    fn refuse(&mut self, held: Option<RestPermit>) {
        self.refused = Some(Refused { timer: Timer::at(Instant::now() + REST_WAIT), held });
    }
}

/// A request that was let in, and is refused before it is whole.
struct Refused {
    timer: Timer,
    /// Of a call that has begun above the limit: it is counted no longer. None for want of memory.
    held: Option<RestPermit>,
}

/// How long the rest of a request is waited for that is refused without it. What is sent comes within moments; and what
/// comes after its stream is closed counts as an error of the peer, of which HTTP/2 takes 1,024 on a connection.
const REST_WAIT: Duration = Duration::from_secs(1);

/// What is still to come of a request that is answered without it.
pub(crate) struct Rest<B> {
    body: B,
    timer: Timer,
    _held: RestPermit,
}

impl<B: Body<Data = Bytes> + Unpin> Rest<B> {
    /// None when it is all there, or when too many are waited for.
    pub(crate) fn of(body: B, room: &Arc<Admission>, share: &ConnectionShare) -> Option<Self> {
        let held = if body.is_end_stream() { None } else { room.wait_for_rest(share) };
        held.map(|held| Self { body, timer: Timer::at(Instant::now() + REST_WAIT), _held: held })
    }

    /// Passes over what comes, until it ends or has been waited for.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_over(&mut self.body, &mut self.timer, cx)
    }
}

fn poll_over<B: Body<Data = Bytes> + Unpin>(body: &mut B, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<()> {
    while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
        if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
            return Poll::Ready(());
        }
    }
    if timer.has_fired(cx) { Poll::Ready(()) } else { Poll::Pending }
}

/// How far the messages of a body have come.
#[derive(Default)]
struct Progress {
    /// Bytes of the prefix that are there.
    prefix_bytes: usize,
    /// What it announced so far.
    announced: usize,
    /// Bytes of the message that are still to come.
    missing: usize,
    /// What the longest message announced that is not refused by its length.
    longest: usize,
}

impl Progress {
    fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.prefix_bytes < PREFIX_BYTES {
                let is_length = self.prefix_bytes > 0;
                self.announced = if is_length { self.announced << 8 | usize::from(*first) } else { 0 };
                self.prefix_bytes += 1;
                self.missing = self.announced;
                bytes = rest;
            } else {
                let taken = self.missing.min(bytes.len());
                self.missing -= taken;
                bytes = &bytes[taken..];
            }
            if self.prefix_bytes == PREFIX_BYTES && self.announced <= REQUEST_BYTES_MAX {
                self.longest = self.longest.max(self.announced);
            }
            if self.prefix_bytes == PREFIX_BYTES && self.missing == 0 {
                self.prefix_bytes = 0;
            }
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(Refused { timer, held }) = &mut this.refused {
            let room = &this.room;
            let is_over = poll_over(&mut this.body, timer, cx);
            return is_over.map(|()| {
                Some(Err(match held {
                    Some(_) => status::too_many_begun(room.retry_after()).into(),
                    None => status::no_room_to_receive().into(),
                }))
            });
        }
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.timer.has_fired(cx) => {
                return Poll::Ready(Some(Err(status::not_received().into())));
            }
            Poll::Pending if this.entered.begin() => return Poll::Pending,
            Poll::Pending => {
                let Some(held) = this.room.wait_for_rest(&this.share) else {
                    return Poll::Ready(Some(Err(status::too_many_begun(this.room.retry_after()).into())));
                };
                this.refuse(Some(held));
                return self.poll_frame(cx);
            }
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.progress.advance(data);
        }
        // No handler begins before the client has said that this is all.
        if frame.is_none() || this.body.is_end_stream() {
            this.received = None;
            this.entered.mark_received();
        } else if this.received.as_ref().map_or(0, ReceivePermit::bytes) < this.progress.longest {
            this.received = None;
            this.received = this.room.receive(this.progress.longest, &this.share);
            if this.received.is_none() {
                this.refuse(None);
                return self.poll_frame(cx);
            }
        }
        Poll::Ready(frame.map(|it| it.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two messages, of 3 bytes and of none.
    const BYTES: [u8; 13] = [0, 0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 0, 0];

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        for piece in 1..=BYTES.len() {
            let mut progress = Progress::default();
            let mut at = 0;
            for bytes in BYTES.chunks(piece) {
                progress.advance(bytes);
                at += bytes.len();
                assert_eq!(progress.prefix_bytes == 0, at == 8 || at == 13, "{at} in pieces of {piece}");
                assert_eq!(progress.longest, if at < 5 { 0 } else { 3 }, "{at} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_message_that_will_be_refused_by_its_length_claims_nothing() {
        let mut progress = Progress::default();
        progress.advance(&[0, 0x40, 0, 0, 0]);
        assert_eq!(progress.longest, 0);
        progress = Progress::default();
        progress.advance(&[0, 0, 0x10, 0, 0]);
        assert_eq!(progress.longest, REQUEST_BYTES_MAX);
    }
}
