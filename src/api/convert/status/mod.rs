//! Errors as clients see them: each failure has one code and one reason, with `google.rpc` details.
//!
//! This folder alone decides codes. UNAVAILABLE means that certainly nothing happened; where that
//! is not known the code is UNKNOWN.

mod error_answer;
mod not_allowed;
mod refusal;
mod rejection;
mod slot;

use std::time::Duration;

use tonic::{Code, Status};

use crate::api::no_answer::NoAnswer;
use crate::engine::Failure;
use crate::proto::v1::ErrorReason;
use bookd_core::ids::Revision;
use error_answer::{Detail, ErrorAnswer};

pub(crate) use not_allowed::not_allowed;
pub(crate) use rejection::rejected;

/// `ErrorInfo.domain` of every error.
pub const ERROR_DOMAIN: &str = "bookd";
/// Violations that one error spells out; further ones are counted. The limit keeps the details
/// below 6 KiB of the header list.
const VIOLATIONS_MAX: usize = 16;
/// Violations that the message of an error spells out, which a person reads without the details.
const MESSAGE_VIOLATIONS_MAX: usize = 3;
/// Characters of one description.
const DESCRIPTION_CHARACTERS_MAX: usize = 240;
/// When a client may retry after a full queue.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// When a client may retry after a store that refused, or a server that stops.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// The status of a call that has no answer.
pub(crate) fn no_answer(why: &NoAnswer) -> Status {
    match why {
        NoAnswer::Failed(failure) => failed(failure),
        NoAnswer::NotAllowed(error) => not_allowed(error),
    }
}

/// The status of a failure of the engine.
fn failed(failure: &Failure) -> Status {
    use ErrorReason as Reason;
    match failure {
        Failure::Refused(refused) => refusal::refused(refused).status(),
        Failure::Overloaded => overloaded("the queue is full; nothing happened, retry shortly"),
        Failure::ShuttingDown => unavailable(
            Reason::ShuttingDown,
            RETRY_LATER,
            "the server is shutting down; nothing happened, retry on another or later",
        ),
        Failure::StoreUnavailable(why) => unavailable(
            Reason::StoreUnavailable,
            RETRY_LATER,
            format!("nothing happened: {why}"),
        ),
        Failure::Damaged => plain(
            Code::DataLoss,
            Reason::StoreDamaged,
            "what is stored of this is damaged: nothing happened, and no retry helps; whoever runs \
             the server looks into its log and with `bookd check`, and restores a backup",
        ),
        Failure::CommitUnknown => unknown(
            "whether the change happened is not known; retry with the same request_id to learn it",
        ),
        Failure::ExpiredInQueue => {
            expired("the deadline passed before the work began; nothing happened")
        }
        Failure::Compacted(oldest) => ErrorAnswer::new(
            Code::OutOfRange,
            Reason::RevisionCompacted,
            format!(
                "that history is no longer kept: begin a list again from its first page, watch \
                 from revision {oldest} on"
            ),
        )
        .with("oldest_revision", oldest.to_string())
        .status(),
        Failure::InFuture { newest, oldest } => out_of_range(
            Reason::RevisionInFuture,
            format!(
                "the newest revision is {newest}; watch from {} on, or from 0",
                newest.next()
            ),
            *oldest,
            ("newest_revision", *newest),
        ),
        Failure::Lagged { last, oldest } => out_of_range(
            Reason::WatchLagged,
            format!(
                "the watch was too slow; everything up to revision {last} was sent, resume at {}",
                last.next()
            ),
            *oldest,
            ("last_revision", *last),
        ),
        Failure::TooManyWatches(_) => unavailable(
            Reason::Overloaded,
            RETRY_LATER,
            format!("{failure}; retry later or on another server"),
        ),
    }
}

/// A watch from a revision that the log does not have yet, or after which it had to be cut.
fn out_of_range(
    reason: ErrorReason,
    message: String,
    oldest: Revision,
    (key, revision): (&'static str, Revision),
) -> Status {
    ErrorAnswer::new(Code::OutOfRange, reason, message)
        .with("oldest_revision", oldest.to_string())
        .with(key, revision.to_string())
        .status()
}

/// The server does too much already. Certainly nothing happened.
fn overloaded(message: &str) -> Status {
    unavailable(ErrorReason::Overloaded, RETRY_SOON, message)
}

/// Certainly nothing happened, and a retry after `retry_after` may succeed.
fn unavailable(reason: ErrorReason, retry_after: Duration, message: impl Into<String>) -> Status {
    ErrorAnswer::new(Code::Unavailable, reason, message)
        .detailed(Detail::RetryAfter(retry_after))
        .status()
}

/// The call may have changed something or not.
fn unknown(message: impl Into<String>) -> Status {
    plain(Code::Unknown, ErrorReason::CommitUnknown, message)
}

/// The deadline passed before the call did anything.
fn expired(message: &str) -> Status {
    plain(Code::DeadlineExceeded, ErrorReason::ExpiredInQueue, message)
}

/// An error with a reason and nothing else.
fn plain(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    ErrorAnswer::new(code, reason, message).status()
}

/// The text, cut to the length that a description may have.
fn shortened(text: &str) -> String {
    if text.chars().count() <= DESCRIPTION_CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars()
        .take(DESCRIPTION_CHARACTERS_MAX - 1)
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use bookd_transport::grpc::Grpc;
    use bookd_transport::{FoundIn, Protocol, Rejection};
    use tonic_types::StatusExt;

    use super::*;
    use crate::api::convert::rejections::{StatusErrors, trailers};

    const HEADERS: FoundIn<'_> = FoundIn::Headers { path: "/s/m" };

    fn replacement(status: &Status, found: FoundIn<'_>) -> Option<Status> {
        Grpc(StatusErrors)
            .replacement(&trailers(status), found)
            .map(|rejection| rejected(&rejection))
    }

    #[test]
    fn internal_never_leaves_wherever_it_was_found() {
        let bare = Status::internal("failed");
        let detailed = plain(Code::Internal, ErrorReason::FieldInvalid, "failed");
        for (status, found, expected) in [
            (&bare, HEADERS, Code::InvalidArgument),
            (&bare, FoundIn::Trailers, Code::Unknown),
            (&detailed, HEADERS, Code::Unknown),
            (&detailed, FoundIn::Trailers, Code::Unknown),
        ] {
            let status = replacement(status, found).expect("it is replaced");
            assert_eq!(status.code(), expected);
            assert!(status.message().ends_with(": failed"), "{status:?}");
        }
    }

    #[test]
    fn who_is_told_unknown_is_told_the_reason_of_it() {
        let failed =
            replacement(&Status::internal("failed"), FoundIn::Trailers).expect("it is replaced");
        for status in [
            failed,
            rejected(&Rejection::AnswerMemoryFull { is_reading: false }),
        ] {
            let reason = status.get_details_error_info().map(|it| it.reason);
            assert_eq!(
                (status.code(), reason.as_deref()),
                (Code::Unknown, Some("COMMIT_UNKNOWN"))
            );
            assert!(
                replacement(&status, FoundIn::Trailers).is_none(),
                "it passes as it is"
            );
        }
    }

    #[test]
    fn errors_with_details_and_codes_of_standard_services_pass() {
        let ours = plain(Code::OutOfRange, ErrorReason::RevisionCompacted, "gone");
        for status in [
            ours,
            Status::not_found("service not registered"),
            Status::ok(""),
        ] {
            assert!(replacement(&status, HEADERS).is_none());
            assert!(replacement(&status, FoundIn::Trailers).is_none());
        }
    }
}
