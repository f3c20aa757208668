//! `bookd watch` and `bookd watch-slots`: prints a line for each event or slot of a stream, or with
//! `--json` each message as an object on a line, until Ctrl-C.

use std::io::Write;

use serde_json::Value;

use super::client::{CallError, Client};
use super::commands::WatchCommand;

/// Prints the messages of a stream until it ends, until the `--count` of the command, or until
/// standard output is closed. A server ends a stream only with an error.
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
            lines(&message)
        };
        for line in lines {
            if writeln!(std::io::stdout(), "{line}").is_err() {
                // The reader closed the pipe, which ends the command.
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

/// The lines of a message; none for a progress message, which is for programs.
fn lines(message: &Value) -> Vec<String> {
    let change = &message["change"];
    let events = items(&change["events"])
        .iter()
        .map(|event| event_line(change, event));
    let slots = [("+", "added"), ("-", "removed")]
        .into_iter()
        .flat_map(|(sign, field)| {
            items(&message[field])
                .iter()
                .map(move |slot| format!("{sign} {}", slot_line(slot)))
        });
    events.chain(slots).collect()
}

/// The line of an event, such as
/// `7  2027-01-04T08:00:00Z  booked  ada  2027-01-05T09:00  default  confirmed  Grace Hopper  <id>`
fn event_line(change: &Value, event: &Value) -> String {
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

/// The line of a slot: its start in local time, its calendars, its seats if there are several.
fn slot_line(slot: &Value) -> String {
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
