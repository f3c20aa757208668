//! The interface between the layers and the protocol that HTTP carries.
//!
//! The layers know HTTP alone: a second protocol is a second implementation of [`Protocol`].

use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Response, StatusCode};

use crate::rejection::Rejection;

/// Any error of a service or a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A protocol over HTTP, with its errors as clients see them.
pub trait Protocol: Copy + Send + Sync + Unpin + 'static {
    /// Follows the messages in the body of a request.
    type MessageProgress: MessageProgress;
    /// The names of all codes with which calls end.
    const CODES: &'static [&'static str];

    /// The names of all reasons that errors may have.
    fn reasons() -> &'static [&'static str];

    /// Whether a request with these headers speaks this protocol.
    fn is_spoken(self, headers: &HeaderMap) -> bool;
    /// The answer to a request of another protocol.
    fn not_spoken(self) -> Response<Bytes>;
    /// How long the client waits, where the headers say it.
    fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, Rejection>;
    /// The rejection that replaces an error of the service's framework. None if these headers or
    /// trailers have no error, or one that clients may see as it is.
    fn replacement(self, headers: &HeaderMap, found: FoundIn<'_>) -> Option<Rejection>;
    /// The message of an error of an answer's body.
    fn message(self, error: BoxError) -> String;
    /// The outcome of a call by the status and headers of its answer; none if the trailers have it.
    /// The extensions may have what spares reading the headers.
    fn outcome(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<CallOutcome>;
    /// The outcome of a call by the trailers of its answer.
    fn outcome_of_trailers(self, trailers: &HeaderMap) -> Option<CallOutcome>;
    /// A rejection as a whole answer.
    fn response(self, rejection: &Rejection) -> Response<Bytes>;
    /// A rejection as the end of an answer that has begun.
    fn trailers(self, rejection: &Rejection) -> HeaderMap;
    /// A rejection as the error of a request's body; the service's framework makes its answer of
    /// it.
    fn error(self, rejection: &Rejection) -> BoxError;
}

/// Follows the messages in the body of a request.
pub trait MessageProgress: Default + Send + Unpin + 'static {
    /// Takes in more bytes of the body.
    fn advance(&mut self, bytes: &[u8]);
    /// The bytes of memory that the service's framework reserves for the messages so far.
    fn bytes_reserved(&self) -> usize;
}

/// Where an error was found, which shows what the service's framework was doing.
#[derive(Clone, Copy, Debug)]
pub enum FoundIn<'a> {
    /// In the headers: the request was being read. The handler was not reached, unless the error is
    /// its own.
    Headers {
        /// The path of the request.
        path: &'a str,
    },
    /// In the trailers: an answer was being written.
    Trailers,
}

/// How a call ended, for the access log and the counts of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// The number of the code in [`Protocol::CODES`].
    pub code: usize,
    /// The number of the reason of an error in [`Protocol::reasons`]; none without one.
    pub reason: Option<usize>,
}
