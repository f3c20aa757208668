//! The layer that checks the headers of requests: only requests of the protocol with headers of a
//! limited size pass.
//!
//! A request that is refused here has not been read.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body::Body;
use tower::Service;

use crate::early_answer::{EarlyAnswer, PassedOrAnswered};
use crate::protocol::Protocol;
use crate::rejection::Rejection;
use crate::response_body::ResponseBody;

/// Bytes of a call's headers as HTTP/2 counts them: names, values, and 32 for each header. Tokens
/// of 8 KiB fit.
const HEADERS_BYTES_MAX: usize = 16 * 1_024;
/// Bytes that each header counts besides its name and value (RFC 9113 §6.5.2).
const HEADER_BYTES: usize = 32;

/// A service that only requests of its protocol with headers of a limited size reach.
#[derive(Clone, Debug)]
pub struct RequestCheck<S, P> {
    inner: S,
    protocol: P,
}

impl<S, P> RequestCheck<S, P> {
    pub(crate) fn new(inner: S, protocol: P) -> Self {
        Self { inner, protocol }
    }
}

impl<S, P, B, R> Service<Request<B>> for RequestCheck<S, P>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible, Future: Unpin>,
    P: Protocol,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Infallible;
    type Future = PassedOrAnswered<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !self.protocol.is_spoken(request.headers()) {
            return PassedOrAnswered::Answered(EarlyAnswer::of_call(
                self.protocol.not_spoken(),
                request,
            ));
        }
        let bytes = headers_bytes(request.uri(), request.headers());
        if bytes > HEADERS_BYTES_MAX {
            let (bytes_each, bytes_max) = (HEADER_BYTES, HEADERS_BYTES_MAX);
            let answer = self.protocol.response(&Rejection::HeadersTooLarge {
                bytes,
                bytes_each,
                bytes_max,
            });
            return PassedOrAnswered::Answered(EarlyAnswer::of_call(answer, request));
        }
        PassedOrAnswered::Passed(self.inner.call(request))
    }
}

/// The path and the headers, without the three pseudo-headers that are short.
fn headers_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_BYTES
    };
    uri.path().len() + headers.iter().map(header).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use http_body_util::Empty;

    use super::*;
    use crate::testing::{Plain, read, request, sure};

    #[tokio::test]
    async fn only_calls_of_the_protocol_with_headers_of_some_kib_reach_the_service() {
        let service = tower::service_fn(|_: Request<Empty<Bytes>>| {
            ready(Ok(Response::new(String::from("served"))))
        });
        let mut check = RequestCheck::new(service, Plain);
        let mut answer = |header| check.call(request(Empty::new(), header));
        assert_eq!(
            sure(answer(Some(("foreign", ""))).await).status(),
            http::StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
        // The path is 4 bytes, the name 6.
        let fits = "x".repeat(HEADERS_BYTES_MAX - 4 - 6 - HEADER_BYTES);
        assert_eq!(
            read(sure(answer(Some(("header", &fits))).await)).await,
            "served"
        );
        let rejected = read(sure(answer(Some(("header", &format!("{fits}x")))).await)).await;
        assert_eq!(
            rejected,
            "HeadersTooLarge { bytes: 16385, bytes_each: 32, bytes_max: 16384 }"
        );
    }
}
