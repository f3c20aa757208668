//! What the transport answers by itself, without the service or in its place.
//!
//! What each of them looks like to a caller is decided by whoever renders it.

use std::time::Duration;

/// Why a call is not answered by its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Too many calls are in progress. Nothing was done.
    TooManyCalls {
        /// After this time the caller may come again.
        retry_after: Duration,
    },
    /// The headers are larger than a service should have to look at. Nothing was done.
    HeadersTooLarge {
        /// As HTTP/2 counts them.
        bytes: usize,
        /// What each of them counts beside its name and value.
        bytes_each: usize,
        /// How many there may be.
        bytes_max: usize,
    },
    /// The deadline had passed when the call came. Nothing was done.
    ExpiredBeforeBegin,
    /// The request did not arrive in time. Nothing was done.
    NotReceived,
    /// There is no room for a large request. Nothing was done.
    NoRoomToReceive,
    /// The request is none of the protocol, or none of the method.
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// The request is larger than its method takes.
    RequestTooLarge {
        /// How large it is and may be.
        what: String,
    },
    /// There is no such method.
    NoSuchMethod {
        /// What was asked for: text of the caller.
        path: String,
    },
    /// The protocol has it, and this server has not.
    NotImplemented {
        /// What is not there.
        what: String,
    },
    /// The deadline passed before the answer. What the call did is not known.
    CutUnanswered,
    /// The deadline passed while a stream was open.
    CutStream,
    /// There is no room for an answer that nobody reads.
    NoRoomToAnswer {
        /// The method changes nothing, so that certainly nothing happened.
        is_reading: bool,
    },
    /// The answer failed. What the call did is not known.
    AnswerFailed {
        /// What the failure says of itself.
        message: String,
    },
}
