//! `bookd watch` and `bookd watch-slots`: a line for each thing that happens, or one JSON object a line, until Ctrl-C.

use std::io::Write;

use serde_json::Value;

use super::client::{CallError, Client};
use super::commands::WatchCommand;

/// Prints what a stream says until it ends, which it does only with an error, or until nobody reads it any more.
pub async fn follow(
    client: &Client,
    command: &WatchCommand,
    request: Value,
    is_json: bool,
) -> Result<(), CallError> {
    let mut stream = client.stream(command.method(), request).await?;
    for _ in 0..command.count() {
        let Some(message) = stream.next().await? else {
            break;
        };
        let lines = if is_json {
            vec![message.to_string()]
        } else {
            told(&message)
        };
        for line in lines {
            if writeln!(std::io::stdout(), "{line}").is_err() {
                // A closed pipe is the reader's way to say that it has seen enough.
                return Ok(());
            }
        }
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A message as people read it; marks of progress are for programs.
fn told(message: &Value) -> Vec<String> {
    let change = &message["change"];
    let events = items(&change["events"])
        .iter()
        .map(|event| happened(change, event));
    let slots = [("+", "added"), ("-", "removed")]
        .into_iter()
        .flat_map(|(sign, field)| {
            items(&message[field])
                .iter()
                .map(move |slot| format!("{sign} {}", offered(slot)))
        });
    events.chain(slots).collect()
}

/// `7  2027-01-04T08:00:00Z  booked  ada  2027-01-05T09:00  default  confirmed  Grace Hopper  <id>`
fn happened(change: &Value, event: &Value) -> String {
    let kind = text(&event["kind"])
        .trim_start_matches("CHANGE_KIND_")
        .replace('_', " ")
        .to_lowercase();
    let calendars: Vec<&str> = items(&event["calendar_ids"]).iter().map(text).collect();
    let appointment = &event["appointment"];
    let state = text(&appointment["state"])
        .trim_start_matches("APPOINTMENT_STATE_")
        .to_lowercase();
    let words = [
        change["revision"].to_string(),
        text(&change["commit_time"]).to_owned(),
        kind,
        calendars.join(","),
        text(&event["detail"]).to_owned(),
        text(&appointment["local_start"]).to_owned(),
        text(&appointment["appointment_type_id"]).to_owned(),
        state,
        text(&appointment["invitee"]["name"]).to_owned(),
        text(&event["appointment_id"]).to_owned(),
    ];
    words
        .into_iter()
        .filter(|it| !it.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}

fn offered(slot: &Value) -> String {
    let local = text(&slot["local_start"]);
    let start = if local.is_empty() {
        text(&slot["start_time"])
    } else {
        local
    };
    let calendars: Vec<&str> = items(&slot["calendar_ids"]).iter().map(text).collect();
    match slot["seats_remaining"].as_u64() {
        Some(seats) if seats > 1 => format!("{start}  {}  {seats} seats", calendars.join(",")),
        _ => format!("{start}  {}", calendars.join(",")),
    }
}
