//! Tables of appointments, of their series and of their changes.

use serde_json::Value;

use super::layout::{items, table, text};
use bookd_core::decide::OUTSIDE_MAX;

/// A row each; where any of them says where it takes place, with a column for that, and where their times are not all of
/// the zone that was named, or not all of one zone, with one for the zone.
pub(super) fn appointments(found: &[Value], named: Option<&str>) -> String {
    let zone = |it: &Value| text(&it["time_zone"]);
    let expected = named.map_or_else(
        || found.first().map(zone).unwrap_or_default(),
        str::to_owned,
    );
    let has_zone = found.iter().any(|it| zone(it) != expected);
    let has_location = found.iter().any(|it| !text(&it["location"]).is_empty());
    let row = |it: &Value| {
        let mut cells = vec![text(&it["local_start"]).replace('T', " ")];
        cells.extend(has_zone.then(|| zone(it)));
        cells.extend([
            text(&it["calendar_ids"]),
            text(&it["appointment_type_id"]),
            state(it),
        ]);
        cells.push(text(&it["invitee"]["name"]));
        cells.extend(has_location.then(|| text(&it["location"])));
        cells.extend([text(&it["confirmation_code"]), text(&it["appointment_id"])]);
        cells
    };
    let mut titles = vec!["start"];
    titles.extend(has_zone.then_some("zone"));
    titles.extend(["calendar", "type", "state", "invitee"]);
    titles.extend(has_location.then_some("location"));
    titles.extend(["code", "id"]);
    table(&titles, found.iter().map(row))
}

/// The appointments that a change of hours left outside, as a warning below the answer; nothing where there are none.
pub(super) fn outside(answer: &Value) -> String {
    let found = items(answer, "appointments_outside");
    let warning = match found.len() {
        0 => return String::new(),
        1 => "1 upcoming appointment lies outside open hours".to_owned(),
        // No answer names more.
        OUTSIDE_MAX => format!(
            "{OUTSIDE_MAX} upcoming appointments or more lie outside open hours, the earliest are"
        ),
        count => format!("{count} upcoming appointments lie outside open hours"),
    };
    format!("\n{warning}:\n{}", appointments(found, None))
}

pub(super) fn occurrences(answer: &Value, named: Option<&str>) -> String {
    let zone = items(answer, "occurrences")
        .iter()
        .find_map(|it| it["appointment"]["time_zone"].as_str());
    let other = zone.filter(|zone| named.is_some_and(|named| named != *zone));
    let row = |it: &Value| {
        let why: Vec<String> = items(it, "violations")
            .iter()
            .map(|it| text(&it["code"]).replace("VIOLATION_CODE_", ""))
            .collect();
        let outcome = if it["appointment"].is_object() {
            state(&it["appointment"])
        } else {
            why.join(", ")
        };
        vec![
            text(&it["local_start"]).replace('T', " "),
            outcome,
            text(&it["appointment"]["appointment_id"]),
        ]
    };
    let rows = table(
        &["start", "state", "id"],
        items(answer, "occurrences").iter().map(row),
    );
    let of_zone = other.map_or_else(String::new, |zone| format!(", times of {zone}"));
    format!("series {}{of_zone}\n{rows}", text(&answer["series_id"]))
}

pub(super) fn drifts(found: &[Value]) -> String {
    let row = |it: &Value| {
        let appointment = &it["appointment"];
        let booked = text(&appointment["local_start"]).replace('T', " ");
        let now = text(&it["local_start_now"]).replace('T', " ");
        vec![
            booked,
            now,
            text(&appointment["calendar_ids"]),
            text(&appointment["appointment_id"]),
        ]
    };
    table(
        &["booked for", "clocks show now", "calendar", "id"],
        found.iter().map(row),
    )
}

pub(super) fn changes(answer: &Value) -> String {
    let rows = items(answer, "changes").iter().flat_map(|change| {
        items(change, "events").iter().map(|event| {
            let kind = text(&event["kind"])
                .trim_start_matches("CHANGE_KIND_")
                .to_lowercase();
            let subject = text(&event["appointment_id"]);
            let start = text(&event["after"]["start_time"]);
            vec![
                text(&change["revision"]),
                text(&change["commit_time"]),
                text(&change["command"]),
                kind,
                start,
                subject,
            ]
        })
    });
    table(
        &[
            "revision",
            "time",
            "command",
            "what",
            "start",
            "appointment",
        ],
        rows,
    )
}

fn state(appointment: &Value) -> String {
    text(&appointment["state"])
        .trim_start_matches("APPOINTMENT_STATE_")
        .to_lowercase()
}
