//! Tables of appointments, of their series and of their changes.

use serde_json::Value;

use super::layout::{items, table, text};
use bookd_core::decide::OUTSIDE_MAX;

/// Appointments, a row for each. A column for the location appears if any of them has one, and a
/// column for the zone if their times are not all in the named zone, or, without a named zone, not
/// all in one.
pub(super) fn appointments(found: &[Value], named: Option<&str>) -> String {
    let zone = |it: &Value| text(&it["time_zone"]);
    let expected = named.map_or_else(
        || found.first().map(zone).unwrap_or_default(),
        str::to_owned,
    );
    let has_zone = found.iter().any(|it| zone(it) != expected);
    let has_location = found.iter().any(|it| !text(&it["location"]).is_empty());
    let row = |appointment: &Value| {
        let mut cells = vec![text(&appointment["local_start"]).replace('T', " ")];
        cells.extend(has_zone.then(|| zone(appointment)));
        cells.extend([
            text(&appointment["calendar_ids"]),
            text(&appointment["appointment_type_id"]),
            state(appointment),
        ]);
        cells.push(text(&appointment["invitee"]["name"]));
        cells.extend(has_location.then(|| text(&appointment["location"])));
        cells.extend([
            text(&appointment["confirmation_code"]),
            text(&appointment["appointment_id"]),
        ]);
        cells
    };
    let mut titles = vec!["start"];
    titles.extend(has_zone.then_some("zone"));
    titles.extend(["calendar", "type", "state", "invitee"]);
    titles.extend(has_location.then_some("location"));
    titles.extend(["code", "id"]);
    table(&titles, found.iter().map(row))
}

/// A warning below the answer: the appointments that lie outside open hours after a change; empty
/// if there are none.
pub(super) fn outside(answer: &Value) -> String {
    let found = items(answer, "appointments_outside");
    let warning = match found.len() {
        0 => return String::new(),
        1 => "1 upcoming appointment lies outside open hours".to_owned(),
        // An answer names at most so many.
        OUTSIDE_MAX => format!(
            "{OUTSIDE_MAX} upcoming appointments or more lie outside open hours, the earliest are"
        ),
        count => format!("{count} upcoming appointments lie outside open hours"),
    };
    format!("\n{warning}:\n{}", appointments(found, None))
}

/// The occurrences of a series, each with its state or with the reasons why it was not booked.
pub(super) fn occurrences(answer: &Value, named: Option<&str>) -> String {
    let zone = items(answer, "occurrences")
        .iter()
        .find_map(|it| it["appointment"]["time_zone"].as_str());
    let other = zone.filter(|zone| named.is_some_and(|named| named != *zone));
    let row = |occurrence: &Value| {
        let why: Vec<String> = items(occurrence, "violations")
            .iter()
            .map(|violation| text(&violation["code"]).replace("VIOLATION_CODE_", ""))
            .collect();
        let outcome = if occurrence["appointment"].is_object() {
            state(&occurrence["appointment"])
        } else {
            why.join(", ")
        };
        vec![
            text(&occurrence["local_start"]).replace('T', " "),
            outcome,
            text(&occurrence["appointment"]["appointment_id"]),
        ]
    };
    let rows = table(
        &["start", "state", "id"],
        items(answer, "occurrences").iter().map(row),
    );
    let of_zone = other.map_or_else(String::new, |zone| format!(", times of {zone}"));
    format!("series {}{of_zone}\n{rows}", text(&answer["series_id"]))
}

/// Appointments whose local start is another one since the rules of their zone changed.
pub(super) fn drifts(found: &[Value]) -> String {
    let row = |drift: &Value| {
        let appointment = &drift["appointment"];
        let booked = text(&appointment["local_start"]).replace('T', " ");
        let now = text(&drift["local_start_now"]).replace('T', " ");
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

/// Changes, a row for each of their events.
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

/// The state of an appointment in lower case.
fn state(appointment: &Value) -> String {
    text(&appointment["state"])
        .trim_start_matches("APPOINTMENT_STATE_")
        .to_lowercase()
}
