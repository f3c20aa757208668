//! The layer of limits of time and memory on the bodies of requests and answers.
//!
//! The layer moves the permit of each call through its phases.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tower::Service;

use crate::admission::CallPermit;
use crate::protocol::Protocol;
use crate::request_body::RequestBody;
use crate::response_body::CountedBody;

/// A service whose requests and answers are limited. Stands inside
/// [`crate::admission_control::AdmissionControl`].
#[derive(Clone, Debug)]
pub struct BoundedBodies<S, P> {
    inner: S,
    protocol: P,
}

impl<S, P> BoundedBodies<S, P> {
    pub(crate) fn new(inner: S, protocol: P) -> Self {
        Self { inner, protocol }
    }
}

impl<S, P, B, R> Service<Request<B>> for BoundedBodies<S, P>
where
    S: Service<
            Request<RequestBody<B, P>>,
            Response = Response<R>,
            Error = Infallible,
            Future: Unpin,
        >,
    P: Protocol,
{
    type Response = Response<CountedBody<R, P>>;
    type Error = Infallible;
    type Future = BoundedFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let permit = request.extensions().get::<Arc<CallPermit>>();
        let permit = Arc::clone(permit.expect("admission control stands around this layer"));
        let protocol = self.protocol;
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&permit), protocol));
        BoundedFuture {
            answer: self.inner.call(request),
            permit: Some(permit),
            protocol,
        }
    }
}

/// A call whose answer has not begun.
pub struct BoundedFuture<F, P> {
    answer: F,
    /// None once the answer has it.
    permit: Option<Arc<CallPermit>>,
    protocol: P,
}

impl<F, P, R> Future for BoundedFuture<F, P>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    P: Protocol,
{
    type Output = Result<Response<CountedBody<R, P>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answer).poll(cx));
        let permit = self
            .permit
            .take()
            .expect("a future is not polled after its end");
        permit.mark_answered();
        let protocol = self.protocol;
        Poll::Ready(Ok(
            response.map(|body| CountedBody::new(body, permit, protocol))
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::Body;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::admission::{Admission, AdmissionLimits, ConnectionShare};
    use crate::methods::Method;
    use crate::testing::{Plain, ScriptedBody, read, request, sure};

    const KIB: usize = 1_024;

    fn admission() -> Arc<Admission> {
        let bytes_max = 800 * KIB;
        let receive = Duration::from_secs(20);
        let limits = AdmissionLimits {
            receiving_bytes_max: bytes_max,
            untaken_bytes_max: bytes_max,
            receive,
            ..Default::default()
        };
        Arc::new(Admission::new(limits))
    }

    fn call<B>(admission: &Arc<Admission>, method: Method, body: B) -> Request<B> {
        let permit = admission
            .admit(&ConnectionShare::default(), method)
            .expect("it is below the limit");
        let mut request = request(body, None);
        request.extensions_mut().insert(permit);
        request
    }

    /// The error that a service meets which reads its whole request.
    async fn received(body: ScriptedBody) -> String {
        let service = tower::service_fn(|request: Request<RequestBody<ScriptedBody, Plain>>| {
            Box::pin(async move {
                let error = request.into_body().collect().await.err();
                Ok(Response::new(
                    error.map(|it| it.to_string()).unwrap_or_default(),
                ))
            })
        });
        let answer =
            BoundedBodies::new(service, Plain).call(call(&admission(), Method::default(), body));
        read(sure(answer.await)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_received_within_limits_of_time_and_memory() {
        assert_eq!(
            received(ScriptedBody::of_data("a message", 9).0).await,
            "NotReceived"
        );
        // An eighth of 800 KiB is 100 messages of a KiB.
        assert_eq!(
            received(ScriptedBody::of_data("ten of 100", 11).0).await,
            "ReceiveMemoryFull"
        );
        assert_eq!(
            received(ScriptedBody::of_data("ten of 100", 10).0).await,
            "NotReceived"
        );
    }

    #[tokio::test]
    async fn an_answer_for_which_there_is_no_room_ends_and_says_whether_something_may_have_happened()
     {
        for is_reading in [true, false] {
            let method = Method {
                is_reading,
                is_standard: false,
            };
            let body = Full::new(Bytes::from(vec![7; 100 * KIB]));
            let service = tower::service_fn(|request: Request<RequestBody<Full<Bytes>, Plain>>| {
                std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())))
            });
            let answer = BoundedBodies::new(service, Plain)
                .call(call(&admission(), method, body))
                .await;
            assert_eq!(
                read(sure(answer)).await,
                format!("AnswerMemoryFull {{ is_reading: {is_reading} }}")
            );
        }
    }

    #[tokio::test]
    async fn a_call_counts_until_its_answer_begins_and_its_pieces_until_they_are_taken() {
        let admission = admission();
        let service = tower::service_fn(|request: Request<RequestBody<Full<Bytes>, Plain>>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())))
        });
        let answer = BoundedBodies::new(service, Plain).call(call(
            &admission,
            Method::default(),
            Full::from("all"),
        ));
        assert_eq!(admission.calls(), 1);
        let mut body = sure(answer.await).into_body();
        assert_eq!(admission.calls(), 0);
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "all");
        assert!(body.is_end_stream());
    }
}
