//! The layer around the routes: deadlines, who calls, and typed errors in place of tonic's own.
//!
//! What leaves here is never INTERNAL, and no call waits for ever for its answer to begin. Our own errors always
//! carry `google.rpc` details, so an error without them is tonic's (or that of a standard service, whose codes pass).

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bookd_transport::deadline::{self, Timer};
use bookd_transport::{Admission, CallPermit, ConnectionShare, Deadline, Peer};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::api::access_log::CallRecord;
use crate::api::convert::status;
use crate::api::request_body::{RequestBody, Rest};

/// `ErrorInfo.domain` of every error.
pub const ERROR_DOMAIN: &str = "bookd";
/// Bytes of one request message, for `max_decoding_message_size` of every service: the largest documented request
/// (10,000 busy periods) is a third of it.
pub const REQUEST_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes of a call's headers as HTTP/2 counts them: names, values, and 32 for each. Tokens of 8 KiB fit.
pub const HEADERS_BYTES_MAX: usize = 16 * 1_024;
/// What each header counts beside its name and value.
const HEADER_BYTES: usize = 32;
/// Time within which an answer begins, whatever deadline the client sets or leaves out. Decisions take milliseconds;
/// what this ends is a request whose body never arrives. Streams begin at once and may then go on.
pub const ANSWER_SECONDS_MAX: u64 = 120;
/// Characters of a client's text that an error message repeats.
const QUOTED_CHARACTERS_MAX: usize = 200;

const GRPC_TIMEOUT: &str = "grpc-timeout";
const GRPC_STATUS: &str = "grpc-status";
const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";
const GRPC_CONTENT_TYPE: &str = "application/grpc";
const OK: &[u8] = b"0";
/// How the paths of the standard services begin: health and reflection.
const STANDARD: &str = "/grpc.";
/// How the methods that change nothing begin.
const READING: [&str; 5] = ["Get", "List", "Query", "Explain", "Watch"];

/// Routes with deadlines and typed errors.
#[derive(Clone, Debug)]
pub struct Wire<S> {
    routes: S,
    is_logging: bool,
    room: Arc<Admission>,
}

impl<S> Wire<S> {
    /// Wraps `tonic::service::Routes`, or a service around them. Copies share their room.
    pub fn new(routes: S) -> Wire<S> {
        Wire::within(Arc::default(), routes)
    }

    /// The same, in this room.
    pub fn within(room: Arc<Admission>, routes: S) -> Wire<S> {
        Wire { routes, is_logging: false, room }
    }

    /// Whether every call gets a line in the log.
    pub fn logging(self, is_logging: bool) -> Wire<S> {
        Wire { is_logging, ..self }
    }

    /// Answers a request without reading it.
    fn refuse<F, B>(
        &self,
        request: Request<B>,
        share: &ConnectionShare,
        answer: Response<Body>,
        record: Option<CallRecord>,
    ) -> WireFuture<F, B>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let rest = Rest::of(request.into_body(), &self.room, share);
        WireFuture { state: State::Answered { answer: Some(answer), rest }, record }
    }
}

