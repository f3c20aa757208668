//! BookingService: booking, holding, moving, confirming and cancelling appointments.
//!
//! A handler parses, calls and renders; the core decides.

use std::iter;

use crate::engine::Answer;
use crate::proto::v1 as pb;
use bookd_core::appointment::{Assignment, Carried, PersonPatch};
use bookd_core::command::{Command, Move, Redacted};
use bookd_core::decide::{HOLD_SECONDS_MAX, REDACTED_MAX};
use bookd_core::time::{MINUTE, Seconds};
use prost_types::Duration;

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::parse::{Fields, fields_of_mask};
use crate::api::convert::parse_person::carried;
use crate::api::convert::render;
use crate::api::services::booking_fields::booking_fields;

/// How long a hold lasts by default, in seconds.
pub const HOLD_SECONDS_DEFAULT: i64 = 5 * MINUTE;
/// The most bookings of one `BatchBook`.
pub const BATCH_MAX: usize = 100;

fn ttl(ttl: Option<&Duration>, fields: &mut Fields) -> Option<Seconds> {
    let most = Seconds::new(HOLD_SECONDS_MAX).expect("30 minutes are less than 100,000 days");
    let default = Seconds::new(HOLD_SECONDS_DEFAULT).expect("5 minutes are less than 100,000 days");
    let ttl = fields.seconds("ttl", ttl, most)?.unwrap_or(default);
    if ttl == Seconds::ZERO {
        fields.wrong("ttl", "must be at least 1 second")
    } else {
        Some(ttl)
    }
}

fn batch(api: &Api, message: &pb::BatchBookRequest, fields: &mut Fields) -> Option<Command> {
    if message.requests.is_empty() || message.requests.len() > BATCH_MAX {
        return fields.wrong("requests", format!("must be 1 to {BATCH_MAX}"));
    }
    let mut bookings = Vec::new();
    for (index, request) in message.requests.iter().enumerate() {
        let mut own = Fields::default();
        let booking = booking_fields!(request, &request.appointment_id, &request.hold_id, true)
            .read(api, &mut own);
        fields.take_over(own, "", &format!("requests[{index}]."));
        bookings.push(booking);
    }
    bookings
        .into_iter()
        .collect::<Option<_>>()
        .map(Command::BatchBook)
}

fn reschedule(
    api: &Api,
    message: &pb::RescheduleAppointmentRequest,
    fields: &mut Fields,
) -> Option<Command> {
    let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
    let start = fields.optional_start(
        &api.zones,
        message.start_time.as_ref(),
        &message.local_start,
        &message.time_zone,
    );
    let duration = fields.minutes("duration", message.duration.as_ref(), 1);
    let calendars = if message.calendar_ids.is_empty() {
        Some((Vec::new(), Assignment::All))
    } else {
        fields.several("calendar_ids", &message.calendar_ids, message.assignment)
    };
    let ignored_rules = fields.ignored_rules(&message.ignore_rules);
    let etag = fields.etag("etag", &message.etag);
    let (calendars, assignment) = calendars?;
    Some(Command::Reschedule(Move {
        appointment: appointment?,
        start: start?,
        duration: duration?,
        calendars,
        assignment,
        ignored_rules: ignored_rules?,
        etag: etag?,
    }))
}

fn update(
    api: &Api,
    message: &pb::UpdateAppointmentRequest,
    fields: &mut Fields,
) -> Option<Command> {
    const INVITEE: &str = "invitee";
    let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
    let etag = fields.etag("etag", &message.etag);
    let carried = carried!(message, fields);
    let all = Carried::default().bytes().map(|(name, _)| name);
    let maskable: Vec<&'static str> = iter::once(INVITEE).chain(all).collect();
    let mask = match message
        .update_mask
        .as_ref()
        .filter(|mask| !mask.paths.is_empty())
    {
        Some(mask) => fields_of_mask(mask, &maskable, fields),
        None => carried.as_ref().map(|carried| {
            message
                .invitee
                .iter()
                .map(|_| INVITEE)
                .chain(carried.said())
                .collect()
        }),
    };
    let is_invitee_changed = mask.as_ref().is_some_and(|mask| mask.contains(&INVITEE));
    let invitee = match &message.invitee {
        Some(invitee) if is_invitee_changed => fields.invitee(&api.zones, invitee, true).map(Some),
        None if is_invitee_changed => fields.wrong(
            "invitee.name",
            "is required; RedactInvitee removes a person's data",
        ),
        _ => Some(None),
    };
    let patch = PersonPatch {
        invitee: invitee?,
        carried: carried?,
        fields: mask?,
    };
    Some(Command::UpdateAppointment {
        appointment: appointment?,
        patch,
        etag: etag?,
    })
}

