//! What the layers ask of the protocol that is spoken through them.
//!
//! The layers know HTTP and nothing of what it carries: a second protocol is a second implementation of this.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use crate::rejection::Rejection;

/// An error of whatever kind, as services and bodies have it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A protocol over HTTP, with the errors of it as callers see them.
pub trait Protocol: Copy + Send + Sync + Unpin + 'static {
    /// Follows the messages in the body of a request.
    type MessageProgress: MessageProgress;

    /// Whether a request with these headers is of this protocol.
    fn is_spoken(self, headers: &HeaderMap) -> bool;
    /// The answer to a request of another protocol.
    fn not_spoken(self) -> Response<Bytes>;
    /// How long the caller waits, if it says so.
    fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, Rejection>;
    /// What to answer instead of an error that the service's framework made; none if these headers or trailers hold no
    /// error, or one that callers may see as it is.
    fn replacement(self, headers: &HeaderMap, found: FoundIn<'_>) -> Option<Rejection>;
    /// What an error of the body of an answer says.
    fn message(self, error: BoxError) -> String;
    /// How a call has ended whose answer begins so; none if its trailers will tell.
    fn outcome(self, status: StatusCode, headers: &HeaderMap) -> Option<CallOutcome>;
    /// How a call has ended with these trailers.
    fn outcome_of_trailers(self, trailers: &HeaderMap) -> Option<CallOutcome>;
    /// A rejection as a whole answer.
    fn response(self, rejection: &Rejection) -> Response<Bytes>;
    /// A rejection as the end of an answer that has begun.
    fn trailers(self, rejection: &Rejection) -> HeaderMap;
    /// A rejection as the error of a request's body, from which the service's framework makes its answer.
    fn error(self, rejection: &Rejection) -> BoxError;
}

/// How far the messages of a request's body have come.
pub trait MessageProgress: Default + Send + Unpin + 'static {
    /// Takes in more bytes of the body.
    fn advance(&mut self, bytes: &[u8]);
    /// The memory that whoever reads them sets aside, in bytes.
    fn bytes_set_aside(&self) -> usize;
}

/// Where an error was found, which tells what the service's framework was doing.
#[derive(Clone, Copy, Debug)]
pub enum FoundIn<'a> {
    /// In the headers: the request was being read, and the handler was not reached unless it answered itself.
    Headers {
        /// Of the request.
        path: &'a str,
    },
    /// In the trailers: an answer was being written.
    Trailers,
}

/// How a call ended, for the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// The protocol's code.
    pub code: &'static str,
    /// The reason of an error; empty if it has none.
    pub reason: String,
}
