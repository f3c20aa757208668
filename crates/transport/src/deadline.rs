//! Deadlines: each call ends at the deadline of its client or of the server.
//!
//! No call waits for ever for its answer to begin, and a stream ends when its client no longer
//! waits for it. A first message whose outcome is known is delivered even if the deadline passed
//! meanwhile.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tower::Service;

use crate::early_answer::EarlyAnswer;
use crate::protocol::Protocol;
use crate::rejection::Rejection;
use crate::response_body::ResponseBody;
use crate::timer::Timer;

/// Seconds within which an answer must begin, with or without a deadline of the client. Decisions
/// take milliseconds, so that this limit ends requests whose body never arrives. A stream begins at
/// once, and may then go on.
const ANSWER_SECONDS_MAX: u64 = 120;

/// When the answer of a call must have begun; in the extensions of every request. Work that leaves
/// a queue after its deadline is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// Whether the deadline has passed at `now`.
    pub fn is_over(self, now: Instant) -> bool {
        now >= self.0
    }
}

/// A layer that answers in place of a service that does not answer in time. Every call that reaches
/// the service has its [`Deadline`] in its extensions.
#[derive(Clone, Debug)]
pub struct Deadlines<S, P> {
    inner: S,
    protocol: P,
}

impl<S, P> Deadlines<S, P> {
    pub(crate) fn new(inner: S, protocol: P) -> Self {
        Self { inner, protocol }
    }
}

impl<S, P, B, R> Service<Request<B>> for Deadlines<S, P>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible, Future: Unpin>,
    P: Protocol,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = Response<DeadlineBody<R, P>>;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future, B, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let protocol = self.protocol;
        let timeout = match protocol.timeout(request.headers()) {
            Ok(Some(Duration::ZERO)) => Err(Rejection::ExpiredBeforeBegin),
            timeout => timeout,
        };
        let state = match timeout {
            Ok(timeout) => {
                let now = Instant::now();
                let stream_deadline = timeout.map(|timeout| now + timeout);
                let answer_latest = now + Duration::from_secs(ANSWER_SECONDS_MAX);
                let deadline =
                    stream_deadline.map_or(answer_latest, |deadline| deadline.min(answer_latest));
                request.extensions_mut().insert(Deadline(deadline));
                DeadlineState::Running {
                    answer: self.inner.call(request),
                    timer: Timer::at(deadline),
                    stream_deadline,
                }
            }
            Err(rejection) => DeadlineState::Answered(EarlyAnswer::of_call(
                protocol.response(&rejection),
                request,
            )),
        };
        DeadlineFuture { state, protocol }
    }
}

/// A call whose answer has not begun.
pub struct DeadlineFuture<F, B, P> {
    state: DeadlineState<F, B>,
    protocol: P,
}

enum DeadlineState<F, B> {
    Answered(EarlyAnswer<B>),
    Running {
        answer: F,
        timer: Timer,
        stream_deadline: Option<Instant>,
    },
}

impl<F, B, P, R> Future for DeadlineFuture<F, B, P>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    B: Body<Data = Bytes> + Unpin,
    P: Protocol,
{
    type Output = Result<Response<DeadlineBody<R, P>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let protocol = self.protocol;
        let (response, deadline) = match &mut self.state {
            DeadlineState::Answered(answer) => (
                ResponseBody::rendered(ready!(Pin::new(answer).poll(cx))),
                None,
            ),
            DeadlineState::Running {
                answer,
                timer,
                stream_deadline,
            } => match Pin::new(answer).poll(cx) {
                Poll::Ready(Ok(response)) => {
                    (response.map(ResponseBody::Service), *stream_deadline)
                }
                Poll::Pending if timer.has_fired(cx) => (
                    ResponseBody::rendered(protocol.response(&Rejection::CutUnanswered)),
                    None,
                ),
                Poll::Pending => return Poll::Pending,
            },
        };
        let timer = deadline.map(Timer::at);
        Poll::Ready(Ok(response.map(|body| DeadlineBody {
            body,
            timer,
            has_sent_data: false,
            protocol,
        })))
    }
}

/// The body of an answer; it ends at the client's deadline.
pub struct DeadlineBody<B, P> {
    body: ResponseBody<B>,
    timer: Option<Timer>,
    has_sent_data: bool,
    protocol: P,
}

