//! Refusals of the core as errors: each has one code and one reason.
//!
//! A refusal inside a batch or a series keeps the code and the reason that it has alone.

use tonic::Code;

use super::error_answer::{Detail, ErrorAnswer};
use super::slot::{series_refused, slot_refused};
use super::{MESSAGE_VIOLATIONS_MAX, VIOLATIONS_MAX, shortened};
use crate::proto::v1::ErrorReason as Reason;
use bookd_core::appointment::AppointmentState;
use bookd_core::field_violation::FieldViolation;
use bookd_core::quota::{Countable, QuotaExceeded};
use bookd_core::refusal::Refusal;
use bookd_core::token::TOKENS_MAX;

/// The error of a refusal.
pub(super) fn refused(refusal: &Refusal) -> ErrorAnswer {
    match refusal {
        Refusal::FieldInvalid(violations) => invalid(violations),
        Refusal::RequestIdReused => ErrorAnswer::new(
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
        Refusal::OutOfReach(id) => out_of_reach(&id.to_string()),
        Refusal::SeriesNotFound(id) => {
            not_found(Reason::AppointmentNotFound, "series", &id.0.to_string())
        }
        Refusal::TokenNotFound(id) => not_found(Reason::TokenNotFound, "token", id.as_str()),
        Refusal::TooManyTokens => too_many_tokens(),
        Refusal::CallerRevoked => caller_revoked(),
        Refusal::QuotaExceeded(exceeded) => quota_exceeded(exceeded),
        Refusal::CalendarExists(id) => exists(Reason::CalendarExists, "calendar", id.as_str()),
        Refusal::AppointmentExists(id) => {
            exists(Reason::AppointmentExists, "appointment", &id.to_string())
        }
        Refusal::EtagMismatch { resource } => {
            let message = format!("{resource} changed since this etag was read; read it again");
            ErrorAnswer::new(Code::Aborted, Reason::EtagMismatch, message)
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
        Refusal::Slot(slot) => slot_refused(slot),
        Refusal::InBatch { index, refusal } => in_batch(*index, refusal),
        Refusal::Series(report) => series_refused(report),
        Refusal::OfSeries {
            appointment,
            refusal,
        } => {
            let entry = ("appointment_id", appointment.to_string());
            within(&format!("appointment {appointment}"), refusal, entry)
        }
    }
}

fn caller_revoked() -> ErrorAnswer {
    ErrorAnswer::new(
        Code::Unauthenticated,
        Reason::CredentialsInvalid,
        "the token of the caller was revoked; nothing happened",
    )
}

fn out_of_reach(id: &str) -> ErrorAnswer {
    of_resource(
        Code::PermissionDenied,
        Reason::PermissionDenied,
        ("appointment", id),
        format!(
            "appointment {id} is also on calendars that the caller may not change; ask whoever may \
             change all of them"
        ),
    )
}

/// No token is created beside as many as there may be.
fn too_many_tokens() -> ErrorAnswer {
    let message = format!("there are {TOKENS_MAX} tokens already: revoke those that nobody uses");
    ErrorAnswer::new(Code::ResourceExhausted, Reason::TooManyTokens, message)
}

/// A tenant has as many as it may have.
fn quota_exceeded(exceeded: &QuotaExceeded) -> ErrorAnswer {
    let QuotaExceeded {
        tenant,
        countable,
        limit,
        has,
    } = exceeded;
    let (what, fewer) = match countable {
        Countable::Calendars => ("calendars", "delete calendars"),
        Countable::UpcomingAppointments => ("upcoming appointments", "cancel some"),
    };
    let has_words = has.map_or_else(String::new, |has| format!(", and it has {has}"));
    let message = format!(
        "the quota of tenant {tenant} for {what} is {limit}{has_words}: {fewer}, or ask the \
         operator for more"
    );
    let answer = ErrorAnswer::new(Code::ResourceExhausted, Reason::QuotaExceeded, message)
        .with("tenant", tenant.as_str().to_owned())
        .with("quota", countable.name().to_owned())
        .with("limit", limit.to_string());
    match has {
        Some(has) => answer.with("has", has.to_string()),
        None => answer,
    }
}

/// There is no resource of this name.
fn not_found(reason: Reason, kind: &'static str, name: &str) -> ErrorAnswer {
    let message = format!("there is no {kind} {name}");
    of_resource(Code::NotFound, reason, (kind, name), message)
}

/// There is a resource of this name already.
fn exists(reason: Reason, kind: &'static str, name: &str) -> ErrorAnswer {
    let message = format!("{kind} {name} exists already");
    of_resource(Code::AlreadyExists, reason, (kind, name), message)
}

/// An error that names the resource that it is about.
fn of_resource(
    code: Code,
    reason: Reason,
    (kind, name): (&'static str, &str),
    message: String,
) -> ErrorAnswer {
    let resource = Detail::Resource {
        kind,
        name: name.to_owned(),
        description: message.clone(),
    };
    ErrorAnswer::new(code, reason, message).detailed(resource)
}

/// The state of the calendar or of the appointment forbids the change.
fn precondition(
    reason: Reason,
    message: String,
    (key, value): (&'static str, String),
) -> ErrorAnswer {
    ErrorAnswer::new(Code::FailedPrecondition, reason, message).with(key, value)
}

fn wrong_state(state: AppointmentState, asked: &str, detail: Option<&str>) -> ErrorAnswer {
    let detail = detail
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    precondition(
        Reason::AppointmentState,
        format!("an appointment in state {state} cannot be {asked}{detail}"),
        ("state", state.to_string()),
    )
}

fn calendar_not_empty(upcoming: usize) -> ErrorAnswer {
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

fn invalid(violations: &[FieldViolation]) -> ErrorAnswer {
    let spelled_out = violations.iter().take(VIOLATIONS_MAX);
    let mut fields: Vec<_> = spelled_out
        .map(|it| (shortened(&it.field), shortened(&it.description)))
        .collect();
    let further = violations.len().saturating_sub(VIOLATIONS_MAX);
    if further > 0 {
        fields.push((String::new(), format!("and {further} more")));
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
    ErrorAnswer::new(Code::InvalidArgument, Reason::FieldInvalid, message)
        .detailed(Detail::Fields(fields))
}

/// The refusal of one booking of a batch, with the index of that booking.
fn in_batch(index: usize, refusal: &Refusal) -> ErrorAnswer {
    let field = format!("requests[{index}]");
    match refusal {
        Refusal::FieldInvalid(violations) => {
            let in_request = |violation: &FieldViolation| {
                let path = format!("{field}.{}", violation.field);
                FieldViolation::new(path, violation.description.clone())
            };
            invalid(&violations.iter().map(in_request).collect::<Vec<_>>())
        }
        other => within(&field, other, ("index", index.to_string())),
    }
}

/// The refusal of one element of a larger request: `element` names it in the message, the entry of
/// metadata for programs.
fn within(element: &str, refusal: &Refusal, (key, value): (&'static str, String)) -> ErrorAnswer {
    let inner = refused(refusal).with(key, value);
    ErrorAnswer {
        message: format!("{element}: {}", inner.message),
        ..inner
    }
}