impl<S, B> tower::Service<Request<B>> for Wire<S>
where
    S: tower::Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible, Future: Unpin>,
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = WireFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> WireFuture<S::Future, B> {
        let record = self.is_logging.then(|| CallRecord::begin(request.uri().path()));
        // Before anything else: what a full server does not take up must cost it next to nothing.
        let share = request.extensions().get::<ConnectionShare>().cloned().unwrap_or_default();
        let entered = match self.room.admit(&share, request.uri().path().starts_with(STANDARD)) {
            Ok(entered) => entered,
            Err(again) => return self.refuse(request, &share, status::too_many_calls(again), record),
        };
        if !is_grpc(request.headers()) {
            return self.refuse(request, &share, unsupported_media_type(), record);
        }
        let headers_bytes = headers_bytes(request.uri(), request.headers());
        if headers_bytes > HEADERS_BYTES_MAX {
            return self.refuse(request, &share, headers_too_large(headers_bytes).into_http(), record);
        }
        let timeout = match timeout(request.headers()) {
            Ok(timeout) => timeout,
            Err(status) => return self.refuse(request, &share, status.into_http(), record),
        };
        if timeout == Some(Duration::ZERO) {
            return self.refuse(request, &share, expired_before_begin().into_http(), record);
        }
        let now = Instant::now();
        let stream_deadline = timeout.map(|timeout| now + timeout);
        let answer_latest = now + Duration::from_secs(ANSWER_SECONDS_MAX);
        let deadline = Deadline(stream_deadline.map_or(answer_latest, |deadline| deadline.min(answer_latest)));
        request.extensions_mut().insert(deadline);
        request.extensions_mut().insert(Arc::clone(&entered));
        if request.extensions().get::<Peer>().is_none() {
            request.extensions_mut().insert(Peer::default());
        }
        let uri = request.uri().clone();
        let body = |body| RequestBody::new(body, Arc::clone(&self.room), share.clone(), Arc::clone(&entered), now);
        let answer = self.routes.call(request.map(body));
        let room = Arc::clone(&self.room);
        let holding = Holding { entered, room, share, is_reading: is_reading(uri.path()) };
        let timer = Timer::at(deadline.0);
        WireFuture { state: State::Running { answer, uri, timer, stream_deadline, holding: Some(holding) }, record }
    }
}

/// A call whose answer has not begun.
pub struct WireFuture<F, B> {
    state: State<F, B>,
    record: Option<CallRecord>,
}

enum State<F, B> {
    Answered { answer: Option<Response<Body>>, rest: Option<Rest<B>> },
    Running { answer: F, uri: Uri, timer: Timer, stream_deadline: Option<Instant>, holding: Option<Holding> },
}

impl<F, B> Future for WireFuture<F, B>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match &mut self.state {
            State::Answered { answer, rest } => {
                if rest.as_mut().is_some_and(|rest| rest.poll_end(cx).is_pending()) {
                    return Poll::Pending;
                }
                *rest = None;
                ResponseBody::without_deadline(answer.take().expect("a future is not polled after its end"))
            }
            State::Running { answer, uri, timer, stream_deadline, holding } => match Pin::new(answer).poll(cx) {
                Poll::Ready(Ok(mut response)) => {
                    if let Some(status) = replacement(response.headers(), Place::Request { method: uri.path() }) {
                        response = status.into_http();
                    }
                    if let Some(holding) = holding {
                        holding.entered.mark_answered();
                    }
                    response.map(|body| ResponseBody {
                        holding: holding.take(),
                        ..ResponseBody::new(body, *stream_deadline)
                    })
                }
                Poll::Pending if timer.has_fired(cx) => ResponseBody::without_deadline(cut_unanswered().into_http()),
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(mut record) = self.record.take() {
            match response.headers().contains_key(GRPC_STATUS) || response.status() == StatusCode::OK {
                true => record.note(response.headers()),
                false => record.note_foreign(),
            }
            response.body_mut().record = Some(record);
        }
        Poll::Ready(Ok(response))
    }
}

/// What a call holds until its answer is taken.
struct Holding {
    entered: Arc<CallPermit>,
    room: Arc<Admission>,
    share: ConnectionShare,
    /// The method changes nothing.
    is_reading: bool,
}

/// The body of an answer, which ends at the client's deadline and whose trailers are translated.
pub struct ResponseBody {
    body: Body,
    timer: Option<Timer>,
    has_sent_data: bool,
    is_over: bool,
    record: Option<CallRecord>,
    holding: Option<Holding>,
}

impl ResponseBody {
    fn new(body: Body, deadline: Option<Instant>) -> ResponseBody {
        let timer = deadline.map(Timer::at);
        ResponseBody { body, timer, has_sent_data: false, is_over: false, record: None, holding: None }
    }

