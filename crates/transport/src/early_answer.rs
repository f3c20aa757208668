//! Answers to calls whose request is not read.
//!
//! The answer waits for the rest of the request, within limits: frames that arrive after the stream
//! is closed count as errors of the peer, and HTTP/2 closes a connection after 1,024 of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;

use crate::admission::{CallPermit, RestPermit};
use crate::response_body::ResponseBody;
use crate::timer::Timer;

/// How long an answer waits for the rest of its request. A client that sends the rest at all does
/// so within moments.
const REST_WAIT: Duration = Duration::from_secs(1);

/// The rest of a request that is answered without it.
pub(crate) struct Rest<P> {
    timer: Timer,
    /// What counts the waiting, unless the permit of the call does.
    pub(crate) permit: P,
}

impl<P> Rest<P> {
    pub(crate) fn new(permit: P) -> Self {
        Self {
            timer: Timer::at(Instant::now() + REST_WAIT),
            permit,
        }
    }

    /// Discards what arrives; ready at the end of the request or of `REST_WAIT`.
    pub(crate) fn poll_end<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
                return Poll::Ready(());
            }
        }
        if self.timer.has_fired(cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The answer to a request that is not read.
pub struct EarlyAnswer<B> {
    answer: Option<Response<Bytes>>,
    /// None when the whole request is there, or when too many rests are waited for.
    rest: Option<(B, Rest<RestPermit>)>,
}

impl<B: Body<Data = Bytes> + Unpin> EarlyAnswer<B> {
    /// The answer to a request with this body. It waits for the rest if `wait_for_rest` permits it.
    pub(crate) fn new(
        answer: Response<Bytes>,
        body: B,
        wait_for_rest: impl FnOnce() -> Option<RestPermit>,
    ) -> Self {
        let permit = if body.is_end_stream() {
            None
        } else {
            wait_for_rest()
        };
        Self {
            answer: Some(answer),
            rest: permit.map(|permit| (body, Rest::new(permit))),
        }
    }

    /// The answer to a call that was let in. Without admission control the rest is not waited for.
    pub(crate) fn of_call(answer: Response<Bytes>, request: Request<B>) -> Self {
        let permit = request.extensions().get::<Arc<CallPermit>>().cloned();
        Self::new(answer, request.into_body(), || permit?.wait_for_rest())
    }
}

impl<B: Body<Data = Bytes> + Unpin> Future for EarlyAnswer<B> {
    type Output = Response<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Bytes>> {
        if let Some((body, rest)) = &mut self.rest {
            ready!(rest.poll_end(body, cx));
        }
        self.rest = None;
        Poll::Ready(
            self.answer
                .take()
                .expect("a future is not polled after its end"),
        )
    }
}

/// A call that a layer passed on to the service, or answered without reading its request.
pub enum PassedOrAnswered<F, B> {
    /// Answered by the layer.
    Answered(EarlyAnswer<B>),
    /// Passed on to the service.
    Passed(F),
}

impl<F, B, R> Future for PassedOrAnswered<F, B>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    type Output = Result<Response<ResponseBody<R>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match &mut *self {
            Self::Answered(answer) => ResponseBody::rendered(ready!(Pin::new(answer).poll(cx))),
            Self::Passed(answer) => {
                let Ok(response) = ready!(Pin::new(answer).poll(cx));
                response.map(ResponseBody::Service)
            }
        }))
    }
}
