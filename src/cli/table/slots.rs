//! Tables of free slots, and of the reasons why a time cannot be booked.

use serde_json::Value;

use super::layout::{items, table, text};

/// Free slots, in local time if the answer has it.
pub(super) fn slots(answer: &Value) -> String {
    let clock = |slot: &Value, local: &str, instant: &str| {
        let local = text(&slot[local]);
        if local.is_empty() {
            text(&slot[instant])
        } else {
            local.replace('T', " ")
        }
    };
    let row = |slot: &Value| {
        vec![
            clock(slot, "local_start", "start_time"),
            clock(slot, "local_end", "end_time"),
            text(&slot["seats_remaining"]),
        ]
    };
    table(
        &["start", "end", "seats"],
        items(answer, "slots").iter().map(row),
    )
}

/// Whether a time can be booked; if not, the reasons and the nearest free slots.
pub(super) fn explained(answer: &Value) -> String {
    let slot = text(&answer["slot"]["start_time"]);
    if answer["bookable"] == Value::Bool(true) {
        return format!("{slot} can be booked");
    }
    let row = |violation: &Value| {
        let code = text(&violation["code"])
            .trim_start_matches("VIOLATION_CODE_")
            .to_owned();
        vec![
            code,
            text(&violation["calendar_id"]),
            text(&violation["message"]),
        ]
    };
    let rows = table(
        &["why", "calendar", "rule"],
        items(answer, "violations").iter().map(row),
    );
    let near = |name: &str, label: &str| match &answer[name]["start_time"] {
        Value::String(start) => format!("\n{label} {start}"),
        _ => String::new(),
    };
    format!(
        "{slot} cannot be booked\n{rows}{}{}",
        near("previous_slot", "free before:"),
        near("next_slot", "free after:")
    )
}
