//! Requests as JSON: the fields that options and arguments fill.
//!
//! A null stands for a field that was left out.

use serde_json::{Map, Value, json};

use super::options::{BookingArgs, CarriedArgs, Ignored, New, Safety, TakingPart, Who};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::words::enumerated;

/// `-` as what standard input says, anything else as it is.
pub(super) fn read(word: &str) -> Result<String, CallError> {
    if word != "-" {
        return Ok(word.to_owned());
    }
    std::io::read_to_string(std::io::stdin())
        .map_err(|error| CallError::Usage(format!("standard input: {error}")))
}

pub(super) fn json_of(what: &str, text: &str) -> Result<Value, CallError> {
    serde_json::from_str(text)
        .map_err(|error| CallError::Usage(format!("{what} is no JSON: {error}")))
}

/// `calendar_id`, or `calendar_ids` of words with commas, which need to be told how they take part.
pub(super) fn on(
    mut request: Value,
    calendars: &str,
    taking_part: &TakingPart,
) -> Result<Value, CallError> {
    let ids: Vec<&str> = calendars
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    match ids[..] {
        [one] if !taking_part.all && !taking_part.any => request["calendar_id"] = json!(one),
        _ if !taking_part.all && !taking_part.any => {
            return Err(CallError::Usage(format!(
                "{calendars}: add --all or --any, for these are several calendars"
            )));
        }
        _ => {
            request["assignment"] = json!(if taking_part.all {
                "ASSIGNMENT_ALL"
            } else {
                "ASSIGNMENT_ANY"
            });
            request["calendar_ids"] = json!(ids);
        }
    }
    Ok(request)
}

pub(super) fn asked(mut request: Value, what: &BookingArgs) -> Value {
    request["appointment_type_id"] = json!(what.appointment_type);
    request["duration"] = json!(what.duration);
    request["time_zone"] = json!(what.read_in.zone);
    request
}

fn with(mut request: Value, who: &Who) -> Value {
    if who.is_said() {
        request["invitee"] = json!({ "name": who.name, "email": who.email, "phone": who.phone, "time_zone": who.invitee_zone });
    }
    request
}

fn carrying(mut request: Value, carried: &CarriedArgs) -> Value {
    for (field, text, _) in carried.texts() {
        request[field] = json!(text);
    }
    request["metadata"] = map(&carried.metadata);
    request
}

pub(super) fn ignoring(mut request: Value, ignored: &Ignored) -> Value {
    let rules: Vec<String> = ignored
        .rules
        .iter()
        .map(|it| enumerated("IGNORABLE_RULE", it))
        .collect();
    request["ignore_rules"] = json!(rules);
    request
}

/// Everything that is said of a new appointment.
pub(super) fn claiming(request: Value, new: &New) -> Value {
    let request = carrying(with(asked(request, &new.what), &new.who), &new.carried);
    safe(ignoring(request, &new.ignored), &new.safety)
}

fn map(pairs: &[(String, String)]) -> Value {
    map_over(&Value::Null, pairs)
}

/// Keys and values that are said, over those that there are; null where nothing is said.
pub(super) fn map_over(present: &Value, pairs: &[(String, String)]) -> Value {
    if pairs.is_empty() {
        return Value::Null;
    }
    let said = pairs.iter().map(|(key, value)| (key.clone(), json!(value)));
    Value::Object(
        present
            .as_object()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .chain(said)
            .collect::<Map<_, _>>(),
    )
}

/// What is said over what there is.
pub(super) fn overlaid(mut present: Value, said: Value) -> Value {
    if let Value::Object(said) = said {
        said.into_iter()
            .filter(|(_, value)| !value.is_null())
            .for_each(|(name, value)| present[name] = value);
    }
    present
}

/// A field mask in its JSON form, which has its own way to write names.
pub(super) fn camel(mask: &[String]) -> String {
    let one = |name: &String| {
        let mut parts = name.split('_');
        let head = parts.next().unwrap_or_default().to_owned();
        parts.fold(head, |head, part| {
            let mut letters = part.chars();
            let initial = letters.next().map(|it| it.to_ascii_uppercase());
            head + &initial.into_iter().chain(letters).collect::<String>()
        })
    };
    mask.iter().map(one).collect::<Vec<_>>().join(",")
}

/// A request that was made from what there is: it must still be so. Not beside a request id, for the same word must make
/// the same request again, and what there is has another version once the first one has happened.
pub(super) fn guarded(mut request: Value, etag: &Value, safety: &Safety) -> Value {
    if safety.request_id.is_none() {
        request["etag"] = etag.clone();
    }
    request
}

/// The invitee of an appointment with what is said of them now: their fields are replaced together.
pub(super) async fn invitee_over(
    ask: &Lookup<'_>,
    appointment: &str,
    who: &Who,
) -> Result<Value, CallError> {
    if !who.is_said() {
        return Ok(Value::Null);
    }
    Ok(who.over(&ask.appointment(appointment).await?["invitee"]))
}

pub(super) fn safe(mut request: Value, safety: &Safety) -> Value {
    request["request_id"] = json!(safety.request_id);
    request["validate_only"] = json!(safety.dry_run);
    request
}
