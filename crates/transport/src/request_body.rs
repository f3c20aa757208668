//! The body of a request as it arrives: bounded in time and, together with all others, in memory.
//!
//! A service's framework may set aside what a message announces as soon as its length is there, so that five bytes are
//! enough to claim 1 MiB, and keep it until the request has ended. Here the claim is counted first. A request that comes in
//! one piece passes without being counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::admission::{CallPermit, ReceivePermit, RestPermit};
use crate::protocol::{BoxError, MessageProgress, Protocol};
use crate::rejection::Rejection;
use crate::timer::Timer;
use crate::unread::Rest;

/// A body that fails when it takes too long, or when there is no room for what it announces.
pub struct RequestBody<B, P: Protocol> {
    body: B,
    permit: Arc<CallPermit>,
    messages: P::MessageProgress,
    received: Option<ReceivePermit>,
    timer: Timer,
    /// It was let in, and is refused before it is whole: what comes is passed over. With a permit it is of a call that has
    /// begun above the limit and is counted no longer; without one, there is no memory for it.
    refused: Option<Rest<Option<RestPermit>>>,
    protocol: P,
}

impl<B, P: Protocol> RequestBody<B, P> {
    pub(crate) fn new(body: B, permit: Arc<CallPermit>, protocol: P) -> Self {
        let timer = Timer::at(Instant::now() + permit.receive_time());
        let messages = P::MessageProgress::default();
        Self {
            body,
            permit,
            messages,
            received: None,
            timer,
            refused: None,
            protocol,
        }
    }

    fn too_many_calls(&self) -> Rejection {
        Rejection::TooManyCalls {
            retry_after: self.permit.retry_after(),
        }
    }

    fn reject(&self, rejection: &Rejection) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Err(self.protocol.error(rejection))))
    }

    /// Counts what came in, before anything is set aside for it; false when there is no room.
    fn count(&mut self, frame: Option<&Frame<Bytes>>, is_end: bool) -> bool {
        if let Some(data) = frame.and_then(Frame::data_ref) {
            self.messages.advance(data);
        }
        // No handler begins before the client has said that this is all.
        if is_end {
            self.received = None;
            self.permit.mark_received();
            return true;
        }
        let bytes = self.messages.bytes_set_aside();
        if self.received.as_ref().map_or(0, ReceivePermit::bytes) < bytes {
            self.received = None;
            self.received = self.permit.receive(bytes);
            return self.received.is_some();
        }
        true
    }
}

impl<B, P> Body for RequestBody<B, P>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    P: Protocol,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(rest) = &mut this.refused {
            ready!(rest.poll_end(&mut this.body, cx));
            let is_counted_no_longer = rest.permit.is_some();
            return this.reject(&if is_counted_no_longer {
                this.too_many_calls()
            } else {
                Rejection::NoRoomToReceive
            });
        }
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.timer.has_fired(cx) => {
                return this.reject(&Rejection::NotReceived);
            }
            Poll::Pending if this.permit.begin() => return Poll::Pending,
            Poll::Pending => {
                let Some(permit) = this.permit.wait_for_rest() else {
                    return this.reject(&this.too_many_calls());
                };
                this.refused = Some(Rest::new(Some(permit)));
                return self.poll_frame(cx);
            }
        };
        let is_end = frame.is_none() || this.body.is_end_stream();
        if !this.count(frame.as_ref().and_then(|frame| frame.as_ref().ok()), is_end) {
            this.refused = Some(Rest::new(None));
            return self.poll_frame(cx);
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
