//! Tables of calendars and of their appointment types.

use serde_json::Value;

use super::layout::{sheet, table, text};

/// The settings of one calendar.
pub(super) fn calendar(calendar: &Value) -> String {
    sheet(
        calendar,
        &[
            ("calendar", "calendar_id"),
            ("name", "display_name"),
            ("zone", "time_zone"),
            ("owner", "owner"),
            ("paused", "paused"),
            ("limits", "limits"),
            ("metadata", "metadata"),
        ],
    )
}

/// Calendars, a row for each.
pub(super) fn calendars(found: &[Value]) -> String {
    let row = |calendar: &Value| {
        vec![
            text(&calendar["calendar_id"]),
            text(&calendar["time_zone"]),
            text(&calendar["display_name"]),
        ]
    };
    table(&["calendar", "zone", "name"], found.iter().map(row))
}

/// The settings of one appointment type.
pub(super) fn appointment_type(appointment_type: &Value) -> String {
    sheet(
        appointment_type,
        &[
            ("type", "appointment_type_id"),
            ("name", "display_name"),
            ("duration", "duration"),
            ("or", "duration_options"),
            ("step", "slot_step"),
            ("buffer before", "buffer_before"),
            ("buffer after", "buffer_after"),
            ("notice", "min_notice"),
            ("horizon days", "horizon_days"),
            ("capacity", "capacity"),
            ("limits", "limits"),
            ("approval", "requires_approval"),
            ("pending blocks", "pending_blocks"),
            ("cancel notice", "cancel_notice"),
            ("move notice", "reschedule_notice"),
            ("rules", "rules"),
        ],
    )
}

/// Appointment types, a row for each.
pub(super) fn types(found: &[Value]) -> String {
    let row = |appointment_type: &Value| {
        let approval = if appointment_type["requires_approval"] == Value::Bool(true) {
            "approval"
        } else {
            ""
        };
        vec![
            text(&appointment_type["appointment_type_id"]),
            text(&appointment_type["duration"]),
            text(&appointment_type["capacity"]),
            approval.to_owned(),
        ]
    };
    table(&["type", "duration", "seats", ""], found.iter().map(row))
}
