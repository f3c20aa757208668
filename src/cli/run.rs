//! Runs a client command: what its words mean, the call, the answer as a table or as JSON, and an exit code.

use std::io::{Read, Write};
use std::process::ExitCode;

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt;

use super::client::{CallError, Client};
use super::commands::{ClientCommand, ClientOptions, Words, weekday, without_nulls};
use super::{table, watch};
use crate::domain::time::{Instant, LocalDate};
use crate::zones::Zones;

/// Runs the command to its end.
pub fn run(command: ClientCommand, options: &ClientOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(ask(command, options)),
        Err(error) => Err(CallError::Unreachable(format!("the runtime cannot start: {error}"))),
    };
    match answer {
        // What was watched is shown already.
        Ok(Value::Null) => ExitCode::SUCCESS,
        Ok(answer) => {
            let shown = if options.json { format!("{answer:#}") } else { table::show(&answer) };
            // A closed pipe is the reader's way to say that it has seen enough.
            let _ = writeln!(std::io::stdout(), "{}", shown.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bookd: {}", told(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn ask(mut command: ClientCommand, options: &ClientOptions) -> Result<Value, CallError> {
    if let ClientCommand::Call { request, .. } = &mut command
        && request == "-"
    {
        request.clear();
        let read = std::io::stdin().read_to_string(request);
        read.map_err(|error| CallError::Usage(format!("standard input: {error}")))?;
    }
    let client = Client::connect(&options.server).await?;
    let date = match command.words() {
        None => String::new(),
        Some(Words::Date { calendar, date }) => date_on(&client, calendar, date).await?,
        Some(Words::DateOf { appointment, date }) => {
            let found = client.call("GetAppointment", json!({ "appointment_id": appointment })).await?;
            let calendar = found["appointment"]["calendar_ids"][0].as_str().unwrap_or_default().to_owned();
            date_on(&client, &calendar, date).await?
        }
    };
    let mut planned = command.plan(&date).map_err(CallError::Usage)?;
    if let ClientCommand::Slots { calendar, what, .. } | ClientCommand::WatchSlots { calendar, what, .. } = &command
        && what.zone.is_none()
    {
        planned.request["time_zone"] = zone_of(&client, calendar).await?;
    }
    let request = without_nulls(planned.request);
    if matches!(command, ClientCommand::Watch(_) | ClientCommand::WatchSlots { .. }) {
        return watch::follow(&client, &planned.method, request, options.json).await.map(|()| Value::Null);
    }
    client.call(&planned.method, request).await
}

async fn zone_of(client: &Client, calendar: &str) -> Result<Value, CallError> {
    let found = client.call("GetCalendar", json!({ "calendar_id": calendar })).await?;
    Ok(found["calendar"]["time_zone"].clone())
}

/// `tomorrow` and its like, as dates of the calendar's zone at the server's time.
async fn date_on(client: &Client, calendar: &str, word: &str) -> Result<String, CallError> {
    let word = word.to_ascii_lowercase();
    let ahead = match word.as_str() {
        "today" => Some(0),
        "tomorrow" => Some(1),
        _ => None,
    };
    let day = weekday(&word);
    if ahead.is_none() && day.is_none() {
        return Ok(word);
    }
    let info = client.call("GetServerInfo", json!({})).await?;
    let zone = zone_of(client, calendar).await?;
    let unknown = |what: &str| CallError::Usage(format!("{word}: the server's {what} cannot be read; write the date"));
    let now = info["time"].as_str().and_then(|it| it.parse::<jiff::Timestamp>().ok()).ok_or_else(|| unknown("time"))?;
    let zone = Zones::bundled().zone(zone.as_str().unwrap_or_default()).map_err(|_| unknown("time zone"))?;
    let today: LocalDate = zone.wall(Instant::from_seconds(now.as_second())).date();
    let to_day = |day: usize| (i32::try_from(day).unwrap_or_default() - i32::from(today.weekday()) + 6) % 7 + 1;
    Ok(today.plus(ahead.or_else(|| day.map(to_day)).unwrap_or_default()).to_string())
}

/// An error as people read it: the reason, what it says, and each thing that is wrong.
fn told(error: &CallError) -> String {
    match error {
        CallError::Usage(text) | CallError::Unreachable(text) => text.clone(),
        CallError::Refused(status) => refused(status),
    }
}

fn refused(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone());
    let fields = details.bad_request().map(|it| &it.field_violations[..]).unwrap_or_default();
    let broken = details.precondition_failure().map(|it| &it.violations[..]).unwrap_or_default();
    let mut lines = vec![format!("{reason}: {}", status.message())];
    lines.extend(fields.iter().map(|it| format!("  {}: {}", it.field, it.description)));
    lines.extend(broken.iter().map(|it| format!("  {} on {}: {}", it.r#type, it.subject, it.description)));
    lines.join("\n")
}
