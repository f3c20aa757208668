//! Helpers for the tests of the layers: a protocol with one header for each fact, and scripted
//! bodies.
//!
//! Nothing here is in a release.

use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::protocol::{BoxError, CallOutcome, FoundIn, MessageProgress, Protocol};
use crate::rejection::Rejection;

/// The reasons of errors.
const REASONS: [&str; 2] = ["FULL", "LATE"];

/// Shows a rejection as its name in Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

/// A framing in which every byte of a body is a message that reserves a KiB.
#[derive(Default)]
pub(crate) struct Counted(usize);

impl MessageProgress for Counted {
    fn advance(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() * 1_024;
    }

    fn bytes_reserved(&self) -> usize {
        self.0
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| value.to_str().expect("it is text").to_owned())
}

impl Protocol for Plain {
    type MessageProgress = Counted;
    const CODES: &'static [&'static str] = &["Ended", "Foreign"];

    fn reasons() -> &'static [&'static str] {
        &REASONS
    }

    fn is_spoken(self, headers: &HeaderMap) -> bool {
        !headers.contains_key("foreign")
    }

    fn not_spoken(self) -> Response<Bytes> {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response
    }

    fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, Rejection> {
        let milliseconds = |text: String| text.parse().map(Duration::from_millis);
        text(headers, "timeout")
            .map(milliseconds)
            .transpose()
            .map_err(|_| Rejection::Malformed {
                what: String::new(),
            })
    }

    fn replacement(self, headers: &HeaderMap, found: FoundIn<'_>) -> Option<Rejection> {
        let message = text(headers, "error")?;
        Some(match found {
            FoundIn::Headers { path } => Rejection::NoSuchMethod {
                path: path.to_owned(),
            },
            FoundIn::Trailers => Rejection::AnswerFailed { message },
        })
    }

    fn message(self, error: BoxError) -> String {
        error.to_string()
    }

    fn outcome(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        _: &Extensions,
    ) -> Option<CallOutcome> {
        let foreign = || CallOutcome {
            code: 1,
            reason: None,
        };
        self.outcome_of_trailers(headers)
            .or_else(|| (status != StatusCode::OK).then(foreign))
    }

    fn outcome_of_trailers(self, trailers: &HeaderMap) -> Option<CallOutcome> {
        text(trailers, "reason").map(|reason| CallOutcome {
            code: 0,
            reason: REASONS.iter().position(|it| *it == reason),
        })
    }

    fn response(self, rejection: &Rejection) -> Response<Bytes> {
        Response::new(Bytes::from(format!("{rejection:?}")))
    }

    fn trailers(self, rejection: &Rejection) -> HeaderMap {
        trailers("rejection", &format!("{rejection:?}"))
    }

    fn error(self, rejection: &Rejection) -> BoxError {
        format!("{rejection:?}").into()
    }
}

/// One header, or trailer.
pub(crate) fn trailers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        name.parse().expect("a name"),
        HeaderValue::from_str(value).expect("a value"),
    )])
}

/// A request with this body, and with `header` if one is given.
pub(crate) fn request<B>(body: B, header: Option<(&'static str, &str)>) -> Request<B> {
    let mut request = Request::new(body);
    *request.uri_mut() = "/s/m".parse().expect("a path");
    if let Some((name, value)) = header {
        request.headers_mut().extend(trailers(name, value));
    }
    request
}

/// The whole of an answer as text: its data, then the rejection in its trailers.
pub(crate) async fn read<B: Body<Data = Bytes, Error: Debug>>(response: Response<B>) -> String {
    let body = response.into_body().collect().await.expect("no error");
    let rejection = body
        .trailers()
        .and_then(|it| text(it, "rejection"))
        .unwrap_or_default();
    let data = body.to_bytes();
    format!("{}{rejection}", str::from_utf8(&data).expect("it is text"))
}

/// A body that yields these frames one after the other. It ends if trailers are among them;
/// otherwise it is pending for ever. The `Arc` that `new` returns shows when the body is dropped.
pub(crate) struct ScriptedBody {
    frames: std::vec::IntoIter<Result<Frame<Bytes>, BoxError>>,
    ends: bool,
    _dropped: Arc<()>,
}

impl ScriptedBody {
    pub(crate) fn new(frames: Vec<Result<Frame<Bytes>, BoxError>>) -> (Self, Arc<()>) {
        let dropped = Arc::new(());
        let ends = frames.iter().flatten().any(Frame::is_trailers);
        (
            Self {
                frames: frames.into_iter(),
                ends,
                _dropped: Arc::clone(&dropped),
            },
            dropped,
        )
    }

    /// A body of `count` frames with these bytes.
    pub(crate) fn of_data(data: &'static str, count: usize) -> (Self, Arc<()>) {
        Self::new(
            (0..count)
                .map(|_| Ok(Frame::data(Bytes::from_static(data.as_bytes()))))
                .collect(),
        )
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.next() {
            None if !self.ends => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }
}

/// Unwraps a result that cannot fail.
pub(crate) fn sure<T>(result: Result<T, Infallible>) -> T {
    let Ok(it) = result;
    it
}
