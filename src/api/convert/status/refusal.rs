//! Refusals of the core as statuses: each has one code and one reason.
//!
//! A refusal inside a batch or a series keeps the code and the reason that it has alone.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::slot::{series_refused, slot_refused};
use super::{
    ERROR_DOMAIN, ErrorMetadata, MESSAGE_VIOLATIONS_MAX, VIOLATIONS_MAX, details, plain, shortened,
    status, with,
};
use crate::proto::v1::ErrorReason as Reason;
use bookd_core::appointment::AppointmentState;
use bookd_core::field_violation::FieldViolation;
use bookd_core::refusal::Refusal;

/// The status of a refusal.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::FieldInvalid(violations) => invalid(violations),
        Refusal::RequestIdReused => plain(
            Code::InvalidArgument,
            Reason::RequestIdReused,
            "this request_id belongs to another request; take a new one for a new request",
        ),
        Refusal::CalendarNotFound(id) => {
            not_found(Reason::CalendarNotFound, "calendar", id.as_str())
        }
        Refusal::AppointmentTypeNotFound(calendar, id) => of_resource(
            Code::NotFound,
            Reason::AppointmentTypeNotFound,
            ("appointment_type", id.as_str()),
            format!("calendar {calendar} has no appointment type {id}"),
        ),
        Refusal::AppointmentNotFound(id) => {
            not_found(Reason::AppointmentNotFound, "appointment", &id.to_string())
        }
        Refusal::SeriesNotFound(id) => {
            not_found(Reason::AppointmentNotFound, "series", &id.0.to_string())
        }
        Refusal::CalendarExists(id) => exists(Reason::CalendarExists, "calendar", id.as_str()),
        Refusal::AppointmentExists(id) => {
            exists(Reason::AppointmentExists, "appointment", &id.to_string())
        }
        Refusal::EtagMismatch { resource } => {
            let message = format!("{resource} changed since this etag was read; read it again");
            plain(Code::Aborted, Reason::EtagMismatch, message)
        }
        Refusal::HoldExpired { expire_time } => precondition(
            Reason::HoldExpired,
            format!("the hold ran out at {expire_time}; hold or book the time anew"),
            ("expire_time", expire_time.to_string()),
        ),
        Refusal::AppointmentState {
            state,
            asked,
            detail,
        } => wrong_state(*state, asked, detail.as_deref()),
        Refusal::TooLate { asked, latest } => precondition(
            Reason::TooLate,
            format!("the appointment could be {asked} until {latest}"),
            ("latest_time", latest.to_string()),
        ),
        Refusal::CalendarNotEmpty { upcoming } => calendar_not_empty(*upcoming),
        Refusal::Slot(slot) => slot_refused(slot, ErrorMetadata::new(), ""),
        Refusal::InBatch { index, refusal } => in_batch(*index, refusal),
        Refusal::Series(report) => series_refused(report),
        Refusal::OfSeries {
            appointment,
            refusal,
        } => {
            let entry = ("appointment_id".to_owned(), appointment.to_string());
            let metadata = ErrorMetadata::from([entry]);
            within(&format!("appointment {appointment}"), refusal, metadata)
        }
    }
}

/// There is no resource of this name.
fn not_found(reason: Reason, kind: &str, name: &str) -> Status {
    let message = format!("there is no {kind} {name}");
    of_resource(Code::NotFound, reason, (kind, name), message)
}

/// There is a resource of this name already.
fn exists(reason: Reason, kind: &str, name: &str) -> Status {
    let message = format!("{kind} {name} exists already");
    of_resource(Code::AlreadyExists, reason, (kind, name), message)
}

/// An error that names the resource that it is about.
fn of_resource(code: Code, reason: Reason, (kind, name): (&str, &str), message: String) -> Status {
    let mut details = details(reason, ErrorMetadata::new());
    details.set_resource_info(kind, name, "", &message);
    status(code, message, details)
}

/// The state of the calendar or of the appointment forbids the change.
fn precondition(reason: Reason, message: String, (key, value): (&str, String)) -> Status {
    with(Code::FailedPrecondition, reason, message, key, value)
}

fn wrong_state(state: AppointmentState, asked: &str, detail: Option<&str>) -> Status {
    let detail = detail
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    precondition(
        Reason::AppointmentState,
        format!("an appointment in state {state} cannot be {asked}{detail}"),
        ("state", state.to_string()),
    )
}

fn calendar_not_empty(upcoming: usize) -> Status {
    let them = if upcoming == 1 {
        "appointment; cancel it"
    } else {
        "appointments; cancel them"
    };
    precondition(
        Reason::CalendarNotEmpty,
        format!("the calendar has {upcoming} upcoming {them} first, or delete with force"),
        ("upcoming", upcoming.to_string()),
    )
}

fn invalid(violations: &[FieldViolation]) -> Status {
    let mut details = details(Reason::FieldInvalid, ErrorMetadata::new());
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
        .take(MESSAGE_VIOLATIONS_MAX)
        .map(|violation| shortened(&format!("{}: {}", violation.field, violation.description)))
        .collect();
    let more = if violations.len() > MESSAGE_VIOLATIONS_MAX {
        format!("; and {} more", violations.len() - MESSAGE_VIOLATIONS_MAX)
    } else {
        String::new()
    };
    let message = format!("{}{more}", message.join("; "));
    status(Code::InvalidArgument, message, details)
}

/// The refusal of one booking of a batch, with the index of that booking.
fn in_batch(index: usize, refusal: &Refusal) -> Status {
    let field = format!("requests[{index}]");
    let metadata = ErrorMetadata::from([("index".to_owned(), index.to_string())]);
    match refusal {
        Refusal::FieldInvalid(violations) => {
            let in_request = |violation: &FieldViolation| {
                let path = format!("{field}.{}", violation.field);
                FieldViolation::new(path, violation.description.clone())
            };
            invalid(&violations.iter().map(in_request).collect::<Vec<_>>())
        }
        Refusal::Slot(slot) => slot_refused(slot, metadata, &format!("{field}: ")),
        other => within(&field, other, metadata),
    }
}

/// The refusal of one element of a larger request: `element` names it in the message, `metadata`
/// for programs.
fn within(element: &str, refusal: &Refusal, metadata: ErrorMetadata) -> Status {
    let inner = refused(refusal);
    let mut details = inner.get_error_details();
    if let Some(info) = details.error_info() {
        let (reason, mut all) = (info.reason.clone(), info.metadata.clone());
        all.extend(metadata);
        details.set_error_info(reason, ERROR_DOMAIN, all);
    }
    let message = format!("{element}: {}", inner.message());
    status(inner.code(), message, details)
}
