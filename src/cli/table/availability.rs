//! Tables of what is open and busy: hours, overrides, busy periods, free and busy time.

use serde_json::Value;

use super::calendars::calendars;
use super::layout::{items, table, text};

pub(super) fn hours(availability: &Value) -> String {
    let days = |rule: &Value| {
        let days = text(&rule["days_of_week"])
            .replace("DAY_OF_WEEK_", "")
            .to_lowercase();
        if days.is_empty() {
            "daily".to_owned()
        } else {
            days
        }
    };
    let rules = items(availability, "rules").iter().map(|rule| {
        let dates = format!("{} {}", text(&rule["from_date"]), text(&rule["to_date"]))
            .trim()
            .to_owned();
        vec![
            days(rule),
            text(&rule["start_time"]),
            text(&rule["end_time"]),
            dates,
        ]
    });
    let overrides = items(availability, "overrides").iter().map(|it| {
        let windows = items(it, "windows")
            .iter()
            .map(|it| format!("{}-{}", text(&it["start_time"]), text(&it["end_time"])));
        let windows: Vec<String> = windows.collect();
        let windows = if windows.is_empty() {
            "closed".to_owned()
        } else {
            windows.join(", ")
        };
        vec![text(&it["date"]), windows, String::new(), text(&it["note"])]
    });
    let head = format!(
        "{} in {}",
        text(&availability["calendar_id"]),
        text(&availability["time_zone"])
    );
    format!(
        "{head}\n{}",
        table(&["days", "from", "to", "dates"], rules.chain(overrides))
    )
}

pub(super) fn busy(found: &[Value]) -> String {
    let row = |it: &Value| {
        // PutBusy answers periods alone, ListBusy with their source.
        let period = if it["period"].is_object() {
            &it["period"]
        } else {
            it
        };
        vec![
            text(&period["start_time"]),
            text(&period["end_time"]),
            text(&it["source"]),
        ]
    };
    table(&["start", "end", "source"], found.iter().map(row))
}

/// What is open and what is busy, calendar by calendar; where nothing of any is either, the calendars alone.
pub(super) fn free_busy(found: &[Value]) -> String {
    if found
        .iter()
        .all(|it| it["open"].is_null() && it["busy"].is_null())
    {
        return calendars(found);
    }
    let rows = found.iter().flat_map(|calendar| {
        let of = |field: &'static str| {
            items(calendar, field).iter().map(move |it| {
                let id = text(&calendar["calendar_id"]);
                vec![
                    id,
                    field.to_owned(),
                    text(&it["start_time"]),
                    text(&it["end_time"]),
                ]
            })
        };
        of("open").chain(of("busy"))
    });
    table(&["calendar", "", "start", "end"], rows)
}
