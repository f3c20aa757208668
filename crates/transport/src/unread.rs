//! Calls that are answered without reading their request.
//!
//! The answer waits for the rest of the request, within limits: what comes after its stream is closed counts as an error
//! of the peer, of which HTTP/2 takes 1,024 on a connection before it closes that.

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

/// How long the rest of a request is waited for that is answered without it. What is sent comes within moments.
const REST_WAIT: Duration = Duration::from_secs(1);

/// What is still to come of a request that is answered without it.
pub(crate) struct Rest<P> {
    timer: Timer,
    /// Room for waiting, if it is not that of a call.
    pub(crate) permit: P,
}

impl<P> Rest<P> {
    pub(crate) fn new(permit: P) -> Self {
        Self {
            timer: Timer::at(Instant::now() + REST_WAIT),
            permit,
        }
    }

    /// Passes over what comes, until it ends or has been waited for.
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

/// The answer to a request that was not read.
pub struct Unread<B> {
    answer: Option<Response<Bytes>>,
    /// None when all of the request is there, or when too many are waited for.
    rest: Option<(B, Rest<RestPermit>)>,
}

impl<B: Body<Data = Bytes> + Unpin> Unread<B> {
    /// Of a request with this body, if there is room to wait for the rest of it.
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

    /// Of a call that was let in, and is counted no longer. Without admission nothing is waited for.
    pub(crate) fn of_call(answer: Response<Bytes>, request: Request<B>) -> Self {
        let permit = request.extensions().get::<Arc<CallPermit>>().cloned();
        Self::new(answer, request.into_body(), || permit?.wait_for_rest())
    }
}

impl<B: Body<Data = Bytes> + Unpin> Future for Unread<B> {
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

/// A call that a layer has passed on, or has answered without reading its request.
pub enum PassedOrAnswered<F, B> {
    /// Answered.
    Unread(Unread<B>),
    /// Passed on.
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
            Self::Unread(unread) => ResponseBody::rendered(ready!(Pin::new(unread).poll(cx))),
            Self::Passed(answer) => {
                let Ok(response) = ready!(Pin::new(answer).poll(cx));
                response.map(ResponseBody::Service)
            }
        }))
    }
}
