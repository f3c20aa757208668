//! Tables of open and busy time: hours, overrides, busy periods, free and busy time.

use serde_json::Value;

use super::calendars::calendars;
use super::layout::{items, table, text};

/// The weekly hours and the overrides of a calendar, under its name and zone.
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
    let overrides = items(availability, "overrides").iter().map(|date| {
        let windows = items(date, "windows").iter().map(|window| {
            format!(
                "{}-{}",
                text(&window["start_time"]),
                text(&window["end_time"])
            )
        });
        let windows: Vec<String> = windows.collect();
        let windows = if windows.is_empty() {
            "closed".to_owned()
        } else {
            windows.join(", ")
        };
        vec![
            text(&date["date"]),
            windows,
            String::new(),
            text(&date["note"]),
        ]
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

/// Busy periods, each with its source if the answer names it.
pub(super) fn busy(found: &[Value]) -> String {
    let row = |item: &Value| {
        // PutBusy answers periods; ListBusy answers items with a period and its source.
        let period = if item["period"].is_object() {
            &item["period"]
        } else {
            item
        };
        vec![
            text(&period["start_time"]),
            text(&period["end_time"]),
            text(&item["source"]),
        ]
    };
    table(&["start", "end", "source"], found.iter().map(row))
}

/// Open and busy time, calendar by calendar; the calendars alone if none of them has any.
pub(super) fn free_busy(found: &[Value]) -> String {
    if found
        .iter()
        .all(|it| it["open"].is_null() && it["busy"].is_null())
    {
        return calendars(found);
    }
    let rows = found.iter().flat_map(|calendar| {
        let of = |field: &'static str| {
            items(calendar, field).iter().map(move |period| {
                let id = text(&calendar["calendar_id"]);
                vec![
                    id,
                    field.to_owned(),
                    text(&period["start_time"]),
                    text(&period["end_time"]),
                ]
            })
        };
        of("open").chain(of("busy"))
    });
    table(&["calendar", "", "start", "end"], rows)
}
