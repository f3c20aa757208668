//! The layer that replaces the errors of the service's framework by rejections.
//!
//! A client sees an error of the service itself or a rejection: never an error that a library
//! chose, and never an internal error that does not say what happened.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tower::Service;

use crate::protocol::{BoxError, FoundIn, Protocol};
use crate::rejection::Rejection;
use crate::response_body::ResponseBody;

/// A service whose framework's errors are replaced.
#[derive(Clone, Debug)]
pub struct ErrorMapping<S, P> {
    inner: S,
    protocol: P,
}

impl<S, P> ErrorMapping<S, P> {
    pub(crate) fn new(inner: S, protocol: P) -> Self {
        Self { inner, protocol }
    }
}

impl<S, P, B, R> Service<Request<B>> for ErrorMapping<S, P>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible, Future: Unpin>,
    P: Protocol,
{
    type Response = Response<MappedBody<R, P>>;
    type Error = Infallible;
    type Future = MappedFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let uri = request.uri().clone();
        MappedFuture {
            answer: self.inner.call(request),
            uri,
            protocol: self.protocol,
        }
    }
}

/// A call whose answer has not begun.
pub struct MappedFuture<F, P> {
    answer: F,
    uri: Uri,
    protocol: P,
}

impl<F, P, R> Future for MappedFuture<F, P>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    P: Protocol,
{
    type Output = Result<Response<MappedBody<R, P>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answer).poll(cx));
        let protocol = self.protocol;
        let response = match protocol.replacement(
            response.headers(),
            FoundIn::Headers {
                path: self.uri.path(),
            },
        ) {
            Some(rejection) => ResponseBody::rendered(protocol.response(&logged(rejection))),
            None => response.map(ResponseBody::Service),
        };
        Poll::Ready(Ok(response.map(|body| MappedBody { body, protocol })))
    }
}

/// The body of an answer. Errors in its trailers are replaced, and an error of the body becomes
/// trailers.
pub struct MappedBody<B, P> {
    body: ResponseBody<B>,
    protocol: P,
}

impl<B, P> Body for MappedBody<B, P>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    P: Protocol,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let replacement = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                match trailers
                    .and_then(|trailers| this.protocol.replacement(trailers, FoundIn::Trailers))
                {
                    Some(replacement) => replacement,
                    None => return Poll::Ready(Some(Ok(frame))),
                }
            }
            Some(Err(error)) => Rejection::AnswerFailed {
                message: this.protocol.message(error.into()),
            },
        };
        let trailers = this.protocol.trailers(&logged(replacement));
        Poll::Ready(Some(Ok(this.body.end_with(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Logs an answer that failed: it is a fault of the server, which its operator must learn of.
fn logged(rejection: Rejection) -> Rejection {
    if let Rejection::AnswerFailed { message } = &rejection {
        tracing::error!(message, "an answer failed; the caller is told UNKNOWN");
    }
    rejection
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use http_body_util::Empty;

    use super::*;
    use crate::testing::{Plain, ScriptedBody, read, request, sure, trailers};

    async fn mapped(headers: Option<&str>, frames: Vec<Result<Frame<Bytes>, BoxError>>) -> String {
        let mut answer = Response::new(ScriptedBody::new(frames).0);
        if let Some(error) = headers {
            answer.headers_mut().extend(trailers("error", error));
        }
        let mut answer = Some(answer);
        let service = tower::service_fn(|_: Request<Empty<Bytes>>| {
            ready(Ok(answer.take().expect("one call")))
        });
        let mut mapping = ErrorMapping::new(service, Plain);
        read(sure(mapping.call(request(Empty::new(), None)).await)).await
    }

    #[tokio::test]
    async fn an_error_of_the_framework_is_replaced_wherever_it_is_found_and_the_rest_passes() {
        let data = || Ok(Frame::data(Bytes::from_static(b"1 ")));
        assert_eq!(
            mapped(Some("what"), vec![data()]).await,
            "NoSuchMethod { path: \"/s/m\" }"
        );
        let frames = vec![
            data(),
            Ok(Frame::trailers(trailers("error", "why"))),
            data(),
        ];
        assert_eq!(
            mapped(None, frames).await,
            "1 AnswerFailed { message: \"why\" }"
        );
        let frames = vec![data(), Err("how".into()), data()];
        assert_eq!(
            mapped(None, frames).await,
            "1 AnswerFailed { message: \"how\" }"
        );
        let frames = vec![
            data(),
            data(),
            Ok(Frame::trailers(trailers("rejection", "its own"))),
        ];
        assert_eq!(mapped(None, frames).await, "1 1 its own");
    }
}
