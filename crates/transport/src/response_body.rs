//! The body of an answer: the service's own, or one made in its place; and the count of what its
//! reader has not taken.
//!
//! A body that is ended here drops its source at once, and not when the peer has read what is
//! buffered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};

use crate::admission::CallPermit;
use crate::protocol::Protocol;
use crate::rejection::Rejection;

/// The body of an answer, as one layer passes it to the next.
pub enum ResponseBody<B> {
    /// The body of the service.
    Service(B),
    /// The whole of an answer that was made in place of the service's.
    Rendered(Bytes),
    /// The body has ended.
    Over,
}

impl<B> ResponseBody<B> {
    /// An answer that was made in place of the service's.
    pub(crate) fn rendered(response: Response<Bytes>) -> Response<Self> {
        response.map(Self::Rendered)
    }

    /// Ends the body with these trailers.
    pub(crate) fn end_with(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        *self = Self::Over;
        Frame::trailers(trailers)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut *self {
            Self::Service(body) => Pin::new(body).poll_frame(cx),
            Self::Rendered(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Over;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Service(body) => body.is_end_stream(),
            Self::Rendered(bytes) => bytes.is_empty(),
            Self::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Service(body) => body.size_hint(),
            Self::Rendered(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Over => SizeHint::with_exact(0),
        }
    }
}

/// The body of an answer; each piece is counted until the client has taken it.
pub struct CountedBody<B, P> {
    body: ResponseBody<B>,
    permit: Arc<CallPermit>,
    protocol: P,
}

impl<B, P> CountedBody<B, P> {
    pub(crate) fn new(body: B, permit: Arc<CallPermit>, protocol: P) -> Self {
        Self {
            body: ResponseBody::Service(body),
            permit,
            protocol,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin, P: Protocol> Body for CountedBody<B, P> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)?) else {
            return Poll::Ready(None);
        };
        let frame = match frame.into_data() {
            Ok(data) => match this.permit.keep(data) {
                Some(kept) => Frame::data(kept),
                None => {
                    let rejection = Rejection::AnswerMemoryFull {
                        is_reading: this.permit.is_reading(),
                    };
                    this.body.end_with(this.protocol.trailers(&rejection))
                }
            },
            Err(other) => other,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