fn redacted(email: &str, appointment: &str, fields: &mut Fields) -> Option<Redacted> {
    match (email, appointment) {
        ("", "") => fields.wrong("invitee_email", "is required, or appointment_id"),
        (_, "") => fields
            .email("invitee_email", email)
            .map(|it| Redacted::Email(it.key)),
        ("", _) => fields
            .appointment_id("appointment_id", appointment)
            .map(Redacted::Appointment),
        _ => fields.wrong("appointment_id", "cannot stand beside invitee_email"),
    }
}

fn candidates(answer: &Answer) -> Vec<pb::AssignmentCandidate> {
    answer
        .outcome
        .candidates
        .iter()
        .map(render::candidate)
        .collect()
}

pub(crate) async fn book_appointment(
    api: &Api,
    call: Call<pb::BookAppointmentRequest>,
) -> Answered<pb::BookAppointmentResponse> {
    let parse = |message: &pb::BookAppointmentRequest, fields: &mut Fields| {
        booking_fields!(message, &message.appointment_id, &message.hold_id, true)
            .read(api, fields)
            .map(Command::Book)
    };
    let answer = api.mutate(call, parse).await?;
    let (appointment, revision) = api.answered(&answer);
    let candidates = candidates(&answer);
    Ok(pb::BookAppointmentResponse {
        appointment,
        revision,
        candidates,
    })
}

pub(crate) async fn hold_appointment(
    api: &Api,
    call: Call<pb::HoldAppointmentRequest>,
) -> Answered<pb::HoldAppointmentResponse> {
    let parse = |message: &pb::HoldAppointmentRequest, fields: &mut Fields| {
        let booking =
            booking_fields!(message, &message.appointment_id, "", false).read(api, fields);
        let ttl = ttl(message.ttl.as_ref(), fields);
        Some(Command::Hold {
            booking: booking?,
            ttl: ttl?,
        })
    };
    let answer = api.mutate(call, parse).await?;
    let (appointment, revision) = api.answered(&answer);
    let candidates = candidates(&answer);
    Ok(pb::HoldAppointmentResponse {
        appointment,
        revision,
        candidates,
    })
}

