//! Builds requests as JSON: each function fills the fields of one group of options.
//!
//! An option that is not given leaves a null or no field, and nulls are removed before the request
//! is sent (`without_nulls`), so that a request names only what the person typed.

use serde_json::{Map, Value, json};

use super::options::{
    AssignmentArgs, BookingArgs, CarriedArgs, IgnoredRuleArgs, InviteeArgs, NewAppointmentArgs,
    SafetyArgs,
};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::words::enumerated;

/// The text of an argument: standard input for `-`, otherwise the argument itself.
pub(super) fn read_argument(word: &str) -> Result<String, CallError> {
    if word != "-" {
        return Ok(word.to_owned());
    }
    std::io::read_to_string(std::io::stdin())
        .map_err(|error| CallError::Usage(format!("standard input: {error}")))
}

/// Parses JSON; `what` names the text in the error.
pub(super) fn parse_json(what: &str, text: &str) -> Result<Value, CallError> {
    serde_json::from_str(text)
        .map_err(|error| CallError::Usage(format!("{what} is no JSON: {error}")))
}

/// Adds `calendar_id` for one calendar, or `calendar_ids` and `assignment` for several, which are
/// separated by commas and need `--all` or `--any`.
pub(super) fn with_calendars(
    mut request: Value,
    calendars: &str,
    taking_part: &AssignmentArgs,
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

/// Adds the appointment type, the duration and the zone.
pub(super) fn with_booking(mut request: Value, what: &BookingArgs) -> Value {
    request["appointment_type_id"] = json!(what.appointment_type);
    request["duration"] = json!(what.duration);
    request["time_zone"] = json!(what.read_in.zone);
    request
}

/// Adds the invitee, if any of its options is given.
fn with_invitee(mut request: Value, who: &InviteeArgs) -> Value {
    if who.is_given() {
        request["invitee"] = json!({ "name": who.name, "email": who.email, "phone": who.phone, "time_zone": who.invitee_zone });
    }
    request
}

/// Adds the note, the location and the metadata.
fn with_carried(mut request: Value, carried: &CarriedArgs) -> Value {
    for (field, text, _) in carried.texts() {
        request[field] = json!(text);
    }
    request["metadata"] = merged_map(&Value::Null, &carried.metadata);
    request
}

/// Adds the rules that are overridden.
pub(super) fn with_ignored_rules(mut request: Value, ignored: &IgnoredRuleArgs) -> Value {
    let rules: Vec<String> = ignored
        .rules
        .iter()
        .map(|rule| enumerated("IGNORABLE_RULE", rule))
        .collect();
    request["ignore_rules"] = json!(rules);
    request
}

/// Adds every option of a new appointment.
pub(super) fn with_new_appointment(request: Value, new: &NewAppointmentArgs) -> Value {
    let request = with_carried(
        with_invitee(with_booking(request, &new.what), &new.who),
        &new.carried,
    );
    with_safety(with_ignored_rules(request, &new.ignored), &new.safety)
}

/// The present map with these pairs added or replaced; null if there are no pairs.
pub(super) fn merged_map(present: &Value, pairs: &[(String, String)]) -> Value {
    if pairs.is_empty() {
        return Value::Null;
    }
    let given = pairs.iter().map(|(key, value)| (key.clone(), json!(value)));
    Value::Object(
        present
            .as_object()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .chain(given)
            .collect::<Map<_, _>>(),
    )
}

/// The present object with the given fields replaced; a null leaves the present field.
pub(super) fn merged(mut present: Value, given: Value) -> Value {
    if let Value::Object(given) = given {
        given
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .for_each(|(name, value)| present[name] = value);
    }
    present
}

/// A field mask in its JSON form: the names in lowerCamelCase, separated by commas.
pub(super) fn field_mask(mask: &[String]) -> String {
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

/// Adds the etag of the state that the request was made from, so that the server refuses the
/// request if that state has changed. Not with a request id: a repetition must send the same
/// request, and the etag is another one once the first request has taken effect.
pub(super) fn with_etag(mut request: Value, etag: &Value, safety: &SafetyArgs) -> Value {
    if safety.request_id.is_none() {
        request["etag"] = etag.clone();
    }
    request
}

/// The present invitee of an appointment with the given fields replaced, because a request replaces
/// all fields of the invitee together; null if no field is given.
pub(super) async fn merged_invitee(
    ask: &Lookup<'_>,
    appointment: &str,
    who: &InviteeArgs,
) -> Result<Value, CallError> {
    if !who.is_given() {
        return Ok(Value::Null);
    }
    Ok(who.over(&ask.appointment(appointment).await?["invitee"]))
}

/// Adds the request id and the dry run.
pub(super) fn with_safety(mut request: Value, safety: &SafetyArgs) -> Value {
    request["request_id"] = json!(safety.request_id);
    request["validate_only"] = json!(safety.dry_run);
    request
}
