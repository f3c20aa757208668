//! Errors as clients see them: one code and one reason for each refusal and failure, with `google.rpc` details.
//!
//! This file alone decides codes. UNAVAILABLE means that certainly nothing happened; where that is not known the code
//! is UNKNOWN.

use std::collections::HashMap;
use std::time::Duration;

use bookd_transport::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

use crate::engine::Failure;
use crate::proto::v1::ErrorReason;
use bookd_core::appointment::series::{Occurrence, SeriesReport};
use bookd_core::field_violation::FieldViolation;
use bookd_core::ids::Revision;
use bookd_core::refusal::Refusal;
use bookd_core::slots::violation::SlotRefusal;
use bookd_core::time::interval::Interval;

/// `ErrorInfo.domain` of every error.
pub const ERROR_DOMAIN: &str = "bookd";
/// Violations that one error spells out; the rest is counted. Keeps details under 6 KiB of the header list.
const VIOLATIONS_MAX: usize = 16;
/// Characters of a path that a caller made up, which an error repeats.
const QUOTED_CHARACTERS_MAX: usize = 200;
/// Characters of one description.
const DESCRIPTION_CHARACTERS_MAX: usize = 240;
/// Bytes of the violations that the refusal of a series spells out: as many occurrences may be named beside them.
const SERIES_VIOLATION_BYTES_MAX: usize = 3 * 1_024;
/// When to come again after a full queue.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// When to come again after a store that refused or a server that stops.
const RETRY_LATER: Duration = Duration::from_secs(1);

type ErrorMetadata = HashMap<String, String>;

fn details(reason: ErrorReason, metadata: ErrorMetadata) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.as_str_name(), ERROR_DOMAIN, metadata);
    details
}

fn status(code: Code, message: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}

fn plain(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    status(code, message, details(reason, ErrorMetadata::new()))
}

fn with(code: Code, reason: ErrorReason, message: String, key: &str, value: String) -> Status {
    status(
        code,
        message,
        details(reason, ErrorMetadata::from([(key.to_owned(), value)])),
    )
}

fn missing(code: Code, reason: ErrorReason, kind: &str, name: &str, message: String) -> Status {
    let mut details = details(reason, ErrorMetadata::new());
    details.set_resource_info(kind, name, "", &message);
    status(code, message, details)
}

/// An engine's failure.
pub(crate) fn failed(failure: &Failure) -> Status {
    let retry = |reason, after, message: String| {
        let mut details = details(reason, ErrorMetadata::new());
        details.set_retry_info(Some(after));
        status(Code::Unavailable, message, details)
    };
    match failure {
        Failure::Refused(refusal) => refused(refusal),
        Failure::Overloaded => overloaded("the queue is full; nothing happened, retry shortly"),
        Failure::ShuttingDown => {
            let message =
                "the server is shutting down; nothing happened, retry on another or later"
                    .to_owned();
            retry(ErrorReason::ShuttingDown, RETRY_LATER, message)
        }
        Failure::StoreUnavailable(why) => retry(
            ErrorReason::StoreUnavailable,
            RETRY_LATER,
            format!("nothing happened: {why}"),
        ),
        Failure::Damaged => plain(
            Code::DataLoss,
            ErrorReason::StoreDamaged,
            "what is stored of this is damaged: nothing happened, and no retry helps; whoever runs the server looks into its \
             log and with `bookd check`, and restores a backup",
        ),
        Failure::CommitUnknown => plain(
            Code::Unknown,
            ErrorReason::CommitUnknown,
            "whether the change happened is not known; retry with the same request_id to learn it",
        ),
        Failure::ExpiredInQueue => plain(
            Code::DeadlineExceeded,
            ErrorReason::ExpiredInQueue,
            "the deadline passed before the work began; nothing happened",
        ),
        Failure::Compacted(oldest) => with(
            Code::OutOfRange,
            ErrorReason::RevisionCompacted,
            format!(
                "that history is no longer kept: begin a list again from its first page, watch from revision {oldest} on"
            ),
            "oldest_revision",
            oldest.to_string(),
        ),
        Failure::InFuture { .. } | Failure::Lagged { .. } | Failure::TooManyWatches(_) => {
            watch_failed(failure)
        }
    }
}

