//! Rejections: the answers that the transport gives without the service or in its place.
//!
//! The protocol's renderer decides what each of them looks like to a client.

use std::time::Duration;

/// Why a call is not answered by its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Too many calls are in progress. Nothing was done.
    TooManyCalls {
        /// The time after which the client may retry.
        retry_after: Duration,
    },
    /// The headers of the call are too large. Nothing was done.
    HeadersTooLarge {
        /// Their size as HTTP/2 counts it.
        bytes: usize,
        /// The bytes that HTTP/2 counts for each header besides its name and value.
        bytes_each: usize,
        /// The largest size that is let in.
        bytes_max: usize,
    },
    /// The deadline had passed when the call came. Nothing was done.
    ExpiredBeforeBegin,
    /// The request did not arrive in time. Nothing was done.
    NotReceived,
    /// The memory for requests that are being received is full. Nothing was done.
    ReceiveMemoryFull,
    /// The request does not follow the protocol, or is no message of the method.
    Malformed {
        /// What is wrong with the request.
        what: String,
    },
    /// The request is larger than its method takes.
    RequestTooLarge {
        /// The size of the request and the limit, as text.
        what: String,
    },
    /// There is no such method.
    NoSuchMethod {
        /// The path of the request: text that the client chose.
        path: String,
    },
    /// A feature of the protocol that this server does not implement.
    NotImplemented {
        /// The feature, as text.
        what: String,
    },
    /// The deadline passed before the answer. What the call did is not known.
    CutUnanswered,
    /// The deadline passed while a stream was open.
    CutStream,
    /// The memory for answers that their clients have not read is full.
    AnswerMemoryFull {
        /// Whether the method changes nothing, so that certainly nothing happened.
        is_reading: bool,
    },
    /// The answer failed. What the call did is not known.
    AnswerFailed {
        /// The message of the failure.
        message: String,
    },
}
