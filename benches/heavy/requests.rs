//! The requests of the heaviest calls, each as large as the contract allows.

use bookd_core::time::{DAY, HOUR};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::Ground;

/// Calendars that a request names at most.
pub(super) const CALENDARS: usize = 100;
/// A series of so many calendars and as many dates as there may be claims 10,000 calendars.
const SERIES_CALENDARS: usize = 27;
const SERIES_DATES: usize = 366;
/// Bookings of a batch.
const BATCH: usize = 100;
/// Days of a question.
pub(super) const DAYS: i64 = 400;
/// An instant as JSON has it.
pub(super) fn time(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .unwrap()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// So many of the calendars that are for this ground alone.
pub(super) fn many(ground: &Ground, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("many/{}/{number}", ground.appointments))
        .collect()
}

/// An id that nobody else gives.
pub(super) fn id(ground: &Ground, kind: u8, turn: usize) -> String {
    let number = (ground.appointments as u128) << 96 | u128::from(kind) << 64 | turn as u128;
    uuid::Builder::from_random_bytes(number.to_be_bytes())
        .into_uuid()
        .to_string()
}

pub(super) fn metadata() -> Value {
    Value::Object(
        (0..50)
            .map(|key| (format!("key-{key}"), json!("v".repeat(1_000))))
            .collect(),
    )
}

pub(super) fn rules(count: usize, turn: usize) -> Vec<Value> {
    let rule = |number: usize| {
        let minute = (number * 7 + turn) % 600;
        json!({"start_time": format!("{:02}:{:02}", minute / 60, minute % 60), "end_time": "24:00"})
    };
    (0..count).map(rule).collect()
}

/// A booking on all of a hundred calendars, an hour for each turn.
pub(super) fn wide(ground: &Ground, turn: usize) -> Value {
    json!({
        "calendar_ids": many(ground, CALENDARS), "assignment": "ASSIGNMENT_ALL", "start_time": time(later(ground, turn)),
        "invitee": {"name": "Grace Hopper"}, "note": "n".repeat(4_000), "metadata": metadata(),
    })
}

/// The hour of a turn, on calendars that nobody else books.
pub(super) fn later(ground: &Ground, turn: usize) -> i64 {
    ground.first + turn as i64 * HOUR
}

/// Alternates with the turns.
pub(super) fn zone(turn: usize) -> &'static str {
    ["Europe/Berlin", "America/New_York"][turn % 2]
}

pub(super) fn with(mut request: Value, field: &str, value: impl Into<Value>) -> Value {
    request[field] = value.into();
    request
}

/// The same with an id, an hour for each turn from this one on.
pub(super) fn of_wide(
    kind: u8,
    hour: usize,
) -> impl Fn(&Ground, usize) -> Value + Send + Sync + 'static {
    move |ground, turn| {
        with(
            wide(ground, hour + turn),
            "appointment_id",
            id(ground, kind, turn),
        )
    }
}

pub(super) fn by_id(kind: u8) -> impl Fn(&Ground, usize) -> Value + Send + Sync + 'static {
    move |ground, turn| json!({"appointment_id": id(ground, kind, turn)})
}

pub(super) fn hot_slots(ground: &Ground) -> Value {
    json!({"calendar_id": ground.hot, "start_time": time(ground.first), "end_time": time(ground.first + DAYS * DAY)})
}

pub(super) fn many_slots(ground: &Ground, assignment: &str) -> Value {
    json!({
        "calendar_ids": many(ground, CALENDARS), "assignment": assignment, "page_size": 1_000,
        "start_time": time(ground.first), "end_time": time(ground.first + DAYS * DAY),
    })
}

/// Daily, from the turn's hour on.
pub(super) fn series(ground: &Ground, turn: usize) -> Value {
    json!({
        "calendar_ids": many(ground, SERIES_CALENDARS), "assignment": "ASSIGNMENT_ALL", "frequency": "FREQUENCY_DAILY",
        "count": SERIES_DATES, "start_time": time(ground.first + (3_000 + turn as i64 / 24 * 366) * DAY + turn as i64 % 24 * HOUR),
        "duration": "3600s", "invitee": {"name": "Grace Hopper"}, "ignore_rules": ["IGNORABLE_RULE_HORIZON"],
    })
}

pub(super) fn hot_series(ground: &Ground, is_partial: bool) -> Value {
    json!({
        "calendar_id": ground.hot, "frequency": "FREQUENCY_DAILY", "count": SERIES_DATES,
        "start_time": time(ground.first), "invitee": {"name": "Grace Hopper"}, "allow_partial": is_partial,
    })
}

/// A hundred bookings on a hundred calendars each.
pub(super) fn batch(ground: &Ground, turn: usize) -> Value {
    let start =
        |number: usize| ground.first + (30_000 + turn as i64) * 5 * DAY + number as i64 * HOUR;
    let one = |number| {
        json!({
            "calendar_ids": many(ground, CALENDARS), "assignment": "ASSIGNMENT_ALL", "start_time": time(start(number)),
            "invitee": {"name": "Grace Hopper"}, "ignore_rules": ["IGNORABLE_RULE_HORIZON"],
        })
    };
    json!({"requests": (0..BATCH).map(one).collect::<Vec<_>>()})
}

/// The last of the batch is taken by the first.
pub(super) fn refused_batch(ground: &Ground) -> Value {
    let mut refused = batch(ground, 500);
    refused["requests"][BATCH - 1] = refused["requests"][0].clone();
    refused
}

pub(super) fn overrides(ground: &Ground, turn: usize) -> Value {
    let day = |number: i64| time(ground.first + number * DAY)[..10].to_owned();
    let window = |it: usize| {
        let minute = it * 14 + turn % 7;
        let clock = |minute: usize| format!("{:02}:{:02}", minute / 60, minute % 60);
        json!({"start_time": clock(minute), "end_time": clock(minute + 7)})
    };
    // As much as a request may weigh.
    let windows: Vec<Value> = (0..20).map(window).collect();
    let overrides: Vec<Value> = (0..1_000)
        .map(|it| json!({"date": day(it), "windows": windows}))
        .collect();
    json!({"calendar_id": ground.hot, "overrides": overrides})
}

pub(super) fn busy(ground: &Ground, turn: usize) -> Value {
    let start = |number: usize| ground.first + number as i64 * 2 * HOUR + turn as i64 % 2 * 60;
    let period = |number: usize| json!({"start_time": time(start(number)), "end_time": time(start(number) + 600)});
    json!({
        "calendar_id": ground.hot, "source": "diary", "start_time": time(ground.first),
        "end_time": time(ground.first + 3_600 * DAY), "periods": (0..10_000).map(period).collect::<Vec<_>>(),
    })
}
