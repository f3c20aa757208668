//! The requests of the heaviest calls, each as large as the contract allows.

use bookd_core::time::{DAY, HOUR};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::Ground;

/// The most calendars of a request.
pub(super) const CALENDARS: usize = 100;
/// Calendars of a series. With the most dates of a series they make close to 10,000 claims, which
/// is the limit.
const SERIES_CALENDARS: usize = 27;
/// The most dates of a series.
const SERIES_DATES: usize = 366;
/// The most bookings of a batch.
const BATCH: usize = 100;
/// The most days of a search.
pub(super) const DAYS: i64 = 400;
/// An instant as in JSON, from seconds since 1970.
pub(super) fn time(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .unwrap()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The ids of `count` calendars that only the calls on this ground use.
pub(super) fn many(ground: &Ground, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("many/{}/{number}", ground.appointments))
        .collect()
}

/// The id of an appointment, unique by ground, kind of call and turn.
pub(super) fn id(ground: &Ground, kind: u8, turn: usize) -> String {
    let number = (ground.appointments as u128) << 96 | u128::from(kind) << 64 | turn as u128;
    uuid::Builder::from_random_bytes(number.to_be_bytes())
        .into_uuid()
        .to_string()
}

/// The most metadata of a resource.
pub(super) fn metadata() -> Value {
    Value::Object(
        (0..50)
            .map(|key| (format!("key-{key}"), json!("v".repeat(1_000))))
            .collect(),
    )
}

/// `count` rules, which differ from turn to turn.
pub(super) fn rules(count: usize, turn: usize) -> Vec<Value> {
    let rule = |number: usize| {
        let minute = (number * 7 + turn) % 600;
        json!({"start_time": format!("{:02}:{:02}", minute / 60, minute % 60), "end_time": "24:00"})
    };
    (0..count).map(rule).collect()
}

/// A booking on all of a hundred calendars, each turn an hour later.
pub(super) fn wide(ground: &Ground, turn: usize) -> Value {
    json!({
        "calendar_ids": many(ground, CALENDARS), "assignment": "ASSIGNMENT_ALL", "start_time": time(later(ground, turn)),
        "invitee": {"name": "Grace Hopper"}, "note": "n".repeat(4_000), "metadata": metadata(),
    })
}

/// The start of a turn, in seconds, on calendars that no other call books.
pub(super) fn later(ground: &Ground, turn: usize) -> i64 {
    ground.first + turn as i64 * HOUR
}

/// A time zone that is another one in each turn.
pub(super) fn zone(turn: usize) -> &'static str {
    ["Europe/Berlin", "America/New_York"][turn % 2]
}

/// A request with one more field.
pub(super) fn with(mut request: Value, field: &str, value: impl Into<Value>) -> Value {
    request[field] = value.into();
    request
}

/// A booking on a hundred calendars with an id, from the given hour on, each turn an hour later.
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

/// A request that names an appointment by its id.
pub(super) fn by_id(kind: u8) -> impl Fn(&Ground, usize) -> Value + Send + Sync + 'static {
    move |ground, turn| json!({"appointment_id": id(ground, kind, turn)})
}

/// A slot search on the hot calendar.
pub(super) fn hot_slots(ground: &Ground) -> Value {
    json!({"calendar_id": ground.hot, "start_time": time(ground.first), "end_time": time(ground.first + DAYS * DAY)})
}

/// A slot search on a hundred calendars.
pub(super) fn many_slots(ground: &Ground, assignment: &str) -> Value {
    json!({
        "calendar_ids": many(ground, CALENDARS), "assignment": assignment, "page_size": 1_000,
        "start_time": time(ground.first), "end_time": time(ground.first + DAYS * DAY),
    })
}

/// A daily series of the most calendars and dates, each turn an hour later.
pub(super) fn series(ground: &Ground, turn: usize) -> Value {
    json!({
        "calendar_ids": many(ground, SERIES_CALENDARS), "assignment": "ASSIGNMENT_ALL", "frequency": "FREQUENCY_DAILY",
        "count": SERIES_DATES, "start_time": time(ground.first + (3_000 + turn as i64 / 24 * 366) * DAY + turn as i64 % 24 * HOUR),
        "duration": "3600s", "invitee": {"name": "Grace Hopper"}, "ignore_rules": ["IGNORABLE_RULE_HORIZON"],
    })
}

/// A daily series on the hot calendar, all dates of which are taken.
pub(super) fn hot_series(ground: &Ground, is_partial: bool) -> Value {
    json!({
        "calendar_id": ground.hot, "frequency": "FREQUENCY_DAILY", "count": SERIES_DATES,
        "start_time": time(ground.first), "invitee": {"name": "Grace Hopper"}, "allow_partial": is_partial,
    })
}

/// A batch of a hundred bookings on a hundred calendars each.
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

/// A batch whose last booking is at the time of the first, so that it is refused.
pub(super) fn refused_batch(ground: &Ground) -> Value {
    let mut refused = batch(ground, 500);
    refused["requests"][BATCH - 1] = refused["requests"][0].clone();
    refused
}

/// The most overrides of a request, which differ from turn to turn.
pub(super) fn overrides(ground: &Ground, turn: usize) -> Value {
    let day = |number: i64| time(ground.first + number * DAY)[..10].to_owned();
    let window = |number: usize| {
        let minute = number * 14 + turn % 7;
        let clock = |minute: usize| format!("{:02}:{:02}", minute / 60, minute % 60);
        json!({"start_time": clock(minute), "end_time": clock(minute + 7)})
    };
    // Together these are as large as a request may be.
    let windows: Vec<Value> = (0..20).map(window).collect();
    let overrides: Vec<Value> = (0..1_000)
        .map(|it| json!({"date": day(it), "windows": windows}))
        .collect();
    json!({"calendar_id": ground.hot, "overrides": overrides})
}

/// The most busy periods of a request, which differ from turn to turn.
pub(super) fn busy(ground: &Ground, turn: usize) -> Value {
    let start = |number: usize| ground.first + number as i64 * 2 * HOUR + turn as i64 % 2 * 60;
    let period = |number: usize| json!({"start_time": time(start(number)), "end_time": time(start(number) + 600)});
    json!({
        "calendar_id": ground.hot, "source": "diary", "start_time": time(ground.first),
        "end_time": time(ground.first + 3_600 * DAY), "periods": (0..10_000).map(period).collect::<Vec<_>>(),
    })
}
