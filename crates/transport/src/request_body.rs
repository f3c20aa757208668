//! The body of a request as it arrives: limited in time and, together with all other requests, in
//! memory.
//!
//! A service's framework may reserve the memory that a message announces as soon as the length is
//! there, so that five bytes are enough to claim 1 MiB until the request has ended. This body
//! counts the claim first. A request that comes in one piece passes uncounted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::admission::{CallPermit, ReceivePermit, RestPermit};
use crate::early_answer::Rest;
use crate::protocol::{BoxError, MessageProgress, Protocol};
use crate::rejection::Rejection;
use crate::timer::Timer;

/// A body that fails when it takes too long, or when the memory that it announces is not free.
pub struct RequestBody<B, P: Protocol> {
    body: B,
    permit: Arc<CallPermit>,
    messages: P::MessageProgress,
    received: Option<ReceivePermit>,
    /// Starts when the rest of the request is first waited for: a request that is whole has none.
    timer: Option<Timer>,
    /// The request was let in and is refused before it is whole; its rest is discarded. With a
    /// permit the call had begun above the limit and is no longer counted; without one the memory
    /// was full.
    refused: Option<Rest<Option<RestPermit>>>,
    protocol: P,
}

impl<B, P: Protocol> RequestBody<B, P> {
    pub(crate) fn new(body: B, permit: Arc<CallPermit>, protocol: P) -> Self {
        let messages = P::MessageProgress::default();
        Self {
            body,
            permit,
            messages,
            received: None,
            timer: None,
            refused: None,
            protocol,
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let start = || Timer::at(Instant::now() + self.permit.receive_time());
        self.timer.get_or_insert_with(start).has_fired(cx)
    }

    fn too_many_calls(&self) -> Rejection {
        Rejection::TooManyCalls {
            retry_after: self.permit.retry_after(),
        }
    }

    fn reject(&self, rejection: &Rejection) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Err(self.protocol.error(rejection))))
    }

    /// Counts what arrived, before memory is reserved for it; false when the memory is full.
    fn count(&mut self, frame: Option<&Frame<Bytes>>, is_end: bool) -> bool {
        if let Some(data) = frame.and_then(Frame::data_ref) {
            self.messages.advance(data);
        }
        // No handler begins before the client has marked the end of its request.
        if is_end {
            self.received = None;
            self.permit.mark_received();
            return true;
        }
        let bytes = self.messages.bytes_reserved();
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
                Rejection::ReceiveMemoryFull
            });
        }
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.is_late(cx) => {
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
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