/// A watch that cannot begin or go on.
fn watch_failed(failure: &Failure) -> Status {
    let range = |reason, message: String, key: &str, revision: Revision, oldest: Revision| {
        let of = |key: &str, revision: Revision| (key.to_owned(), revision.to_string());
        let metadata = ErrorMetadata::from([of("oldest_revision", oldest), of(key, revision)]);
        status(Code::OutOfRange, message, details(reason, metadata))
    };
    match failure {
        Failure::InFuture { newest, oldest } => {
            let message = format!(
                "the newest revision is {newest}; watch from {} on, or from 0",
                newest.next()
            );
            range(
                ErrorReason::RevisionInFuture,
                message,
                "newest_revision",
                *newest,
                *oldest,
            )
        }
        Failure::Lagged { last, oldest } => {
            let message = format!(
                "the watch was too slow; everything up to revision {last} was sent, resume at {}",
                last.next()
            );
            range(
                ErrorReason::WatchLagged,
                message,
                "last_revision",
                *last,
                *oldest,
            )
        }
        other => {
            let mut details = details(ErrorReason::Overloaded, ErrorMetadata::new());
            details.set_retry_info(Some(RETRY_LATER));
            status(
                Code::Unavailable,
                format!("{other}; retry later or on another server"),
                details,
            )
        }
    }
}

/// Too much of something is going on. Certainly nothing happened.
fn overloaded(message: &str) -> Status {
    overloaded_until(RETRY_SOON, message)
}

fn overloaded_until(again: Duration, message: &str) -> Status {
    let mut details = details(ErrorReason::Overloaded, ErrorMetadata::new());
    details.set_retry_info(Some(again));
    status(Code::Unavailable, message, details)
}

/// What the transport answers by itself.
pub(crate) fn rejected(rejection: &Rejection) -> Status {
    use ErrorReason as Reason;
    match rejection {
        Rejection::TooManyCalls { retry_after } => {
            let message = "too many calls are in progress; nothing happened, retry after the delay that is told";
            overloaded_until(*retry_after, message)
        }
        Rejection::NoRoomToReceive => overloaded(
            "too many large requests are being received; nothing happened, retry shortly",
        ),
        // Only of a method that changes nothing can be said that nothing happened.
        Rejection::NoRoomToAnswer { is_reading: true } => {
            overloaded("too many answers wait to be read; read them, or ask for smaller pages")
        }
        Rejection::NoRoomToAnswer { is_reading: false } => plain(
            Code::Unknown,
            Reason::CommitUnknown,
            "too many answers wait to be read, and this one was let go: repeat it with the same request_id",
        ),
        Rejection::AnswerFailed { message } => plain(
            Code::Unknown,
            Reason::CommitUnknown,
            format!("the answer failed, what the call did is not known: {message}"),
        ),
        Rejection::NotReceived => plain(
            Code::DeadlineExceeded,
            Reason::ExpiredInQueue,
            "the request did not arrive in time; nothing happened",
        ),
        Rejection::ExpiredBeforeBegin => plain(
            Code::DeadlineExceeded,
            Reason::ExpiredInQueue,
            "the deadline had passed before the call was begun; nothing was done",
        ),
        // No reason is given: EXPIRED_IN_QUEUE would claim that nothing was done. Clients do without one, for most often
        // their own library has answered at the deadline before.
        Rejection::CutUnanswered => Status::deadline_exceeded(
            "the deadline passed before the answer; what the call did is not known: repeat it with the same request_id",
        ),
        Rejection::CutStream => Status::deadline_exceeded(
            "the deadline passed while the stream was open; begin a new one where it ended",
        ),
        Rejection::HeadersTooLarge {
            bytes,
            bytes_each,
            bytes_max,
        } => {
            let message = format!(
                "the headers of the call are {bytes} bytes with {bytes_each} for each, at most {bytes_max}: send less \
                 metadata; nothing was done"
            );
            plain(Code::ResourceExhausted, Reason::RequestTooLarge, message)
        }
        Rejection::RequestTooLarge { what } => {
            let message = format!("the request is too large, send it in parts: {what}");
            plain(Code::ResourceExhausted, Reason::RequestTooLarge, message)
        }
        Rejection::Malformed { what } => {
            let message = format!("the request cannot be read as the method's message: {what}");
            plain(Code::InvalidArgument, Reason::MalformedRequest, message)
        }
        Rejection::NoSuchMethod { path } => {
            let method: String = path.chars().take(QUOTED_CHARACTERS_MAX).collect();
            let hint = "methods are /package.Service/Method, and server reflection lists them";
            plain(
                Code::Unimplemented,
                Reason::NotImplemented,
                format!("no method {method} here: {hint}"),
            )
        }
        Rejection::NotImplemented { what } => {
            plain(Code::Unimplemented, Reason::NotImplemented, what)
        }
    }
}