pub(crate) async fn extend_hold(
    api: &Api,
    call: Call<pb::ExtendHoldRequest>,
) -> Answered<pb::ExtendHoldResponse> {
    let parse = |message: &pb::ExtendHoldRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let ttl = ttl(message.ttl.as_ref(), fields);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::ExtendHold {
            appointment: appointment?,
            ttl: ttl?,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::ExtendHoldResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn release_hold(
    api: &Api,
    call: Call<pb::ReleaseHoldRequest>,
) -> Answered<pb::ReleaseHoldResponse> {
    let parse = |message: &pb::ReleaseHoldRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::ReleaseHold {
            appointment: appointment?,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::ReleaseHoldResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn confirm_appointment(
    api: &Api,
    call: Call<pb::ConfirmAppointmentRequest>,
) -> Answered<pb::ConfirmAppointmentResponse> {
    let parse = |message: &pb::ConfirmAppointmentRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let invitee = match &message.invitee {
            None => Some(None),
            Some(invitee) => fields.invitee(&api.zones, invitee, true).map(Some),
        };
        let etag = fields.etag("etag", &message.etag);
        Some(Command::Confirm {
            appointment: appointment?,
            invitee: invitee?,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::ConfirmAppointmentResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn approve_appointment(
    api: &Api,
    call: Call<pb::ApproveAppointmentRequest>,
) -> Answered<pb::ApproveAppointmentResponse> {
    let parse = |message: &pb::ApproveAppointmentRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::Approve {
            appointment: appointment?,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::ApproveAppointmentResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn decline_appointment(
    api: &Api,
    call: Call<pb::DeclineAppointmentRequest>,
) -> Answered<pb::DeclineAppointmentResponse> {
    let parse = |message: &pb::DeclineAppointmentRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let reason = fields.reason(&message.reason);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::Decline {
            appointment: appointment?,
            reason: reason?,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::DeclineAppointmentResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn reschedule_appointment(
    api: &Api,
    call: Call<pb::RescheduleAppointmentRequest>,
) -> Answered<pb::RescheduleAppointmentResponse> {
    let answer = api
        .mutate(call, |message, fields| reschedule(api, message, fields))
        .await?;
    let (appointment, revision) = api.answered(&answer);
    let candidates = candidates(&answer);
    Ok(pb::RescheduleAppointmentResponse {
        appointment,
        revision,
        candidates,
    })
}

pub(crate) async fn cancel_appointment(
    api: &Api,
    call: Call<pb::CancelAppointmentRequest>,
) -> Answered<pb::CancelAppointmentResponse> {
    let parse = |message: &pb::CancelAppointmentRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let reason = fields.reason(&message.reason);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::Cancel {
            appointment: appointment?,
            reason: reason?,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::CancelAppointmentResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn update_appointment(
    api: &Api,
    call: Call<pb::UpdateAppointmentRequest>,
) -> Answered<pb::UpdateAppointmentResponse> {
    let answer = api
        .mutate(call, |message, fields| update(api, message, fields))
        .await?;
    let (appointment, revision) = api.answered(&answer);
    Ok(pb::UpdateAppointmentResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn mark_no_show(
    api: &Api,
    call: Call<pb::MarkNoShowRequest>,
) -> Answered<pb::MarkNoShowResponse> {
    let parse = |message: &pb::MarkNoShowRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::MarkNoShow {
            appointment: appointment?,
            undo: message.undo,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::MarkNoShowResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn complete_appointment(
    api: &Api,
    call: Call<pb::CompleteAppointmentRequest>,
) -> Answered<pb::CompleteAppointmentResponse> {
    let parse = |message: &pb::CompleteAppointmentRequest, fields: &mut Fields| {
        let appointment = fields.appointment_id("appointment_id", &message.appointment_id);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::Complete {
            appointment: appointment?,
            undo: message.undo,
            etag: etag?,
        })
    };
    let (appointment, revision) = api.answered(&api.mutate(call, parse).await?);
    Ok(pb::CompleteAppointmentResponse {
        appointment,
        revision,
    })
}

pub(crate) async fn batch_book(
    api: &Api,
    call: Call<pb::BatchBookRequest>,
) -> Answered<pb::BatchBookResponse> {
    let answer = api
        .mutate(call, |message, fields| batch(api, message, fields))
        .await?;
    let appointments = answer
        .outcome
        .appointments
        .iter()
        .map(|it| api.appointment(it, answer.time));
    let revision = render::revision(answer.revision);
    Ok(pb::BatchBookResponse {
        appointments: appointments.collect(),
        revision,
    })
}

pub(crate) async fn redact_invitee(
    api: &Api,
    call: Call<pb::RedactInviteeRequest>,
) -> Answered<pb::RedactInviteeResponse> {
    let parse = |message: &pb::RedactInviteeRequest, fields: &mut Fields| {
        redacted(&message.invitee_email, &message.appointment_id, fields).map(Command::Redact)
    };
    let answer = api.mutate(call, parse).await?;
    let redacted = answer.outcome.appointments.len();
    Ok(pb::RedactInviteeResponse {
        appointments_redacted: i32::try_from(redacted).expect("at most REDACTED_MAX"),
        revision: render::revision(answer.revision),
        more: redacted >= REDACTED_MAX,
    })
}