impl<B, P> DeadlineBody<B, P> {
    /// Whether the stream is cut before this frame. The first message is delivered even if the
    /// deadline passed meanwhile, because its outcome is known. Later ones are checked here,
    /// because a stream that always has a next message never waits for the timer.
    fn is_cut_before(&mut self, frame: &Frame<Bytes>) -> bool {
        let is_later_data = frame.is_data() && std::mem::replace(&mut self.has_sent_data, true);
        is_later_data && self.timer.as_ref().is_some_and(Timer::is_over)
    }
}

impl<B: Body<Data = Bytes> + Unpin, P: Protocol> Body for DeadlineBody<B, P> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let is_cut = match &polled {
            Poll::Ready(Some(Ok(frame))) => this.is_cut_before(frame),
            Poll::Ready(_) => false,
            Poll::Pending => this.timer.as_mut().is_some_and(|timer| timer.has_fired(cx)),
        };
        if is_cut {
            return Poll::Ready(Some(Ok(this
                .body
                .end_with(this.protocol.trailers(&Rejection::CutStream)))));
        }
        polled
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
    use std::future::{pending, ready};
    use std::sync::Arc;

    use http_body_util::{BodyExt, Empty};

    use super::*;
    use crate::testing::{Plain, ScriptedBody, read, request, sure};

    type Asked = Request<Empty<Bytes>>;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_answered_at_its_deadline_at_the_latest_or_after_two_minutes() {
        for (header, milliseconds) in [
            (Some(("timeout", "20")), 20),
            (None, 120_000),
            (Some(("timeout", "999999999")), 120_000),
        ] {
            let begin = Instant::now();
            let hanging = tower::service_fn(move |request: Asked| {
                let deadline = *request
                    .extensions()
                    .get::<Deadline>()
                    .expect("every call has one");
                assert_eq!(deadline.0 - begin, Duration::from_millis(milliseconds));
                pending::<Result<Response<Empty<Bytes>>, Infallible>>()
            });
            let answer = sure(
                Deadlines::new(hanging, Plain)
                    .call(request(Empty::new(), header))
                    .await,
            );
            assert_eq!(read(answer).await, "CutUnanswered");
            assert_eq!(begin.elapsed().as_millis(), u128::from(milliseconds));
        }
    }

    #[tokio::test]
    async fn a_call_whose_deadline_has_passed_or_is_none_is_not_begun() {
        let unreached = tower::service_fn(
            |_: Asked| -> std::future::Ready<Result<Response<Empty<Bytes>>, Infallible>> {
                unreachable!("it was begun")
            },
        );
        let mut deadlines = Deadlines::new(unreached, Plain);
        for (timeout, expected) in [
            ("0", "ExpiredBeforeBegin"),
            ("soon", "Malformed { what: \"\" }"),
        ] {
            let answer = sure(
                deadlines
                    .call(request(Empty::new(), Some(("timeout", timeout))))
                    .await,
            );
            assert_eq!(read(answer).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_deadline_whether_it_rests_or_not_and_lets_its_source_go() {
        for (count, expected) in [(1, "1 "), (9, "1 ")] {
            let (source, dropped) = ScriptedBody::of_data("1 ", count);
            let mut source = Some(source);
            let service = tower::service_fn(move |_: Asked| {
                ready(Ok(Response::new(source.take().expect("one call"))))
            });
            let mut deadlines = Deadlines::new(service, Plain);
            let mut answer = sure(
                deadlines
                    .call(request(Empty::new(), Some(("timeout", "50"))))
                    .await,
            );
            if count > 1 {
                // Its messages are there at once, and are not read before the deadline.
                tokio::time::advance(Duration::from_millis(50)).await;
            }
            let first = answer
                .body_mut()
                .frame()
                .await
                .expect("a frame")
                .expect("no error");
            assert_eq!(
                first.into_data().expect("a known outcome is delivered"),
                expected
            );
            let second = answer
                .body_mut()
                .frame()
                .await
                .expect("a frame")
                .expect("no error");
            assert_eq!(
                second.into_trailers().expect("it is over")["rejection"],
                "CutStream"
            );
            assert_eq!(Arc::strong_count(&dropped), 1, "its source is gone");
            assert!(answer.body_mut().frame().await.is_none());
        }
    }
}