/// A refusal.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    use ErrorReason as Reason;
    match refusal {
        Refusal::FieldInvalid(violations) => invalid(violations),
        Refusal::RequestIdReused => plain(
            Code::InvalidArgument,
            Reason::RequestIdReused,
            "this request_id belongs to another request; take a new one for a new request",
        ),
        Refusal::CalendarNotFound(id) => missing(
            Code::NotFound,
            Reason::CalendarNotFound,
            "calendar",
            id.as_str(),
            format!("there is no calendar {id}"),
        ),
        Refusal::AppointmentTypeNotFound(calendar, id) => {
            let message = format!("calendar {calendar} has no appointment type {id}");
            missing(
                Code::NotFound,
                Reason::AppointmentTypeNotFound,
                "appointment_type",
                id.as_str(),
                message,
            )
        }
        Refusal::AppointmentNotFound(id) => {
            let message = format!("there is no appointment {id}");
            missing(
                Code::NotFound,
                Reason::AppointmentNotFound,
                "appointment",
                &id.to_string(),
                message,
            )
        }
        Refusal::SeriesNotFound(id) => {
            let message = format!("there is no series {}", id.0);
            missing(
                Code::NotFound,
                Reason::AppointmentNotFound,
                "series",
                &id.0.to_string(),
                message,
            )
        }
        Refusal::CalendarExists(id) => {
            let message = format!("calendar {id} exists already");
            missing(
                Code::AlreadyExists,
                Reason::CalendarExists,
                "calendar",
                id.as_str(),
                message,
            )
        }
        Refusal::AppointmentExists(id) => {
            let message = format!("appointment {id} exists already");
            missing(
                Code::AlreadyExists,
                Reason::AppointmentExists,
                "appointment",
                &id.to_string(),
                message,
            )
        }
        Refusal::EtagMismatch { resource } => {
            let message = format!("{resource} changed since this etag was read; read it again");
            plain(Code::Aborted, Reason::EtagMismatch, message)
        }
        Refusal::HoldExpired { expire_time } => {
            let message = format!("the hold ran out at {expire_time}; hold or book the time anew");
            with(
                Code::FailedPrecondition,
                Reason::HoldExpired,
                message,
                "expire_time",
                expire_time.to_string(),
            )
        }
        Refusal::AppointmentState {
            state,
            asked,
            detail,
        } => {
            let detail = detail
                .as_ref()
                .map(|detail| format!(": {detail}"))
                .unwrap_or_default();
            let message = format!("an appointment in state {state} cannot be {asked}{detail}");
            with(
                Code::FailedPrecondition,
                Reason::AppointmentState,
                message,
                "state",
                state.to_string(),
            )
        }
        Refusal::TooLate { asked, latest } => {
            let message = format!("the appointment could be {asked} until {latest}");
            with(
                Code::FailedPrecondition,
                Reason::TooLate,
                message,
                "latest_time",
                latest.to_string(),
            )
        }
        Refusal::CalendarNotEmpty { upcoming } => {
            let them = if *upcoming == 1 {
                "appointment; cancel it"
            } else {
                "appointments; cancel them"
            };
            let message =
                format!("the calendar has {upcoming} upcoming {them} first, or delete with force");
            with(
                Code::FailedPrecondition,
                Reason::CalendarNotEmpty,
                message,
                "upcoming",
                upcoming.to_string(),
            )
        }
        Refusal::Slot(slot) => slot_refused(slot, ErrorMetadata::new(), ""),
        Refusal::InBatch { index, refusal } => in_batch(*index, refusal),
        Refusal::Series(report) => series_refused(report),
        Refusal::OfSeries {
            appointment,
            refusal,
        } => {
            let metadata =
                ErrorMetadata::from([("appointment_id".to_owned(), appointment.to_string())]);
            within(&format!("appointment {appointment}"), refusal, metadata)
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= DESCRIPTION_CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars()
        .take(DESCRIPTION_CHARACTERS_MAX - 1)
        .chain(['…'])
        .collect()
}

fn invalid(violations: &[FieldViolation]) -> Status {
    let mut details = details(ErrorReason::FieldInvalid, ErrorMetadata::new());
    for violation in violations.iter().take(VIOLATIONS_MAX) {
        details.add_bad_request_violation(
            shortened(&violation.field),
            shortened(&violation.description),
        );
    }
    let further = violations.len().saturating_sub(VIOLATIONS_MAX);
    if further > 0 {
        details.add_bad_request_violation("", format!("and {further} more"));
    }
    let message: Vec<String> = violations
        .iter()
        .take(3)
        .map(|it| shortened(&format!("{}: {}", it.field, it.description)))
        .collect();
    let more = if violations.len() > 3 {
        format!("; and {} more", violations.len() - 3)
    } else {
        String::new()
    };
    status(
        Code::InvalidArgument,
        format!("{}{more}", message.join("; ")),
        details,
    )
}

/// What was asked for and the nearest slots, for programs.
fn near(slot: &SlotRefusal) -> ErrorMetadata {
    let shown = |interval: Interval| format!("{}/{}", interval.start, interval.end);
    let mut metadata = ErrorMetadata::from([("slot".to_owned(), shown(slot.slot))]);
    metadata.extend(
        slot.nearest_before
            .map(|it| ("nearest_before".to_owned(), shown(it))),
    );
    metadata.extend(
        slot.nearest_after
            .map(|it| ("nearest_after".to_owned(), shown(it))),
    );
    // That there is none is said of so many days and no more.
    if slot.nearest_days > 0 && (slot.nearest_before.is_none() || slot.nearest_after.is_none()) {
        metadata.insert("nearest_days".to_owned(), slot.nearest_days.to_string());
    }
    metadata
}

fn slot_refused(slot: &SlotRefusal, mut metadata: ErrorMetadata, prefix: &str) -> Status {
    let (code, reason) = if slot.is_rule_broken() {
        (Code::FailedPrecondition, ErrorReason::SlotUnavailable)
    } else {
        (Code::Aborted, ErrorReason::SlotTaken)
    };
    metadata.extend(near(slot));
    let mut details = details(reason, metadata);
    let violations = slot.violations.iter().take(VIOLATIONS_MAX).map(|it| {
        PreconditionViolation::new(it.code.name(), it.calendar.as_str(), shortened(&it.rule))
    });
    details.set_precondition_failure(violations.collect::<Vec<_>>());
    let further = slot.violations.len().saturating_sub(VIOLATIONS_MAX);
    if further > 0 {
        details.add_precondition_failure_violation("", "", format!("and {further} more"));
    }
    let codes: Vec<&str> = slot
        .violations
        .iter()
        .map(|it| it.code.name())
        .take(VIOLATIONS_MAX)
        .collect();
    let after = slot
        .nearest_after
        .map(|it| format!("; the next free slot is {}", it.start))
        .unwrap_or_default();
    let verb = if reason == ErrorReason::SlotTaken {
        "is taken"
    } else {
        "cannot be booked"
    };
    status(
        code,
        format!(
            "{prefix}{} {verb}: {}{after}",
            slot.slot.start,
            codes.join(", ")
        ),
        details,
    )
}

/// The refusal of one of a batch, with its index.
fn in_batch(index: usize, refusal: &Refusal) -> Status {
    let field = format!("requests[{index}]");
    let metadata = ErrorMetadata::from([("index".to_owned(), index.to_string())]);
    match refusal {
        Refusal::FieldInvalid(violations) => {
            let at = |it: &FieldViolation| {
                FieldViolation::new(format!("{field}.{}", it.field), it.description.clone())
            };
            invalid(&violations.iter().map(at).collect::<Vec<_>>())
        }
        Refusal::Slot(slot) => slot_refused(slot, metadata, &format!("{field}: ")),
        other => within(&field, other, metadata),
    }
}

/// A refusal, with what it is of.
fn within(what: &str, refusal: &Refusal, metadata: ErrorMetadata) -> Status {
    let inner = refused(refusal);
    let mut details = inner.get_error_details();
    if let Some(info) = details.error_info() {
        let (reason, mut all) = (info.reason.clone(), info.metadata.clone());
        all.extend(metadata);
        details.set_error_info(reason, ERROR_DOMAIN, all);
    }
    status(
        inner.code(),
        format!("{what}: {}", inner.message()),
        details,
    )
}

/// The refusal of a series. The indices of all occurrences that cannot be booked are in the metadata; the first
/// violations are spelled out, each with its occurrence and the nearest slots, and the rest is counted.
fn series_refused(report: &SeriesReport) -> Status {
    let (code, reason) = if report.is_rule_broken() {
        (Code::FailedPrecondition, ErrorReason::SlotUnavailable)
    } else {
        (Code::Aborted, ErrorReason::SlotTaken)
    };
    let refused: Vec<(&Occurrence, &SlotRefusal)> = report.refused().collect();
    let indices: Vec<String> = refused.iter().map(|(it, _)| it.index.to_string()).collect();
    let mut metadata = ErrorMetadata::from([("occurrences".to_owned(), indices.join(","))]);
    metadata.extend(
        refused
            .first()
            .map(|(_, slot)| near(slot))
            .unwrap_or_default(),
    );
    let mut details = details(reason, metadata);
    let mut bytes = 0;
    let mut spelled = Vec::new();
    let all = refused.iter().flat_map(|(it, slot)| {
        slot.violations
            .iter()
            .map(move |violation| (it, slot, violation))
    });
    for (it, slot, violation) in all.clone() {
        let rule = format!(
            "occurrence {} at {}{}: {}",
            it.index,
            it.moment.local_start,
            beside(slot),
            violation.rule
        );
        let spelled_out = PreconditionViolation::new(
            violation.code.name(),
            violation.calendar.as_str(),
            shortened(&rule),
        );
        bytes +=
            spelled_out.r#type.len() + spelled_out.subject.len() + spelled_out.description.len();
        if bytes > SERIES_VIOLATION_BYTES_MAX || spelled.len() == VIOLATIONS_MAX {
            break;
        }
        spelled.push(spelled_out);
    }
    let further = all.count() - spelled.len();
    details.set_precondition_failure(spelled);
    if further > 0 {
        details.add_precondition_failure_violation("", "", format!("and {further} more"));
    }
    let named: Vec<String> = refused
        .iter()
        .take(3)
        .map(|(it, _)| it.moment.local_start.to_string())
        .collect();
    let more = if refused.len() > 3 { ", …" } else { "" };
    let verb = if reason == ErrorReason::SlotTaken {
        "are taken"
    } else {
        "cannot be booked"
    };
    let (count, all) = (refused.len(), report.occurrences.len());
    status(
        code,
        format!(
            "{count} of {all} occurrences {verb}: {}{more}",
            named.join(", ")
        ),
        details,
    )
}

/// The nearest slots, for people.
fn beside(slot: &SlotRefusal) -> String {
    if slot.nearest_before.or(slot.nearest_after).is_none() {
        return String::new();
    }
    let shown = |interval: Option<Interval>| {
        interval.map_or_else(|| "none".to_owned(), |it| it.start.to_string())
    };
    format!(
        " (free before {}, after {})",
        shown(slot.nearest_before),
        shown(slot.nearest_after)
    )
}

#[cfg(test)]
mod tests {
    use bookd_transport::grpc::Grpc;
    use bookd_transport::{FoundIn, Protocol};

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
            rejected(&Rejection::NoRoomToAnswer { is_reading: false }),
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
