//! Tables of slots, and of the reasons why a time is none.

use serde_json::Value;

use super::layout::{items, table, text};

pub(super) fn slots(answer: &Value) -> String {
    let clock = |slot: &Value, local: &str, instant: &str| {
        let local = text(&slot[local]);
        if local.is_empty() {
            text(&slot[instant])
        } else {
            local.replace('T', " ")
        }
    };
    let row = |it: &Value| {
        vec![
            clock(it, "local_start", "start_time"),
            clock(it, "local_end", "end_time"),
            text(&it["seats_remaining"]),
        ]
    };
    table(
        &["start", "end", "seats"],
        items(answer, "slots").iter().map(row),
    )
}

pub(super) fn explained(answer: &Value) -> String {
    let slot = text(&answer["slot"]["start_time"]);
    if answer["bookable"] == Value::Bool(true) {
        return format!("{slot} can be booked");
    }
    let row = |it: &Value| {
        let code = text(&it["code"])
            .trim_start_matches("VIOLATION_CODE_")
            .to_owned();
        vec![code, text(&it["calendar_id"]), text(&it["message"])]
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