    fn without_deadline(response: Response<Body>) -> Response<ResponseBody> {
        response.map(|body| ResponseBody::new(body, None))
    }

    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_over = true;
        // The source of a stream is let go at once, and not when the peer has read what is buffered.
        self.body = Body::empty();
        let trailers = trailers(status);
        if let Some(record) = &mut self.record {
            record.note(&trailers);
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    /// The frame, counted for as long as the client has not taken it; or why there is no room for it.
    fn kept(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        match (&self.holding, frame.into_data()) {
            (Some(holding), Ok(data)) => {
                let kept = holding.room.keep(data, &holding.share).map(Frame::data);
                kept.ok_or_else(|| status::no_room_to_answer(holding.is_reading))
            }
            (None, Ok(data)) => Ok(Frame::data(data)),
            (_, Err(other)) => Ok(other),
        }
    }

    /// The first message is delivered even if the deadline passed meanwhile: its outcome is known, and better told.
    /// A stream that always has a next message would otherwise never see its deadline.
    fn is_cut_before(&mut self, frame: &Frame<Bytes>) -> bool {
        let is_later_data = frame.is_data() && std::mem::replace(&mut self.has_sent_data, true);
        is_later_data && self.timer.as_ref().is_some_and(|timer| Instant::now() >= timer.deadline)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        match http_body::Body::poll_frame(Pin::new(&mut this.body), cx) {
            Poll::Ready(Some(Ok(frame))) if this.is_cut_before(&frame) => this.end_with(&cut_stream()),
            Poll::Ready(Some(Ok(frame))) => {
                match frame.trailers_ref().and_then(|trailers| replacement(trailers, Place::Answer)) {
                    Some(status) => this.end_with(&status),
                    None => {
                        if let (Some(record), Some(trailers)) = (&mut this.record, frame.trailers_ref()) {
                            record.note(trailers);
                        }
                        match this.kept(frame) {
                            Ok(frame) => Poll::Ready(Some(Ok(frame))),
                            Err(status) => this.end_with(&status),
                        }
                    }
                }
            }
            Poll::Ready(Some(Err(status))) => this.end_with(&not_ours(&status)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.timer.as_mut().is_some_and(|timer| timer.has_fired(cx)) => {
                this.end_with(&cut_stream())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// Where an error was found, which tells what tonic was doing.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// In the headers: the request was being read, and the handler was not reached unless it answered itself.
    Request { method: &'a str },
    /// In the trailers: an answer was being written.
    Answer,
}

/// What to say instead of the status in these headers or trailers; nothing if it is OK or one of ours.
fn replacement(headers: &HeaderMap, place: Place<'_>) -> Option<Status> {
    let code = headers.get(GRPC_STATUS)?;
    if code.as_bytes() == OK {
        return None;
    }
    let is_ours = headers.contains_key(GRPC_STATUS_DETAILS);
    let code = Code::from_bytes(code.as_bytes());
    let status = || Status::from_header_map(headers).unwrap_or_else(|| Status::unknown(""));
    match (code, place) {
        // A handler must not answer so; whatever it did, its effect is not known.
        (Code::Internal, _) if is_ours => Some(not_ours(&status())),
        (_, _) if is_ours => None,
        (Code::Internal, Place::Request { .. }) => Some(malformed(status().message())),
        (Code::Internal, Place::Answer) => Some(not_ours(&status())),
        (Code::OutOfRange, Place::Request { .. }) => Some(too_large(status().message())),
        (Code::Unimplemented, Place::Request { method }) if status().message().is_empty() => {
            let method: String = method.chars().take(QUOTED_CHARACTERS_MAX).collect();
            let hint = "methods are /package.Service/Method, and server reflection lists them";
            Some(with_reason(Code::Unimplemented, "NOT_IMPLEMENTED", format!("no method {method} here: {hint}")))
        }
        // tonic says what it does not do, such as a compression.
        (Code::Unimplemented, Place::Request { .. }) => {
            Some(with_reason(Code::Unimplemented, "NOT_IMPLEMENTED", status().message().to_owned()))
        }
        _ => None,
    }
}

fn with_reason(code: Code, reason: &str, message: String) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new()))
}

fn is_reading(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|method| READING.iter().any(|it| method.starts_with(it)))
}

fn malformed(what: &str) -> Status {
    let message = format!("the request cannot be read as the method's message: {what}");
    with_reason(Code::InvalidArgument, "MALFORMED_REQUEST", message)
}

fn too_large(what: &str) -> Status {
    let message = format!("the request is too large, send it in parts: {what}");
    with_reason(Code::ResourceExhausted, "REQUEST_TOO_LARGE", message)
}

/// The path and the headers, without the three pseudo-headers that are short.
fn headers_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + HEADER_BYTES;
    uri.path().len() + headers.iter().map(header).sum::<usize>()
}

fn headers_too_large(bytes: usize) -> Status {
    let message = format!(
        "the headers of the call are {bytes} bytes with {HEADER_BYTES} for each, at most {HEADERS_BYTES_MAX}: send less \
         metadata; nothing was done"
    );
    with_reason(Code::ResourceExhausted, "REQUEST_TOO_LARGE", message)
}

fn expired_before_begin() -> Status {
    let message = "the deadline had passed before the call was begun; nothing was done".to_owned();
    with_reason(Code::DeadlineExceeded, "EXPIRED_IN_QUEUE", message)
}

/// No reason is given: EXPIRED_IN_QUEUE would claim that nothing was done. Clients do without one, for most often their
/// own library has answered at the deadline before.
fn cut_unanswered() -> Status {
    Status::deadline_exceeded(
        "the deadline passed before the answer; what the call did is not known: repeat it with the same request_id",
    )
}

fn cut_stream() -> Status {
    Status::deadline_exceeded("the deadline passed while the stream was open; begin a new one where it ended")
}

fn not_ours(status: &Status) -> Status {
    tracing::error!(message = status.message(), "an answer failed; the caller is told UNKNOWN");
    status::outcome_unknown(format!("the answer failed, what the call did is not known: {}", status.message()))
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only if the message cannot be a header, although it is percent-encoded.
        trailers.insert(GRPC_STATUS, HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

/// gRPC over HTTP/2 with any message format; `application/grpc-web` is another protocol.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|content_type| content_type.as_bytes().strip_prefix(GRPC_CONTENT_TYPE.as_bytes()))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn unsupported_media_type() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// The client's timeout; `Err` with the answer if it is not one.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let wrong = || malformed("grpc-timeout is 1 to 8 digits and one of the units H, M, S, m, u, n");
    headers.get(GRPC_TIMEOUT).map(|value| deadline::parse_timeout(value.as_bytes()).ok_or_else(wrong)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_never_leaves_wherever_it_was_found() {
        let bare = Status::internal("failed");
        let detailed = with_reason(Code::Internal, "ANY", "failed".to_owned());
        for (status, place, expected) in [
            (&bare, Place::Request { method: "/s/m" }, Code::InvalidArgument),
            (&bare, Place::Answer, Code::Unknown),
            (&detailed, Place::Request { method: "/s/m" }, Code::Unknown),
            (&detailed, Place::Answer, Code::Unknown),
        ] {
            assert_eq!(replacement(&trailers(status), place).map(|status| status.code()), Some(expected));
        }
    }

    #[test]
    fn who_is_told_unknown_is_told_the_reason_of_it() {
        let failed = replacement(&trailers(&Status::internal("failed")), Place::Answer).expect("it is replaced");
        for status in [failed, status::no_room_to_answer(false)] {
            let reason = status.get_details_error_info().map(|it| it.reason);
            assert_eq!((status.code(), reason.as_deref()), (Code::Unknown, Some("COMMIT_UNKNOWN")));
            assert!(replacement(&trailers(&status), Place::Answer).is_none(), "it passes as it is");
        }
    }

    #[test]
    fn errors_with_details_and_codes_of_standard_services_pass() {
        let ours = with_reason(Code::OutOfRange, "REVISION_COMPACTED", "gone".to_owned());
        for status in [ours, Status::not_found("service not registered"), Status::ok("")] {
            assert!(replacement(&trailers(&status), Place::Request { method: "/s/m" }).is_none());
            assert!(replacement(&trailers(&status), Place::Answer).is_none());
        }
    }
}
