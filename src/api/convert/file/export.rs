//! Calendars and appointments written to files.
//!
//! A file has no etags, revisions or times of change: the server that imports it sets its own.

use super::CalendarFile;
use crate::proto::v1 as pb;
use bookd_core::appointment::{Appointment, AppointmentState, Image};
use bookd_core::calendar::Calendar;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::time::Instant;

use crate::api::convert::render;

/// A calendar as files hold it, without its appointments.
pub fn exported_calendar(calendar: &Calendar) -> CalendarFile {
    let availability = render::availability(calendar);
    CalendarFile {
        calendar: pb::Calendar {
            etag: String::new(),
            create_time: None,
            update_time: None,
            revision: 0,
            ..render::calendar(calendar)
        },
        rules: availability.rules,
        overrides: availability.overrides,
        appointment_types: calendar
            .types
            .iter()
            .map(|appointment_type| exported_type(render::appointment_type(appointment_type)))
            .collect(),
        deleted_appointment_types: calendar
            .types
            .deleted()
            .map(|(id, _)| id.to_string())
            .collect(),
        last_definitions: calendar
            .types
            .deleted()
            .filter_map(|(_, deleted)| {
                Some(exported_type(render::appointment_type(
                    deleted.last.as_ref()?,
                )))
            })
            .collect(),
        busy: calendar
            .busy
            .sources()
            .map(|(source, periods)| {
                (
                    source.to_owned(),
                    periods.iter().copied().map(render::period).collect(),
                )
            })
            .collect(),
    }
}

fn exported_type(message: pb::AppointmentType) -> pb::AppointmentType {
    pb::AppointmentType {
        etag: String::new(),
        create_time: None,
        update_time: None,
        revision: 0,
        ..message
    }
}

/// An appointment as files hold it, on those of its calendars that still exist; the file has it
/// under the first of them. None for a hold that has not expired, and where no calendar is left.
pub fn exported_appointment(
    appointment: &Appointment,
    is_there: impl Fn(&CalendarId, Revision) -> bool,
    now: Instant,
    code_key: Option<u64>,
) -> Option<pb::Appointment> {
    let kept: Vec<_> = appointment
        .places
        .iter()
        .filter(|place| is_there(&place.calendar, place.since))
        .cloned()
        .collect();
    if kept.is_empty() || appointment.state_at(now) == AppointmentState::Held {
        return None;
    }
    let kept = appointment.with_image(Image {
        places: kept,
        ..appointment.image.clone()
    });
    let shown = render::appointment(&kept, now, code_key.unwrap_or_default());
    Some(pb::Appointment {
        confirmation_code: code_key
            .map(|_| shown.confirmation_code)
            .unwrap_or_default(),
        expire_time: None,
        etag: String::new(),
        create_time: None,
        update_time: None,
        revision: 0,
        // Only a moved occurrence keeps its original start: any other begins at it.
        original_start: shown
            .original_start
            .filter(|start| Some(*start) != shown.start_time),
        ..shown
    })
}
