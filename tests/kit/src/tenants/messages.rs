//! Messages of calls: their calendars, what of them is masked, and things of another tenant in them.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use serde_json::Value as Json;

use super::THEIRS;
use crate::readable::json;

/// Fields that are masked in answers and in the comparison of calls.
const MASKED: [&str; 6] = [
    "revision",
    "start_revision",
    "etag",
    "confirmation_code",
    "next_page_token",
    "page_token",
];
/// Changes every id of a calendar in a message.
pub(super) fn each_calendar(message: &mut DynamicMessage, change: &dyn Fn(&str) -> String) {
    let fields: Vec<_> = message.descriptor().fields().collect();
    for field in fields.into_iter().filter(|it| it.name() != "detail") {
        if !message.has_field(&field) {
            continue;
        }
        let is_id = ["calendar_id", "calendar_ids"].contains(&field.name());
        match message.get_field_mut(&field) {
            Value::String(id) if is_id => *id = change(id),
            Value::List(items) => items.iter_mut().for_each(|item| match item {
                Value::String(id) if is_id => *id = change(id),
                Value::Message(inner) => each_calendar(inner, change),
                _ => {}
            }),
            Value::Message(inner) => each_calendar(inner, change),
            _ => {}
        }
    }
}

/// A message as JSON without what is no secret.
pub(super) fn masked(message: &DynamicMessage) -> Json {
    let mut json = json(message);
    mask(&mut json);
    json
}

fn mask(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if MASKED.contains(&name.as_str()) {
                    *value = Json::from("*");
                } else {
                    mask(value);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Things of theirs that our client has got hold of: those of one world.
pub(super) struct Theirs {
    pub(super) id: String,
    pub(super) code: String,
    pub(super) token: String,
}

/// Puts something of theirs into a message. The id of a new appointment stays: that a UUID which
/// somebody knows is in use is no secret.
pub(super) fn mix(message: &mut DynamicMessage, pick: u64, theirs: &Theirs) {
    let is_new =
        ["BookAppointmentRequest", "HoldAppointmentRequest"].contains(&message.descriptor().name());
    let value = |name: &str| {
        Some(Value::String(match name {
            "calendar_id" => format!("{THEIRS}ada"),
            "appointment_id" if is_new => return None,
            "appointment_id" | "hold_id" | "series_id" | "ignore_appointment_id" => {
                theirs.id.clone()
            }
            "invitee_email" => "grace.hopper@example.com".to_owned(),
            "confirmation_code" => theirs.code.clone(),
            "page_token" => theirs.token.clone(),
            "id_prefix" => THEIRS.to_owned(),
            "calendar_ids" => {
                let ids = ["ada", "room"].map(|id| Value::String(format!("{THEIRS}{id}")));
                return Some(Value::List(ids.to_vec()));
            }
            _ => return None,
        }))
    };
    let descriptor = message.descriptor();
    let some: Vec<_> = descriptor
        .fields()
        .filter_map(|field| Some((value(field.name())?, field)))
        .collect();
    let Some(at) = usize::try_from(pick).unwrap().checked_rem(some.len()) else {
        return;
    };
    let (value, field) = some.into_iter().nth(at).unwrap();
    message.set_field(&field, value);
}
