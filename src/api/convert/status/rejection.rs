//! What the transport answers by itself, as statuses: a call that was not let in, could not be
//! read, or whose answer could not be sent.
//!
//! EXPIRED_IN_QUEUE and OVERLOADED are said only where the method did certainly not run, or changes
//! nothing.

use bookd_transport::Rejection;
use tonic::{Code, Status};

use super::{expired, overloaded, plain, unavailable, unknown};
use crate::proto::v1::ErrorReason as Reason;

/// Characters of the path of an unknown method that the error repeats: the caller may send any
/// path.
const QUOTED_CHARACTERS_MAX: usize = 200;

/// The status of a rejection.
pub(crate) fn rejected(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::TooManyCalls { retry_after } => unavailable(
            Reason::Overloaded,
            *retry_after,
            "too many calls are in progress; nothing happened, retry after the delay that is told",
        ),
        Rejection::ReceiveMemoryFull => overloaded(
            "too many large requests are being received; nothing happened, retry shortly",
        ),
        // Only of a method that changes nothing can be said that nothing happened.
        Rejection::AnswerMemoryFull { is_reading: true } => {
            overloaded("too many answers wait to be read; read them, or ask for smaller pages")
        }
        Rejection::AnswerMemoryFull { is_reading: false } => unknown(
            "too many answers wait to be read, and this one was let go: repeat it with the same \
             request_id",
        ),
        Rejection::AnswerFailed { message } => unknown(format!(
            "the answer failed, what the call did is not known: {message}"
        )),
        Rejection::NotReceived => expired("the request did not arrive in time; nothing happened"),
        Rejection::ExpiredBeforeBegin => {
            expired("the deadline had passed before the call was begun; nothing was done")
        }
        // These two have no reason: EXPIRED_IN_QUEUE would claim that nothing was done. Clients do
        // without one, because most often their own library has answered at the deadline before.
        Rejection::CutUnanswered => Status::deadline_exceeded(
            "the deadline passed before the answer; what the call did is not known: repeat it with \
             the same request_id",
        ),
        Rejection::CutStream => Status::deadline_exceeded(
            "the deadline passed while the stream was open; begin a new one where it ended",
        ),
        Rejection::HeadersTooLarge {
            bytes,
            bytes_each,
            bytes_max,
        } => too_large(format!(
            "the headers of the call are {bytes} bytes with {bytes_each} for each, at most \
             {bytes_max}: send less metadata; nothing was done"
        )),
        Rejection::RequestTooLarge { what } => too_large(format!(
            "the request is too large, send it in parts: {what}"
        )),
        Rejection::Malformed { what } => plain(
            Code::InvalidArgument,
            Reason::MalformedRequest,
            format!("the request cannot be read as the method's message: {what}"),
        ),
        Rejection::NoSuchMethod { path } => no_such_method(path),
        Rejection::NotImplemented { what } => {
            plain(Code::Unimplemented, Reason::NotImplemented, what)
        }
    }
}

fn too_large(message: String) -> Status {
    plain(Code::ResourceExhausted, Reason::RequestTooLarge, message)
}

fn no_such_method(path: &str) -> Status {
    let method: String = path.chars().take(QUOTED_CHARACTERS_MAX).collect();
    let hint = "methods are /package.Service/Method, and server reflection lists them";
    let message = format!("no method {method} here: {hint}");
    plain(Code::Unimplemented, Reason::NotImplemented, message)
}
