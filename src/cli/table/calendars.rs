//! Tables of calendars and of their appointment types.

use serde_json::Value;

use super::layout::{sheet, table, text};

pub(super) fn calendar(it: &Value) -> String {
    sheet(
        it,
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

pub(super) fn calendars(found: &[Value]) -> String {
    let row = |it: &Value| {
        vec![
            text(&it["calendar_id"]),
            text(&it["time_zone"]),
            text(&it["display_name"]),
        ]
    };
    table(&["calendar", "zone", "name"], found.iter().map(row))
}

pub(super) fn appointment_type(it: &Value) -> String {
    sheet(
        it,
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

pub(super) fn types(found: &[Value]) -> String {
    let row = |it: &Value| {
        let approval = if it["requires_approval"] == Value::Bool(true) {
            "approval"
        } else {
            ""
        };
        vec![
            text(&it["appointment_type_id"]),
            text(&it["duration"]),
            text(&it["capacity"]),
            approval.to_owned(),
        ]
    };
    table(&["type", "duration", "seats", ""], found.iter().map(row))
}
